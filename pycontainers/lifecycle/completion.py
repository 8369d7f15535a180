"""From an ended process to the result that its caller gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

from pycontainers.errors import InvalidArgument
from pycontainers.lifecycle.result import CompletedRun, Usage, reason_of

if TYPE_CHECKING:
    from pycontainers.lifecycle.launch import End, Running
    from pycontainers.lifecycle.output import Stream
    from pycontainers.lifecycle.result import Reason
    from pycontainers.runtime.state import State


@overload
def completed(
    args: tuple[str, ...],
    running: Running,
    out: Stream,
    err: Stream,
    *,
    text: Literal[True],
    timed_out: bool,
) -> CompletedRun[str]: ...
@overload
def completed(
    args: tuple[str, ...],
    running: Running,
    out: Stream,
    err: Stream,
    *,
    text: bool,
    timed_out: bool,
) -> CompletedRun[str] | CompletedRun[bytes]: ...
def completed(
    args: tuple[str, ...],
    running: Running,
    out: Stream,
    err: Stream,
    *,
    text: bool,
    timed_out: bool,
) -> CompletedRun[str] | CompletedRun[bytes]:
    """Make the result of a process that has ended; `text` decodes its output."""
    end = running.wait()
    reason = reason_of(
        end.exit.status, end.exit.signal, timed_out=timed_out, oom_kills=end.usage.oom_kills
    )
    truncated = out.truncated or err.truncated
    usage = usage_of(running, end)
    if text:
        stdout, stderr = (stream.data().decode(errors="replace") for stream in (out, err))
        return CompletedRun(args, end.exit.status, stdout, stderr, reason, truncated, usage)
    return CompletedRun(args, end.exit.status, out.data(), err.data(), reason, truncated, usage)


def outcome(args: tuple[str, ...], found: State, out: str, err: str) -> CompletedRun[str]:
    """Make the result of a container's program from its state and its log."""
    used = found.usage or {}
    read, written = used.get("io") or (None, None)
    user, system = used.get("cpu") or (0.0, 0.0)
    usage = Usage(
        wall=used.get("wall", 0.0),
        cpu_user=user if used.get("cpu_user") is None else used["cpu_user"],
        cpu_system=system if used.get("cpu_system") is None else used["cpu_system"],
        memory_peak=used.get("memory_peak"),
        pids_peak=used.get("pids_peak"),
        io_read=read if used.get("io_read") is None else used["io_read"],
        io_write=written if used.get("io_write") is None else used["io_write"],
    )
    reason: Reason = found.reason or "exited"  # type: ignore[assignment]  # one of these
    return CompletedRun(args, found.exit_code or 0, out, err, reason, False, usage)


def usage_of(running: Running, end: End) -> Usage:
    """Tell what a process and its container used; the cgroup's figures where there are some."""
    used = end.usage
    read, written = end.io or (None, None)
    return Usage(
        wall=end.at - running.began,
        cpu_user=end.exit.cpu_user if used.cpu_user is None else used.cpu_user,
        cpu_system=end.exit.cpu_system if used.cpu_system is None else used.cpu_system,
        memory_peak=used.memory_peak,
        pids_peak=used.pids_peak,
        io_read=read if used.io_read is None else used.io_read,
        io_write=written if used.io_write is None else used.io_write,
    )


def encoded(data: str | bytes | None) -> bytes | None:
    """Give a program's input as bytes."""
    if data is None or isinstance(data, bytes | bytearray | memoryview):
        return None if data is None else bytes(data)
    if isinstance(data, str):
        return data.encode()
    raise InvalidArgument(f"input: expected a text or bytes, not {type(data).__name__}")
