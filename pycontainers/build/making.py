"""New layers: made in a directory of their own, and kept under the keys of the step that made them.

A layer is the upper directory of an overlay over the layers below, and needs no archive until an
image with it is put into the store.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from pycontainers.errors import StoreError
from pycontainers.storage.builds import BuildCache, BuiltArchive, BuiltLayer
from pycontainers.storage.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pycontainers.build.importing import Imports
    from pycontainers.lifecycle.services import Services
    from pycontainers.oci.manifest import Descriptor


@attrs.frozen
class Layer:
    """A layer of a stage: its directory, and what is known of its archive.

    `built` is of a layer that a build made; those of a base image have `diff_id` and `descriptor`.
    """

    path: str
    built: BuiltLayer | None = None
    diff_id: str = ""
    descriptor: Descriptor | None = None

    @property
    def identity(self) -> str:
        """What steps upon it know it by: no other layer ever has the same."""
        return self.built.identity if self.built else self.diff_id


def key_of(*parts: Any) -> str:
    """Give the key of what depends on these values, as JSON can hold them.

    >>> key_of("a", 1) == key_of("a", 1), key_of("a", 1) == key_of("a1")
    (True, False)
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Maker:
    """Makes layers of one build, or finds those that were made before."""

    def __init__(self, services: Services, *, cached: bool, imports: Imports) -> None:
        self.services = services
        self.cache = BuildCache(services.database, services.root.layers)
        self.used: dict[tuple[str, str], Layer] = {}
        self.empty: BuiltArchive | None = None  # of a layer without files, once one is written
        self._cached = cached
        self._imports = imports

    def find(self, key: str) -> Layer | None:
        """Give the layer that was made for a key before, unless the cache is not to be used."""
        if not self._cached:
            return None
        built = self.cache.find(key)
        if built is None:
            built = self._imports.find(key, self.cache)
        return None if built is None else self._layer(built)

    def alias(self, key: str, layer: Layer) -> None:
        """Let one more key lead to a layer."""
        if layer.built is not None:
            self.cache.alias(key, layer.built)

    def keep(self, keys: Sequence[str], upper: Path, title: str) -> Layer:
        """Make a filled directory a layer, for the builds to come too; raises StoreError."""
        place = self.services.image_store.new_layer()
        try:
            upper.rename(place)
        except OSError as error:
            raise StoreError(f"cannot keep a layer in {place}: {error.strerror}") from error
        now = time.time()
        built = BuiltLayer(place.name, now, now, 0, title, place.name)
        self.cache.add(keys, built)
        return self._layer(built)

    def _layer(self, built: BuiltLayer) -> Layer:
        layer = Layer(str(self.services.root.layers / built.directory), built)
        self.used[built.directory, built.identity] = layer
        return layer

    def close(self) -> None:
        """Note what was used."""
        self.cache.touch([directory for directory, _ in self.used])

    @contextlib.contextmanager
    def changes(self) -> Iterator[Path]:
        """Give a directory with `upper` and `work`; what is left of it is removed at the end."""
        with contextlib.ExitStack() as stack:
            try:
                making = stack.enter_context(scratch(self.services.root.layers, 0o700))
                for directory, mode in ((making / "upper", 0o755), (making / "work", 0o700)):
                    directory.mkdir()
                    directory.chmod(mode)
                yield making
            except OSError as error:
                if type(error) is not OSError:
                    raise
                layers = self.services.root.layers
                raise StoreError(f"cannot make a layer in {layers}: {error.strerror}") from error

    def make(self, keys: Sequence[str], title: str, fill: Callable[[Path], None]) -> Layer:
        """Have `fill` put files into `upper` of a directory of changes, and keep that."""
        with self.changes() as changes:
            fill(changes)
            return self.keep(keys, changes / "upper", title)
