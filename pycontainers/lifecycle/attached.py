"""A container of one run, from its row in the database to the last of its traces.

All that is made for it is undone by `remove`, and where this process dies first, by the launcher
and by the next engine's recovery.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Final

from pycontainers.errors import Conflict, EngineError
from pycontainers.lifecycle import compile as compiling
from pycontainers.lifecycle import (
    connections,
    mounts,
    names,
    placing,
    request,
    volumes,
    volumesfrom,
    wires,
)
from pycontainers.lifecycle.homes import Home
from pycontainers.runtime import plan
from pycontainers.storage.database import ContainerRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pycontainers.kernel.cgroups.base import Cgroup
    from pycontainers.lifecycle.launch import Running
    from pycontainers.lifecycle.options import Options
    from pycontainers.lifecycle.services import Services
    from pycontainers.lifecycle.source import Source
    from pycontainers.runtime.wiring import ConnectBridge
    from pycontainers.storage.networks import Place

_ATTEMPTS: Final = 20  # of a start whose launchers are killed one after the other


class Attached:
    """A container of `run`, which lives no longer than that; owned by the launcher.

    `secrets` are descriptors of what its mounts of that kind show, by name; they stay the caller's.
    One with a home can be started again and again, with the same ids and the same network.
    """

    def __init__(
        self,
        services: Services,
        container_id: str,
        options: Options,
        source: Source,
        secrets: Mapping[str, int] | None = None,
        *,
        has_home: bool = False,
    ) -> None:
        self.services = services
        self.id = container_id
        self.options = options
        self.source = source
        self.created = time.time()
        self.cgroup: Cgroup | None = None
        self.running: Running | None = None
        self.timed_out = False
        self.removed = False
        self._cgroup_name = ""
        self._volumes: dict[str, str] = {}
        self._places: list[Place] = []
        self._secrets = dict(secrets or {})
        self._home = Home(services, container_id) if has_home else None
        self._attempts = 0
        self._lock = threading.RLock()

    # What is asked, and what will be done.

    def argv(self) -> tuple[str, ...]:
        """Give the argument list of the container's program."""
        options, config = self.options, self.source.config
        return tuple(config.command(options.entrypoint, options.command))

    def _template(self) -> tuple[plan.Plan, list[int]]:
        if self._home is None:
            return self.services.template(self.options, self.source)
        return self._home.template(self.options, self.source, self.argv())

    def plan(self) -> tuple[plan.Plan, list[int]]:
        """Give the plan of a start, and the descriptors that it takes."""
        template, given = self._template()
        self.cgroup = self.services.cgroup(self._cgroup_name)
        directory = str(self.services.snapshots.path(self.id))
        made = compiling.personal(
            template,
            self.id,
            self.cgroup.plain() if self.cgroup else None,
            None if self.options.ephemeral else directory,
            self.options.hostname or self.id[:12],
            files=directory,
            wires=self._cables() if self._places and self._home is None else None,
        )
        places = volumes.places(self.services, self._volumes)
        made = placing.with_volumes(made, places)
        positions = {name: len(given) + at for at, name in enumerate(self._secrets)}
        return placing.with_secrets(made, positions), [*given, *self._secrets.values()]

    def _cables(self) -> list[ConnectBridge]:
        return wires.connects(self.services, self.options, self._places)

    def change(self, options: Options, source: Source, secrets: Mapping[str, int]) -> None:
        """Have the next start be that of another program over other layers, in the same home."""
        self.options, self.source, self._secrets = options, source, dict(secrets)

    # The course of its life.

    def create(self) -> None:
        """Write the container's row, after everything that can be refused has been looked at."""
        services = self.services
        options = volumesfrom.resolved(services, self.options)
        self.options = mounts.with_own(options, self.source.config)
        self._template()
        wanted = volumes.choose(services, self.options)
        self._volumes = {target: volume.name for target, volume in wanted.items()}
        self._cgroup_name = (self._home or services).cgroup_name()
        self.cgroup = services.cgroup(self._cgroup_name)
        row = ContainerRow(
            id=self.id,
            name=self.options.name,
            owner_pid=services.process,
            owner_start=services.process_start,
            created=self.created,
            cgroup=json.dumps(self.cgroup.plain()) if self.cgroup else "",
            options=json.dumps(
                {
                    **request.summary(self.options, self.source.image),
                    **volumes.summary(wanted),
                    "oneshot": True,
                }
            ),
        )
        services.attached[self.id] = self
        self._places = connections.place(services, row, self.options, wanted.values())
        if self._places:
            services.snapshots.make_home(self.id)
            wires.come(services, self.id, self.options, self._places)

    def start(self, stdio: list[int]) -> Running:
        """Start the program on these streams, which stay the caller's; raises LaunchError later.

        `Running.wait_started` tells whether it could be started, and `start_again` whether this is
        to be called once more.
        """
        with self._lock:
            self._must_not_run("started")
            self._let_go()
            if self._home is not None and self.running is not None:
                self._cgroup_name = self._home.cgroup_name()
            self.running = None
            self.timed_out = False
            if not self.options.ephemeral:
                self.services.snapshots.prepare(self.id)
            volumes.fill(self.services, self.options, self.source, self._volumes)
            self.running = self._launch(stdio)
        return self.running

    def _launch(self, stdio: list[int]) -> Running:
        while True:
            todo, given = self.plan()
            try:
                if self._home is None:
                    return self.services.start(todo, stdio, given)
                self._home.come(self._cables)
                return self.services.start(todo, stdio, given, self._home.next_cgroup)
            except EngineError:  # it was killed since it was last used; a new one takes its place
                self._attempts += 1
                if self._attempts >= _ATTEMPTS:
                    raise

    def start_again(self) -> bool:
        """Whether the last start was lost with a killed launcher before the program had begun."""
        self._attempts += 1
        running = self.running
        if running is None or not running.never_began():
            self._attempts = 0
            return False
        return self._attempts < _ATTEMPTS

    def remove(self) -> None:
        """Take away all that is left of it; it must have ended.  Removed already is fine."""
        with self._lock:
            if self.removed:
                return
            self._must_not_run("removed")
            self._let_go()
            if self._home is not None:
                self._home.leave()
            if self.options.is_bridged or not self.options.ephemeral:
                self.services.snapshots.remove(self.id)
            known = bool(self.options.name or self.options.aliases)
            left = wires.networks_of(self.services, self.id) if known else []
            self.services.volumes.remove_container(self.id, volumes=True)
            if left:
                names.announce(self.services, left)
            self.services.attached.pop(self.id, None)
            self.removed = True

    def end_now(self) -> None:
        """Kill it and wait, whatever its state; for removal by force and interrupted runs."""
        running = self.running
        if running is not None:
            running.signal(signal.SIGKILL)
            running.wait()

    # What is.

    @property
    def label(self) -> str:
        """The container's name, or short id."""
        return self.options.name or self.id[:12]

    def status(self) -> str:
        """Give `created`, `running` or `exited`."""
        running = self.running
        if running is None:
            return "created"
        return "running" if running.news() is None else "exited"

    def expire(self) -> None:
        """Kill the program because its time is over."""
        self.timed_out = True
        if self.running is not None:
            self.running.signal(signal.SIGKILL)

    def _let_go(self) -> None:
        """Let go of a program that has ended; do what a launcher that was killed can do no more."""
        if self.running is None:
            return
        if self.running.lost:
            self.services.forget_dead_launcher()
            wires.release(self.services, self.id)
            if self.cgroup is not None:
                self.cgroup.kill()
                self.cgroup.remove()
            if self._home is not None:
                self._home.clear()
        self.running.close()

    def _must_not_run(self, verb: str) -> None:
        if self.removed:
            raise Conflict(f"the container {self.label} has been removed")
        if self.status() == "running":
            hint = "stop it first, or use force=True" if verb == "removed" else None
            raise Conflict(f"the container {self.label} runs and can't be {verb}", hint=hint)


def new_id() -> str:
    """Give a fresh container id: 64 hexadecimal digits."""
    return os.urandom(32).hex()
