"""SIGKILL of the helper processes: their callers are told, and the next use makes new ones."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import pycontainers as pc
from tests import leaks
from tests.crashes.application import children, ended

_HELPERS = ("guard", "launcher", "zygote")


def _kill(engine: pc.Engine, helper: str) -> None:
    guard = engine.services().launcher().pid
    (launcher,) = children(guard)
    zygote = children(launcher)[0]
    victim = {"guard": guard, "launcher": launcher, "zygote": zygote}[helper]
    os.kill(victim, signal.SIGKILL)


@pytest.fixture
def container(own: pc.Engine, own_image: pc.Image) -> Iterator[pc.Container]:
    with pc.Container.run(own_image, ["sleep", "60"], engine=own, ephemeral=False) as container:
        yield container


@pytest.mark.parametrize("helper", ["guard", "launcher"])
def test_the_containers_of_a_killed_launcher_die(
    helper: str, own: pc.Engine, container: pc.Container
) -> None:
    pid = container.pid
    assert pid is not None

    _kill(own, helper)

    deadline = time.monotonic() + 10
    while not ended(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ended(pid)


@pytest.mark.parametrize("helper", ["guard", "launcher"])
@pytest.mark.parametrize("call", ["wait", "run", "exec"])
def test_whoever_waits_is_told_that_the_launcher_was_killed(
    helper: str, call: str, own: pc.Engine, own_image: pc.Image, container: pc.Container
) -> None:
    def popen() -> object:
        with container.popen(["sleep", "60"]) as process:
            return process.wait()

    calls: dict[str, Callable[[], object]] = {
        "wait": container.wait,
        "run": lambda: pc.run(["sleep", "60"], image=own_image, engine=own),
        "exec": lambda: container.exec(["sleep", "60"]),
        "popen": popen,
    }
    threading.Timer(0.3, _kill, (own, helper)).start()

    with pytest.raises(pc.EngineError):
        calls[call]()


@pytest.mark.parametrize("helper", _HELPERS)
def test_the_next_run_works_after_a_helper_was_killed(
    helper: str, own: pc.Engine, own_image: pc.Image
) -> None:
    assert pc.run(["echo", "one"], image=own_image, engine=own).stdout == "one\n"

    _kill(own, helper)
    answers: list[str] = []
    while "two\n" not in answers and len(answers) < 50:  # the moment of the death may be met
        try:
            answers.append(pc.run(["echo", "two"], image=own_image, engine=own).stdout)
        except pc.EngineError:
            answers.append("told")

    assert answers[-1] == "two\n"


@pytest.mark.parametrize("helper", ["guard", "launcher"])
def test_a_container_of_a_killed_launcher_starts_again_with_what_it_wrote(
    helper: str, own: pc.Engine, own_image: pc.Image
) -> None:
    script = "test -e /note && exit 7; echo kept >/note; exec sleep 60"
    with pc.Container.run(
        own_image, ["sh", "-c", script], engine=own, ephemeral=False
    ) as container:
        while container.exec(["test", "-e", "/note"]).exit_code:
            time.sleep(0.01)
        _kill(own, helper)
        with pytest.raises(pc.EngineError):
            container.wait()

        container.start()

        assert container.wait(timeout=30) == 7


def test_a_stopped_launcher_does_not_keep_an_engine_from_closing(
    own: pc.Engine, own_image: pc.Image
) -> None:
    before = leaks.snapshot()
    pc.run(["true"], image=own_image, engine=own)
    _kill(own, "launcher")

    own.close()

    assert set(leaks.snapshot()["descriptors"]) <= before["descriptors"]
