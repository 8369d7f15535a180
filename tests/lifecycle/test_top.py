"""The processes of a container, by its own numbers."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

import pycontainers as pc
from pycontainers.lifecycle.top import ProcessInfo, top


@pytest.fixture
def container(image: pc.Image, engine: pc.Engine) -> Iterator[pc.Container]:
    with pc.Container.run(image, ["sleep", "60"], engine=engine) as running:
        yield running


def listed(container: pc.Container, engine: pc.Engine) -> list[ProcessInfo]:
    cgroup = container._life().cgroup()
    assert cgroup is not None
    return top(cgroup)


def listed_once(
    container: pc.Container, engine: pc.Engine, true: Callable[[list[ProcessInfo]], object]
) -> list[ProcessInfo]:
    deadline = time.monotonic() + 10
    while not true(found := listed(container, engine)):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def test_the_first_process(container: pc.Container, engine: pc.Engine) -> None:
    (first,) = listed_once(container, engine, lambda found: found[0].command == "sleep 60")

    assert (first.pid, first.host_pid, first.parent, first.user) == (1, container.pid, 0, 0)
    assert first.state in ("R", "S")  # it may not have gone to sleep yet
    assert 0 <= first.cpu < 5
    assert 0 < first.memory < 64 << 20
    assert abs(first.started - time.time()) < 60


def test_numbers_parents_and_users_are_those_inside(image: pc.Image, engine: pc.Engine) -> None:
    script = "sleep 61 & exec sleep 60"
    with (
        pc.Container.run(image, ["sh", "-c", script], engine=engine) as container,
        container.popen(["sleep", "62"], user="app") as further,
    ):
        found = listed_once(
            container,
            engine,
            lambda found: {"sleep 60", "sleep 62"} < {process.command for process in found},
        )

        by_command = {process.command: process for process in found}
        assert by_command["sleep 60"].pid == 1
        assert by_command["sleep 61"].parent == 1
        assert by_command["sleep 62"].parent == 0
        assert by_command["sleep 62"].user == 1000
        assert [process.pid for process in found] == sorted(process.pid for process in found)
        said = container.exec(["ps", "-o", "pid,args"]).stdout
        for process in found:
            assert f"{process.pid} {process.command}" in said
        further.kill()


@pytest.mark.parametrize("userns", ["auto", "host"])
def test_users_are_told_in_either_user_namespace(
    image: pc.Image, engine: pc.Engine, userns: str
) -> None:
    options = {"userns": userns, "user": "app"}
    with pc.Container.run(image, ["sleep", "60"], engine=engine, **options) as container:  # type: ignore[arg-type]
        (first,) = listed_once(container, engine, lambda found: found[0].command == "sleep 60")

        assert first.user == 1000


def test_namespaces_made_within_change_no_numbers(image: pc.Image, engine: pc.Engine) -> None:
    options = {"privileged": True}
    script = "unshare --pid --fork sleep 61 & exec sleep 60"
    with pc.Container.run(image, ["sh", "-c", script], engine=engine, **options) as container:  # type: ignore[arg-type]
        found = listed_once(
            container, engine, lambda found: "sleep 61" in [p.command for p in found]
        )

        (inner,) = [process for process in found if process.command == "sleep 61"]
        assert inner.pid > 1
        assert inner.parent in [process.pid for process in found]


def test_a_command_line_moves_no_cursor_and_is_bounded(
    container: pc.Container, engine: pc.Engine
) -> None:
    wild = "a\x1b[2J\r\n\x9b\u202e\tb"
    with (
        container.popen(["sh", "-c", f"sleep 61; : {wild}"]) as first,
        container.popen(["sh", "-c", f"sleep 62; : {'x' * 100_000}"]) as second,
    ):
        found = listed_once(container, engine, lambda found: len(found) == 5)
        first.kill()
        second.kill()

    commands = [process.command for process in found]
    assert all(command.isprintable() for command in commands)
    assert any(r"a\x1b[2J\r\n\x9b\u202e\tb" in command for command in commands)
    assert max(map(len, commands)) == 4096


def test_processes_that_come_and_go_are_no_error(image: pc.Image, engine: pc.Engine) -> None:
    script = "while :; do true; (true) & (true) & done"
    with pc.Container.run(image, ["sh", "-c", script], engine=engine) as container:
        for _ in range(200):
            found = listed(container, engine)
            assert found[0].pid == 1


def test_a_container_that_is_gone_has_none(container: pc.Container, engine: pc.Engine) -> None:
    cgroup = container._life().cgroup()
    assert cgroup is not None
    container.kill()
    container.wait()

    assert top(cgroup) == []


class Own:
    """A cgroup of processes of our own."""

    def __init__(self, *pids: int) -> None:
        self._pids = list(pids)

    def pids(self) -> list[int]:
        return self._pids


def test_a_process_of_our_own_is_shown_as_it_is() -> None:
    (own,) = top(Own(os.getpid(), 1 << 22))  # type: ignore[arg-type]

    assert own.host_pid == os.getpid()
    assert own.user == os.geteuid()
    assert own.memory > 1 << 20


def test_what_has_ended_but_was_not_waited_for_has_its_name() -> None:
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)

    (seen,) = top(Own(ended.pid))  # type: ignore[arg-type]

    ended.wait()
    assert (seen.state, seen.command, seen.memory) == ("Z", "[true]", 0)
