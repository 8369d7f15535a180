"""Platforms: what an image's programs were made for, and which of several suits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

import attrs

from pycontainers.errors import InvalidArgument
from pycontainers.oci.fields import place, plain_map, shown, some_text, text, texts, tupled

_ARCHITECTURES: Final = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
}
_PLAIN_VARIANTS: Final = {("arm64", "v8"): "", ("amd64", "v1"): "", ("arm", ""): "v7"}
# What also runs where a variant is wanted, best first.
_RUNS: Final = {
    ("arm", "v8"): ("v8", "v7", "v6", "v5"),
    ("arm", "v7"): ("v7", "v6", "v5"),
    ("arm", "v6"): ("v6", "v5"),
    ("amd64", "v4"): ("v4", "v3", "v2", ""),
    ("amd64", "v3"): ("v3", "v2", ""),
    ("amd64", "v2"): ("v2", ""),
}


@attrs.frozen(kw_only=True)
class Platform:
    """An operating system, a processor architecture and its variant, in Go's words.

    >>> str(Platform.parse("linux/arm64/v8"))
    'linux/arm64'
    """

    architecture: str = attrs.field(validator=some_text)
    os: str = attrs.field(validator=some_text)
    os_version: str = attrs.field(default="", validator=text, metadata=place("os.version"))
    os_features: tuple[str, ...] = attrs.field(
        default=(), converter=tupled, validator=texts, metadata=place("os.features")
    )
    variant: str = attrs.field(default="", validator=text)
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read `os/architecture[/variant]`, or an architecture alone; raises InvalidArgument."""
        parts = text.split("/") if isinstance(text, str) else []
        if len(parts) == 1 and parts[0]:
            parts = ["linux", *parts]
        if len(parts) not in (2, 3) or not all(parts):
            raise InvalidArgument(f"{shown(str(text))} is not a platform as linux/arm64")
        return cls(os=parts[0], architecture=parts[1], variant="".join(parts[2:])).normalized()

    @classmethod
    def host(cls) -> Platform:
        """Give the platform of this machine."""
        return cls(os="linux", architecture=os.uname().machine).normalized()

    def normalized(self) -> Platform:
        """Give the same platform in the one spelling that is compared."""
        architecture = self.architecture.lower()
        architecture, variant = _ARCHITECTURES.get(architecture, (architecture, ""))
        variant = self.variant.lower() or variant
        if variant.isdigit():
            variant = f"v{variant}"
        variant = _PLAIN_VARIANTS.get((architecture, variant), variant)
        return attrs.evolve(self, os=self.os.lower(), architecture=architecture, variant=variant)

    def rank(self, wanted: Platform) -> int | None:
        """Tell how well this runs where `wanted` is asked for: 0 is best, None not at all.

        >>> Platform.parse("linux/arm/v6").rank(Platform.parse("linux/arm/v7"))
        1
        """
        mine, theirs = self.normalized(), wanted.normalized()
        if (mine.os, mine.architecture) != (theirs.os, theirs.architecture):
            return None
        runs = _RUNS.get((theirs.architecture, theirs.variant), (theirs.variant,))
        return runs.index(mine.variant) if mine.variant in runs else None

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}" + (f"/{self.variant}" if self.variant else "")
