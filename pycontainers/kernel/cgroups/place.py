"""What every host of cgroups answers: can it enforce these limits, and where are cgroups made."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from pycontainers.errors import InvalidArgument, NotSupported
from pycontainers.kernel.cgroups import base, files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PROCESSORS: Final = 8192  # the most that Linux can be built for
_OPTIONS: Final = {  # controller: the limits that need it
    "cpu": "cpus and cpu_shares",
    "cpuset": "cpuset",
    "devices": "devices",
    "io": "io_weight",
    "memory": "memory and memory_reservation",
    "pids": "pids",
}


class Host(ABC):
    """Where this process may make cgroups.

    `layout` is `v1`, `hybrid`, `v2` or `none`; `controllers` gives, for each that can be used, the
    directory in which the containers' cgroups are made, and is empty where none can be.  One object
    serves one launcher at a time: a new one is to be adopted anew.
    """

    def __init__(self, layout: str, controllers: Mapping[str, str]) -> None:
        self.layout = layout
        self.controllers = dict(controllers)

    def check(self, limits: base.Limits) -> None:
        """Raise NotSupported for the first limit that this host can't enforce; makes nothing.

        Raises InvalidArgument for a `cpuset` that is no list of processors.
        """
        for name in base.needed(limits):
            if name not in self.controllers:
                raise NotSupported(
                    f"the limit {_OPTIONS[name]} can't be enforced: {self._why_not(name)}",
                    hint=self._remedy(name),
                )
        if limits.cpuset is not None:
            wanted, allowed = processors(limits.cpuset), self._processors()
            if allowed and not wanted <= processors(allowed):
                raise NotSupported(
                    f"the limit cpuset can't be enforced: {limits.cpuset} is not within {allowed}",
                    hint=f"the processors that containers can have here are {allowed}",
                )
        if limits.io_weight is not None and not self._weighs_io():
            raise NotSupported(
                "the limit io_weight can't be enforced: nothing in this kernel weighs io",
                hint="load the module bfq and set it in /sys/block/<disk>/queue/scheduler",
            )

    @property
    def moves_helpers(self) -> bool:
        """Whether `adopt` moves a helper to a place that only it can tell of."""
        return False

    @abstractmethod
    def adopt(self, pid: int, place: str = "") -> str:
        """Get the place ready in which the helper `pid` shall make cgroups.

        Under systemd and version 2 the helper and its children are moved there; no other process
        ever is.  That place is given, for others to know it as `place`, which needs no moving; else
        it is the same for all, and "".  Under version 1 there is nothing to do.  Raises
        KernelError, NotSupported.
        """

    @abstractmethod
    def cgroup(self, name: str) -> base.Cgroup:
        """Name a container's cgroup; nothing is made yet.  Raises NotSupported."""

    def hierarchies(self, limits: base.Limits) -> tuple[str, ...]:
        """Give what a container with these limits mounts each of its hierarchies by.

        As `("pids", "memory", "cpu,cpuacct")`; version 2 has a single one, without such a name.
        """
        return ()

    def listing(self) -> list[str]:
        """Name the cgroups that exist where `cgroup` puts them, whoever made them."""
        found = {
            os.path.basename(path)
            for directory in self._directories()
            for path in files.subgroups(directory)
        }
        return sorted(found)

    def tidy(self) -> None:
        """Take the directories away that hold the containers' cgroups, where they are empty."""
        for directory in self._directories():
            _remove_if_empty(directory)

    def _directories(self) -> Iterable[str]:
        """Give the directories `pycontainers`; there is none yet before systemd gave a place."""
        return sorted(set(filter(None, self.controllers.values())))

    @abstractmethod
    def _why_not(self, controller: str) -> str:
        """Say why a controller is not among those that can be used."""

    @abstractmethod
    def _remedy(self, controller: str) -> str:
        """Say what brings a controller."""

    @abstractmethod
    def _processors(self) -> str:
        """Give the list of the processors that a container can have; empty where unknown."""

    @abstractmethod
    def _weighs_io(self) -> bool:
        """Whether the io controller that is there has weights."""


class NoHost(Host):
    """A host where this process can make no cgroup; `why` and `remedy` say what is to be done."""

    def __init__(self, layout: str, why: str, remedy: str) -> None:
        super().__init__(layout, {})
        self._why, self._hint = why, remedy

    def adopt(self, pid: int, place: str = "") -> str:
        """Do nothing: there is no place."""
        return ""

    def cgroup(self, name: str) -> base.Cgroup:
        """Raise NotSupported."""
        raise NotSupported(f"the cgroup {name} can't be made: {self._why}", hint=self._hint)

    def _why_not(self, controller: str) -> str:
        return self._why

    def _remedy(self, controller: str) -> str:
        return self._hint

    def _processors(self) -> str:
        return ""

    def _weighs_io(self) -> bool:
        return False


def processors(cpuset: str) -> set[int]:
    """Read a list of processors as cpuset(7) writes it; raises InvalidArgument.

    >>> sorted(processors("0-2,5"))
    [0, 1, 2, 5]
    """
    numbers: set[int] = set()
    for part in cpuset.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        # Length first: int() refuses thousands of digits with an error of its own.
        if not all(len(n) < 6 and n.isascii() and n.isdigit() for n in (first, last)):
            raise InvalidArgument(f"cpuset: {cpuset[:80]!r} is no list of processors as 0-2,5")
        if not int(first) <= int(last) < _PROCESSORS:
            raise InvalidArgument(f"cpuset: {part!r} is no range of processors")
        numbers.update(range(int(first), int(last) + 1))
    return numbers


def allowed_processors(directories: Iterable[str]) -> str:
    """Read the processors of the first of some directories that tells them."""
    for directory in directories:
        for name in ("cpuset.cpus.effective", "cpuset.effective_cpus"):
            if text := (files.read(f"{directory}/{name}") or "").strip():
                return text
    return ""


def _remove_if_empty(directory: str) -> None:
    try:
        os.rmdir(directory)
    except OSError:
        return  # in use, or gone already
