"""A watch tells of changes, once, and never blocks."""

from __future__ import annotations

import errno
import select
from pathlib import Path

import pytest

from pycontainers.errors import KernelError
from pycontainers.kernel import inotify
from pycontainers.kernel.inotify import Watch


def readable(watch: Watch) -> bool:
    poller = select.poll()
    poller.register(watch.fileno(), select.POLLIN)
    return bool(poller.poll(0))


def test_a_change_makes_the_descriptor_readable_until_it_is_drained(tmp_path: Path) -> None:
    with Watch() as watch:
        watch.add(str(tmp_path), inotify.IN_MODIFY | inotify.IN_CREATE)
        assert not readable(watch)
        assert not watch.drain()

        (tmp_path / "file").write_text("text")

        assert readable(watch)
        assert watch.drain()
        assert not readable(watch)


def test_only_what_was_asked_for_is_told(tmp_path: Path) -> None:
    with Watch() as watch:
        watch.add(str(tmp_path), inotify.IN_MOVED_TO)

        (tmp_path / "file").write_text("text")
        assert not watch.drain()

        (tmp_path / "file").rename(tmp_path / "other")
        assert watch.drain()


def test_a_flood_is_drained_to_the_end(tmp_path: Path) -> None:
    with Watch() as watch:
        watch.add(str(tmp_path), inotify.IN_CREATE | inotify.IN_DELETE)

        for number in range(3000):
            (tmp_path / f"{'x' * 200}{number}").touch()

        assert watch.drain()
        assert not readable(watch)


def test_what_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with Watch() as watch, pytest.raises(KernelError, match=r"inotify_add_watch.*missing") as info:
        watch.add(str(tmp_path / "missing"), inotify.IN_MODIFY)

    assert info.value.errno == errno.ENOENT


def test_closing_twice_is_fine() -> None:
    watch = Watch()

    watch.close()
    watch.close()
