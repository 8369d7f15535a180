"""What containers stand on: the data root, its database, the cgroup host, the launcher.

One such set belongs to an engine and a process; a forked child makes its own.
"""

from __future__ import annotations

import itertools
import os
import threading
from typing import TYPE_CHECKING, Any, Final

from pycontainers.errors import ContainerNotFound
from pycontainers.kernel import processes
from pycontainers.kernel.cgroups.host import Host, find_host
from pycontainers.lifecycle import compile as compiling
from pycontainers.lifecycle import recovery, request
from pycontainers.lifecycle.launch import Launcher
from pycontainers.lifecycle.life import Life
from pycontainers.lifecycle.networks import Networks
from pycontainers.lifecycle.nursery import Nursery
from pycontainers.lifecycle.seccomp import Profile, compile_profile
from pycontainers.runtime import plan
from pycontainers.storage.content import ContentStore
from pycontainers.storage.database import Database
from pycontainers.storage.images import ImageStore
from pycontainers.storage.root import DataRoot, run_directory
from pycontainers.storage.snapshots import Snapshots
from pycontainers.storage.volumes import VolumeStore

if TYPE_CHECKING:
    from pycontainers.kernel.cgroups.base import Cgroup
    from pycontainers.lifecycle.attached import Attached
    from pycontainers.lifecycle.launch import Running
    from pycontainers.lifecycle.options import Options
    from pycontainers.lifecycle.source import Source
    from pycontainers.storage.database import ContainerRow

_TEMPLATES: Final = 256  # kept at one time
_LIVES: Final = 1024
_numbers = itertools.count(1)


class Services:
    """Opened on first use, recovered on opening, closed with the engine."""

    def __init__(self, root: DataRoot) -> None:
        self.root = root
        self.process = os.getpid()
        self.process_start = processes.start_time(self.process) or 0
        self.database = Database(root.database)
        self.snapshots = Snapshots(root.containers)
        self.cgroups: Host = find_host()
        self.attached: dict[str, Attached] = {}
        self.spare_cgroup: str | None = None
        # A helper that systemd gave a place must not be taken for another one.
        shared = find_host() if self.cgroups.moves_helpers else self.cgroups
        self.nursery = Nursery(run_directory(), str(root.path), shared)
        self.content = ContentStore(root.content, root.ingest)
        self.image_store = ImageStore(self.database, self.content, root.layers)
        self.networks = Networks(self)
        self.volumes = VolumeStore(self.database, root.volumes, root.events)
        self.host_image: Source | None = None
        self._templates: dict[tuple[Options, Source, bool], tuple[plan.Plan, list[int]]] = {}
        self._lives: dict[str, Life] = {}
        self._filters: dict[object, tuple[int, int]] = {}
        self._launcher: Launcher | None = None
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self.recover()

    def recover(self) -> None:
        """Take away what containers of ended processes left behind."""
        recovery.recover(self)

    def life(self, container_id: str) -> Life:
        """Give a container of the database; raises ContainerNotFound."""
        rows = self.database.container(container_id)
        if not rows or rows[0].id != container_id:
            raise ContainerNotFound(f"the container {container_id[:12]} has been removed")
        return self.life_of(rows[0])

    def life_of(self, row: ContainerRow) -> Life:
        """Give the container of a row; what was read of it is kept while the row is the same."""
        life = self._lives.get(row.id)
        if life is None or life.row != row:
            if len(self._lives) >= _LIVES:
                self._lives.clear()
            life = self._lives[row.id] = Life(self, row)
        return life

    def own_lives(self) -> list[Life]:
        """Give the containers that end with this process."""
        me = (self.process, self.process_start)
        rows = self.database.containers()
        return [
            self.life_of(row)
            for row in rows
            if (row.owner_pid, row.owner_start) == me and row.id not in self.attached
        ]

    def launcher(self) -> Launcher:
        """Give the launcher; a new one where there is none yet or the last one has ended."""
        self.forget_dead_launcher()
        with self._lock:
            if self._launcher is None:
                self._launcher = Launcher(run_directory())
                self.cgroups.adopt(self._launcher.pid)
            return self._launcher

    def forget_dead_launcher(self) -> None:
        """Reap a launcher that has been killed; the next use starts another."""
        with self._lock:
            if self._launcher is not None and not self._launcher.alive():
                self._end_launcher()

    def _end_launcher(self) -> None:
        if self._launcher is not None:
            self._launcher.close()
            self._launcher = None
            name, self.spare_cgroup = self.spare_cgroup, None
            if name is not None and self.cgroups.controllers:
                self.cgroups.cgroup(name).remove()  # it is there where the launcher was killed

    def cgroup_name(self) -> str:
        """Give the name of a new container's cgroup: that of the spare container, if there is one.

        It tells whose it is, so that recovery can judge what a crash has left.
        """
        with self._lock:
            name, self.spare_cgroup = self.spare_cgroup, None
        return name or self.new_cgroup_name()

    def start(
        self, todo: plan.Plan, stdio: list[int], given: list[int], following: str | None = None
    ) -> Running:
        """Have the launcher start a container, and keep a spare one in the cgroup named next.

        That is for whoever is first, unless `following` names the cgroup of the caller's own next.
        """
        launcher = self.launcher()
        if following is not None:
            return launcher.start(todo, stdio, given, self._plain(following))
        with self._starting:  # so that the launcher hears of a name before that is taken
            return launcher.start(todo, stdio, given, self._following())

    def _following(self) -> dict[str, Any] | None:
        with self._lock:
            if self.spare_cgroup is None:
                self.spare_cgroup = self.new_cgroup_name()
            name = self.spare_cgroup
        return self._plain(name)

    def _plain(self, name: str) -> dict[str, Any] | None:
        cgroup = self.cgroup(name)
        return None if cgroup is None else cgroup.plain()

    def new_cgroup_name(self) -> str:
        """Give the name of a cgroup that tells whose it is."""
        return f"{self.process}-{self.process_start}-{next(_numbers)}"

    def cgroup(self, name: str) -> Cgroup | None:
        """Give a container's cgroup, None where this host has none that can be used.

        The launcher is started first: it may bring the place where cgroups are made.
        """
        self.launcher()
        return self.cgroups.cgroup(name) if self.cgroups.controllers else None

    def template(
        self, options: Options, source: Source, *, accounting: bool = False
    ) -> tuple[plan.Plan, list[int]]:
        """Give the plan that all containers of these options and this image have, but for names.

        It is made once: programs mostly start many containers alike.  Also gives the descriptors
        that the plan takes.  Raises InvalidArgument and NotSupported for what can't be.
        """
        key: tuple[Options, Source, bool] | None = (options.unnamed(), source, accounting)
        try:
            if key in self._templates:
                return self._templates[key]
        except TypeError:  # a seccomp profile given as a mapping
            key = None
        made = self._compile(options, source, accounting)
        if options.devices:
            key = None  # what stands behind a device's name can change
        if key is not None:
            if len(self._templates) >= _TEMPLATES:
                self._templates.clear()
            self._templates[key] = made
        return made

    def _compile(
        self, options: Options, source: Source, accounting: bool
    ) -> tuple[plan.Plan, list[int]]:
        limits = request.limits(options, accounting=accounting)
        self.cgroups.check(limits)
        spec = request.make_spec(
            options, source.config, container_id="container", trees=source.trees
        )
        profile = "unconfined" if options.privileged else options.seccomp
        granted = frozenset(spec.process.capabilities.bounding)
        filter_fd, filter_size = self.filter(profile, granted)
        place = compiling.Place(
            lower=source.layers,
            # Else named by each container's own plan.
            upper=None if options.ephemeral else plan.OWN if accounting else "",
            trees=tuple(path for path, _ in source.trees),
            cgroup={} if self.cgroups.controllers else None,
            limits=limits._asdict(),
            hierarchies=self.cgroups.hierarchies(limits),
            seccomp_fd=None if filter_fd is None else 0,
            seccomp_size=filter_size,
            init=options.init,
        )
        return compiling.compile_plan("", spec, place), [] if filter_fd is None else [filter_fd]

    def filter(self, profile: Profile, granted: frozenset[str]) -> tuple[int | None, int]:
        """Give a descriptor of the compiled seccomp program, and its size; None for no filter."""
        key = (profile, granted) if isinstance(profile, str) else None
        with self._lock:
            if key is not None and key in self._filters:
                return self._filters[key]
            program = compile_profile(profile, granted, cache=self.root.cache)
            if program is None:
                return None, 0
            return self._hold(key or program, program)

    def hold(self, program: bytes) -> tuple[int, int]:
        """Give a descriptor that holds a compiled seccomp program, and its size."""
        with self._lock:
            return self._hold(program, program)

    def _hold(self, key: object, program: bytes) -> tuple[int, int]:
        held = self._filters.get(key)
        if held is None:
            fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
            os.write(fd, program)
            held = self._filters[key] = (fd, len(program))
        return held

    def close(self) -> None:
        """End the launcher with all its containers, and close the database."""
        with self._lock:
            self._end_launcher()
            for fd, _ in self._filters.values():
                os.close(fd)
            self._filters.clear()
        self.nursery.close()
        self.networks.tidy()
        self.networks.close()
        self.cgroups.tidy()
        self.database.close()

    def abandon(self) -> None:
        """Let go, in a forked child, of what belongs to the parent, without touching it."""
        if self._launcher is not None:
            self._launcher.abandon()
        self.nursery.close()
        self.networks.close()
