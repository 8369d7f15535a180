"""One registry or mirror: its address, and requests that carry what it wants to see."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pycontainers.errors import AuthenticationError, RegistryError, RegistryUnreachable
from pycontainers.registry.addresses import is_loopback, origin, place, registry_address
from pycontainers.registry.auth import Authenticator
from pycontainers.registry.transport import ATTEMPTS, Broken, Retries, Transport, unreachable

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from pycontainers.registry.credentials import Credentials
    from pycontainers.registry.transport import Answer, Body, Stream

_ERROR_BODY = 1 << 16


class Endpoint:
    """Where one registry answers; `attempts` is how often a request is made before it is given up.

    https is spoken; plain http where the registry is written with http://, and where nothing at
    the port speaks TLS and the host is loopback (unless `insecure` is False) or `insecure` is True.
    """

    def __init__(
        self,
        registry: str,
        find: Callable[[], Credentials | None],
        *,
        insecure: bool | None = None,
        ca: str | os.PathLike[str] | None = None,
        cancelled: threading.Event | None = None,
        attempts: int = ATTEMPTS,
    ) -> None:
        scheme, host, self._path = registry_address(registry)
        self.registry = registry
        self.attempts = attempts
        self.transport = Transport(host, insecure=bool(insecure), ca=ca, cancelled=cancelled)
        self._plain_too = is_loopback(host) if insecure is None else insecure
        self._auth = Authenticator(self.transport, registry, find)
        self._lock = threading.Lock()
        self._root = f"{scheme}://{host}" if scheme else None

    def ping(self) -> None:
        """Ask for nothing but to be let in (distribution spec, /v2/).

        Raises AuthenticationError, RegistryError.
        """
        answer = self.request("GET", "", ())
        if answer.status != 200:
            raise refusal(f"use {self.registry}", answer)

    def url(self, path: str) -> str:
        """Give the address of what lies at `path` below /v2/; a whole address is one already."""
        return path if "://" in path else f"{self._reach()}{self._path}/v2/{path}"

    def request(
        self,
        method: str,
        path: str,
        scopes: tuple[str, ...],
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int = 1 << 20,
    ) -> Answer:
        """Make a request, authorised for `scopes`; `path` is one below /v2/, or a whole address.

        Gives the answer, whatever its status is but 401.  Raises AuthenticationError,
        RegistryUnreachable, RateLimited, RegistryError.
        """
        return Retries(self.transport.cancelled, self.attempts).answer(
            method,
            self.url(path),
            limit,
            lambda: self.opened(method, path, scopes, headers=headers, body=body),
        )

    @contextmanager
    def opened(
        self,
        method: str,
        path: str,
        scopes: tuple[str, ...],
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Iterator[Stream]:
        """Make one attempt of a request as `request` does, and give the start of its answer.

        Raises Broken where another attempt could help.
        """
        base, url, said = self._reach(), self.url(path), ""
        header = self._auth.header(base, scopes) if origin(url) == origin(base) else None
        for last in (False, False, True):  # without, with what we had, with what we have just got
            sent = {**(headers or {}), **({"Authorization": header} if header else {})}
            with self.transport.opened(method, url, headers=sent, body=body) as stream:
                # A challenge from where a redirect led is not the registry's: nothing of ours
                # is an answer to it.
                if stream.status != 401 or origin(stream.url) != origin(base):
                    yield stream
                    return
                challenge = stream.headers.get("www-authenticate", "")
                said = told(stream.whole(_ERROR_BODY))
            if not last:
                header = self._auth.challenged(base, challenge, scopes, header)
        raise self._auth.refused(said)

    def close(self) -> None:
        """Close the connections; a later request makes new ones."""
        self.transport.close()

    def _reach(self) -> str:
        """Give the scheme and host under which the registry answers, tried once."""
        with self._lock:
            if self._root is None:
                self._root = self._probe()
            return self._root

    def _probe(self) -> str:
        host = self.transport.host
        secure, plain = f"https://{host}", f"http://{host}"
        if not self._plain_too:
            return secure
        try:
            self._knock(secure)
        except Broken as error:
            if error.distrusted:
                raise unreachable("GET", secure, error) from error
            try:
                self._knock(plain)
            except Broken:
                raise unreachable("GET", secure, error) from error
            return plain
        return secure

    def _knock(self, root: str) -> None:
        with self.transport.opened("HEAD", f"{root}{self._path}/v2/"):
            pass


def refusal(what: str, answer: Answer) -> RegistryError:
    """Give the error for an answer that was not to be expected: what it says, briefly.

    `what` completes "cannot".
    """
    text = f"cannot {what}: {place(answer.url)} answered {answer.status}"
    if detail := told(answer.data):
        text += f": {detail}"
    if answer.status == 403:
        return AuthenticationError(text, status=403, hint="these credentials do not allow it")
    if answer.status >= 500:
        return RegistryUnreachable(text)
    return RegistryError(text, status=answer.status)


def told(data: bytes) -> str:
    """Give code and message of an error's body (distribution spec, Error Codes), made harmless."""
    try:
        first = json.loads(data)["errors"][0]
        words = [first.get("code"), first.get("message")]
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return ""
    text = " ".join(word for word in words if isinstance(word, str))
    return "".join(c for c in text if c.isprintable())[:200]
