"""The directories of containers: removed at once for others, whatever these do meanwhile."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pycontainers.storage import locks
from pycontainers.storage.snapshots import Snapshots


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path)


def _fill(directory: Path) -> None:
    for number in range(200):
        below = directory / "upper" / str(number)
        below.mkdir(parents=True)
        (below / "file").touch()


def test_who_locks_a_container_that_is_being_removed_does_not_keep_it(
    snapshots: Snapshots, tmp_path: Path
) -> None:
    over = threading.Event()
    wrong: list[BaseException] = []

    def look(lock: str) -> None:
        while not over.is_set():
            try:
                fd = locks.try_lock(lock)
            except FileNotFoundError:
                continue
            except BaseException as error:
                wrong.append(error)
                return
            if fd is not None:
                os.close(fd)

    for number in range(20):
        directory = snapshots.make_home(str(number))
        _fill(directory)
        over.clear()
        watcher = threading.Thread(target=look, args=(str(directory / "lock"),))
        watcher.start()
        try:
            snapshots.remove(str(number))
        finally:
            over.set()
            watcher.join()

    assert wrong == []
    assert list(tmp_path.iterdir()) == []


def test_several_may_remove_a_directory_at_the_same_time(
    snapshots: Snapshots, tmp_path: Path
) -> None:
    wrong: list[BaseException] = []

    def remove() -> None:
        try:
            snapshots.remove("c")
        except BaseException as error:
            wrong.append(error)

    for _ in range(5):
        _fill(snapshots.make_home("c"))
        removers = [threading.Thread(target=remove) for _ in range(4)]
        for remover in removers:
            remover.start()
        for remover in removers:
            remover.join()

    assert wrong == []
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_half_removed_is_known_and_removed(
    snapshots: Snapshots, tmp_path: Path
) -> None:
    (snapshots.make_home("c") / "lock").touch()
    (tmp_path / "c").rename(tmp_path / ".removing-c")

    assert snapshots.is_leaving("c")
    assert snapshots.present() == ["c"]
    snapshots.remove("c")

    assert snapshots.present() == []
