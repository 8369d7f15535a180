"""Steps that make a mount which init will attach; plain and printable, as all of a plan's."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class CloneTree(NamedTuple):
    """Take a copy of a mount for `target`: the host's `source`, or descriptor number `fd`.

    With `follow` links in the source are followed.  `propagation` is MS_PRIVATE, MS_SLAVE, or 0 for
    that of the source.
    """

    source: str
    fd: int | None
    target: str
    attributes: int
    recursive: bool
    idmapped: bool
    follow: bool = True
    propagation: int = 0

    def __str__(self) -> str:
        return f"clone the mount at {self.source} for {self.target}"


class MountVolume(NamedTuple):
    """Take a volume for `target`, or the directory or file `subpath` in it.

    `place` is the volume's directory on the host; a `sized` one is a file system in a file there.
    """

    name: str
    place: str
    sized: bool
    subpath: str
    target: str
    attributes: int
    idmapped: bool

    def __str__(self) -> str:
        part = f"{self.subpath} of " if self.subpath else ""
        return f"take {part}the volume {self.name or 'of its own'} for {self.target}"


class MountImage(NamedTuple):
    """Show the files of an image at `target`, read-only: its layers, topmost first."""

    lower: list[str]
    subpath: str
    target: str
    attributes: int
    idmapped: bool

    def __str__(self) -> str:
        return f"overlay {' over '.join(self.lower)} for {self.target}"


class MountSecret(NamedTuple):
    """Show what is in descriptor number `fd` as a file at `target`; it lies in memory only.

    `uid` and `gid` are the container's own.
    """

    name: str
    fd: int
    target: str
    mode: int
    uid: int
    gid: int
    attributes: int
    idmapped: bool

    def __str__(self) -> str:
        return f"show the secret {self.name} at {self.target}"


Tree: TypeAlias = CloneTree | MountVolume | MountImage | MountSecret
