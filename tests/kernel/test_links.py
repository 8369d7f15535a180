"""Interfaces, addresses, routes and rates, in network namespaces of their own."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pycontainers.errors import KernelError
from pycontainers.kernel import links
from tests.net.lab import Place, random_mac

MEGABYTE = 1_000_000


@pytest.fixture
def two() -> Iterator[tuple[Place, Place]]:
    """Two namespaces with a cable from one's bridge "br" to the other's "eth0"."""
    with ExitStack() as stack:
        host, guest = Place(stack), Place(stack)
        host.route.ask([links.add_bridge("br", "02:00:00:00:00:01", 1500), links.set_up("br")])
        host.route.ask([links.no_ipv6_generation("br")])
        host.configure("br", ["172.30.0.1/16", "fd00:30::1/64"], [])
        host.route.ask(
            links.add_veth(
                "cable",
                host.index("br"),
                guest.pid,
                inside="eth0",
                mac="02:00:00:00:00:02",
                mtu=1400,
            )
        )
        yield host, guest


def test_a_cable_has_its_names_its_mac_address_and_its_mtu(two: tuple[Place, Place]) -> None:
    host, guest = two

    outside, inside = links.find(host.route, "cable"), links.find(guest.route, "eth0")

    assert outside is not None
    assert inside is not None
    assert (outside.kind, outside.mtu, outside.up) == ("veth", 1400, True)
    assert outside.master == host.index("br")
    assert (inside.mac, inside.mtu, inside.up) == ("02:00:00:00:00:02", 1400, False)
    assert outside in links.links(host.route)
    assert links.links(host.route, "veth") == [outside]
    assert (links.index_of(guest.route, "eth0"), links.mtu_of(guest.route, "eth0")) == (
        inside.index,
        inside.mtu,
    )


def test_a_container_has_its_addresses_and_routes_at_once(two: tuple[Place, Place]) -> None:
    host, guest = two
    host.listen(80)

    guest.configure("eth0", ["172.30.0.2/16", "fd00:30::2/64"], ["172.30.0.1", "fd00:30::1"])

    assert guest.reaches("172.30.0.1", 80)
    assert guest.reaches("fd00:30::1", 80)
    index = guest.index("eth0")
    known = [address for of, address in links.addresses(guest.route) if of == index]
    assert links.addresses(guest.route, index) == [(index, address) for address in known]
    assert sorted(known) == ["172.30.0.2/16", "fd00:30::2/64"]
    assert links.subnets_of(guest.route, index) == ["172.30.0.0/16", "fd00:30::/64"]
    assert links.destinations(guest.route) == ["172.30.0.0/16", "fd00:30::/64"]
    defaults = {links.Route("0.0.0.0/0", index), links.Route("::/0", index)}
    assert defaults <= {*links.routes(guest.route)}
    assert defaults == {*links.routes(guest.route, longest=0)}
    assert "172.30.255.255" in guest.run("ip", "address", "show", "eth0")


def test_what_is_missing_is_none_and_deleting_it_is_fine(two: tuple[Place, Place]) -> None:
    host, guest = two
    index = host.index("cable")

    for _ in range(2):
        host.route.ask([links.delete("cable"), links.delete(index)])

    assert links.find(host.route, index) is None
    assert links.index_of(host.route, "cable") is None
    assert links.index_of(guest.route, "eth0") is None
    assert links.mtu_of(guest.route, "eth0") is None


def test_the_first_message_that_failed_is_named_and_the_others_are_carried_out(
    two: tuple[Place, Place],
) -> None:
    host, _ = two

    with pytest.raises(KernelError, match=r"add the bridge br: File exists") as error:
        host.route.ask([
            links.add_bridge("br", random_mac(), 1500),
            links.add_default_route("9.9.9.9", host.index("br")),
            links.set_alias("br", "after"),
        ])  # fmt: skip

    assert error.value.errno == errno.EEXIST
    found = links.find(host.route, "br")
    assert found is not None
    assert found.alias == "after"


def test_addresses_are_added_and_taken_away_any_number_of_times(two: tuple[Place, Place]) -> None:
    host, _ = two
    index = host.index("br")
    for address in ("10.1.2.3/24", "fd00::5/64"):
        host.route.ask([links.add_address(index, address)] * 2)
        assert (index, address) in links.addresses(host.route)

        host.route.ask([links.delete_address(index, address)] * 2)

        assert (index, address) not in links.addresses(host.route)


@pytest.mark.parametrize("rate", [MEGABYTE, 20 * MEGABYTE, 100 * MEGABYTE])
def test_a_rate_is_reached_and_not_exceeded(two: tuple[Place, Place], rate: int) -> None:
    host, guest = two
    guest.configure("eth0", ["172.30.0.2/16"], [])
    guest.route.ask([links.limit_rate(guest.index("eth0"), rate // 2)])

    guest.route.ask([links.limit_rate(guest.index("eth0"), rate)])

    assert 0.75 * rate < throughput(guest, host, "172.30.0.1") < 1.1 * rate


def test_a_rate_is_for_one_direction(two: tuple[Place, Place]) -> None:
    host, guest = two
    guest.configure("eth0", ["172.30.0.2/16"], [])

    guest.route.ask([links.limit_rate(guest.index("eth0"), MEGABYTE)])

    assert throughput(host, guest, "172.30.0.2") > 10 * MEGABYTE


def throughput(sender: Place, receiver: Place, address: str) -> float:
    """Give how many bytes a second come through a connection, its beginning not counted."""
    listener = receiver.listen(5001, address)
    source = sender.connect(address, 5001)
    target, _ = listener.accept()
    source.settimeout(10)
    thread = threading.Thread(target=_pour, args=(source,))
    thread.start()
    begun = time.monotonic()
    while time.monotonic() < begun + 0.3:
        target.recv(1 << 18)
    total, begun = 0, time.monotonic()
    while time.monotonic() < begun + 1:
        total += len(target.recv(1 << 18))
    elapsed = time.monotonic() - begun
    target.close()
    thread.join()
    return total / elapsed


def _pour(source: socket.socket) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            source.send(bytes(1 << 18))
