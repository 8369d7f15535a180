"""One container of this process, from its row in the database to the last of its traces.

All that is made for it is undone by `remove`, and where this process dies first, by the launcher
and by the next engine's recovery.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.errors import Conflict, EngineError, Timeout
from pycontainers.kernel import processes
from pycontainers.lifecycle import compile as compiling
from pycontainers.lifecycle import output, request
from pycontainers.runtime import plan
from pycontainers.storage.database import ContainerRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pycontainers.kernel.cgroups.base import Cgroup
    from pycontainers.lifecycle.launch import End, Running
    from pycontainers.lifecycle.options import Command, Options
    from pycontainers.lifecycle.services import Services
    from pycontainers.lifecycle.source import Source
    from pycontainers.lifecycle.streams import Streams
    from pycontainers.oci import runtime

_ATTEMPTS: Final = 20  # of a start whose launchers are killed one after the other


class Attached:
    """A container that lives no longer than this process; safe to use from several threads."""

    def __init__(
        self, services: Services, container_id: str, options: Options, source: Source
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
        self._executed = 0
        self._attempts = 0
        self._cancelled = False
        self._input_fd = -1
        self._kept: dict[str, tuple[output.Stream, threading.Event]] = {}
        self._timer: threading.Timer | None = None
        self._lock = threading.RLock()

    # What is asked, and what will be done.

    def spec(self) -> runtime.Spec:
        """Give the runtime spec; raises InvalidArgument for what can't be asked of this image."""
        return request.make_spec(
            self.options, self.source.config, container_id=self.id, trees=self.source.trees
        )

    def argv(self) -> tuple[str, ...]:
        """Give the argument list of the container's program."""
        options, config = self.options, self.source.config
        return tuple(config.command(options.entrypoint, options.command))

    def plan(self) -> tuple[plan.Plan, list[int]]:
        """Give the plan of a start, and the descriptors that it takes."""
        template, given = self.services.template(self.options, self.source)
        self.cgroup = self.services.cgroup(self._cgroup_name)
        upper = None if self.options.ephemeral else str(self.services.snapshots.path(self.id))
        made = compiling.personal(
            template,
            self.id,
            self.cgroup.plain() if self.cgroup else None,
            upper,
            self.options.hostname or self.id[:12],
        )
        return made, given

    # The course of its life.

    def create(self) -> None:
        """Write the container's row, after everything that can be refused has been looked at."""
        services = self.services
        services.template(self.options, self.source)
        self._cgroup_name = services.cgroup_name()
        self.cgroup = services.cgroup(self._cgroup_name)
        services.database.add_container(
            ContainerRow(
                id=self.id,
                name=self.options.name,
                owner_pid=services.process,
                owner_start=services.process_start,
                pid=None,
                start=None,
                status="created",
                exit_code=None,
                created=self.created,
                cgroup=json.dumps(self.cgroup.plain()) if self.cgroup else "",
                options=json.dumps(request.summary(self.options, self.source.image)),
            )
        )
        services.attached[self.id] = self

    def start(self, stdio: list[int]) -> Running:
        """Start the program on these streams, which stay the caller's; raises LaunchError later.

        `Running.wait_started` tells whether it could be started, and `start_again` whether this is
        to be called once more.
        """
        with self._lock:
            self._must_not_run("started")
            self._let_go()
            self.running = None
            self.timed_out = False
            self._close_input()
            self._kept.clear()
            if not self.options.ephemeral:
                self.services.snapshots.prepare(self.id)
            self.running = self._launch(stdio)
        if self._cancelled:
            self.running.signal(signal.SIGKILL)
        return self.running

    def _launch(self, stdio: list[int]) -> Running:
        while True:
            todo, given = self.plan()
            try:
                return self.services.start(todo, stdio, given)
            except EngineError:  # it was killed since it was last used; a new one takes its place
                self._attempts += 1
                if self._attempts >= _ATTEMPTS:
                    raise

    def start_again(self) -> bool:
        """Whether the last start was lost with a killed launcher before the program had begun."""
        self._attempts += 1
        running = self.running
        if running is None or self._cancelled or not running.never_began():
            self._attempts = 0
            return False
        return self._attempts < _ATTEMPTS

    def note_started(self) -> None:
        """Write down that it runs, for other processes, and start its clock."""
        running = self._live()
        pid = running.pid()
        if pid is not None:
            started = processes.start_time(pid)
            self.services.database.update_container(
                self.id, status="running", pid=pid, start=started
            )
        if self.options.timeout is not None:
            self._timer = threading.Timer(self.options.timeout, self._expire)
            self._timer.daemon = True
            self._timer.start()

    def wait(self, timeout: float | None = None) -> End:
        """Wait for its end; raises Timeout, Conflict where it was never started.

        Where the launcher was killed, so was the program: by signal 9.
        """
        end = self._live().wait(timeout)
        if self._timer is not None:
            self._timer.cancel()
        return end

    def kill(self, number: int) -> None:
        """Send the program a signal; raises Conflict where none runs."""
        if not self._live().signal(number):
            raise Conflict(f"the container {self.label} is not running")

    def stop(self, timeout: float | None = None) -> None:
        """End the program: its stop signal, then after a grace period SIGKILL; ended is fine.

        A signal that process 1 neither handles nor could die of is not waited for.
        """
        running = self._live()
        if running.news() is not None:
            return
        number = self.options.stop_signal or request.stop_signal(self.source.config)
        grace = self.options.stop_timeout if timeout is None else timeout
        pid = running.pid()
        if pid is not None and number != signal.SIGKILL:
            with contextlib.suppress(OSError):  # it has just ended
                grace = grace if processes.handles(pid, number) else 0.0
        if not running.signal(number):
            return
        try:
            running.wait(grace)
        except Timeout:
            running.signal(signal.SIGKILL)
            running.wait()

    def program(
        self,
        command: Command,
        *,
        env: Mapping[str, str] | Sequence[str],
        user: str | int | None,
        workdir: str | None,
        tty: bool,
    ) -> runtime.Process:
        """Give what a further program shall be; raises InvalidArgument."""
        return request.further_process(self.spec().process, command, env, user, workdir, tty)

    def execute(self, process: runtime.Process, fds: list[int], *, tree: bool) -> Executed:
        """Start a further program; raises Conflict where the container does not run.

        With `tree` all that it starts can be killed together.
        """
        running = self._running_now()
        with self._lock:
            self._executed += 1
            name = f"exec-{self._executed}" if tree else None
        profile = "unconfined" if self.options.privileged else self.options.seccomp
        filter_fd, size = self.services.filter(profile, frozenset(process.capabilities.bounding))
        load = None if filter_fd is None else plan.LoadSeccomp(0, size)
        names = [entry.type for entry in self.spec().linux.namespaces]
        steps = compiling.exec_steps(names, process, seccomp=load)
        given = [] if filter_fd is None else [filter_fd]
        try:
            started = running.launcher.execute(self.id, steps, name, [*fds, *given], len(fds))
        except EngineError:  # killed, and the container with it
            running.wait()
            started = self._running_now().launcher.execute(
                self.id, steps, name, [*fds, *given], len(fds)
            )
        return Executed(started, name)

    def kill_executed(self, executed: Executed) -> None:
        """Kill a further program, with every process that it has started."""
        if executed.tree is not None:
            with contextlib.suppress(EngineError):  # it was killed, and every process with it
                executed.running.launcher.kill_tree(self.id, executed.tree)
        executed.running.signal(signal.SIGKILL)

    # Its output, where nobody else reads it.

    def keep(self, streams: Streams) -> None:
        """Have the program's output read and kept, and its input left open."""
        self._input_fd, streams.stdin = streams.stdin, -1
        for name in ("stdout", "stderr"):
            fd = getattr(streams, name)
            if fd >= 0:
                stream = output.Stream()
                self._kept[name] = stream, self.services.collector.add(fd, stream)

    def stream(self, name: str) -> output.Stream:
        """Give what was kept of one stream; all of it, where the program has ended."""
        stream, ended = self._kept.get(name, (output.Stream(), None))
        if ended is not None and self.status() != "running":
            ended.wait(timeout=5)
        return stream

    def collected(self, names: Sequence[str]) -> bytes:
        """Give what was kept of these streams."""
        return b"".join(self.stream(name).data() for name in names)

    def remove(self) -> None:
        """Take away all that is left of it; it must have ended.  Removed already is fine."""
        with self._lock:
            if self.removed:
                return
            self._must_not_run("removed")
            if self._timer is not None:
                self._timer.cancel()
            self._let_go()
            self._close_input()
            if not self.options.ephemeral:
                self.services.snapshots.remove(self.id)
            self.services.database.remove_container(self.id)
            self.services.attached.pop(self.id, None)
            self.removed = True

    def end_now(self) -> None:
        """Kill it and wait, whatever its state; for removal by force and interrupted runs."""
        running = self.running
        if running is not None:
            running.signal(signal.SIGKILL)
            running.wait()

    def cancel(self) -> None:
        """Kill its program, now or as soon as it has been started; from another thread."""
        self._cancelled = True
        running = self.running
        if running is not None:
            running.signal(signal.SIGKILL)

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

    def _expire(self) -> None:
        with contextlib.suppress(OSError):
            if self.running is not None and self.running.news() is None:
                self.expire()

    def _let_go(self) -> None:
        """Let go of a program that has ended; do what a launcher that was killed can do no more."""
        if self.running is None:
            return
        if self.running.lost:
            self.services.forget_dead_launcher()
            if self.cgroup is not None:
                self.cgroup.kill()
                self.cgroup.remove()
        self.running.close()

    def _close_input(self) -> None:
        if self._input_fd >= 0:
            os.close(self._input_fd)
            self._input_fd = -1

    def _live(self) -> Running:
        if self.running is None:
            raise Conflict(f"the container {self.label} has not been started")
        return self.running

    def _running_now(self) -> Running:
        running = self._live()
        if running.news() is not None:
            raise Conflict(f"the container {self.label} is not running")
        return running

    def _must_not_run(self, verb: str) -> None:
        if self.removed:
            raise Conflict(f"the container {self.label} has been removed")
        if self.status() == "running":
            hint = "stop it first, or use force=True" if verb == "removed" else None
            raise Conflict(f"the container {self.label} runs and can't be {verb}", hint=hint)


@attrs.frozen
class Executed:
    """A further program of a container, and the name of its process tree where it has one."""

    running: Running
    tree: str | None


def new_id() -> str:
    """Give a fresh container id: 64 hexadecimal digits."""
    return os.urandom(32).hex()
