"""Moments as callers write them: seconds since the epoch, a datetime, or how long ago."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from pycontainers.errors import InvalidArgument

Moment: TypeAlias = float | datetime | timedelta


def moment(option: str, value: Moment | None) -> float | None:
    """Give seconds since the epoch; a datetime without a zone is UTC, a timedelta is that long ago.

    >>> moment("since", datetime(1970, 1, 2))
    86400.0
    """
    if value is None:
        return None
    if isinstance(value, timedelta):
        seconds = time.time() - value.total_seconds()
    elif isinstance(value, datetime):
        zoned = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        seconds = zoned.timestamp()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        raise InvalidArgument(f"{option}: expected a moment, not {value!r}")
    if not math.isfinite(seconds) or not 0 <= seconds < 1 << 37:
        raise InvalidArgument(f"{option}: {value!r} is no moment after 1970")
    return seconds


def written(seconds: float) -> bytes:
    """Give a moment as log entries have it, whose order is that of their bytes.

    >>> written(1.5)
    b'1970-01-01T00:00:01.500000000Z'
    """
    whole = math.floor(seconds)
    nanoseconds = int((seconds - whole) * 1e9)
    date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{date}.{nanoseconds:09}Z".encode()
