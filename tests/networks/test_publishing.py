"""Published ports of real containers: from where they are reached, and whose they are when."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

import pycontainers as pc
from pycontainers.kernel import nftables
from pycontainers.kernel.netlink import NETLINK_NETFILTER, Netlink
from pycontainers.runtime import firewall
from tests.crashes.application import Application
from tests.networks.conftest import OtherHost, answers, host_address, talking
from tests.networks.talk import ask

KINDS = ("STREAM", "DGRAM")
REFUSED = "ECONNREFUSED"


class World(NamedTuple):
    """A server, a neighbour of it, and a container of another network."""

    server: pc.Container
    neighbour: pc.Container
    stranger: pc.Container
    gateways: tuple[str, ...]


@pytest.fixture(scope="module")
def world(engine: pc.Engine) -> Iterator[World]:
    with (
        pc.Network.create("published", ipv6=True, engine=engine) as network,
        pc.Network.create("elsewhere", ipv6=True, engine=engine) as elsewhere,
        talking(engine, hostname="server", network=network,
                ports=["80", "80/udp", "127.0.0.1::80", "[::1]::80/udp"]) as server,
        pc.Container.run(None, ["sleep", "1000"], network=network, engine=engine) as neighbour,
        pc.Container.run(None, ["sleep", "1000"], network=elsewhere, engine=engine) as stranger,
    ):  # fmt: skip
        yield World(server, neighbour, stranger, network.gateways)


def everywhere(world: World) -> dict[str, int]:
    """Give the ports that are published at all addresses, by the kind of their sockets."""
    ports = world.server.ports
    return {"STREAM": ports["80/tcp"][0][1], "DGRAM": ports["80/udp"][0][1]}


def test_the_host_reaches_a_port_by_all_of_its_addresses(world: World) -> None:
    own = [host_address(4), host_address(6)]
    for address in ("127.0.0.1", "::1", *own, *world.gateways):
        for kind, port in everywhere(world).items():
            name, peer = ask(kind, address, port).split()

            assert name == "server"
            assert peer == address if address in own else peer in world.gateways


def test_other_hosts_reach_a_port_by_all_addresses_and_keep_theirs(
    world: World, other_host: OtherHost
) -> None:
    at = {4: (host_address(4), other_host.gateway), 6: (host_address(6), other_host.gateway6)}
    for version, own in ((4, other_host.address), (6, other_host.address6)):
        questions = [(k, to, port) for k, port in everywhere(world).items() for to in at[version]]

        assert answers(other_host, *questions) == [f"server {own}"] * 4


def test_containers_reach_a_port_of_another_network_a_neighbour_and_their_own(
    world: World,
) -> None:
    addresses = (host_address(4), host_address(6), *world.gateways)
    questions = [(k, to, port) for k, port in everywhere(world).items() for to in addresses]
    for place in (world.stranger, world.neighbour, world.server):
        found = answers(place, *questions)

        assert {name for answer in found for name in answer.split()} <= {"server", *world.gateways}


def test_a_port_at_the_loopback_is_reached_from_the_host_alone(
    world: World, other_host: OtherHost
) -> None:
    port = world.server.ports["80/tcp"][2][1]
    port6 = world.server.ports["80/udp"][2][1]
    assert ask("STREAM", "127.0.0.1", port).startswith("server ")
    assert ask("DGRAM", "::1", port6).startswith("server ")

    for own in (host_address(4), host_address(6), "::1"):
        assert ask("STREAM", own, port) == REFUSED
    at = [host_address(4), other_host.gateway, host_address(6), other_host.gateway6]
    outside = answers(other_host, *(("STREAM", to, port) for to in at))
    assert outside == [REFUSED] * 4
    assert answers(other_host, *(("DGRAM", to, port6) for to in at)) == [REFUSED] * 4
    inside = answers(world.stranger, *(("STREAM", to, port) for to in (*at, *world.gateways)))
    assert "server" not in " ".join(inside)


def test_a_port_at_one_address_is_not_there_at_others(
    engine: pc.Engine, network: pc.Network, other_host: OtherHost
) -> None:
    own, other = host_address(4), other_host.gateway
    with talking(engine, network=network, ports=[f"{own}::80"]) as server:
        ((at, port),) = server.ports["80/tcp"]
        assert at == own

        assert server.id[:12] in ask("STREAM", own, port)
        assert answers(other_host, ("STREAM", own, port)) == [
            f"{server.id[:12]} {other_host.address}"
        ]
        assert answers(other_host, ("STREAM", other, port)) == [REFUSED]
        assert ask("STREAM", "127.0.0.1", port) == ask("STREAM", other, port) == REFUSED


def test_a_network_of_ipv4_is_reached_by_ipv6_too(
    engine: pc.Engine, network: pc.Network, other_host: OtherHost
) -> None:
    with talking(engine, hostname="old", network=network, ports=["80", "80/udp"]) as server:
        for kind, port in (("STREAM", server.port(80)), ("DGRAM", server.port("80/udp"))):
            assert ask(kind, "::1", port) == f"old {network.gateways[0]}"
            assert ask(kind, host_address(6), port) == f"old {network.gateways[0]}"
            found = answers(other_host, (kind, host_address(6), port))
            assert found == [f"old {network.gateways[0]}"]


def test_ranges_lead_one_to_one_or_to_the_first_free(
    engine: pc.Engine, network: pc.Network
) -> None:
    first = free_ports(3)
    with (
        talking(engine, 8000, 8001, 8002, network=network,
                ports={"8000-8002": f"{first}-{first + 2}"}) as server,
    ):  # fmt: skip
        ports = {key: found[0][1] for key, found in server.ports.items()}
        assert ports == {"8000/tcp": first, "8001/tcp": first + 1, "8002/tcp": first + 2}
        for port in ports.values():
            assert server.id[:12] in ask("STREAM", host_address(4), port)
    with socket.create_server(("127.0.0.1", first)):
        options = {"network": network, "ports": {80: f"{first}-{first + 1}"}, "engine": engine}
        with pc.Container.run(None, ["sleep", "60"], **options) as server:  # type: ignore[arg-type]
            assert server.port(80) == first + 1
            with pytest.raises(pc.Conflict, match=f"each port of {first}-{first + 1}"):
                pc.Container.run(None, ["sleep", "60"], **options)  # type: ignore[arg-type]


def test_random_ports_are_known_at_once_and_all_different(
    engine: pc.Engine, network: pc.Network
) -> None:
    def start(_: int) -> pc.Container:
        ports = {80: None, "80/udp": None, 81: "127.0.0.1:"}
        return pc.Container.run(None, ["sleep", "60"], network=network, ports=ports, engine=engine)

    with ThreadPoolExecutor(8) as pool:
        containers = list(pool.map(start, range(12)))
    found = [end for c in containers for ends in c.ports.values() for end in ends]

    assert len(found) == 12 * 5
    assert len({c.port(port) for c in containers for port in (80, 81)}) == 24
    assert len({c.port("80/udp") for c in containers}) == 12
    for container in containers:
        container.remove(force=True)


def test_sctp_is_published_by_the_firewall(engine: pc.Engine, network: pc.Network) -> None:
    port = free_ports(1)
    with pc.Container.run(None, ["sleep", "60"], network=network, engine=engine,
                          ports=[f"{port}:7/sctp"]) as container:  # fmt: skip
        key = nftables.protocol("sctp") + nftables.port(port)
        target = nftables.address(str(container.ip)) + nftables.port(7)
        assert published()[key] == target
    assert key not in published()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("taken", ["127.0.0.1", "::1", "0.0.0.0"])
def test_a_port_in_use_is_refused_and_leaves_nothing(
    kind: str, taken: str, engine: pc.Engine, network: pc.Network
) -> None:
    protocol = {"STREAM": "tcp", "DGRAM": "udp"}[kind]
    family = socket.AF_INET6 if ":" in taken else socket.AF_INET
    with socket.socket(family, getattr(socket, f"SOCK_{kind}")) as holder:
        holder.bind((taken, 0))
        if kind == "STREAM":
            holder.listen()
        port = holder.getsockname()[1]
        with pc.Container.create(None, ["sleep", "60"], network=network, engine=engine,
                                 ports=["81", f"{port}:80/{protocol}"]) as container:  # fmt: skip
            before = published()
            with pytest.raises(pc.Conflict, match=f"{port}/{protocol}") as refused:
                container.start()

            assert refused.value.hint is not None
            assert str(os.getpid()) in refused.value.hint
            assert container.status == "created"
            assert container.ports == {}
            assert published() == before
            holder.close()
            container.start()
            assert container.port(f"80/{protocol}") == port


def test_a_port_of_another_container_is_refused(engine: pc.Engine, network: pc.Network) -> None:
    with talking(engine, network=network, ports=["80"]) as first:
        port = first.port(80)
        known = set(pc.Container.list(all=True, engine=engine))
        with pytest.raises(pc.Conflict, match=f"{port}/tcp of this host is in use"):
            pc.Container.run(None, ["true"], network=network, ports={80: port}, engine=engine)

        assert first.id[:12] in ask("STREAM", host_address(4), port)
        assert set(pc.Container.list(all=True, engine=engine)) == known


@pytest.mark.parametrize("end", ["stop", "remove", "kill", "exit", "supervisor"])
def test_a_port_is_free_when_its_container_has_ended(
    end: str, engine: pc.Engine, network: pc.Network, other_host: OtherHost
) -> None:
    with pc.Container.run(None, ["sleep", "60"], network=network, ports=["80", "80/udp"],
                          engine=engine) as container:  # fmt: skip
        port, udp = container.port(80), container.port("80/udp")
        target = nftables.address(str(container.ip)) + nftables.port(80)
        assert target in published().values()

        if end == "stop":
            container.stop(timeout=0)
        elif end == "remove":
            container.remove(force=True)
        elif end == "supervisor":
            os.kill(container.attrs["supervisor"][0], signal.SIGKILL)
            until(lambda: container.status == "exited" and is_free(port))
        else:
            container.kill("KILL")
            container.wait()

        assert target not in published().values()
        with socket.create_server(("", port)), socket.socket(type=socket.SOCK_DGRAM) as other:
            other.bind(("", udp))
        assert answers(other_host, ("STREAM", host_address(4), port)) == [REFUSED]
        assert end == "remove" or container.ports == {}


def test_a_port_is_free_for_the_next_when_its_application_was_killed(
    root: Path, busybox: Path
) -> None:
    port = free_ports(1)
    program = f"""
        with pc.Network.create("one", engine=engine) as network:
            ports = {{80: {port}, "80/udp": {port}}}
            pc.Container.run(image, ["sleep", "60"], network=network, ports=ports, engine=engine)
            say("go")
            time.sleep(60)
    """
    for _ in range(3):
        with Application(program, root, busybox) as application:
            application.line()
            assert ask("STREAM", "127.0.0.1", port) != REFUSED  # and so there is a relay too
            application.kill()
        with pc.Engine(root=root) as engine, pc.Network.get("one", engine=engine) as network:
            ports = {80: port, "80/udp": port}
            with talking(engine, network=network, ports=ports) as server:
                assert server.id[:12] in ask("STREAM", "127.0.0.1", port)
                assert server.id[:12] in ask("STREAM", host_address(4), port)


def test_what_was_killed_takes_no_port_from_its_successor(
    engine: pc.Engine, network: pc.Network, other_host: OtherHost
) -> None:
    with pc.Container.run(None, ["sleep", "60"], network=network, ports=["80"],
                          engine=engine) as killed:  # fmt: skip
        port = killed.port(80)
        os.kill(killed.attrs["supervisor"][0], signal.SIGKILL)
        until(lambda: is_free(port))
        with talking(engine, hostname="next", network=network, ports={80: port}):
            assert killed.status == "exited"  # which takes away what it has left

            found = answers(other_host, ("STREAM", host_address(4), port))
            assert found == [f"next {other_host.address}"]


def test_a_random_port_stays_over_restarts(engine: pc.Engine, network: pc.Network) -> None:
    program = ["sh", "-c", "sleep 0.1; exit 1"]
    with (
        talking(engine, network=network, ports=["80"]) as server,
        pc.Container.run(None, program, network=network, ports=["80"], engine=engine,
                         restart="always") as failing,
    ):  # fmt: skip
        port = server.port(80)
        of_failing = failing.ports

        server.restart(timeout=0)
        server.wait_for(port=80)
        assert server.port(80) == port
        assert server.id[:12] in ask("STREAM", host_address(4), port)
        assert server.id[:12] in ask("STREAM", "127.0.0.1", port)
        until(lambda: failing.restarts > 1)
        assert failing.ports == of_failing
        failing.stop(timeout=0)
        assert failing.ports == {}
        server.stop(timeout=0)
        server.start()
        assert server.port(80) > 0


def test_ports_follow_a_container_out_of_its_first_network(
    engine: pc.Engine, network: pc.Network, other_host: OtherHost
) -> None:
    with (
        pc.Network.create("second", engine=engine) as second,
        talking(engine, hostname="server", network=[network, second], ports=["80"]) as server,
    ):
        port = server.port(80)
        assert ask("STREAM", "127.0.0.1", port) == f"server {network.gateways[0]}"
        network.disconnect(server)

        assert answers(other_host, ("STREAM", host_address(4), port)) == [
            f"server {other_host.address}"
        ]
        assert ask("STREAM", host_address(4), port) == f"server {host_address(4)}"
        assert ask("STREAM", "127.0.0.1", port) == f"server {second.gateways[0]}"
        second.disconnect(server)
        server.stop(timeout=0)
        with pytest.raises(pc.Conflict, match="no network that has a way in"):
            server.start()


def test_another_process_knows_the_ports_of_a_detached_container(
    engine: pc.Engine, network: pc.Network, busybox: Path
) -> None:
    program = """
        import json
        container = pc.Container.get("shared", engine=engine)
        say(json.dumps(container.ports))
        container.restart(timeout=0)
        say(json.dumps(container.ports))
    """
    with talking(engine, name="shared", network=network, ports=["80"], detach=True) as server:
        with Application(program, Path(engine.root), busybox) as other:
            lines = other.lines()

        server.wait_for(port=80)
        ports = {key: [tuple(end) for end in ends] for key, ends in json.loads(lines[0]).items()}
        assert ports == server.ports
        assert lines[0] == lines[1]
        assert server.id[:12] in ask("STREAM", host_address(4), server.port(80))


def test_an_internal_network_publishes_nothing(engine: pc.Engine) -> None:
    with pc.Network.create("inner", internal=True, engine=engine) as inner:
        with pytest.raises(pc.InvalidArgument, match="no way in"):
            pc.Container.create(None, ["true"], network=inner, ports=["80"], engine=engine)
        assert inner.containers == {}


def free_ports(count: int) -> int:
    """Give the first of so many ports in a row that nobody uses now."""
    for first in range(20000 + os.getpid() % 8000, 60000, count):
        if all(map(is_free, range(first, first + count))):
            return first
    raise AssertionError("no ports are free")


def is_free(port: int) -> bool:
    """Whether nobody listens for TCP at a port."""
    try:
        socket.create_server(("", port)).close()
    except OSError:
        return False
    return True


def published() -> dict[bytes, bytes]:
    """Give what the firewall has of ports that are published at all addresses of IPv4."""
    with Netlink(NETLINK_NETFILTER) as netlink:
        return dict(nftables.elements(netlink, firewall.ROUTED, firewall.PUBLISHED_ANY[4]))


def until(condition: Callable[[], bool]) -> None:
    """Wait until it is so, and fail where it never is."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
