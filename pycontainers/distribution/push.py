"""From the store to a registry: what it lacks of the blobs, then the manifest that names them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import attrs

from pycontainers.distribution.compression import CHUNK, GzipBlob
from pycontainers.distribution.record import MAX_DOCUMENT, all_at_once, compose_index, record
from pycontainers.errors import ImageError, StoreError
from pycontainers.kernel.closing import Closing
from pycontainers.oci import manifest as oci
from pycontainers.oci.codec import to_json
from pycontainers.oci.digest import Digest
from pycontainers.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from pycontainers.distribution.progress import Reporter
    from pycontainers.lifecycle.services import Services
    from pycontainers.registry.repository import Repository
    from pycontainers.storage.images import ImageRow

_PLAIN = (oci.OCI_LAYER, oci.DOCKER_LAYER)


@attrs.frozen
class Push:
    """One push: of which image, to where, and under what reference."""

    services: Services
    repository: Repository
    reference: Reference
    row: ImageRow
    reporter: Reporter

    def run(self) -> str:
        """Have the registry hold the image under the reference; give its manifest's digest.

        Blobs that the registry has are not sent, and those of its other repositories are mounted
        from there.  Raises RegistryError, StoreError.
        """
        with self.services.content.in_use(), self.reporter:
            return self.image(self.row, str(self.reference.tag or self.reference.digest)).manifest

    def run_all(self, rows: Sequence[ImageRow]) -> str:
        """Have the registry hold these images and an index of them, which the reference means.

        Gives the index's digest.  Raises what `run` raises.
        """
        with self.services.content.in_use(), self.reporter:
            index = compose_index(self.services, [self.image(row, "") for row in rows])
            data = self.services.content.read(Digest.parse(index.digest), MAX_DOCUMENT)
            self.repository.put_manifest(str(self.reference.tag), data, index.media_type)
            return index.digest

    def image(self, row: ImageRow, asked: str) -> ImageRow:
        """Send one image, under `asked` or its digest; give it as it was sent."""
        row = self._compressed(row)
        manifest, data = self._read(row)
        blobs = {blob.digest: blob for blob in (*manifest.layers, manifest.config)}
        jobs = [functools.partial(self._send, blob) for blob in blobs.values()]
        all_at_once(jobs, self.repository.cancel)
        self.repository.put_manifest(asked or row.manifest, data, row.media_type)
        known = str(self.reference.with_digest(Digest.parse(row.manifest)))
        self.services.image_store.tag(row.manifest, known)
        return row

    def _read(self, row: ImageRow) -> tuple[oci.Manifest, bytes]:
        data = self.services.content.read(Digest.parse(row.manifest), MAX_DOCUMENT)
        manifest = oci.parse(data, row.media_type)
        if not isinstance(manifest, oci.Manifest):  # the store was changed by others
            raise ImageError(f"the manifest {row.manifest} is none")
        return manifest, data

    def _send(self, blob: oci.Descriptor) -> None:
        digest = Digest.parse(blob.digest)
        if self.services.content.size(digest) is None:
            raise StoreError(
                f"the blob {digest} has been removed", hint="pull or load the image again"
            )
        if self.repository.has_blob(blob.digest) or self._mount(blob):
            self.reporter.tell(blob.digest, "exists", blob.size, blob.size)
            return

        def opened() -> BinaryIO:
            return _Told(self.services.content.open(digest), blob, self.reporter)  # type: ignore[return-value]

        self.repository.upload_blob(blob.digest, blob.size, opened)
        self.reporter.tell(blob.digest, "done", blob.size, blob.size)

    def _mount(self, blob: oci.Descriptor) -> bool:
        """Have the registry take a blob over from where the store knows that it has it."""
        return any(
            self.repository.mount_blob(blob.digest, repository)
            for repository in self._elsewhere(blob.digest)
        )

    def _elsewhere(self, digest: str) -> Iterator[str]:
        seen = {self.reference.repository}
        for row in self.services.image_store.having(digest):
            for name in self.services.image_store.references(row.manifest):
                known = Reference.parse(name)
                pushed = known.digest is not None  # a tag may never have been pushed
                if pushed and known.registry == self.reference.registry:
                    if known.repository not in seen:
                        yield known.repository
                    seen.add(known.repository)

    def _compressed(self, row: ImageRow) -> ImageRow:
        """Give the image with compressed layers: plain ones, as of `docker save`, become gzip.

        It is the same image with another manifest, which takes the place of the present one.
        """
        manifest, _ = self._read(row)
        if not any(layer.media_type in _PLAIN for layer in manifest.layers):
            return row
        layers = tuple(
            self._gzip(layer) if layer.media_type in _PLAIN else layer for layer in manifest.layers
        )
        changed = attrs.evolve(manifest, layers=layers)
        store, content = self.services.image_store, self.services.content
        config = content.read(Digest.parse(row.config), MAX_DOCUMENT)
        references = [name for name in store.references(row.manifest) if "@" not in name]
        made = record(self.services, to_json(changed), changed, config, references)
        if not any("@" in name for name in store.references(row.manifest)):
            store.remove([row.manifest])
        return made

    def _gzip(self, layer: oci.Descriptor) -> oci.Descriptor:
        content = self.services.content
        with content.open(Digest.parse(layer.digest)) as file, content.write() as ingest:
            blob = GzipBlob(ingest)
            while data := file.read(CHUNK):
                blob.write(data)
            found = blob.commit()
        kind = oci.OCI_LAYER_GZIP if layer.media_type == oci.OCI_LAYER else oci.DOCKER_LAYER_GZIP
        return attrs.evolve(found, media_type=kind)


class _Told(Closing):
    """A blob's file that tells how far it has been read."""

    def __init__(self, file: BinaryIO, blob: oci.Descriptor, reporter: Reporter) -> None:
        self._file = file
        self._blob = blob
        self._reporter = reporter
        self._read = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._read += len(data)
        self._reporter.tell(self._blob.digest, "upload", self._read, self._blob.size)
        return data

    def close(self) -> None:
        self._file.close()
