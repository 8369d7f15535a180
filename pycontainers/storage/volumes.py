"""The volumes of a data root: which there are, who uses them, and where they lie.

A volume's place `<root>/volumes/<name>/` is made in the transaction that writes its row, or before
it; it is taken away after the row has gone.  So what has no row there is nobody's (`sweep`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from pycontainers.errors import Conflict, StoreError, VolumeNotFound
from pycontainers.kernel import paths
from pycontainers.runtime import journal
from pycontainers.storage import locks
from pycontainers.storage.scratch import is_left, mark, new_directory, scratch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from sqlite3 import Connection

    from pycontainers.storage.database import ContainerRow, Database

NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}")
DRIVER: Final = "local"  # as Docker calls what keeps volumes on this host
DATA: Final = "data"
DISK: Final = "disk"
_UNUSED: Final = "NOT EXISTS (SELECT 1 FROM uses WHERE uses.volume = volumes.name)"


class VolumeRow(NamedTuple):
    """What the database knows of a volume; `labels` is JSON, `size` bytes or None, 0 and 1 flags.

    `filled` tells that the volume has had its first content, so that an image's is not copied.
    """

    name: str
    created: float
    labels: str
    size: int | None
    anonymous: int
    filled: int

    @classmethod
    def new(
        cls,
        name: str,
        labels: Mapping[str, str] | None = None,
        size: int | None = None,
        *,
        anonymous: bool = False,
    ) -> VolumeRow:
        """Give the row of a volume that is being made."""
        return cls(name, time.time(), json.dumps(dict(labels or {})), size, int(anonymous), 0)


class VolumeStore:
    """The volumes of one data root and their uses; safe to use from threads and processes."""

    def __init__(self, database: Database, directory: Path, events: Path) -> None:
        self._database = database
        self._directory = directory
        self._events = events

    def place(self, name: str) -> Path:
        """Give where a volume's data lies, and what is beside it."""
        return self._directory / name

    # What there is.

    def all(self) -> list[VolumeRow]:
        """Give all volumes by name."""
        rows = self._database.rows("SELECT * FROM volumes ORDER BY name")
        return [VolumeRow(*row) for row in rows]

    def find(self, name: str) -> VolumeRow | None:
        """Give a volume by its name, or None."""
        rows = self._database.rows("SELECT * FROM volumes WHERE name = ?", name)
        return VolumeRow(*rows[0]) if rows else None

    def get(self, name: str) -> VolumeRow:
        """Give a volume by its name; raises VolumeNotFound."""
        row = self.find(name)
        if row is None:
            raise VolumeNotFound(f"no volume {name!r} in {self._directory.parent}")
        return row

    def users(self, name: str) -> list[tuple[str, str | None]]:
        """Give id and name of the containers that use a volume, running or not."""
        query = """SELECT id, containers.name FROM uses JOIN containers ON id = container
                   WHERE volume = ? ORDER BY containers.created, id"""
        return [(row[0], row[1]) for row in self._database.rows(query, name)]

    def used(self) -> set[str]:
        """Give the names of the volumes that containers use."""
        return {row[0] for row in self._database.rows("SELECT DISTINCT volume FROM uses")}

    # What comes.

    def add(self, row: VolumeRow, made: Path | None = None) -> VolumeRow:
        """Add a volume, whose place is `made` or an empty one; one of that name stays and is given.

        Raises StoreError.
        """
        with self._database.transaction() as change:
            found = self.find(row.name)
            if found is None:
                self._add(change, row, made)
        if found is None:
            self.tell("create", [row.name])
        return found or row

    def _add(self, change: Connection, row: VolumeRow, made: Path | None = None) -> None:
        self._put(row.name, made)
        marks = ", ".join("?" * len(row))
        change.execute(f"INSERT INTO volumes VALUES ({marks})", row)

    def add_container(self, row: ContainerRow, volumes: Iterable[VolumeRow]) -> list[str]:
        """Add a container with its uses of these volumes, which are made where they are missing.

        All of it is done or nothing.  Gives the names of those that were made, for `tell`, once the
        transaction is over that this is a part of.  Raises Conflict where the container's name is
        in use, StoreError.
        """
        wanted = list(volumes)
        made = []
        try:
            with self._database.transaction() as change:
                self._database.add_container(row)
                for volume in wanted:
                    if self.find(volume.name) is None:
                        self._add(change, volume)
                        made.append(volume.name)
                    statement = "INSERT OR IGNORE INTO uses VALUES (?, ?)"
                    change.execute(statement, (row.id, volume.name))
        except BaseException:
            if wanted:
                with contextlib.suppress(StoreError, OSError):  # recovery does it too
                    self.sweep()
            raise
        return made

    def tell(self, action: str, names: Iterable[str]) -> None:
        """Write an event of each of these volumes down."""
        for name in names:
            journal.append(str(self._events), action, name, {"driver": DRIVER}, kind="volume")

    def _put(self, name: str, made: Path | None) -> None:
        """Have a place under a name that no row has; what is there is left over."""
        place = self.place(name)
        try:
            if place.exists():
                place.rename(self._directory / mark("removing"))
            if made is not None:
                made.rename(place)
                return
            new_directory(place, 0o700)
            new_directory(place / DATA)
        except OSError as error:
            raise StoreError(f"cannot make {place}: {error.strerror}") from error

    @contextlib.contextmanager
    def making(self) -> Iterator[Path]:
        """Give a place that has no row yet; what is left of it at the end is removed."""
        with scratch(self._directory, 0o700) as place:
            new_directory(place / DATA)
            yield place

    def mark_filled(self, name: str) -> None:
        """Take note that a volume has had its first content."""
        self._database.change("UPDATE volumes SET filled = 1 WHERE name = ?", name)

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[int]:
        """Hold a volume's lock, which who fills it takes; gives its descriptor, to pass along."""
        fd = locks.wait_lock(f"{self.place(name)}/lock")
        try:
            yield fd
        finally:
            os.close(fd)

    # What goes.

    def remove(self, name: str) -> bool:
        """Remove a volume that nobody uses; gives whether it was there.  Raises Conflict."""
        with self._database.transaction() as change:
            users = self.users(name)
            if users:
                who = ", ".join(label or container_id[:12] for container_id, label in users)
                raise Conflict(
                    f"the volume {name} is used by {who}", hint="remove the containers first"
                )
            gone = change.execute("DELETE FROM volumes WHERE name = ?", (name,)).rowcount
        self.sweep()
        if gone:
            self.tell("destroy", [name])
        return gone > 0

    def remove_unused(self, names: Iterable[str]) -> list[str]:
        """Remove those of these volumes that nobody uses; give their names."""
        with self._database.transaction() as change:
            removed = _delete_unused(change, names)
        if removed:
            self.sweep()
            self.tell("destroy", removed)
        return removed

    def remove_container(self, container_id: str, *, volumes: bool) -> None:
        """Forget a container and its uses; with `volumes` also those volumes that were made for it.

        These are `own_volumes` of its row; what others use as well stays.
        """
        removed: list[str] = []
        with self._database.transaction() as change:
            query = "SELECT options FROM containers WHERE id = ?"
            rows = change.execute(query, (container_id,)).fetchall() if volumes else []
            self._database.remove_container(container_id)
            for (options,) in rows:
                removed += _delete_unused(change, json.loads(options).get("own_volumes", ()))
        if removed:
            self.sweep()
            self.tell("destroy", removed)

    def sweep(self) -> None:
        """Take away all places that have no row, and what ended processes were making."""
        gone = []
        with self._database.transaction() as change:
            known = {row[0] for row in change.execute("SELECT name FROM volumes")}
            for name in self._present():
                if not name.startswith(".") and name not in known:
                    gone.append(mark("removing"))
                    self.place(name).rename(self._directory / gone[-1])
        gone += filter(is_left, self._present())
        with paths.directory(self._directory) as directory_fd:
            for name in gone:
                paths.remove_tree(name, directory_fd)

    def strays(self) -> bool:
        """Whether there is something for a sweep to take away."""
        present = self._present()
        if not present:
            return False
        known = {row.name for row in self.all()}
        return any(is_left(name) if name.startswith(".") else name not in known for name in present)

    def _present(self) -> list[str]:
        return os.listdir(self._directory)  # noqa: PTH208


def _delete_unused(change: Connection, names: Iterable[str]) -> list[str]:
    statement = f"DELETE FROM volumes WHERE name = ? AND {_UNUSED}"
    return [name for name in names if change.execute(statement, (name,)).rowcount]
