"""Networks of containers: made, joined, left, removed; addresses, names, what is refused."""

from __future__ import annotations

import pickle
import socket
import subprocess
import time

import pytest

import pycontainers as pc
from tests.networks.conftest import ask, fetch, serving


def test_containers_of_a_network_reach_each_other_by_name(
    image: pc.Image, engine: pc.Engine, network: pc.Network
) -> None:
    with serving(image, engine, name="web", hostname="first", network=network):
        result = pc.run(ask("web"), image=image, network=network, engine=engine)

    assert "hello from first" in result.stdout, result


def test_a_container_has_its_address_from_creation_on_and_after_a_restart(
    image: pc.Image, engine: pc.Engine, network: pc.Network
) -> None:
    with pc.Container.create(image, ["sleep", "60"], network=network, engine=engine) as container:
        before = container.ip
        assert before is not None
        for _ in range(3):
            container.start()
            shown = container.exec(["ip", "-4", "addr", "show", "eth0"]).stdout
            assert f"inet {before}/" in shown
            container.stop(timeout=0)
        container.start()
        container.restart(timeout=0)

        assert f"inet {before}/" in container.exec(["ip", "addr", "show", "eth0"]).stdout
        assert container.ip == before


def test_the_network_is_there_when_the_program_begins(image: pc.Image, engine: pc.Engine) -> None:
    for _ in range(5):
        result = pc.run(["ip", "-4", "route"], image=image, network="bridge", engine=engine)
        assert result.stdout.startswith("default via "), result


def test_chosen_addresses_and_hardware_addresses(image: pc.Image, engine: pc.Engine) -> None:
    subnets = ["10.213.7.0/24", "fd00:213:7::/64"]
    with (
        pc.Network.create("fixed", subnet=subnets, gateway="10.213.7.254",
                          ip_range="10.213.7.128/25", engine=engine) as network,
        pc.Container.run(image, ["sleep", "60"], network=network, ip="10.213.7.9",
                         ip6="fd00:213:7::9", mac="02:11:22:33:44:55",
                         engine=engine) as container,
        pc.Container.run(image, ["sleep", "60"], network="fixed", engine=engine) as other,
    ):  # fmt: skip
        shown = container.exec(["ip", "addr", "show", "eth0"]).stdout
        assert "10.213.7.9/24" in shown
        assert "fd00:213:7::9/64" in shown
        assert "tentative" not in shown
        assert "02:11:22:33:44:55" in shown
        assert "via 10.213.7.254" in container.exec(["ip", "route"]).stdout
        assert other.ip is not None
        assert int(other.ip.rpartition(".")[2]) >= 128
        with pytest.raises(pc.Conflict, match="in use"):
            pc.Container.create(image, ["true"], network=network, ip="10.213.7.9", engine=engine)
        with pytest.raises(pc.InvalidArgument, match="not in the network's subnet"):
            pc.Container.create(image, ["true"], network=network, ip="10.99.0.1", engine=engine)
        assert len(pc.Container.list(all=True, engine=engine)) == 2


def test_connecting_and_disconnecting_a_running_container(
    image: pc.Image, engine: pc.Engine, network: pc.Network
) -> None:
    with (
        pc.Network.create("front", engine=engine) as front,
        serving(image, engine, name="web", network=network) as web,
        pc.Container.run(image, ["sleep", "60"], network=front, engine=engine) as client,
    ):
        assert not client.exec(ask("shop")).ok
        front.connect(web, aliases=["shop"])
        assert "hello" in client.exec(ask("shop")).stdout
        assert set(web.networks) == {"backend", "front"}
        with pytest.raises(pc.Conflict):
            front.connect(web)

        web.restart(timeout=0)
        web.wait_for(port=80)
        assert "hello" in client.exec(ask("shop")).stdout

        front.disconnect(web)
        assert not client.exec(ask("shop")).ok
        assert set(web.networks) == {"backend"}
        assert "eth1" not in web.exec(["ip", "addr"]).stdout
        with pytest.raises(pc.Conflict):
            front.disconnect(web)


def test_leaving_the_network_of_the_way_out_leads_through_the_next(
    image: pc.Image, engine: pc.Engine, network: pc.Network
) -> None:
    with (
        pc.Network.create("second", engine=engine) as second,
        pc.Container.run(image, ["sleep", "60"], network=[network, second],
                         engine=engine) as container,
    ):  # fmt: skip
        assert f"via {network.gateways[0]}" in container.exec(["ip", "route"]).stdout
        network.disconnect(container)
        assert f"via {second.gateways[0]}" in container.exec(["ip", "route"]).stdout


def test_a_network_with_containers_is_not_removed(
    image: pc.Image, engine: pc.Engine, network: pc.Network
) -> None:
    with pc.Container.create(image, ["true"], network=network, engine=engine) as container:
        with pytest.raises(pc.Conflict, match=container.id[:12]):
            network.remove()
        assert container.id in network.containers
    assert network.containers == {}


def test_networks_are_found_listed_and_pruned(engine: pc.Engine) -> None:
    with pc.Network.create("one", labels={"kind": "test"}, engine=engine) as one:
        assert pc.Network.get("one", engine=engine) == one
        assert pc.Network.get(one.id[:10], engine=engine) == one
        assert pc.Network.list(filters={"label": "kind=test"}, engine=engine) == [one]
        assert pickle.loads(pickle.dumps(one)) == one
        assert repr(one).startswith("<Network one ")
        with pytest.raises(pc.Conflict, match="there already"):
            pc.Network.create("one", engine=engine)
        assert pc.Network.prune(filters={"label": "kind=test"}, engine=engine) == ["one"]
        with pytest.raises(pc.NetworkNotFound):
            pc.Network.get("one", engine=engine)
        assert repr(one).endswith("removed>")


def test_bad_networks_are_refused_before_anything_is_made(engine: pc.Engine) -> None:
    before = pc.Network.list(engine=engine)
    bad: list[dict[str, object]] = [
        {"subnet": "10.0.0.1/24"},
        {"subnet": "nonsense"},
        {"subnet": "10.0.0.0/31"},
        {"subnet": "127.0.0.0/8"},
        {"subnet": ["10.9.0.0/24", "10.8.0.0/24"]},
        {"subnet": "10.9.0.0/24", "gateway": "10.8.0.1"},
        {"subnet": "10.9.0.0/24", "gateway": "10.9.0.255"},
        {"subnet": "10.9.0.0/24", "ip_range": "10.8.0.0/25"},
        {"gateway": "10.9.0.1"},
        {"internal": True, "host_access": True},
        {"mtu": 3},
    ]
    for options in bad:
        with pytest.raises(pc.InvalidArgument):
            pc.Network.create("bad", engine=engine, **options)  # type: ignore[arg-type]
    for name in ("bridge", "host", "none", "", "a b"):
        with pytest.raises(pc.InvalidArgument):
            pc.Network.create(name, engine=engine)
    with pytest.raises(pc.Conflict, match="overlaps"):
        pc.Network.create("bad", subnet="192.0.2.0/28", engine=engine)
    assert pc.Network.list(engine=engine) == before


def test_bad_network_options_of_containers_are_refused(
    image: pc.Image, engine: pc.Engine, network: pc.Network
) -> None:
    bad: list[dict[str, object]] = [
        {"network": "none", "ports": {80: 8080}},
        {"network": "host", "ip": "10.0.0.1"},
        {"network": ["host", "bridge"]},
        {"network": []},
        {"network": "bridge", "aliases": ["x"]},
        {"network": "none", "dns": ["10.0.0.1"]},
        {"network": network, "mac": "01:00:00:00:00:00"},
        {"network": network, "ip": "not an address"},
        {"network": network, "aliases": ["no spaces"]},
        {"network": network, "network_rate": "fast"},
        {"network": network, "network_priority": 99},
        {"network": 3},
    ]
    for options in bad:
        with pytest.raises(pc.InvalidArgument):
            pc.Container.create(image, ["true"], engine=engine, **options)  # type: ignore[arg-type]
    with pytest.raises(pc.NetworkNotFound):
        pc.Container.create(image, ["true"], network="nowhere", engine=engine)
    with pytest.raises(pc.ContainerNotFound):
        pc.Container.create(image, ["true"], network="container:nobody", engine=engine)


def test_sharing_the_network_of_another_container(
    image: pc.Image, engine: pc.Engine, network: pc.Network
) -> None:
    with (
        serving(image, engine, name="web", network=network) as web,
        pc.Container.run(image, ["sleep", "60"], network=web, engine=engine) as beside,
    ):
        assert "hello" in beside.exec(ask("127.0.0.1")).stdout
        assert str(web.ip) in beside.exec(["ip", "addr"]).stdout
        assert "eth0" in beside.exec(["ls", "/sys/class/net"]).stdout
        assert "web" in beside.exec(["cat", "/etc/hosts"]).stdout
        beside.restart(timeout=0)
        assert "hello" in beside.exec(ask("127.0.0.1")).stdout
        beside.stop(timeout=0)
        web.stop(timeout=0)
        with pytest.raises(pc.Conflict, match="not running"):
            beside.start()


def test_names_of_the_container_itself_and_of_extra_hosts(
    image: pc.Image, engine: pc.Engine, network: pc.Network
) -> None:
    extra = {"elsewhere": "203.0.113.9", "host.docker.internal": "host-gateway"}
    result = pc.run(["cat", "/etc/hosts"], image=image, network=network, hostname="me",
                    extra_hosts=extra, engine=engine)  # fmt: skip

    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["203.0.113.9", "elsewhere"] in lines
    assert [network.gateways[0], "host.docker.internal"] in lines
    assert any("me" in words for words in lines)
    assert ["127.0.0.1", "localhost"] in lines


def test_name_servers_that_are_given_and_those_of_the_host(
    image: pc.Image, engine: pc.Engine
) -> None:
    shown = pc.run(["cat", "/etc/resolv.conf"], image=image, network="bridge",
                   dns=["192.0.2.53"], engine=engine).stdout  # fmt: skip
    assert shown.splitlines()[0] == "nameserver 192.0.2.53"
    usual = pc.run(["cat", "/etc/resolv.conf"], image=image, network="bridge", engine=engine)
    assert "nameserver" in usual.stdout
    assert "nameserver 127." not in usual.stdout
    host = pc.run(["cat", "/etc/resolv.conf"], image=image, network="host", engine=engine)
    assert host.ok, host


def test_a_rate_limits_both_directions(
    image: pc.Image, engine: pc.Engine, network: pc.Network
) -> None:
    with serving(image, engine, network=network, network_rate="8mbit") as container:
        container.exec(["sh", "-c", "head -c 1000000 /dev/zero >/tmp/www/index.html"])
        began = time.monotonic()
        read = len(fetch(str(container.ip), 80, timeout=30))
        took = time.monotonic() - began
        container.exec(["sh", "-c", "nc -l -p 81 >/dev/null &"])
        time.sleep(0.2)
        began = time.monotonic()
        with socket.create_connection((str(container.ip), 81)) as connection:
            connection.sendall(bytes(1_000_000))
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
        took_up = time.monotonic() - began

    assert read == 1_000_000
    assert took > 0.2, f"a million bytes in {took:.2f} s"
    assert took_up > 0.2, f"a million bytes in {took_up:.2f} s"


def test_the_default_bridge_goes_with_the_last_engine(
    image: pc.Image, busybox: object, tmp_path: object
) -> None:
    with pc.Engine(root=f"{tmp_path}/root") as engine:
        own = pc.Image.from_rootfs(str(busybox), engine=engine)
        assert pc.run(["true"], image=own, network="bridge", engine=engine).ok
        bridge = pc.Network.get("bridge", engine=engine).attrs["bridge"]
        shown = subprocess.run(["ip", "link", "show", bridge], capture_output=True, check=False)
        assert shown.returncode == 0
    shown = subprocess.run(["ip", "link", "show", bridge], capture_output=True, check=False)
    assert shown.returncode != 0
