"""Many containers, and random deaths of the helpers meanwhile: nothing leaks, nothing is lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pycontainers as pc
from tests import leaks

_MADE = 1000
_LIVE = 300
_KILLS = 50


def _helpers() -> list[int]:
    """Find the supervisors and nurseries that descend from this process."""
    found = []
    for pid in leaks._descendants():
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            if name in ("supervisor", "nursery"):
                found.append(pid)
    return found


def test_a_thousand_containers_come_and_go(own: pc.Engine, own_image: pc.Image) -> None:
    before = leaks.snapshot()

    def work(number: int) -> int:
        with pc.Container.run(
            own_image, ["sh", "-c", f"exit {number % 200}"], detach=number % 2 == 0, engine=own
        ) as container:
            return container.wait(timeout=60)

    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(work, range(_MADE)))

    assert codes == [number % 200 for number in range(_MADE)]
    assert leaks.in_root(Path(own.root)) == []
    own.close()
    leaks.assert_none_since(before)


def test_three_hundred_detached_containers_live_at_once(
    own: pc.Engine, own_image: pc.Image
) -> None:
    before = leaks.snapshot()

    def start(number: int) -> pc.Container:
        return pc.Container.run(
            own_image, ["sleep", "600"], name=f"live{number}", detach=True, engine=own
        )

    with ThreadPoolExecutor(4) as pool:
        containers = list(pool.map(start, range(_LIVE)))
        try:
            listed = pc.Container.list(engine=own)
            sample = [container.exec(["hostname"]).stdout.strip() for container in containers[::30]]
            supervisors = [container.attrs["supervisor"][0] for container in containers]
            sizes = [_kibibytes(pid) for pid in supervisors[::10]]
        finally:
            list(pool.map(lambda one: one.remove(force=True), containers))

    assert len(listed) == _LIVE
    assert sample == [container.id[:12] for container in containers[::30]]
    assert sorted(sizes)[len(sizes) // 2] < 4096
    own.close()
    leaks.assert_none_since(before)


def _kibibytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise AssertionError(f"process {pid} has no Pss")


def test_random_deaths_of_helpers_lose_nothing(own: pc.Engine, own_image: pc.Image) -> None:
    before = leaks.snapshot()
    choose, over = random.Random(4), threading.Event()
    wrong: list[object] = []

    def work(thread: int) -> None:
        number = 0
        while not over.is_set():
            number += 1
            code = (thread * 50 + number) % 200
            try:
                with pc.Container.run(
                    own_image, ["sh", "-c", f"echo {code}; sleep 0.02; exit {code}"],
                    name=f"t{thread}-{number}", detach=number % 2 == 0, engine=own,
                ) as container:  # fmt: skip
                    told = container.wait(timeout=60)
                    if told not in (code, 137) or container.status != "exited":
                        wrong.append((told, code, container.status))
                    if told == code and container.logs().read() != f"{code}\n":
                        wrong.append((code, container.logs().read()))
            except (pc.LaunchError, pc.EngineError, pc.Conflict):
                continue  # the start met the death; nothing of it remains

    with ThreadPoolExecutor(3) as pool:
        workers = [pool.submit(work, thread) for thread in range(3)]
        killed = 0
        deadline = time.monotonic() + 120
        while killed < _KILLS and time.monotonic() < deadline:
            time.sleep(choose.random() * 0.1)
            helpers = _helpers()
            if helpers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(choose.choice(helpers), signal.SIGKILL)
                    killed += 1
        over.set()
        for worker in workers:
            worker.result(timeout=120)

    assert killed == _KILLS
    assert wrong == []
    assert leaks.in_root(Path(own.root)) == []
    own.close()
    leaks.assert_none_since(before)
