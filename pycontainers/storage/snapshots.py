"""The directories that containers write to: an upper and a work directory for each.

prepare makes one for a container, remove takes it away; a container without one keeps its changes
in memory (overlayfs.rst).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pycontainers.errors import StoreError
from pycontainers.kernel import paths

if TYPE_CHECKING:
    from pathlib import Path


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
        """Remove the container's directory with all it wrote; missing is fine."""
        try:
            with paths.directory(self._directory) as directory_fd:
                paths.remove_tree(container_id, directory_fd)
        except OSError as error:
            raise StoreError(
                f"cannot remove {self.path(container_id)}: {error.strerror}"
            ) from error

    def present(self) -> list[str]:
        """Give the ids of all containers that have a directory."""
        return os.listdir(self._directory)  # noqa: PTH208
