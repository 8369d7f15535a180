"""Container: create, start, talk to, stop and remove a container, of this process or any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pycontainers.contents import Contents
from pycontainers.engine import Engine
from pycontainers.errors import Conflict, ContainerNotFound, InvalidArgument
from pycontainers.image import Image
from pycontainers.lifecycle import connections, orders, selection, values
from pycontainers.lifecycle import options as opts
from pycontainers.lifecycle.attached import new_id
from pycontainers.lifecycle.completion import outcome
from pycontainers.lifecycle.explain import Explanation
from pycontainers.lifecycle.life import Life
from pycontainers.lifecycle.options import Options, RunOptions
from pycontainers.network import Member

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Unpack

    from pycontainers.lifecycle.options import Command, UpdateOptions
    from pycontainers.lifecycle.result import CompletedRun

_List = list  # the class has a method of that name


class Container(Contents):
    """A container, as a plain value: its data root and id.

    Attributes are live: each asks for what is so now.  Made by `create`, `run`, `get` and `list`;
    any process of the same user can do with it what its creator can.  An attached container, the
    default, lives no longer than the process that created it; with `detach=True` it lives until it
    is stopped.  A context manager that removes it.

    >>> with Container.run(Image.host(), ["sleep", "60"]) as c:        # doctest: +SKIP
    ...     c.exec(["ls", "/"]).stdout
    """

    @classmethod
    def create(
        cls,
        image: Image | str | None = None,
        command: Command | None = None,
        *,
        engine: Engine | None = None,
        **options: Unpack[RunOptions],
    ) -> Self:
        """Create a container without starting it; `image=None` is `Image.host()`.

        Everything is checked first.  Raises InvalidArgument, NotSupported, Conflict where the name
        is in use, ImageNotFound.
        """
        engine = engine or Engine()
        wanted = Image.showing(Options.of(command, **options), engine)
        source = Image.resolve(image, engine).source()
        life = Life.create(engine.services(), new_id(), wanted, source)
        return cls(engine.root, life.id)

    @classmethod
    def run(
        cls,
        image: Image | str | None = None,
        command: Command | None = None,
        *,
        engine: Engine | None = None,
        **options: Unpack[RunOptions],
    ) -> Self:
        """Create a container and start it; where the start fails, nothing of it remains.

        Raises what `create` and `start` raise.
        """
        container = cls.create(image, command, engine=engine, **options)
        try:
            container.start()
        except BaseException:
            container.remove(force=True, volumes=True, missing_ok=True)
            raise
        return container

    @classmethod
    def get(cls, key: str, *, engine: Engine | None = None) -> Self:
        """Give the container with this name, id or unambiguous beginning of an id.

        Raises ContainerNotFound, Conflict where several ids begin so.
        """
        engine = engine or Engine()
        found = selection.find(engine.services(), key)
        return cls(engine.root, found.id)

    @classmethod
    def list(
        cls,
        *,
        all: bool = False,
        filters: Mapping[str, str | Sequence[str]] | None = None,
        engine: Engine | None = None,
    ) -> list[Self]:
        """Give the running containers, or all, of every process that uses the data root.

        `filters` are Docker's: `id`, `name`, `label`, `status`, `health`, `exited`, `ancestor`,
        `network`, each with one value or several, of which one has to fit (for `label`: all).  A
        `status` that is asked for looks at all containers.  Raises InvalidArgument for others.

        >>> Container.list(all=True, filters={"label": "test"})        # doctest: +SKIP
        """
        engine = engine or Engine()
        lives = selection.select(engine.services(), all=all, filters=filters)
        return [cls(engine.root, life.id) for life in lives]

    @classmethod
    def prune(
        cls,
        *,
        filters: Mapping[str, str | Sequence[str]] | None = None,
        engine: Engine | None = None,
    ) -> _List[str]:
        """Remove all containers that do not run, and give their ids.

        Those that belong to another living process are left to it.  `filters` are those of `list`.
        """
        engine = engine or Engine()
        return selection.prune(engine.services(), filters=filters)

    # What it does.

    def start(self) -> None:
        """Start the program; returns once it has been executed.

        Its output goes to its log.  Raises LaunchError (as CommandNotFound), Conflict where it
        runs.
        """
        self._life().start().close()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the program's end, `timeout` seconds at the most, and give its exit code.

        A restart policy may start it again afterwards.  Raises Timeout, Conflict where it was never
        started.
        """
        seconds = None if timeout is None else values.seconds("timeout", timeout)
        return self._life().wait(seconds)

    def kill(self, signal: int | str = "KILL") -> None:
        """Send the program a signal; raises Conflict where it does not run.

        SIGKILL, SIGTERM and the container's stop signal also keep a restart policy from starting it
        again.
        """
        self._life().kill(opts.stop_signal(signal))

    def stop(self, timeout: float | None = None) -> None:
        """End the program: its stop signal, a grace period in seconds, then SIGKILL.

        When this returns it has ended; one that does not run is fine.  It is not started again.
        """
        seconds = None if timeout is None else values.seconds("timeout", timeout)
        self._life().stop(seconds)

    def restart(self, timeout: float | None = None) -> None:
        """Stop the program and start it again; the file system's changes stay.

        One that does not run is started.
        """
        seconds = None if timeout is None else values.seconds("timeout", timeout)
        self._life().restart(seconds)

    def pause(self) -> None:
        """Stop all its processes where they are, by the freezer; raises Conflict, NotSupported."""
        self._life().control.ask("pause")

    def unpause(self) -> None:
        """Let paused processes go on; raises Conflict where they are not paused."""
        self._life().control.ask("unpause")

    def rename(self, name: str) -> None:
        """Give it another name; raises Conflict where that is in use, InvalidArgument."""
        self._life().rename(values.name(name))

    def update(self, **changes: Unpack[UpdateOptions]) -> None:
        """Change limits and the restart policy, at once and for later starts.

        What is not named stays.  Raises InvalidArgument, NotSupported, and KernelError where the
        kernel refuses, as a memory limit below what is in use.

        >>> c.update(memory="256m", cpus=0.5)                          # doctest: +SKIP
        """
        self._life().update(**changes)

    def resize(self, rows: int, columns: int) -> None:
        """Tell the container's terminal its size; raises Conflict where it has none."""
        rows, columns = (values.whole("size", n, 1, 1 << 15) for n in (rows, columns))
        self._life().control.ask("resize", rows=rows, columns=columns)

    def remove(
        self, *, force: bool = False, volumes: bool = False, missing_ok: bool = False
    ) -> None:
        """Remove the container with all it wrote; when this returns, it does not exist.

        `force` kills it first.  `volumes` takes its volumes without a name too, unless others use
        them; those with a name stay.  Raises Conflict where it runs, ContainerNotFound where it is
        gone already unless `missing_ok`.
        """
        try:
            self._life().remove(force=force, volumes=volumes)
        except ContainerNotFound:
            if not missing_ok:
                raise

    def explain(self) -> Explanation:
        """Give each step of a start with the kernel feature that it uses, as text or a table."""
        return Explanation(orders.make_plan(self._life())[0])

    # What it is.

    @property
    def name(self) -> str | None:
        """The name, or None."""
        return self._life().row.name

    @property
    def status(self) -> str:
        """One of Docker's: created, running, paused, restarting, exited, removing, dead."""
        return self._life().state().status

    @property
    def exit_code(self) -> int | None:
        """The last end's exit code, 128 + n for signal n; None while it runs or was not started."""
        found = self._life().state()
        return None if found.lives and found.status != "restarting" else found.exit_code

    @property
    def result(self) -> CompletedRun[str]:
        """How the program ended, with its log and what it used; raises Conflict before that."""
        life = self._life()
        found = life.state()
        if found.lives or found.exit_code is None:
            raise Conflict(f"the container {life.label} has not ended")
        out, err = (
            self.logs(stdout=name == "stdout", stderr=name == "stderr").read()
            for name in ("stdout", "stderr")
        )
        return outcome(life.argv(), found, out, err)

    @property
    def pid(self) -> int | None:
        """The host's number of the program's process, None where it does not run."""
        return self._life().state().pid

    @property
    def ports(self) -> dict[str, _List[tuple[str, int]]]:
        """What is published while it runs: (host's address, port) for each port as "80/tcp".

        "0.0.0.0" and "::" stand for all of the host's addresses of that version.
        """
        life = self._life()
        found: dict[str, _List[tuple[str, int]]] = {}
        for port in connections.published(life.state()):
            hosts = [port.host_address] if port.host_address else ["0.0.0.0", "::"]
            ends = found.setdefault(f"{port.container_port}/{port.protocol}", [])
            ends += [(host, port.host_port) for host in hosts]
        return found

    def port(self, port: int | str) -> int:
        """Give the host's port that a published port of the container has, as 80 or "53/udp".

        Raises InvalidArgument where it is not published, or the container does not run.
        """
        key = str(port) if "/" in str(port) else f"{port}/tcp"
        ends = self.ports.get(key)
        if not ends:
            raise InvalidArgument(f"port: {key} of {self._life().label} is not published now")
        return ends[0][1]

    @property
    def ip(self) -> str | None:
        """Its first address in its first network; None where it is in none."""
        endpoints = self._life().services.networks.tables.of_container(self.id)
        return next((address for one in endpoints for address in one.addresses), None)

    @property
    def networks(self) -> dict[str, Member]:
        """Its places in networks, by the networks' names."""
        tables = self._life().services.networks.tables
        return {
            network.name: Member.of(place)
            for place in tables.of_container(self.id)
            for network in tables.find(place.network)
        }

    @property
    def network_key(self) -> str:
        """What the option `network` of another container takes to share this one's network."""
        return f"container:{self.id}"

    @property
    def labels(self) -> dict[str, str]:
        """The labels."""
        labels: dict[str, str] = self._life().summary["labels"]
        return dict(labels)

    @property
    def image(self) -> str:
        """The id of the image that it was created from."""
        image: str = self._life().summary["image"]
        return image

    @property
    def created(self) -> float:
        """When it was created, in seconds since 1970."""
        return self._life().row.created

    @property
    def health(self) -> str | None:
        """What its check found: starting, healthy or unhealthy; None without one, or a start."""
        found = self._life().state().health
        return None if found is None else str(found["status"])

    @property
    def restarts(self) -> int:
        """How often its restart policy has started it again."""
        return self._life().state().restarts

    @property
    def attrs(self) -> dict[str, Any]:
        """All that is known of it, as JSON can hold it."""
        life = self._life()
        row = life.row
        summary = {key: value for key, value in life.summary.items() if key != "source"}
        owner = {"pid": row.owner_pid, "start": row.owner_start} if row.owner_pid else None
        return {
            "id": row.id,
            "name": row.name,
            "created": row.created,
            "owner": owner,
            **summary,
            "options": life.options.packed(),  # of this version, whichever has created it
            "argv": list(life.argv()),
            "layers": list(life.source.layers),
            "directory": str(life.directory),
            **life.state()._asdict(),
            "ports": self.ports,
            "networks": {name: member._asdict() for name, member in self.networks.items()},
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove(force=True, volumes=True, missing_ok=True)

    def __repr__(self) -> str:
        try:
            life = self._life()
        except ContainerNotFound:
            return f"<Container {self.id[:12]} removed>"
        name = f"{life.row.name} " if life.row.name else ""
        return f"<Container {name}{self.id[:12]} {life.state().status}>"
