"""A container's files: copied in and out, listed, packed, and made an image of.

The public methods are Container's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pycontainers.distribution import catalog
from pycontainers.distribution import commit as committing
from pycontainers.image import Image
from pycontainers.lifecycle import files
from pycontainers.path import ContainerPath
from pycontainers.programs import Programs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pycontainers.distribution.commit import Change


class Contents(Programs):
    """What lies in a container's file system, while it runs and afterwards."""

    def path(self, path: str | os.PathLike[str] = "/") -> ContainerPath:
        """Give a path in the container, with pathlib's habits; no link in it leads out.

        >>> c.path("/etc/hostname").read_text()                         # doctest: +SKIP
        """
        return ContainerPath(self, path)

    def copy_to(
        self, source: str | os.PathLike[str], destination: str, *, archive: bool = False
    ) -> None:
        """Copy a file or directory of the host's into the container, as `docker cp` does.

        What is copied belongs to the container's root, with `archive` to whom it belonged; modes
        and times are kept.  A directory as `destination` gets it under its own name, and
        `source/.` means what is in it.  Raises KernelError (as FileMissing), InvalidArgument.

        >>> c.copy_to("app.py", "/srv/")                                # doctest: +SKIP
        """
        life = self._life()
        files.copy_to(self._jail(), source, destination, archive=archive)
        life.tell_journal("extract-to-dir", path=destination)

    def copy_from(self, source: str, destination: str | os.PathLike[str]) -> None:
        """Copy a file or directory of the container's to the host, as `docker cp` does.

        What is copied belongs to the caller.  Nothing is written outside of `destination`.
        Raises KernelError (as FileMissing), InvalidArgument.
        """
        life = self._life()
        files.copy_from(self._jail(), source, destination)
        life.tell_journal("archive-path", path=source)

    def get_archive(self, path: str) -> tuple[Iterator[bytes], dict[str, Any]]:
        """Give a path with all below it as a tar archive, in pieces, and what is known of it.

        Raises KernelError (as FileMissing).
        """
        life = self._life()
        pieces, facts = files.get_archive(self._jail(), path)
        life.tell_journal("archive-path", path=path)
        return pieces, facts

    def put_archive(self, path: str, data: bytes | BinaryIO | str | os.PathLike[str]) -> None:
        """Unpack a tar archive (bytes, an open file, or a path) into a directory of the container.

        Raises KernelError, ImageError for what is no archive.
        """
        life = self._life()
        files.put_archive(self._jail(), path, data)
        life.tell_journal("extract-to-dir", path=path)

    def diff(self) -> list[Change]:
        """Give what it added, changed and deleted in its image's file system, sorted by path.

        Raises NotSupported for an ephemeral container.

        >>> c.diff()                                                    # doctest: +SKIP
        [Change(kind='C', path='/etc'), Change(kind='A', path='/etc/new')]
        """
        return committing.diff(self._life())

    def export(self, target: str | os.PathLike[str] | BinaryIO) -> None:
        """Write its whole file system as a tar archive: a file that appears when it is whole.

        Raises NotSupported for an ephemeral container, StoreError.
        """
        life = self._life()
        if not isinstance(target, (str, os.PathLike)):
            committing.export(life, target)
        else:
            with catalog.appearing(Path(target)) as file:
                committing.export(life, file)
        life.tell_journal("export")

    def commit(
        self,
        reference: str | None = None,
        *,
        changes: Sequence[str] = (),
        message: str = "",
        author: str = "",
        pause: bool = True,
    ) -> Image:
        """Make an image of its image and what it changed, and tag it if there is a reference.

        `changes` are lines of a Dockerfile (CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER,
        VOLUME, WORKDIR).  A running container stands still meanwhile, if `pause`.  Raises
        InvalidArgument, NotSupported for an ephemeral container, StoreError.

        >>> c.commit("app:2", changes=['CMD ["server"]'])               # doctest: +SKIP
        <Image app:2 4ee36a5b2397>
        """
        life = self._life()
        row = committing.commit(
            life, reference, changes, message=message, author=author, pause=pause
        )
        life.tell_journal("commit", imageID=row.config)
        return Image(self.root, row.config)
