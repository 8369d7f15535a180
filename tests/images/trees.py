"""Trees of files compared as a whole, and archives built by hand."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path
from typing import NamedTuple


class Facts(NamedTuple):
    """What two equal files have in common."""

    kind: int
    mode: int
    owner: tuple[int, int]
    mtime: int
    size: int
    device: int
    target: str
    content: bytes
    xattrs: tuple[tuple[str, bytes], ...]
    links: int


def tree(root: str | Path) -> dict[str, Facts]:
    """Give all files below a directory by their path; times in whole seconds."""
    found = {}
    for folder, names, files in os.walk(root):
        for name in [*names, *files]:
            path = os.path.join(folder, name)
            facts = os.lstat(path)
            plain = stat.S_ISREG(facts.st_mode)
            link = stat.S_ISLNK(facts.st_mode)
            whiteout = stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0
            found[os.path.relpath(path, root)] = Facts(
                kind=stat.S_IFMT(facts.st_mode),
                mode=stat.S_IMODE(facts.st_mode),
                owner=(facts.st_uid, facts.st_gid),
                mtime=0 if whiteout else int(facts.st_mtime),
                size=facts.st_size if plain else 0,
                device=facts.st_rdev,
                target=os.readlink(path) if link else "",
                content=Path(path).read_bytes() if plain and facts.st_size < 1 << 20 else b"",
                xattrs=tuple(
                    (attribute, os.getxattr(path, attribute, follow_symlinks=False))
                    for attribute in sorted(os.listxattr(path, follow_symlinks=False))
                ),
                links=facts.st_nlink if plain else 0,
            )
    return found


def entry(name: str, kind: bytes = tarfile.REGTYPE, **members: object) -> tarfile.TarInfo:
    """Make an entry of an archive, as wrong as a test wants it."""
    made = tarfile.TarInfo(name)
    made.type = kind
    made.mode = 0o755
    for member, value in members.items():
        setattr(made, member, value)
    return made


def archive(
    *entries: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT
) -> bytes:
    """Make a tar archive of entries, with content where a pair is given."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as writer:
        for item in entries:
            info, content = item if isinstance(item, tuple) else (item, b"")
            info.size = len(content)
            writer.addfile(info, io.BytesIO(content))
    return made.getvalue()
