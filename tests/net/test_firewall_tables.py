"""Kinds of networks, and the firewall's tables: made when needed, gone when unused."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from pycontainers.errors import KernelError
from pycontainers.kernel import links
from pycontainers.net import bridges, firewall
from pycontainers.runtime import firewall as entries
from tests.net import lab
from tests.net.lab import BLUE, RED, WAN4, WAN6, Host

BRIDGED_BY_IP = pytest.mark.parametrize("by_ip", [True, False], ids=["bridged by IP", "bridged"])


@BRIDGED_BY_IP
def test_an_internal_network_has_no_way_in_or_out(by_ip: bool) -> None:
    with lab.world(internal=True, bridged_by_ip=by_ip) as world:
        for place in (world.away, world.cyd, world.host, world.ann, world.bob):
            place.listen(80)
        world.host.publish("", 8080, world.cyd, 80)
        world.host.publish("", 8081, world.ann, 80)

        for target in (world.away, world.cyd):
            assert world.ann.misses(target.address4, 80)
            assert world.ann.misses(target.address6, 80)
        for address in (RED.gateway4, RED.gateway6, WAN4, WAN6):
            assert world.ann.misses(address, 80)
            assert world.ann.misses(address, 8080)
        assert world.cyd.misses(world.ann.address4, 80)
        assert world.away.misses(WAN4, 8081)
        for address in (world.bob.address4, world.bob.address6):
            assert world.ann.reaches(address, 80)
        for address in (world.ann.address4, world.ann.address6):
            assert world.host.reaches(address, 80)


def test_a_network_with_host_access_reaches_the_hosts_services() -> None:
    with lab.world(host_access=True) as world:
        world.host.listen(80)

        for address in (RED.gateway4, WAN4, RED.gateway6, WAN6):
            assert world.ann.reaches(address, 80)
            server = world.host.bind(53, address)
            client = world.ann.bind(0, "::" if ":" in address else "0.0.0.0")
            client.sendto(b"question", (address, 53))
            server.sendto(b"answer", server.recvfrom(100)[1])
            assert client.recv(100) == b"answer"
        with pytest.raises(ConnectionRefusedError):
            world.cyd.connect(BLUE.gateway4, 80)


def test_what_a_container_sends_has_its_priority() -> None:
    with lab.world() as world:
        urgent = world.host.add_guest(RED, 9, priority=6)
        for place in (world.away, world.bob):
            place.listen(80)
        world.host.run("nft", "add table inet seen; add chain inet seen post "
                       "{ type filter hook postrouting priority 0; }; "
                       "add rule inet seen post meta priority 0:6 counter")  # fmt: skip

        for target in (world.away.address4, world.away.address6, world.bob.address4):
            assert world.ann.reaches(target, 80)
            before = world.host.run("nft", "list", "table", "inet", "seen")
            assert urgent.reaches(target, 80)

            assert world.host.run("nft", "list", "table", "inet", "seen") != before


def test_bridges_of_others_go_on_handing_on_what_they_did() -> None:
    """Also where their frames come by IP's rules, which drop what the host would forward now."""
    with ExitStack() as stack:
        host = Host(stack)
        host.sysctl("bridge/bridge-nf-call-iptables", "1")
        host.route.ask([links.add_bridge("foreign", lab.random_mac(), 1500)])
        one, two = (lab.Place(stack) for _ in range(2))
        for number, place in enumerate((one, two), 1):
            host.route.ask(
                links.add_veth(
                    f"port{number}",
                    host.index("foreign"),
                    place.pid,
                    inside="eth0",
                    mac=lab.random_mac(),
                    mtu=1500,
                )
            )
            place.configure("eth0", [f"192.0.2.{number}/24"], [])
        host.route.ask([links.set_up("foreign")])

        host.add_network(RED)

        assert host.sysctl("ipv4/ip_forward") == "1"
        two.listen(80)
        assert one.reaches("192.0.2.2", 80)


def test_the_host_is_no_router_any_more_when_the_last_network_is_gone() -> None:
    with ExitStack() as stack:
        host = Host(stack)
        host.add_network(RED)
        host.add_network(BLUE)
        for net in (RED, BLUE):
            firewall.remove_if_unused(host.netfilter)
            assert firewall.is_there(host.netfilter)
            assert host.sysctl("ipv4/ip_forward") == "1"
            remove(host, net)

        with host.entered():
            firewall.remove_if_unused(host.netfilter)

        assert host.run("nft", "list", "ruleset") == ""
        assert host.sysctl("ipv4/ip_forward") == "0"
        assert host.sysctl("ipv6/conf/all/forwarding") == "0"


def test_a_host_that_was_a_router_stays_one() -> None:
    with ExitStack() as stack:
        host = Host(stack)
        host.sysctl("ipv4/ip_forward", "1")
        host.add_network(RED)
        remove(host, RED)

        with host.entered():
            firewall.remove_if_unused(host.netfilter)

        assert host.sysctl("ipv4/ip_forward") == "1"
        assert host.sysctl("ipv6/conf/all/forwarding") == "0"


def test_a_host_that_others_made_use_of_as_a_router_stays_one_but_not_between_others() -> None:
    with lab.world() as world:
        world.host.run("nft", "add table ip engine; add chain ip engine forward "
                       "{ type filter hook forward priority 0; }")  # fmt: skip
        for net in (RED, BLUE):
            remove(world.host, net)
        world.near.listen(80)

        with world.host.entered():
            firewall.remove_if_unused(world.host.netfilter)

        assert world.host.sysctl("ipv4/ip_forward") == "1"
        assert world.away.misses(world.near.address4, 80)


def test_a_host_may_have_thousands_of_interfaces() -> None:
    names = [f"interface{number}" for number in range(3000)]
    with ExitStack() as stack:
        host = Host(stack)

        firewall.ensure(host.netfilter, bridges.Closed({4: names, 6: names}, names))

        shown = host.run("nft", "list", "ruleset")
        assert shown.count("interface2999") == 4


def test_chains_of_others_that_drop_are_named() -> None:
    with ExitStack() as stack:
        host = Host(stack)
        host.add_network(RED)
        assert firewall.foreign_drops(host.netfilter) == []

        host.run("nft", "add table ip filter; add chain ip filter FORWARD "
                 "{ type filter hook forward priority 0; policy drop; }; "
                 "add chain ip filter INPUT { type filter hook input priority 0; policy drop; }; "
                 "add table inet other; add chain inet other forward "
                 "{ type filter hook forward priority 5; }")  # fmt: skip

        assert firewall.foreign_drops(host.netfilter) == ["table ip filter, chain FORWARD"]


@pytest.mark.parametrize(
    "command",
    [
        "iptables-nft -I FORWARD -i pc+ -j ACCEPT",
        "nft add rule ip filter FORWARD oifname pc* accept",
    ],
)
def test_chains_of_others_that_let_our_bridges_through_are_not_named(command: str) -> None:
    with ExitStack() as stack:
        host = Host(stack)
        host.run("iptables-nft", "-P", "FORWARD", "DROP")
        host.run("iptables-nft", "-A", "FORWARD", "-i", "pcx", "-j", "ACCEPT")
        assert firewall.foreign_drops(host.netfilter) == ["table ip filter, chain FORWARD"]

        host.run(*command.split())

        assert firewall.foreign_drops(host.netfilter) == []


def test_all_can_be_done_twice_and_undone_twice() -> None:
    with ExitStack() as stack:
        host = Host(stack)
        for _ in range(2):
            host.add_network(RED)
        once = host.run("nft", "list", "ruleset")
        guest = ("pcv1", "02:00:00:00:00:01", ["172.30.0.2", "fd00:30::2"], 3)
        ports = [("tcp", "", 80, "172.30.0.2", 80), ("udp", WAN6, 53, "fd00:30::2", 53)]
        for _ in range(2):
            host.enter([*entries.admit(*guest), *entries.publish(ports)])
        for _ in range(2):
            host.enter([*entries.withdraw(*guest), *entries.unpublish(ports)])

        assert host.run("nft", "list", "ruleset") == once
        for _ in range(2):
            remove(host, RED)
        assert "pcred" not in host.run("nft", "list", "ruleset")
        for _ in range(2):
            with host.entered():
                firewall.remove_if_unused(host.netfilter)
            host.enter([*entries.withdraw(*guest), *entries.unpublish(ports)])


def test_a_table_that_somebody_deleted_is_made_again() -> None:
    with ExitStack() as stack:
        host = Host(stack)
        host.sysctl("ipv4/ip_forward", "1")
        host.sysctl("ipv6/conf/all/forwarding", "1")
        host.add_network(RED)
        whole = host.run("nft", "list", "ruleset")

        for table in ("inet pycontainers", "bridge pycontainers"):
            host.run("nft", f"delete table {table}")
            assert not firewall.is_there(host.netfilter)
            host.add_network(RED)

            assert sorted(host.run("nft", "list", "ruleset")) == sorted(whole)


def test_nft_shows_what_was_entered() -> None:
    with ExitStack() as stack:
        host = Host(stack)
        host.add_network(RED, internal=True, host_access=True)
        host.enter(entries.admit("pcv1", "02:00:00:00:00:01", ["172.30.0.2", "fd00:30::2"], 3))
        host.enter(entries.publish([("tcp", "", 8080, "172.30.0.2", 80),
                                    ("sctp", WAN6, 53, "fd00:30::2", 5353)]))  # fmt: skip

        shown = host.run("nft", "list", "ruleset")

        for wanted in (
            '"pcred" . "pcred"',
            'elements = { "pcred" }',
            "172.30.0.0/16",
            "tcp . 8080 : 172.30.0.2 . 80",
            f"{WAN6} . sctp . 53 : fd00:30::2 . 5353",
            "fd00:30::2 : 0:3",
            '"pcv1" . 02:00:00:00:00:01 . 172.30.0.2',
            '"pcv1" . 02:00:00:00:00:01 . fd00:30::2',
        ):
            assert wanted in shown


def test_nothing_is_entered_where_the_tables_are_missing() -> None:
    with ExitStack() as stack:
        host = Host(stack)

        with pytest.raises(KernelError, match=r"bound4 in table bridge pycontainers: No such file"):
            host.enter(entries.admit("pcv1", "02:00:00:00:00:01", ["172.30.0.2"], None))


def test_entering_a_container_takes_under_a_millisecond() -> None:
    with ExitStack() as stack:
        host = Host(stack)
        host.add_network(RED)
        times = []
        for number in range(50):
            guest = (f"pcv{number}", lab.random_mac(), [f"172.30.1.{number}"], None)
            port = [("tcp", "", 8000 + number, f"172.30.1.{number}", 80)]
            begun = time.perf_counter()
            host.enter([*entries.admit(*guest), *entries.publish(port)])
            times.append(time.perf_counter() - begun)
            host.enter([*entries.withdraw(*guest), *entries.unpublish(port)])

        assert sorted(times)[len(times) // 2] < 0.001


def remove(host: Host, net: lab.Net) -> None:
    firewall.remove_network(host.netfilter, net.bridge, [net.subnet4, net.subnet6])
    bridges.remove(host.route, net.bridge)
