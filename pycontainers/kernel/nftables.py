"""The firewall's tables and the elements of their sets (nfnetlink's nf_tables; nft(8)).

What changes something gives messages, for `change`, which carries out all of them or none.  Numbers
are in network byte order here, other than in the rest of netlink.  How sets, chains and rules are
made is in `nftrules`, as whoever only enters elements need not load it.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from pycontainers.errors import KernelError
from pycontainers.kernel.netlink import (
    NLM_F_CREATE,
    Message,
    attribute,
    attributes,
    each_attribute,
    nested,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pycontainers.kernel.netlink import Netlink

INET: Final = 1
IPV4: Final = 2
BRIDGE: Final = 7
IPV6: Final = 10

NFTABLES: Final = 10 << 8  # the upper half of a message's type
_BATCH_BEGIN: Final = 0x10
_BATCH_END: Final = 0x11
_NEWTABLE: Final = NFTABLES | 0
_GETTABLE: Final = NFTABLES | 1
_DELTABLE: Final = NFTABLES | 2
_GETCHAIN: Final = NFTABLES | 4
_GETRULE: Final = NFTABLES | 7
_NEWSETELEM: Final = NFTABLES | 12
_GETSETELEM: Final = NFTABLES | 13
_DELSETELEM: Final = NFTABLES | 14
_GETGEN: Final = NFTABLES | 16
_DESTROYSETELEM: Final = NFTABLES | 30

_LIST_ELEM: Final = 1
_TABLE_NAME: Final = 1
_RULE_TABLE: Final = 1
_CHAIN_TABLE: Final = 1
_CHAIN_NAME: Final = 3
_CHAIN_HOOK: Final = 4
_CHAIN_POLICY: Final = 5
_HOOK_NUMBER: Final = 1
_ELEMENTS_TABLE: Final = 1
_ELEMENTS_SET: Final = 2
_ELEMENTS: Final = 3
_ELEMENT_KEY: Final = 1
_ELEMENT_DATA: Final = 2
_ELEMENT_FLAGS: Final = 3
_INTERVAL_END: Final = 1
_GENERATION: Final = 1  # of the answer, and of a batch that depends on it
_VALUE: Final = 1

_HEAD: Final = struct.Struct("=BBH")  # struct nfgenmsg: family, version, a number for batches
_NUMBER: Final = struct.Struct(">I")
_PROTOCOLS: Final = {"tcp": 6, "udp": 17, "sctp": 132}
_FAMILIES: Final = {INET: "inet", IPV4: "ip", IPV6: "ip6", BRIDGE: "bridge"}


class Table(NamedTuple):
    """A table: the family of its packets, and its name; str() gives nft(8)'s words for it."""

    family: int
    name: str

    def __str__(self) -> str:
        return f"table {_FAMILIES.get(self.family, self.family)} {self.name}"


class Chain(NamedTuple):
    """A chain; `hook` is the number of the hook at which packets enter it, None for all others.

    `drops` tells whether its policy is to drop what no rule has decided on.
    """

    table: Table
    name: str
    hook: int | None
    drops: bool


def change(netlink: Netlink, messages: list[Message]) -> None:
    """Make all of these changes at once, or none; raises KernelError.

    Destroying elements whose set or table is missing, and destroying any on kernels < 6.3, which
    can't be told that they may be missing, is done first and element by element.
    """
    destroying = [message for message in messages if message.kind == _DESTROYSETELEM]
    try:
        netlink.change(_BEGIN, messages, _END)
        return
    except KernelError as error:
        if not destroying or error.errno not in (errno.ENOENT, errno.EINVAL):
            raise
    for message in destroying:
        _delete(netlink, message)
    netlink.change(_BEGIN, [message for message in messages if message not in destroying], _END)


def generation(netlink: Netlink) -> int:
    """Give the number of changes that anybody has made to the firewall; raises KernelError."""
    body = netlink.get(Message(_GETGEN, 0, head(0), "ask for the firewall's generation"))
    known = attributes((body or b"")[_HEAD.size :])
    return int(_NUMBER.unpack(known[_GENERATION])[0])


def change_unless(netlink: Netlink, since: int, messages: list[Message]) -> bool:
    """Make all of these changes, or none where there has been a change since a generation.

    Tells whether they were made.  Raises KernelError.
    """
    begin = _BEGIN._replace(body=_BEGIN.body + attribute(_GENERATION, number(since)))
    try:
        netlink.change(begin, messages, _END)
    except KernelError as error:
        if error.errno != errno.ERESTART:
            raise
        return False
    return True


def _delete(netlink: Netlink, message: Message) -> None:
    """Delete each element of a message; it may be missing, and so may its set and its table."""
    known = attributes(message.body[_HEAD.size :])
    *before, _ = (attribute(kind, data) for kind, data in known.items())
    for _, element in each_attribute(known[_ELEMENTS]):
        single = nested(_ELEMENTS, nested(_LIST_ELEM, element))
        body = message.body[: _HEAD.size] + b"".join(before) + single
        try:
            netlink.change(_BEGIN, [message._replace(kind=_DELSETELEM, body=body)], _END)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise


def add_elements(table: Table, name: str, elements: Iterable[tuple[bytes, bytes]]) -> Message:
    """Enter elements into a set, each a key without data, or into a map, each a key and its data.

    The same there already is fine; a key of a map with other data fails with EBUSY or EEXIST.
    """
    packed = [_element(key, data) for key, data in elements]
    return _elements(_NEWSETELEM, table, name, packed)


def destroy_elements(table: Table, name: str, keys: Iterable[bytes]) -> Message:
    """Take elements out of a set or map; missing is fine."""
    return _elements(_DESTROYSETELEM, table, name, [_element(key, b"") for key in keys])


def delete_elements(table: Table, name: str, keys: Iterable[bytes]) -> Message:
    """Take elements out of a set or map; ENOENT where one is missing."""
    return _elements(_DELSETELEM, table, name, [_element(key, b"") for key in keys])


def add_networks(table: Table, name: str, networks: Sequence[str]) -> Message:
    """Enter networks, as "172.18.0.0/16", into a set of intervals; the same already is fine."""
    return _elements(_NEWSETELEM, table, name, _intervals(networks))


def destroy_networks(table: Table, name: str, networks: Sequence[str]) -> Message:
    """Take networks out of a set of intervals; missing is fine."""
    return _elements(_DESTROYSETELEM, table, name, _intervals(networks))


def elements(netlink: Netlink, table: Table, name: str) -> list[tuple[bytes, bytes]]:
    """Give the keys and data of a set or map; raises KernelError, ENOENT where there is none."""
    body = (
        head(table.family) + attribute(_ELEMENTS_TABLE, table.name) + attribute(_ELEMENTS_SET, name)
    )
    found: list[tuple[bytes, bytes]] = []
    for part in netlink.dump(_GETSETELEM, body, f"list the elements of {name} in {table}"):
        found += _unpacked(attributes(part[_HEAD.size :]).get(_ELEMENTS, b""))
    return found


def has_element(netlink: Netlink, table: Table, name: str, key: bytes) -> bool:
    """Tell whether there is a set or map with an element of this key; raises KernelError."""
    message = _elements(_GETSETELEM, table, name, [_element(key, b"")])
    what = f"look for an element of {name} in {table}"
    return netlink.get(message._replace(what=what, fine=(errno.ENOENT,))) is not None


def copied_elements(netlink: Netlink, table: Table, name: str) -> list[Message]:
    """Give what enters the elements that a set or map has now into one of that name.

    Without such a set there are none.  Raises KernelError.
    """
    start = (
        head(table.family) + attribute(_ELEMENTS_TABLE, table.name) + attribute(_ELEMENTS_SET, name)
    )
    what = f"copy the elements of {name} in {table}"
    try:
        parts = netlink.dump(_GETSETELEM, start, what)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        return []
    lists = (attributes(part[_HEAD.size :]).get(_ELEMENTS) for part in parts)
    return [
        Message(_NEWSETELEM, NLM_F_CREATE, start + nested(_ELEMENTS, packed), what)
        for packed in lists
        if packed
    ]


def is_there(netlink: Netlink, table: Table) -> bool:
    """Tell whether a table exists; raises KernelError."""
    body = head(table.family) + attribute(_TABLE_NAME, table.name)
    what = f"look for the {table}"
    return netlink.get(Message(_GETTABLE, 0, body, what, (errno.ENOENT,))) is not None


def has_chain(netlink: Netlink, table: Table, name: str) -> bool:
    """Tell whether a table exists and has a chain of that name; raises KernelError."""
    body = head(table.family) + attribute(_CHAIN_TABLE, table.name) + attribute(_CHAIN_NAME, name)
    what = f"look for the chain {name} in {table}"
    return netlink.get(Message(_GETCHAIN, 0, body, what, (errno.ENOENT,))) is not None


def chains(netlink: Netlink) -> list[Chain]:
    """Give the chains of all tables; raises KernelError."""
    found = []
    for body in netlink.dump(_GETCHAIN, head(0), "list the firewall's chains"):
        family, _, _ = _HEAD.unpack_from(body)
        known = attributes(body[_HEAD.size :])
        hook = attributes(known.get(_CHAIN_HOOK, b"")).get(_HOOK_NUMBER)
        found.append(
            Chain(
                Table(family, _text(known[_CHAIN_TABLE])),
                _text(known[_CHAIN_NAME]),
                None if hook is None else _NUMBER.unpack(hook)[0],
                known.get(_CHAIN_POLICY) == number(0),
            )
        )
    return found


def compares(netlink: Netlink, table: Table, value: bytes) -> bool:
    """Tell whether a rule of a table compares something with exactly these bytes.

    An interface's name in full has 16 of them, the beginning of one, as "pc*", its own length.
    Raises KernelError.
    """
    body = head(table.family) + attribute(_RULE_TABLE, table.name)
    wanted = attribute(_VALUE, value)
    return any(wanted in rule for rule in netlink.dump(_GETRULE, body, f"list the {table}"))


def add_table(table: Table) -> Message:
    """Make a table; there already is fine."""
    body = head(table.family) + attribute(_TABLE_NAME, table.name)
    return Message(_NEWTABLE, NLM_F_CREATE, body, f"add the {table}")


def delete_table(table: Table) -> Message:
    """Delete a table with all that is in it; ENOENT where there is none."""
    body = head(table.family) + attribute(_TABLE_NAME, table.name)
    return Message(_DELTABLE, 0, body, f"delete the {table}")


def head(family: int) -> bytes:
    """Give the fixed part of a message."""
    return _HEAD.pack(family, 0, 0)


def number(value: int) -> bytes:
    """Give a number in network byte order, negative ones as their complement of two."""
    return _NUMBER.pack(value & 0xFFFFFFFF)


def interface(name: str) -> bytes:
    """Give an interface's name as a key, or a part of one."""
    return name.encode().ljust(16, b"\0")


def ethernet(mac: str) -> bytes:
    """Give a MAC address as a key, or a part of one."""
    return bytes.fromhex(mac.replace(":", "")) + b"\0\0"


def address(text: str) -> bytes:
    """Give an IP address of either version as a key, or a part of one."""
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def protocol(name: str) -> bytes:
    """Give a protocol, "tcp", "udp" or "sctp", as a part of a key."""
    return bytes((_PROTOCOLS[name], 0, 0, 0))


def port(value: int) -> bytes:
    """Give a port as a part of a key or of a map's data."""
    return bytes((value >> 8, value & 0xFF, 0, 0))


def _elements(kind: int, table: Table, name: str, packed: list[bytes]) -> Message:
    body = (
        head(table.family)
        + attribute(_ELEMENTS_TABLE, table.name)
        + attribute(_ELEMENTS_SET, name)
        + nested(_ELEMENTS, *packed)
    )
    if kind == _NEWSETELEM:
        return Message(kind, NLM_F_CREATE, body, f"add elements to {name} in {table}")
    return Message(kind, 0, body, f"take elements out of {name} in {table}")


def _element(key: bytes, data: bytes, flags: int = 0) -> bytes:
    parts = nested(_ELEMENT_KEY, attribute(_VALUE, key))
    if data:
        parts += nested(_ELEMENT_DATA, attribute(_VALUE, data))
    if flags:
        parts += attribute(_ELEMENT_FLAGS, number(flags))
    return nested(_LIST_ELEM, parts)


def _unpacked(packed: bytes) -> list[tuple[bytes, bytes]]:
    found = []
    for _, element in each_attribute(packed):
        known = attributes(element)
        parts = (attributes(known.get(kind, b"")) for kind in (_ELEMENT_KEY, _ELEMENT_DATA))
        key, data = (part.get(_VALUE, b"") for part in parts)
        found.append((key, data))
    return found


def _intervals(networks: Sequence[str]) -> list[bytes]:
    """Give the first address of each network, and the first after it as an end."""
    packed = []
    for network in networks:
        text, _, prefix = network.partition("/")
        first = address(text)
        packed.append(_element(first, b""))
        after = int.from_bytes(first) + (1 << (len(first) * 8 - int(prefix)))
        if after >> (len(first) * 8) == 0:
            packed.append(_element(after.to_bytes(len(first)), b"", _INTERVAL_END))
    return packed


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")


_BEGIN: Final = Message(
    _BATCH_BEGIN, 0, _HEAD.pack(0, 0, socket.htons(NFTABLES >> 8)), "begin a change"
)
_END: Final = Message(_BATCH_END, 0, _BEGIN.body, "end a change")
