"""Images built by hand, in an OCI layout, with no help of the library under test."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def compressed(data: bytes, how: str) -> bytes:
    if how == "zstd":
        return subprocess.run(["zstd", "-q"], input=data, capture_output=True, check=True).stdout
    return gzip.compress(data, 1, mtime=0) if how == "gzip" else data


class Layout:
    """An OCI layout that is filled blob by blob."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifests: list[dict[str, Any]] = []
        (path / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self.write_index()

    def blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Add a blob; give its descriptor."""
        name = digest(data)
        (self.path / "blobs/sha256" / name.removeprefix("sha256:")).write_bytes(data)
        return {"mediaType": media_type, "digest": name, "size": len(data)}

    def json(self, document: object, media_type: str) -> dict[str, Any]:
        """Add a document; give its descriptor."""
        return self.blob(json.dumps(document).encode(), media_type)

    def image(
        self,
        layers: Sequence[bytes],
        *,
        name: str | None = None,
        how: str = "gzip",
        listed: bool = True,
        platform: dict[str, str] | None = None,
        **config: Any,
    ) -> dict[str, Any]:
        """Add an image of plain tar layers; give its descriptor, in the index if `listed`."""
        suffix = f"+{how}" if how else ""
        where = platform or {"architecture": "amd64", "os": "linux"}
        document = {
            **where,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.json(document, CONFIG),
            "layers": [self.blob(compressed(layer, how), LAYER + suffix) for layer in layers],
        }
        entry = self.json(manifest, MANIFEST)
        if listed:
            named = {"annotations": {"org.opencontainers.image.ref.name": name}} if name else {}
            self.manifests.append({**entry, **named})
            self.write_index()
        return {**entry, "platform": where}

    def write_index(self) -> None:
        """Write index.json."""
        index = {"schemaVersion": 2, "manifests": self.manifests}
        (self.path / "index.json").write_text(json.dumps(index))

    def tar(self, target: Path) -> Path:
        """Pack the layout as an OCI archive."""
        subprocess.run(["tar", "-C", self.path, "-cf", target, "."], check=True)
        return target
