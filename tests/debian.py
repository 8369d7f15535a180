"""Debian 12's root file systems, made by mmdebstrap from the package sources of this machine.

They take half a minute to make, so they are kept in the user's cache under a digest of all that
they are made from.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

_SOURCES: Final = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")


def bookworm(target: Path, packages: Sequence[str], **environment: str) -> None:
    """Make a root file system of Debian's essential packages and these, without documentation."""
    sources = next(path for path in _SOURCES if Path(path).exists())
    call(
        *("mmdebstrap", "--mode=root", "--variant=essential", f"--include={','.join(packages)}"),
        *("--aptopt=Apt::Install-Recommends 0", "--dpkgopt=path-exclude=/usr/share/doc/*"),
        *("--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"),
        *("bookworm", str(target), sources),
        **environment,
    )


def cached(name: str, parts: object, build: Callable[[Path], None]) -> Path:
    """Give the directory that `build` fills, built once for the same `parts`.

    It is ~/.cache/`name`/<digest>; `parts` are what JSON can hold.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", name)
    cache.mkdir(parents=True, exist_ok=True)
    found = cache / hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test run may be building
        if not found.exists():
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                built = Path(scratch, "built")
                built.mkdir()
                build(built)
                built.rename(found)
    return found


def call(*command: str, **environment: str) -> None:
    """Run a command, what it prints being on standard error."""
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, **environment})
