"""The images that are here: found by what people call them, removed with what only they have."""

from __future__ import annotations

import contextlib
import functools
import json
from typing import TYPE_CHECKING, BinaryIO

from pycontainers.distribution.record import MAX_DOCUMENT
from pycontainers.errors import Conflict, ImageError, ImageNotFound, InvalidArgument, StoreError
from pycontainers.oci.codec import from_json
from pycontainers.oci.config import ImageConfig
from pycontainers.oci.digest import Digest
from pycontainers.oci.reference import Reference
from pycontainers.storage import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pycontainers.lifecycle.services import Services
    from pycontainers.storage.images import Collected, ImageRow


def find(services: Services, text: str) -> str:
    """Give the id of the image that a reference, an id or the beginning of an id means.

    Raises ImageNotFound, InvalidArgument, and Conflict where a beginning means several.
    """
    store = services.image_store
    if _may_be_id(text):
        found = {row.config for row in store.by_id(text)}
        if len(found) > 1:
            raise Conflict(f"{text!r} is the beginning of {len(found)} image ids")
        if found:
            return found.pop()
    row = None
    if not text.startswith("sha256:"):
        row = store.by_reference(str(Reference.parse(text)))
    if row is None:
        raise ImageNotFound(
            f"no image {text!r} in {services.root.path}", hint=f"Image.pull({text!r}) fetches it"
        )
    return row.config


def row(services: Services, image_id: str) -> ImageRow:
    """Give what is known of an image; raises ImageNotFound where it has been removed."""
    rows = services.image_store.by_id(image_id)
    if not rows:
        raise ImageNotFound(f"the image {image_id} has been removed")
    return max(rows, key=lambda row: row.added)


def names(services: Services, image_id: str) -> tuple[str, ...]:
    """Give all references that mean an image."""
    store = services.image_store
    rows = store.by_id(image_id)
    return tuple(name for row in rows for name in store.references(row.manifest))


@functools.lru_cache(maxsize=256)
def config(services: Services, image_id: str) -> ImageConfig:
    """Give an image's config; raises ImageError, StoreError."""
    try:
        data = services.content.read(Digest.parse(image_id), MAX_DOCUMENT)
        return from_json(ImageConfig, data, limit=MAX_DOCUMENT)
    except InvalidArgument as error:  # the store was changed by others
        raise ImageError(f"the config of the image {image_id} can't be read: {error}") from error


def remove(services: Services, image_id: str, *, force: bool) -> None:
    """Remove an image with its references; with `force`, only these where a container uses it.

    Raises Conflict.
    """
    store = services.image_store
    if image_id not in used(services):
        store.remove([row.manifest for row in store.by_id(image_id)])
        store.collect(wait=False)
        return
    if not force:
        raise Conflict(
            f"the image {image_id} is used by a container",
            hint="remove the container first; force=True takes the tags",
        )
    for name in names(services, image_id):
        store.untag(name)


def prune(services: Services, *, all: bool) -> Collected:
    """Remove the images without a tag, or `all` that no container uses; tell what it freed."""
    store, needed = services.image_store, used(services)
    unneeded = [
        row.manifest
        for row, references in store.all()
        if row.config not in needed and (all or not any("@" not in name for name in references))
    ]
    store.remove(unneeded)
    return store.collect(wait=True)


def used(services: Services) -> set[str]:
    """Give the ids of the images that containers use."""
    known = [json.loads(row.options) for row in services.database.containers()]
    return {image for one in known for image in (one.get("image", ""), *one.get("images", ()))}


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears, or replaces another, when all is written; raises StoreError."""
    try:
        with scratch.appearing(path) as file:
            yield file
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error


def _may_be_id(text: str) -> bool:
    bare = text.removeprefix("sha256:")
    return 4 <= len(bare) <= 64 and all(digit in "0123456789abcdef" for digit in bare)
