"""A container sends as itself only: whole frames, made by hand, from one container to another."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from pycontainers.runtime import firewall as entries
from tests.net import lab
from tests.net.lab import RED, World, packed_mac

BROADCAST = "ff:ff:ff:ff:ff:ff"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with lab.world() as made:
        yield made


def udp4(source: str, target: str, text: bytes = b"a letter") -> bytes:
    payload = struct.pack("!HHHH", 9999, 9999, 8 + len(text), 0) + text
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, 17, 0,
                         socket.inet_aton(source), socket.inet_aton(target))  # fmt: skip
    return header[:10] + struct.pack("!H", lab.checksum(header)) + header[12:] + payload


def ipv6(source: str, target: str, protocol: int, payload: bytes) -> bytes:
    return (
        struct.pack("!IHBB", 6 << 28, len(payload), protocol, 255)
        + packed6(source, target)
        + payload
    )


def packed6(*addresses: str) -> bytes:
    return b"".join(socket.inet_pton(socket.AF_INET6, address) for address in addresses)


def udp6(source: str, target: str) -> bytes:
    return ipv6(source, target, 17, struct.pack("!HHHH", 9999, 9999, 8, 0))


def icmp6(source: str, target: str, kind: int, body: bytes) -> bytes:
    plain = struct.pack("!BBH", kind, 0, 0) + body
    pseudo = packed6(source, target) + struct.pack("!II", len(plain), 58)
    plain = plain[:2] + struct.pack("!H", lab.checksum(pseudo + plain)) + plain[4:]
    return ipv6(source, target, 58, plain)


def advertisement(source: str, target: str, address: str, mac: str) -> bytes:
    body = struct.pack("!I", 0x20000000) + packed6(address) + b"\2\1" + packed_mac(mac)
    return icmp6(source, target, 136, body)


def arp(mac: str, address: str, target: str) -> bytes:
    """Tell `target` that an address has a MAC address."""
    return (struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + packed_mac(mac) + socket.inet_aton(address)
            + packed_mac(BROADCAST) + socket.inet_aton(target))  # fmt: skip


def arrives(world: World, sent: bytes) -> bool:
    """Whether a frame that ann sends comes to bob, before one that does."""
    ann, bob = world.ann, world.bob
    last = frame(ann.mac, bob.mac, 0x0800, udp4(ann.address4, bob.address4, os.urandom(16)))
    sender, receiver = ann.frames(), bob.frames()
    sender.send(sent)
    sender.send(last)
    while (data := receiver.recv(2048)) != last:
        if data.endswith(sent[18:]):  # the tag of a VLAN is told otherwise (packet(7))
            return True
    return False


def frame(source: str, target: str, kind: int, body: bytes) -> bytes:
    return packed_mac(target) + packed_mac(source) + struct.pack("!H", kind) + body


def test_what_a_container_sends_as_itself_arrives(world: World) -> None:
    ann, bob = world.ann, world.bob

    assert arrives(world, frame(ann.mac, bob.mac, 0x0800, udp4(ann.address4, bob.address4)))
    assert arrives(world, frame(ann.mac, bob.mac, 0x86DD, udp6(ann.address6, bob.address6)))
    claim4 = arp(ann.mac, ann.address4, bob.address4)
    assert arrives(world, frame(ann.mac, BROADCAST, 0x0806, claim4))
    claim6 = advertisement(ann.address6, bob.address6, ann.address6, ann.mac)
    assert arrives(world, frame(ann.mac, bob.mac, 0x86DD, claim6))


@pytest.mark.parametrize(
    "wrong", ["172.30.0.9", "172.31.0.2", "192.0.2.2", "0.0.0.0", RED.gateway4]
)
def test_no_other_ipv4_source_address_gets_through(world: World, wrong: str) -> None:
    ann, bob = world.ann, world.bob

    assert not arrives(world, frame(ann.mac, bob.mac, 0x0800, udp4(wrong, bob.address4)))


@pytest.mark.parametrize("wrong", ["fd00:30::9", "fe80::1", "::", RED.gateway6])
def test_no_other_ipv6_source_address_gets_through(world: World, wrong: str) -> None:
    ann, bob = world.ann, world.bob

    assert not arrives(world, frame(ann.mac, bob.mac, 0x86DD, udp6(wrong, bob.address6)))


def test_no_other_mac_address_gets_through(world: World) -> None:
    ann, bob = world.ann, world.bob
    for mac in (bob.mac, lab.random_mac()):
        for kind, body in (
            (0x0800, udp4(ann.address4, bob.address4)),
            (0x86DD, udp6(ann.address6, bob.address6)),
            (0x0806, arp(ann.mac, ann.address4, bob.address4)),
        ):
            assert not arrives(world, frame(mac, bob.mac, kind, body))


def test_a_neighbours_address_can_not_be_claimed_by_arp(world: World) -> None:
    ann, bob = world.ann, world.bob

    for mac, address in (
        (ann.mac, RED.gateway4),  # another's IP address with one's own MAC address
        (bob.mac, ann.address4),  # one's own with another's
        (bob.mac, bob.address4),
    ):
        claim = arp(mac, address, bob.address4)
        assert not arrives(world, frame(ann.mac, BROADCAST, 0x0806, claim))


def test_arp_of_other_kinds_does_not_get_through(world: World) -> None:
    ann, bob = world.ann, world.bob
    strange = struct.pack("!HHBBH", 6, 0x0800, 6, 4, 2)  # IEEE 802, which Linux takes as well

    body = strange + arp(ann.mac, ann.address4, bob.address4)[8:]

    assert not arrives(world, frame(ann.mac, BROADCAST, 0x0806, body))


def test_a_neighbours_address_can_not_be_advertised(world: World) -> None:
    ann, bob = world.ann, world.bob

    for source, address in ((ann.address6, RED.gateway6), (RED.gateway6, RED.gateway6)):
        claim = advertisement(source, bob.address6, address, ann.mac)
        assert not arrives(world, frame(ann.mac, bob.mac, 0x86DD, claim))


def test_no_container_is_a_router_or_redirects(world: World) -> None:
    ann, bob = world.ann, world.bob
    router = struct.pack("!BBHII", 64, 0, 1800, 0, 0)
    shorter = bytes(4) + packed6(ann.address6, "2001:db8:1::2")

    for kind, body in ((134, router), (137, shorter)):
        told = icmp6(ann.address6, bob.address6, kind, body)
        assert not arrives(world, frame(ann.mac, bob.mac, 0x86DD, told))


@pytest.mark.parametrize("kind", [0x8100, 0x88A8, 0x8863, 0x8864, 0x88CC, 0x0842])
def test_frames_of_other_protocols_do_not_get_through(world: World, kind: int) -> None:
    ann, bob = world.ann, world.bob

    for target in (bob.mac, BROADCAST):
        inner = struct.pack("!HH", 5, 0x0800) + udp4("172.30.0.9", bob.address4)
        assert not arrives(world, frame(ann.mac, target, kind, inner))


def test_a_container_can_not_take_its_neighbours_frames(world: World) -> None:
    """The bridge learns no address from frames that are for bridges, which go by its rules."""
    ann, bob, cuckoo = world.ann, world.bob, world.ann.frames()
    for last in range(0x10):
        group = f"01:80:c2:00:00:{last:02x}"
        cuckoo.send(frame(bob.mac, group, 0x88CC, bytes(46)))
        cuckoo.send(frame(bob.mac, group, 0x0027, b"\x42\x42\x03" + bytes(43)))
    time.sleep(0.05)

    entries = world.host.run("bridge", "fdb", "show", "br", RED.bridge)

    learnt = [line for line in entries.splitlines() if line.startswith(bob.mac)]
    assert all(world.host.veths[ann] not in line for line in learnt), learnt


def test_an_address_of_its_own_choice_is_of_no_use(world: World) -> None:
    thief = world.host.add_guest(RED, 7)
    world.bob.listen(7000)
    assert thief.reaches(world.bob.address4, 7000)

    thief.configure("eth0", ["172.30.0.77/16"], [])
    client = thief.new_socket(socket.AF_INET, socket.SOCK_STREAM)
    client.bind(("172.30.0.77", 0))
    client.settimeout(lab.SILENCE)

    with pytest.raises(TimeoutError):
        client.connect((world.bob.address4, 7000))


def test_a_container_whose_addresses_were_withdrawn_sends_nothing(world: World) -> None:
    gone = world.host.add_guest(RED, 8)
    world.bob.listen(7001)
    assert gone.reaches(world.bob.address4, 7001)
    own = [gone.address4, gone.address6]

    world.host.enter(entries.withdraw(world.host.veths[gone], gone.mac, own, None))

    assert gone.misses(world.bob.address4, 7001)
    assert gone.misses(world.bob.address6, 7001)
