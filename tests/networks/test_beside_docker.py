"""Networks on a host that Docker uses too, with its usual bridge and rules."""

from __future__ import annotations

import contextlib
import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from tests.networks.conftest import TALK, OtherHost, answers, talking
from tests.networks.docker import Docker
from tests.networks.talk import SILENCE

THEIRS = 8080
OUT = 81  # where the host beside this one serves


@pytest.fixture
def beside(machine: OtherHost) -> Iterator[OtherHost]:
    """The other host, which serves too."""
    with machine.start(sys.executable, *TALK[1:], "serve", str(OUT)) as server:
        try:
            while answers(machine, ("STREAM", "127.0.0.1", OUT)) == ["ECONNREFUSED"]:
                pass
            yield machine
        finally:
            server.kill()


@contextlib.contextmanager
def ours(engine: pc.Engine) -> Iterator[tuple[pc.Container, pc.Container]]:
    """Have a network with a server, whose port is published, and a neighbour of that."""
    with (
        pc.Network.create("ours", engine=engine) as network,
        talking(engine, name="web", hostname="web", network=network, ports=["80"]) as web,
        pc.Container.run(None, ["sleep", "600"], network=network, engine=engine) as client,
    ):
        yield web, client


def rules() -> str:
    """Give all rules of iptables, without what is counted."""
    saved = "".join(
        subprocess.run([name], capture_output=True, text=True, check=True).stdout
        for name in ("iptables-save", "ip6tables-save")
    )
    return re.sub(r"^#.*\n|\[\d+:\d+\]", "", saved, flags=re.MULTILINE)


def own_tables() -> str:
    return "".join(
        subprocess.run(["nft", "list", "table", family, "pycontainers"],
                       capture_output=True, text=True, check=True).stdout
        for family in ("inet", "bridge")
    )  # fmt: skip


def assert_ours_work(web: pc.Container, client: pc.Container, beside: OtherHost) -> None:
    port = web.port(80)
    here = ("STREAM", beside.gateway, port)
    assert answers(client, ("STREAM", "web", 80)) == [f"web {client.ip}"]
    out = answers(client, ("STREAM", beside.address, OUT), ("DGRAM", beside.address, OUT))
    assert [answer.split()[1] for answer in out] == [beside.gateway] * 2
    assert answers(beside, here) == [f"web {beside.address}"]
    assert answers(None, here, ("STREAM", "127.0.0.1", port))[0] == f"web {beside.gateway}"
    for place in (client, web):
        assert answers(place, here)[0].startswith("web ")


def assert_theirs_work(docker: Docker, beside: OtherHost) -> None:
    assert answers(beside, ("STREAM", beside.gateway, THEIRS)) == ["docker\n"]
    assert answers(None, ("STREAM", beside.gateway, THEIRS)) == ["docker\n"]
    assert docker.ask(beside.address, OUT).endswith(f" {beside.gateway}")


def test_docker_begins_on_a_host_that_has_networks_of_ours(
    beside: OtherHost, own: pc.Engine, busybox: Path
) -> None:
    with ours(own) as (web, client):
        before = own_tables()
        with Docker(busybox) as docker:
            docker.serve(THEIRS)
            assert_theirs_work(docker, beside)
            assert_ours_work(web, client, beside)
            assert answers(client, ("STREAM", beside.gateway, THEIRS)) == ["docker\n"]
            assert docker.ask(beside.gateway, web.port(80)).startswith("web ")
            docker.end()
        assert own_tables() == before
        assert_ours_work(web, client, beside)


def test_networks_of_ours_begin_on_a_host_that_has_docker(
    beside: OtherHost, own: pc.Engine, busybox: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    with Docker(busybox) as docker:
        docker.serve(THEIRS)
        before = rules()
        with ours(own) as (web, client):
            assert rules() == before
            assert_ours_work(web, client, beside)
            assert_theirs_work(docker, beside)
            assert answers(client, ("STREAM", beside.gateway, THEIRS)) == ["docker\n"]
            assert docker.ask(beside.gateway, web.port(80)).startswith("web ")
        assert rules() == before
        assert_theirs_work(docker, beside)
        docker.end()
    assert caplog.records == []


def test_published_ports_are_relayed_where_docker_drops_what_is_forwarded(
    beside: OtherHost, own: pc.Engine, busybox: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    with Docker(busybox) as docker:
        docker.serve(THEIRS)
        before = rules()
        assert ":FORWARD DROP" in before
        with caplog.at_level(logging.WARNING), ours(own) as (web, client):
            assert [record.getMessage() for record in caplog.records] == [
                "others drop what containers send: table ip filter, chain FORWARD; "
                "doctor() says what can be done"
            ]
            port = web.port(80)
            [gateway] = pc.Network.get("ours", engine=own).gateways
            here = ("STREAM", beside.gateway, port)
            for place in (beside, client, web):
                assert answers(place, here) == [f"web {gateway}"]
            assert answers(None, here) == [f"web {beside.gateway}"]
            assert docker.ask(beside.gateway, port) == f"web {gateway}"
            assert_theirs_work(docker, beside)
            assert answers(client, ("STREAM", beside.address, OUT)) == [SILENCE]

            for words in ("-i pc+", "-o pc+"):  # as doctor() says
                subprocess.run(f"iptables -I DOCKER-USER {words} -j ACCEPT".split(), check=True)
            time.sleep(1)  # it is looked at once a second
            with talking(own, network="ours"):
                assert_ours_work(web, client, beside)
            for words in ("-i pc+", "-o pc+"):
                subprocess.run(f"iptables -D DOCKER-USER {words} -j ACCEPT".split(), check=True)
        assert rules() == before
        docker.end()
