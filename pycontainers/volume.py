"""Volume: files that outlive the containers that use them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import attrs

from pycontainers.distribution import catalog
from pycontainers.engine import Engine
from pycontainers.errors import NotSupported, StoreError
from pycontainers.lifecycle import files, volumes
from pycontainers.lifecycle.workers import ask
from pycontainers.storage.volumes import DATA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pycontainers.lifecycle.options import Size
    from pycontainers.lifecycle.services import Services
    from pycontainers.storage.volumes import VolumeRow

_List = list  # the class has a method of that name


@attrs.frozen(repr=False)
class Volume:
    """A volume of one data root, as a plain value; `name` is its name.

    Attributes are live and raise VolumeNotFound once the volume has been removed.  Containers take
    it by `volumes={volume: "/data"}`, or `Mount.volume`.

    >>> volume = Volume.create("data", labels={"app": "db"})            # doctest: +SKIP
    >>> pycontainers.run(["touch", "/data/x"], volumes={volume: "/data"})        # doctest: +SKIP
    """

    root: str
    name: str

    @classmethod
    def create(
        cls,
        name: str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        size: Size | None = None,
        engine: Engine | None = None,
    ) -> Volume:
        """Make a volume; one of that name that is there already is given as it is.

        Without a name it gets 64 hexadecimal digits, and `prune` takes it when nobody uses it.
        With a `size` it is an ext4 file system of so many bytes in a file, which takes space as it
        is filled; what does not fit gets ENOSPC.  Raises InvalidArgument, Conflict where one of
        another size is there, NotSupported without mkfs.ext4, StoreError.
        """
        engine = engine or Engine()
        row = volumes.create(engine.services(), name, labels or {}, size)
        return cls(engine.root, row.name)

    @classmethod
    def get(cls, name: str, *, engine: Engine | None = None) -> Volume:
        """Give the volume with this name; raises VolumeNotFound."""
        engine = engine or Engine()
        return cls(engine.root, engine.services().volumes.get(name).name)

    @classmethod
    def list(
        cls,
        *,
        filters: Mapping[str, str | bool | Sequence[str]] | None = None,
        engine: Engine | None = None,
    ) -> list[Volume]:
        """Give all volumes by name, or those that fit.

        `filters` are Docker's: `name` (a part of it), `label` as "key" or "key=value", and
        `dangling`, whether no container uses it.  Raises InvalidArgument for others.
        """
        engine = engine or Engine()
        rows = volumes.select(engine.services(), filters)
        return [cls(engine.root, row.name) for row in rows]

    @classmethod
    def prune(
        cls,
        *,
        all: bool = False,
        filters: Mapping[str, str | Sequence[str]] | None = None,
        engine: Engine | None = None,
    ) -> _List[str]:
        """Remove the volumes without a name that no container uses, or `all` that none uses.

        Gives their names.  The one filter is `label`.
        """
        engine = engine or Engine()
        return volumes.prune(engine.services(), all=all, filters=filters)

    def remove(self, *, missing_ok: bool = False) -> None:
        """Remove the volume with all that is in it; when this returns, it does not exist.

        Raises Conflict, which names them, where containers use it, running or not; VolumeNotFound
        where it is gone already unless `missing_ok`.
        """
        if not self._services().volumes.remove(self.name) and not missing_ok:
            self._row()

    @property
    def labels(self) -> dict[str, str]:
        """The labels."""
        labels: dict[str, str] = json.loads(self._row().labels)
        return labels

    @property
    def created(self) -> float:
        """When it was made, in seconds since 1970."""
        return self._row().created

    @property
    def size(self) -> int | None:
        """The bytes of its file system, or None where it has no limit of its own."""
        return self._row().size

    @property
    def anonymous(self) -> bool:
        """Whether it was made without a name."""
        return bool(self._row().anonymous)

    @property
    def path(self) -> Path:
        """Where its files lie on the host, with the ids that they have inside.

        Raises NotSupported for a volume with a size, whose files lie in a file system of their own.
        """
        if self._row().size is not None:
            raise NotSupported(
                f"the volume {self.name} is a file system of its own, which is mounted in "
                "containers only",
                hint="export() gives its files",
            )
        return self._services().volumes.place(self.name) / DATA

    @property
    def containers(self) -> tuple[str, ...]:
        """The ids of the containers that use it, running or not."""
        self._row()
        return tuple(user for user, _ in self._services().volumes.users(self.name))

    @property
    def attrs(self) -> dict[str, Any]:
        """All that is known of it, as JSON can hold it."""
        row = self._row()
        return {
            "name": row.name,
            "created": row.created,
            "labels": json.loads(row.labels),
            "size": row.size,
            "anonymous": bool(row.anonymous),
            "path": None if row.size is not None else str(self.path),
            "containers": list(self.containers),
        }

    def usage(self) -> int:
        """Give the bytes that its files take on the disk."""
        told: int = ask(self._jail(), {"task": "usage", "path": "/"}).told["bytes"]
        return told

    def export(self, target: str | os.PathLike[str] | BinaryIO) -> None:
        """Write its files as a tar archive: to an open file, or one that appears when it is whole.

        Owners, modes, times, links and attributes are kept.  Raises StoreError.

        >>> Volume.get("data").export("data.tar")                        # doctest: +SKIP
        """
        if isinstance(target, (str, os.PathLike)):
            with catalog.appearing(Path(target)) as file:
                self._export(file)
        else:
            self._export(target)

    def _export(self, file: BinaryIO) -> None:
        pieces, _ = files.get_archive(self._jail(), "/.")
        for piece in pieces:
            try:
                file.write(piece)
            except OSError as error:
                raise StoreError(f"cannot write the archive: {error.strerror}") from error

    def import_(self, source: bytes | BinaryIO | str | os.PathLike[str]) -> None:
        """Unpack a tar archive (bytes, an open file, or a path) into it, over what is there.

        gzip, bzip2 and xz are undone.  No entry leads out of the volume.  Containers that use it
        see the files come.  Raises ImageError for what is no archive, KernelError.
        """
        services = self._services()
        services.volumes.get(self.name)
        services.volumes.mark_filled(self.name)
        files.put_archive(self._jail(), "/", source, top=True)

    def _services(self) -> Services:
        return Engine(root=self.root).services()

    def _row(self) -> VolumeRow:
        return self._services().volumes.get(self.name)

    def _jail(self) -> volumes.VolumeJail:
        return volumes.VolumeJail(self._services(), self.name)

    def __repr__(self) -> str:
        return f"<Volume {self.name}>"
