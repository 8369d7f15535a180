"""Dockerfiles become instructions that say what is written."""

from __future__ import annotations

import pickle

import pytest

from pycontainers.build import instructions as i
from pycontainers.build.lines import Heredoc
from pycontainers.build.parse import parse, parse_trigger
from pycontainers.errors import BuildError


def read(text: str) -> i.Instruction:
    """Give the instruction of a Dockerfile with one besides FROM."""
    (instruction,) = parse(f"FROM scratch\n{text}").stages[0].instructions
    return instruction


@pytest.mark.parametrize(
    ("text", "image", "stage", "platform"),
    [
        ("FROM debian", "debian", "", ""),
        ("from debian:12 as Base", "debian:12", "base", ""),
        ("FROM --platform=$BUILDPLATFORM a AS b.c-d_1", "a", "b.c-d_1", "$BUILDPLATFORM"),
        ("FROM\t${x:-a}\tAs\tb", "${x:-a}", "b", ""),
        ("FROM a@sha256:00", "a@sha256:00", "", ""),
    ],
)
def test_from(text: str, image: str, stage: str, platform: str) -> None:
    begin = parse(text).stages[0].begin

    assert (begin.image, begin.stage, begin.platform) == (image, stage, platform)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("RUN a && b", "a && b"),
        ("RUN", ""),
        ('RUN ["a", "b c"]', ("a", "b c")),
        ('RUN [ "a" , "\\u00e9\\n" ] ', ("a", "é\n")),
        ("RUN ['a', 'b']", "['a', 'b']"),
        ('RUN ["a", "b"', '["a", "b"'),
        ('RUN ["a",]', '["a",]'),
        ('RUN ["a"] x', '["a"] x'),
        ('RUN [ -f x ] || y', "[ -f x ] || y"),
        ("RUN [NaN]", "[NaN]"),
        ('RUN ["\\ud800"]', ("\ufffd",)),
        ("RUN --network=none -- --x", "--x"),
        ("CMD []", ()),
        ("CMD", ""),
        ("ENTRYPOINT top -b", "top -b"),
        ('ENTRYPOINT [""]', ("",)),
        ('SHELL ["/bin/bash", "-c"]', ("/bin/bash", "-c")),
    ],
)  # fmt: skip
def test_commands_are_json_or_else_for_a_shell(text: str, command: i.Command) -> None:
    found = read(text)

    assert isinstance(found, i.Run | i.Cmd | i.Entrypoint | i.Shell)
    assert found.command == command


def test_run_has_its_flags() -> None:
    found = read(
        "RUN --mount=type=cache,target=/c --network=host --mount=type=secret,id=k "
        "--security=insecure make"
    )

    assert isinstance(found, i.Run)
    assert found.mount_texts == ("type=cache,target=/c", "type=secret,id=k")
    assert (found.network, found.security, found.command) == ("host", "insecure", "make")


def test_a_heredoc_alone_is_a_script() -> None:
    found = read("RUN <<-EOF\n\techo 1\n\tEOF\n")

    assert isinstance(found, i.Run)
    assert found.script == Heredoc("EOF", "\techo 1\n", chomp=True)
    assert found.shell_text == "echo 1\n"


def test_a_heredoc_in_a_command_is_read_by_the_shell() -> None:
    found = read("RUN <<A cat && <<-B cat\n1\nA\n\t2\n\tB\n")

    assert isinstance(found, i.Run)
    assert found.script is None
    assert found.shell_text == "<<A cat && <<-B cat\n1\nA\n\t2\nB"


@pytest.mark.parametrize(
    ("text", "sources", "destination"),
    [
        ("COPY a b", ("a",), "b"),
        ("COPY a\tb  c/ d/", ("a", "b", "c/"), "d/"),
        ('COPY ["a b", "c d"]', ("a b",), "c d"),
        ("COPY ['a b', 'c']", ("['a", "b',"), "'c']"),
        (r"COPY a\ b c", ("a\\", "b"), "c"),
        ("ADD https://example.com/x.tar.gz /x", ("https://example.com/x.tar.gz",), "/x"),
    ],
)
def test_sources_and_destination(text: str, sources: tuple[str, ...], destination: str) -> None:
    found = read(text)

    assert isinstance(found, i.Copy | i.Add)
    assert (found.sources, found.destination) == (sources, destination)


def test_copy_has_its_flags() -> None:
    found = read(
        "COPY --from=build --chown=1:$g --chmod=u=rwX,go=rX --link --parents=false "
        "--exclude=*.txt --exclude='a b' x y"
    )

    assert isinstance(found, i.Copy)
    assert (found.from_, found.chown, found.chmod) == ("build", "1:$g", "u=rwX,go=rX")
    assert (found.link, found.parents, found.exclude) == (True, False, ("*.txt", "a b"))


def test_add_has_its_flags() -> None:
    found = read("ADD --checksum=sha256:00 --keep-git-dir --unpack=FALSE --chmod=644 x y")

    assert isinstance(found, i.Add)
    assert (found.checksum, found.keep_git_dir, found.unpack) == ("sha256:00", True, False)
    assert read("ADD a b") == read("ADD a b")


def test_copied_heredocs_are_files() -> None:
    found = read("COPY x <<one <<-'two' y /dest/\n1\none\n\t2\n\ttwo\n")

    assert isinstance(found, i.Copy)
    assert (found.sources, found.destination) == (("x", "y"), "/dest/")
    assert [(one.name, one.text, one.expand) for one in found.heredocs] == [
        ("one", "1\n", True),
        ("two", "2\n", False),
    ]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("ENV a b", [("a", "b", True)]),
        ("ENV a b=c  d", [("a", "b=c  d", True)]),
        ("ENV a=b", [("a", "b", False)]),
        ("ENV a=b c='d e' f=", [("a", "b", False), ("c", "'d e'", False), ("f", "", False)]),
        (r"ENV a=b\ c d=e", [("a", r"b\ c", False), ("d", "e", False)]),
        ('ENV "a b"=c', [('"a b"', "c", False)]),
        ("ENV a=b=c", [("a", "b=c", False)]),
        ("ENV a=b \\\n  c=d \\\n", [("a", "b", False), ("c", "d", False)]),
        ("LABEL a.b/c='x \"y\"'", [("a.b/c", "'x \"y\"'", False)]),
    ],
)
def test_pairs(text: str, pairs: list[tuple[str, str, bool]]) -> None:
    found = read(text)

    assert isinstance(found, i.Env | i.Label)
    assert list(found.pairs) == pairs


def test_arg_declares_names_with_and_without_values() -> None:
    found = read("ARG a b= c='d e' f=$g")

    assert isinstance(found, i.Arg)
    assert found.arguments == (("a", None), ("b", ""), ("c", "'d e'"), ("f", "$g"))


@pytest.mark.parametrize(
    ("text", "test"),
    [
        ("HEALTHCHECK NONE", ("NONE",)),
        ("HEALTHCHECK none", ("NONE",)),
        ("HEALTHCHECK CMD a  b", ("CMD-SHELL", "a  b")),
        ('healthcheck cmd ["a", "b"]', ("CMD", "a", "b")),
    ],
)
def test_health_checks_are_tests_of_a_config(text: str, test: tuple[str, ...]) -> None:
    found = read(text)

    assert isinstance(found, i.HealthCheck)
    assert found.test == test


def test_a_health_check_has_durations_and_retries() -> None:
    found = read(
        "HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=0 --start-interval=500ms "
        "--retries=5 CMD true"
    )

    assert isinstance(found, i.HealthCheck)
    assert (found.interval, found.timeout) == (90_000_000_000, 1_500_000_000)
    assert (found.start_period, found.start_interval, found.retries) == (0, 500_000_000, 5)


def test_the_other_instructions_take_what_is_there() -> None:
    assert getattr(read("USER a b:c"), "user", None) == "a b:c"
    assert getattr(read("WORKDIR /a b"), "path", None) == "/a b"
    assert getattr(read("STOPSIGNAL SIGINT"), "signal", None) == "SIGINT"
    assert getattr(read("MAINTAINER A <a@b>"), "author", None) == "A <a@b>"
    assert getattr(read("VOLUME /a /b"), "paths", None) == ("/a", "/b")
    assert getattr(read('VOLUME ["/a b", " /c "]'), "paths", None) == ("/a b", "/c")
    assert getattr(read("EXPOSE 80 443/tcp 53/udp"), "ports", None) == ("443/tcp", "53/udp", "80")


def test_onbuild_keeps_an_instruction_as_written() -> None:
    found = read("onbuild  COPY --chown=1 . \\\n  /app")

    assert isinstance(found, i.OnBuild)
    assert found.expression == "COPY --chown=1 .   /app"
    assert isinstance(found.trigger, i.Copy)
    assert found.trigger.chown == "1"


def test_onbuild_keeps_heredocs_so_that_they_can_be_read_again() -> None:
    found = read("ONBUILD RUN <<A cat <<B\n1\nA\n2\nB\n")
    assert isinstance(found, i.OnBuild)

    again = parse_trigger(found.expression, parse("\n\nFROM base\n").stages[0].begin)

    assert isinstance(again, i.Run)
    assert again.heredocs == (Heredoc("A", "1\n"), Heredoc("B", "2\n"))
    assert again.start == 3


@pytest.mark.parametrize("trigger", ["", "RUN a\nRUN b", "FROM x", "ONBUILD RUN a", "NONSENSE"])
def test_triggers_that_are_no_instruction_are_refused_at_the_from(trigger: str) -> None:
    begin = parse("FROM base").stages[0].begin

    with pytest.raises(BuildError, match=r"^Dockerfile:1: "):
        parse_trigger(trigger, begin)


def test_stages_have_names_numbers_and_instructions() -> None:
    found = parse("ARG a=1\nFROM x AS One\nRUN 1\nFROM one\nRUN 2\nRUN 3\nFROM y AS one\n")

    assert [str(stage) for stage in found.stages] == ["one", "stage-1", "one"]
    assert [len(stage.instructions) for stage in found.stages] == [1, 2, 0]
    assert [arg.text for arg in found.args] == ["ARG a=1"]
    assert found.stage("ONE") is found.stages[2]
    assert found.stage("1") is found.stages[1]
    assert found.stage("3") is found.stage("two") is None
    assert [one.start for one in found.instructions] == [1, 2, 3, 4, 5, 6, 7]


def test_bytes_that_are_no_utf_8_stay() -> None:
    text = b"FROM scratch\nRUN echo \xff\xe9\n"

    found = parse(text)

    assert str(found).encode("utf-8", "surrogateescape") == text
    run = found.stages[0].instructions[0]
    assert isinstance(run, i.Run)
    assert run.command == "echo \udcff\udce9"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Dockerfile has no stage to build"),
        ("# nothing\n", "Dockerfile has no stage to build"),
        ("ARG a\n", "Dockerfile:1: Dockerfile has no stage to build"),
        ("RUN a\nFROM b\n", "Dockerfile:1: RUN before the first FROM"),
        ("FROM\n", "Dockerfile:1: FROM takes an image"),
        ("FROM a b\n", "Dockerfile:1: FROM takes an image"),
        ("FROM a AS 1\n", "Dockerfile:1: '1' can't name a stage"),
        ("FROM a AS b c\n", "Dockerfile:1: FROM takes an image"),
        ("FROM --platfrom=x a\n", "FROM has no flag --platfrom"),
    ],
)
def test_files_that_cannot_be_built_are_refused(text: str, problem: str) -> None:
    with pytest.raises(BuildError) as caught:
        parse(text)

    assert str(caught.value).startswith(problem) or problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("RUNN a", "unknown instruction 'RUNN'"),
        ("\\\n", "unknown instruction ''"),
        ("RUN []", "RUN needs a program"),
        ('RUN ["a", 1]', "a list in JSON has texts only"),
        ("RUN [1e999]", "a list in JSON has texts only"),
        ("RUN --mount a", "--mount of RUN needs a value"),
        ("RUN --mount=type=x a", "'type=x' is unknown to --mount"),
        ("RUN --network=bridge a", "'bridge' is unknown to --network"),
        ("RUN --security=none a", "'none' is unknown to --security"),
        ("COPY a", "COPY needs at least a source and a destination"),
        ("COPY", "COPY needs at least a source and a destination"),
        ("ADD []", "ADD needs at least a source and a destination"),
        ("COPY a <<EOF\nEOF", "COPY can't copy to a heredoc"),
        ("COPY --form=a b c", "COPY has no flag --form"),
        ("COPY --from=a --from=b c d", "COPY has the flag --from twice"),
        ("COPY --link=yes a b", "--link is true or false"),
        ("COPY --link= a b", "--link is true or false"),
        ("COPY --from=$x a b", "--from can't have variables"),
        ("COPY --checksum=x a b", "COPY has no flag --checksum"),
        ("ADD --from=x a b", "ADD has no flag --from"),
        ("ENV", "ENV needs a name and a value"),
        ("ENV a", "ENV needs a value for 'a'"),
        ("ENV a=b c", "'c' is not of the form name=value"),
        ("ENV =b", "ENV needs a name before '='"),
        ("LABEL --x a=b", "LABEL has no flag --x"),
        ("ARG", "ARG needs at least one name"),
        ("ARG =x", "ARG needs a name before '='"),
        ("USER", "USER needs an argument"),
        ("WORKDIR", "WORKDIR needs an argument"),
        ("STOPSIGNAL", "STOPSIGNAL needs an argument"),
        ("MAINTAINER", "MAINTAINER needs an argument"),
        ("VOLUME", "VOLUME needs a path"),
        ('VOLUME ["a", " "]', "VOLUME has an empty path"),
        ("EXPOSE", "EXPOSE needs a port"),
        ("SHELL /bin/sh -c", "SHELL needs a program and its arguments as JSON"),
        ("SHELL []", "SHELL needs a program and its arguments as JSON"),
        ("HEALTHCHECK", "HEALTHCHECK takes NONE alone"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK takes NONE alone"),
        ("HEALTHCHECK CMD", "HEALTHCHECK CMD needs a command"),
        ("HEALTHCHECK TCP 80", "HEALTHCHECK takes NONE alone"),
        ("HEALTHCHECK --interval=5 CMD a", "'5' is no duration"),
        ("HEALTHCHECK --interval=1us CMD a", "--interval is at least 1ms"),
        ("HEALTHCHECK --interval=-1s CMD a", "--interval is at least 1ms"),
        (f"HEALTHCHECK --interval={'9' * 30}h CMD a", "is too long a duration"),
        ("HEALTHCHECK --retries=-1 CMD a", "'-1' is no number of retries"),
        ("ONBUILD", "ONBUILD needs an instruction"),
        ("ONBUILD FROM a", "ONBUILD can't keep FROM"),
        ("ONBUILD ONBUILD RUN a", "ONBUILD can't keep ONBUILD"),
        ("ONBUILD MAINTAINER a", "ONBUILD can't keep MAINTAINER"),
    ],
)
def test_wrong_instructions_are_refused_with_their_line(text: str, problem: str) -> None:
    with pytest.raises(BuildError) as caught:
        read(text)

    assert str(caught.value).startswith("Dockerfile:2: ")
    assert problem in str(caught.value)
    assert caught.value.line == 2


def test_an_error_draws_the_lines_and_marks_the_one_at_fault() -> None:
    with pytest.raises(BuildError) as caught:
        parse("FROM a\nCOPY \\\n  --chown=1 \\\n  --form=b \\\n  c d\n", "app/Dockerfile")

    assert str(caught.value).splitlines() == [
        "app/Dockerfile:4: COPY has no flag --form",
        "  2 | COPY \\",
        "  3 |   --chown=1 \\",
        "> 4 |   --form=b \\",
        "  5 |   c d",
        "  did you mean --from?",
    ]


def test_an_error_of_a_command_shows_how_it_ended() -> None:
    output = "".join(f"line {number}\n" for number in range(100)) + "\x1b[31mred\n"

    error = BuildError(
        "the command ended with exit code 2",
        file="Dockerfile",
        line=7,
        instruction="RUN make",
        output=output,
        exit_code=2,
    )

    shown = str(error).splitlines()
    assert shown[:2] == ["Dockerfile:7: the command ended with exit code 2", "> 7 | RUN make"]
    assert shown[2] == "  line 81"
    assert shown[-1] == "  \ufffd[31mred"
    assert error.output == output


def test_an_error_travels_between_processes() -> None:
    with pytest.raises(BuildError) as caught:
        parse("FROM a\nENV =1\n")

    again = pickle.loads(pickle.dumps(caught.value))

    assert str(again) == str(caught.value)
    assert (again.file, again.line, again.instruction, again.problem) == (
        "Dockerfile",
        2,
        "ENV =1",
        "ENV needs a name before '='",
    )


def test_a_long_instruction_is_drawn_around_the_fault_only() -> None:
    body = "".join(f"  a{number}=1 \\\n" for number in range(1000))

    with pytest.raises(BuildError) as caught:
        parse(f"FROM a\nENV x=1 \\\n{body}  wrong \\\n{body}  z=1\n")

    assert caught.value.line == 1003
    assert len(str(caught.value).splitlines()) == 9
