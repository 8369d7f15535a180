"""A file at a URL, downloaded with a bound and checked against a digest."""

from __future__ import annotations

import email.utils
import hashlib
import http.client
import os
import posixpath
import threading
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Final

from pycontainers.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path

    from pycontainers.build.cancelling import Cancellation

_PATIENCE: Final = 60.0  # seconds without a byte
_LARGEST: Final = 64 << 30
_CHUNK: Final = 1 << 20
_LOOK_AGAIN: Final = 0.05
_ALGORITHMS: Final = ("sha256", "sha384", "sha512")


def fetch(url: str, directory: Path, checksum: str, cancellation: Cancellation) -> str:
    """Download a file into a directory, mode 0600, and give its name; raises BuildError.

    A build that is cancelled does not wait for a server that says nothing.
    """
    name: Future[str] = Future()

    def work() -> None:
        try:
            name.set_result(_fetch(url, directory, checksum, cancellation))
        except BaseException as error:
            name.set_exception(error)

    threading.Thread(target=work, name="pycontainers-fetch", daemon=True).start()
    while not wait([name], _LOOK_AGAIN).done:
        cancellation.check()
    return name.result()


def _fetch(url: str, directory: Path, checksum: str, cancellation: Cancellation) -> str:
    algorithm, _, wanted = checksum.partition(":")
    if checksum and (algorithm not in _ALGORITHMS or not wanted):
        raise BuildError(f"the checksum {checksum!r} is not of the form sha256:…", near=checksum)
    hasher = hashlib.new(algorithm if checksum else "sha256")
    name = posixpath.basename(urllib.parse.unquote(urllib.parse.urlsplit(url).path))
    if name in ("", ".", "..") or "\0" in name:
        name = "download"
    path = directory / name
    try:
        with _opener().open(url, timeout=_PATIENCE) as answer, path.open("wb") as file:
            total = 0
            while data := answer.read1(_CHUNK):
                cancellation.check()
                total += len(data)
                if total > _LARGEST:
                    raise BuildError(f"{url} has more than {_LARGEST} bytes", near=url)
                hasher.update(data)
                file.write(data)
            if answer.length:
                raise BuildError(f"{url} ended {answer.length} bytes too early", near=url)
            modified = answer.headers.get("Last-Modified")
    except urllib.error.HTTPError as error:
        error.close()
        raise BuildError(f"cannot fetch {url}: {error.code} {error.reason}", near=url) from error
    except (OSError, http.client.HTTPException, urllib.error.URLError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise BuildError(f"cannot fetch {url}: {reason}", near=url) from error
    if checksum and hasher.hexdigest() != wanted:
        raise BuildError(
            f"{url} has the digest {algorithm}:{hasher.hexdigest()}, not {checksum}", near=checksum
        )
    path.chmod(0o600)
    when = _time(modified)
    os.utime(path, (when, when))
    return name


def _opener() -> urllib.request.OpenerDirector:
    """Give what opens URLs of HTTP and nothing else, wherever a server redirects to."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _time(modified: str | None) -> float:
    """Give the time that a server tells, 0 for none that can be read."""
    try:
        when = email.utils.parsedate_to_datetime(modified or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, when)
