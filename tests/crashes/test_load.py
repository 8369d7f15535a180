"""Many containers and many threads at once."""

from __future__ import annotations

import itertools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pycontainers as pc
from tests import leaks
from tests.crashes.application import Application

_LIVE = 200


def test_two_hundred_containers_live_at_once(
    own: pc.Engine, own_image: pc.Image, root: Path
) -> None:
    pc.run(["true"], image=own_image, engine=own)
    before = leaks.snapshot()
    with ThreadPoolExecutor(4) as pool:
        containers = list(
            pool.map(
                lambda number: pc.Container.run(
                    own_image, ["sleep", "600"], engine=own, hostname=f"host{number}"
                ),
                range(_LIVE),
            )
        )
    assert len(pc.Container.list(engine=own)) == _LIVE
    sample = containers[:: _LIVE // 20]
    names = [one.exec(["hostname"]).stdout.strip() for one in sample]
    ranges = {one.exec(["cat", "/proc/self/uid_map"]).stdout for one in sample}

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: one.remove(force=True), containers))

    assert names == [f"host{number}" for number in range(0, _LIVE, _LIVE // 20)]
    assert len(ranges) == len(sample)
    assert pc.Container.list(all=True, engine=own) == []
    assert leaks.in_root(root) == []
    assert leaks.cgroups_of_containers() == []
    leaks.assert_none_since(before, "mounts")


def test_two_hundred_containers_fit_into_the_usual_limit_of_descriptors(
    root: Path, busybox: Path
) -> None:
    program = f"""
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
        live = [pc.Container.run(image, ["sleep", "600"], engine=engine) for _ in range({_LIVE})]
        say(len(pc.Container.list(engine=engine)))
    """

    with Application(program, root, busybox) as application:
        assert application.lines() == [str(_LIVE)]


def test_threads_that_run_at_once_get_their_own_output(own: pc.Engine, own_image: pc.Image) -> None:
    def work(thread: int) -> list[tuple[str, str, int]]:
        done = []
        for number in range(25):
            mark = f"{thread}-{number}"
            script = f"cat; echo {mark} >&2; exit {number}"
            result = pc.run(
                ["sh", "-c", script], image=own_image, engine=own, input=mark * (number * 500 + 1)
            )
            done.append((result.stdout, result.stderr, result.exit_code))
        return done

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))

    for thread, done in enumerate(results):
        for number, (out, err, code) in enumerate(done):
            mark = f"{thread}-{number}"
            assert (err, code) == (f"{mark}\n", number)
            assert out == mark * (number * 500 + 1)


def test_threads_that_execute_at_once_in_one_container_get_their_own_output(
    own: pc.Engine, own_image: pc.Image
) -> None:
    with pc.Container.run(own_image, ["sleep", "600"], engine=own) as container:

        def work(thread: int) -> set[str]:
            command = ["echo", str(thread)]
            return {container.exec(command, timeout=60).stdout for _ in range(15)}

        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(work, range(4)))

    assert results == [{f"{thread}\n"} for thread in range(4)]


def test_a_list_never_fails_while_containers_come_and_go(
    own: pc.Engine, own_image: pc.Image
) -> None:
    over = threading.Event()

    def come_and_go(ephemeral: bool) -> None:
        for _ in range(40):
            with pc.Container.run(own_image, ["true"], engine=own, ephemeral=ephemeral):
                pass

    def look() -> int:
        for count in itertools.count():
            for container in pc.Container.list(all=True, engine=own):
                assert repr(container)
            pc.Container.list(engine=own)
            if over.is_set():
                return count
        raise AssertionError

    with ThreadPoolExecutor(4) as pool:
        watchers = [pool.submit(look) for _ in range(2)]
        makers = [pool.submit(come_and_go, ephemeral) for ephemeral in (True, False)]
        try:
            for maker in makers:
                maker.result()
        finally:
            over.set()

        assert all(watcher.result() > 5 for watcher in watchers)


def test_a_list_of_another_process_never_fails_while_containers_come_and_go(
    own: pc.Engine, own_image: pc.Image, root: Path, busybox: Path
) -> None:
    program = """
        say("go")
        while len(pc.Container.list(all=True, engine=engine)) < 2:
            pass
        for number in range(100):
            for container in pc.Container.list(all=number % 2 == 0, engine=engine):
                try:
                    assert container.status in ("created", "running", "exited", "removing")
                    assert container.attrs["id"] == container.id
                except pc.ContainerNotFound:
                    pass
        say("done")
    """
    with (
        Application(program, root, busybox) as watcher,
        pc.Container.create(own_image, ["true"], engine=own),
    ):
        assert watcher.line() == "go"

        while watcher.process.poll() is None:
            with pc.Container.run(own_image, ["true"], engine=own) as container:
                container.wait()

        assert watcher.lines() == ["done"]


def test_as_many_runs_as_you_like_keep_no_descriptor(own: pc.Engine, own_image: pc.Image) -> None:
    def use() -> None:
        pc.run(["true"], image=own_image, engine=own)
        with pc.Container.run(own_image, ["sleep", "60"], engine=own) as container:
            container.exec(["true"], timeout=60)
            container.exec(["cat"], input="x")
            with container.popen(["cat"], stdin=True) as cat:
                cat.communicate(b"x")
            container.logs()

    def theirs() -> dict[str, object]:
        deadline = time.monotonic() + 10
        while not (told := own.services().launcher().report())["spare"]:
            assert time.monotonic() < deadline, told
            time.sleep(0.2)  # it is made when nothing else goes on
        return told | {"spare": None}

    use()
    held, before = os.listdir("/proc/self/fd"), theirs()

    for _ in range(10):
        use()

    assert len(os.listdir("/proc/self/fd")) <= len(held)
    assert theirs() == before
