"""HTTP requests with retries, redirects, proxies and TLS, over urllib3's pools of connections.

What keeps credentials in: an Authorization header goes to the origin (scheme, host, port) it was
made for and to no other, so a redirect to another host carries none.  Nothing goes from https to
http by a redirect, and plain http is spoken only where the caller asked or on loopback.
"""

from __future__ import annotations

import os
import random
import ssl
import threading
import time
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment

import attrs

from pycontainers.errors import InvalidArgument, RateLimited, RegistryError, RegistryUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from urllib3 import BaseHTTPResponse, PoolManager

ATTEMPTS: Final = 5
LONGEST_WAIT: Final = 60.0  # seconds; a registry that asks for more is told of at once
_FIRST_WAIT = 0.25
_CONNECT_TIMEOUT, _READ_TIMEOUT = 15.0, 60.0
_REDIRECTS = 5
_CHUNK = 1 << 18
_DIRECTORIES = ("/etc/docker/certs.d", "/etc/containers/certs.d")
_BUSY = frozenset({429, 500, 502, 503, 504})

Body = bytes | "Callable[[], Iterable[bytes]]"


@attrs.frozen
class Answer:
    """A whole answer; header names are in lower case, `url` is where it came from in the end."""

    status: int
    headers: Mapping[str, str]
    data: bytes
    url: str


class Broken(Exception):
    """A connection ended, timed out or broke its protocol; the request may be made again."""


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
        """Give the body; raises RegistryError when it is longer than `limit` bytes, and Broken."""
        pieces, length = [], 0
        for piece in self.chunks():
            length += len(piece)
            if length > limit:
                raise RegistryError(
                    f"{_place(self.url)} answered with more than {limit} bytes", status=self.status
                )
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """End it; a body that was not read to its end takes its connection along."""
        self._response.close()
        self._response.release_conn()


class Transport:
    """Requests to one registry's host and to where it sends us; any number of threads may use it.

    `insecure` allows plain http and unverified certificates for that host (None: plain http on
    loopback only), `ca` is a file of certificates to trust beside the system's, `cancelled` an
    event that ends waits and transfers.
    """

    def __init__(
        self,
        host: str,
        *,
        insecure: bool | None = None,
        ca: str | os.PathLike[str] | None = None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self.host = host
        self.insecure = insecure
        self.may_be_plain = is_loopback(host) if insecure is None else insecure
        self.cancelled = cancelled or threading.Event()
        self._ca = ca
        self._lock = threading.Lock()
        self._managers: dict[tuple[str, str | None], PoolManager] = {}
        self._process = os.getpid()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        limit: int = 1 << 20,
        retry: bool = True,
    ) -> Answer:
        """Make a request and give its answer with at most `limit` bytes, whatever its status is.

        A body that is no bytes is a function that gives its pieces anew for each attempt.  Without
        `retry` nothing is sent twice.  Raises RegistryUnreachable, RateLimited, RegistryError.
        """

        def whole() -> Answer:
            with self.opened(method, url, headers=headers, body=body) as stream:
                data = b"" if method == "HEAD" else stream.whole(limit)
                return Answer(stream.status, stream.headers, data, stream.url)

        for attempt in range(ATTEMPTS if retry else 1):
            last = attempt == (ATTEMPTS if retry else 1) - 1
            try:
                answer = whole()
            except Broken as error:
                if last:
                    raise unreachable(method, url, error) from error
                self.pause(attempt)
                continue
            if answer.status not in _BUSY or last:
                break
            self.pause(attempt, self._asked_wait(answer))
        if answer.status == 429:
            raise _limited(answer)
        return answer

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

        Raises Broken where another attempt could help, and RegistryError.
        """
        sent = {"Accept-Encoding": "identity", "User-Agent": "pycontainers", **(headers or {})}
        for _ in range(_REDIRECTS + 1):
            self.check_cancelled()
            stream = self._send(method, url, sent, body)
            location = stream.headers.get("location")
            if method not in ("GET", "HEAD") or stream.status not in (301, 302, 303, 307, 308):
                break
            stream.close()
            if location is None:
                raise RegistryError(f"{_place(url)} redirects to nowhere", status=stream.status)
            target = self.followed(url, location)
            if origin(target) != origin(url):
                sent = {name: sent[name] for name in sent if name.lower() != "authorization"}
            url = target
        else:
            raise RegistryError(f"{_place(url)} redirects more than {_REDIRECTS} times")
        try:
            yield stream
        finally:
            stream.close()

    def followed(self, url: str, location: str) -> str:
        """Give where a Location header leads from `url`; raises RegistryError where it may not."""
        target = urljoin(url, location)
        parts = urlsplit(target)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise RegistryError(f"{_place(url)} leads to {location[:200]!r}, which is no address")
        if parts.scheme == "http" and urlsplit(url).scheme == "https" and not self.insecure:
            raise RegistryError(
                f"{_place(url)} leads from https to plain http at {_place(target)}",
                hint="the registry's own address is probably set wrong; insecure=True allows it",
            )
        return target

    def pause(self, attempt: int, asked: float | None = None) -> None:
        """Wait before another attempt: ever longer, spread by chance, or as long as was asked."""
        wait = _FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.5) if asked is None else asked
        self.cancelled.wait(wait)
        self.check_cancelled()

    def check_cancelled(self) -> None:
        """Raise RegistryError when the caller has set the event."""
        if self.cancelled.is_set():
            raise RegistryError(f"the transfer with {self.host} was cancelled")

    def close(self) -> None:
        """Close all connections that nobody is using; a later request makes new ones."""
        with self._lock:
            managers, self._managers = list(self._managers.values()), {}
        for manager in managers:
            manager.clear()

    def _asked_wait(self, answer: Answer) -> float | None:
        """Give the seconds of Retry-After; raises RateLimited when they are too many."""
        asked = _retry_after(answer)
        if asked is not None and asked > LONGEST_WAIT:
            raise _limited(answer)
        return asked

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None
    ) -> Stream:
        self._check_scheme(url)
        pieces = body if body is None or isinstance(body, bytes) else body()
        with _broken():
            response = self._manager(url).request(
                method,
                url,
                headers=headers,
                body=pieces,
                redirect=False,
                retries=False,
                preload_content=False,
            )
        return Stream(response, url)

    def _check_scheme(self, url: str) -> None:
        parts = urlsplit(url)
        ours = parts.hostname == urlsplit(f"//{self.host}").hostname
        if ours and parts.scheme != "https" and not self.may_be_plain:
            raise RegistryError(
                f"cannot speak plain http with {self.host}",
                hint="insecure=True allows it; everybody on the way can then read and change it",
            )

    def _manager(self, url: str) -> PoolManager:
        """Give the pools for the host of `url`: its TLS, and the proxy that leads there."""
        parts = urlsplit(url)
        if os.getpid() != self._process:  # connections are the parent's: two must not share one
            self._lock, self._managers, self._process = threading.Lock(), {}, os.getpid()
        key = (parts.netloc.lower(), proxy_for(url))
        with self._lock:
            manager = self._managers.get(key)
            if manager is None:
                context = self._tls(parts.netloc, parts.hostname or "")
                manager = self._managers[key] = _make_manager(context, key[1])
            return manager

    def _tls(self, netloc: str, hostname: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        try:
            if self._ca is not None:
                context.load_verify_locations(cafile=os.fspath(self._ca))
            for directory in _DIRECTORIES:
                _load_certificates(context, Path(directory, netloc))
        except OSError as error:  # ssl.SSLError is one
            raise InvalidArgument(
                f"cannot use the certificates for {netloc}: {error}",
                hint="they are those of ca= and of the directories " + ", ".join(_DIRECTORIES),
            ) from error
        if self.insecure and hostname == urlsplit(f"//{self.host}").hostname:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def is_loopback(host: str) -> bool:
    """Tell whether a host, with or without a port, is this machine by its very name."""
    name = urlsplit(f"//{host}").hostname or ""
    if name in ("localhost", "::1"):
        return True
    numbers = name.split(".")
    return len(numbers) == 4 and numbers[0] == "127" and all(part.isdigit() for part in numbers)


def origin(url: str) -> tuple[str, str, int]:
    """Give scheme, host and port of an address: what credentials are bound to."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise RegistryError(f"{_place(url)} is no address: {error}") from error
    return parts.scheme, parts.hostname or "", port or (443 if parts.scheme == "https" else 80)


def proxy_for(url: str) -> str | None:
    """Give the proxy of HTTP_PROXY or HTTPS_PROXY for an address, if NO_PROXY does not except it.

    Loopback is never reached by a proxy.
    """
    parts = urlsplit(url)
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or is_loopback(parts.netloc) or proxy_bypass_environment(parts.netloc, proxies):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def unreachable(method: str, url: str, error: Broken) -> RegistryUnreachable:
    """Give the error that tells of a request's last failure."""
    hint = "check the name, the network and HTTPS_PROXY"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        hint = f"give its certificate authority by ca=, or as {_DIRECTORIES[0]}/<host>/ca.crt"
    return RegistryUnreachable(f"cannot {method} from {_place(url)}: {error}", hint=hint)


def _make_manager(context: ssl.SSLContext, proxy: str | None) -> PoolManager:
    from urllib3 import PoolManager, ProxyManager, Timeout, make_headers

    timeout = Timeout(connect=_CONNECT_TIMEOUT, read=_READ_TIMEOUT)
    if proxy is None:
        return PoolManager(4, ssl_context=context, timeout=timeout, maxsize=16)
    parts = urlsplit(proxy)
    if parts.scheme not in ("http", "https"):
        raise InvalidArgument(
            f"cannot use the proxy {parts.hostname!r}: its scheme is {parts.scheme!r}",
            hint="HTTP_PROXY and HTTPS_PROXY take http:// and https://",
        )
    secret = None
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return ProxyManager(
        parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
        4,
        ssl_context=context,
        timeout=timeout,
        maxsize=16,
        proxy_headers=make_headers(proxy_basic_auth=secret) if secret else None,
    )


def _load_certificates(context: ssl.SSLContext, directory: Path) -> None:
    """Trust each <name>.crt, and show each <name>.cert with its <name>.key, as Docker does."""
    for path in sorted(directory.glob("*.crt")):
        context.load_verify_locations(cafile=path)
    for path in sorted(directory.glob("*.cert")):
        context.load_cert_chain(path, path.with_suffix(".key"))


@contextmanager
def _broken() -> Iterator[None]:
    """Make one error of all that a connection can do."""
    from urllib3.exceptions import HTTPError, LocationValueError

    try:
        yield
    except LocationValueError as error:
        raise RegistryError(f"cannot use an address: {error}") from error
    except (HTTPError, HTTPException, OSError) as error:
        raise Broken(_cause(error)) from error


def _cause(error: BaseException) -> str:
    inner = error
    while inner.__cause__ is not None:
        inner = inner.__cause__
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return str(inner) or type(inner).__name__


def _retry_after(answer: Answer) -> float | None:
    text = answer.headers.get("retry-after", "").strip()
    if text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError, TypeError):
        return None


def _limited(answer: Answer) -> RegistryError:
    wait = _retry_after(answer)
    told = f"in {wait:.0f} s" if wait is not None else "later"
    if answer.status != 429:
        return RegistryUnreachable(
            f"{_place(answer.url)} answered {answer.status}", status=answer.status,
            hint=f"it wants to be asked again {told}",
        )
    return RateLimited(
        f"{_place(answer.url)} has had too many requests",
        retry_after=wait,
        hint=f"try again {told}, or log in: registries allow more to those they know",
    )


def _place(url: str) -> str:
    """Give an address as it is shown: without its query, which may hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
