"""What tests of networks share: a server in a container, and other hosts as network namespaces."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pycontainers as pc
from pycontainers.kernel import links, namespaces
from pycontainers.kernel.netlink import NETLINK_ROUTE, Netlink
from tests import leaks
from tests.networks import talk
from tests.networks.talk import Question

# A server that tells its container's name.
SERVER = [
    "sh",
    "-c",
    'mkdir /tmp/www; echo "hello from $(hostname)" >/tmp/www/index.html; '
    "exec busybox httpd -f -p ${PORT:-80} -h /tmp/www",
]
# A program of the host's Python that serves and asks: talk.py.
TALK = ["python3", "-I", "-S", "-c", Path(talk.__file__).read_text()]
_FORWARDING = ("/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding")


@pytest.fixture
def network(engine: pc.Engine) -> Iterator[pc.Network]:
    """A network of its own, removed at the end."""
    with pc.Network.create("backend", engine=engine) as network:
        yield network


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A data root of the test's own; after the test and a recovery nothing of it is left."""
    path = tmp_path / "root"
    before = leaks.snapshot()
    yield path
    leaks.assert_recovered(path, before)


@pytest.fixture
def own(root: Path) -> Iterator[pc.Engine]:
    """An engine on that data root."""
    with pc.Engine(root=root) as engine:
        yield engine


def ask(name: str, port: int = 80) -> list[str]:
    """Give the command that reads what a server says, from within a container.

    busybox's wget crashes without the C library's modules, its nc does not.
    """
    request = "printf 'GET / HTTP/1.0\\r\\n\\r\\n'"
    return ["sh", "-c", f"{request} | timeout 3 nc {name} {port}"]


@contextlib.contextmanager
def serving(image: pc.Image, engine: pc.Engine, **options: Any) -> Iterator[pc.Container]:
    """Have a container with the server, once it answers."""
    with pc.Container.run(image, SERVER, engine=engine, **options) as container:
        container.wait_for(port=int(options.get("env", {}).get("PORT", 80)))
        yield container


def fetch(address: str, port: int, timeout: float = 5.0) -> str:
    """Read what a server says, from the host."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


@contextlib.contextmanager
def talking(engine: pc.Engine, *ports: int, **options: Any) -> Iterator[pc.Container]:
    """Have a container of the host's image that serves TCP and UDP at ports, 80 by default."""
    words = [str(port) for port in ports or (80,)]
    with pc.Container.run(None, [*TALK, "serve", *words], engine=engine, **options) as container:
        container.wait_for(port=int(words[-1]))
        yield container


def answers(place: pc.Container | OtherHost | None, *questions: Question) -> list[str]:
    """Ask servers at the same time from a container, another host or (None) this one.

    Gives what each has said, `talk.SILENCE`, or the name of an error number.
    """
    if place is None:
        return talk.ask_all(list(questions))
    told = json.dumps(questions)
    if isinstance(place, OtherHost):
        done = place.run(sys.executable, *TALK[1:], "ask", told)
        found: list[str] = json.loads(done.stdout)
    else:
        found = json.loads(place.exec([*TALK, "ask", told], check=True).stdout)
    return found


def host_address(version: int = 4) -> str:
    """Give the address of this host at the interface of its default route."""
    default, colon = ("0.0.0.0/0", False) if version == 4 else ("::/0", True)
    with Netlink(NETLINK_ROUTE) as netlink:
        ways = {route.index for route in links.routes(netlink) if route.destination == default}
        for index, address in links.addresses(netlink):
            if index in ways and (":" in address) == colon and not address.startswith("fe80:"):
                return address.partition("/")[0]
    raise AssertionError(f"this host has no way out by IPv{version}")


def _add_namespace(name: str) -> bool:
    """Add a network namespace unless one of that name is there, which is another test run's."""
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    return done.returncode == 0


class OtherHost:
    """A network namespace that is cabled to this host, as another machine beside it."""

    def __init__(self) -> None:
        number = next(number for number in range(1, 64) if _add_namespace(f"other{number}"))
        self.name = f"other{number}"
        self.address, self.gateway = f"198.51.100.{4 * number + 2}", f"198.51.100.{4 * number + 1}"
        self.address6, self.gateway6 = f"2001:db8:{number}::2", f"2001:db8:{number}::1"
        for command in (
            f"ip link add {self.name} type veth peer name eth0 netns {self.name}",
            f"ip address add {self.gateway}/30 dev {self.name}",
            f"ip address add {self.gateway6}/64 dev {self.name} nodad",
            f"ip link set {self.name} up",
            f"ip -n {self.name} address add {self.address}/30 dev eth0",
            f"ip -n {self.name} address add {self.address6}/64 dev eth0 nodad",
            f"ip -n {self.name} link set eth0 up",
            f"ip -n {self.name} link set lo up",
            f"ip -n {self.name} route add default via {self.gateway}",
            f"ip -n {self.name} route add default via {self.gateway6}",
        ):
            subprocess.run(command.split(), check=True)

    def run(self, *command: str, timeout: float = 10) -> subprocess.CompletedProcess[str]:
        """Run a program there."""
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *command],
            capture_output=True, text=True, check=False, timeout=timeout,
        )  # fmt: skip

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a program there."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def close(self) -> None:
        """Take it away."""
        subprocess.run(["ip", "netns", "del", self.name], check=True)


@pytest.fixture(scope="module")
def other_host() -> Iterator[OtherHost]:
    """Another host, one hop away."""
    host = OtherHost()
    yield host
    host.close()


@pytest.fixture
def machine() -> Iterator[OtherHost]:
    """Have the test on a host of its own, as a network namespace; gives the host beside it.

    To be asked for before all that works on the host.
    """
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    namespaces.unshare(namespaces.CLONE_NEWNET)
    beside = None
    try:
        for name in _FORWARDING:  # others may have changed what a namespace begins with
            Path(name).write_text("0")
        namespaces.bring_loopback_up()
        beside = OtherHost()
        for gateway in (beside.address, beside.address6):
            subprocess.run(["ip", "route", "add", "default", "via", gateway], check=True)
        yield beside
    finally:
        if beside is not None:
            beside.close()
        namespaces.setns(before, namespaces.CLONE_NEWNET)
        os.close(before)
