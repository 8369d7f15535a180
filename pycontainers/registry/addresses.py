"""Addresses: what an URL is bound to, whether it is this machine, and which proxy leads there."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from pycontainers.errors import InvalidArgument, RegistryError

_HUB = "docker.io"
_HUB_HOST = "registry-1.docker.io"


def is_loopback(host: str) -> bool:
    """Tell whether a host, with or without a port, is this machine by its very name.

    >>> is_loopback("127.0.0.1:5000"), is_loopback("127.0.0.1.example.org")
    (True, False)
    """
    name = urlsplit(f"//{host}").hostname or ""
    if name in ("localhost", "::1"):
        return True
    numbers = name.split(".")
    return len(numbers) == 4 and numbers[0] == "127" and all(part.isdigit() for part in numbers)


def origin(url: str) -> tuple[str, str, int]:
    """Give scheme, host and port of an address: what credentials are bound to."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _port(parts.scheme)


def place(url: str) -> str:
    """Give an address as it is shown: without its query, which may hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def followed(url: str, location: str, *, insecure: bool) -> str:
    """Give where a Location header leads from `url`; raises RegistryError where it may not."""
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fine = False
    if not fine or parts.username is not None or not location.isprintable():
        raise RegistryError(f"{place(url)} leads to {location[:200]!r}, which is no address")
    if parts.scheme == "http" and urlsplit(url).scheme == "https" and not insecure:
        raise RegistryError(
            f"{place(url)} leads from https to plain http at {place(target)}",
            hint="the registry's own address is probably set wrong; insecure=True allows it",
        )
    return target


def registry_address(registry: str) -> tuple[str | None, str, str]:
    """Give the scheme that a registry's name asks for, if any, its host, and its path.

    Docker Hub is known by another name than its host's.  Raises InvalidArgument.

    >>> registry_address("localhost:5000/mirror")
    (None, 'localhost:5000', '/mirror')
    """
    scheme, mark, rest = registry.partition("://")
    if not mark:
        scheme, rest = "", registry
    host, slash, path = rest.rstrip("/").partition("/")
    try:
        parts = urlsplit(f"//{host}")
        good = parts.hostname and parts.port != 0 and "@" not in host and registry.isascii()
    except ValueError:
        good = False
    if not good or scheme not in ("", "http", "https") or any(c in registry for c in " \t\r\n?#"):
        raise InvalidArgument(f"{registry!r} is not a registry as host[:port][/path]")
    return scheme or None, _HUB_HOST if host == _HUB else host, slash + path


def proxy_for(url: str) -> str | None:
    """Give the proxy of HTTP_PROXY or HTTPS_PROXY for an address, if NO_PROXY does not except it.

    Loopback is never reached by a proxy.
    """
    parts = urlsplit(url)
    proxies = getproxies()  # on Linux: the environment's
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or is_loopback(parts.netloc) or proxy_bypass(parts.netloc):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _port(scheme: str) -> int:
    return 443 if scheme == "https" else 80
