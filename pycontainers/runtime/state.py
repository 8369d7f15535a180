"""What a container is just now, as its supervisor writes it down for everybody to read.

The file is replaced whole, so that a reader sees one state or the next.  It is not synced to the
disk: what a machine's crash could lose tells of processes that ended with it.
"""

from __future__ import annotations

import errno
import json
import os
from typing import Any, Final, NamedTuple

FILE: Final = "state.json"
LOCK: Final = "lock"
LIVING: Final = ("running", "paused", "restarting")


class State(NamedTuple):
    """A container's state; times are seconds since 1970.

    `supervisor` is its (number, start time), `pid` the program's number, both the host's; `cgroup`
    and `usage` are in their plain form.  `finished`, `exit_code` and `reason` tell of the last end.
    `ports` are what is published: (protocol, host's address, host's port, container's port) each.
    """

    status: str = "created"
    pid: int | None = None
    supervisor: list[int] | None = None
    cgroup: dict[str, Any] | None = None
    exit_code: int | None = None
    reason: str | None = None
    error: str = ""
    started: float | None = None
    finished: float | None = None
    restarts: int = 0
    stopped: bool = False
    usage: dict[str, Any] | None = None
    health: dict[str, Any] | None = None
    ports: list[list[Any]] | None = None

    @property
    def lives(self) -> bool:
        """Whether a supervisor has to be there."""
        return self.status in LIVING


def load(directory: str) -> State:
    """Read a container's state; one that was never started has the first."""
    try:
        with open(f"{directory}/{FILE}", encoding="utf-8") as file:
            known = json.load(file)
    except FileNotFoundError:
        return State()
    return State(**{name: known[name] for name in State._fields if name in known})


def store(directory: str, state: State) -> bool:
    """Replace a container's state; False where the disk is full, or the directory gone."""
    making = f"{directory}/.{FILE}"
    try:
        with open(making, "w", encoding="utf-8") as file:
            json.dump(state._asdict(), file)
        os.replace(making, f"{directory}/{FILE}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.ENOENT):
            raise
        return False
    return True
