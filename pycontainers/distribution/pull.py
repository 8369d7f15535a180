"""From a registry into the store: the manifest that suits, its config, then its layers at once."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.distribution.layers import Layers, Limits
from pycontainers.distribution.record import (
    MAX_DOCUMENT,
    all_at_once,
    platform_of,
    read_config,
    record,
)
from pycontainers.errors import ImageError
from pycontainers.oci import manifest as oci
from pycontainers.oci.digest import Digest
from pycontainers.oci.platform import Platform

if TYPE_CHECKING:
    from pycontainers.distribution.progress import Reporter
    from pycontainers.lifecycle.services import Services
    from pycontainers.oci.reference import Reference
    from pycontainers.registry.repository import Fetched, Repository
    from pycontainers.storage.images import ImageRow

_DEEPEST: Final = 4  # indexes in indexes


@attrs.frozen
class Pull:
    """One pull: what is wanted, from where, and what it may come to."""

    services: Services
    repository: Repository
    reference: Reference
    platform: Platform | None
    limits: Limits
    reporter: Reporter

    def run(self) -> ImageRow:
        """Have the image here, and its reference mean it; raises ImageError, RegistryError.

        Blobs and layers that are here are not fetched again; what an interrupted pull has left is
        gone on with.
        """
        with self.services.content.in_use(), self.reporter:
            asked = self.reference.digest or self.reference.tag
            top = self.repository.manifest(str(asked))
            fetched, manifest = self._manifest(top)
            config = self._config(manifest)
            self._check_platform(config, manifest)
            known = read_config(config, manifest)
            layers = Layers(self.services, self.limits, self.reporter)
            wanted = dict(zip(known.rootfs.diff_ids, manifest.layers, strict=True))
            jobs = [
                functools.partial(
                    layers.add,
                    Digest.parse(layer.digest),
                    layer.size,
                    diff_id,
                    functools.partial(self.repository.blob, layer.digest, layer.size),
                )
                for diff_id, layer in wanted.items()
            ]
            all_at_once(jobs, self.repository.cancel)
            digests = {top.digest, fetched.digest}
            names = [str(self.reference.with_digest(Digest.parse(one))) for one in digests]
            return record(
                self.services, fetched.data, manifest, config, [str(self.reference), *names]
            )

    def _manifest(self, fetched: Fetched) -> tuple[Fetched, oci.Manifest]:
        """Follow indexes to the manifest of the platform."""
        for _ in range(_DEEPEST):
            document = oci.parse(fetched.data, fetched.media_type)
            if isinstance(document, oci.Manifest):
                return fetched, oci.check_image(document)
            entry = oci.choose(document, self.platform or Platform.host())
            fetched = self.repository.manifest(entry.digest)
            if len(fetched.data) != entry.size:
                raise ImageError(
                    f"the manifest {entry.digest} has {len(fetched.data)} bytes, but its index "
                    f"says {entry.size}"
                )
        raise ImageError(f"the indexes of {self.reference} are nested deeper than {_DEEPEST}")

    def _config(self, manifest: oci.Manifest) -> bytes:
        digest, size = Digest.parse(manifest.config.digest), manifest.config.size
        if size > MAX_DOCUMENT:
            raise ImageError(f"the image's config has {size} bytes, more than {MAX_DOCUMENT}")
        content = self.services.content
        with content.write(digest, size) as ingest:
            if not ingest.done:
                ingest.restart()
                for piece in self.repository.blob(str(digest), size):
                    ingest.write(piece)
                ingest.commit()
        return content.read(digest, MAX_DOCUMENT)

    def _check_platform(self, config: bytes, manifest: oci.Manifest) -> None:
        if self.platform is None:
            return
        found = platform_of(read_config(config, manifest))
        if found.rank(self.platform) is None:
            raise ImageError(
                f"{self.reference} is for {found}, not for {self.platform}",
                hint="the registry has no other; leave platform= out to get it",
            )
