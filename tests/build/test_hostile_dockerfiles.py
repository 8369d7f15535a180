"""Dockerfiles that are made to take long or much: bounded in time and memory."""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import pytest

from pycontainers.build.checks import check
from pycontainers.build.parse import parse
from pycontainers.build.scope import Globals, Scope
from pycontainers.errors import BuildError

N = 50_000
HEAD = "FROM scratch\n"


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "RUN a\\\n" + " && true \\\n" * N,
        HEAD + "RUN a\\\n" + "# no\n\n" * N + "b",
        HEAD + "# comment\n" * N + "RUN a",
        HEAD + "RUN <<E\n" + "line\n" * N + "E\n",
        HEAD + "COPY " + "a " * N + "/",
        HEAD + "COPY " + "<<A " * N + "/\n" + "A\n" * N,
        HEAD + "ENV" + " a='1 2'" * N,
        HEAD + "LABEL a=" + "\"'" * N,
        HEAD + "RUN " + "\\ " * N,
        HEAD + 'CMD ["' + "a" * N + '"' + ',"b"' * N + "]",
        HEAD + "CMD " + "[" * N,
        HEAD + "RUN " + "--mount=type=tmpfs,target=/x " * N,
        HEAD + "ONBUILD " * N + "RUN a",
        HEAD + "RUN " + "<<A " * N,
        HEAD + "WORKDIR " + "${a:-" * N,
        HEAD + "WORKDIR " + "$" * N,
        HEAD + "EXPOSE " + "1-65535 " * N,
        HEAD + "EXPOSE " + " ".join(f"{port}-65535" for port in range(1, 60_000)),
        HEAD + "HEALTHCHECK --interval=" + "9" * N + "s CMD a",
        HEAD + "RUN --mount=type=cache,mode=" + "7" * N + " a",
        HEAD + "N" * N,
        HEAD + "ENV x=${a" + "%%*a" * N + "}",
        "ARG a=1\n" * N + HEAD,
        "\0" * N,
        "#" * N,
        "\\\n" * N,
        "FROM a\n" * N,
    ],
    ids=lambda text: text.removeprefix(HEAD)[:12],
)
def test_a_hostile_file_takes_little_time(text: str) -> None:
    before = time.process_time()

    try:
        dockerfile = parse(text)
        scope = Scope(Globals.of(dockerfile, {}, {}), {"a": "aaaa"})
        check(dockerfile)
        for instruction in dockerfile.stages[0].instructions:
            scope.apply(instruction)
    except BuildError as error:
        assert len(str(error)) < 4000

    assert time.process_time() - before < 20


def test_values_that_double_with_each_line_are_refused() -> None:
    lines = "".join(f"ENV a{n + 1}=$a{n}$a{n}\n" for n in range(60))
    dockerfile = parse(f"{HEAD}ENV a0=xxxxxxxxxx\n{lines}")
    scope = Scope(Globals.of(dockerfile, {}, {}), {})

    with pytest.raises(BuildError, match="more than"):
        for instruction in dockerfile.stages[0].instructions:
            scope.apply(instruction)

    assert sum(map(len, scope.environment.values())) < 8 << 20


def test_too_many_variables_are_refused() -> None:
    lines = "".join(f"ENV a{n}=\n" for n in range(20_000))
    dockerfile = parse(HEAD + lines)
    scope = Scope(Globals.of(dockerfile, {}, {}), {})

    with pytest.raises(BuildError, match="variables"):
        for instruction in dockerfile.stages[0].instructions:
            scope.apply(instruction)


def test_a_million_lines_are_read_in_a_minute_and_a_gigabyte() -> None:
    program = (
        "import time; from pycontainers.build.parse import parse;"
        "text = 'FROM a\\n' + 'RUN true\\nENV a=b\\n# c\\n\\n' * 250_000;"
        "found = parse(text); assert len(found.instructions) == 500_001; assert str(found) == text"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 60
    assert after.ru_maxrss < 1 << 20
