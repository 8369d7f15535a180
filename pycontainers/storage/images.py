"""The images of a data root: which there are, what names them, what they are made of.

An image is known by its manifest's digest; its id is its config's.  A layer is a directory,
unpacked once for all images that have it; its name is new each time, so that nobody takes a layer
that was unpacked later for one that was removed.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pycontainers.errors import ImageNotFound, StoreError
from pycontainers.kernel import paths
from pycontainers.oci.digest import Digest
from pycontainers.oci.manifest import OCI_INDEX, REF_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pycontainers.storage.content import ContentStore
    from pycontainers.storage.database import Database

_HOST: Final = "host-"


class ImageRow(NamedTuple):
    """What the database knows of an image; `size` is that of its blobs, in bytes.

    `length` is the manifest's own size, `added` a time in seconds since the epoch, `blobs` and
    `diff_ids` are JSON lists of digests.
    """

    manifest: str
    config: str
    media_type: str
    length: int
    size: int
    added: float
    platform: str
    blobs: str
    diff_ids: str


class Collected(NamedTuple):
    """What a collection removed: blobs and layers, and the bytes that they took."""

    blobs: int
    layers: int
    bytes: int


class ImageStore:
    """The images, tags and layers of one data root; safe to use from threads and processes."""

    def __init__(self, database: Database, content: ContentStore, layers: Path) -> None:
        self._database = database
        self._content = content
        self.layers = layers

    # Images and what names them.

    def add(self, row: ImageRow, references: Sequence[str] = ()) -> None:
        """Add an image whose content is all here, and let these references mean it."""
        with self._database.transaction() as change:
            marks = ", ".join("?" * len(row))
            change.execute(f"INSERT OR IGNORE INTO images VALUES ({marks})", row)
            for reference in references:
                change.execute("INSERT OR REPLACE INTO tags VALUES (?, ?)", (reference, row[0]))
        self._publish()

    def tag(self, manifest: str, reference: str) -> None:
        """Let a reference mean this image from now on; raises ImageNotFound."""
        with self._database.transaction() as change:
            known = change.execute("SELECT 1 FROM images WHERE manifest = ?", (manifest,))
            if not known.fetchall():
                raise ImageNotFound(f"the image {manifest} has been removed")
            change.execute("INSERT OR REPLACE INTO tags VALUES (?, ?)", (reference, manifest))
        self._publish()

    def untag(self, reference: str) -> bool:
        """Let a reference mean nothing; gives whether it meant an image."""
        with self._database.transaction() as change:
            removed = change.execute("DELETE FROM tags WHERE reference = ?", (reference,)).rowcount
        self._publish()
        return removed > 0

    def remove(self, manifests: Iterable[str]) -> None:
        """Forget images and their references; `collect` takes away what they were made of."""
        with self._database.transaction() as change:
            for manifest in manifests:
                change.execute("DELETE FROM tags WHERE manifest = ?", (manifest,))
                change.execute("DELETE FROM images WHERE manifest = ?", (manifest,))
                change.execute("DELETE FROM indexes WHERE instr(manifests, ?)", (manifest,))
        self._publish()

    def add_index(self, digest: str, manifests: Sequence[str]) -> None:
        """Note an index of these images, which goes with the first of them."""
        statement = "INSERT OR REPLACE INTO indexes VALUES (?, ?, ?)"
        self._database.change(statement, digest, time.time(), json.dumps(manifests))

    def variants(self, manifest: str) -> list[ImageRow]:
        """Give the images of the last index that has this one; it alone where there is none."""
        query = "SELECT manifests FROM indexes WHERE instr(manifests, ?) ORDER BY added DESC"
        found = self._database.rows(query, manifest)
        names = json.loads(found[0][0]) if found else [manifest]
        return [row for name in names if (row := self.by_manifest(name)) is not None]

    def by_reference(self, reference: str) -> ImageRow | None:
        """Give the image that a reference means."""
        return self._one(
            "JOIN tags ON tags.manifest = images.manifest WHERE reference = ?", reference
        )

    def by_manifest(self, digest: str) -> ImageRow | None:
        """Give the image with this manifest."""
        return self._one("WHERE images.manifest = ?", digest)

    def by_id(self, prefix: str) -> list[ImageRow]:
        """Give the images whose id or manifest digest begins so, with or without `sha256:`."""
        prefix = prefix if prefix.startswith("sha256:") else f"sha256:{prefix}"
        query = "WHERE substr(config, 1, ?) = ? OR substr(images.manifest, 1, ?) = ?"
        return self._several(query, len(prefix), prefix, len(prefix), prefix)

    def having(self, blob: str) -> list[ImageRow]:
        """Give the images that have this blob as a layer."""
        rows = self._several("WHERE instr(blobs, ?)", blob)
        return [row for row in rows if blob in json.loads(row.blobs)[2:]]

    def all(self) -> list[tuple[ImageRow, tuple[str, ...]]]:
        """Give all images with their references, newest first."""
        named: dict[str, list[str]] = {}
        for reference, manifest in self._database.rows("SELECT * FROM tags ORDER BY reference"):
            named.setdefault(manifest, []).append(reference)
        rows = self._several("ORDER BY added DESC, images.manifest")
        return [(row, tuple(named.get(row.manifest, ()))) for row in rows]

    def references(self, manifest: str) -> tuple[str, ...]:
        """Give what names an image."""
        query = "SELECT reference FROM tags WHERE manifest = ? ORDER BY reference"
        return tuple(row[0] for row in self._database.rows(query, manifest))

    def _one(self, condition: str, *values: object) -> ImageRow | None:
        return next(iter(self._several(condition, *values)), None)

    def _several(self, condition: str, *values: object) -> list[ImageRow]:
        rows = self._database.rows(f"SELECT images.* FROM images {condition}", *values)
        return [ImageRow(*row) for row in rows]

    def _publish(self) -> None:
        """Make index.json say what the database says."""
        with self._content.index_lock():
            entries: list[dict[str, Any]] = []
            for row, references in self.all():
                entry = {
                    "mediaType": row.media_type,
                    "digest": row.manifest,
                    "size": row.length,
                }
                tagged = [name for name in references if "@" not in name]
                entries += [{**entry, "annotations": {REF_NAME: name}} for name in tagged]
                if not tagged:
                    entries.append(entry)
            index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
            self._content.write_index(json.dumps(index, separators=(",", ":")).encode())

    # Layers.

    def layer(self, diff_id: str) -> Path | None:
        """Give the directory of an unpacked layer; None where there is none."""
        found = self._database.rows("SELECT directory FROM layers WHERE diff_id = ?", diff_id)
        return self.layers / found[0][0] if found else None

    def directories(self) -> set[str]:
        """Give the names of the directories of all layers that images have."""
        needed = {one for row, _ in self.all() for one in json.loads(row.diff_ids)}
        rows = self._database.rows("SELECT diff_id, directory FROM layers")
        return {directory for diff_id, directory in rows if diff_id in needed}

    def new_layer(self) -> Path:
        """Give a name for a layer's directory that was never used."""
        return self.layers / os.urandom(16).hex()

    def add_layer(self, diff_id: str, directory: Path, size: int) -> Path:
        """Add an unpacked layer; where another process was faster, its directory is given."""
        statement = "INSERT OR IGNORE INTO layers VALUES (?, ?, ?)"
        self._database.change(statement, diff_id, directory.name, size)
        kept = self.layer(diff_id)
        if kept is None:
            raise StoreError(f"the layer {diff_id} was removed as soon as it was unpacked")
        if kept != directory:
            self._remove_directory(directory.name)
        return kept

    def stack(self, diff_ids: Sequence[str]) -> tuple[str, ...]:
        """Give the directories of an image's layers, topmost first; raises StoreError.

        A layer that is in there twice shows nothing below itself the second time, and overlay
        refuses it (ELOOP).
        """
        found: dict[str, None] = {}
        for diff_id in reversed(diff_ids):
            path = self.layer(diff_id)
            if path is None:
                raise StoreError(
                    f"the layer {diff_id} has been removed", hint="pull or load the image again"
                )
            found[str(path)] = None
        return tuple(found)

    # What is needed no more.

    def collect(self, *, wait: bool) -> Collected:
        """Remove blobs and layers that no image has; with `wait` after running pulls have ended.

        Without, nothing is done while somebody is adding content: the next collection does it.
        """
        with self._content.alone(wait=wait) as alone:
            if not alone:
                return Collected(0, 0, 0)
            rows = [row for row, _ in self.all()]
            blobs = {digest for row in rows for digest in json.loads(row.blobs)}
            blobs |= {row[0] for row in self._database.rows("SELECT digest FROM indexes")}
            diff_ids = {diff_id for row in rows for diff_id in json.loads(row.diff_ids)}
            removed, freed = self._collect_layers(diff_ids)
            gone = [digest for digest in self._content.digests() if str(digest) not in blobs]
            freed += sum(map(self._content.remove, gone))
            self._content.clear_ingest()
            return Collected(len(gone), removed, freed)

    def _collect_layers(self, needed: set[str]) -> tuple[int, int]:
        removed = freed = 0
        # What builds have made stays for the next build (builds.py).
        known = {row[0] for row in self._database.rows("SELECT directory FROM build_layers")}
        for diff_id, directory, size in self._database.rows("SELECT * FROM layers"):
            if diff_id in needed:
                known.add(directory)
            else:
                self._database.change("DELETE FROM layers WHERE diff_id = ?", diff_id)
                removed, freed = removed + 1, freed + size
        for name in os.listdir(self.layers):  # noqa: PTH208
            if name not in known and not name.startswith((".", _HOST)):
                self._remove_directory(name)
        return removed, freed

    def _remove_directory(self, name: str) -> None:
        with paths.directory(self.layers) as layers_fd:
            paths.remove_tree(name, layers_fd)


def blob_list(digests: Iterable[str]) -> str:
    """Give digests as the database keeps them; raises InvalidArgument for what is none."""
    return json.dumps([str(Digest.parse(digest)) for digest in digests])
