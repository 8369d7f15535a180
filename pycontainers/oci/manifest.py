"""Manifests and indexes: what an image is made of, and which image is for which platform.

OCI's image spec 1.1 and Docker's schema 2 say the same under two sets of media types.  The bytes
are kept by those who call: a digest is of bytes, never of what would be written again.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import attrs

from pycontainers.errors import ImageError, InvalidArgument
from pycontainers.oci.codec import from_json
from pycontainers.oci.digest import Digest, digest_text
from pycontainers.oci.fields import (
    INT64_MAX,
    InvalidField,
    a,
    optional,
    place,
    plain_map,
    several,
    shown,
    some_text,
    text,
    text_map,
    texts,
    tupled,
    whole,
)
from pycontainers.oci.platform import Platform

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"

MANIFESTS: Final = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES: Final = (OCI_INDEX, DOCKER_INDEX)
CONFIGS: Final = (OCI_CONFIG, DOCKER_CONFIG)
LAYERS: Final = frozenset(
    {
        OCI_LAYER,
        OCI_LAYER_GZIP,
        OCI_LAYER_ZSTD,
        DOCKER_LAYER,
        DOCKER_LAYER_GZIP,
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    }
)
REF_NAME: Final = "org.opencontainers.image.ref.name"
CONTAINERD_NAME: Final = "io.containerd.image.name"
LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'  # the file oci-layout

MAX_LAYERS: Final = 1024
_SCHEMA_1: Final = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
_GENERIC: Final = ("", "application/json", "text/plain", "application/octet-stream")
_ATTESTATION: Final = "vnd.docker.reference.type"
_two: Final = whole(2, 2)


def _base64(instance: object, field: attrs.Attribute[Any], value: str) -> None:
    text(instance, field, value)
    try:
        base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        raise InvalidField(field.name, "is not base64") from None


@attrs.frozen(kw_only=True)
class Descriptor:
    """Media type, digest and size (bytes) of some content, with what else is said of it."""

    media_type: str = attrs.field(validator=some_text)
    digest: str = attrs.field(validator=digest_text)
    size: int = attrs.field(validator=whole(0, INT64_MAX))
    urls: tuple[str, ...] = attrs.field(default=(), converter=tupled, validator=texts)
    annotations: Mapping[str, str] = attrs.field(factory=dict, validator=text_map, hash=False)
    data: str = attrs.field(default="", validator=_base64)
    platform: Platform | None = attrs.field(default=None, validator=optional(a(Platform)))
    artifact_type: str = attrs.field(default="", validator=text)
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)

    @classmethod
    def of(cls, data: bytes, media_type: str, **others: Any) -> Descriptor:
        """Give the descriptor of these bytes."""
        return cls(media_type=media_type, digest=str(Digest.of(data)), size=len(data), **others)


@attrs.frozen(kw_only=True)
class Manifest:
    """One image: its config, and its layers with the lowest first."""

    schema_version: int = attrs.field(default=2, validator=_two, metadata=place(always=True))
    media_type: str = attrs.field(default="", validator=text)
    artifact_type: str = attrs.field(default="", validator=text)
    config: Descriptor = attrs.field(validator=a(Descriptor))
    layers: tuple[Descriptor, ...] = attrs.field(
        default=(), converter=tupled, validator=several(Descriptor), metadata=place(always=True)
    )
    subject: Descriptor | None = attrs.field(default=None, validator=optional(a(Descriptor)))
    annotations: Mapping[str, str] = attrs.field(factory=dict, validator=text_map, hash=False)
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)


@attrs.frozen(kw_only=True)
class Index:
    """Several images, mostly one a platform."""

    schema_version: int = attrs.field(default=2, validator=_two, metadata=place(always=True))
    media_type: str = attrs.field(default="", validator=text)
    artifact_type: str = attrs.field(default="", validator=text)
    manifests: tuple[Descriptor, ...] = attrs.field(
        default=(), converter=tupled, validator=several(Descriptor), metadata=place(always=True)
    )
    subject: Descriptor | None = attrs.field(default=None, validator=optional(a(Descriptor)))
    annotations: Mapping[str, str] = attrs.field(factory=dict, validator=text_map, hash=False)
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)


@attrs.frozen(kw_only=True)
class _Head:
    """What tells the kinds of documents apart; the rest is in `unknown`."""

    schema_version: int = attrs.field(default=0, validator=whole(-INT64_MAX, INT64_MAX))
    media_type: str = attrs.field(default="", validator=text)
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)


def parse(data: bytes, media_type: str | None = None) -> Manifest | Index:
    """Read a manifest or an index; `media_type` is what came with it, as from a registry.

    Raises ImageError for Docker's schema 1, for what is neither or both, for a media type that
    the document contradicts (as the spec asks, CVE-2021-41190), and for content against the spec.

    >>> parse(b'{"schemaVersion": 2, "manifests": []}')
    Index(schema_version=2, media_type='', artifact_type='', manifests=(), subject=None, \
annotations={}, unknown={})
    """
    told = (media_type or "").partition(";")[0].strip().lower()
    told = "" if told in _GENERIC else told
    try:
        head = from_json(_Head, data)
        cls = _kind(head, told)
        if head.schema_version != 2:
            raise ImageError(f"a manifest has schema version {head.schema_version}, not 2")
        found = from_json(cls, data)
    except InvalidArgument as error:
        raise ImageError(f"a manifest can't be read: {error}") from error
    if isinstance(found, Manifest) and len(found.layers) > MAX_LAYERS:
        raise ImageError(f"an image has {len(found.layers)} layers, more than {MAX_LAYERS}")
    return found


def _kind(head: _Head, told: str) -> type[Manifest] | type[Index]:
    if told in _SCHEMA_1 or head.schema_version == 1 or "fsLayers" in head.unknown:
        raise ImageError(
            "the image has a manifest of Docker's schema 1, which is not supported",
            hint="push it again with a current tool: schema 1 was given up in 2017",
        )
    if told and head.media_type and told != head.media_type:
        raise ImageError(
            f"a document came as {shown(told)} and says it is {shown(head.media_type)}"
        )
    is_index = "manifests" in head.unknown
    is_manifest = "config" in head.unknown or "layers" in head.unknown
    if is_index and is_manifest:
        raise ImageError("a document is both a manifest and an index")
    said = told or head.media_type
    if said and said not in (INDEXES if is_index else MANIFESTS):
        raise ImageError(f"expected a manifest or an index, found {shown(said)}")
    if not is_index and not is_manifest:
        raise ImageError("a document is neither a manifest nor an index")
    return Index if is_index else Manifest


def check_image(manifest: Manifest) -> Manifest:
    """Give the manifest back if it is an image's; raises ImageError for another artifact."""
    config = manifest.config.media_type
    if manifest.artifact_type or config not in CONFIGS:
        what = manifest.artifact_type or config
        raise ImageError(f"{shown(what)} is an artifact, not an image that can be run")
    for layer in manifest.layers:
        if layer.media_type not in LAYERS:
            raise ImageError(f"a layer has the media type {shown(layer.media_type)}")
    return manifest


def choose(index: Index, wanted: Platform) -> Descriptor:
    """Give the entry that suits a platform best, of several alike the first.

    Attestations and artifacts are passed over.  Raises ImageError with the platforms there are.
    """
    images = [entry for entry in index.manifests if _is_image(entry)]
    ranked = [
        (rank, number)
        for number, entry in enumerate(images)
        if entry.platform and (rank := entry.platform.rank(wanted)) is not None
    ]
    if ranked:
        return images[min(ranked)[1]]
    if len(images) == 1 and images[0].platform is None:
        return images[0]  # an archive's only image; its config tells the platform
    there = ", ".join(sorted({str(entry.platform) for entry in images if entry.platform}))
    raise ImageError(
        f"there is no image for {wanted}",
        hint=f"there are images for {there}: choose with platform=" if there else None,
    )


def _is_image(entry: Descriptor) -> bool:
    return (
        entry.media_type in (*MANIFESTS, *INDEXES)
        and not entry.artifact_type
        and _ATTESTATION not in entry.annotations
        and (entry.platform is None or entry.platform.os != "unknown")
    )
