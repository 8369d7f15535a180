"""What builds have made before: layers by what they were made from.

A key is a digest of a step and all that it depends on.  Several keys may lead to one layer: that of
the step as it is written, and that of the content that it found.  A layer here is a directory
beside those of images, which becomes an image's when an image with it is put into the store.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from pycontainers.kernel import paths

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pycontainers.storage.database import Database


class BuiltLayer(NamedTuple):
    """A layer that a step made; `blob` and its `length` are of its archive, once there was one."""

    directory: str
    created: float
    used: float
    size: int
    title: str
    diff_id: str | None = None
    blob: str | None = None
    length: int | None = None


class BuildCache:
    """The layers of builds in one data root; safe to use from threads and processes."""

    def __init__(self, database: Database, layers: Path) -> None:
        self._database = database
        self._layers = layers

    def find(self, key: str) -> BuiltLayer | None:
        """Give the layer that was made for a key; None where there is none any more."""
        query = (
            "SELECT build_layers.* FROM build_layers JOIN build_keys"
            " ON build_keys.directory = build_layers.directory WHERE build_keys.key = ?"
        )
        rows = self._database.rows(query, key)
        if not rows or not (self._layers / rows[0][0]).is_dir():
            return None
        return BuiltLayer(*rows[0])

    def add(self, keys: Sequence[str], layer: BuiltLayer) -> None:
        """Note a layer that is in its place."""
        marks = ", ".join("?" * len(layer))
        with self._database.transaction() as change:
            change.execute(f"INSERT OR REPLACE INTO build_layers VALUES ({marks})", layer)
            for key in keys:
                change.execute(
                    "INSERT OR REPLACE INTO build_keys VALUES (?, ?)", (key, layer.directory)
                )

    def alias(self, key: str, layer: BuiltLayer) -> None:
        """Let one more key lead to a layer."""
        self._database.change(
            "INSERT OR REPLACE INTO build_keys VALUES (?, ?)", key, layer.directory
        )

    def archived(self, layer: BuiltLayer, diff_id: str, blob: str, length: int) -> BuiltLayer:
        """Note what archive a layer makes."""
        self._database.change(
            "UPDATE build_layers SET diff_id = ?, blob = ?, length = ? WHERE directory = ?",
            diff_id, blob, length, layer.directory,
        )  # fmt: skip
        return layer._replace(diff_id=diff_id, blob=blob, length=length)

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
        rows = self._database.rows("SELECT * FROM build_layers ORDER BY used, directory")
        return [BuiltLayer(*row) for row in rows]

    def remove(self, layers: Sequence[BuiltLayer]) -> None:
        """Forget layers and their keys; directories that no image has go too."""
        kept = {row[0] for row in self._database.rows("SELECT directory FROM layers")}
        for layer in layers:
            with self._database.transaction() as change:
                change.execute("DELETE FROM build_keys WHERE directory = ?", (layer.directory,))
                change.execute("DELETE FROM build_layers WHERE directory = ?", (layer.directory,))
            if layer.directory not in kept:
                with paths.directory(self._layers) as layers_fd:
                    paths.remove_tree(layer.directory, layers_fd)
