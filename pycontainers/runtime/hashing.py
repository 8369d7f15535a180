"""Digests of files and of selections: what decides whether COPY and ADD have been done before.

A selection's digest tells names, modes, owners, link targets, content and extended attributes, and
no times.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from typing import TYPE_CHECKING, Final

from pycontainers.errors import ImageError, KernelError
from pycontainers.kernel import paths
from pycontainers.runtime import selection

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pycontainers.runtime.selection import Entry, Match

Key = tuple[int, int, int, int, int]
Jobs = list[tuple[str, list["Entry"]]]

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_OPENED: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CHUNK: Final = 1 << 20
_TOGETHER: Final = 128  # files that a thread takes at a time
_FEW: Final = 64  # files, and bytes, for which no thread is worth its start
_LITTLE: Final = 4 << 20
_MOST_THREADS: Final = 8


def key_of(entry: Entry) -> Key:
    """Give what is the same as long as a file's content and attributes are."""
    return entry.device, entry.inode, entry.size, entry.mtime_ns, entry.ctime_ns


def contents(
    root_fd: int, matches: Sequence[Match], known: dict[Key, bytes] | None = None
) -> dict[Key, bytes]:
    """Give the digests of all files that were selected below `root_fd`, read only where not known.

    Raises ImageError for a file that is changed while it is read, KernelError.
    """
    found: dict[Key, bytes] = {}
    known = known or {}
    jobs: Jobs = []
    count = size = 0
    for path, entries in _folders(matches):
        missing = []
        for entry in entries:
            if not stat.S_ISREG(entry.mode):
                continue
            key = key_of(entry)
            digest = known.get(key)
            if digest is None:
                missing.append(entry)
                count, size = count + 1, size + entry.size
            else:
                found[key] = digest
        jobs += [(path, missing[at : at + _TOGETHER]) for at in range(0, len(missing), _TOGETHER)]
    if jobs:
        threads = 1
        if count > _FEW or size > _LITTLE:
            threads = min(len(os.sched_getaffinity(0)), _MOST_THREADS, count)
        _Hashing(root_fd, jobs, found).run(threads)
    return found


def digest(matches: Iterable[Match], known: dict[Key, bytes]) -> str:
    """Give the digest of a selection, as `sha256:…`, whose files' digests are `known`."""
    parts = ["selection 1"]
    for match in matches:
        if not match.is_directory:
            parts.append("file")
            parts.append(_line(match.facts, known))
            continue
        parts.append("directory")
        for folder in match.folders:
            if folder.path:  # what the top has itself is not copied
                facts = folder.facts
                owner = f"{facts.uid}:{facts.gid}"
                parts.append(f"{folder.path}\0{facts.mode:o} {owner} {folder.attributes}")
            parts += [_line(entry, known) for entry in folder.entries]
    text = "\0\0".join(parts)  # no name has a NUL
    return f"sha256:{hashlib.sha256(os.fsencode(text)).hexdigest()}"


def _line(entry: Entry, known: dict[Key, bytes]) -> str:
    regular = stat.S_ISREG(entry.mode)
    held = known[key_of(entry)].hex() if regular else entry.target or entry.rdev
    return f"{entry.name}\0{entry.mode:o} {entry.uid}:{entry.gid} {held}"


def _folders(matches: Iterable[Match]) -> Iterable[tuple[str, list[Entry]]]:
    """Give each directory of a selection with its files."""
    for match in matches:
        if match.is_directory:
            for folder in match.folders:
                yield f"{match.path}/{folder.path}".strip("/"), folder.entries
        else:
            path, _, name = match.path.rpartition("/")
            yield path, [match.facts._replace(name=name)]


class _Hashing:
    """Reads files in several threads: both reading and hashing let others go on."""

    def __init__(self, root_fd: int, jobs: Jobs, found: dict[Key, bytes]) -> None:
        self._root = root_fd
        self._jobs = jobs
        self._found = found
        self._error: BaseException | None = None

    def run(self, threads: int) -> None:
        """Do all jobs; raises what the first one that failed has raised."""
        others = [threading.Thread(target=self._work) for _ in range(threads - 1)]
        for thread in others:
            thread.start()
        self._work()
        for thread in others:
            thread.join()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        buffer = bytearray(_CHUNK)
        try:
            while self._error is None:
                try:
                    path, entries = self._jobs.pop()
                except IndexError:
                    return
                self._folder(path, entries, buffer)
        except BaseException as error:  # raised again in the caller's thread
            self._error = error

    def _folder(self, path: str, entries: list[Entry], buffer: bytearray) -> None:
        try:
            fd = paths.open_in(self._root, path or ".", _FOLDER, follow=False)
        except KernelError as error:
            raise KernelError(error.errno or 0, f"open({path!r})", hint="") from None
        try:
            for entry in entries:
                if self._error is not None:
                    return
                try:
                    self._found[key_of(entry)] = _of_file(fd, entry, buffer)
                except ImageError:
                    raise
                except OSError as error:
                    name = f"{path}/{entry.name}".strip("/")
                    raise KernelError(error.errno or 0, f"open({name!r})", hint="") from None
        finally:
            os.close(fd)


def _of_file(folder_fd: int, entry: Entry, buffer: bytearray) -> bytes:
    fd = os.open(entry.name, _OPENED, dir_fd=folder_fd)
    try:
        if entry.size <= _CHUNK:
            size = os.readv(fd, [buffer]) if entry.size else 0
            view = memoryview(buffer)[:size]
            found = hashlib.sha256(view).digest()
        else:
            hasher, left = hashlib.sha256(), entry.size
            view = memoryview(buffer)
            while left > 0 and (size := os.readv(fd, [buffer])):
                hasher.update(view[:size])
                left -= size
            found = hasher.digest()
        text = selection.attributes(fd)
        facts = os.fstat(fd)
        if (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns) != (
            key_of(entry)
        ):
            raise ImageError(f"{entry.name!r} was changed while it was read", hint="try again")
    finally:
        os.close(fd)
    return hashlib.sha256(found + os.fsencode(text)).digest() if text else found
