"""What a jailed worker writes, as the application reads it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pycontainers.distribution.compression import CHUNK
from pycontainers.errors import ImageError
from pycontainers.lifecycle import workers

if TYPE_CHECKING:
    from collections.abc import Generator

    from pycontainers.lifecycle.services import Services


def streamed(services: Services, work: dict[str, Any], problem: str) -> Generator[bytes]:
    """Give what the launcher's worker writes, piece by piece; it starts with the first `next`.

    Raises ImageError where the worker fails: the `problem`, and why.
    """
    running, reading = workers.writer(services.launcher(), work)
    try:
        while data := os.read(reading, CHUNK):
            yield data
        running.wait()
        if running.failure is not None:
            raise ImageError(f"{problem}: {running.why()}", hint=running.failure.hint)
    finally:
        os.close(reading)
        running.close()
