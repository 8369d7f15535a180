"""Python's HTTP server in a container, with its files in a volume, and its real clients."""

from __future__ import annotations

import hashlib
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import pycontainers as pc
from tests.networks.conftest import OtherHost, fetch, host_address

_SERVER = ["python3", "-u", "-m", "http.server", "--directory", "/srv", "8000"]
_LARGE = 16 << 20
_FETCH = (
    "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=10).read().decode())"
)


@pytest.fixture(scope="module")
def site(debian: pc.Image, engine: pc.Engine) -> Iterator[pc.Container]:
    """A server by the name of "web", also "www", in the network "site"; another wrote its files."""
    write = f"echo welcome >/srv/index.html; head -c {_LARGE} /dev/urandom >/srv/large"
    pc.run(["sh", "-c", write], image=debian, volumes=["site:/srv"], check=True, engine=engine)
    with (
        pc.Network.create("site", engine=engine) as network,
        pc.Container.run(debian, _SERVER, user="nobody", name="web", aliases=["www"],
                         network=network, ports={8000: None}, engine=engine,
                         volumes=["site:/srv:ro"]) as container,
    ):  # fmt: skip
        container.wait_for(port=8000, http="/")
        yield container
    pc.Volume.get("site", engine=engine).remove()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "own"])
def test_the_host_reaches_it_at_a_published_port(address: str, site: pc.Container) -> None:
    address = host_address() if address == "own" else address

    assert fetch(address, site.port(8000)) == "welcome\n"


def test_another_host_reaches_it_at_a_published_port(
    site: pc.Container, other_host: OtherHost
) -> None:
    address = f"http://{other_host.gateway}:{site.port(8000)}/"

    told = other_host.run(sys.executable, "-c", _FETCH, address)

    assert told.stdout == "welcome\n\n", told.stderr
    assert other_host.address in site.logs().read()


@pytest.mark.parametrize("name", ["web", "www"])
def test_a_second_container_reaches_it_by_name(
    name: str, site: pc.Container, debian: pc.Image, engine: pc.Engine
) -> None:
    command = ["curl", "-sS", "--max-time", "5", f"http://{name}:8000/"]

    told = pc.run(command, image=debian, network="site", engine=engine)

    assert told.stdout == "welcome\n", told.stderr


@pytest.mark.parametrize("address", ["127.0.0.1", "own"])
def test_large_files_come_whole_to_many_at_once(address: str, site: pc.Container) -> None:
    address = host_address() if address == "own" else address
    wanted = site.exec(["sha256sum", "/srv/large"], check=True).stdout.split()[0]

    def digest(_: int) -> str:
        with urllib.request.urlopen(f"http://{address}:{site.port(8000)}/large") as answer:
            return hashlib.sha256(answer.read()).hexdigest()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(digest, range(8))) == {wanted}
