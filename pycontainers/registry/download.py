"""How a blob gets out of a registry: in pieces, going on where a broken transfer stopped."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pycontainers.errors import ImageError, RegistryError
from pycontainers.registry.addresses import place
from pycontainers.registry.endpoint import refusal
from pycontainers.registry.transport import Broken, Retries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontainers.registry.endpoint import Endpoint
    from pycontainers.registry.transport import Stream

_PROGRESS = 1 << 20
_RANGE = re.compile(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19}|\*)")


def download(
    endpoint: Endpoint, path: str, scopes: tuple[str, ...], size: int, offset: int
) -> Iterator[bytes]:
    """Give the bytes of a blob from `offset` on, `size` - `offset` of them and never more.

    Raises ImageError where the blob has another size, and RegistryError.
    """
    at = offset
    retries = Retries(endpoint.transport.cancelled, endpoint.attempts)
    while at < size:
        before = at
        try:
            headers = {"Range": f"bytes={at}-"} if at else {}
            with endpoint.opened("GET", path, scopes, headers=headers) as stream:
                if stream.status not in (200, 206):
                    answer = stream.answer(1 << 16)
                    if retries.busy(answer):
                        continue
                    if answer.status == 416:
                        raise _other_size(stream, size, f"less than {at}")
                    raise refusal("get a blob", answer)
                skip = _begin(stream, at, size)
                for received in stream.chunks():
                    piece = received
                    endpoint.transport.check_cancelled()
                    if skip:  # the registry knows no ranges
                        piece, skip = piece[skip:], max(0, skip - len(piece))
                    if at + len(piece) > size:
                        raise _other_size(stream, size, "more")
                    if piece:
                        at += len(piece)
                        yield piece
            if at < size:
                raise Broken(f"the transfer ended after {at} of {size} bytes")
        except Broken as error:
            if at - before >= _PROGRESS:
                retries.progress()
            retries.broken("GET", endpoint.url(path), error)


def _begin(stream: Stream, at: int, size: int) -> int:
    """Give how many bytes of the body come before byte `at`; raises where it can't be the blob."""
    length = stream.headers.get("content-length", "")
    if stream.status == 200:
        if length.isdigit() and int(length[:20]) != size:
            raise _other_size(stream, size, length)
        return at
    found = _RANGE.fullmatch(stream.headers.get("content-range", ""))
    if found is None or int(found[1]) != at:
        raise RegistryError(f"{place(stream.url)} answered with another range than bytes {at}-")
    if found[2] not in ("*", str(size)):
        raise _other_size(stream, size, found[2])
    return 0


def _other_size(stream: Stream, size: int, found: str) -> ImageError:
    return ImageError(f"the blob at {place(stream.url)} should have {size} bytes, not {found}")
