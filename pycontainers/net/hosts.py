"""What a container reads to find names: the texts of its /etc/hosts and /etc/resolv.conf.

hosts(5), resolv.conf(5).
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

# What systemd-resolved asks, where the host's own file names only its stub (systemd-resolved(8)).
_UPSTREAM: Final = Path("/run/systemd/resolve/resolv.conf")
_RESOLV_CONF: Final = Path("/etc/resolv.conf")
_LAST_RESORT: Final = ("8.8.8.8", "8.8.4.4")  # as Docker
_LONGEST: Final = 400  # letters of names in a line: musl reads 511 bytes of it, address included
_LOCAL: Final = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def hosts(entries: Iterable[tuple[str, Sequence[str]]]) -> str:
    r"""Give an /etc/hosts of (address, names) beside those of the loopback.

    >>> hosts([("172.18.0.2", ["web"])]).splitlines()[-1]
    '172.18.0.2\tweb'
    """
    return _LOCAL + lines(entries)


def lines(entries: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Give the lines of (address, names) as hosts(5) has them, none too long to be read."""
    return "".join(line for address, names in entries for line in _lines(address, names))


def _lines(address: str, names: Sequence[str]) -> Iterator[str]:
    line = ""
    for name in names:
        if line and len(line) + len(name) > _LONGEST:
            yield f"{address}\t{line}\n"
            line = ""
        line = f"{line} {name}" if line else name
    yield f"{address}\t{line}\n"


def revised(old: str, new: str) -> str:
    r"""Give the lines of `new`, those that `old` has too where they are in it.

    A program may read the file while it is written over, and then sees some of both: it finds each
    line that stays whenever it looks.  Lines that go become empty ones, which new lines replace.

    >>> revised("a\nbb\nc\n", "a\nd\nc\neee\n")
    'a\nd\n\nc\neee\n'
    """
    coming = dict.fromkeys(new.splitlines(keepends=True))
    text = "".join(
        line if coming.pop(line, line) is None else "\n" * len(line)
        for line in old.splitlines(keepends=True)
    )
    for line in coming:
        end_of_last = text.find("\n" * (len(line) + 1))
        if end_of_last < 0:
            text += line
        else:
            text = text[: end_of_last + 1] + line + text[end_of_last + 1 + len(line) :]
    return text.rstrip("\n") + "\n"


def resolv_conf(
    servers: Sequence[str], search: Sequence[str] = (), options: Sequence[str] = ()
) -> str:
    """Give an /etc/resolv.conf: the host's own, with these of each kind, if any, instead of its.

    The host's loopback can't be reached from a container: servers there are left out.  "." among
    the domains to `search` stands for none.
    """
    kept, own = _usable(_RESOLV_CONF)
    if not own and _UPSTREAM.exists():
        kept, own = _usable(_UPSTREAM)
    lines = [f"nameserver {server}" for server in servers or own or _LAST_RESORT]
    if search:
        kept = [line for line in kept if line.startswith("options")]
        domains = [domain for domain in search if domain != "."]
        kept += [f"search {' '.join(domains)}"] if domains else []
    if options:
        kept = [line for line in kept if not line.startswith("options")]
        kept.append(f"options {' '.join(options)}")
    return "\n".join([*lines, *kept, ""])


def _usable(path: Path) -> tuple[list[str], list[str]]:
    """Give the search and options lines of a file, and its servers but for those at loopback."""
    try:
        facts = path.stat()
        kept, servers = _parsed(path, (facts.st_ino, facts.st_size, facts.st_mtime_ns))
    except OSError:
        return [], []
    return [*kept], [*servers]


@functools.lru_cache(maxsize=4)
def _parsed(path: Path, _version: tuple[int, ...]) -> tuple[list[str], list[str]]:
    words = [line.split() for line in path.read_text(errors="replace").splitlines()]
    kept = [" ".join(line) for line in words if line and line[0] in ("search", "domain", "options")]
    named = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]
    return kept, [server for server in named if _is_reachable(server)]


def _is_reachable(server: str) -> bool:
    try:
        address = ipaddress.ip_address(server.partition("%")[0])
    except ValueError:
        return False
    return not address.is_loopback and not address.is_link_local
