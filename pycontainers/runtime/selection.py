"""What was selected for COPY or ADD: matches, their directories and files, and all that as a file.

The file goes to the worker that copies: lines of JSON, a directory a line.
"""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Entry(NamedTuple):
    """A name in a directory, and what it is; `target` is a link's."""

    name: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int
    device: int
    inode: int
    links: int
    rdev: int
    target: str


class Folder(NamedTuple):
    """A directory by its path below what was selected ("" for itself), and what it has.

    `entries` are all but directories, which are folders of their own.  `attributes` are extended
    ones, as `attributes` gives them.
    """

    path: str
    facts: Entry
    entries: list[Entry]
    attributes: str


class Match(NamedTuple):
    """One source: a file or a directory, at `path` below the root, links resolved.

    `facts` has the name under which it was found.  `folders` are a directory's: itself first,
    each before those in it.
    """

    source: str
    path: str
    facts: Entry
    folders: list[Folder]

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory, whose content is copied."""
        return stat.S_ISDIR(self.facts.mode)


def is_kept(attribute: str) -> bool:
    """Whether an extended attribute belongs to a file, and not to what it lies on."""
    return attribute == "security.capability" or (
        attribute.startswith("user.") and not attribute.startswith("user.overlay.")
    )


def attributes(fd: int) -> str:
    """Give the extended attributes of an open file that belong to it, as one line; mostly ""."""
    names = os.listxattr(fd)
    if not names:
        return ""
    return ";".join(
        f"{name}={os.getxattr(fd, name).hex()}" for name in sorted(names) if is_kept(name)
    )


def write(matches: Sequence[Match], file: BinaryIO) -> None:
    """Write what was selected as lines of JSON, a directory a line."""
    for match in matches:
        _line(file, [match.source, match.path, match.facts])
        for folder in match.folders:
            _line(file, folder)
        _line(file, None)


def _line(file: BinaryIO, value: object) -> None:
    file.write(json.dumps(value, separators=(",", ":")).encode() + b"\n")


def read(file: BinaryIO) -> Iterator[Match]:
    """Read what `write` wrote; the folders of a match come as they are asked for."""
    for line in file:
        source, path, facts = json.loads(line)
        yield Match(source, path, Entry(*facts), [*_folders(file)])


def _folders(file: BinaryIO) -> Iterator[Folder]:
    for line in file:
        value = json.loads(line)
        if value is None:
            return
        path, facts, entries, attributes = value
        yield Folder(path, Entry(*facts), [Entry(*entry) for entry in entries], attributes)
