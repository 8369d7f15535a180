"""`-it`: the user's terminal is the program's, and the user's again afterwards."""

from __future__ import annotations

import os

import pytest

import pycontainers as pc
from pycontainers.cli import terminal
from tests.cli.conftest import IMAGE, Cli, Screen


def test_a_shell_with_its_size_and_exit_code(cli: Cli, screens: list[Screen]) -> None:
    screen = Screen(cli, "run", "--rm", "-it", IMAGE, "sh", size=(30, 100))
    screens.append(screen)
    screen.wait_for(b"# ")
    screen.type(b"stty size\n")
    screen.wait_for(b"30 100")

    screen.resize(11, 55)
    screen.type(b"sleep 0.5; stty size\n")
    screen.wait_for(b"11 55")
    assert not screen.is_restored()

    screen.type(b"exit 7\n")
    assert screen.end() == 7
    assert screen.is_restored()
    assert cli.out("ps", "-aq") == ""


def test_ctrl_c_is_the_programs(cli: Cli, screens: list[Screen]) -> None:
    script = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done"
    screen = Screen(cli, "run", "--rm", "-it", IMAGE, "sh", "-c", script)
    screens.append(screen)
    screen.wait_for(b"ready")
    screen.type(b"\x03")
    screen.wait_for(b"caught")
    assert screen.end() == 9


def test_detaching_leaves_it_running(cli: Cli, screens: list[Screen]) -> None:
    screen = Screen(cli, "run", "-it", "--name", "shell", IMAGE, "sh")
    screens.append(screen)
    screen.wait_for(b"# ")
    screen.type(b"A=kept\n")
    screen.wait_for(b"# ")
    screen.type(b"\x10\x11")

    assert screen.end() == 0
    assert screen.is_restored()
    assert cli.out("inspect", "-f", "{{.status}}", "shell") == "running"

    again = Screen(cli, "attach", "--detach-keys", "ctrl-x", "shell")
    screens.append(again)
    again.type(b"echo $A\n")
    again.wait_for(b"kept")
    again.type(b"\x18")
    assert again.end() == 0
    assert cli.out("inspect", "-f", "{{.status}}", "shell") == "running"


def test_exec_has_a_terminal_too(cli: Cli, screens: list[Screen]) -> None:
    cli("run", "-d", "--name", "one", IMAGE, "sleep", "60")
    screen = Screen(cli, "exec", "-it", "one", "sh", size=(20, 70))
    screens.append(screen)
    screen.wait_for(b"# ")
    screen.type(b"stty size; tty\n")
    screen.wait_for(b"20 70")
    screen.wait_for(b"/dev/pts/")
    screen.resize(21, 71)
    screen.type(b"sleep 0.5; stty size\n")
    screen.wait_for(b"21 71")
    screen.type(b"exit 4\n")

    assert screen.end() == 4
    assert screen.is_restored()


def test_a_killed_container_gives_the_terminal_back(cli: Cli, screens: list[Screen]) -> None:
    screen = Screen(cli, "run", "-it", "--name", "one", IMAGE, "sh")
    screens.append(screen)
    screen.wait_for(b"# ")
    cli("kill", "one")

    assert screen.end() == 137
    assert screen.is_restored()


def test_a_terminal_that_goes_away_detaches(cli: Cli, screens: list[Screen]) -> None:
    screen = Screen(cli, "run", "-it", "--name", "one", IMAGE, "sh")
    screens.append(screen)
    screen.wait_for(b"# ")
    screen.type(b"trap : HUP\n")
    screen.wait_for(b"# ")
    screen.hang_up()

    screen.process.wait(timeout=20)
    assert cli.out("inspect", "-f", "{{.status}}", "one") == "running"


def test_a_pipe_is_no_terminal(cli: Cli) -> None:
    done = cli("run", "-it", IMAGE, "sh", input="", code=125)
    assert "not a terminal" in done.stderr
    assert cli.out("ps", "-aq") == ""


def test_keys_are_found_across_reads() -> None:
    keys = terminal.Keys(b"\x10\x11")
    assert keys.take(b"ab\x10") == (b"ab", False)
    assert keys.take(b"\x10") == (b"\x10", False)
    assert keys.take(b"c\x10\x11d") == (b"\x10c", True)
    assert terminal.Keys(b"").take(b"\x10\x11") == (b"\x10\x11", False)


@pytest.mark.parametrize("text", ["ctrl-", "ab", "ctrl-1", "ctrl-pp"])
def test_keys_that_are_none(text: str) -> None:
    with pytest.raises(pc.InvalidArgument):
        terminal.detach_keys(text)


def test_colours_reach_a_real_terminal_only(cli: Cli, screens: list[Screen]) -> None:
    cli("run", "-d", "--name", "one", IMAGE, "sleep", "60")
    screen = Screen(cli, "ps")
    screens.append(screen)
    screen.wait_for(b"CONTAINER ID")
    screen.wait_for(b"one")
    assert screen.end() == 0
    assert "\x1b" not in cli.out("ps")
    assert os.get_terminal_size(screen.slave).columns == 80
