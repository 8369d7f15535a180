"""Builds that fail: which line, why, with what output; and that nothing of them goes on."""

from __future__ import annotations

import pickle
import signal
import threading
import time
from pathlib import Path

import pytest

import pycontainers as pc
from tests import leaks
from tests.build.conftest import Builder
from tests.crashes.application import Application

HEAD = "FROM bb:1\n"


def test_a_failed_command_is_shown_with_its_line_output_and_exit_code(build: Builder) -> None:
    error = build.fails(
        "# comment\nFROM bb:1 AS one\nRUN echo fine\n\n"
        "RUN echo first && \\\n    echo second >&2 && \\\n    exit 42\n"
    )

    assert (error.file, error.line, error.exit_code) == ("Dockerfile", 5, 42)
    assert error.instruction.startswith("RUN echo first && \\\n")
    assert error.output == "first\nsecond\n"
    assert error.problem == "the command ended with exit code 42"
    text = str(error)
    assert "Dockerfile:5: the command ended with exit code 42" in text
    assert "> 5 | RUN echo first && \\" in text
    assert "  second" in text
    assert str(pickle.loads(pickle.dumps(error))) == text


def test_the_file_is_named_as_it_was_given(build: Builder) -> None:
    error = build.fails("", {"sub/Other": HEAD + "RUN false\n"}, dockerfile="sub/Other")

    assert (error.file, error.line) == ("sub/Other", 2)


def test_long_output_is_cut_at_the_beginning(build: Builder) -> None:
    error = build.fails(HEAD + "RUN seq 1 100000; echo last; false\n")

    assert error.output.endswith("99999\n100000\nlast\n")
    assert len(error.output) <= 1 << 16
    assert str(error).count("\n") < 30


def test_output_can_do_nothing_to_a_terminal(build: Builder) -> None:
    error = build.fails(HEAD + r"RUN printf '\033[2J\377\000x\n'; false" + "\n")

    assert "\033" not in str(error)
    assert "\0" not in str(error)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ('["/no/such"]', "/no/such"),
        ('["/etc/passwd"]', "/etc/passwd"),
        ("sh -c 'kill -9 $$'; exit $?", "exit code 137"),
        ("no-such-command", "exit code 127"),
    ],
)
def test_commands_that_can_not_be_run_are_told(build: Builder, command: str, problem: str) -> None:
    error = build.fails(HEAD + f"RUN {command}\n")

    assert error.line == 2
    assert problem in str(error)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("COPY missing /x", "missing"),
        ("COPY missing a /x/", "missing"),
        ("ADD a b /no-directory", "must end with a slash"),
        ("COPY --from=127.0.0.1:1/nowhere /a /b", "nowhere"),
        ("COPY --from=one /missing /b", "missing"),
        ("COPY --from=last /a /b", "last"),
        ("COPY --chown=ghost a /x", "ghost"),
        ("COPY --chmod=9 a /x", "9"),
        ("COPY a /etc/passwd/", "passwd"),
        ("COPY ../a /x", ""),
        ("WORKDIR /etc/passwd", "/etc/passwd"),
        ("USER ghost\nRUN id", "ghost"),
        ("RUN --mount=type=secret,id=s,required cat /run/secrets/s", "'s'"),
        ("RUN --mount=type=ssh,required true", "SSH"),
        ("RUN --mount=type=bind,from=one,source=/missing,target=/m true", "missing"),
        ("RUN --mount=type=bind,source=missing,target=/m true", "missing"),
        ("RUN --mount=type=cache,target=/ true", "root file system"),
        ("ADD http://127.0.0.1:1/x /x", "cannot fetch"),
        ("ADD --checksum=sha256:00 http://127.0.0.1:1/x /x", "127.0.0.1"),
        ("RUN --security=insecure true", "insecure"),
        ('ENV A="${B:?must be set}"', "must be set"),
    ],
)
def test_what_can_not_be_done_is_told_with_its_line(
    build: Builder, line: str, problem: str
) -> None:
    if problem == "":  # a path that leads out stays within the context
        assert build(HEAD + line + "\n", {"a": "1"}).sh("cat /x") == "1"
        return

    error = build.fails(
        f"FROM bb:1 AS one\nFROM bb:1\n{line}\nFROM bb:1 AS last\n",
        {"a": "1", "b": "2"},
        target="1",
    )

    assert error.line == 3 + line.count("\n")
    assert error.instruction == line.rpartition("\n")[2]
    assert problem in error.problem


def test_a_base_image_that_can_not_be_had_is_named(build: Builder) -> None:
    with pytest.raises(pc.RegistryError, match=r"127\.0\.0\.1:1"):
        build("FROM 127.0.0.1:1/nothing:here\n")


def test_an_ignored_file_is_told_to_be_so(build: Builder) -> None:
    error = build.fails(HEAD + "COPY a.log /\n", {".dockerignore": "*.log\n", "a.log": ""})

    assert error.line == 2
    assert "ignore" in (error.hint or "")


def test_a_context_or_dockerfile_that_is_not_there(build: Builder, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        build.build(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError):
        (tmp_path / "file").write_text("")
        build.build(tmp_path / "file")
    with pytest.raises(pc.BuildError, match="cannot read Dockerfile"):
        build.build(tmp_path)
    with pytest.raises(pc.BuildError, match="cannot read Other"):
        build(HEAD, dockerfile="Other")


@pytest.mark.parametrize(
    "text", ["", "RUN x\n", "FROM\n", HEAD + "WHAT x\n", HEAD + "RUN --no x\n"]
)
def test_what_is_no_dockerfile_is_refused_before_anything_is_done(
    build: Builder, text: str
) -> None:
    with pytest.raises(pc.BuildError):
        build(text)


def test_stages_that_begin_from_themselves_are_refused(build: Builder) -> None:
    error = build.fails("FROM bb:1 AS a\nFROM a AS b\nCOPY --from=b / /\n", target="b")

    assert "b" in str(error)


# What goes on meanwhile.


def test_a_failing_stage_ends_the_others_at_once(build: Builder) -> None:
    begun = time.monotonic()

    error = build.fails(
        "FROM bb:1 AS slow\nRUN echo 1; sleep 60\nFROM bb:1 AS broken\nRUN sleep 0.3; exit 3\n"
        "FROM bb:1\nCOPY --from=slow /a /a\nCOPY --from=broken /b /b\n"
    )

    assert error.exit_code == 3
    assert error.line == 4
    assert time.monotonic() - begun < 20
    assert leaks.in_root(Path(build.engine.root)) == []


def test_a_listener_that_fails_ends_the_build(build: Builder) -> None:
    def told(event: object) -> None:
        if "sleep" in str(event):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build(HEAD + "RUN echo x; sleep 0.1\n", progress=told)

    assert leaks.in_root(Path(build.engine.root)) == []


def test_images_that_are_removed_meanwhile_do_no_harm(fresh: Builder) -> None:
    begun = threading.Event()
    found: list[str] = []

    def told(event: pc.BuildProgress) -> None:
        if "begun" in event.output:
            begun.set()

    def work() -> None:
        built = fresh(
            HEAD + "RUN echo begun; sleep 0.5\nCOPY --from=bb:1 /etc/passwd /x\n", progress=told
        )
        found.append(built.sh("head -c 4 /x"))

    building = threading.Thread(target=work)
    building.start()
    assert begun.wait(20)
    pc.Image.get("bb:1", engine=fresh.engine).remove(force=True)
    pc.Image.prune(all=True, engine=fresh.engine)
    building.join()

    assert found == ["root"]


INTERRUPTED = """
    pc.Image.from_rootfs({base!r}, engine=engine).tag("bb:1")
    def told(event):
        if "begun" in event.output:
            say("begun")
    begun = time.monotonic()
    try:
        pc.Image.build({context!r}, network="none", progress=told, engine=engine)
    except KeyboardInterrupt:
        say("interrupted", time.monotonic() - begun < 30)
    say(len(pc.Container.list(all=True, engine=engine)), "containers")
    say(pc.run(["echo", "again"], image="bb:1", engine=engine).stdout)
"""


def test_ctrl_c_ends_a_build_with_all_its_commands(
    tmp_path: Path, busybox: Path, base_archive: Path
) -> None:
    context, root = tmp_path / "context", tmp_path / "root"
    context.mkdir()
    (context / "Dockerfile").write_text(
        "FROM bb:1 AS a\nRUN sleep 60\nFROM bb:1\nRUN sleep 0.3; echo begun; sleep 60\n"
        "COPY --from=a / /a\n"
    )
    before = leaks.snapshot()
    program = INTERRUPTED.format(base=str(base_archive), context=str(context))
    with Application(program, root, busybox) as application:
        assert application.line() == "begun"

        application.signal_group(signal.SIGINT)

        assert application.lines() == ["interrupted True", "0 containers", "again", ""]
    leaks.assert_recovered(root, before)
