"""What builds have made before: layers by what they were made from.

A key is a digest of a step and all that it depends on.  Several keys may lead to one layer: that of
the step as it is written, and that of the content that it found.  A layer here is a directory
beside those of images, which becomes an image's when an image with it is put into the store.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pycontainers.storage.database import Database


class BuiltLayer(NamedTuple):
    """A layer that a step made.

    `size` is 0 until somebody has asked for it.  `identity` is what steps upon it know it by, also
    in other data roots that a cache was taken to; it is the keys', and unknown without one.
    """

    directory: str
    created: float
    used: float
    size: int
    title: str
    identity: str


class BuiltArchive(NamedTuple):
    """The archive of a layer, no time in which is later than `latest`: its blob has `length` bytes.

    `latest` is -1 where times are as they are.
    """

    directory: str
    latest: int
    diff_id: str
    blob: str
    length: int


class BuildCache:
    """The layers of builds in one data root; safe to use from threads and processes."""

    def __init__(self, database: Database, layers: Path) -> None:
        self._database = database
        self._layers = layers

    def find(self, key: str) -> BuiltLayer | None:
        """Give the layer that was made for a key; None where there is none any more."""
        query = (
            "SELECT build_layers.*, identity FROM build_layers JOIN build_keys"
            " ON build_keys.directory = build_layers.directory WHERE build_keys.key = ?"
        )
        rows = self._database.rows(query, key)
        if not rows or not (self._layers / rows[0][0]).is_dir():
            return None
        return BuiltLayer(*rows[0])

    def add(self, keys: Sequence[str], layer: BuiltLayer) -> None:
        """Note a layer that is in its place."""
        *facts, identity = layer
        marks = ", ".join("?" * len(facts))
        with self._database.transaction() as change:
            change.execute(f"INSERT OR REPLACE INTO build_layers VALUES ({marks})", facts)
            change.executemany(
                "INSERT OR REPLACE INTO build_keys VALUES (?, ?, ?)",
                [(key, layer.directory, identity) for key in keys],
            )

    def alias(self, key: str, layer: BuiltLayer) -> None:
        """Let one more key lead to a layer."""
        self._database.change(
            "INSERT OR REPLACE INTO build_keys VALUES (?, ?, ?)",
            key, layer.directory, layer.identity,
        )  # fmt: skip

    def keys(self, layer: BuiltLayer) -> list[str]:
        """Give the keys that lead to a layer by its identity, in order."""
        query = "SELECT key FROM build_keys WHERE directory = ? AND identity = ? ORDER BY key"
        return [row[0] for row in self._database.rows(query, layer.directory, layer.identity)]

    def archive(self, layer: BuiltLayer, latest: int) -> BuiltArchive | None:
        """Give what archive a layer makes, None where it has made none yet."""
        query = "SELECT * FROM build_archives WHERE directory = ? AND latest = ?"
        rows = self._database.rows(query, layer.directory, latest)
        return BuiltArchive(*rows[0]) if rows else None

    def archived(self, archive: BuiltArchive) -> None:
        """Note what archive a layer makes."""
        marks = ", ".join("?" * len(archive))
        self._database.change(f"INSERT OR REPLACE INTO build_archives VALUES ({marks})", *archive)

    def touch(self, directories: Sequence[str]) -> None:
        """Note that layers have been used, so that the longest unused go first."""
        now = time.time()
        with self._database.transaction() as change:
            change.executemany(
                "UPDATE build_layers SET used = ? WHERE directory = ?",
                [(now, directory) for directory in directories],
            )

    def all(self) -> list[BuiltLayer]:
        """Give all layers, the longest unused first."""
        rows = self._database.rows("SELECT *, '' FROM build_layers ORDER BY used, directory")
        return [BuiltLayer(*row) for row in rows]

    def measured(self, layer: BuiltLayer, size: int) -> None:
        """Note the bytes that a layer takes on the disk."""
        self._database.change(
            "UPDATE build_layers SET size = ? WHERE directory = ?", size, layer.directory
        )

    def forget(self, directories: Sequence[str]) -> None:
        """Forget layers and their keys; the next collection takes the directories away."""
        one = [(directory,) for directory in directories]
        with self._database.transaction() as change:
            for table in ("build_keys", "build_archives", "build_layers"):
                change.executemany(f"DELETE FROM {table} WHERE directory = ?", one)
