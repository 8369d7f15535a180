"""From an ended process to the result that its caller gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

from pycontainers.errors import InvalidArgument
from pycontainers.lifecycle.result import CompletedRun, Usage, reason_of

if TYPE_CHECKING:
    from pycontainers.lifecycle.launch import End, Running
    from pycontainers.lifecycle.output import Stream


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
