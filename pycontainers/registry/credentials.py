"""Who we are to a registry: our own file, other tools' files, and their helper programs.

Our own file is <data root>/auth.json in the form of containers-auth.json(5).  The others are read
and never written, in this order: $REGISTRY_AUTH_FILE, $XDG_RUNTIME_DIR/containers/auth.json,
~/.config/containers/auth.json, $DOCKER_CONFIG/config.json or ~/.docker/config.json.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.errors import AuthenticationError, InvalidArgument, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DOCKER_HUB: Final = "docker.io"
_DOCKER_HUB_KEY: Final = "https://index.docker.io/v1/"
_DOCKER_HUB_HOSTS: Final = ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
_LARGEST_FILE: Final = 1 << 20
_LARGEST_OUTPUT: Final = 1 << 16
_HELPER_TIMEOUT: Final = 30  # seconds
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_IDENTITY: Final = "<token>"  # the user name under which helpers keep identity tokens


@attrs.frozen
class Credentials:
    """A user with a password, or with an identity token that buys access tokens."""

    user: str
    password: str = attrs.field(repr=False)
    identity_token: str | None = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        if ":" in self.user or not (self.user + self.password).isprintable():
            raise InvalidArgument(
                "credentials: a user has no colon, and neither it nor a password control characters"
            )

    @property
    def encoded(self) -> str:
        """User and password as HTTP's Basic scheme and the files have them."""
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class CredentialStore:
    """The credentials in and around one data root; `path` is our own file.

    >>> CredentialStore("/var/lib/pycontainers/auth.json").find("docker.io")     # doctest: +SKIP
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def find(self, registry: str, repository: str = "") -> Credentials | None:
        """Give the credentials for a repository: the most specific of the first file with any.

        Raises AuthenticationError when a helper fails, StoreError on a file that can't be used.
        """
        candidates = _candidates(registry, repository)
        for path in (self.path, *_foreign_files()):
            document = _load(path)
            helper = _helper_of(document, registry)
            if helper is not None:
                found = _ask_helper(helper, _server(registry))
                if found is not None:
                    return found
            entries = {_key(name): entry for name, entry in _table(document, "auths").items()}
            for name in candidates:
                if (found := _decoded(entries.get(name), path)) is not None:
                    return found
            default = document.get("credsStore")
            if helper is None and isinstance(default, str) and default and _installed(default):
                found = _ask_helper(default, _server(registry))
                if found is not None:
                    return found
        return None

    def store(self, registry: str, credentials: Credentials) -> None:
        """Keep credentials: with the helper that is set up for the registry, or in our own file.

        After it returns `find` gives them, in every process.  Raises StoreError and
        AuthenticationError.
        """
        helper = self._chosen_helper(registry)
        if helper is not None:
            request = {
                "ServerURL": _server(registry),
                "Username": _IDENTITY if credentials.identity_token else credentials.user,
                "Secret": credentials.identity_token or credentials.password,
            }
            _run_helper(helper, "store", json.dumps(request))
            return
        entry = {"auth": credentials.encoded}
        if credentials.identity_token:
            entry["identitytoken"] = credentials.identity_token
        with self._changing() as entries:
            entries[_key(registry)] = entry

    def erase(self, registry: str) -> None:
        """Forget what `store` kept for a registry; unknown already is fine."""
        helper = self._chosen_helper(registry)
        if helper is not None:
            _run_helper(helper, "erase", _server(registry))
        if self.path.exists():
            with self._changing() as entries:
                entries.pop(_key(registry), None)

    def _chosen_helper(self, registry: str) -> str | None:
        for path in (self.path, *_foreign_files()):
            document = _load(path)
            helper = _helper_of(document, registry)
            if helper is not None:
                return helper
            default = document.get("credsStore")
            if isinstance(default, str) and default and _installed(default):
                return default
        return None

    @contextmanager
    def _changing(self) -> Iterator[dict[str, object]]:
        """Give the entries of our own file to change; the file is replaced at the end, or kept."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock_fd = os.open(
                self.path.with_name(f"{self.path.name}.lock"),
                os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
                0o600,
            )
        except OSError as error:
            raise _unusable(self.path, error) from error
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX)
            document = _load(self.path)
            entries = _table(document, "auths")
            yield entries
            document["auths"] = entries
            _replace(self.path, json.dumps(document, indent=2).encode())
        finally:
            os.close(lock_fd)


def _replace(path: Path, data: bytes) -> None:
    making = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        making.unlink(missing_ok=True)
        fd = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(fd)
            making.rename(path)
        except BaseException:
            making.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unusable(path, error) from error


def _foreign_files() -> Iterator[Path]:
    environment = os.environ
    if given := environment.get("REGISTRY_AUTH_FILE"):
        yield Path(given)
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "containers/auth.json")
    home = environment.get("HOME")
    if config := environment.get("XDG_CONFIG_HOME") or (home and f"{home}/.config"):
        yield Path(config, "containers/auth.json")
    if docker := environment.get("DOCKER_CONFIG") or (home and f"{home}/.docker"):
        yield Path(docker, "config.json")


def _load(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        document = json.loads(data) if len(data) <= _LARGEST_FILE else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise StoreError(
            f"cannot use the credentials in {path}: not a JSON object of 1 MiB or less"
        )
    return document


def _table(document: Mapping[str, object], name: str) -> dict[str, object]:
    table = document.get(name)
    return dict(table) if isinstance(table, dict) else {}


def _key(name: str) -> str:
    """Give the one form of the names under which tools keep a registry's credentials."""
    name = re.sub(r"^https?://", "", name).rstrip("/")
    name = re.sub(r"/v[12]$", "", name)
    host, slash, path = name.partition("/")
    host = host.lower()
    return (DOCKER_HUB if host in _DOCKER_HUB_HOSTS else host) + slash + path


def _candidates(registry: str, repository: str) -> list[str]:
    full = f"{_key(registry)}/{repository}".rstrip("/")
    names = [full]
    while "/" in names[-1]:
        names.append(names[-1].rpartition("/")[0])
    return names


def _server(registry: str) -> str:
    return _DOCKER_HUB_KEY if _key(registry) == DOCKER_HUB else _key(registry)


def _decoded(entry: object, path: Path) -> Credentials | None:
    if not isinstance(entry, dict):
        return None
    identity = entry.get("identitytoken")
    text = entry.get("auth")
    user = password = ""
    if isinstance(text, str) and text:
        try:
            pair = base64.b64decode(text, validate=True).decode().rstrip("\0")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise StoreError(f"cannot use the credentials in {path}: bad base64") from error
        user, _, password = pair.partition(":")
    try:
        if isinstance(identity, str) and identity:
            return Credentials(user or _IDENTITY, "", identity)
        return Credentials(user, password) if user else None
    except InvalidArgument as error:
        raise StoreError(f"cannot use the credentials in {path}: {error}") from error


def _helper_of(document: Mapping[str, object], registry: str) -> str | None:
    for name, helper in _table(document, "credHelpers").items():
        if _key(name) == _key(registry) and isinstance(helper, str) and helper:
            return helper
    return None


def _installed(helper: str) -> bool:
    return shutil.which(f"docker-credential-{helper}") is not None


def _ask_helper(helper: str, server: str) -> Credentials | None:
    output = _run_helper(helper, "get", server)
    if output is None:
        return None
    try:
        document = json.loads(output)
        user, secret = document["Username"], document["Secret"]
    except (ValueError, RecursionError, KeyError, TypeError):
        user = secret = None
    if not isinstance(user, str) or not isinstance(secret, str):
        raise AuthenticationError(f"docker-credential-{helper} answered nonsense for {server}")
    if not user and not secret:
        return None
    return Credentials(user, "", secret) if user == _IDENTITY else Credentials(user, secret)


def _run_helper(helper: str, action: str, request: str) -> str | None:
    """Run a helper as docker-credential-helpers has it: the request on stdin, JSON on stdout.

    None where it knows no credentials.
    """
    program = f"docker-credential-{helper}"
    path = shutil.which(program) if _HELPER_NAME.fullmatch(helper) else None
    if path is None:
        raise AuthenticationError(
            f"cannot {action} credentials with {program}: no such program",
            hint="install it, or take it out of credHelpers in the file that names it",
        )
    with subprocess.Popen(
        ["timeout", "-k", "5", str(_HELPER_TIMEOUT), path, action],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(request.encode())
            process.stdin.close()
        except BrokenPipeError:
            pass
        output = process.stdout.read(_LARGEST_OUTPUT + 1)
        if len(output) > _LARGEST_OUTPUT:
            process.kill()
            raise AuthenticationError(f"{program} answered with more than {_LARGEST_OUTPUT} bytes")
        status = process.wait()
    text = output.decode(errors="replace").strip()
    if status == 0:
        return text
    if "credentials not found" in text:  # the protocol has no other way to say so
        return None
    raise AuthenticationError(
        f"cannot {action} credentials with {program}: it ended with {status}: {text[:200]!r}"
    )


def _unusable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"cannot use the credentials in {path}: {error.strerror}")
