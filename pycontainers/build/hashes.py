"""Digests of a context's files that are kept from one build to the next.

One file a context, beside nothing else of it: records of device, inode, size and times, with the
digest of what the file held then.  It is replaced whole, so that several processes do no harm.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pycontainers.runtime import hashing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontainers.runtime.hashing import Key
    from pycontainers.runtime.selection import Match

_RECORD: Final = struct.Struct("<QQQqq32s")
_MAGIC: Final = b"pycontainers hashes 1\n"
_MOST: Final = 1 << 20  # records
_MOST_CONTEXTS: Final = 64
# A file changed twice within a tick of the file system's clock looks the same both times.
_TICK_NS: Final = 50_000_000
_COARSE_TICK_NS: Final = 2_500_000_000  # where times have whole seconds only


class Hashes:
    """The kept digests of one context directory."""

    def __init__(self, cache: Path, root_fd: int) -> None:
        facts = os.fstat(root_fd)
        self._root_fd = root_fd
        self._path = cache / f"context-{facts.st_dev:x}-{facts.st_ino:x}"
        self._known: dict[Key, bytes] | None = None

    def contents(self, matches: Sequence[Match]) -> dict[Key, bytes]:
        """Give the digests of selected files, read only where they are new or changed.

        Raises ImageError, KernelError.
        """
        if self._known is None:
            self._known = _load(self._path)
        begun = time.time_ns()
        found = hashing.contents(self._root_fd, matches, self._known)
        fresh = {key: value for key, value in found.items() if key not in self._known}
        settled = {key: value for key, value in fresh.items() if _is_settled(key, begun)}
        if settled:
            inodes = {key[:2] for key in settled}
            kept = {key: value for key, value in self._known.items() if key[:2] not in inodes}
            if len(kept) + len(settled) > _MOST:
                kept = {key: value for key, value in found.items() if key in kept}
            self._known = kept | settled
            _save(self._path, self._known)
        return found


def _is_settled(key: Key, now: int) -> bool:
    changed = max(key[3:])
    tick = _TICK_NS if changed % 1_000_000_000 else _COARSE_TICK_NS
    return changed + tick < now


def _load(path: Path) -> dict[Key, bytes]:
    try:
        data = path.read_bytes()
    except OSError:
        return {}
    body = memoryview(data)[len(_MAGIC) + 32 :]
    told = data[len(_MAGIC) : len(_MAGIC) + 32]
    if not data.startswith(_MAGIC) or hashlib.sha256(body).digest() != told:
        return {}
    with contextlib.suppress(OSError):
        os.utime(path)  # those that are used stay
    return {record[:5]: record[5] for record in _RECORD.iter_unpack(body)}


def _save(path: Path, known: dict[Key, bytes]) -> None:
    """Replace the file; a cache that can't be written is none, and no error."""
    body = b"".join([_RECORD.pack(*key, digest) for key, digest in known.items()])
    spare = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        spare.write_bytes(_MAGIC + hashlib.sha256(body).digest() + body)
        spare.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            spare.unlink()
    _forget_oldest(path.parent)


def _forget_oldest(cache: Path) -> None:
    with contextlib.suppress(OSError):
        found = sorted(cache.glob("context-*"), key=lambda path: path.stat().st_mtime)
        for path in found[:-_MOST_CONTEXTS]:
            path.unlink()
