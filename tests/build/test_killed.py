"""Builds that are killed, at whatever moment: a usable cache, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import pycontainers as pc
from tests import leaks
from tests.build.conftest import Builder, give_base
from tests.crashes.application import Application
from tests.images.trees import archive, entry

HEAD = "FROM bb:1\n"
KILLED = """
    image = pc.Image.from_rootfs({base!r}, engine=engine)
    image.tag("bb:1")
    def told(event):
        if event.output:
            say(event.output.strip())
    pc.Image.build({context!r}, network={network!r}, secrets={{"s": "topsecret"}},
                   progress=told, engine=engine)
"""


@pytest.mark.parametrize("network", ["none", "bridge"])
def test_a_killed_build_leaves_a_usable_cache_and_nothing_else(
    tmp_path: Path, busybox: Path, base_archive: Path, network: str
) -> None:
    context, root = tmp_path / "context", tmp_path / "root"
    context.mkdir()
    first = "FROM bb:1 AS {}\nRUN echo made > /made\n"
    mounts = "--mount=type=secret,id=s --mount=type=bind,target=/m,rw --mount=type=cache,target=/c"
    (context / "Dockerfile").write_text(
        first.format("a") + f"RUN {mounts} echo begun; sleep 60\n"
        + first.format("b") + "RUN sleep 60\n" + HEAD + "COPY --from=a /made /a\n"
        "COPY --from=b /made /b\n"
    )  # fmt: skip
    before = leaks.snapshot()
    program = KILLED.format(base=str(base_archive), context=str(context), network=network)
    with Application(program, root, busybox) as application:
        assert application.line() == "begun"

        application.kill()

    leaks.assert_recovered(root, before)
    secrets = Path("/run/pycontainers/secrets")
    assert not secrets.exists() or not any(secrets.iterdir())
    (context / "Dockerfile").write_text(first.format("a") + "RUN cat /made\n")
    with pc.Engine(root=root) as engine:
        again = Builder(engine, context).build(context, network=network)
        assert again.cached == ["RUN echo made > /made"]
        assert sorted(again.made) == ["RUN cat /made"]
    leaks.assert_recovered(root, before)


STEPS = """
FROM bb:1 AS one
RUN mkdir /d; for i in $(seq 300); do echo $i > /d/$i; done
COPY context /context
FROM bb:1
COPY --from=one /d /d
ADD a.tar /a/
RUN --mount=type=cache,target=/c rm -r /d/1; echo done > /c/x
WORKDIR /w
COPY context .
"""
AGAIN = """
    pc.Image.from_rootfs({base!r}, engine=engine).tag("bb:1")
    say("begun")
    for number in range(100):
        pc.Image.build({context!r}, network="none", progress=False, engine=engine,
                       cache=number % 2 == 0, tag="killed:1")
"""


def test_builds_killed_at_any_moment_lose_nothing(
    tmp_path: Path, busybox: Path, base_archive: Path
) -> None:
    root = tmp_path / "root"
    before = leaks.snapshot()
    with pc.Engine(root=root) as engine:
        give_base(engine, base_archive)
        build = Builder(engine, tmp_path / "context")
        build.context.mkdir()
        build.write({f"context/{number}": "x" * number for number in range(300)})
        build.write({"a.tar": archive((entry("in"), b"packed")), "Dockerfile": STEPS})
    program = AGAIN.format(base=str(base_archive), context=str(build.context))

    for moment in range(6):
        with Application(program, root, busybox) as application:
            assert application.line() == "begun"
            time.sleep(0.05 + 0.09 * moment)
            application.kill()

    leaks.assert_recovered(root, before)
    with pc.Engine(root=root) as engine:
        built = Builder(engine, build.context).build(build.context)
        assert built.sh("ls /d | wc -l; ls /w | wc -l; cat /a/in") == "299\n300\npacked"
        fresh = Builder(engine, build.context).build(build.context, cache=False)
        assert fresh.sh("cd /; find d a w | sort | md5sum") == built.sh(
            "cd /; find d a w | sort | md5sum"
        )
    leaks.assert_recovered(root, before)
