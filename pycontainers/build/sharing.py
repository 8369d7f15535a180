"""The document of a build cache that is taken to other data roots: layers, and keys to them.

It is the config of an OCI manifest whose layers are those of the cache, and so registries keep it.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pycontainers.errors import ImageError, InvalidArgument
from pycontainers.oci import manifest as oci
from pycontainers.oci.codec import to_json
from pycontainers.oci.digest import Digest
from pycontainers.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIG: Final = "application/vnd.pycontainers.build-cache.v1+json"
MAX_DOCUMENT: Final = 64 << 20
_VERSION: Final = 1
_NAME: Final = re.compile(r"[0-9a-f]{32,64}")
_LARGEST: Final = 1 << 62


class Shared(NamedTuple):
    """A layer of a cache: what leads to it, what steps upon it know it by, and its archive."""

    keys: list[str]
    identity: str
    title: str
    latest: int
    diff_id: str
    blob: str
    length: int


def place(given: str | os.PathLike[str]) -> Path | Reference:
    """Read where a cache is: a directory, if it is a path or begins as one, or a registry.

    Raises InvalidArgument.

    >>> place("./cache"), str(place("localhost:5000/app:cache"))
    (PosixPath('cache'), 'localhost:5000/app:cache')
    """
    if isinstance(given, os.PathLike) or str(given).startswith(("/", "./", "../")):
        return Path(given)
    return Reference.parse(given)


def document(layers: Sequence[Shared]) -> tuple[bytes, bytes]:
    """Give the manifest of a cache, and its config."""
    told = {"version": _VERSION, "layers": [layer._asdict() for layer in layers]}
    config = json.dumps(told, separators=(",", ":"), sort_keys=True).encode()
    blobs = {layer.blob: layer for layer in layers}
    manifest = oci.Manifest(
        media_type=oci.OCI_MANIFEST,
        artifact_type=CONFIG,
        config=oci.Descriptor.of(config, CONFIG),
        layers=tuple(
            oci.Descriptor(media_type=oci.OCI_LAYER_GZIP, digest=blob, size=layer.length)
            for blob, layer in blobs.items()
        ),
    )
    return to_json(manifest), config


def config_of(data: bytes) -> oci.Descriptor:
    """Give the descriptor of a cache's config from its manifest; raises ImageError."""
    found = oci.parse(data)
    if not isinstance(found, oci.Manifest) or found.config.media_type != CONFIG:
        raise ImageError("it is not a build cache of this library")
    return found.config


def read(config: bytes) -> list[Shared]:
    """Read the layers of a cache from its config; raises ImageError for what is none."""
    try:
        told = json.loads(config)
        if told["version"] != _VERSION:
            raise ImageError(f"a build cache of the unknown version {told['version']!r}")
        return [_checked(Shared(**each)) for each in told["layers"]]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ImageError(f"a build cache can't be read: {error}") from error


def _checked(layer: Shared) -> Shared:
    for name in [layer.identity, *layer.keys]:
        if not _NAME.fullmatch(name):
            raise InvalidArgument(f"{name[:80]!r} is no key")
    for digest in (layer.diff_id, layer.blob):
        Digest.parse(digest)
    numbers: tuple[Any, ...] = (layer.length, layer.latest)
    if not all(type(number) is int and -1 <= number < _LARGEST for number in numbers):
        raise InvalidArgument(f"{numbers} are not a length and a time")
    return layer._replace(title=str(layer.title))
