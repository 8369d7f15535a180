"""Bridges are brought to what they shall be; forwarding is turned on once, and told of."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pycontainers.errors import Conflict
from pycontainers.kernel import links
from pycontainers.net import bridges
from tests.net import lab
from tests.net.lab import Host


@pytest.fixture
def host() -> Iterator[Host]:
    with ExitStack() as stack:
        yield Host(stack)


def addresses(host: Host, name: str) -> set[str]:
    index = host.index(name)
    return {address for of, address in links.addresses(host.route) if of == index}


def test_a_bridge_is_made_as_it_shall_be(host: Host) -> None:
    gateways = ["172.30.0.1/16", "fd00:30::1/64"]

    bridges.make(host.route, "pc1", alias="pycontainers one /a b", mtu=1400, gateways=gateways)

    (made,) = bridges.present(host.route, "pc")
    assert made.name == "pc1"
    assert made.alias == "pycontainers one /a b"
    assert made.mtu == 1400
    assert made.up
    assert addresses(host, "pc1") == {*gateways, "fe80::1/64"}


def test_a_bridge_that_is_there_is_brought_to_what_it_shall_be(host: Host) -> None:
    bridges.make(host.route, "pc1", alias="old", mtu=1400, gateways=["172.30.0.1/16", "fd01::1/64"])
    before = host.index("pc1")
    host.run("ip", "link", "set", "pc1", "down")

    for _ in range(2):
        bridges.make(
            host.route, "pc1", alias="new", mtu=9000, gateways=["172.30.0.1/16", "fd02::1/64"]
        )

    (made,) = bridges.present(host.route, "pc1")
    assert made.index == before
    assert (made.alias, made.mtu, made.up) == ("new", 9000, True)
    assert addresses(host, "pc1") == {"172.30.0.1/16", "fd02::1/64", "fe80::1/64"}


def test_a_bridge_without_ipv6_has_no_address_of_it(host: Host) -> None:
    host.add_network(lab.RED)
    bridges.make(host.route, "pcred", alias="", mtu=1500, gateways=["172.30.0.1/16"])

    guest = host.add_guest(lab.RED, 2)
    host.route.ask([links.set_up("pcred")])

    assert addresses(host, "pcred") == {"172.30.0.1/16"}
    assert addresses(host, host.veths[guest]) == set()


def test_an_interface_of_another_kind_is_not_touched(host: Host) -> None:
    with pytest.raises(Conflict, match="lo is there and no bridge"):
        bridges.make(host.route, "lo", alias="", mtu=1500, gateways=["172.30.0.1/16"])

    assert "172.30.0.1/16" not in addresses(host, "lo")


def test_a_bridge_is_gone_after_its_removal_and_missing_is_fine(host: Host) -> None:
    bridges.make(host.route, "pc1", alias="", mtu=1500, gateways=[])

    for _ in range(2):
        bridges.remove(host.route, "pc1")

    assert bridges.present(host.route, "pc") == []


def test_the_mtu_is_that_of_the_default_routes_interface(host: Host) -> None:
    assert bridges.default_mtu(host.route) == 1500
    host.route.ask([links.add_bridge("out", lab.random_mac(), 1320)])
    host.configure("out", ["192.0.2.1/24"], [])
    assert bridges.default_mtu(host.route) == 1500

    host.configure("out", [], ["192.0.2.2"])

    assert bridges.default_mtu(host.route) == 1320


def test_forwarding_is_turned_on_once_and_told_of(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.route.ask([links.add_bridge("out", lab.random_mac(), 1500)])
    with host.entered(), caplog.at_level(logging.INFO, "pycontainers"):
        first = bridges.forwarding(ipv4=True, ipv6=False)
        second = bridges.forwarding(ipv4=True, ipv6=False)

    assert host.sysctl("ipv4/ip_forward") == "1"
    assert host.sysctl("ipv6/conf/all/forwarding") == "0"
    assert first == bridges.Closed({4: ["lo", "out"]}, ["out"])
    assert second == bridges.Closed()
    assert [record.getMessage() for record in caplog.records] == [
        "IPv4 forwarding has been turned on, for containers only: not between lo, out"
    ]


def test_a_host_keeps_the_default_route_that_a_router_told_it(host: Host) -> None:
    host.route.ask([links.add_bridge("out", lab.random_mac(), 1500)])
    host.sysctl("ipv6/conf/out/accept_ra", "1")
    host.sysctl("ipv6/conf/lo/accept_ra", "0")

    with host.entered():
        bridges.forwarding(ipv4=False, ipv6=True)

    assert host.sysctl("ipv6/conf/all/forwarding") == "1"
    assert host.sysctl("ipv6/conf/out/accept_ra") == "2"
    assert host.sysctl("ipv6/conf/lo/accept_ra") == "0"
