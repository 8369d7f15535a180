"""HTTP requests with retries, redirects, proxies and TLS, over urllib3's pools of connections.

What keeps credentials in: an Authorization header goes to the origin (scheme, host, port) it was
made for and to no other, so a redirect to another host carries none.  Nothing goes from https to
http by a redirect unless the caller asked for insecure transfers.
"""

from __future__ import annotations

import os
import random
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import unquote, urlsplit

import attrs

from pycontainers.errors import InvalidArgument, RateLimited, RegistryError, RegistryUnreachable
from pycontainers.registry.addresses import followed, origin, place, proxy_for
from pycontainers.registry.certificates import DIRECTORIES, tls_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from urllib3 import BaseHTTPResponse, PoolManager

ATTEMPTS: Final = 5
PATIENCE: Final = 8.0  # seconds: what is waited in all between the attempts of one request
_FIRST_WAIT = 0.2
_CONNECT_TIMEOUT, _READ_TIMEOUT = 15.0, 60.0
_REDIRECTS = 5
_CONNECTIONS = 8
_CHUNK = 1 << 18
_ERROR_BODY = 1 << 16
_BUSY = frozenset({429, 500, 502, 503, 504})

Body: TypeAlias = "bytes | Callable[[], Generator[bytes]]"
_Sockets: TypeAlias = weakref.WeakSet[socket.socket]


@attrs.frozen
class Answer:
    """A whole answer; header names are in lower case, `url` is where it came from in the end."""

    status: int
    headers: Mapping[str, str]
    data: bytes
    url: str


class Broken(Exception):
    """A connection ended, timed out or broke its protocol; the request may be made again.

    `distrusted` says that it was ours to end it, as the certificate is not one to trust.
    """

    def __init__(self, message: str, *, distrusted: bool = False) -> None:
        super().__init__(message)
        self.distrusted = distrusted


class Stream:
    """An answer whose body is still to be read."""

    def __init__(self, response: BaseHTTPResponse, url: str) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.url = url
        self._response = response

    def chunks(self) -> Iterator[bytes]:
        """Give the body piece by piece as it arrives; raises Broken."""
        while True:
            with _broken():
                piece = self._response.read(_CHUNK, decode_content=False)
            if not piece:
                return
            yield piece

    def whole(self, limit: int) -> bytes:
        """Give the body; raises RegistryError when it is longer than `limit` bytes, and Broken.

        Of a refusal it gives the beginning, whatever follows.
        """
        pieces, length = [], 0
        if refused := self.status >= 400:
            limit = _ERROR_BODY
        for piece in self.chunks():
            pieces.append(piece)
            length += len(piece)
            if length > limit:
                if refused:
                    break
                raise RegistryError(
                    f"{place(self.url)} answered with more than {limit} bytes", status=self.status
                )
        return b"".join(pieces)[:limit]

    def answer(self, limit: int) -> Answer:
        """Give the whole answer; raises what `whole` raises."""
        return Answer(self.status, self.headers, self.whole(limit), self.url)

    def close(self) -> None:
        """End it; a body that was not read to its end takes its connection along."""
        self._response.close()
        self._response.release_conn()


class Retries:
    """How often and how long one request may be tried again; made anew for each."""

    def __init__(self, cancelled: threading.Event, attempts: int = ATTEMPTS) -> None:
        self._cancelled = cancelled
        self._allowed = attempts
        self._left = attempts
        self._patience = PATIENCE

    def answer(
        self,
        method: str,
        url: str,
        limit: int,
        opened: Callable[[], AbstractContextManager[Stream]],
    ) -> Answer:
        """Make attempts of a request, each by `opened`, until one has an answer to be taken.

        Raises RegistryUnreachable, RateLimited, RegistryError.
        """
        while True:
            try:
                with opened() as stream:
                    answer = stream.answer(limit)
            except Broken as error:
                self.broken(method, url, error)
                continue
            if not self.busy(answer):
                return answer

    def busy(self, answer: Answer) -> bool:
        """Wait where an answer asks for that; False where it is to be taken as it is.

        Raises RateLimited or RegistryUnreachable when the wait would be too long.
        """
        if answer.status not in _BUSY:
            return False
        asked = _retry_after(answer)
        if asked is not None and asked > self._patience:
            raise _limited(answer, asked)
        if not self._wait(asked):
            if answer.status == 429:
                raise _limited(answer, asked)
            return False
        return True

    def broken(self, method: str, url: str, error: Broken) -> None:
        """Wait after a broken connection; raises RegistryUnreachable after the last attempt."""
        if error.distrusted or not self._wait(None):
            raise unreachable(method, url, error) from error

    def progress(self) -> None:
        """Start counting again: the transfer has got on."""
        self._left, self._patience = self._allowed, PATIENCE

    def _wait(self, asked: float | None) -> bool:
        self._left -= 1
        if self._left <= 0:
            return False
        wait = asked
        if wait is None:
            done = self._allowed - self._left - 1
            wait = _FIRST_WAIT * 2**done * random.uniform(0.5, 1.5)
        wait = min(wait, self._patience)
        self._patience -= wait
        self._cancelled.wait(wait)
        return True


class Transport:
    """Requests to one registry's host and to where it sends us; any number of threads may use it.

    `insecure` takes any certificate of that host and follows redirects to plain http, `ca` is a
    file of certificates to trust beside the system's, `cancelled` an event that ends waits and
    transfers.
    """

    def __init__(
        self,
        host: str,
        *,
        insecure: bool = False,
        ca: str | os.PathLike[str] | None = None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self.host = host
        self.insecure = insecure
        self.cancelled = cancelled or threading.Event()
        self._hostname = urlsplit(f"//{host}").hostname
        self._ca = ca
        self._lock = threading.Lock()
        self._managers: dict[tuple[str, str | None], PoolManager] = {}
        self._sockets: _Sockets = weakref.WeakSet()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int = 1 << 20,
    ) -> Answer:
        """Make a request and give its answer with at most `limit` bytes, whatever its status is.

        Raises RegistryUnreachable, RateLimited, RegistryError.
        """
        return Retries(self.cancelled).answer(
            method, url, limit, lambda: self.opened(method, url, headers=headers, body=body)
        )

    @contextmanager
    def opened(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Iterator[Stream]:
        """Make one attempt of a request and give its answer's start; redirects of GET are followed.

        A body that is no bytes is a function that gives its pieces.  Raises Broken where another
        attempt could help, and RegistryError.
        """
        sent = {"Accept-Encoding": "identity", "User-Agent": "pycontainers", **(headers or {})}
        for _ in range(_REDIRECTS + 1):
            self.check_cancelled()
            stream = self._send(method, url, sent, body)
            if method not in ("GET", "HEAD") or stream.status not in (301, 302, 303, 307, 308):
                break
            stream.close()
            location = stream.headers.get("location")
            if location is None:
                raise RegistryError(f"{place(url)} redirects to nowhere", status=stream.status)
            target = followed(url, location, insecure=self.insecure)
            if origin(target) != origin(url):
                sent = {name: sent[name] for name in sent if name.lower() != "authorization"}
            url = target
        else:
            raise RegistryError(f"{place(url)} redirects more than {_REDIRECTS} times")
        try:
            yield stream
        except Broken:
            self.check_cancelled()  # it broke because cancel() broke it
            raise
        finally:
            stream.close()

    def check_cancelled(self) -> None:
        """Raise RegistryError when the event is set."""
        if self.cancelled.is_set():
            raise RegistryError(f"the transfer with {self.host} was cancelled")

    def cancel(self) -> None:
        """Set the event and break the connections in use, so that no thread waits for a peer."""
        self.cancelled.set()
        for sock in list(self._sockets):
            with suppress(OSError):
                # Not its own shutdown: that of TLS changes an object another thread reads from.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close all connections that nobody is using; a later request makes new ones."""
        with self._lock:
            managers, self._managers = list(self._managers.values()), {}
        for manager in managers:
            manager.clear()

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Body | None) -> Stream:
        pieces = body() if callable(body) else body
        try:
            with closing(pieces) if isinstance(pieces, Generator) else nullcontext(), _broken():
                response = self._manager(url).request(
                    method,
                    url,
                    headers=headers,
                    body=pieces,
                    redirect=False,
                    retries=False,
                    preload_content=False,
                )
        except Broken:
            self.check_cancelled()
            raise
        return Stream(response, url)

    def _manager(self, url: str) -> PoolManager:
        """Give the pools for the host of `url`: its TLS, and the proxy that leads there."""
        parts = urlsplit(url)
        key = (f"{parts.scheme}://{parts.netloc.lower()}", proxy_for(url))
        with self._lock:
            manager = self._managers.get(key)
            if manager is None:
                context = None
                if parts.scheme == "https":
                    any_will_do = self.insecure and parts.hostname == self._hostname
                    context = tls_context(parts.netloc, self._ca, verified=not any_will_do)
                manager = self._managers[key] = _make_manager(context, key[1], self._sockets)
            return manager


def unreachable(method: str, url: str, error: Broken) -> RegistryUnreachable:
    """Give the error that tells of a request's last failure."""
    hint = "check the name, the network and HTTPS_PROXY"
    if error.distrusted:
        hint = f"give its certificate authority by ca=, or as {DIRECTORIES[0]}/<host>/ca.crt"
    return RegistryUnreachable(f"cannot {method} {place(url)}: {error}", hint=hint)


def _make_manager(
    context: ssl.SSLContext | None, proxy: str | None, sockets: _Sockets
) -> PoolManager:
    from urllib3 import PoolManager, ProxyManager, Timeout, make_headers  # slow to load

    timeout = Timeout(connect=_CONNECT_TIMEOUT, read=_READ_TIMEOUT)
    if proxy is None:
        manager = PoolManager(4, ssl_context=context, timeout=timeout, maxsize=_CONNECTIONS)
    else:
        parts = urlsplit(proxy)
        if parts.scheme not in ("http", "https"):
            raise InvalidArgument(
                f"cannot use the proxy {parts.hostname!r}: its scheme is {parts.scheme!r}",
                hint="HTTP_PROXY and HTTPS_PROXY take http:// and https://",
            )
        secret = None
        if parts.username is not None:
            secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        manager = ProxyManager(
            parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
            4,
            ssl_context=context,
            timeout=timeout,
            maxsize=_CONNECTIONS,
            proxy_headers=make_headers(proxy_basic_auth=secret) if secret else None,
        )
    manager.pool_classes_by_scheme = _pools(sockets)
    return manager


def _pools(sockets: _Sockets) -> dict[str, type]:
    """Give the classes of pools whose connections put their sockets on a list, for `cancel`."""
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection, HTTPSConnection

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    class Secure(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            self.is_verified = True  # or the caller wants it so, and needs no warning
            sockets.add(self.sock)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


@contextmanager
def _broken() -> Iterator[None]:
    """Make one error of all that a connection can do."""
    from urllib3.exceptions import HTTPError, LocationValueError

    try:
        yield
    except LocationValueError as error:
        raise RegistryError(f"cannot use an address: {error}") from error
    except (HTTPError, HTTPException, OSError) as error:
        inner = _cause(error)
        distrusted = isinstance(inner, ssl.SSLCertVerificationError)
        text = (isinstance(inner, OSError) and inner.strerror) or str(inner)
        raise Broken(text or type(inner).__name__, distrusted=distrusted) from error


def _cause(error: BaseException) -> BaseException:
    """Give what lies at the bottom; urllib3 wraps some errors without naming them as a cause."""
    while True:
        wrapped = error.args[-1] if error.args else None
        inner = error.__cause__ or (wrapped if isinstance(wrapped, BaseException) else None)
        if inner is None:
            return error
        error = inner


def _retry_after(answer: Answer) -> float | None:
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError, TypeError):
        return None


def _limited(answer: Answer, wait: float | None) -> RegistryError:
    told = "later" if wait is None else f"in {wait:.0f} s"
    if answer.status != 429:
        return RegistryUnreachable(
            f"{place(answer.url)} answered {answer.status} and wants to be asked again {told}",
        )
    return RateLimited(
        f"{place(answer.url)} has had too many requests and wants to be asked again {told}",
        retry_after=wait,
        hint="log in: registries allow more to those they know",
    )
