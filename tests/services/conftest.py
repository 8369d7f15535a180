"""What tests with real servers share: an image of Debian packages, a server, and other hosts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from tests import debian as made
from tests.crashes.conftest import root
from tests.networks.conftest import OtherHost, network, other_host
from tests.services.resolving import Library, serve_names
from tests.services.servers import BY_NAME, PACKAGES, Server

__all__ = ["network", "other_host", "root"]  # fixtures of other rooms


@pytest.fixture(scope="session")
def debian_root() -> Path:
    """A root file system of Debian 12 with the servers and their clients."""

    def build(target: Path) -> None:
        made.bookworm(target / "root", PACKAGES)

    return made.cached("pycontainers-tests", PACKAGES, build) / "root"


@pytest.fixture(scope="session")
def debian(debian_root: Path, engine: pc.Engine) -> pc.Image:
    """An image of that root file system."""
    return pc.Image.from_rootfs(debian_root, engine=engine)


@pytest.fixture(scope="module", params=BY_NAME)
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the servers."""
    return BY_NAME[request.param]


@pytest.fixture
def volume(engine: pc.Engine) -> Iterator[pc.Volume]:
    """A new volume, removed at the end."""
    volume = pc.Volume.create("kept", engine=engine)
    yield volume
    volume.remove()


@pytest.fixture(scope="session")
def name_server() -> Iterator[str]:
    """The address of a name server, on another host, that knows next to nothing."""
    host = OtherHost()
    process = serve_names(host)
    yield host.address
    process.kill()
    process.communicate()
    host.close()


@pytest.fixture(scope="session")
def musl_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static program of musl's that looks a name up."""
    program = tmp_path_factory.mktemp("musl") / "lookup"
    source = Path(__file__).parent / "lookup.c"
    subprocess.run(["musl-gcc", "-static", "-O1", "-o", program, source], check=True)
    return program


@pytest.fixture(params=["glibc", "musl"])
def library(
    request: pytest.FixtureRequest,
    debian: pc.Image,
    image: pc.Image,
    musl_program: Path,
    name_server: str,
    engine: pc.Engine,
) -> Library:
    """Each of the C libraries."""
    if request.param == "glibc":
        return Library(debian, (), ("getent", "ahosts"), name_server, engine)
    mounts = (pc.Mount.bind(musl_program, "/lookup", read_only=True),)
    return Library(image, mounts, ("/lookup",), name_server, engine)
