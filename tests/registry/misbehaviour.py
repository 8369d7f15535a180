"""A blob, and the servers that give it well and badly; what tests of misbehaviour share."""

from __future__ import annotations

import os
from collections.abc import Callable

from pycontainers.registry.credentials import Credentials
from pycontainers.registry.repository import Repository
from tests.registry.servers import Request, digest_of

KNOWN = Credentials("anna", "s3cret")
BLOB = os.urandom(3_000_000)
DIGEST = digest_of(BLOB)


def read(repository: Repository, offset: int = 0) -> bytes:
    return b"".join(repository.blob(DIGEST, len(BLOB), offset))


def repository(host: str, *, mirrors: tuple[str, ...] = ()) -> Repository:
    return Repository(host, "a/b", credentials=KNOWN, mirrors=mirrors)


def start_of(request: Request) -> int:
    return int(request.headers.get("range", "bytes=0-")[len("bytes=") : -1])


def ranged(request: Request) -> None:
    at = start_of(request)
    span = {"Content-Range": f"bytes {at}-{len(BLOB) - 1}/{len(BLOB)}"}
    request.answer(206 if at else 200, BLOB[at:], span if at else {})


def cutting(first: int) -> Callable[[Request], None]:
    """Break each of the first transfers off after a third."""
    left = [first]

    def respond(request: Request) -> None:
        at = start_of(request)
        if "/blobs/" not in request.path or left[0] == 0:
            return ranged(request)
        left[0] -= 1
        headers = {"Content-Length": str(len(BLOB) - at)}
        if at:
            headers["Content-Range"] = f"bytes {at}-{len(BLOB) - 1}/{len(BLOB)}"
        request.cut(206 if at else 200, BLOB[at : at + 1_000_000], headers)

    return respond
