"""Sets, chains and rules of the firewall, and changes of them as a whole."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pycontainers.errors import KernelError
from pycontainers.kernel import nftables, nftrules
from pycontainers.kernel.netlink import NETLINK_NETFILTER, Netlink
from pycontainers.kernel.nftables import address, ethernet, interface, number, port, protocol
from tests.net.lab import Place

TABLE = nftables.Table(nftables.INET, "tried")
PAIRS = [(protocol("tcp") + port(8080), address("10.0.0.2") + port(80)),
         (protocol("udp") + port(53), address("10.0.0.3") + port(5353))]  # fmt: skip


@pytest.fixture
def place() -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(stack)


@pytest.fixture
def netlink(place: Place) -> Iterator[Netlink]:
    with place.entered():
        made = Netlink(NETLINK_NETFILTER)
    with made:
        nftables.change(
            made,
            [
                nftables.add_table(TABLE),
                nftrules.add_set(TABLE, "names", [nftrules.INTERFACE]),
                nftrules.add_set(TABLE, "nets", [nftrules.ADDRESS[4]], intervals=True),
                nftrules.add_set(TABLE, "nets6", [nftrules.ADDRESS[6]], intervals=True),
                nftrules.add_set(
                    TABLE,
                    "ports",
                    [nftrules.TRANSPORT_PROTOCOL, nftrules.PORT],
                    data=[nftrules.ADDRESS[4], nftrules.PORT],
                ),
                nftrules.add_set(
                    TABLE, "owners", [nftrules.INTERFACE, nftrules.ETHERNET, nftrules.ADDRESS[6]]
                ),
            ],
        )
        yield made


def test_elements_are_read_as_they_were_entered(netlink: Netlink) -> None:
    owner = interface("pcv0123456789ab") + ethernet("02:00:00:00:00:01") + address("fd00::2")

    nftables.change(
        netlink,
        [
            nftables.add_elements(TABLE, "ports", PAIRS),
            nftables.add_elements(TABLE, "owners", [(owner, b"")]),
        ],
    )

    assert sorted(nftables.elements(netlink, TABLE, "ports")) == sorted(PAIRS)
    assert nftables.elements(netlink, TABLE, "owners") == [(owner, b"")]
    assert nftables.elements(netlink, TABLE, "names") == []
    assert nftables.has_element(netlink, TABLE, "owners", owner)
    assert nftables.has_element(netlink, TABLE, "ports", PAIRS[0][0])
    for name in ("names", "missing"):
        assert not nftables.has_element(netlink, TABLE, name, interface("eth0"))


def test_many_elements_are_all_there(netlink: Netlink) -> None:
    wanted = [(interface(f"pcv{number}"), b"") for number in range(1000)]

    nftables.change(netlink, [nftables.add_elements(TABLE, "names", wanted)])

    assert sorted(nftables.elements(netlink, TABLE, "names")) == sorted(wanted)


def test_a_change_is_made_as_a_whole_or_not_at_all(netlink: Netlink) -> None:
    messages = [
        nftables.add_elements(TABLE, "ports", PAIRS),
        nftables.add_elements(TABLE, "missing", PAIRS),
        nftables.add_elements(TABLE, "names", [(interface("eth0"), b"")]),
    ]

    with pytest.raises(KernelError, match="add elements to missing in table inet tried: No such"):
        nftables.change(netlink, messages)

    assert nftables.elements(netlink, TABLE, "ports") == []
    assert nftables.elements(netlink, TABLE, "names") == []


def test_a_key_with_other_data_is_refused_unless_it_is_destroyed_first(netlink: Netlink) -> None:
    ((key, data), _) = PAIRS
    other = address("10.0.0.9") + port(9)
    add = nftables.add_elements(TABLE, "ports", [(key, other)])
    nftables.change(netlink, [nftables.add_elements(TABLE, "ports", [(key, data)])] * 2)

    with pytest.raises(KernelError) as error:
        nftables.change(netlink, [add])
    nftables.change(netlink, [nftables.destroy_elements(TABLE, "ports", [key]), add])

    assert error.value.errno in (errno.EBUSY, errno.EEXIST)
    assert nftables.elements(netlink, TABLE, "ports") == [(key, other)]


@pytest.mark.parametrize("knows", [True, False], ids=["this kernel", "a kernel before 6.3"])
def test_what_is_to_be_destroyed_may_be_missing(
    place: Place, netlink: Netlink, monkeypatch: pytest.MonkeyPatch, knows: bool
) -> None:
    if not knows:  # such a kernel answers as this one does to a message of no known kind
        monkeypatch.setattr(nftables, "_DESTROYSETELEM", nftables.NFTABLES | 99)
    nftables.change(
        netlink,
        [
            nftables.add_elements(TABLE, "ports", PAIRS[:1]),
            nftables.add_networks(TABLE, "nets", ["10.1.0.0/16"]),
            nftables.add_networks(TABLE, "nets6", ["fd00::/64"]),
        ],
    )
    destroy = [
        nftables.destroy_elements(TABLE, "ports", [key for key, _ in PAIRS]),
        nftables.destroy_elements(TABLE, "missing", [interface("eth0")]),
        nftables.destroy_elements(nftables.Table(nftables.BRIDGE, "missing"), "x", [port(1)]),
        nftables.destroy_networks(TABLE, "nets", ["10.1.0.0/16", "10.2.0.0/16"]),
        nftables.destroy_networks(TABLE, "nets6", ["fd00::/64"]),
    ]

    for _ in range(2):
        add = nftables.add_elements(TABLE, "names", [(interface("eth0"), b"")])
        nftables.change(netlink, [*destroy, add])

    for name in ("ports", "nets", "nets6"):
        assert nftables.elements(netlink, TABLE, name) == []
    assert nftables.elements(netlink, TABLE, "names") == [(interface("eth0"), b"")]
    assert place.run("nft", "list", "tables") == "table inet tried\n"


def test_networks_are_intervals(place: Place, netlink: Netlink) -> None:
    nftables.change(
        netlink,
        [
            nftables.add_networks(TABLE, "nets", ["10.1.0.0/16", "255.255.0.0/16", "0.0.0.0/8"]),
            nftables.add_networks(TABLE, "nets6", ["fd00:1::/64", "::/8"]),
        ],
    )

    shown = place.run("nft", "list", "table", "inet", "tried")

    assert "elements = { 0.0.0.0/8, 10.1.0.0/16,\n\t\t\t     255.255.0.0/16 }" in shown
    assert "elements = { ::/8,\n\t\t\t     fd00:1::/64 }" in shown


def test_a_table_is_there_until_it_is_deleted(netlink: Netlink) -> None:
    assert nftables.is_there(netlink, TABLE)
    assert not nftables.is_there(netlink, TABLE._replace(family=nftables.BRIDGE))

    nftables.change(netlink, [nftables.delete_table(TABLE)])

    assert not nftables.is_there(netlink, TABLE)
    with pytest.raises(KernelError, match="delete the table inet tried: No such file"):
        nftables.change(netlink, [nftables.delete_table(TABLE)])


def test_chains_are_listed_with_their_hooks_and_policies(place: Place, netlink: Netlink) -> None:
    nftables.change(
        netlink,
        [
            nftrules.add_chain(TABLE, "plain"),
            nftrules.add_base_chain(TABLE, "entered", "filter", nftrules.FORWARD, -5),
        ],
    )
    place.run("nft", "add table ip6 other; add chain ip6 other in "
              "{ type filter hook input priority 0; policy drop; }")  # fmt: skip

    found = nftables.chains(netlink)

    assert found == [
        nftables.Chain(TABLE, "plain", None, False),
        nftables.Chain(TABLE, "entered", nftrules.FORWARD, False),
        nftables.Chain(nftables.Table(nftables.IPV6, "other"), "in", nftrules.INPUT, True),
    ]
    assert str(found[2].table) == "table ip6 other"
    assert "hook forward priority filter - 5" in place.run("nft", "list", "ruleset")


def test_a_rule_matches_what_it_says(place: Place, netlink: Netlink) -> None:
    listener = place.listen(80, "127.0.0.1")
    other = place.listen(81, "127.0.0.1")
    nftables.change(
        netlink,
        [
            nftrules.add_base_chain(TABLE, "input", "filter", nftrules.INPUT, 0),
            nftrules.add_rule(
                TABLE,
                "input",
                nftrules.meta(nftrules.L4PROTO) + nftrules.equals(b"\6"),
                nftrules.payload(nftrules.TRANSPORT, 2, 2) + nftrules.equals(port(80)[:2]),
                nftrules.DROP,
            ),
        ],
    )

    assert place.misses(*listener.getsockname())
    assert place.reaches(*other.getsockname())
    assert listener.family == socket.AF_INET


def test_numbers_are_in_network_byte_order() -> None:
    assert number(1) == b"\0\0\0\1"
    assert number(-300) == b"\xff\xff\xfe\xd4"
    assert port(8080) == b"\x1f\x90\0\0"


def test_a_change_that_depends_on_a_generation_is_not_made_after_another(netlink: Netlink) -> None:
    first, second = ([nftables.add_elements(TABLE, "names", [(interface(name), b"")])]
                     for name in ("one", "two"))  # fmt: skip
    since = nftables.generation(netlink)

    assert nftables.change_unless(netlink, since, first)
    assert not nftables.change_unless(netlink, since, second)

    assert nftables.elements(netlink, TABLE, "names") == [(interface("one"), b"")]
    assert nftables.generation(netlink) > since
    with pytest.raises(KernelError) as refused:
        missing = [nftables.delete_elements(TABLE, "names", [interface("two")])]
        nftables.change_unless(netlink, nftables.generation(netlink), missing)
    assert refused.value.errno == errno.ENOENT


def test_elements_are_copied_into_a_table_that_is_made_anew(place: Place, netlink: Netlink) -> None:
    names = [(interface(f"pcv{number}"), b"") for number in range(1000)]
    nftables.change(
        netlink,
        [
            nftables.add_elements(TABLE, "names", names),
            nftables.add_elements(TABLE, "ports", PAIRS),
            nftables.add_networks(TABLE, "nets", ["10.0.0.0/8", "172.18.0.0/16"]),
        ],
    )

    copies = [
        message
        for name in ("names", "ports", "nets", "nowhere")
        for message in nftables.copied_elements(netlink, TABLE, name)
    ]
    nftables.change(
        netlink,
        [
            nftables.delete_table(TABLE),
            nftables.add_table(TABLE),
            nftrules.add_set(TABLE, "names", [nftrules.INTERFACE]),
            nftrules.add_set(TABLE, "nets", [nftrules.ADDRESS[4]], intervals=True),
            nftrules.add_set(
                TABLE,
                "ports",
                [nftrules.TRANSPORT_PROTOCOL, nftrules.PORT],
                data=[nftrules.ADDRESS[4], nftrules.PORT],
            ),
            *copies,
        ],
    )

    assert sorted(nftables.elements(netlink, TABLE, "names")) == sorted(names)
    assert sorted(nftables.elements(netlink, TABLE, "ports")) == sorted(PAIRS)
    listed = place.run("nft", "list", "set", "inet", "tried", "nets")
    assert "10.0.0.0/8, 172.18.0.0/16" in listed


def test_a_chain_is_there_until_its_table_is_deleted(netlink: Netlink) -> None:
    assert not nftables.has_chain(netlink, TABLE, "empty")
    nftables.change(netlink, [nftrules.add_chain(TABLE, "empty")])
    assert nftables.has_chain(netlink, TABLE, "empty")
    nftables.change(netlink, [nftables.delete_table(TABLE)])
    assert not nftables.has_chain(netlink, TABLE, "empty")
