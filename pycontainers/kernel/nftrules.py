"""What the firewall's tables are made of: sets, chains, rules and their expressions (nft(8)).

A rule is a row of expressions: some load something of a packet into a register, others compare a
register or look it up in a set, where the rule ends if that does not match; the last gives a
verdict.  Registers are numbered as the kernel's of 32 bits each, 8 to 23; what is looked up in a
set of concatenated fields lies in registers one after the other.

>>> drop_all_from = add_rule(table, "forward", meta(IIFNAME), lookup("bad"), DROP) # doctest: +SKIP
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from pycontainers.kernel.netlink import NLM_F_APPEND, NLM_F_CREATE, Message, attribute, nested
from pycontainers.kernel.nftables import IPV4, NFTABLES, head, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontainers.kernel.nftables import Table

# Hooks (netfilter.h), in the families inet and bridge.
PREROUTING: Final = 0
INPUT: Final = 1
FORWARD: Final = 2
OUTPUT: Final = 3
POSTROUTING: Final = 4

_NEWCHAIN: Final = NFTABLES | 3
_NEWRULE: Final = NFTABLES | 6
_NEWSET: Final = NFTABLES | 9

_CHAIN_TABLE: Final = 1
_CHAIN_NAME: Final = 3
_CHAIN_HOOK: Final = 4
_CHAIN_POLICY: Final = 5
_CHAIN_TYPE: Final = 7
_HOOK_NUMBER: Final = 1
_HOOK_PRIORITY: Final = 2
_RULE_TABLE: Final = 1
_RULE_CHAIN: Final = 2
_RULE_EXPRESSIONS: Final = 4
_SET_TABLE: Final = 1
_SET_NAME: Final = 2
_SET_FLAGS: Final = 3
_SET_KEY_TYPE: Final = 4
_SET_KEY_LENGTH: Final = 5
_SET_DATA_TYPE: Final = 6
_SET_DATA_LENGTH: Final = 7
_SET_ID: Final = 10
_SET_USERDATA: Final = 13
_SET_INTERVAL: Final = 0x4
_SET_MAP: Final = 0x8
_TYPE_BITS: Final = 6  # of each field in a concatenation's type (nft's own numbering)

_LIST_ELEM: Final = 1
_EXPRESSION_NAME: Final = 1
_EXPRESSION_DATA: Final = 2
_DATA_VALUE: Final = 1
_DATA_VERDICT: Final = 2

# What `meta` loads (NFT_META_…).
PROTOCOL: Final = 1
PRIORITY: Final = 2
IIFNAME: Final = 6
OIFNAME: Final = 7
NFPROTO: Final = 15
L4PROTO: Final = 16
IIFGROUP: Final = 21
# Where `payload` counts from (NFT_PAYLOAD_…).
LINK: Final = 0
NETWORK: Final = 1
TRANSPORT: Final = 2

FIRST: Final = 8  # the first register (NFT_REG32_00)
_VERDICT_REGISTER: Final = 0
_CMP_EQ: Final = 0
_CMP_NEQ: Final = 1
_LOOKUP_INVERTED: Final = 1
_CT_STATE: Final = 0
_CT_STATUS: Final = 2
_CT_ESTABLISHED_OR_RELATED: Final = 0x2 | 0x4
_CT_DNAT: Final = 0x20
_FIB_ADDRTYPE: Final = 3
_FIB_DADDR: Final = 2
_RTN_LOCAL: Final = 2
_NAT_DNAT: Final = 1
_REJECT_RESET: Final = 1
_REJECT_ICMPX: Final = 2
_ICMPX_ADMIN_PROHIBITED: Final = 3
_NF_DROP: Final = 0
_NF_ACCEPT: Final = 1
_NFT_JUMP: Final = -3


class Field(NamedTuple):
    """A field of a set's keys: the number by which nft(8) knows what it shows, and its bytes."""

    kind: int
    length: int
    big_endian: bool = True


NFPROTO_FIELD: Final = Field(2, 1)
ADDRESS: Final = {4: Field(7, 4), 6: Field(8, 16)}
ETHERNET: Final = Field(9, 6)
TRANSPORT_PROTOCOL: Final = Field(12, 1)
PORT: Final = Field(13, 2)
CLASS: Final = Field(23, 4, big_endian=False)
INTERFACE: Final = Field(41, 16, big_endian=False)


def add_set(
    table: Table,
    name: str,
    key: Sequence[Field],
    *,
    data: Sequence[Field] = (),
    intervals: bool = False,
) -> Message:
    """Make a set, of keys or, with `data`, a map; its fields are padded to four bytes each."""
    flags = (_SET_MAP if data else 0) | (_SET_INTERVAL if intervals else 0)
    body = (
        head(table.family)
        + attribute(_SET_TABLE, table.name)
        + attribute(_SET_NAME, name)
        + attribute(_SET_FLAGS, number(flags))
        + attribute(_SET_KEY_TYPE, number(_type(key)))
        + attribute(_SET_KEY_LENGTH, number(_length(key)))
        + attribute(_SET_ID, number(1))  # must be there, and only tells sets without a name apart
    )
    if data:
        body += attribute(_SET_DATA_TYPE, number(_type(data)))
        body += attribute(_SET_DATA_LENGTH, number(_length(data)))
    body += attribute(_SET_USERDATA, _order(0, key) + _order(1, data))
    return Message(_NEWSET, NLM_F_CREATE, body, f"add the set {name} to {table}")


def add_chain(table: Table, name: str) -> Message:
    """Make a chain that others jump to."""
    body = head(table.family) + attribute(_CHAIN_TABLE, table.name) + attribute(_CHAIN_NAME, name)
    return Message(_NEWCHAIN, NLM_F_CREATE, body, f"add the chain {name} to {table}")


def add_base_chain(table: Table, name: str, kind: str, hook: int, priority: int) -> Message:
    """Make a chain, "filter" or "nat", that packets enter at a hook; it lets through by default."""
    chain = add_chain(table, name)
    place = attribute(_HOOK_NUMBER, number(hook)) + attribute(_HOOK_PRIORITY, number(priority))
    own = (
        nested(_CHAIN_HOOK, place)
        + attribute(_CHAIN_POLICY, number(_NF_ACCEPT))
        + attribute(_CHAIN_TYPE, kind)
    )
    return chain._replace(body=chain.body + own)


def add_rule(table: Table, chain: str, *expressions: bytes) -> Message:
    """Append a rule to a chain."""
    body = (
        head(table.family)
        + attribute(_RULE_TABLE, table.name)
        + attribute(_RULE_CHAIN, chain)
        + nested(_RULE_EXPRESSIONS, *expressions)
    )
    what = f"add a rule to the chain {chain} of {table}"
    return Message(_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, body, what)


def meta(key: int, register: int = FIRST) -> bytes:
    """Load something about the packet, as its IIFNAME."""
    return _expression("meta", attribute(1, number(register)), attribute(2, number(key)))


def set_priority(register: int = FIRST) -> bytes:
    """Give the packet the priority that was loaded."""
    return _expression("meta", attribute(2, number(PRIORITY)), attribute(3, number(register)))


def payload(base: int, offset: int, length: int, register: int = FIRST) -> bytes:
    """Load bytes of the packet; the rule ends for one that is too short."""
    values = (register, base, offset, length)
    parts = (attribute(kind, number(value)) for kind, value in enumerate(values, 1))
    return _expression("payload", *parts)


def equals(value: bytes, register: int = FIRST) -> bytes:
    """Go on if these bytes were loaded."""
    return _compare(_CMP_EQ, value, register)


def masked(mask: bytes, register: int = FIRST) -> bytes:
    """Clear the bits of what was loaded that are 0 in a mask."""
    return _expression(
        "bitwise",
        attribute(1, number(register)),
        attribute(2, number(register)),
        attribute(3, number(len(mask))),
        _value(4, mask),
        _value(5, bytes(len(mask))),
    )


def lookup(name: str, *, into: int | None = None, register: int = FIRST) -> bytes:
    """Go on if what was loaded is a key of the set, with its data `into` a register for a map."""
    parts = attribute(1, name) + attribute(2, number(register))
    if into is not None:
        parts += attribute(3, number(into))
    return _expression("lookup", parts)


def not_in(name: str, register: int = FIRST) -> bytes:
    """Go on if what was loaded is no key of the set."""
    parts = attribute(1, name) + attribute(2, number(register))
    return _expression("lookup", parts, attribute(5, number(_LOOKUP_INVERTED)))


def is_answer() -> bytes:
    """Go on for packets of connections that were made already, and errors about them."""
    return _tracked(_CT_STATE, _CT_ESTABLISHED_OR_RELATED)


def is_redirected() -> bytes:
    """Go on for packets of connections whose destination was changed."""
    return _tracked(_CT_STATUS, _CT_DNAT)


def is_to_this_host() -> bytes:
    """Go on for packets to an address of this host's (of its network namespace)."""
    parts = (attribute(1, number(FIRST)), attribute(2, number(_FIB_ADDRTYPE)),
             attribute(3, number(_FIB_DADDR)))  # fmt: skip
    return _expression("fib", *parts) + equals(struct.pack("=I", _RTN_LOCAL))


def redirect(family: int, register: int = FIRST) -> bytes:
    """Send the packet's connection to the loaded address and port (DNAT)."""
    after = register + (1 if family == IPV4 else 4)
    return _expression(
        "nat",
        attribute(1, number(_NAT_DNAT)),
        attribute(2, number(family)),
        attribute(3, number(register)),
        attribute(5, number(after)),
    )


def jump(chain: str) -> bytes:
    """Go through another chain, and come back if that decides nothing."""
    return _verdict(_NFT_JUMP, attribute(2, chain))


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(_LIST_ELEM, attribute(_EXPRESSION_NAME, name), nested(_EXPRESSION_DATA, *parts))


def _value(kind: int, data: bytes) -> bytes:
    return nested(kind, attribute(_DATA_VALUE, data))


def _compare(operation: int, value: bytes, register: int = FIRST) -> bytes:
    parts = attribute(1, number(register)) + attribute(2, number(operation))
    return _expression("cmp", parts, _value(3, value))


def _tracked(key: int, bits: int) -> bytes:
    """Go on if the connection has any of these bits."""
    load = _expression("ct", attribute(1, number(FIRST)), attribute(2, number(key)))
    return load + masked(struct.pack("=I", bits)) + _compare(_CMP_NEQ, bytes(4))


def _verdict(code: int, chain: bytes = b"") -> bytes:
    verdict = nested(_DATA_VERDICT, attribute(1, number(code)), chain)
    return _expression("immediate", attribute(1, number(_VERDICT_REGISTER)), nested(2, verdict))


def _type(fields: Sequence[Field]) -> int:
    found = 0
    for field in fields:
        found = found << _TYPE_BITS | field.kind
    return found


def _order(kind: int, fields: Sequence[Field]) -> bytes:
    """Tell nft(8), which shows the set, in which order the bytes of single fields are."""
    if len(fields) != 1:
        return b""
    return struct.pack("=BBI", kind, 4, 2 if fields[0].big_endian else 1)


def _length(fields: Sequence[Field]) -> int:
    if len(fields) == 1:
        return fields[0].length
    return sum(-(-field.length // 4) * 4 for field in fields)


ACCEPT: Final = _verdict(_NF_ACCEPT)
DROP: Final = _verdict(_NF_DROP)
RESET: Final = _expression("reject", attribute(1, number(_REJECT_RESET)))  # of TCP only
# Answers that this is forbidden (ICMP); what may not be answered, as broadcasts, is dropped.
REJECT: Final = _expression(
    "reject",
    attribute(1, number(_REJECT_ICMPX)),
    attribute(2, bytes((_ICMPX_ADMIN_PROHIBITED,))),
)
MASQUERADE: Final = _expression("masq")
