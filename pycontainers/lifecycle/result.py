"""How a command ended, and what it used."""

from __future__ import annotations

from typing import Generic, Literal, TypeAlias, TypeVar

import attrs

from pycontainers.errors import CommandFailed

Reason: TypeAlias = Literal["exited", "signal", "timeout", "oom"]
Output = TypeVar("Output", str, bytes)

_KILLED = 128 + 9
_SHOWN = 2000


@attrs.frozen
class Usage:
    """What a command used: seconds and bytes; None where this host does not tell.

    CPU and io figures count the main process and the children that were waited for; peaks count the
    whole container.
    """

    wall: float
    cpu_user: float
    cpu_system: float
    memory_peak: int | None
    pids_peak: int | None
    io_read: int | None
    io_write: int | None


@attrs.frozen(repr=False)
class CompletedRun(Generic[Output]):
    r"""A finished command, with subprocess.CompletedProcess's habits.

    `exit_code` is 0 to 255, 128 + n for a program killed by signal n.  `reason` tells what ended
    it; `truncated` whether output was dropped beyond the bound.

    >>> pycontainers.run(["echo", "hello"]).stdout      # doctest: +SKIP
    'hello\n'
    """

    args: tuple[str, ...]
    exit_code: int
    stdout: Output
    stderr: Output
    reason: Reason
    truncated: bool
    usage: Usage

    @property
    def returncode(self) -> int:
        """The exit code, by subprocess's name."""
        return self.exit_code

    @property
    def ok(self) -> bool:
        """Whether the command exited with 0 by itself."""
        return self.exit_code == 0 and self.reason == "exited"

    def check_returncode(self) -> None:
        """Raise CommandFailed, with this result on it, unless the command exited with 0."""
        if self.ok:
            return
        how = {
            "exited": f"exited with {self.exit_code}",
            "signal": f"was killed by signal {self.exit_code - 128}",
            "timeout": "ran out of time and was killed",
            "oom": "ran out of memory and was killed",
        }[self.reason]
        hint = {
            "oom": "give it more with memory=…",
            "timeout": "give it more with timeout=…",
        }.get(self.reason)
        tail = self.stderr if isinstance(self.stderr, str) else self.stderr.decode(errors="replace")
        shown = f": {tail[-_SHOWN:].strip()}" if tail.strip() else ""
        raise CommandFailed(f"{self.args[0]} {how}{shown}", self, hint=hint)

    def __repr__(self) -> str:
        return f"<CompletedRun {self.args[0]} {self.reason} {self.exit_code}>"


def reason_of(exit_code: int, killed_by: int, *, timed_out: bool, oom_kills: int) -> Reason:
    """Tell what ended a command from how its main process ended.

    >>> reason_of(137, 9, timed_out=False, oom_kills=1)
    'oom'
    """
    if timed_out:
        return "timeout"
    if oom_kills and exit_code == _KILLED:
        return "oom"
    return "signal" if killed_by else "exited"
