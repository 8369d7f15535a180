"""Health checks: a command executed in the container time and again, and what its ends tell.

The rules are Docker's (Dockerfile reference, HEALTHCHECK): a check that fails within the start
period does not count until one has passed; so many failures in a row mean unhealthy.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any, Final

from pycontainers.kernel import processes, sockets

if TYPE_CHECKING:
    from pycontainers.runtime.loop import Timer
    from pycontainers.runtime.program import Ended, Other
    from pycontainers.runtime.supervisor import Supervisor

_KEPT: Final = 4096  # bytes of output
_RESULTS: Final = 5
_TIMED_OUT: Final = -1  # exit code, as Docker's


class Health:
    """The checks of one container; `asked` holds their steps and times in seconds."""

    def __init__(self, supervisor: Supervisor, asked: dict[str, Any]) -> None:
        self._supervisor = supervisor
        self._asked = asked
        self._number = 0
        self._passed = False
        self._began = 0.0
        self._timers: list[Timer] = []
        self._check: Other | None = None
        self._checked_at = 0.0
        self._reading = -1
        self._output = b""
        self._late = False

    def begin(self) -> dict[str, Any]:
        """Plan the first check of a program that has just been started; give its health."""
        self._began = time.monotonic()
        self._passed = False
        self._plan()
        return {"status": "starting", "failing_streak": 0, "log": []}

    def stop(self) -> None:
        """Check no more: the program has ended."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._close_output()
        self._check = None

    def _plan(self) -> None:
        starting = not self._passed and self._in_start_period()
        pause = self._asked["start_interval"] if starting else self._asked["interval"]
        self._timers = [self._supervisor.loop.after(pause, self._begin_check)]

    def _in_start_period(self) -> bool:
        return bool(time.monotonic() - self._began < self._asked["start_period"])

    def _begin_check(self) -> None:
        if self._supervisor.state.status != "running":  # it is paused, and so would be the check
            self._plan()
            return
        self._number += 1
        self._checked_at, self._late, self._output = time.time(), False, b""
        ours, theirs = sockets.pair()
        self._reading, writing = os.pipe()
        os.set_blocking(self._reading, False)
        null_fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        fds = [theirs.fileno(), null_fd, writing, writing, *self._supervisor.given]
        asked = {name: self._asked[name] for name in ("steps", "oom_score")}
        request = {**asked, "stdio": 3, "tree": f"health-{self._number}"}
        try:
            self._check = self._supervisor.program.execute(request, fds, self._ended)
        except OSError as error:
            self._output = str(error).encode()
            self._conclude(_TIMED_OUT)
            return
        finally:
            ours.close()
            theirs.close()
            os.close(writing)
            os.close(null_fd)
        self._supervisor.loop.add(self._reading, self._read)
        self._timers = [self._supervisor.loop.after(self._asked["timeout"], self._expire)]

    def _read(self, _events: int = 0) -> None:
        try:
            data = os.read(self._reading, 1 << 16)
        except BlockingIOError:
            return
        if data:
            self._output = (self._output + data)[:_KEPT]
        else:
            self._supervisor.loop.remove(self._reading)

    def _expire(self) -> None:
        self._late = True
        if self._check is not None:
            if self._check.tree is not None:
                self._check.tree.kill()
            processes.send_signal(self._check.pidfd, signal.SIGKILL)

    def _ended(self, ended: Ended) -> None:
        if self._check is None:  # the program's end was faster
            return
        self._check = None
        for timer in self._timers:
            timer.cancel()
        self._read()
        if self._late:
            note = f"\nhealth check took longer than {self._asked['timeout']:g} s"
            self._output += note.encode()
        self._conclude(_TIMED_OUT if self._late else ended.exit.status)

    def _close_output(self) -> None:
        if self._reading >= 0:
            self._supervisor.loop.remove(self._reading)
            os.close(self._reading)
            self._reading = -1

    def _conclude(self, code: int) -> None:
        self._close_output()
        known = dict(self._supervisor.state.health or {})
        before = known["status"]
        if code == 0:
            self._passed = True
            known["status"], known["failing_streak"] = "healthy", 0
        elif self._passed or not self._in_start_period():
            known["failing_streak"] += 1
            if known["failing_streak"] >= self._asked["retries"]:
                known["status"] = "unhealthy"
        result = {
            "start": self._checked_at,
            "end": time.time(),
            "exit_code": code,
            "output": self._output.decode(errors="replace"),
        }
        known["log"] = [*known["log"], result][-_RESULTS:]
        self._supervisor.note(health=known)
        if known["status"] != before:
            self._supervisor.tell_journal("health_status", health=known["status"])
        self._plan()
