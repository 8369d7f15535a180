"""What a container can't reach, take or see, tried from inside real containers."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest

import pycontainers as pc
from pycontainers.kernel import nftables
from pycontainers.kernel import nftrules as rules
from pycontainers.kernel.netlink import NETLINK_NETFILTER, Netlink
from tests.networks.conftest import TALK, OtherHost, answers, host_address, talking
from tests.networks.talk import SILENCE, Question

REFUSALS = {"ECONNREFUSED", "EHOSTUNREACH", "EACCES"}
MIGHTY = ("NET_ADMIN", "NET_RAW")
KINDS = ("STREAM", "DGRAM")


class World(NamedTuple):
    """Servers of one network, of another, and of an internal one, at port 80."""

    network: pc.Network
    alice: pc.Container
    bob: pc.Container
    carol: pc.Container
    inner: pc.Network
    dave: pc.Container


@pytest.fixture(scope="module")
def world(engine: pc.Engine) -> Iterator[World]:
    with (
        pc.Network.create("one", ipv6=True, engine=engine) as network,
        pc.Network.create("other", ipv6=True, engine=engine) as other,
        pc.Network.create("inner", ipv6=True, internal=True, engine=engine) as inner,
        talking(engine, hostname="alice", network=network) as alice,
        talking(engine, hostname="bob", network=network) as bob,
        talking(engine, hostname="carol", network=other, cap_add=["NET_RAW"]) as carol,
        talking(engine, hostname="dave", network=inner) as dave,
    ):
        yield World(network, alice, bob, carol, inner, dave)


@pytest.fixture
def mallory(engine: pc.Engine, world: World) -> Iterator[pc.Container]:
    """A neighbour of alice and bob who may do all to its own network that can be given."""
    with pc.Container.run(None, ["sleep", "1000"], network=world.network, cap_add=MIGHTY,
                          sysctls={"net.ipv6.conf.all.accept_dad": "0"},
                          engine=engine) as container:  # fmt: skip
        yield container


@pytest.fixture(scope="module")
def service() -> Iterator[int]:
    """The port of a server on this host, at all addresses, over TCP and UDP."""
    with socket.create_server(("", 0)) as free:
        port: int = free.getsockname()[1]
    with subprocess.Popen([sys.executable, *TALK[1:], "serve", str(port)]) as server:
        while answers(None, ("STREAM", "127.0.0.1", port)) == ["ECONNREFUSED"]:
            pass
        yield port
        server.kill()


@contextlib.contextmanager
def serving_on(host: OtherHost) -> Iterator[int]:
    """Have a server on another host, and give its port."""
    with host.start(sys.executable, *TALK[1:], "serve", "80") as server:
        while answers(host, ("STREAM", "127.0.0.1", 80)) == ["ECONNREFUSED"]:
            pass
        try:
            yield 80
        finally:
            server.kill()


def ends(container: pc.Container) -> list[Question]:
    """Ask for all ends of a container's server."""
    (member,) = container.networks.values()
    return [(kind, str(to), 80) for kind in KINDS for to in (member.ip, member.ip6)]


def pings(container: pc.Container, *addresses: str) -> list[bool]:
    """Whether addresses answer to ICMP; the container has NET_RAW."""
    script = " & ".join(f"busybox ping -c1 -W1 {to} >/dev/null && echo {to}" for to in addresses)
    told = container.exec(["sh", "-c", f"{script} & wait"]).stdout.split()
    return [to in told for to in addresses]


def test_containers_of_one_network_reach_each_other(world: World, mallory: pc.Container) -> None:
    (alice,) = world.alice.networks.values()

    assert all(answer.startswith("alice ") for answer in answers(world.bob, *ends(world.alice)))
    assert pings(mallory, str(alice.ip), str(alice.ip6)) == [True, True]


def test_networks_do_not_reach_each_other(world: World) -> None:
    (alice,) = world.alice.networks.values()

    assert answers(world.carol, *ends(world.alice), *ends(world.dave)) == [SILENCE] * 8
    assert answers(world.alice, *ends(world.carol), *ends(world.dave)) == [SILENCE] * 8
    assert pings(world.carol, str(alice.ip), str(alice.ip6)) == [False, False]


def test_another_host_does_not_reach_a_container_by_its_address(
    world: World, other_host: OtherHost
) -> None:
    assert answers(other_host, *ends(world.alice), *ends(world.dave)) == [SILENCE] * 8


def test_what_leaves_has_the_hosts_address(world: World, other_host: OtherHost) -> None:
    with serving_on(other_host) as port:
        for address, own in (
            (other_host.address, other_host.gateway),
            (other_host.address6, other_host.gateway6),
        ):
            found = answers(world.alice, *((kind, address, port) for kind in KINDS))
            assert [answer.split()[1] for answer in found] == [own] * 2
            assert pings(world.carol, address) == [True]


def test_the_hosts_services_refuse_containers(
    world: World, mallory: pc.Container, service: int, other_host: OtherHost
) -> None:
    own = [host_address(4), host_address(6), other_host.gateway, *world.network.gateways]
    for place in (world.bob, world.carol, mallory):
        found = answers(place, *((kind, to, service) for kind in KINDS for to in own))

        assert set(found) <= REFUSALS, found
    assert SILENCE not in answers(other_host, ("STREAM", own[0], service))
    assert pings(mallory, *own) == [True] * 5


def test_the_hosts_services_can_be_opened_to_a_network(engine: pc.Engine, service: int) -> None:
    with (
        pc.Network.create("open", ipv6=True, host_access=True, engine=engine) as network,
        pc.Container.run(None, ["sleep", "60"], network=network, engine=engine) as container,
    ):
        own = [host_address(4), host_address(6), *network.gateways]
        found = answers(container, *(("STREAM", to, service) for to in own),
                        *(("DGRAM", to, service) for to in network.gateways))  # fmt: skip

        assert all(answer.startswith(socket.gethostname()) for answer in found), found
        assert answers(container, ("STREAM", "127.0.0.1", service)) == ["ECONNREFUSED"]


def test_the_hosts_loopback_takes_nothing_from_a_container(engine: pc.Engine) -> None:
    with (
        pc.Network.create("open", host_access=True, engine=engine) as network,
        pc.Container.run(None, ["sleep", "60"], network=network, cap_add=MIGHTY,
                         engine=engine) as container,
        socket.socket(type=socket.SOCK_DGRAM) as listener,
    ):  # fmt: skip
        listener.bind(("", 0))
        listener.settimeout(0.3)
        mac = mac_of(str(network.attrs["bridge"]))
        port = str(listener.getsockname()[1])
        for source in (str(container.ip), "127.0.0.1"):
            send = [*TALK, "datagram", mac, source, "127.0.0.1", port]
            container.exec(send, check=True)
            with pytest.raises(TimeoutError):
                listener.recv(100)
        container.exec([*TALK, "datagram", mac, str(container.ip), network.gateways[0], port])
        assert listener.recv(100) == b"?"


def test_an_internal_network_has_no_way_out(
    engine: pc.Engine, world: World, service: int, other_host: OtherHost
) -> None:
    own = [host_address(4), host_address(6), *world.inner.gateways]
    outside = [other_host.address, other_host.address6]
    with (
        serving_on(other_host) as port,
        pc.Container.run(None, ["sleep", "60"], network=world.inner, cap_add=MIGHTY,
                         engine=engine) as container,
    ):  # fmt: skip
        assert "default" not in container.exec(["ip", "route"], check=True).stdout
        for gateway in world.inner.gateways:
            way = ["ip", "route", "add", "default", "via", gateway]
            container.exec(way, check=True)
        found = answers(container, *((kind, to, service) for kind in KINDS for to in own),
                        *((kind, to, port) for kind in KINDS for to in outside))  # fmt: skip
        assert found == [SILENCE] * 12
        assert pings(container, *own, *outside) == [False] * 6

        found = answers(container, *ends(world.dave))
        assert all(answer.startswith("dave ") for answer in found), found


@pytest.mark.parametrize("version", [4, 6])
def test_a_container_cant_send_as_another_or_as_the_gateway(
    version: int, world: World, mallory: pc.Container
) -> None:
    (alice,), (bob,) = world.alice.networks.values(), world.bob.networks.values()
    (own,) = mallory.networks.values()
    length, free = {4: (16, str(own.ip).rpartition(".")[0] + ".250"), 6: (64, f"{own.ip6}f")}[
        version
    ]
    theirs, target, mine = (
        str(member.ip if version == 4 else member.ip6) for member in (alice, bob, own)
    )
    question: Question = ("DGRAM", target, 80)
    assert answers(mallory, question) == [f"bob {mine}"]
    gateway = world.network.gateways[version == 6]
    for address in (theirs, free, gateway):
        change = f"ip addr flush dev eth0; ip addr add {address}/{length} dev eth0 nodad"
        mallory.exec(["sh", "-c", change if version == 6 else change.removesuffix(" nodad")],
                     check=True)  # fmt: skip

        assert answers(mallory, question, ("STREAM", target, 80)) in (
            [SILENCE, SILENCE],
            ["EHOSTUNREACH", "EHOSTUNREACH"],
        )
    assert answers(world.alice, question) == [f"bob {theirs}"]


def test_a_container_cant_send_with_anothers_hardware_address(
    world: World, mallory: pc.Container
) -> None:
    (alice,), (bob,) = world.alice.networks.values(), world.bob.networks.values()
    mallory.exec(["ip", "link", "set", "eth0", "address", alice.mac], check=True)

    assert "bob" not in "".join(answers(mallory, *ends(world.bob)))
    assert answers(world.bob, *ends(world.alice)) == [f"alice {bob.ip}", f"alice {bob.ip6}"] * 2


@pytest.mark.parametrize("version", [4, 6])
def test_a_container_cant_have_others_believe_that_an_address_is_its_own(
    version: int, world: World, mallory: pc.Container
) -> None:
    (alice,), (own,) = world.alice.networks.values(), mallory.networks.values()
    answers(
        world.bob,
        *ends(world.alice),
        *((kind, to, 9) for to in world.network.gateways for kind in KINDS),
    )
    stolen = [alice.ip, alice.ip6][version == 6], world.network.gateways[version == 6]
    for address in stolen:
        mallory.exec([*TALK, "claim", str(address), own.mac], check=True)

    known = world.bob.exec(["ip", "neigh"], check=True).stdout
    for address in stolen:
        assert re.search(rf"^{address} .* lladdr ", known, re.MULTILINE), known
    assert own.mac not in known
    assert (
        own.mac
        not in subprocess.run(
            ["ip", "neigh", "show", str(stolen[0])], capture_output=True, text=True, check=True
        ).stdout
    )
    assert all(answer.startswith("alice ") for answer in answers(world.bob, *ends(world.alice)))


def test_a_default_container_cant_change_its_network(world: World) -> None:
    for change in (
        "addr add 10.1.2.3/24 dev eth0",
        "addr del 127.0.0.1/8 dev lo",
        "link set eth0 address 02:00:00:00:00:01",
        "link set eth0 down",
        "link set eth0 mtu 9000",
        "route add 10.0.0.0/8 dev eth0",
        "neigh add 10.1.2.3 lladdr 02:00:00:00:00:01 dev eth0",
        "link add d0 type dummy",
    ):
        refused = world.alice.exec(["ip", *change.split()])
        assert "Operation not permitted" in refused.stderr, (change, refused)
    for code in ("socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
                 "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"):  # fmt: skip
        refused = world.alice.exec(["python3", "-c", f"import socket; {code}"])
        assert "PermissionError" in refused.stderr, refused
    written = world.alice.exec(["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])
    assert "Read-only file system" in written.stderr, written


def test_a_container_sees_its_own_network_only(world: World) -> None:
    shown = world.alice.exec(["ls", "/sys/class/net"], check=True).stdout.split()
    assert sorted(shown) == ["eth0", "lo"]
    devices = world.alice.exec(["cat", "/proc/net/dev"], check=True).stdout.splitlines()[2:]
    assert sorted(line.split(":")[0].strip() for line in devices) == ["eth0", "lo"]
    for name in ("tcp", "udp"):
        rows = world.alice.exec(["cat", f"/proc/net/{name}6"], check=True).stdout.splitlines()[1:]
        assert [row.split()[1].split(":")[1] for row in rows if ":0050 " in row]
    nothing = pc.run(["ls", "/sys/class/net"], engine=pc.Engine(root=world.alice.root))
    assert nothing.stdout.split() == ["lo"]


def test_the_hosts_network_is_the_hosts(engine: pc.Engine, service: int) -> None:
    with pc.Container.run(None, ["sleep", "60"], network="host", engine=engine) as container:
        shown = container.exec(["ip", "-br", "link"], check=True).stdout
        assert shown.splitlines()[0].startswith("lo")
        names = {line.split()[0].partition("@")[0] for line in shown.splitlines()}
        assert names >= {name for _, name in socket.if_nameindex() if not name.startswith("p")}
        assert answers(container, ("STREAM", "127.0.0.1", service))[0].endswith(" 127.0.0.1")
        refused = container.exec(["ip", "link", "add", "d0", "type", "dummy"])
        assert "Operation not permitted" in refused.stderr


def test_a_priority_is_that_of_all_that_a_container_sends(
    engine: pc.Engine, world: World, other_host: OtherHost
) -> None:
    table = nftables.Table(nftables.INET, "pctest")
    with (
        serving_on(other_host) as port,
        pc.Container.run(None, ["sleep", "60"], network=world.network, network_priority=11,
                         engine=engine) as container,
        Netlink(NETLINK_NETFILTER) as netlink,
    ):  # fmt: skip
        questions = [("STREAM", to, port) for to in (other_host.address, other_host.address6)]
        assert SILENCE not in answers(container, *questions)
        drop = [rules.meta(rules.PRIORITY), rules.equals((11).to_bytes(4, sys.byteorder))]
        nftables.change(netlink, [
            nftables.add_table(table),
            rules.add_base_chain(table, "out", "filter", rules.POSTROUTING, 200),
            rules.add_rule(table, "out", *drop, rules.DROP),
        ])  # fmt: skip
        try:
            assert answers(container, *questions) == [SILENCE, SILENCE]
            assert SILENCE not in answers(world.alice, *questions)
        finally:
            nftables.change(netlink, [nftables.delete_table(table)])


def test_the_mtu_is_that_of_the_way_out_or_as_asked(engine: pc.Engine, world: World) -> None:
    def mtu(container: pc.Container) -> int:
        return int(container.exec(["cat", "/sys/class/net/eth0/mtu"], check=True).stdout)

    outer = subprocess.run(
        ["ip", "route", "get", "203.0.113.1"], capture_output=True, text=True, check=True
    ).stdout
    (device,) = re.findall(r" dev (\S+)", outer)
    shown = subprocess.run(
        ["ip", "link", "show", device], capture_output=True, text=True, check=True
    )
    assert f" mtu {mtu(world.alice)} " in shown.stdout
    with (
        pc.Network.create("small", mtu=1300, engine=engine) as network,
        talking(engine, network=network) as container,
    ):
        assert mtu(container) == 1300
        assert answers(None, ("STREAM", str(container.ip), 80)) != [SILENCE]


def mac_of(link: str) -> str:
    """Give the hardware address of one of the host's interfaces."""
    shown = subprocess.run(["ip", "link", "show", link], capture_output=True, text=True, check=True)
    (mac,) = re.findall(r"link/ether (\S+)", shown.stdout)
    return str(mac)
