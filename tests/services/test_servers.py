"""Debian's PostgreSQL and Redis in containers, reached by their own clients and by bare sockets."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

import pycontainers as pc
from tests.networks.conftest import OtherHost, host_address
from tests.services.servers import Server

_ADDRESSES = {"loopback": lambda: "127.0.0.1", "own": host_address}
_SOCKET = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as connection:
    connection.sendall(bytes.fromhex(sys.argv[3]))
    print(connection.recv(100).hex())
"""


@pytest.fixture(scope="module")
def running(server: Server, debian: pc.Image, engine: pc.Engine) -> Iterator[pc.Container]:
    """A server by the name of "store", also "shelf", in the network "shop"; it knows 1."""
    with (
        pc.Network.create("shop", engine=engine) as network,
        server.run(debian, "shop", engine, name="store", aliases=["shelf"], network=network,
                   ports={server.port: None}) as container,
    ):  # fmt: skip
        server.wait(container)
        container.exec(server.ask(*server.create), check=True)
        container.exec(server.ask(*server.added(1)), check=True)
        yield container
    pc.Volume.get("shop", engine=engine).remove()


@pytest.mark.parametrize("address", _ADDRESSES)
def test_a_client_reaches_it_at_a_published_port_of_the_host(
    address: str, server: Server, running: pc.Container, debian: pc.Image, engine: pc.Engine
) -> None:
    command = server.ask(*server.read, host=_ADDRESSES[address](), port=running.port(server.port))

    read = pc.run(command, image=debian, network="host", engine=engine)

    assert read.stdout == "1\n", read.stderr


@pytest.mark.parametrize("address", _ADDRESSES)
def test_a_socket_of_the_host_reaches_it(
    address: str, server: Server, running: pc.Container
) -> None:
    where = (_ADDRESSES[address](), running.port(server.port))

    with socket.create_connection(where, timeout=10) as connection:
        connection.sendall(server.greeting)
        answer = connection.recv(100)

    assert answer == server.answer


def test_another_host_reaches_it(
    server: Server, running: pc.Container, other_host: OtherHost
) -> None:
    where = [other_host.gateway, str(running.port(server.port)), server.greeting.hex()]

    told = other_host.run(sys.executable, "-c", _SOCKET, *where)

    assert bytes.fromhex(told.stdout) == server.answer, told.stderr


@pytest.mark.parametrize("name", ["store", "shelf"])
def test_a_client_in_a_second_container_reaches_it_by_name(
    name: str, server: Server, running: pc.Container, debian: pc.Image, engine: pc.Engine
) -> None:
    command = server.ask(*server.read, host=name)

    read = pc.run(command, image=debian, network="shop", engine=engine)

    assert read.stdout == "1\n", read.stderr


def test_a_volume_gets_what_the_image_has_there_with_all_owners(
    server: Server, running: pc.Container, debian: pc.Image, engine: pc.Engine
) -> None:
    listing = ["find", server.directory, "-printf", "%P %y %u %m\\n"]
    wanted = pc.run(listing, image=debian, check=True, engine=engine).stdout.splitlines()

    shown = running.exec(listing, check=True).stdout.splitlines()

    assert set(wanted) <= set(shown)
    assert wanted[0].startswith(f" d {server.user} ")


def test_postgresql_starts_on_what_a_volume_got_from_the_image(
    debian: pc.Image, volume: pc.Volume, engine: pc.Engine
) -> None:
    program = ["/usr/lib/postgresql/15/bin/postgres", "-D", "/etc/postgresql/15/main",
               "-c", "unix_socket_directories=/tmp"]  # fmt: skip
    with pc.Container.run(debian, program, user="postgres", engine=engine,
                          volumes={volume: "/var/lib/postgresql"}) as container:  # fmt: skip
        container.wait_for(log="ready to accept connections")

        read = container.exec(["psql", "-h", "/tmp", "-Atc", "SHOW data_directory"])

    assert read.stdout == "/var/lib/postgresql/15/main\n", read.stderr


def test_data_in_a_volume_outlives_its_container(
    server: Server, debian: pc.Image, volume: pc.Volume, engine: pc.Engine
) -> None:
    with server.run(debian, volume, engine) as first:
        server.wait(first)
        first.exec(server.ask(*server.create), check=True)
        for number in (1, 2):
            first.exec(server.ask(*server.added(number)), check=True)
        first.stop()

    with server.run(debian, volume, engine) as second:
        server.wait(second)
        read = second.exec(server.ask(*server.read))

    assert read.stdout == "1\n2\n", read.stderr
