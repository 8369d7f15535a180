"""Unpack a tar archive of a root file system, inside a jail.

Owners, modes, times, hard links, device nodes, sparse files and extended attributes are kept
(pax(1), tar(5)).  What an archive says is not trusted: the jail holds every name and link, and
the sizes are bounded here.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from typing import TYPE_CHECKING, Any, Final

from pycontainers.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK: Final = 1 << 20
_MAX_ENTRIES: Final = 4_000_000
_MAX_BYTES: Final = 1 << 40
_XATTR: Final = "SCHILY.xattr."


class _Hashed:
    """Reads a descriptor for tarfile, and knows the digest of all that came."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = os.read(self._fd, size)
        self._digest.update(data)
        return data

    def digest(self) -> str:
        while self.read(_CHUNK):
            pass
        return self._digest.hexdigest()


def unpack(_: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """Unpack the archive on descriptor `fds[0]` into the root directory; give its digest.

    Raises ImageError for what is no tar archive or goes beyond the bounds.
    """
    source = _Hashed(fds[0])
    directories: list[tarfile.TarInfo] = []
    count = size = 0
    try:
        with tarfile.open(fileobj=source, mode="r|*", bufsize=_CHUNK) as archive:  # type: ignore[call-overload]
            # The jail confines it, so that nothing need be altered; older Pythons do so by default.
            archive.extraction_filter = lambda member, _path: member
            for member in archive:
                count, size = count + 1, size + member.size
                if count > _MAX_ENTRIES or size > _MAX_BYTES:
                    raise ImageError(
                        f"the archive holds more than {count - 1} entries or {size} bytes"
                    )
                _extract(archive, member)
                if member.isdir():
                    directories.append(member)
            for member in reversed(directories):
                _restore(archive, member)
    except (tarfile.TarError, EOFError) as error:
        raise ImageError(f"no tar archive that can be read: {error}") from None
    return {"digest": source.digest(), "entries": count}


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    if member.name.strip("./") == "":
        return  # the root itself; its attributes come with the other directories'
    path = f"/{member.name}"
    if not member.isdir():
        _make_way(path)
    archive.extract(member, "/", set_attrs=not member.isdir(), numeric_owner=True)
    for name, value in _attributes(member):
        os.setxattr(path, name, value, follow_symlinks=False)


def _make_way(path: str) -> None:
    """Let a later entry of the same name win, as tar(1) does; a directory stays."""
    try:
        os.unlink(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return


def _restore(archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    """Set a directory's owner, mode and time last: its entries would change them."""
    path = f"/{member.name}"
    archive.chown(member, path, True)
    archive.chmod(member, path)
    archive.utime(member, path)


def _attributes(member: tarfile.TarInfo) -> Iterator[tuple[str, bytes]]:
    for key, value in member.pax_headers.items():
        name = key.removeprefix(_XATTR)
        if name != key and name.startswith(("user.", "security.capability")):
            yield name, value.encode("utf-8", "surrogateescape")
