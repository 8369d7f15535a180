"""What is being made in the data root, and appears, whole, under another name or not at all.

Names tell whose it is, `.making-<pid>-<start time>-<random>`, so that what a killed process leaves
is found.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, BinaryIO

from pycontainers.kernel import paths, processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def scratch(directory: Path, mode: int = 0o755) -> Iterator[Path]:
    """Give an empty directory in another one; what is left of it is removed at the end."""
    path = directory / mark("making")
    new_directory(path, mode)
    try:
        yield path
    finally:
        with paths.directory(directory) as directory_fd:
            paths.remove_tree(path.name, directory_fd)


def new_directory(path: Path, mode: int = 0o755) -> None:
    """Make a directory of that mode, whatever the application's umask is."""
    path.mkdir(mode)
    path.chmod(mode)


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears, or replaces another, when all has been written."""
    making = path.with_name(f".{path.name}-{os.urandom(4).hex()}")
    try:
        with making.open("wb") as file:
            yield file
        making.replace(path)
    finally:
        making.unlink(missing_ok=True)


def mark(what: str) -> str:
    """Give a new name of something that this process is `making` or `removing`."""
    me = os.getpid()
    return f".{what}-{me}-{processes.start_time(me) or 0}-{os.urandom(4).hex()}"


def is_left(name: str) -> bool:
    """Whether a name is that of something that an ended process was making or removing."""
    kind, _, owner = name.partition("-")
    pid, start, *_ = [*owner.split("-"), "", ""]
    if kind not in (".making", ".removing"):
        return False
    return not (pid.isdigit() and start.isdigit() and processes.lives(int(pid), int(start)))
