"""Whom we believe to be a registry: certificates of the system, of the caller and of certs.d."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Final

from pycontainers.errors import InvalidArgument

DIRECTORIES: Final = ("/etc/docker/certs.d", "/etc/containers/certs.d")


def tls_context(
    netloc: str, ca: str | os.PathLike[str] | None, *, verified: bool
) -> ssl.SSLContext:
    """Give what TLS with the host and port `netloc` needs; `ca` is trusted beside the system's.

    As for Docker, <directory>/<host>[:port]/*.crt are trusted for that host, and *.cert with *.key
    shown to it (containers-certs.d(5)).  Raises InvalidArgument where a file can't be used.
    """
    context = ssl.create_default_context()
    try:
        if ca is not None:
            context.load_verify_locations(cafile=os.fspath(ca))
        for directory in DIRECTORIES:
            _load(context, Path(directory, netloc))
    except OSError as error:  # ssl.SSLError is one
        raise InvalidArgument(
            f"cannot use the certificates for {netloc}: {error}",
            hint="they are those of ca= and of the directories " + ", ".join(DIRECTORIES),
        ) from error
    if not verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load(context: ssl.SSLContext, directory: Path) -> None:
    for path in sorted(directory.glob("*.crt")):
        context.load_verify_locations(cafile=path)
    for path in sorted(directory.glob("*.cert")):
        context.load_cert_chain(path, path.with_suffix(".key"))
