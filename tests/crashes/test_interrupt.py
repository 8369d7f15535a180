"""Ctrl-C: KeyboardInterrupt in the application, and its container is gone."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.crashes.application import Application

_CALLS = {
    "run": 'pc.run(["sleep", "60"], image=image, engine=engine, ephemeral=False)',
    "run with input": 'pc.run(["sleep", "60"], image=image, engine=engine, input=b"x" * (1 << 22))',
    "run in a terminal": 'pc.run(["sleep", "60"], image=image, engine=engine, tty=True)',
    "run that ignores": 'pc.run(["sh", "-c", "trap : INT; sleep 60"], image=image, engine=engine)',
    "wait": 'container("sleep", "60").wait()',
    "exec": 'container("sleep", "60").exec(["sleep", "60"])',
    "communicate": 'container("sleep", "60").popen(["sleep", "60"]).communicate()',
}
_PROGRAM = """
    from contextlib import ExitStack

    def container(*command):
        made = pc.Container.run(image, list(command), engine=engine)
        return stack.enter_context(made)

    pc.run(["true"], image=image, engine=engine)
    threading.Timer(0.3, say, ("go",)).start()
    try:
        with ExitStack() as stack:
            {call}
    except KeyboardInterrupt:
        say("interrupted")
    say(len(pc.Container.list(all=True, engine=engine)), "containers")
    say(pc.run(["echo", "again"], image=image, engine=engine).stdout)
"""


@pytest.mark.parametrize("call", _CALLS)
def test_an_interrupted_call_ends_its_container_and_the_engine_goes_on(
    call: str, root: Path, busybox: Path
) -> None:
    with Application(_PROGRAM.format(call=_CALLS[call]), root, busybox) as application:
        assert application.line() == "go"

        application.signal_group(signal.SIGINT)

        assert application.lines() == ["interrupted", "0 containers", "again", ""]


def test_ctrl_c_on_a_terminal_reaches_the_application_only(root: Path, busybox: Path) -> None:
    program = """
        survivor = pc.Container.run(image, ["sleep", "60"], engine=engine)
        threading.Timer(0.3, say, ("go",)).start()
        try:
            pc.run(["sleep", "60"], image=image, engine=engine)
        except KeyboardInterrupt:
            say("interrupted")
        say(survivor.status, len(pc.Container.list(engine=engine)))
        say(pc.run(["echo", "again"], image=image, engine=engine).stdout)
    """
    master, slave = os.openpty()
    try:
        setsid = ["setsid", "--ctty"]
        with Application(program, root, busybox, before=setsid, terminal=slave) as application:
            assert application.line() == "go"

            os.write(master, b"\x03")

            assert application.lines() == ["interrupted", "running 1", "again", ""]
    finally:
        os.close(master)
        os.close(slave)
