"""Connections that the firewall keeps track of, and what it has decided for them (ctnetlink).

Where a connection leads is decided for its first packet.  A flow of UDP between the same addresses
and ports is one connection for as long as it goes on, whatever the rules have become meanwhile.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, Final

from pycontainers.kernel.netlink import Message, attribute, attributes, nested

if TYPE_CHECKING:
    from collections.abc import Collection

    from pycontainers.kernel.netlink import Netlink

_CTNETLINK: Final = 1 << 8  # the upper half of a message's type
_GET: Final = _CTNETLINK | 1
_DELETE: Final = _CTNETLINK | 2

_TUPLE_ORIGINAL: Final = 1
_ID: Final = 12
_ZONE: Final = 18
_FILTER: Final = 25
_FILTER_ORIGINAL: Final = 1
_FILTER_REPLY: Final = 2
_BY_PROTOCOL: Final = 0x08
_BY_PORT: Final = 0x20
_TUPLE_IP: Final = 1
_TUPLE_PROTOCOL: Final = 2
_DESTINATION4: Final = 2
_DESTINATION6: Final = 4
_PROTOCOL: Final = 1
_PORT: Final = 3

_HEAD: Final = struct.Struct("=BBH")  # struct nfgenmsg: family, version, a number for batches
_UDP: Final = bytes((socket.IPPROTO_UDP,))


def forget_udp(netlink: Netlink, targets: Collection[tuple[str, int]]) -> None:
    """Forget the flows of UDP to these addresses and ports: their next packets begin new ones.

    `netlink` is one of NETLINK_NETFILTER.  It takes about 10 ms for each version of IP, mostly for
    looking at the whole of a large table.  Raises KernelError.
    """
    messages: list[Message] = []
    for family, length in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
        every = ((_packed(address), struct.pack(">H", port)) for address, port in targets)
        wanted = {(address, port) for address, port in every if len(address) == length}
        if wanted:
            messages += _forgetting(netlink, family, wanted)
    netlink.ask(messages)


def _forgetting(netlink: Netlink, family: int, wanted: set[tuple[bytes, bytes]]) -> list[Message]:
    """Give the messages that delete what there is of one version of IP."""
    messages = []
    query = _HEAD.pack(family, 0, 0) + _matching({port for _, port in wanted})
    for found in netlink.dump(_GET, query, "list the flows of UDP"):
        known = attributes(found[_HEAD.size :])
        original = attributes(known[_TUPLE_ORIGINAL])
        ends, about = attributes(original[_TUPLE_IP]), attributes(original[_TUPLE_PROTOCOL])
        target = ends.get(_DESTINATION4, ends.get(_DESTINATION6))
        # Kernels < 5.8 give everything, as they know no filter.
        if about[_PROTOCOL] == _UDP and (target, about[_PORT]) in wanted:
            same = (attribute(kind, known[kind]) for kind in (_ID, _ZONE) if kind in known)
            body = found[: _HEAD.size] + nested(_TUPLE_ORIGINAL, known[_TUPLE_ORIGINAL])
            messages.append(
                Message(_DELETE, 0, body + b"".join(same), "forget a flow of UDP", (errno.ENOENT,))
            )
    return messages


def _matching(ports: set[bytes]) -> bytes:
    """Ask for the flows of UDP only, and to one port only if there is but one."""
    protocol, flags = attribute(_PROTOCOL, _UDP), _BY_PROTOCOL
    if len(ports) == 1:
        protocol += attribute(_PORT, *ports)
        flags |= _BY_PORT
    by = attribute(_FILTER_ORIGINAL, flags) + attribute(_FILTER_REPLY, 0)
    return nested(_TUPLE_ORIGINAL, nested(_TUPLE_PROTOCOL, protocol)) + nested(_FILTER, by)


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
