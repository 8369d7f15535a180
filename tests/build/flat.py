"""Images as engines save them in Docker's format, read with nothing but tarfile: tree, config."""

from __future__ import annotations

import json
import stat
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

_PREFIX = "SCHILY.xattr."
_OLD = 10**9  # files that are older were in the context, the rest is made while building
_KINDS = {tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link", tarfile.FIFOTYPE: "fifo",
          tarfile.CHRTYPE: "device", tarfile.BLKTYPE: "block device"}  # fmt: skip


class Node(NamedTuple):
    """What equal files have in common; the time counts for files only."""

    kind: str
    mode: int
    owner: tuple[int, int]
    target: str = ""
    content: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, str], ...] = ()
    mtime: int = 0

    def __str__(self) -> str:
        """Show it on one line."""
        return " ".join(map(repr, self))


class Flat(NamedTuple):
    """An image: its config, its files with all layers on each other, and hard links."""

    config: dict[str, Any]
    files: dict[str, Node]
    linked: set[tuple[str, ...]]
    layers: list[set[str]]

    def lines(self) -> list[str]:
        """Give a file a line, so that a comparison shows which ones differ."""
        links = [f"linked {names}" for names in sorted(self.linked)]
        return [f"{name}: {node}" for name, node in sorted(self.files.items())] + links


def read(path: Path) -> Flat:
    """Read an image from an archive of the format "docker"."""
    cells: dict[str, list[Node]] = {}
    layers = []
    with tarfile.open(path) as saved:
        (manifest,) = json.loads(_member(saved, "manifest.json"))
        config = json.loads(_member(saved, manifest["Config"]))
        for name in manifest["Layers"]:
            member = saved.getmember(name)
            if member.issym():  # a layer that is there twice
                member = saved.getmember(_clean(f"{Path(name).parent}/{member.linkname}"))
            file = saved.extractfile(member)
            assert file is not None
            with tarfile.open(fileobj=file) as layer:
                layers.append(_apply(layer, cells))
    groups: dict[int, list[str]] = {}
    for name, cell in cells.items():
        groups.setdefault(id(cell), []).append(name)
    linked = {tuple(sorted(names)) for names in groups.values() if len(names) > 1}
    return Flat(config, {name: cell[0] for name, cell in cells.items()}, linked, layers)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def _clean(name: str) -> str:
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _apply(layer: tarfile.TarFile, cells: dict[str, list[Node]]) -> set[str]:
    """Put a layer over those before; give the names in it."""
    members = [(member, _clean(member.name)) for member in layer.getmembers()]
    for _, name in members:
        folder, _, last = name.rpartition("/")
        if last == ".wh..wh..opq":
            _remove(cells, folder, itself=False)
        elif last.startswith(".wh."):
            _remove(cells, f"{folder}/{last.removeprefix('.wh.')}".lstrip("/"))
    for member, name in members:
        if name.rpartition("/")[2].startswith(".wh.") or not name:
            continue
        if member.islnk():
            cells[name] = cells[_clean(member.linkname)]
            continue
        if not member.isdir():
            _remove(cells, name)
        cells[name] = [_node(layer, member)]
    return {name for _, name in members}


def _remove(cells: dict[str, list[Node]], path: str, *, itself: bool = True) -> None:
    gone = [name for name in cells if name.startswith(f"{path}/")]
    for name in [*gone, path] if itself and path in cells else gone:
        del cells[name]


def _node(layer: tarfile.TarFile, member: tarfile.TarInfo) -> Node:
    kind = _KINDS.get(member.type, "file")
    file = layer.extractfile(member) if member.isfile() else None
    xattrs = {key.removeprefix(_PREFIX): value for key, value in member.pax_headers.items()
              if key.startswith(_PREFIX)}  # fmt: skip
    is_old = kind in ("file", "fifo") and member.mtime < _OLD
    return Node(
        kind,
        stat.S_IMODE(member.mode) if kind != "link" else 0o777,
        (member.uid, member.gid),
        member.linkname if kind == "link" else "",
        file.read() if file else b"",
        (member.devmajor, member.devminor) if "device" in kind else (0, 0),
        tuple(sorted(xattrs.items())),
        int(member.mtime) if is_old else 0,
    )
