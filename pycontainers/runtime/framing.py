"""Steps for a container whose files come last: /proc, /sys and /dev wait for them in a frame.

Plain and printable, as all of a plan's.
"""

from __future__ import annotations

from typing import NamedTuple


class MountFrame(NamedTuple):
    """Make an empty root file system for /proc, /sys and /dev, until the real one is there."""

    def __str__(self) -> str:
        return "make a root file system of nothing but /proc, /sys and /dev"


class ReplaceRoot(NamedTuple):
    """Make the first of the container's own mounts the root, with what is mounted in the frame."""

    def __str__(self) -> str:
        return "enter the root file system with /proc, /sys and /dev"
