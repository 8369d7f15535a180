"""Images into archives that Docker, podman, skopeo and umoci read.

An archive is reproducible: the same images make the same bytes.
"""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, BinaryIO, Final

from pycontainers.errors import InvalidArgument, StoreError
from pycontainers.oci import manifest as oci
from pycontainers.oci.digest import Digest
from pycontainers.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pycontainers.distribution.progress import Reporter
    from pycontainers.lifecycle.services import Services
    from pycontainers.storage.images import ImageRow


def save(
    services: Services,
    rows: Sequence[ImageRow],
    target: BinaryIO,
    kind: str,
    reporter: Reporter,
) -> None:
    """Write an archive of images to a file, which need not seek; `kind` is "docker" or "oci".

    Layers stay compressed as they are.  Raises InvalidArgument, StoreError.
    """
    writer = _WRITERS.get(kind)
    if writer is None:
        raise InvalidArgument(f"format: {kind!r} is not one of docker, oci")
    with services.content.in_use(), reporter:
        archive = _Archive(services, target, reporter)
        writer(archive, rows)
        archive.end()


class _Archive:
    """A tar file being written, each name once."""

    def __init__(self, services: Services, target: BinaryIO, reporter: Reporter) -> None:
        self.services = services
        self._reporter = reporter
        self._names: set[str] = set()
        self._tar = tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def data(self, name: str, data: bytes) -> None:
        if self._is_new(name):
            self._tar.addfile(_entry(name, len(data)), io.BytesIO(data))

    def blob(self, name: str, digest: Digest) -> None:
        if not self._is_new(name):
            return
        size = self.services.content.size(digest)
        if size is None:
            raise StoreError(f"the blob {digest} has been removed", hint="pull the image again")
        with self.services.content.open(digest) as file:
            self._reporter.tell(str(digest), "write", 0, size)
            self._tar.addfile(_entry(name, size), file)
        self._reporter.tell(str(digest), "done", size, size)

    def folder(self, name: str) -> None:
        if self._is_new(name):
            entry = _entry(name, 0)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            self._tar.addfile(entry)

    def end(self) -> None:
        self._tar.close()

    def _is_new(self, name: str) -> bool:
        known = name in self._names
        self._names.add(name)
        return not known


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry


def _write_oci(archive: _Archive, rows: Sequence[ImageRow]) -> None:
    entries = []
    archive.data("oci-layout", oci.LAYOUT)
    archive.folder("blobs")
    archive.folder("blobs/sha256")
    for row in rows:
        for text in json.loads(row.blobs):
            digest = Digest.parse(text)
            archive.blob(f"blobs/{digest.algorithm}/{digest.hex}", digest)
        entry = {"mediaType": row.media_type, "digest": row.manifest, "size": row.length}
        names = _tags(archive, row)
        for name in names:
            annotations = {oci.CONTAINERD_NAME: name, oci.REF_NAME: name}
            entries.append({**entry, "annotations": annotations})
        if not names:
            entries.append(entry)
    index = {"schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": entries}
    archive.data("index.json", json.dumps(index).encode())


def _write_docker(archive: _Archive, rows: Sequence[ImageRow]) -> None:
    entries = []
    for row in rows:
        _, config, *layers = map(Digest.parse, json.loads(row.blobs))
        archive.blob(f"{config.hex}.json", config)
        for layer in layers:
            archive.blob(f"{layer.hex}.tar", layer)
        entries.append(
            {
                "Config": f"{config.hex}.json",
                "RepoTags": [Reference.parse(name).familiar for name in _tags(archive, row)],
                "Layers": [f"{layer.hex}.tar" for layer in layers],
            }
        )
    archive.data("manifest.json", json.dumps(entries).encode())


def _tags(archive: _Archive, row: ImageRow) -> list[str]:
    references = archive.services.image_store.references(row.manifest)
    return [name for name in references if "@" not in name]


_WRITERS: Final[dict[str, Callable[[_Archive, Sequence[ImageRow]], None]]] = {
    "docker": _write_docker,
    "oci": _write_oci,
}
