"""Digests: `sha256:…` of bytes, as descriptors and references name content."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

import attrs

from pycontainers.errors import InvalidArgument
from pycontainers.oci.fields import InvalidField, shown, text

if TYPE_CHECKING:
    from hashlib import _Hash

_LENGTHS: Final = {"sha256": 64, "sha384": 96, "sha512": 128}
_HEX: Final = re.compile(r"[0-9a-f]+")


@attrs.frozen(order=True)
class Digest:
    """The digest of some bytes: its algorithm (sha256, sha384 or sha512) and its lower-case hex.

    Raises InvalidArgument for anything else.

    >>> str(Digest.of(b""))[:20]
    'sha256:e3b0c44298fc1'
    """

    algorithm: str
    hex: str

    def __attrs_post_init__(self) -> None:
        length = _LENGTHS.get(self.algorithm)
        if length is None:
            known = ", ".join(_LENGTHS)
            raise InvalidArgument(
                f"cannot use a digest by {shown(self.algorithm)}: only {known} are known"
            )
        if len(self.hex) != length or not _HEX.fullmatch(self.hex):
            raise InvalidArgument(
                f"{shown(self.hex)} is no {self.algorithm}: that has {length} lower-case hex digits"
            )

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `algorithm:hex` (image spec, descriptor.md); raises InvalidArgument."""
        algorithm, colon, rest = text.partition(":")
        if not colon:
            raise InvalidArgument(f"{shown(text)} is not a digest as sha256:…")
        return cls(algorithm, rest)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Give the sha256 of bytes."""
        return cls("sha256", hashlib.sha256(data).hexdigest())

    def hasher(self) -> _Hash:
        """Give a new hash object of this digest's algorithm, to check bytes as they come."""
        return hashlib.new(self.algorithm)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def digest_text(instance: object, field: attrs.Attribute[Any], value: str) -> None:
    """Check a field that holds a digest as text."""
    text(instance, field, value)
    try:
        Digest.parse(value)
    except InvalidArgument as error:
        raise InvalidField(field.name, str(error.args[0])) from None
