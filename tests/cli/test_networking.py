"""network, port, and the flags of `run` about networks: containers of a shell reach each other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from pycontainers.cli import tables
from tests.cli.conftest import IMAGE, Cli
from tests.networks.conftest import ask, fetch

SERVE = "mkdir /tmp/www; hostname >/tmp/www/index.html; exec busybox httpd -f -p 80 -h /tmp/www"
SERVER = (IMAGE, "sh", "-c", SERVE)


@pytest.fixture
def net(cli: Cli) -> Iterator[Cli]:
    """The command line; no network is left of a test, nor a container."""
    yield cli
    left = cli.out("ps", "-aq").split()
    if left:
        cli("rm", "-f", *left)
    cli("network", "prune", "-f")


def wait_until_it_serves(cli: Cli, name: str) -> None:
    script = "until busybox nc 127.0.0.1 80 </dev/null; do busybox usleep 20000; done"
    cli("exec", name, "timeout", "20", "sh", "-c", script)


def test_networks_are_made_listed_shown_and_removed(net: Cli) -> None:
    subnets = ("--subnet", "10.214.0.0/24", "--subnet", "fd00:214::/64")
    identity = net.out(
        *("network", "create", *subnets, "--gateway", "10.214.0.9", "--ip-range", "10.214.0.64/26"),
        *("--internal", "--mtu", "1400", "--label", "kind=test", "back"),
    )
    net("network", "create", "--ipv6", "--host-access", "front")

    assert len(identity) == 64
    assert net.out("network", "ls", "-q").split()[0] == identity[:12]
    row = json.loads(net.out("network", "ls", "--format", "json", "-f", "label=kind=test"))
    assert (row["Name"], row["Subnets"]) == ("back", "10.214.0.0/24, fd00:214::/64")
    assert (row["Internal"], row["Containers"], row["Labels"]) == ("true", "0", "kind=test")
    assert net.out("network", "ls").split("\n")[1].split()[:2] == [identity[:12], "back"]
    [back, front] = json.loads(net.out("network", "inspect", "back", "front"))
    assert (back["gateway4"], back["range4"], back["mtu"]) == ("10.214.0.9", "10.214.0.64/26", 1400)
    assert (back["internal"], back["labels"]) == (True, {"kind": "test"})
    assert front["host_access"]
    assert front["subnet6"] is not None
    assert net.out("network", "rm", "back", "front") == "back\nfront"
    assert net.out("network", "ls", "-q") == ""


def test_what_is_wrong_with_networks_is_told(net: Cli) -> None:
    net("network", "create", "back")
    net("create", "--network", "back", "--name", "one", IMAGE, "true")

    assert "there already" in net("network", "create", "back", code=1).stderr
    assert "no address" in net("network", "connect", "--ip", "x", "back", "one", code=1).stderr
    assert "in the network" in net("network", "connect", "back", "one", code=1).stderr
    assert "is used by" in net("network", "rm", "back", code=1).stderr
    assert "no network 'far'" in net("network", "disconnect", "far", "one", code=1).stderr
    done = net("network", "inspect", "far", "back", code=1)
    assert "no network 'far'" in done.stderr
    assert [one["name"] for one in json.loads(done.stdout)] == ["back"]
    assert "KEY=VALUE" not in net("network", "create", code=125).stderr


def test_containers_of_a_network_find_each_other(net: Cli) -> None:
    net("network", "create", "back")
    net("run", "-d", "--name", "web", "-h", "first", "--net", "back", "--network-alias", "shop",
        *SERVER)  # fmt: skip
    wait_until_it_serves(net, "web")

    for name in ("web", "shop"):
        told = net.out("run", "--rm", "--network", "back", IMAGE, *ask(name))
        assert told.splitlines()[-1] == "first"


def test_connect_and_disconnect(net: Cli) -> None:
    net("network", "create", "--subnet", "10.214.1.0/24", "--subnet", "fd00:214:1::/64", "back")
    net("network", "create", "front")
    net("run", "-d", "--name", "one", "--network", "front", IMAGE, "sleep", "60")
    mac = "02:11:22:33:44:55"

    net("network", "connect", "--ip", "10.214.1.7", "--ip6", "fd00:214:1::7", "--alias", "shop",
        "--mac-address", mac, "back", "one")  # fmt: skip

    member = json.loads(net.out("inspect", "-f", "{{json .networks.back}}", "one"))
    assert member == {"ip": "10.214.1.7", "ip6": "fd00:214:1::7", "mac": mac,
                      "interface": "eth1", "aliases": ["shop"]}  # fmt: skip
    assert "10.214.1.7/24" in net.out("exec", "one", "ip", "addr", "show", "eth1")
    assert net.out("ps", "--format", "{{.Networks}}") == "front,back"
    net("network", "disconnect", "back", "one")
    assert net.out("ps", "--format", "{{.Networks}}") == "front"


def test_published_ports_are_reached_and_listed(net: Cli) -> None:
    net("run", "-d", "--name", "web", "-h", "first", "-p", "127.0.0.1::80", "--publish", "53/udp",
        *SERVER)  # fmt: skip
    wait_until_it_serves(net, "web")

    address, _, port = net.out("port", "web", "80").rpartition(":")
    assert fetch(address, int(port)) == "first\n"
    assert f"80/tcp -> 127.0.0.1:{port}" in net.out("port", "web").split("\n")
    udp = [line.rpartition(":") for line in net.out("port", "web", "53/udp").split("\n")]
    assert [(host, number) for host, _, number in udp] == [("0.0.0.0", udp[0][2]),
                                                           ("[::]", udp[0][2])]  # fmt: skip
    shown = net.out("ps", "--format", "{{.Ports}}")
    assert shown == ", ".join([f"0.0.0.0:{udp[0][2]}->53/udp", f"[::]:{udp[0][2]}->53/udp",
                               f"127.0.0.1:{port}->80/tcp"])  # fmt: skip
    assert shown in net.out("ps")
    assert net.out("inspect", "-f", "{{json .ports}}", "web").startswith('{"80/tcp": [["127.0.0.1"')
    assert "81/tcp of web is not published" in net("port", "web", "81", code=1).stderr
    net("stop", "-t", "0", "web")
    assert net.out("port", "web") == ""


def test_all_ports_that_the_image_names_are_published(net: Cli) -> None:
    net("create", "--name", "one", IMAGE, "true")
    net("commit", "-c", "EXPOSE 80 53/udp 90-91", "one", "app:1")
    named = net.out(
        "run", "-d", "--name", "web", "-P", "-p", "127.0.0.1::91", "app:1", "sleep", "60"
    )
    assert len(named) == 64

    ports = json.loads(net.out("inspect", "-f", "{{json .ports}}", "web"))
    assert {key: [host for host, _ in ends] for key, ends in ports.items()} == {
        "91/tcp": ["127.0.0.1"],
        **{key: ["0.0.0.0", "::"] for key in ("80/tcp", "53/udp", "90/tcp")},
    }
    net("rm", "-f", "web")
    net("run", "--rm", "--publish-all", IMAGE, "true")
    net("rmi", "app:1")


def test_flags_reach_the_container(net: Cli) -> None:
    net("network", "create", "--subnet", "10.214.2.0/24", "--subnet", "fd00:214:2::/64", "back")
    script = "ip addr show eth0; cat /etc/hosts /etc/resolv.conf; ip addr show eth1 | grep -c inet"

    shown = net.out(
        *("run", "--rm", "--network", "back", "--network", "bridge", "--ip", "10.214.2.9"),
        *("--ip6", "fd00:214:2::9", "--mac-address", "02:11:22:33:44:66", "--dns", "192.0.2.53"),
        *("--add-host", "far:203.0.113.9", "--add-host", "six=2001:db8::9"),
        *("--add-host", "me:host-gateway", "--network-rate", "8mbit", "--network-priority", "0"),
        *(IMAGE, "sh", "-c", script),
    )

    assert all(text in shown for text in ("10.214.2.9/24", "fd00:214:2::9/64", "02:11:22:33:44:66"))
    lines = [line.split() for line in shown.splitlines()]
    for line in (["203.0.113.9", "far"], ["2001:db8::9", "six"], ["10.214.2.1", "me"]):
        assert line in lines
    assert ["nameserver", "192.0.2.53"] in lines
    assert lines[-1] == ["1"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--network", "nowhere"], "no network 'nowhere'"),
        (["--network", "none", "-p", "80"], "ports"),
        (["--network", "host", "-P"], "publish_all"),
        (["-p", "80:"], "can't be read"),
        (["--network-rate", "10"], "network_rate"),
        (["--network-priority", "high"], "invalid int"),
        (["--ip", "10.0.0.1"], "ip"),
        (["--add-host", "name"], "name:address"),
    ],
)
def test_flags_that_can_not_be_used(net: Cli, words: list[str], text: str) -> None:
    assert text in net("run", "--rm", *words, IMAGE, "true", code=125).stderr
    assert net.out("ps", "-aq") == ""


def test_the_network_of_another_container_is_shared(net: Cli) -> None:
    net("network", "create", "back")
    net("run", "-d", "--name", "web", "-h", "first", "--network", "back", *SERVER)
    wait_until_it_serves(net, "web")

    beside = ("run", "--rm", "--network", "container:web", IMAGE)
    assert net.out(*beside, *ask("127.0.0.1")).splitlines()[-1] == "first"


def test_containers_are_found_by_their_network(net: Cli) -> None:
    identity = net.out("network", "create", "back")
    for name, network in (("one", "back"), ("two", "host"), ("three", "none")):
        net("create", "--name", name, "--network", network, IMAGE, "true")

    def found(wanted: str) -> str:
        return net.out("ps", "-a", "-f", f"network={wanted}", "--format", "{{.Names}}")

    assert [found(name) for name in ("back", identity, identity[:12])] == ["one"] * 3
    assert [found(name) for name in ("host", "none", "bridge")] == ["two", "three", ""]


def test_networks_that_nobody_is_in_are_pruned(net: Cli) -> None:
    for name in ("used", "kept", "old"):
        net("network", "create", "--label", f"is={name}", name)
    net("run", "-d", "--network", "used", IMAGE, "sleep", "60")

    assert "Are you sure" in net("network", "prune", input="n\n", code=1).stdout
    assert net.out("network", "prune", "-f", "--filter", "label=is=old") == "old"
    assert "kept" in net.out("system", "prune", "-f")
    assert net.out("network", "ls", "--format", "{{.Name}}") == "used"


def test_successive_ports_are_listed_as_a_range() -> None:
    ends = {f"{80 + n}/tcp": [("0.0.0.0", 8080 + n), ("::", 8080 + n)] for n in range(3)}
    ends |= {"53/udp": [("127.0.0.1", 53)], "90/tcp": [("0.0.0.0", 8083)]}

    assert re.split(", ", tables.ports(ends)) == [
        "127.0.0.1:53->53/udp",
        "0.0.0.0:8080-8082->80-82/tcp",
        "[::]:8080-8082->80-82/tcp",
        "0.0.0.0:8083->90/tcp",
    ]
    assert tables.ports({}) == ""
