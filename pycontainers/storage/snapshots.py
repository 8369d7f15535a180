"""The directories that containers write to: an upper and a work directory for each.

prepare makes one for a container, remove takes it away; a container without one keeps its changes
in memory (overlayfs.rst).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from pycontainers.errors import StoreError
from pycontainers.kernel import paths

if TYPE_CHECKING:
    from pathlib import Path

_LEAVING: Final = ".removing-"


class Snapshots:
    """The active snapshots of a data root, one a container."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, container_id: str) -> Path:
        """Give where the container's directory is, or will be."""
        return self._directory / container_id

    def make_home(self, container_id: str) -> Path:
        """Make the container's directory, in which its log and state lie; raises StoreError."""
        path = self.path(container_id)
        try:
            path.mkdir(mode=0o700)
        except OSError as error:
            raise StoreError(f"cannot make {path}: {error.strerror}") from error
        return path

    def prepare(self, container_id: str) -> Path:
        """Make the container's directory with `upper` and `work`; one that is there is kept."""
        path = self.path(container_id)
        try:
            for directory, mode in ((path, 0o700), (path / "upper", 0o755), (path / "work", 0o700)):
                directory.mkdir(exist_ok=True)
                # By chmod: the application's umask is not ours to change.
                directory.chmod(mode)
        except OSError as error:
            raise StoreError(f"cannot make {path}: {error.strerror}") from error
        return path

    def remove(self, container_id: str) -> None:
        """Remove the container's directory with all it wrote; missing is fine.

        It is gone at once for others, who might make files in it otherwise.
        """
        leaving = _LEAVING + container_id
        try:
            with paths.directory(self._directory) as directory_fd:
                with contextlib.suppress(FileNotFoundError):
                    os.rename(
                        container_id, leaving, src_dir_fd=directory_fd, dst_dir_fd=directory_fd
                    )
                paths.remove_tree(leaving, directory_fd)
        except OSError as error:
            raise StoreError(
                f"cannot remove {self.path(container_id)}: {error.strerror}"
            ) from error

    def is_leaving(self, container_id: str) -> bool:
        """Whether the container's directory is just being removed, or was when that was killed."""
        return (self._directory / (_LEAVING + container_id)).exists()

    def present(self) -> list[str]:
        """Give the ids of all containers that have a directory, or had while it was removed."""
        return [name.removeprefix(_LEAVING) for name in os.listdir(self._directory)]  # noqa: PTH208
