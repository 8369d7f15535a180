"""SIGKILL of the helper processes: their callers are told, and the next use makes new ones."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import pycontainers as pc
from tests import leaks
from tests.crashes.application import children, ended

_HELPERS = ("guard", "launcher", "zygote")


def _kill(engine: pc.Engine, helper: str) -> None:
    if helper == "supervisor":
        (life,) = engine.services().own_lives()
        supervisor = life.state().supervisor
        assert supervisor is not None
        os.kill(supervisor[0], signal.SIGKILL)
        return
    guard = engine.services().launcher().pid
    (launcher,) = children(guard)
    inside = os.readlink(f"/proc/{launcher}/ns/pid")  # a newborn's own is another
    zygote = next(c for c in children(launcher) if os.readlink(f"/proc/{c}/ns/pid") == inside)
    victim = {"guard": guard, "launcher": launcher, "zygote": zygote}[helper]
    os.kill(victim, signal.SIGKILL)


@pytest.fixture
def container(own: pc.Engine, own_image: pc.Image) -> Iterator[pc.Container]:
    with pc.Container.run(own_image, ["sleep", "60"], engine=own, ephemeral=False) as container:
        yield container


@pytest.mark.parametrize("helper", ["supervisor"])
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


@pytest.mark.parametrize("helper", ["supervisor"])
@pytest.mark.parametrize("call", ["wait", "exec", "popen"])
def test_whoever_waits_is_told_that_the_program_was_killed(
    helper: str, call: str, own: pc.Engine, own_image: pc.Image, container: pc.Container
) -> None:
    def popen() -> int:
        with container.popen(["sleep", "60"]) as process:
            return process.wait()

    calls: dict[str, Callable[[], int]] = {
        "wait": container.wait,
        "exec": lambda: container.exec(["sleep", "60"]).exit_code,
        "popen": popen,
    }
    threading.Timer(0.3, _kill, (own, helper)).start()

    assert calls[call]() == 137
    assert container.exit_code == 137


@pytest.mark.parametrize("helper", ["guard", "launcher"])
def test_a_run_is_told_that_its_launcher_was_killed(
    helper: str, own: pc.Engine, own_image: pc.Image
) -> None:
    pc.run(["true"], image=own_image, engine=own)
    threading.Timer(0.3, _kill, (own, helper)).start()

    assert pc.run(["sleep", "60"], image=own_image, engine=own).exit_code == 137


@pytest.mark.parametrize("helper", _HELPERS)
def test_the_next_run_works_after_a_helper_was_killed(
    helper: str, own: pc.Engine, own_image: pc.Image
) -> None:
    assert pc.run(["echo", "one"], image=own_image, engine=own).stdout == "one\n"

    _kill(own, helper)
    results: list[pc.CompletedRun[str]] = []
    while (not results or results[-1].exit_code == 137) and len(results) < 5:
        results.append(pc.run(["echo", "two"], image=own_image, engine=own))

    assert results[-1].stdout == "two\n"
    assert len(results) <= 2  # the moment of the death may be met


def _seen(container: pc.Container, question: str) -> object:
    """Ask one question of a container that is gone; give what has to be the answer's like."""
    if question == "exec":
        with contextlib.suppress(pc.Conflict):
            return container.exec(["true"]).exit_code
        return "conflict"
    if question == "popen":
        with contextlib.suppress(pc.Conflict), container.popen(["true"]) as process:
            return process.wait()
        return "conflict"
    if question == "kill":
        with contextlib.suppress(pc.Conflict):
            container.kill()
        return "conflict"
    questions: dict[str, Callable[[], object]] = {
        "wait": container.wait,
        "exit_code": lambda: container.wait() and container.exit_code,
        "status": lambda: container.wait() and container.status,
        "result": lambda: container.wait() and container.result.exit_code,
        "pid": lambda: container.wait() and container.pid,
        "stop": container.stop,
        "logs": lambda: container.logs().read(),
    }
    return questions[question]()


_ANSWERS: dict[str, tuple[object, ...]] = {
    "wait": (137,),
    "exit_code": (137,),
    "status": ("exited",),
    "result": (137,),
    "pid": (None,),
    "stop": (None,),
    "logs": ("",),
    "exec": (137, "conflict"),
    "popen": (137, "conflict"),
    "kill": ("conflict",),
}


@pytest.mark.parametrize("helper", ["supervisor"])
@pytest.mark.parametrize("first", _ANSWERS)
def test_a_container_of_a_killed_launcher_answers_truly_in_every_order(
    helper: str, first: str, own: pc.Engine, container: pc.Container
) -> None:
    rest = [question for question in _ANSWERS if question != first]
    random.Random(first).shuffle(rest)
    _kill(own, helper)

    for question in (first, *rest):
        assert _seen(container, question) in _ANSWERS[question], question

    container.remove()
    assert leaks.in_root(own.services().root.path) == []


@pytest.mark.parametrize("helper", ["supervisor"])
def test_a_container_of_a_killed_launcher_can_be_removed_at_once(
    helper: str, own: pc.Engine, container: pc.Container
) -> None:
    _kill(own, helper)

    container.remove(force=True)

    assert leaks.in_root(own.services().root.path) == []


@pytest.mark.parametrize("helper", ["supervisor"])
def test_a_container_of_a_killed_launcher_can_be_used_up(
    helper: str, own: pc.Engine, own_image: pc.Image, container: pc.Container
) -> None:
    container.exec(["sh", "-c", "echo kept >/note"], check=True)

    _kill(own, helper)

    assert container.wait() == 137
    assert container.status == "exited"
    assert "exited" in repr(container)
    assert pc.Container.list(engine=own) == []
    assert pc.Container.list(all=True, engine=own) == [container]
    with pytest.raises(pc.Conflict):
        container.exec(["true"])
    container.stop()
    container.remove()
    assert leaks.in_root(own.services().root.path) == []


@pytest.mark.parametrize("helper", ["supervisor"])
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
        assert container.wait() == 137

        container.start()

        assert container.wait(timeout=30) == 7


def test_threads_that_start_containers_survive_killed_launchers(
    own: pc.Engine, own_image: pc.Image
) -> None:
    over = threading.Event()

    def work(number: int) -> list[tuple[str, int]]:
        answers = []
        while not over.is_set():
            result = pc.run(["echo", str(number)], image=own_image, engine=own)
            answers.append((result.stdout, result.exit_code))
        last = pc.run(["echo", str(number)], image=own_image, engine=own)
        return [*answers, (last.stdout, last.exit_code)]

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work, number) for number in range(4)]
        for helper in ("launcher", "guard", "launcher"):
            time.sleep(0.4)
            _kill(own, helper)
            time.sleep(0.1)
        over.set()
        results = [worker.result(timeout=60) for worker in workers]

    for number, answers in enumerate(results):
        wrong = [a for a in answers if a[1] != 137 and a != (f"{number}\n", 0)]
        assert not wrong
        assert len([a for a in answers if a[1] == 137]) <= 3
        assert answers[-1] == (f"{number}\n", 0)


def test_a_start_that_a_killed_launcher_never_took_is_made_with_a_new_one(
    own: pc.Engine, own_image: pc.Image
) -> None:
    pc.run(["true"], image=own_image, engine=own)
    guard = own.services().launcher().pid
    (launcher,) = children(guard)
    os.kill(launcher, signal.SIGSTOP)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(pc.run, ["echo", "one"], image=own_image, engine=own)
        two = pool.submit(pc.Container.run, own_image, ["sleep", "60"], engine=own)
        time.sleep(0.3)

        os.kill(launcher, signal.SIGKILL)

        assert one.result(timeout=30).stdout == "one\n"
        with two.result(timeout=30) as container:
            assert container.exec(["echo", "two"]).stdout == "two\n"


def test_a_stopped_launcher_does_not_keep_an_engine_from_closing(
    own: pc.Engine, own_image: pc.Image
) -> None:
    before = leaks.snapshot()
    pc.run(["true"], image=own_image, engine=own)
    _kill(own, "launcher")

    own.close()

    assert set(leaks.snapshot()["descriptors"]) <= before["descriptors"]


def test_a_killed_zygote_is_replaced_and_keeps_no_processor_busy(
    own: pc.Engine, own_image: pc.Image
) -> None:
    assert pc.run(["true"], image=own_image, engine=own).ok
    time.sleep(0.2)  # the spare is there, or put off
    _kill(own, "zygote")
    time.sleep(0.1)
    guard = own.services().launcher().pid
    (launcher,) = children(guard)
    before = sum(map(int, _times(launcher)))
    time.sleep(0.5)

    assert sum(map(int, _times(launcher))) - before < 20, "hundredths of a second in half a one"
    assert pc.run(["true"], image=own_image, engine=own).ok
    assert pc.run(["true"], image=own_image, engine=own).ok


@pytest.mark.parametrize("pause", [0, 0.001, 0.01, 0.1])
def test_runs_never_hear_of_a_killed_zygote(
    pause: float, own: pc.Engine, own_image: pc.Image
) -> None:
    assert pc.run(["true"], image=own_image, engine=own).ok
    for number in range(10):
        time.sleep(pause)
        _kill(own, "zygote")
        answer = pc.run(["echo", str(number)], image=own_image, engine=own)
        assert answer.stdout == f"{number}\n"


def _times(pid: int) -> list[str]:
    """Give what a process has had of the processor, user and system, in hundredths of a second."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[11:13]
