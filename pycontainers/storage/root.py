"""The data root: where everything lies, and who may see it.

<root>/state.db          the database                         (database.py)
<root>/content/          blobs, as an OCI image layout        (content.py)
<root>/ingest/           blobs that are being written
<root>/layers/<id>/      unpacked layers, and generated ones  (images.py)
<root>/containers/<id>/  upper and work of one container      (snapshots.py)
<root>/volumes/<name>/   a volume's data, lock and disk       (volumes.py)
<root>/events/           the journal of events                (runtime/journal.py)
<root>/cache/            what can be made again, as seccomp programs
<run>/ids/<n>            leases of id ranges, of all engines  (ranges.py)
<run>/supervisors/<id>   sockets of containers' supervisors
<run>/nurseries/<key>    sockets of the supervisors' fork servers
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pycontainers.errors import StoreError
from pycontainers.storage import locks

if TYPE_CHECKING:
    from collections.abc import Iterator


class DataRoot:
    """One data root, made when missing, private to its owner (mode 0700)."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path).absolute() if path is not None else default_path()
        self.content = self.path / "content"
        self.ingest = self.path / "ingest"
        self.layers = self.path / "layers"
        self.containers = self.path / "containers"
        self.volumes = self.path / "volumes"
        self.cache = self.path / "cache"
        self.events = self.path / "events"
        self.build_mounts = self.path / "build" / "mounts"
        self.database = self.path / "state.db"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for directory in (self.layers, self.containers, self.volumes, self.cache, self.events):
                directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot make the data root {self.path}: {error.strerror}",
                hint="choose another with Engine(root=…) or PYCONTAINERS_ROOT",
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the root's lock, which processes take for recovery; it goes with its holder."""
        with locks.held(self.path / "lock"):
            yield


def default_path() -> Path:
    """Give the data root of this user.

    `PYCONTAINERS_ROOT`, else /var/lib/pycontainers for root, else $XDG_DATA_HOME/pycontainers.
    """
    if given := os.environ.get("PYCONTAINERS_ROOT"):
        return Path(given).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/pycontainers")
    home = os.environ.get("XDG_DATA_HOME") or Path("~/.local/share").expanduser()
    return Path(home) / "pycontainers"


def run_directory() -> Path:
    """Give the directory of run-time state, which a reboot clears."""
    if os.geteuid() == 0:
        return Path("/run/pycontainers")
    base = os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/pycontainers-{os.geteuid()}"
    return Path(base) / "pycontainers"
