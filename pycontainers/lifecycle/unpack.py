"""Have an archive unpacked into a layer directory by a jailed worker."""

from __future__ import annotations

import errno
import hashlib
import threading
from typing import TYPE_CHECKING, Any

from pycontainers.errors import ImageError
from pycontainers.kernel import paths

if TYPE_CHECKING:
    from pathlib import Path

    from pycontainers.lifecycle.services import Services


def unpack_tar(services: Services, archive: Path) -> Path:
    """Give the directory with the archive's content, unpacked where it has not been before.

    The directory's name is the digest of the archive's bytes.  Raises ImageError, StoreError.
    """
    layers = services.root.layers
    try:
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            target = layers / digest
            if not target.exists():
                file.seek(0)
                _unpack(services, file.fileno(), target)
            return target
    except OSError as error:
        raise ImageError(f"cannot unpack {archive}: {error}") from error


def _unpack(services: Services, fd: int, target: Path) -> None:
    """Fill a directory beside the target, then rename it: half a layer is never seen."""
    mark = f"{services.process}-{services.process_start}-{threading.get_ident()}"
    making = target.with_name(f".making-{mark}-{target.name[:16]}")
    making.mkdir(mode=0o755)
    try:
        answer = _work(services, making, fd)
        if answer.get("digest") != target.name:
            raise ImageError("the archive was changed while it was read")
        try:
            making.rename(target)
        except OSError as error:
            # Another process was faster: its directory is as good.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    finally:
        with paths.directory(making.parent) as parent_fd:
            paths.remove_tree(making.name, parent_fd)


def _work(services: Services, directory: Path, fd: int) -> dict[str, Any]:
    running = services.launcher().work({"task": "unpack", "directory": str(directory)}, [fd])
    try:
        running.wait()
        if running.failure is not None:
            raise ImageError(f"cannot unpack the archive: {running.failure.strerror}")
        return running.answer
    finally:
        running.close()
