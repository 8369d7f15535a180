"""What the firewall of containers promises, with real packets between network namespaces."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from pycontainers.runtime import firewall as entries
from tests.net import lab
from tests.net.lab import LAN4, RED, WAN4, WAN6, World, caller


@pytest.fixture(scope="module", params=[True, False], ids=["bridged by IP", "bridged alone"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with lab.world(bridged_by_ip=request.param) as made:
        yield made


def test_containers_of_one_network_reach_each_other(world: World) -> None:
    world.bob.listen(80)

    assert world.ann.reaches(world.bob.address4, 80)
    assert world.ann.reaches(world.bob.address6, 80)


def test_containers_of_other_networks_are_out_of_reach(world: World) -> None:
    world.cyd.listen(80)
    world.ann.listen(80)

    assert world.ann.misses(world.cyd.address4, 80)
    assert world.ann.misses(world.cyd.address6, 80)
    assert world.cyd.misses(world.ann.address4, 80)


def test_what_leaves_has_the_hosts_address(world: World) -> None:
    listener = world.away.listen(80)

    world.ann.connect(world.away.address4, 80)
    assert caller(listener) == WAN4

    world.ann.connect(world.away.address6, 80)
    assert caller(listener) == WAN6


def test_other_hosts_reach_no_container_that_published_nothing(world: World) -> None:
    world.ann.listen(81)

    assert world.away.misses(world.ann.address4, 81)
    assert world.away.misses(world.ann.address6, 81)


def test_a_published_port_leads_to_the_container(world: World) -> None:
    listener = world.ann.listen(82)
    world.host.publish("", 8082, world.ann, 82)

    for address, own in ((WAN4, world.away.address4), (WAN6, world.away.address6)):
        world.away.connect(address, 8082)
        assert caller(listener) == own

        world.host.connect(address, 8082)
        assert caller(listener) == address


def test_a_container_that_never_sent_anything_is_found(world: World) -> None:
    silent = world.host.add_guest(RED, 20)
    listener = silent.listen(82)
    world.host.publish("", 8082, silent, 82)

    for address, own in ((WAN4, world.away.address4), (WAN6, world.away.address6)):
        world.away.connect(address, 8082)

        assert caller(listener) == own


def test_a_container_is_found_again_when_the_host_has_forgotten_where_it_is(world: World) -> None:
    world.ann.listen(89)
    world.host.publish("", 8089, world.ann, 89)
    for address in (WAN4, WAN6):
        connection = world.away.connect(address, 8089)
        world.host.run("ip", "neigh", "flush", "dev", RED.bridge)
        world.host.run("ip", "-6", "neigh", "flush", "dev", RED.bridge)

        connection.close()

        assert world.away.reaches(address, 8089)


def test_a_port_published_at_one_address_is_not_there_at_others(world: World) -> None:
    listener = world.ann.listen(83)
    world.host.publish(WAN4, 8083, world.ann, 83)

    world.away.connect(WAN4, 8083)
    assert caller(listener) == world.away.address4
    for place, address in ((world.away, WAN6), (world.near, LAN4)):
        with pytest.raises(ConnectionRefusedError):
            place.connect(address, 8083)


def test_a_published_port_of_udp_answers_from_where_it_was_asked(world: World) -> None:
    server = world.ann.bind(84)
    world.host.publish("", 8084, world.ann, 84, "udp")
    for address in (WAN4, WAN6):
        client = world.away.bind(0, "0.0.0.0" if address == WAN4 else "::")
        client.sendto(b"question", (address, 8084))
        data, sender = server.recvfrom(100)
        server.sendto(b"answer to " + data, sender)

        answer, where = client.recvfrom(100)

        assert answer == b"answer to question"
        assert where[:2] == (address, 8084)


def test_a_flow_that_goes_on_follows_the_published_port(world: World) -> None:
    first, second = world.bob.bind(95), world.ann.bind(95)
    own = (world.ann.address4, world.ann.address6)
    ports = [("udp", "", number, one, 95) for one in own for number in (8095, 8097)]
    for address in (WAN4, WAN6):
        client = world.away.bind(0, "0.0.0.0" if address == WAN4 else "::")
        world.host.publish("", 8095, world.bob, 95, "udp")
        client.sendto(b"one", (address, 8095))
        assert first.recv(100) == b"one"
        world.host.publish("", 8095, world.ann, 95, "udp")
        client.sendto(b"two", (address, 8095))
        assert first.recv(100) == b"two"

        entries.redirect_flows(world.host.netfilter, world.host.route, ports)

        client.sendto(b"three", (address, 8095))
        assert second.recv(100) == b"three"


def test_flows_to_others_are_not_touched(world: World) -> None:
    server, client = world.away.bind(8096), world.ann.bind(0)
    client.sendto(b"one", (f"::ffff:{world.away.address4}", 8096))
    _, before = server.recvfrom(100)

    ports = [("udp", host, 8096, world.ann.address4, 96) for host in ("", WAN4)]
    entries.redirect_flows(world.host.netfilter, world.host.route, ports)

    server.sendto(b"answer", before)
    assert client.recv(100) == b"answer"


def test_a_container_reaches_itself_its_neighbours_and_others_by_published_ports(
    world: World,
) -> None:
    listener = world.ann.listen(85)
    world.host.publish("", 8085, world.ann, 85)

    for address in (WAN4, WAN6, RED.gateway4, RED.gateway6):
        for client in (world.ann, world.bob, world.cyd):
            client.connect(address, 8085)

            assert caller(listener) in (RED.gateway4, RED.gateway6)


def test_a_port_no_longer_published_leads_nowhere(world: World) -> None:
    world.ann.listen(86)
    world.host.publish("", 8086, world.ann, 86)
    assert world.away.reaches(WAN4, 8086)

    world.host.enter(entries.unpublish([("tcp", "", 8086, world.ann.address4, 86)]))

    with pytest.raises(ConnectionRefusedError):
        world.away.connect(WAN4, 8086)
    assert world.away.reaches(WAN6, 8086)


def test_publishing_takes_a_port_over_from_a_container_that_was_killed(world: World) -> None:
    world.host.publish("", 8087, world.bob, 87)
    listener = world.ann.listen(87)

    world.host.publish("", 8087, world.ann, 87)

    world.away.connect(WAN4, 8087)
    assert caller(listener) == world.away.address4


def test_the_loopback_is_left_to_relays(world: World) -> None:
    world.ann.listen(88)
    relay = world.host.listen(8088)
    world.host.publish("", 8088, world.ann, 88)

    for address in ("127.0.0.1", "::1"):
        world.host.connect(address, 8088)

        assert caller(relay) == address


def test_the_hosts_services_refuse_containers(world: World) -> None:
    world.host.listen(90)

    for address in (RED.gateway4, WAN4, RED.gateway6, WAN6):
        with pytest.raises(ConnectionRefusedError):
            world.ann.connect(address, 90)
        client = world.ann.bind(0, "::" if ":" in address else "0.0.0.0")
        client.connect((address, 90))
        client.send(b"x")
        with pytest.raises(OSError) as refused:
            client.recv(100)
        assert refused.value.errno in (errno.EHOSTUNREACH, errno.EACCES)
    assert world.away.reaches(WAN4, 90)


def test_the_host_answers_pings_of_containers_and_reaches_them(world: World) -> None:
    world.ann.listen(91)

    assert "1 packets received" in world.ann.run("busybox", "ping", "-c1", "-w1", RED.gateway4)
    assert "1 packets received" in world.ann.run("busybox", "ping", "-c1", "-w1", RED.gateway6)
    assert world.host.reaches(world.ann.address4, 91)
    assert world.host.reaches(world.ann.address6, 91)


def test_nothing_is_forwarded_between_other_hosts(world: World) -> None:
    world.near.listen(92)

    assert world.away.misses(world.near.address4, 92)
    assert world.away.misses(world.near.address6, 92)


def test_the_host_reaches_itself_by_a_gateways_address(world: World) -> None:
    for gateway in (RED.gateway4, RED.gateway6):
        listener = world.host.listen(93, gateway)
        client = world.host.new_socket(listener.family, socket.SOCK_STREAM)
        client.bind((gateway, 0))

        client.connect((gateway, 93))

        assert caller(listener) == gateway
