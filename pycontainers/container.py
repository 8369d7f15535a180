"""Container: create, start, talk to, stop and remove a container of this process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, Self, overload

import attrs

from pycontainers.distribution import catalog
from pycontainers.distribution import commit as committing
from pycontainers.engine import Engine
from pycontainers.errors import Conflict, ContainerNotFound, NotSupported
from pycontainers.image import Image
from pycontainers.kernel import processes
from pycontainers.lifecycle import options as opts
from pycontainers.lifecycle import output, values
from pycontainers.lifecycle.attached import Attached, new_id
from pycontainers.lifecycle.completion import completed, encoded
from pycontainers.lifecycle.explain import Explanation
from pycontainers.lifecycle.options import Options, RunOptions
from pycontainers.lifecycle.result import CompletedRun
from pycontainers.lifecycle.streams import PIPE, Streams, run_to_end, start_attached
from pycontainers.process import Process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Unpack

    from pycontainers.distribution.commit import Change
    from pycontainers.lifecycle.options import Command, Size
    from pycontainers.storage.database import ContainerRow

_List = list  # the class has a method of that name
_DEFAULT_LIMIT: Final = output.DEFAULT_LIMIT


@attrs.frozen(repr=False)
class Container:
    """A container, as a plain value: its data root and id.

    Attributes are live: each asks for what is so now.  Made by `create`, `run`, `get` and `list`.
    An attached container lives no longer than the process that created it, and only that process
    can start it and talk to it.  A context manager that removes it.

    >>> with Container.run(Image.host(), ["sleep", "60"]) as c:        # doctest: +SKIP
    ...     c.exec(["ls", "/"]).stdout
    """

    root: str
    id: str

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
        wanted = Options.of(command, **options)
        source = Image.resolve(image, engine).source()
        attached = Attached(engine.services(), new_id(), wanted, source)
        attached.create()
        return cls(engine.root, attached.id)

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
            container.remove(force=True)
            raise
        return container

    @classmethod
    def get(cls, key: str, *, engine: Engine | None = None) -> Self:
        """Give the container with this name, id or unambiguous beginning of an id.

        Raises ContainerNotFound, Conflict where several ids begin so.
        """
        engine = engine or Engine()
        rows = engine.services().database.container(key)
        if not rows:
            raise ContainerNotFound(f"no container {key!r} in {engine.root}")
        if len(rows) > 1:
            raise Conflict(f"{len(rows)} containers have an id that begins with {key!r}")
        return cls(engine.root, rows[0].id)

    @classmethod
    def list(cls, *, all: bool = False, engine: Engine | None = None) -> list[Self]:
        """Give the running containers, or all, of every process that uses the data root."""
        engine = engine or Engine()
        found = [cls(engine.root, row.id) for row in engine.services().database.containers()]
        return [one for one in found if all or one._status_or_none() == "running"]

    # What it does.

    def start(self) -> None:
        """Start the program; returns once it has been executed.

        Its output is kept, up to 64 MiB a stream, for `logs`.  Raises LaunchError (as
        CommandNotFound), Conflict where it runs.
        """
        attached = self._attached()
        attached.keep(start_attached(attached))

    def attach(self) -> Process:
        """Start the program with its streams in the caller's hands.

        With `stdin=True` its input is a pipe, with `tty=True` all is one terminal.  What nobody
        reads makes the program wait.  Raises what `start` raises.
        """
        attached = self._attached()
        streams = start_attached(attached)
        assert attached.running is not None
        argv = attached.argv()
        return Process.of(attached, attached.running, argv, streams)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the program's end, `timeout` seconds at the most, and give its exit code.

        Raises Timeout, Conflict where it was never started.
        """
        return self._attached().wait(timeout).exit.status

    def kill(self, number: int | str = "KILL") -> None:
        """Send the program a signal; raises Conflict where it does not run."""
        self._attached().kill(opts.stop_signal(number))

    def stop(self, timeout: float | None = None) -> None:
        """End the program: its stop signal, a grace period in seconds, then SIGKILL.

        When this returns it has ended; one that had ended before is fine.
        """
        self._attached().stop(timeout)

    def restart(self, timeout: float | None = None) -> None:
        """Stop the program and start it again; the file system's changes stay."""
        self.stop(timeout)
        self.start()

    def remove(self, *, force: bool = False, missing_ok: bool = False) -> None:
        """Remove the container with all it wrote; when this returns, it does not exist.

        `force` kills it first.  Raises Conflict where it runs, ContainerNotFound where it is gone
        already unless `missing_ok`.
        """
        try:
            attached = self._attached()
        except ContainerNotFound:
            if missing_ok:
                return
            raise
        if force:
            attached.end_now()
        attached.remove()

    @overload
    def exec(
        self,
        command: Command,
        *,
        text: Literal[True] = True,
        input: str | bytes | None = None,
        timeout: float | None = None,
        check: bool = False,
        stderr: int = PIPE,
        env: Mapping[str, str] | Sequence[str] = (),
        user: str | int | None = None,
        workdir: str | None = None,
        tty: bool = False,
        output_limit: Size = _DEFAULT_LIMIT,
    ) -> CompletedRun[str]: ...
    @overload
    def exec(
        self,
        command: Command,
        *,
        text: Literal[False],
        input: str | bytes | None = None,
        timeout: float | None = None,
        check: bool = False,
        stderr: int = PIPE,
        env: Mapping[str, str] | Sequence[str] = (),
        user: str | int | None = None,
        workdir: str | None = None,
        tty: bool = False,
        output_limit: Size = _DEFAULT_LIMIT,
    ) -> CompletedRun[bytes]: ...
    def exec(
        self,
        command: Command,
        *,
        text: bool = True,
        input: str | bytes | None = None,
        timeout: float | None = None,
        check: bool = False,
        stderr: int = PIPE,
        env: Mapping[str, str] | Sequence[str] = (),
        user: str | int | None = None,
        workdir: str | None = None,
        tty: bool = False,
        output_limit: Size = _DEFAULT_LIMIT,
    ) -> CompletedRun[str] | CompletedRun[bytes]:
        r"""Run a further command in the running container and wait for it, as subprocess.run does.

        After `timeout` seconds the command is killed with all that it started; its output until
        then is in the result, whose reason is "timeout".  `check` raises CommandFailed for any end
        but exit code 0.  Raises LaunchError, Conflict where the container does not run.

        >>> container.exec(["id", "-u"], user="www-data").stdout      # doctest: +SKIP
        '33\n'
        """
        attached = self._attached()
        limit = values.size("output_limit", output_limit)
        seconds = None if timeout is None else values.seconds("timeout", timeout)
        feed = encoded(input)
        program = attached.program(command, env=env, user=user, workdir=workdir, tty=tty)
        streams = Streams(stdin=feed is not None, stderr=stderr, tty=tty)
        expired = False

        def late() -> None:
            nonlocal expired
            expired = True
            attached.kill_executed(executed)

        try:
            executed = attached.execute(program, streams.theirs, tree=seconds is not None)
            streams.started()
        except BaseException:
            streams.close()
            raise
        running = executed.running
        try:
            out, err = run_to_end(
                running, streams, feed=feed, limit=limit, timeout=seconds, late=late
            )
            result = completed(program.args, running, out, err, text=text, timed_out=expired)
        finally:
            running.close()
        if check:
            result.check_returncode()
        return result

    def popen(
        self,
        command: Command,
        *,
        stdin: bool = False,
        stdout: int = PIPE,
        stderr: int = PIPE,
        env: Mapping[str, str] | Sequence[str] = (),
        user: str | int | None = None,
        workdir: str | None = None,
        tty: bool = False,
    ) -> Process:
        """Start a further program in the running container, as subprocess.Popen does.

        Raises LaunchError, Conflict where the container does not run.

        >>> with container.popen(["cat"], stdin=True) as cat:         # doctest: +SKIP
        ...     out, err = cat.communicate(b"hello")
        """
        attached = self._attached()
        program = attached.program(command, env=env, user=user, workdir=workdir, tty=tty)
        streams = Streams(stdin=stdin, stdout=stdout, stderr=stderr, tty=tty)
        try:
            executed = attached.execute(program, streams.theirs, tree=True)
            streams.started()
            executed.running.wait_started()
        except BaseException:
            streams.close()
            raise
        return Process.of(attached, executed.running, program.args, streams, executed.tree)

    def logs(self, *, stdout: bool = True, stderr: bool = True) -> str:
        """Give what the program has written until now, standard output first.

        Only what was started by `start`; `attach` leaves the output to its caller.
        """
        wanted = [name for name, on in (("stdout", stdout), ("stderr", stderr)) if on]
        return self._attached().collected(wanted).decode(errors="replace")

    # What it changed.

    def diff(self) -> _List[Change]:
        """Give what it added, changed and deleted in its image's file system, sorted by path.

        Raises NotSupported for an ephemeral container.

        >>> c.diff()                                                    # doctest: +SKIP
        [Change(kind='C', path='/etc'), Change(kind='A', path='/etc/new')]
        """
        return committing.diff(self._attached())

    def export(self, target: str | os.PathLike[str] | BinaryIO) -> None:
        """Write its whole file system as a tar archive: a file that appears when it is whole.

        Raises NotSupported for an ephemeral container, StoreError.
        """
        attached = self._attached()
        if not isinstance(target, (str, os.PathLike)):
            committing.export(attached, target)
            return
        with catalog.appearing(Path(target)) as file:
            committing.export(attached, file)

    def commit(
        self,
        reference: str | None = None,
        *,
        changes: Sequence[str] = (),
        message: str = "",
        author: str = "",
        pause: bool = True,
    ) -> Image:
        """Make an image of its image and what it changed, and tag it if there is a reference.

        `changes` are lines of a Dockerfile (CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER,
        VOLUME, WORKDIR).  A running container stands still meanwhile, if `pause`.  Raises
        InvalidArgument, NotSupported for an ephemeral container, StoreError.

        >>> c.commit("app:2", changes=['CMD ["server"]'])               # doctest: +SKIP
        <Image app:2 4ee36a5b2397>
        """
        row = committing.commit(
            self._attached(), reference, changes, message=message, author=author, pause=pause
        )
        return Image(self.root, row.config)

    def explain(self) -> Explanation:
        """Give each step of a start with the kernel feature that it uses, as text or a table."""
        return Explanation(self._attached().plan()[0])

    # What it is.

    @property
    def name(self) -> str | None:
        """The name, or None."""
        return self._row().name

    @property
    def status(self) -> str:
        """One of `created`, `running`, `exited`."""
        status = self._status_or_none()
        if status is None:
            raise ContainerNotFound(f"the container {self.id[:12]} has been removed")
        return status

    @property
    def exit_code(self) -> int | None:
        """The exit code, None before the end; 128 + n after signal n."""
        running = self._attached().running
        end = None if running is None else running.news()
        return None if end is None else end.exit.status

    @property
    def result(self) -> CompletedRun[str]:
        """How the program ended, with its output and what it used; raises Conflict before that."""
        attached = self._attached()
        running = attached.running
        if running is None or running.news() is None:
            raise Conflict(f"the container {attached.label} has not ended")
        out, err = (attached.stream(name) for name in ("stdout", "stderr"))
        argv = attached.argv()
        return completed(argv, running, out, err, text=True, timed_out=attached.timed_out)

    @property
    def pid(self) -> int | None:
        """The host's number of the program's process, None where it does not run."""
        attached = self._own()
        if attached is None:
            row = self._row()
            return row.pid if self._status_or_none() == "running" else None
        return None if attached.running is None else attached.running.pid()

    @property
    def labels(self) -> dict[str, str]:
        """The labels."""
        labels: dict[str, str] = self.attrs["labels"]
        return labels

    @property
    def attrs(self) -> dict[str, Any]:
        """All that is known of it, as JSON can hold it."""
        row = self._row()
        known = row._asdict()
        known.update(json.loads(known.pop("options")))
        known["status"] = self.status
        known["cgroup"] = json.loads(row.cgroup) if row.cgroup else None
        return known

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove(force=True, missing_ok=True)

    def __repr__(self) -> str:
        try:
            row = self._row()
        except ContainerNotFound:
            return f"<Container {self.id[:12]} removed>"
        name = f"{row.name} " if row.name else ""
        return f"<Container {name}{self.id[:12]} {self._status_or_none()}>"

    # How it is found.

    def _engine(self) -> Engine:
        return Engine(root=self.root)

    def _own(self) -> Attached | None:
        return self._engine().services().attached.get(self.id)

    def _attached(self) -> Attached:
        attached = self._own()
        if attached is None:
            row = self._row()
            raise NotSupported(
                f"the container {row.name or self.id[:12]} belongs to process {row.owner_pid}",
                hint="an attached container can be used by the process that created it",
            )
        return attached

    def _row(self) -> ContainerRow:
        rows = self._engine().services().database.container(self.id)
        if not rows:
            raise ContainerNotFound(f"the container {self.id[:12]} has been removed")
        return rows[0]

    def _status_or_none(self) -> str | None:
        attached = self._own()
        if attached is not None:
            return attached.status()
        try:
            row = self._row()
        except ContainerNotFound:
            return None
        if row.status != "running":
            return row.status
        if row.pid is None or row.start is None:
            return "running"
        pidfd = processes.open_same(row.pid, row.start)
        if pidfd is None:
            return "exited"
        os.close(pidfd)
        return "running"
