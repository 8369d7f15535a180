"""What a container starts from: an image's config, and where its files lie."""

from __future__ import annotations

import json
from typing import Any

import attrs

from pycontainers.oci.codec import from_json, to_json
from pycontainers.oci.config import ImageConfig


@attrs.frozen(kw_only=True)
class Source:
    """An image as a container sees it: config, layers (topmost first), (source, target) mounts."""

    image: str
    config: ImageConfig = attrs.field(eq=False)
    layers: tuple[str, ...] = ()
    trees: tuple[tuple[str, str], ...] = ()

    def packed(self) -> dict[str, Any]:
        """Give it as JSON can hold it, for another process."""
        config = json.loads(to_json(self.config))
        return {"image": self.image, "config": config, "layers": self.layers, "trees": self.trees}

    @classmethod
    def unpacked(cls, packed: dict[str, Any]) -> Source:
        """Make it again from `packed()`."""
        return cls(
            image=packed["image"],
            config=from_json(ImageConfig, json.dumps(packed["config"]).encode()),
            layers=tuple(packed["layers"]),
            trees=tuple((source, target) for source, target in packed["trees"]),
        )
