"""Messages of netlink, and what comes back."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainers.errors import KernelError
from pycontainers.kernel import links, namespaces
from pycontainers.kernel.netlink import (
    NETLINK_ROUTE,
    Message,
    Netlink,
    attribute,
    attributes,
    each_attribute,
    nested,
)
from tests.net.lab import Place


@pytest.fixture
def place() -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(stack)


@given(st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40))))
def test_attributes_are_read_as_they_were_written(parts: list[tuple[int, bytes]]) -> None:
    packed = b"".join(attribute(kind, data) for kind, data in parts)

    assert list(each_attribute(packed)) == parts
    assert list(each_attribute(attributes(nested(7, packed)).get(7, b""))) == parts


@given(st.binary(max_size=60))
def test_attributes_cut_short_or_torn_end_the_list(data: bytes) -> None:
    for kind, part in each_attribute(data):
        assert 0 <= kind <= 0x3FFF
        assert len(part) <= len(data)


def test_many_messages_are_all_carried_out(place: Place) -> None:
    index = place.index("lo")
    wanted = [f"10.0.{number // 250}.{number % 250 + 1}/32" for number in range(2000)]

    place.route.ask([links.add_address(index, address) for address in wanted])

    assert {address for _, address in links.addresses(place.route)} >= set(wanted)


def test_of_many_messages_the_first_that_failed_is_named(place: Place) -> None:
    index = place.index("lo")
    fine = [links.add_address(index, f"10.0.0.{number}/32") for number in range(1, 251)]
    bad = [links.add_address(4711, f"10.0.1.{number}/32") for number in (1, 2)]

    with pytest.raises(KernelError, match=r"add the address 10\.0\.1\.1/32: No such device"):
        place.route.ask([*fine[:200], *bad, *fine[200:]])

    assert (index, "10.0.0.250/32") in links.addresses(place.route)


def test_an_error_has_the_kernels_own_words(place: Place) -> None:
    with pytest.raises(KernelError) as error:
        place.route.ask([links.add_default_route("9.9.9.9", place.index("lo"))])

    assert error.value.errno == errno.ENETUNREACH
    assert error.value.hint == "Nexthop has invalid gateway"


def test_nothing_to_ask_is_fine(place: Place) -> None:
    place.route.ask([])


def test_a_message_of_no_known_kind_is_refused(place: Place) -> None:
    with pytest.raises(KernelError, match="do what nobody can: Operation not supported"):
        place.route.ask([Message(0x3FFC, 0, bytes(16), "do what nobody can")])


def test_an_answer_that_never_comes_is_an_error(place: Place) -> None:
    done = Message(3, 0, bytes(16), "wait for nothing")  # NLMSG_DONE, which nobody answers

    with pytest.raises(KernelError) as error:
        place.route.get(done)

    assert error.value.errno == errno.ENOBUFS


def test_a_socket_stays_in_its_network_namespace(place: Place) -> None:
    place.route.ask([links.add_bridge("here", "02:00:00:00:00:01", 1500)])

    with Netlink(NETLINK_ROUTE) as own:
        assert links.index_of(own, "here") is None
    assert links.index_of(place.route, "here") is not None


def test_without_the_right_to_change_the_network_nothing_is_changed() -> None:
    reader, writer = os.pipe()
    pid, pidfd = namespaces.clone3(namespaces.CLONE_NEWUSER)
    if pid == 0:
        try:
            with Netlink(NETLINK_ROUTE) as netlink:
                netlink.ask([links.add_bridge("never", "02:00:00:00:00:01", 1500)])
        except KernelError as error:
            os.write(writer, str(error.errno).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="ascii") as told:
        assert told.read() == str(errno.EPERM)
    os.waitpid(pid, 0)
    os.close(pidfd)
