"""One container's course: created, started, stopped, removed, by any process of its user.

What is asked lies in the database, what is so in the container's state file, and what goes on is
the supervisor's.  Whoever changes a container that has no supervisor holds its lock; a supervisor
holds it all its life.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any, Final

from pycontainers.errors import Conflict, ContainerNotFound, LaunchError, StoreError, Timeout
from pycontainers.kernel import processes
from pycontainers.kernel.cgroups.plain import from_plain
from pycontainers.lifecycle import (
    connections,
    mounts,
    names,
    netoptions,
    orders,
    request,
    uses,
    volumes,
    volumesfrom,
    wires,
)
from pycontainers.lifecycle.control import Control
from pycontainers.lifecycle.options import Options
from pycontainers.lifecycle.source import Source
from pycontainers.lifecycle.updates import changed_limits
from pycontainers.net.reservation import reserve
from pycontainers.runtime import journal, plan, state
from pycontainers.runtime.state import State
from pycontainers.storage import locks
from pycontainers.storage.database import ContainerRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pycontainers.kernel.cgroups.base import Cgroup
    from pycontainers.lifecycle.launch import Running
    from pycontainers.lifecycle.options import Command, UpdateOptions
    from pycontainers.lifecycle.services import Services
    from pycontainers.oci import runtime

_PATIENCE: Final = 15.0  # seconds that another process may be busy with the container
_KILLED: Final = 128 + signal.SIGKILL


class Life:
    """A container as its row tells it; made by `create` and by `Services.life`."""

    id: str
    row: ContainerRow

    def __init__(self, services: Services, row: ContainerRow) -> None:
        self.services = services
        self.row = row
        self.id = row.id
        self.label = row.name or row.id[:12]
        self.directory: Path = services.snapshots.path(row.id)
        self.socket = orders.socket_path(row.id)
        self.control = Control(self.socket, self.label)
        self._known: dict[str, Any] = json.loads(row.options)

    @classmethod
    def create(
        cls, services: Services, container_id: str, options: Options, source: Source
    ) -> Life:
        """Write the container's row, after everything that can be refused has been looked at.

        Raises InvalidArgument, NotSupported, Conflict where the name is in use, StoreError.
        """
        options = volumesfrom.resolved(services, connections.resolved(services, options))
        options = mounts.with_own(options, source.config)
        options = netoptions.with_exposed(options, source.config)
        services.template(options, source, accounting=True)
        wanted = volumes.choose(services, options)
        row = ContainerRow(
            id=container_id,
            name=options.name,
            owner_pid=0 if options.detach else services.process,
            owner_start=0 if options.detach else services.process_start,
            created=time.time(),
            cgroup="",
            options=json.dumps(
                {
                    **request.summary(options, source.image),
                    **volumes.summary(wanted),
                    "options": options.packed(),
                    "source": source.packed(),
                }
            ),
        )
        try:
            places = connections.place(services, row, options, wanted.values())
        except Conflict:
            services.recover()  # the name may be that of a container whose owner was killed
            places = connections.place(services, row, options, wanted.values())
        life = cls(services, row)
        try:
            services.snapshots.make_home(container_id)
            if places:
                wires.come(services, container_id, options, places)
        except BaseException:
            services.snapshots.remove(container_id)
            services.volumes.remove_container(container_id, volumes=True)
            raise
        life.tell_journal("create")
        return life

    # What is asked.

    @functools.cached_property
    def options(self) -> Options:
        """What the container was created with, or updated to."""
        return Options.unpacked(self._known["options"])

    @functools.cached_property
    def source(self) -> Source:
        """What it starts from."""
        return Source.unpacked(self._known["source"])

    @functools.cached_property
    def spec(self) -> runtime.Spec:
        """The runtime spec."""
        return request.make_spec(
            self.options, self.source.config, container_id=self.id, trees=self.source.trees
        )

    @property
    def volumes(self) -> dict[str, str]:
        """The names of its volumes by the targets of their mounts."""
        names: dict[str, str] = self._known.get("volumes", {})
        return names

    @property
    def summary(self) -> dict[str, Any]:
        """What the row tells at once: image, command, labels and others."""
        return self._known

    def argv(self) -> tuple[str, ...]:
        """Give the argument list of the container's program."""
        options, config = self.options, self.source.config
        return tuple(config.command(options.entrypoint, options.command))

    def attributes(self) -> dict[str, str]:
        """Give what events tell of the container."""
        labels = {str(key): str(value) for key, value in self._known["labels"].items()}
        return {**labels, "image": self._known["image"], "name": self.row.name or ""}

    def tell_journal(self, action: str, **more: str) -> None:
        """Write an event down."""
        attributes = {**self.attributes(), **more}
        journal.append(str(self.services.root.events), action, self.id, attributes)

    # What is so.

    def state(self) -> State:
        """Give its state now; one whose supervisor was killed is put right first."""
        while True:
            found = state.load(str(self.directory))
            if found.status == "created" and self.services.snapshots.is_leaving(self.id):
                return State(status="removing")
            if not found.lives or locks.is_held(self._lock_path):
                return found
            with contextlib.suppress(FileNotFoundError):
                lock_fd = locks.try_lock(self._lock_path)
                if lock_fd is not None:
                    try:
                        return self._settled()
                    finally:
                        os.close(lock_fd)

    def cgroup(self) -> Cgroup | None:
        """Give its cgroup while it lives, None where there is none."""
        plain = self.state().cgroup
        return None if plain is None else from_plain(plain)

    @property
    def _lock_path(self) -> str:
        return f"{self.directory}/{state.LOCK}"

    def _settled(self) -> State:
        """Write down how a container ended whose supervisor did not live to; its lock is held."""
        found = state.load(str(self.directory))
        if found.cgroup is not None or found.lives:
            wires.release(self.services, self.id)
        if found.cgroup is not None:
            cgroup = from_plain(found.cgroup)
            cgroup.kill()
            cgroup.remove()
            self.socket.unlink(missing_ok=True)
            found = found._replace(cgroup=None)
        if not found.lives:
            return found
        ended = found.status == "restarting"  # the program had, before its supervisor was killed
        now = found._replace(
            status="exited",
            pid=None,
            supervisor=None,
            exit_code=found.exit_code if ended else _KILLED,
            reason=found.reason if ended else "signal",
            finished=found.finished if ended else time.time(),
            error=found.error or "the supervisor was killed",
        )
        state.store(str(self.directory), now)
        if not ended:
            self.tell_journal("die", exitCode=str(_KILLED))
            uses.tell_over(self)
        return now

    # What is done.

    @contextlib.contextmanager
    def held(self, verb: str, *, ending: bool = False) -> Iterator[tuple[int, State]]:
        """Hold the lock of a container that has no supervisor; gives it, and the state.

        With `ending` one that lives is killed first.  Raises Conflict where the container lives,
        ContainerNotFound where it has been removed.
        """
        deadline = time.monotonic() + _PATIENCE
        while (lock_fd := self._try_lock()) is None:
            if ending:
                self._end_now()
            found = state.load(str(self.directory))
            if (found.lives and not ending) or time.monotonic() > deadline:
                status = found.status if found.lives else "busy"
                raise Conflict(f"the container {self.label} is {status} and can't be {verb}")
            time.sleep(0.002)
        try:
            yield lock_fd, self._settled()
        finally:
            os.close(lock_fd)

    def _try_lock(self) -> int | None:
        try:
            return locks.try_lock(self._lock_path)
        except FileNotFoundError:
            raise self._gone() from None

    def _gone(self) -> ContainerNotFound:
        return ContainerNotFound(f"the container {self.label} has been removed")

    def start(
        self,
        attach: Mapping[str, int] | None = None,
        terminal: tuple[int, int] | None = None,
    ) -> Running:
        """Start the program, with a client attached to the streams that `attach` names.

        Returns once it has been executed.  The descriptors stay the caller's.  Raises LaunchError,
        Conflict where it lives, or a port of the host is in use.
        """
        with (
            self.held("started") as (lock_fd, found),
            reserve(self.options.ports) as reservation,
        ):
            volumes.fill(self.services, self.options, self.source, self.volumes)
            made, given = orders.make_plan(self, terminal, reservation.published)
            ports = [list(port) for port in reservation.published]
            # Before it is made: whoever finds the supervisor dead then knows what is left.
            state.store(str(self.directory), found._replace(cgroup=made.cgroup, ports=ports))
            streams = None if attach is None else list(attach)
            order = orders.make_order(self, made, streams, reservation)
            own_fds = self._owner() if order["attached"] else []
            try:
                own_fds += connections.shared_fds(self)
                held_fds = [sock.fileno() for sock in reservation.sockets]
                fds = [lock_fd, *own_fds, *held_fds, *(attach or {}).values(), *given]
                running = self.services.nursery.supervise(order, fds)
            finally:
                for fd in own_fds:
                    os.close(fd)
        try:
            running.wait_started()
            if running.never_began():
                raise LaunchError("start the container", 0, "its supervisor was killed")
        except BaseException:
            running.close()
            raise
        return running

    def _owner(self) -> list[int]:
        pidfd = processes.open_same(self.row.owner_pid, self.row.owner_start)
        if pidfd is None:
            raise self._gone()
        return [pidfd]

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the program's end and give its exit code.

        Raises Timeout, Conflict where it was never started.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (found := self.state()).lives:
            with contextlib.suppress(Conflict):
                running = self.control.begin({"op": "wait"}, [], with_status=False)
                try:
                    left = None if deadline is None else max(0.0, deadline - time.monotonic())
                    end = running.wait(left)
                    if not running.lost:
                        return end.exit.status
                except Timeout:
                    raise Timeout(
                        f"the container {self.label} did not end within {timeout} s"
                    ) from None
                finally:
                    running.close()
        if found.exit_code is None:
            raise Conflict(f"the container {self.label} has not been started")
        return found.exit_code

    def kill(self, number: int) -> None:
        """Send the program a signal; raises Conflict where none runs."""
        self.control.ask("signal", number=number)

    def stop(self, timeout: float | None = None) -> None:
        """End the program: its stop signal, then after a grace period SIGKILL; ended is fine."""
        order = {"op": "stop", **self._way_to_end(timeout)}
        while self.state().lives:
            with contextlib.suppress(Conflict):
                running = self.control.begin(order, [], with_status=False)
                try:
                    running.wait()
                finally:
                    running.close()

    def _way_to_end(self, timeout: float | None) -> dict[str, Any]:
        grace = self.options.stop_timeout if timeout is None else timeout
        return {"number": orders.stop_signal(self), "grace": grace}

    def restart(self, timeout: float | None = None) -> None:
        """End the program and start it again; one that does not live is started."""
        if self.state().lives:
            with contextlib.suppress(Conflict):
                order = {"op": "restart", **self._way_to_end(timeout)}
                running = self.control.begin(order, [], with_status=False)
                try:
                    running.wait_started()
                    if not running.never_began():
                        return
                finally:
                    running.close()
        self.start().close()

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Take away all that is of it; raises Conflict where it lives, unless `force`.

        `volumes` takes its volumes without a name too, where nobody else uses them.
        """
        if not self.directory.exists():  # its creator, or who removed it, was killed
            self.services.snapshots.remove(self.id)
            self.services.volumes.remove_container(self.id, volumes=volumes)
            return
        with self.held("removed", ending=force) as (_, found):
            state.store(str(self.directory), found._replace(status="removing"))
            self.tell_journal("destroy")
            try:
                self.services.snapshots.remove(self.id)
            except StoreError:
                state.store(str(self.directory), found._replace(status="dead"))
                raise
            left = wires.networks_of(self.services, self.id) if self.options.is_bridged else []
            self.services.volumes.remove_container(self.id, volumes=volumes)
            if left:
                names.announce(self.services, left)

    def _end_now(self) -> None:
        """Have it end for good, with or without its supervisor's consent."""
        order = {"op": "stop", "number": signal.SIGKILL, "grace": 0}
        deadline = time.monotonic() + _PATIENCE
        while (found := self.state()).lives:
            try:
                running = self.control.begin(order, [], with_status=False)
                try:
                    running.wait(max(0.0, deadline - time.monotonic()))
                finally:
                    running.close()
            except Conflict:
                time.sleep(0.002)
            except Timeout:
                pass
            if time.monotonic() > deadline and found.supervisor is not None:
                pid, start = found.supervisor
                pidfd = processes.open_same(pid, start)
                if pidfd is not None:
                    processes.send_signal(pidfd, signal.SIGKILL)
                    os.close(pidfd)

    def rename(self, name: str) -> None:
        """Give it another name; raises Conflict where that is in use."""
        self.services.database.rename_container(self.id, name)
        if self.options.is_bridged:
            names.announce(self.services, wires.networks_of(self.services, self.id))
        self.tell_journal("rename", oldName=self.row.name or "", name=name)
        with contextlib.suppress(Conflict):
            self.control.ask("rename", name=name)

    def update(self, **changes: Any) -> None:
        """Change limits and the restart policy, at once and for later starts.

        Raises InvalidArgument, NotSupported, KernelError where the kernel refuses; nothing has
        changed then.
        """
        given: UpdateOptions = changes  # type: ignore[assignment]  # checked by `updated`
        before, self.options = self.options, self.options.updated(**given)
        try:
            self.services.template(self.options, self.source, accounting=True)
            if self.state().lives:
                published = connections.published(self.state())
                made, _ = orders.make_plan(self, published=published)
                self.control.ask(
                    "update",
                    limits=changed_limits(before, self.options)._asdict(),
                    start=made.plain(),
                    restart=list(orders.restart_rule(self)),
                )
            else:
                self.tell_journal("update")
        except BaseException:
            self.options = before
            raise
        known = {**self._known, "options": self.options.packed()}
        self.services.database.change_options(self.id, json.dumps(known))

    # Further programs.

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
        return request.further_process(self.spec.process, command, env, user, workdir, tty)

    def execute(self, process: runtime.Process, fds: list[int], tree: str | None) -> Running:
        """Start a further program on these streams; raises Conflict where the container can't.

        With a name in `tree` all that it starts can be killed together.
        """
        steps, given = orders.exec_steps(self, process)
        asked = {
            "op": "exec",
            "steps": [plan.pack(step) for step in steps],
            "oom_score": self.options.oom_score_adj,
            "tree": tree,
            "stdio": len(fds),
        }
        running = self.control.begin(asked, [*fds, *given])
        self.tell_journal("exec_start", execCommand=" ".join(process.args))
        return running
