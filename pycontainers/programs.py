"""What a container's programs are asked: run another, attach, read the log, wait until it is ready.

The public methods are Container's.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal, overload

from pycontainers.errors import Conflict, InvalidArgument
from pycontainers.handle import Handle
from pycontainers.kernel.cgroups.plain import from_plain
from pycontainers.lifecycle import output, readiness, values
from pycontainers.lifecycle.completion import completed, encoded
from pycontainers.lifecycle.logs import Logs
from pycontainers.lifecycle.stats import Stats, StatsStream, take
from pycontainers.lifecycle.streams import PIPE, Streams, run_to_end
from pycontainers.lifecycle.top import ProcessInfo, top
from pycontainers.process import Process

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from pycontainers.lifecycle.launch import Running
    from pycontainers.lifecycle.life import Life
    from pycontainers.lifecycle.moments import Moment
    from pycontainers.lifecycle.options import Command, Size
    from pycontainers.lifecycle.result import CompletedRun

_DEFAULT_LIMIT: Final = output.DEFAULT_LIMIT


class Programs(Handle):
    """What runs in a container, and what it tells."""

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
        life = self._life()
        limit = values.size("output_limit", output_limit)
        seconds = None if timeout is None else values.seconds("timeout", timeout)
        feed = encoded(input)
        program = life.program(command, env=env, user=user, workdir=workdir, tty=tty)
        streams = Streams(stdin=feed is not None, stderr=stderr, tty=tty)
        tree = _tree() if seconds is not None else None
        expired = False

        def late() -> None:
            nonlocal expired
            expired = True
            _kill(life, running, tree)

        try:
            running = life.execute(program, streams.theirs, tree)
            streams.started()
        except BaseException:
            streams.close()
            raise
        try:
            out, err = run_to_end(
                running, streams, feed=feed, limit=limit, timeout=seconds, late=late
            )
            if running.never_began():
                raise life.control.not_running()
            result = completed(program.args, running, out, err, text=text, timed_out=expired)
        finally:
            running.close()
        life.tell_journal("exec_die", exitCode=str(result.exit_code))
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
        life = self._life()
        program = life.program(command, env=env, user=user, workdir=workdir, tty=tty)
        streams = Streams(stdin=stdin, stdout=stdout, stderr=stderr, tty=tty)
        tree = _tree()
        try:
            running = life.execute(program, streams.theirs, tree)
            streams.started()
            running.wait_started()
            if running.never_began():
                raise life.control.not_running()
        except BaseException:
            streams.close()
            raise
        return Process.of(running, program.args, streams, lambda: _kill(life, running, tree))

    def attach(
        self,
        *,
        stdin: bool | None = None,
        stdout: bool = True,
        stderr: bool = True,
        terminal: tuple[int, int] | None = None,
    ) -> Process:
        """Take part in the container's standard streams, from now on; several can at once.

        A container that does not run is started first, so that nothing it says is missed.  What is
        written to `stdin` goes to its program, if it was created with `stdin=True` or `tty=True`;
        closing that ends the program's input, but not a terminal's.  With a terminal all output is
        in `stdout`, and `terminal` its size in (rows, columns).  What nobody reads makes the
        program wait.  `Process.detach` leaves it alone.  Raises what `start` raises.
        """
        life = self._life()
        options = life.options
        takes_input = options.stdin or options.tty
        wants_input = takes_input if stdin is None else stdin
        if wants_input and not takes_input:
            raise InvalidArgument(
                f"attach: the container {life.label} has no input to write to",
                hint="create it with stdin=True",
            )
        streams = Streams(stdin=wants_input)
        ends = dict(zip(("stdin", "stdout", "stderr"), streams.theirs, strict=True))
        wanted = {"stdin": wants_input, "stdout": stdout, "stderr": stderr and not options.tty}
        ends = {name: fd for name, fd in ends.items() if wanted[name]}
        try:
            running = _attached(life, ends, terminal)
            streams.started()
        except BaseException:
            streams.close()
            raise
        return Process.of(running, life.argv(), streams, lambda: _end(life), life)

    @overload
    def logs(
        self,
        *,
        stdout: bool = True,
        stderr: bool = True,
        follow: bool = False,
        tail: int | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        timestamps: bool = False,
        text: Literal[True] = True,
    ) -> Logs[str]: ...
    @overload
    def logs(
        self,
        *,
        stdout: bool = True,
        stderr: bool = True,
        follow: bool = False,
        tail: int | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        timestamps: bool = False,
        text: Literal[False],
    ) -> Logs[bytes]: ...
    def logs(
        self,
        *,
        stdout: bool = True,
        stderr: bool = True,
        follow: bool = False,
        tail: int | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        timestamps: bool = False,
        text: bool = True,
    ) -> Logs[str] | Logs[bytes]:
        """Give what the program has written, line by line; `read()` gives all at once.

        With `follow` the lines go on as they come, and end when the container does.  `tail` is how
        many lines from the end to begin with; `since` and `until` are a datetime, seconds since
        1970, or a timedelta: that long ago.  Raises InvalidArgument.

        >>> for line in container.logs(follow=True, tail=10):         # doctest: +SKIP
        ...     print(line, end="")
        """
        life = self._life()
        found: Logs[str] | Logs[bytes] = Logs(
            str(life.directory),
            stdout=stdout,
            stderr=stderr,
            tail=tail,
            since=since,
            until=until,
            timestamps=timestamps,
            text=text,
            follow=follow,
            ended=lambda: not life.state().lives,
        )
        return found

    def stats(self) -> Stats:
        """Tell what the container uses just now; raises Conflict where it does not run."""
        life = self._life()
        found = _taken(life, None)
        if found is None:
            raise life.control.not_running()
        return found

    def stats_stream(self, interval: float = 1.0) -> StatsStream:
        """Tell what the container uses, every `interval` seconds, until it ends.

        An iterator that can be closed from any thread.  Raises InvalidArgument.

        >>> for stats in container.stats_stream():                    # doctest: +SKIP
        ...     print(stats)
        """
        life = self._life()
        return StatsStream(lambda previous: _taken(life, previous), interval)

    def top(self) -> list[ProcessInfo]:
        """Tell which processes run in the container; raises Conflict where none does."""
        life = self._life()
        cgroup = life.cgroup()
        if cgroup is None:
            raise life.control.not_running()
        return top(cgroup)

    def connect(self, port: int, host: str = "127.0.0.1", *, timeout: float = 5.0) -> socket.socket:
        """Connect to a TCP port from within the container's network; nothing need be published.

        Raises LaunchError with the kernel's answer (as ECONNREFUSED), Timeout, Conflict.

        >>> with container.connect(5432) as connection:               # doctest: +SKIP
        ...     connection.sendall(b"…")
        """
        return readiness.connect(self._life(), port, host, timeout)

    def wait_for(
        self,
        *,
        log: str | None = None,
        port: int | None = None,
        http: str | None = None,
        healthy: bool = False,
        timeout: float = 30.0,
    ) -> None:
        """Wait until the container is ready: all that is asked for has come about.

        `log` is a regular expression that a line of its log has to match, `port` one that accepts
        a TCP connection on the container's loopback, `http` a path (on `port`, else 80) that is
        answered with a status below 400; `healthy` asks its health check.  Raises Conflict with the
        end of its log as soon as it has ended, Timeout after `timeout` seconds, InvalidArgument.

        >>> container.wait_for(log="ready to accept", port=5432)      # doctest: +SKIP
        """
        readiness.wait_for(
            self._life(), log=log, port=port, http=http, healthy=healthy, timeout=timeout
        )


def _tree() -> str:
    return f"exec-{os.urandom(6).hex()}"


def _kill(life: Life, running: Running, tree: str | None) -> None:
    """Kill a further program, with every process that it has started."""
    if tree is not None:
        life.control.kill_tree(tree)
    running.signal(signal.SIGKILL)


def _end(life: Life) -> None:
    with suppress(Conflict):  # it has ended
        life.kill(signal.SIGKILL)


def _attached(life: Life, ends: dict[str, int], terminal: tuple[int, int] | None) -> Running:
    """Attach to the container, which is started where it does not live."""
    if not life.state().lives:
        return life.start(ends, terminal)
    request = {"op": "attach", "streams": list(ends)}
    running = life.control.begin(request, list(ends.values()), with_status=False)
    try:
        running.wait_started()
        if running.never_began():
            raise life.control.not_running()
        if terminal is not None:
            running.say({"op": "resize", "rows": terminal[0], "columns": terminal[1]})
    except BaseException:
        running.close()
        raise
    return running


def _taken(life: Life, previous: Stats | None) -> Stats | None:
    found = life.state()
    if found.cgroup is None or found.pid is None:
        return None
    taken = take(from_plain(found.cgroup), found.pid, previous, found.started)
    # The number may have changed its owner meanwhile.
    return taken if life.state().pid == found.pid else None
