"""Registries to test against: an open one, one with passwords and TLS, one with a token server."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pycontainers.registry import transport
from tests.registry.servers import Authority, Request, Server, docker_registry
from tests.registry.tokens import PASSWORD, USER, TokenServer

Serve = Callable[..., Server]


@pytest.fixture(autouse=True)
def _nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials and no proxies of whoever runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    names = "REGISTRY_AUTH_FILE XDG_RUNTIME_DIR XDG_CONFIG_HOME DOCKER_CONFIG".split()
    proxies = "http_proxy https_proxy all_proxy no_proxy".split()
    for name in (*names, *proxies, *(name.upper() for name in proxies)):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts of a request that follow each other ten times as fast."""
    monkeypatch.setattr(transport, "_FIRST_WAIT", transport._FIRST_WAIT / 10)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A function that starts a server which answers as the function given to it does."""
    started: list[Server] = []

    def start(respond: Callable[[Request], object], tls: ssl.SSLContext | None = None) -> Server:
        started.append(Server(respond, tls))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority, and a certificate for 127.0.0.1, localhost and registry.test."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry for everybody, in plain http."""
    with docker_registry(tmp_path_factory.mktemp("open")) as host:
        yield host


@pytest.fixture(scope="session")
def secure_registry(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[str]:
    """A registry with TLS and a file of passwords."""
    directory = tmp_path_factory.mktemp("secure")
    users = directory / "users"
    subprocess.run(
        ["htpasswd", "-Bbc", "-C", "4", str(users), USER, PASSWORD], check=True, capture_output=True
    )
    http = f"  tls:\n    certificate: {authority.certificate}\n    key: {authority.key}\n"
    auth = f"  htpasswd:\n    realm: test\n    path: {users}\n"
    with docker_registry(directory, http=http, auth=auth) as host:
        yield host


@pytest.fixture(scope="session")
def _token_parts(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[tuple[str, TokenServer]]:
    tokens = TokenServer(authority.key, authority.certificate)
    server = Server(tokens.respond, None)
    auth = (
        f"  token:\n    realm: http://{server.host}/token\n    service: test-service\n"
        f"    issuer: test-issuer\n    rootcertbundle: {authority.ca}\n"
    )
    with docker_registry(tmp_path_factory.mktemp("token"), auth=auth) as host:
        yield host, tokens
    server.close()


@pytest.fixture
def token_registry(_token_parts: tuple[str, TokenServer]) -> str:
    """A registry in plain http that wants tokens of `token_server`."""
    return _token_parts[0]


@pytest.fixture
def token_server(_token_parts: tuple[str, TokenServer]) -> TokenServer:
    """What signs the tokens for `token_registry`, with nothing asked yet."""
    tokens = _token_parts[1]
    tokens.life = 300
    tokens.asked.clear()
    tokens.users.clear()
    return tokens
