"""The journal of events: one JSON object a line, appended by any process of the data root.

    {"time": 1764067541.123, "type": "container", "action": "die", "id": "3f2a…",
     "attributes": {"name": "web", "exitCode": "0"}}

(on one line).  Lines that are empty or torn are for the reader to skip.  A full journal becomes
`events.1.jsonl`, in the place of the one before.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final

FULL: Final = 16 << 20  # bytes
_LONGEST: Final = 1024  # characters of an attribute's value
_TRIES: Final = 100
_USES: Final = {"network": ("connect", "disconnect"), "volume": ("mount", "unmount")}


def file_name(age: int) -> str:
    """Give the name of a journal file: 0 is the one being written, 1 the full one before it.

    >>> file_name(0), file_name(1)
    ('events.jsonl', 'events.1.jsonl')
    """
    return f"events.{age}.jsonl" if age else "events.jsonl"


def append(
    directory: str,
    action: str,
    object_id: str,
    attributes: dict[str, str],
    *,
    kind: str = "container",
    now: float | None = None,
) -> None:
    """Append one event, by one write(2); what the disk doesn't take is lost without an error.

    `kind` is "container", "network" or "volume"; `now` is in seconds since the epoch;
    values are cut to 1024 characters.
    """
    moment = time.time() if now is None else now
    _write(directory, _line(moment, kind, action, object_id, attributes))


def append_uses(directory: str, uses: list[list[Any]], *, begin: bool) -> None:
    """Append that a container has begun to use things, or has ceased to; all by one write(2).

    Each is (kind, id, attributes at the beginning, attributes at the end).
    """
    moment = time.time()
    lines = [
        _line(moment, kind, _USES[kind][not begin], object_id, at_begin if begin else at_end)
        for kind, object_id, at_begin, at_end in uses
    ]
    if lines:
        _write(directory, b"".join(lines))


def _line(
    moment: float, kind: str, action: str, object_id: str, attributes: dict[str, str]
) -> bytes:
    known = ",".join([f"{quoted(k)}:{quoted(v[:_LONGEST])}" for k, v in attributes.items()])
    return (
        f'{{"time":{moment!r},"type":{quoted(kind)},"action":{quoted(action)},'
        f'"id":{quoted(object_id)},"attributes":{{{known}}}}}\n'
    ).encode()


def _write(directory: str, lines: bytes) -> None:
    path = f"{directory}/{file_name(0)}"
    with contextlib.suppress(OSError):
        fd, size = _open(path)
        try:
            # What a full disk cut short must not spoil the event after it.  What another process is
            # just writing looks the same, and gets an empty line after it.
            torn = size and os.pread(fd, 1, size - 1) != b"\n"
            written = os.write(fd, b"\n" + lines if torn else lines)
            if size + written >= FULL:
                _rotate(fd, path, f"{directory}/{file_name(1)}")
        finally:
            os.close(fd)


def _open(path: str) -> tuple[int, int]:
    """Open the journal so that it can't be renamed before this event is in it; give its size."""
    for _ in range(_TRIES):
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Never waited for: the holder may be stopped.
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            mine, current = os.fstat(fd), os.stat(path)
            if mine.st_ino == current.st_ino:
                return fd, mine.st_size
        except OSError:
            os.sched_yield()
        os.close(fd)
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    return fd, os.fstat(fd).st_size


def _rotate(fd: int, path: str, old: str) -> None:
    """Rename the full journal, unless others are writing to it; the next event tries again."""
    # The lock is given up while it is changed, so that another may have renamed it (flock(2)).
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if os.fstat(fd).st_ino == os.stat(path).st_ino:
        os.rename(path, old)
