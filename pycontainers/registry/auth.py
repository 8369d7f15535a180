"""Challenges of registries, and what answers them: Basic, or a bearer token from a token server.

The rule about realms: a registry names its token server itself, so credentials go to a realm only
over https, or, where the registry itself is spoken to in plain http, to the same host.  A registry
on https that names a realm on plain http gets no answer at all.
"""

from __future__ import annotations

import json
import re
import threading
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import attrs

from pycontainers.errors import AuthenticationError, RegistryError
from pycontainers.registry.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from urllib.parse import SplitResult

    from pycontainers.registry.credentials import Credentials
    from pycontainers.registry.transport import Answer, Transport

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PARAMETER = re.compile(
    r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"=]+))\s*(?:,|$)"
)
_SENDABLE = re.compile(r"[!-~]{1,65536}")
_LONGEST_CHALLENGE: Final = 8192
_TOKEN_ANSWER: Final = 1 << 20
_TOKEN_LIFE: Final = 60.0  # seconds: what a token lives when its server does not say
_LONGEST_LIFE: Final = 86400.0
_MARGIN: Final = 10.0


@attrs.frozen
class Challenge:
    """One way in that a WWW-Authenticate header offers; its scheme and names are in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """Give the challenges of a WWW-Authenticate header (RFC 9110, 11.6.1); nonsense ends it.

    >>> parse_challenges('Basic realm="x"')[0].scheme
    'basic'
    """
    found: list[Challenge] = []
    header = header[:_LONGEST_CHALLENGE]
    at = 0
    while at < len(header):
        while at < len(header) and header[at] in " \t,":
            at += 1
        scheme = _TOKEN.match(header, at)
        if scheme is None:
            break
        at = scheme.end()
        parameters: dict[str, str] = {}
        while match := _PARAMETER.match(header, at):
            quoted, plain = match.group(2), match.group(3)
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            parameters.setdefault(match.group(1).lower(), value)
            at = match.end()
        found.append(Challenge(scheme.group().lower(), parameters))
    return tuple(found)


@attrs.frozen
class _Token:
    header: str = attrs.field(repr=False)
    until: float


class Authenticator:
    """Knows how one registry wants to be asked, and keeps its tokens; any thread may use it.

    `find` gives the credentials; it is asked once, and only when the registry wants any.
    """

    def __init__(
        self, transport: Transport, registry: str, find: Callable[[], Credentials | None]
    ) -> None:
        self._transport = transport
        self._registry = registry
        self._find = find
        self._known: Credentials | None = None
        self._lock = threading.Lock()
        self._challenge: Challenge | None = None
        self._tokens: dict[tuple[str, ...], _Token] = {}
        self._refresh: str | None = None

    def header(self, base: str, scopes: tuple[str, ...]) -> str | None:
        """Give the Authorization for requests to the registry at `base`; None before it asked.

        Raises AuthenticationError, RegistryError.
        """
        with self._lock:
            challenge = self._challenge
            if challenge is None:
                return None
            if challenge.scheme == "basic":
                return self._basic()
            token = self._tokens.get(scopes)
            if token is None or token.until <= time.monotonic():
                token = self._tokens[scopes] = self._fetch(base, challenge, scopes)
            return token.header

    def challenged(
        self, base: str, challenge: str, scopes: tuple[str, ...], used: str | None
    ) -> str:
        """Give another Authorization after a 401 with that challenge to one that carried `used`.

        Raises AuthenticationError where there is nothing better to say.
        """
        offered = parse_challenges(challenge)
        chosen = next((one for one in offered if one.scheme == "bearer"), None) or next(
            (one for one in offered if one.scheme == "basic"), None
        )
        if chosen is None:
            raise AuthenticationError(
                f"{self._registry} refuses and names no way in that is known here",
                status=401,
            )
        with self._lock:
            if self._challenge is None:
                self._known = self._find()
                self._refresh = self._known.identity_token if self._known else None
            self._challenge = chosen
            token = self._tokens.get(scopes)
            if token is not None and token.header == used:
                del self._tokens[scopes]
        header = self.header(base, scopes)
        if header is None or (chosen.scheme == "basic" and header == used):
            raise self.refused()
        return header

    def _basic(self) -> str:
        known = self._known
        if known is None or known.identity_token is not None:
            raise self.refused()
        return f"Basic {known.encoded}"

    def refused(self, said: str = "") -> AuthenticationError:
        """Give the error for a registry that lets nobody in who says what we can say."""
        known = self._known
        who = f"does not accept the credentials of {known.user!r}" if known else "asks who you are"
        return AuthenticationError(
            f"{self._registry} {who}" + (f": {said}" if said else ""),
            status=401,
            hint=f"log in with Registry({self._registry!r}).login(user, password); "
            "some registries answer so too where nothing has that name",
        )

    def _fetch(self, base: str, challenge: Challenge, scopes: tuple[str, ...]) -> _Token:
        realm = self._checked_realm(base, challenge.parameters.get("realm", ""))
        service = challenge.parameters.get("service")
        wanted = scopes or tuple(challenge.parameters.get("scope", "").split())
        fields = [("service", service)] if service else []
        fields += [("scope", scope) for scope in wanted]
        if self._refresh is not None:
            answer = self._exchange(realm, service or "", wanted)
        else:
            headers = {"Authorization": f"Basic {self._known.encoded}"} if self._known else {}
            if self._known:
                fields.append(("account", self._known.user))
            parts = urlsplit(realm)
            query = urlencode([*parse_qsl(parts.query), *fields])
            url = parts._replace(query=query, fragment="").geturl()
            answer = self._transport.request("GET", url, headers=headers, limit=_TOKEN_ANSWER)
        return self._read(answer)

    def _exchange(self, realm: str, service: str, scopes: Iterable[str]) -> Answer:
        """Trade an identity token for an access token, as OAuth 2 refreshes one."""
        form = {
            "grant_type": "refresh_token",
            "client_id": "pycontainers",
            "service": service,
            "scope": " ".join(scopes),
            "refresh_token": self._refresh or "",
        }
        return self._transport.request(
            "POST",
            realm,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode(form).encode(),
            limit=_TOKEN_ANSWER,
        )

    def _read(self, answer: Answer) -> _Token:
        if answer.status in (400, 401, 403):
            raise self.refused()
        place = urlsplit(answer.url).netloc
        if answer.status != 200:
            raise RegistryError(
                f"the token server {place} answered {answer.status}", status=answer.status
            )
        try:
            document = json.loads(answer.data)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise RegistryError(f"the token server {place} answered with no JSON object")
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not _SENDABLE.fullmatch(token):
            raise RegistryError(f"the token server {place} answered without a token")
        life = document.get("expires_in")
        if isinstance(life, bool) or not isinstance(life, (int, float)) or not life > 0:
            life = _TOKEN_LIFE
        renewed = document.get("refresh_token")
        if isinstance(renewed, str) and _SENDABLE.fullmatch(renewed) and self._refresh:
            self._refresh = renewed
        life = min(life, _LONGEST_LIFE)
        return _Token(f"Bearer {token}", time.monotonic() + life - min(_MARGIN, life / 2))

    def _checked_realm(self, base: str, realm: str) -> str:
        host = self._registry
        try:
            parts, registry = urlsplit(realm), urlsplit(base)
            fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            fine = False
        if not fine or parts.username is not None or not realm.isprintable():
            raise AuthenticationError(f"{host} names {realm[:200]!r} as its token server")
        if parts.scheme == "http" and (registry.scheme == "https" or not _same(parts, registry)):
            raise AuthenticationError(
                f"{host} wants its token fetched in plain http from {parts.netloc}",
                hint="nothing was sent there; a token server must be reached by https",
            )
        return realm


def _same(one: SplitResult, other: SplitResult) -> bool:
    first, second = one.hostname, other.hostname
    return first == second or (is_loopback(first or "") and is_loopback(second or ""))
