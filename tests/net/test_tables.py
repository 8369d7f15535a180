"""The version of the firewall's rules."""

from __future__ import annotations

import zlib

from pycontainers.net import tables


def test_rules_that_are_changed_have_another_version() -> None:
    packed = b"".join(message.body for message in [*tables.routed(), *tables.bridged()])

    known = ("rules2", 2199729245)
    assert (tables.RULES, zlib.crc32(packed)) == known, "give RULES another number, then fix this"
