"""Names in networks, as glibc and musl find them; each is right when the call has returned."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import pycontainers as pc
from tests.crashes.application import Application
from tests.services.resolving import OUTSIDE, OUTSIDE_ADDRESS, Library


@pytest.fixture
def other(engine: pc.Engine) -> Iterator[pc.Network]:
    """A second network."""
    with pc.Network.create("other", engine=engine) as network:
        yield network


def _address(container: pc.Container, network: pc.Network) -> str:
    address = container.networks[network.name].ip
    assert address is not None
    return address


def test_containers_find_each_other_by_name_and_alias_and_themselves(
    library: Library, network: pc.Network
) -> None:
    aliases = ["shop", "shop.example.org", "my_shop"]
    with (
        library.run(name="first", network=network) as first,
        library.run(name="web.1", aliases=aliases, network=network) as web,
    ):
        for name in ("web.1", *aliases):
            assert library.find(first, name) == {web.ip}, name
            assert library.find(web, name) == {web.ip}, name
        assert library.find(web, "first") == {first.ip}
        assert library.find(web, web.id[:12]) == {web.ip}


def test_a_name_beyond_is_asked_of_the_name_server(library: Library, network: pc.Network) -> None:
    with library.run(network=network) as container:
        assert library.find(container, OUTSIDE) == {OUTSIDE_ADDRESS}
        assert library.find(container, "nobody") == set()


def test_an_alias_of_several_gives_all_their_addresses(
    library: Library, network: pc.Network
) -> None:
    with (
        library.run(network=network) as client,
        library.run(network=network, aliases=["pool"]) as one,
    ):
        with library.run(network=network, aliases=["pool"]) as two:
            assert library.find(client, "pool") == {one.ip, two.ip}
        assert library.find(client, "pool") == {one.ip}


def test_names_have_addresses_of_both_versions(library: Library, engine: pc.Engine) -> None:
    with (
        pc.Network.create("both", ipv6=True, engine=engine) as network,
        library.run(network=network) as client,
        library.run(name="web", network=network) as web,
    ):
        member = web.networks["both"]

        assert library.find(client, "web") == {member.ip, member.ip6}


def test_names_stay_over_restarts(library: Library, network: pc.Network) -> None:
    with (
        library.run(name="client", network=network) as client,
        library.run(name="web", aliases=["shop"], network=network) as web,
    ):
        for restarted in (web, client):
            restarted.restart(timeout=0)

            assert library.find(client, "web") == library.find(client, "shop") == {web.ip}
            assert library.find(web, "client") == {client.ip}

        web.stop(timeout=0)
        web.start()

        assert library.find(client, "web") == {web.ip}


def test_what_came_while_a_container_was_stopped_is_found_after_its_start(
    library: Library, network: pc.Network
) -> None:
    with library.run(name="client", network=network) as client:
        client.stop(timeout=0)
        with library.run(name="web", network=network) as web:
            client.start()

            assert library.find(client, "web") == {web.ip}


def test_a_renamed_container_is_found_by_its_new_name_only(
    library: Library, network: pc.Network
) -> None:
    with (
        library.run(network=network) as client,
        library.run(name="web", aliases=["shop"], network=network) as web,
    ):
        web.rename("site")

        assert library.find(client, "site") == library.find(client, "shop") == {web.ip}
        assert library.find(client, "web") == library.find(web, "web") == set()


def test_a_removed_container_is_not_found(library: Library, network: pc.Network) -> None:
    with library.run(network=network) as client:
        with library.run(name="web", aliases=["shop"], network=network):
            assert library.find(client, "shop")

        assert library.find(client, "web") == library.find(client, "shop") == set()


def test_the_names_of_a_killed_application_go_with_the_next_recovery(
    library: Library, network: pc.Network, busybox: Path
) -> None:
    program = """
        network = pc.Network.get("backend", engine=engine)
        web = pc.Container.run(image, ["sleep", "60"], name="web", network=network, engine=engine)
        say(web.ip)
        time.sleep(60)
    """
    root = Path(library.engine.root)
    with library.run(name="client", network=network) as client:
        with Application(program, root, busybox) as application:
            address = application.line()
            assert library.find(client, "web") == {address}

        with Application("engine.services()", root, busybox) as next_one:
            next_one.lines()

        assert library.find(client, "web") == set()
        assert library.find(client, "client") == {client.ip}


def test_containers_of_other_networks_are_not_found(
    library: Library, network: pc.Network, other: pc.Network
) -> None:
    with (
        library.run(name="here", aliases=["near"], network=network) as here,
        library.run(name="there", aliases=["far"], network=other) as there,
        library.run(name="default", network="bridge") as default,
    ):
        assert library.find(here, "there") == library.find(here, "far") == set()
        assert library.find(there, "here") == library.find(there, "near") == set()
        assert library.find(here, "default") == set()
        assert library.find(default, "here") == library.find(default, "there") == set()


def test_a_container_of_two_networks_finds_all_and_is_found_where_it_is_asked_for(
    library: Library, network: pc.Network, other: pc.Network
) -> None:
    with (
        library.run(name="one", network=network) as one,
        library.run(name="two", network=other) as two,
        library.run(name="both", network=[network, other]) as both,
    ):
        assert library.find(both, "one") == {one.ip}
        assert library.find(both, "two") == {two.ip}
        assert library.find(one, "both") == {_address(both, network)}
        assert library.find(two, "both") == {_address(both, other)}
        assert library.find(one, "two") == library.find(two, "one") == set()


def test_names_come_with_connecting_and_go_with_disconnecting(
    library: Library, network: pc.Network, other: pc.Network
) -> None:
    with (
        library.run(name="client", network=other) as client,
        library.run(name="web", aliases=["home"], network=network) as web,
    ):
        for _ in range(2):
            other.connect(web, aliases=["shop"])

            assert library.find(client, "web") == {_address(web, other)}
            assert library.find(client, "shop") == {_address(web, other)}
            assert library.find(client, "home") == set()
            assert library.find(web, "client") == {client.ip}

            web.restart(timeout=0)
            assert library.find(client, "shop") == {_address(web, other)}

            other.disconnect(web)

            assert library.find(client, "web") == library.find(client, "shop") == set()
            assert library.find(web, "client") == set()
            assert library.find(web, "home") == {_address(web, network)}


def test_a_stopped_container_that_is_connected_has_its_names_after_its_start(
    library: Library, network: pc.Network, other: pc.Network
) -> None:
    with (
        library.run(name="client", network=other) as client,
        library.run(name="web", network=network) as web,
    ):
        web.stop(timeout=0)
        other.connect(web, aliases=["shop"])
        web.start()

        assert library.find(client, "shop") == {_address(web, other)}
        assert library.find(web, "client") == {client.ip}


def test_more_aliases_than_a_line_holds_are_all_found(
    library: Library, network: pc.Network
) -> None:
    aliases = [f"{number}-{'long' * 12}.example" for number in range(30)]
    with (
        library.run(network=network) as client,
        library.run(aliases=aliases, network=network) as web,
    ):
        for name in aliases:
            assert library.find(client, name) == {web.ip}, name


def test_a_one_off_run_finds_the_others(library: Library, network: pc.Network) -> None:
    with library.run(name="web", network=network) as web:
        told = pc.run(
            [*library.command, "web"], image=library.image, mounts=library.mounts,
            network=network, engine=library.engine,
        )  # fmt: skip
        assert {line.split()[0] for line in told.stdout.splitlines()} == {web.ip}


def test_programs_of_all_kinds_find_a_name(
    debian: pc.Image, image: pc.Image, network: pc.Network, engine: pc.Engine
) -> None:
    server = ["sh", "-c", "echo hello >/tmp/index.html; exec busybox httpd -f -p 80 -h /tmp"]
    python = "import socket; print(socket.getaddrinfo('web', 80)[0][4][0])"
    with pc.Container.run(image, server, name="web", network=network, engine=engine) as web:
        web.wait_for(port=80)
        for command, said in {
            ("python3", "-c", python): f"{web.ip}\n",
            ("getent", "hosts", "web"): f"{web.ip} ",
            ("ping", "-c1", "-W5", "web"): "1 received",
            ("curl", "-sS", "http://web/"): "hello\n",
        }.items():
            done = pc.run(command, image=debian, network=network, engine=engine)
            assert said in done.stdout, done


def test_containers_that_come_and_go_at_once_do_not_disturb_each_other(
    image: pc.Image, network: pc.Network, engine: pc.Engine
) -> None:
    def live(number: int) -> None:
        for _ in range(10):
            name = f"guest{number}"
            with pc.Container.create(image, ["true"], name=name, network=network, engine=engine):
                pass

    with pc.Container.create(image, ["true"], network=network, engine=engine) as stays:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(live, range(8)))

        assert list(network.containers) == [stays.id]
