"""How a blob gets into a registry: by one PUT, or in chunks where it has no size or is too large.

Distribution spec, "Pushing blobs": an upload session is opened by POST; its address moves with
every answer.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from pycontainers.errors import ImageError, PyContainersError, RegistryError, StoreError
from pycontainers.registry.addresses import followed
from pycontainers.registry.endpoint import refusal
from pycontainers.registry.transport import Broken, Retries

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pycontainers.registry.endpoint import Endpoint
    from pycontainers.registry.transport import Answer

_PIECE = 1 << 20
_CHUNK = 8 << 20
_LARGEST_CHUNK = 64 << 20
_OCTETS = {"Content-Type": "application/octet-stream"}


class Upload:
    """The upload of one blob to `path`, that of a repository below /v2/."""

    def __init__(
        self,
        endpoint: Endpoint,
        path: str,
        scopes: tuple[str, ...],
        digest: str,
        size: int | None,
        open_stream: Callable[[], BinaryIO],
    ) -> None:
        self._endpoint = endpoint
        self._path = path
        self._scopes = scopes
        self._digest = digest
        self._size = size
        self._open = open_stream

    def run(self) -> None:
        """Send the blob; when it returns, the registry has it.

        Raises ImageError when the stream has another size, and RegistryError.
        """
        in_chunks = self._size is None
        retries = Retries(self._endpoint.transport.cancelled, self._endpoint.attempts)
        while True:
            session, headers = open_session(self._endpoint, self._path, self._scopes)
            try:
                answer = self._send_chunks(session, headers) if in_chunks else self._send(session)
            except Broken as error:
                retries.broken("PUT", session, error)
                if self._arrived():
                    return
                continue
            if answer.status in (201, 204):
                return
            if answer.status == 413 and not in_chunks:
                in_chunks = True  # a proxy on the way has a limit for one request
                continue
            if not retries.busy(answer):
                raise refusal(f"upload {self._digest}", answer)

    def _arrived(self) -> bool:
        """Tell whether the registry has the blob: an answer can get lost after all is done."""
        path = f"{self._path}/blobs/{self._digest}"
        return self._endpoint.request("HEAD", path, self._scopes).status == 200

    def _send(self, session: str) -> Answer:
        size = self._size or 0

        def body() -> Generator[bytes]:
            sent = 0
            with self._open() as stream:
                while sent <= size and (piece := self._read(stream, _PIECE)):
                    sent += len(piece)
                    if sent <= size:
                        yield piece
            if sent != size:
                raise ImageError(
                    f"the blob {self._digest} should have {size} bytes, not {sent} or more"
                )

        headers = {**_OCTETS, "Content-Length": str(size)}
        return self._put(self._finished(session), headers, body)

    def _send_chunks(self, session: str, headers: dict[str, str]) -> Answer:
        least = headers.get("oci-chunk-min-length", "")
        length = min(max(_CHUNK, int(least[:18]) if least.isdigit() else 0), _LARGEST_CHUNK)
        at = 0
        with self._open() as stream:
            while chunk := self._read(stream, length):
                with self._endpoint.opened(
                    "PATCH",
                    session,
                    self._scopes,
                    headers={**_OCTETS, "Content-Range": f"{at}-{at + len(chunk) - 1}"},
                    body=chunk,
                ) as patched:
                    answer = patched.answer(_PIECE)
                if answer.status not in (202, 204):
                    return answer
                at += len(chunk)
                session = moved(session, answer, insecure=self._endpoint.transport.insecure)
        if self._size not in (None, at):
            raise ImageError(f"the blob {self._digest} should have {self._size} bytes, not {at}")
        return self._put(self._finished(session), {"Content-Length": "0"}, None)

    def _put(
        self, url: str, headers: dict[str, str], body: Callable[[], Generator[bytes]] | None
    ) -> Answer:
        with self._endpoint.opened("PUT", url, self._scopes, headers=headers, body=body) as stream:
            return stream.answer(_PIECE)

    def _finished(self, session: str) -> str:
        return f"{session}{'&' if '?' in session else '?'}digest={self._digest}"

    def _read(self, stream: BinaryIO, length: int) -> bytes:
        self._endpoint.transport.check_cancelled()
        try:
            return stream.read(length)
        except OSError as error:
            raise StoreError(f"cannot read the blob {self._digest}: {error}") from error


def open_session(
    endpoint: Endpoint, path: str, scopes: tuple[str, ...]
) -> tuple[str, dict[str, str]]:
    """Open an upload session; gives its address and what the registry said with it."""
    answer = endpoint.request(
        "POST", f"{path}/blobs/uploads/", scopes, headers={"Content-Length": "0"}
    )
    if answer.status != 202:
        raise refusal(f"upload to {path}", answer)
    session = moved(answer.url, answer, insecure=endpoint.transport.insecure)
    return session, dict(answer.headers)


def mount(endpoint: Endpoint, path: str, scopes: tuple[str, ...], digest: str, source: str) -> bool:
    """Have the registry take a blob over from its repository `source`; False where it won't."""
    answer = endpoint.request(
        "POST",
        f"{path}/blobs/uploads/?mount={digest}&from={source}",
        scopes,
        headers={"Content-Length": "0"},
    )
    if answer.status == 202:  # it has opened a session instead, which nobody will use
        with suppress(PyContainersError):
            session = moved(answer.url, answer, insecure=endpoint.transport.insecure)
            endpoint.request("DELETE", session, scopes)
    elif answer.status >= 500:
        raise refusal(f"mount {digest} from {source}", answer)
    return answer.status == 201


def moved(url: str, answer: Answer, *, insecure: bool) -> str:
    """Give where an upload session goes on."""
    location = answer.headers.get("location")
    if location is None:
        raise RegistryError(f"{url} opened an upload session without a Location")
    return followed(url, location, insecure=insecure)
