"""What a container changed: as a layer, as a list, or merged with its image as one archive.

The directory is an overlay's upper one, where a character device 0:0 is a whiteout and an attribute
makes a directory opaque (overlayfs.rst).  No link is followed, and no path is longer than one
component: each directory is opened from the one above.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import stat
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pycontainers.errors import ImageError
from pycontainers.kernel import capabilities
from pycontainers.runtime.tarwriter import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPENED: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPAQUE: Final = ("trusted.overlay.opaque", "user.overlay.opaque")
_BY_REFERENCE: Final = ("trusted.overlay.redirect", "trusted.overlay.metacopy")
_WHITEOUT: Final = b".wh."
_DEEPEST: Final = 4095


class _Node(NamedTuple):
    """A name in a directory: where it is, and the directories of that name beneath it."""

    path: bytes
    name: bytes
    parent: int
    facts: os.stat_result
    beneath: list[int]

    def is_whiteout(self) -> bool:
        return _is_whiteout(self.facts)


def layer(work: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """Write the upper directory as a layer to descriptor `fds[0]`; give its entries and bytes.

    Nothing at the paths of `skip` is written, and no time later than `latest`.
    """
    _prepare()
    writer, linked = Writer(fds[0], work.get("latest")), _Links()
    for node in _walk([_root()], _skipped(work), merge=False):
        if node.is_whiteout():
            above, slash, name = node.path.rpartition(b"/")
            writer.empty(above + slash + _WHITEOUT + name)
        elif node.name.startswith(_WHITEOUT):
            shown = os.fsdecode(node.path)
            raise ImageError(f"{shown!r} can't be in a layer, where such a name takes files away")
        else:
            _write(writer, node, linked)
            if stat.S_ISDIR(node.facts.st_mode) and _opaque(node):
                writer.empty(node.path + b"/.wh..wh..opq")
    writer.end()
    return {"entries": writer.entries, "bytes": writer.bytes}


def export(work: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """Write all that is seen in the directory and those beneath it, `fds[1:]`, to `fds[0]`."""
    _prepare()
    writer, linked = Writer(fds[0]), _Links()
    for node in _walk([_root(), *fds[1:]], _skipped(work), merge=True):
        _write(writer, node, linked)
    writer.end()
    return {"entries": writer.entries, "bytes": writer.bytes}


def changes(work: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """Write what is (A)dded, (C)hanged and (D)eleted against `fds[1:]` as lines of JSON."""
    _prepare()
    count = 0
    with open(fds[0], "w", encoding="ascii", closefd=False) as lines:
        for node in _walk([_root(), *fds[1:]], _skipped(work), merge=False):
            was = _was_there(node)
            if node.is_whiteout() and not was:
                continue
            kind = "D" if node.is_whiteout() else "C" if was else "A"
            lines.write(json.dumps([kind, os.fsdecode(b"/" + node.path)]) + "\n")
            count += 1
    return {"entries": count}


def _prepare() -> None:
    """Take the right to read overlay's attributes, and descriptors for deep directories."""
    capabilities.set_effective(capabilities.current().permitted)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _root() -> int:
    return os.open("/", _FOLDER)


def _skipped(work: dict[str, Any]) -> frozenset[bytes]:
    """Give the mount points, which the engine made: what is there is not the container's work."""
    return frozenset(os.fsencode(path) for path in work.get("skip", ()))


def _walk(roots: list[int], skipped: frozenset[bytes], *, merge: bool) -> Iterator[_Node]:
    """Give all names below the first directory, or below all of them merged, parents first.

    Whiteouts are given where nothing is merged.  Each node's `beneath` are the directories that
    its parent's name has in the other layers, so that what was there can be looked up.
    """
    stack = [iter(_names(roots, b"", merge=merge))]
    opened: list[list[int]] = [[]]
    while stack:
        node = next(stack[-1], None)
        if node is None:
            stack.pop()
            for fd in opened.pop():
                os.close(fd)
            continue
        if node.path in skipped and not (merge and stat.S_ISDIR(node.facts.st_mode)):
            continue
        yield node
        if stat.S_ISDIR(node.facts.st_mode):
            if len(node.path) > _DEEPEST:
                raise ImageError("the container has a path of more than 4095 bytes")
            folders = _folders(node)
            opened.append(folders)
            stack.append(iter(_names(folders, node.path, merge=merge)))


def _names(folders: list[int], path: bytes, *, merge: bool) -> Iterator[_Node]:
    found: dict[bytes, int] = {}
    for number, fd in enumerate(folders if merge else folders[:1]):
        with os.scandir(fd) as entries:
            for entry in entries:
                found.setdefault(os.fsencode(entry.name), number)
    for name in sorted(found):
        number = found[name]
        facts = os.stat(name, dir_fd=folders[number], follow_symlinks=False)
        if merge and _is_whiteout(facts):
            continue
        whole = path + b"/" + name if path else name
        yield _Node(whole, name, folders[number], facts, folders[number + 1 :])


def _folders(node: _Node) -> list[int]:
    """Open a directory, and those of its name beneath that it is merged with."""
    folders = [os.open(node.name, _FOLDER, dir_fd=node.parent)]
    if _opaque(node):
        return folders
    for parent in node.beneath:
        try:
            fd = os.open(node.name, _FOLDER, dir_fd=parent)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                break  # a file, a link or a whiteout hides what lies further down
            raise
        folders.append(fd)
        if _is_opaque(fd):
            break
    return folders


def _was_there(node: _Node) -> bool:
    """Tell whether the name was to be seen before."""
    for parent in node.beneath:
        try:
            facts = os.stat(node.name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            continue
        return not _is_whiteout(facts)
    return False


class _Links:
    """The first path of each file that has several."""

    def __init__(self) -> None:
        self._paths: dict[tuple[int, int], bytes] = {}

    def first(self, node: _Node) -> bytes | None:
        """Give the path under which the file has been written; None for the first time."""
        if node.facts.st_nlink < 2 or stat.S_ISDIR(node.facts.st_mode):
            return None
        key = (node.facts.st_dev, node.facts.st_ino)
        known = self._paths.get(key)
        if known is None:
            self._paths[key] = node.path
        return known


def _write(writer: Writer, node: _Node, linked: _Links) -> None:
    mode = node.facts.st_mode
    if stat.S_ISSOCK(mode):
        return
    first = linked.first(node)
    if first is not None:
        writer.add(node.path, node.facts, target=first, link=True)
    elif stat.S_ISLNK(mode):
        target = os.readlink(node.name, dir_fd=node.parent)
        writer.add(node.path, node.facts, target=target)
    elif stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        fd = os.open(node.name, _OPENED, dir_fd=node.parent)
        try:
            writer.add(node.path, node.facts, xattrs=xattrs(fd, node.path))
            if stat.S_ISREG(mode):
                writer.content(fd, node.facts.st_size)
        finally:
            os.close(fd)
    else:
        writer.add(node.path, node.facts)


def xattrs(fd: int, path: bytes) -> dict[bytes, bytes]:
    """Give the extended attributes of an open file or directory that belong to it."""
    found = {}
    for name in os.listxattr(fd):
        if name in _BY_REFERENCE:
            raise ImageError(
                f"the container's {os.fsdecode(path)!r} is stored as a reference to a layer "
                f"({name}), which can't be written",
                hint="it comes of the overlay module's options redirect_dir and metacopy",
            )
        if name == "security.capability" or (
            name.startswith("user.") and not name.startswith("user.overlay.")
        ):
            with contextlib.suppress(OSError):  # removed meanwhile
                found[os.fsencode(name)] = os.getxattr(fd, name)
    return found


def _opaque(node: _Node) -> bool:
    fd = os.open(node.name, _FOLDER, dir_fd=node.parent)
    try:
        return _is_opaque(fd)
    finally:
        os.close(fd)


def _is_opaque(fd: int) -> bool:
    for name in _OPAQUE:
        with contextlib.suppress(OSError):
            if os.getxattr(fd, name) == b"y":
                return True
    return False


def _is_whiteout(facts: os.stat_result) -> bool:
    return stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0
