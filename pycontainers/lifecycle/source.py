"""What a container starts from: an image's config, and where its files lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from pycontainers.oci.config import ImageConfig


@attrs.frozen(kw_only=True)
class Source:
    """An image as a container sees it: config, layers (topmost first), (source, target) mounts."""

    image: str
    config: ImageConfig = attrs.field(eq=False)
    layers: tuple[str, ...] = ()
    trees: tuple[tuple[str, str], ...] = ()
