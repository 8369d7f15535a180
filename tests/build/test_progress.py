"""What a build tells while it goes on: events, lines, a drawing, warnings."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import pycontainers as pc
from pycontainers.build.drawing import Drawing
from pycontainers.build.progress import Plain, plain_lines
from tests.build.conftest import Builder
from tests.images.conftest import registry

__all__ = ["registry"]  # a fixture of other tests

ROOT = Path(__file__).parents[2]
STEPS = 'FROM bb:1 AS app\nRUN echo one; echo two >&2\nWORKDIR /srv\nCMD ["true"]\n'


def event(action: Any, output: str = "", *, step: int = 1, name: str = "RUN true") -> Any:
    return pc.BuildProgress(step, "app", name, action, output, 1.25, 2, 4)


def shown(events: list[Any], capsys: pytest.CaptureFixture[str]) -> list[str]:
    plain = Plain()
    for one in events:
        plain(one)
    return capsys.readouterr().err.splitlines()


def test_a_callable_gets_each_step_from_its_start_to_its_end(fresh: Builder) -> None:
    events = fresh(STEPS).events

    assert [(one.step, one.action) for one in events if one.action != "output"] == [
        (1, "start"), (1, "cached"), (2, "start"), (2, "done"), (3, "start"), (3, "done"),
        (4, "start"), (4, "done"),
    ]  # fmt: skip
    [run] = [one for one in events if one.step == 2 and one.action == "start"]
    assert run == pc.BuildProgress(2, "app", run.name, "start", "", run.seconds, 2, 3)
    assert run.title == "[app 2/3] RUN echo one; echo two >&2"
    assert "".join(one.output for one in events if one.step == 2) == "one\ntwo\n"
    assert events[-1].title == "exporting the image"


def test_what_was_made_before_is_told_as_cached(fresh: Builder) -> None:
    fresh(STEPS)

    events = fresh(STEPS).events

    assert [one.step for one in events if one.action == "cached"] == [1, 2, 3]


def test_a_failure_is_told_as_the_error_of_its_step(fresh: Builder) -> None:
    events: list[Any] = []

    fresh.fails("FROM bb:1\nRUN echo on; exit 3\n", progress=events.append)

    assert [one.action for one in events if one.step == 2] == ["start", "output", "error"]


def test_a_listener_that_fails_ends_the_build_with_its_error(fresh: Builder) -> None:
    def listener(_: pc.BuildProgress) -> None:
        raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        fresh(STEPS, progress=listener)


def test_steps_of_stages_without_an_image_count_from_one(fresh: Builder) -> None:
    events = fresh("FROM bb:1 AS a\nRUN true\nFROM a AS b\nRUN echo b\nCOPY . /x\n").events

    places = {one.name: (one.stage, one.position, one.total) for one in events if one.stage}
    assert places["RUN echo b"] == ("b", 1, 2)
    assert places["COPY . /x"] == ("b", 2, 2)


def test_a_base_image_that_is_fetched_is_output_of_its_step(
    fresh: Builder, registry: str, base: pc.Image
) -> None:
    name = f"{registry}/base:1"
    base.push(name, progress=False)

    told = fresh(f"FROM {name}\n").events

    assert re.fullmatch(r"sha256:\w{64} done, \d+ bytes\n", told[1].output)
    assert [one.action for one in told if one.step == 1] == ["start", "output", "done"]
    again = fresh(f"FROM {name}\n").events
    assert [one.action for one in again if one.step == 1] == ["start", "cached"]


# Lines.


def test_lines_are_printed_to_standard_error(
    fresh: Builder, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh(STEPS, progress=True)

    printed = re.sub(r"\d+\.\d+", "0", capsys.readouterr().err)
    assert printed.splitlines()[:6] == [
        "#1 [app 1/3] FROM bb:1 AS app",
        "#1 CACHED",
        "#2 [app 2/3] RUN echo one; echo two >&2",
        "#2 0 one",
        "#2 0 two",
        "#2 DONE 0s",
    ]


def test_nothing_is_printed_where_nobody_looks(
    fresh: Builder, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh(STEPS, progress=None)
    fresh(STEPS, progress=False)

    assert capsys.readouterr() == ("", "")


def test_a_progress_that_is_none_is_refused(fresh: Builder) -> None:
    with pytest.raises(pc.InvalidArgument, match="progress"):
        fresh(STEPS, progress="loud")


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        ("a\nb\n", ["a", "b"]),
        ("a\n\nb", ["a", "", "b"]),
        ("", [""]),
        ("\x1b[1;31mred\x1b[0m", ["red"]),
        ("\x1b[2J\x1b[H\x1b7up\x1b8", ["up"]),
        ("\x1b]0;title\x07in\x1b]8;;http://x\x1b\\side", ["inside"]),
        ("\x1bP1;2|ab\x1b\\in", ["in"]),
        ("broken \x1b[", ["broken "]),
        ("\x1b]0;without an end\nnext", ["", "next"]),
        ("10%\r50%\r100%\n", ["100%"]),
        ("windows\r\nends\r\n", ["windows", "ends"]),
        ("bell\x07 \x9b2J", ["bell\ufffd \ufffd2J"]),
        ("a\tb", ["a       b"]),
    ],
)
def test_output_can_not_steer_a_terminal(written: str, lines: list[str]) -> None:
    assert plain_lines(written) == lines


def test_names_can_not_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    events = [event("start", name="RUN \x1b]0;title\x07x"), event("warning", "\x1b[2Jy")]

    printed = shown(events, capsys)

    assert printed == ["#1 [app 2/4] RUN x", "WARNING RUN true: y"]


# Warnings.


def test_warnings_are_told_once_with_their_rule_and_line(fresh: Builder) -> None:
    events = fresh("FROM bb:1\nARG TOKEN\nWORKDIR $NOWHERE/x\nCMD true\n").events

    told = [(one.step, one.name, one.output) for one in events if one.action == "warning"]
    assert [(step, name) for step, name, _ in told] == [
        (0, "SecretsUsedInArgOrEnv"), (0, "JSONArgsRecommended"), (0, "UndefinedVar"),
    ]  # fmt: skip
    assert told[-1][2] == "the variable 'NOWHERE' is not defined (line 3)"


def test_warnings_are_told_once_for_all_platforms(fresh: Builder) -> None:
    events = fresh("FROM scratch\nCMD x\n", platform=["linux/amd64", "linux/arm64"]).events

    assert [one.name for one in events if one.action == "warning"] == ["JSONArgsRecommended"]
    stages = {one.stage for one in events if one.action == "start" and one.position}
    assert stages == {"linux/amd64 stage-0", "linux/arm64 stage-0"}


def test_copying_what_is_ignored_is_warned_of(fresh: Builder) -> None:
    files = {".dockerignore": "secret\n*.log\n", "kept": "", "a.log": ""}

    events = fresh("FROM scratch\nCOPY --from=bb:1 secret* /x/\nADD kept *.log /y/\n", files).events

    warnings = [one.output for one in events if one.action == "warning"]
    assert warnings == ["'*.log' is left out by the ignore file (line 3)"]


def test_warnings_can_be_made_errors(fresh: Builder) -> None:
    told: list[Any] = []

    error = fresh.fails("# check=error=true\nFROM bb:1\nRUN true\nCMD true\n", progress=told.append)

    assert "JSONArgsRecommended" in error.problem
    assert [one.action for one in told] == ["warning"]


def test_warnings_that_are_errors_need_no_listener(fresh: Builder) -> None:
    text = "# check=error=true\nFROM bb:1\nWORKDIR /$NOWHERE\n"

    assert "UndefinedVar" in fresh.fails(text, progress=False).problem


# The drawing.


class Terminal:
    """What a drawing is written to, as a terminal of 60 columns."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        """Give all that was ever shown, with single spaces."""
        text = self.text.replace("\r", "\n")
        return [" ".join(line.split()) for line in plain_lines(text)]


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error one; pytest would undo that between a fixture and its test."""
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "60"), ("LINES", "12")):
        monkeypatch.setenv(name, value)
    return found


def test_a_drawing_shows_what_has_ended_and_what_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)

    with Drawing() as drawing:
        drawing(event("start"))
        drawing(event("output", "".join(f"line {n}\n" for n in range(1, 10))))
        drawing(event("start", step=2, name="COPY a b"))
        drawing(event("cached", step=2, name="COPY a b"))
        going_on = terminal.lines()
        drawing(event("warning", "beware", name="Rule"))
        drawing(event("done"))

    assert any(line.startswith("=> CACHED [app 2/4] COPY a b ") for line in going_on)
    assert "line 9" in going_on
    assert "line 3" not in going_on
    shown = terminal.lines()
    assert "=> [app 2/4] RUN true 1.2s" in shown
    assert "- Rule: beware" in " ".join(shown)
    assert any(re.fullmatch(r"built: 2 steps, 1 cached \d\.\ds", line) for line in shown)


def test_a_drawing_of_many_steps_is_no_taller_than_the_terminal() -> None:
    drawing = Drawing()
    for step in range(40):
        drawing(event("start", step=step))
        drawing(event("output", "x\n" * 50, step=step))

    drawn = drawing._draw(10)

    assert len(drawn.renderables) <= 10


def test_a_build_in_a_terminal_is_drawn(fresh: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)

    fresh(STEPS, progress=None)
    fresh.fails("FROM bb:1\nRUN exit 3\n", progress=None)

    shown = terminal.lines()
    assert any(line.startswith("=> [app 3/3] WORKDIR /srv ") for line in shown)
    assert any(line.startswith("built: 4 steps, 1 cached ") for line in shown)
    assert any(line.startswith("=> ERROR [stage-0 2/2] RUN exit 3 ") for line in shown)
    assert any(line.startswith("not built: 2 steps, 1 cached ") for line in shown)


def test_a_build_in_a_notebook_is_drawn_in_its_cell(base_archive: Path, tmp_path: Path) -> None:
    from jupyter_client.manager import start_new_kernel

    environment = {
        **os.environ,
        "PYCONTAINERS_ROOT": str(tmp_path / "root"),
        "PYTHONPATH": str(ROOT),
    }
    cell = (
        "import pycontainers as pc\n"
        f"pc.Image.from_rootfs('{base_archive}', progress=False).tag('bb:1')\n"
        "text = b'FROM bb:1\\nRUN echo $((6*7)); sleep 0.5\\n'\n"
        "image = pc.Image.build(text, network='none')"
    )
    pages: list[str] = []

    def see(message: dict[str, Any]) -> None:
        if message["msg_type"] in ("display_data", "update_display_data"):
            pages.append(message["content"]["data"]["text/html"])

    manager, client = start_new_kernel(env=environment)
    try:
        reply = client.execute_interactive(cell, timeout=60, output_hook=see)
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
        manager.cleanup_resources()

    assert reply["content"]["status"] == "ok", reply["content"]
    assert any("   42" in page and "building: 1 step, 1 cached" in page for page in pages)
    assert "   42" not in pages[-1]
    assert "built: 3 steps, 1 cached" in pages[-1]
