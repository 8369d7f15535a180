"""Many threads and processes at the same networks."""

from __future__ import annotations

import ipaddress
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pycontainers as pc
from pycontainers.kernel import nftables
from pycontainers.kernel.netlink import NETLINK_NETFILTER, Netlink
from pycontainers.runtime import firewall
from tests import leaks
from tests.crashes.application import Application

PROCESSES, EACH = 3, 34
STARTED = 3  # each third one

JOINING = f"""
    import json
    from concurrent.futures import ThreadPoolExecutor

    def join(number):
        container = pc.Container.create(
            image, ["sleep", "600"], name=f"c{{os.getpid()}}-{{number}}", network="crowd",
            ports=["80"], engine=engine)
        if number % {STARTED} == 0:
            container.start()
        return container.id

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(join, range({EACH})))
    say(json.dumps(ids))
    time.sleep(600)
"""


def test_a_hundred_containers_join_a_network_at_once(
    own: pc.Engine, root: Path, busybox: Path
) -> None:
    with pc.Network.create("crowd", subnet="10.214.7.0/25", ipv6=True, engine=own) as network:
        before = leaks.snapshot()
        with ExitStack() as stack:
            processes = [
                stack.enter_context(Application(JOINING, root, busybox)) for _ in range(PROCESSES)
            ]
            ids = [one for process in processes for one in json.loads(process.line())]
            members = network.containers

            assert set(members) == set(ids)
            assert len(ids) == PROCESSES * EACH
            for addresses in ([m.ip for m in members.values()], [m.ip6 for m in members.values()]):
                assert len(set(addresses)) == len(ids)
            containers = [pc.Container.get(one, engine=own) for one in ids]
            names = {str(container.name): members[container.id] for container in containers}
            running = [one for one in containers if one.status == "running"]
            assert len(running) == PROCESSES * -(-EACH // STARTED)
            assert senders(running) == {
                (members[one.id].mac, address)
                for one in running
                for address in (members[one.id].ip, members[one.id].ip6)
            }
            assert len({one.port(80) for one in running}) == len(running)
            for one in containers:
                assert known_names(root, one) >= {
                    (address, name)
                    for name, member in names.items()
                    for address in (member.ip, member.ip6)
                }
            for process in processes:
                process.kill()

        assert pc.Container.list(all=True, engine=own) == []
        assert network.containers == {}
        leaks.assert_none_since(before)
        with ThreadPoolExecutor(8) as pool:
            again = list(pool.map(lambda _: joined(own), range(100)))
        assert len({one.ip for one in again}) == 100
        for one in again:
            one.remove()


def test_networks_come_and_go_at_once(engine: pc.Engine) -> None:
    before = leaks.snapshot()

    def come_and_go(number: int) -> str:
        with pc.Network.create(f"many{number}", engine=engine) as network:
            assert pc.Network.get(f"many{number}", engine=engine) == network
            return network.subnets[0]

    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(come_and_go, range(100)):
            pass
        networks = list(pool.map(lambda n: pc.Network.create(f"n{n}", engine=engine), range(12)))

    assert len({network.subnets for network in networks}) == 12
    assert {network.name for network in networks} <= {
        network.name for network in pc.Network.list(engine=engine)
    }
    assert len(pc.Network.prune(filters={"name": "n"}, engine=engine)) == 12
    leaks.assert_none_since(before, "links", "firewall")


def joined(own: pc.Engine) -> pc.Container:
    return pc.Container.create(None, ["true"], network="crowd", engine=own)


def senders(containers: list[pc.Container]) -> set[tuple[str, str]]:
    """Give which MAC and IP addresses these may send from, as the firewall has it."""
    cables = {f"pv{container.id[:12]}0".encode() for container in containers}
    found = set()
    with Netlink(NETLINK_NETFILTER) as netlink:
        for name in firewall.BOUND.values():
            for key, _ in nftables.elements(netlink, firewall.BRIDGED, name):
                if key[:16].rstrip(b"\0") in cables:
                    found.add((key[16:22].hex(":"), str(ipaddress.ip_address(key[24:]))))
    return found


def known_names(root: Path, container: pc.Container) -> set[tuple[str, str]]:
    """Give what a container's /etc/hosts says, by lines' first two words."""
    lines = (root / "containers" / container.id / "hosts").read_text().splitlines()
    return {(line.split()[0], name) for line in lines for name in line.split()[1:]}
