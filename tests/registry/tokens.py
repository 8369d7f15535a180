"""A token server as registries have one: JWTs signed with the key that docker-registry trusts."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.registry.servers import Request

USER, PASSWORD, IDENTITY = "anna", "s3cret", "identity-1"


class TokenServer:
    """Answers requests for tokens; `anonymous` may pull from repositories below public/."""

    def __init__(self, key: Path, certificate: Path) -> None:
        self.life: int | None = 300
        self.asked: list[dict[str, list[str]]] = []
        self.users: list[str] = []
        self._key = key
        pem = certificate.read_text().split("-----")[2]
        self._chain = "".join(pem.split())

    def respond(self, request: Request) -> None:
        if request.method == "POST":
            fields = parse_qs(request.body.decode())
            user = USER if fields.get("refresh_token") == [IDENTITY] else ""
            if not user:
                return request.answer(401)
        else:
            fields = parse_qs(urlsplit(request.path).query)
            user, good = self._user(request.headers.get("authorization", ""))
            if not good:
                return request.answer(401)
        self.asked.append(fields)
        self.users.append(user)
        scopes = [one for field in fields.get("scope", []) for one in field.split(" ")]
        token = self._token(user, [self._granted(user, scope) for scope in scopes])
        document = {"access_token" if request.method == "POST" else "token": token}
        if self.life is not None:
            document["expires_in"] = self.life  # type: ignore[assignment]
        request.answer(200, json.dumps(document).encode())

    def _user(self, header: str) -> tuple[str, bool]:
        if not header:
            return "", True
        pair = base64.b64decode(header.removeprefix("Basic ")).decode()
        return USER, pair == f"{USER}:{PASSWORD}"

    def _granted(self, user: str, scope: str) -> dict[str, object]:
        kind, name, actions = scope.split(":")
        allowed = set(actions.split(","))
        if not user:
            allowed &= {"pull"} if name.startswith("public/") else set()
        return {"type": kind, "name": name, "actions": sorted(allowed)}

    def _token(self, user: str, access: list[dict[str, object]]) -> str:
        now = int(time.time())
        head = {"typ": "JWT", "alg": "ES256", "x5c": [self._chain]}
        claims = {
            "iss": "test-issuer",
            "sub": user,
            "aud": "test-service",
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now - 10,
            "jti": hashlib.sha256(str(time.time_ns()).encode()).hexdigest(),
            "access": access,
        }
        signed = f"{_encoded(json.dumps(head).encode())}.{_encoded(json.dumps(claims).encode())}"
        return f"{signed}.{_encoded(self._signature(signed.encode()))}"

    def _signature(self, data: bytes) -> bytes:
        """Give r and s, which openssl wraps in ASN.1."""
        der = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self._key)],
            input=data,
            capture_output=True,
            check=True,
        ).stdout
        first = der[4 : 4 + der[3]]
        second = der[4 + der[3] + 2 :]
        return b"".join(int.from_bytes(one, "big").to_bytes(32, "big") for one in (first, second))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
