"""Images that a container has mounted, found or pulled before the container is made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from pycontainers.errors import ImageNotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontainers.lifecycle.mounts import StoredImage
    from pycontainers.lifecycle.options import Options


def with_images(options: Options, find: Callable[[str], StoredImage]) -> Options:
    """Give the options with the layers of the images that are mounted; raises ImageNotFound."""
    if all(mount.kind != "image" for mount in options.mounts):
        return options
    mounts = []
    for mount in options.mounts:
        if mount.kind == "image" and not mount.layers:
            found = find(mount.source)
            mounts.append(attrs.evolve(mount, source=found.id, layers=found.source().layers))
        else:
            mounts.append(mount)
        if not all(Path(layer).is_dir() for layer in mounts[-1].layers):
            raise ImageNotFound(f"the image {mount.source} has been removed")
    return attrs.evolve(options, mounts=tuple(mounts))
