"""Published ports: how they are written, and that the kernel decides who has which."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pycontainers as pc
from pycontainers.net import ports
from pycontainers.net.ports import Port, parse
from pycontainers.net.reservation import Published, reserve

HERE = "127.0.0.1"

numbers = st.integers(1, 65535)
any_ports = st.builds(
    Port,
    numbers,
    st.sampled_from(ports.PROTOCOLS),
    st.just("") | st.ip_addresses(v=4).map(str) | st.sampled_from(["::", "::1", "fd00::7"]),
    st.none() | numbers | st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair))),
)


def one(text: Any) -> Port:
    (port,) = parse(text)
    return port


@given(any_ports)
def test_the_text_of_a_port_is_read_as_the_same_port(port: Port) -> None:
    assert parse([str(port)]) == (port,)


@given(st.lists(st.text("[]:-/.019abctpud", max_size=20) | st.text(max_size=9), max_size=2))
def test_any_texts_are_ports_or_refused(texts: list[str]) -> None:
    try:
        found = parse(texts)
    except pc.InvalidArgument as error:
        assert str(error).startswith("ports: ")
        return
    assert parse([str(port) for port in found]) == found


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({80: 8080}, "8080:80/tcp"),
        ({"80": "8080"}, "8080:80/tcp"),
        ({"80/tcp": None}, "80/tcp"),
        ({"53/UDP": ("127.0.0.1", 5353)}, "127.0.0.1:5353:53/udp"),
        ({"9/sctp": 9}, "9:9/sctp"),
        ({80: ("127.0.0.1", None)}, "127.0.0.1::80/tcp"),
        ({80: ("", 8080)}, "8080:80/tcp"),
        ({80: "127.0.0.1:8080"}, "127.0.0.1:8080:80/tcp"),
        ({80: "[::1]:8080"}, "[::1]:8080:80/tcp"),
        ({80: "[0::1]:"}, "[::1]::80/tcp"),
        ({80: "9000-9010"}, "9000-9010:80/tcp"),
        ({80: ("::1", "9000-9000")}, "[::1]:9000:80/tcp"),
        (["80"], "80/tcp"),
        ([80], "80/tcp"),
        (["8080:80"], "8080:80/tcp"),
        (["127.0.0.1:8080:80/udp"], "127.0.0.1:8080:80/udp"),
        (["127.0.0.1::80"], "127.0.0.1::80/tcp"),
        (["[::1]:80:80"], "[::1]:80:80/tcp"),
        (["[::ffff:127.0.0.1]:80:80"], "127.0.0.1:80:80/tcp"),
        ([Port(80)], "80/tcp"),
    ],
)
def test_a_port_is_written_in_many_ways(value: Any, text: str) -> None:
    assert str(one(value)) == text


def test_two_ranges_of_one_length_are_brought_together() -> None:
    by_mapping = parse({"8000-8002/tcp": "127.0.0.1:9000-9002"})
    by_text = parse(["127.0.0.1:9000-9002:8000-8002"])

    assert by_mapping == by_text
    assert [(port.host_port, port.container_port) for port in by_text] == [
        (9000, 8000),
        (9001, 8001),
        (9002, 8002),
    ]


def test_a_range_without_the_host_s_part_is_that_many_random_ports() -> None:
    assert parse(["8000-8002/udp"]) == parse({"8000-8002/udp": None})
    assert [port.host_port for port in parse(["8000-8002/udp"])] == [None, None, None]


def test_a_list_publishes_one_port_at_several() -> None:
    found = parse({80: [8080, ("127.0.0.1", 8081), 8080]})

    assert [str(port) for port in found] == ["8080:80/tcp", "127.0.0.1:8081:80/tcp"]


@pytest.mark.parametrize(
    "value",
    [
        "8080:80",
        80,
        None,
        ["80:"],
        ["::1:80:80"],
        ["[::1]:80"],
        ["localhost:80:80"],
        ["1:2:3:4"],
        ["80/icmp"],
        ["8002-8000"],
        ["9000-9001:8000-8002"],
        ["9000:8000-8002"],
        [True],
        {0: 80},
        {80: 0},
        {80: 65536},
        {80: True},
        {80: (1, 2)},
        {80: ("127.0.0.1",)},
        {80: ("fe80::1%eth0", 80)},
        {80: 1.5},
        {None: 80},
        {80: 8080, 81: 8080},
        {80: 8080, 81: ("127.0.0.1", 8080)},
        {80: ("127.0.0.1", 8080), 81: ("0.0.0.0", 8080)},
    ],
)
def test_what_has_no_meaning_is_refused_by_the_option_s_name(value: Any) -> None:
    with pytest.raises(pc.InvalidArgument, match=r"^ports: "):
        parse(value)


def test_the_same_number_serves_other_addresses_and_protocols() -> None:
    found = parse({80: [("127.0.0.1", 8080), ("127.0.0.2", 8080), ("::", 8080)], "80/udp": 8080})

    assert len(found) == 4


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """A socket that listens at a random port of 127.0.0.1."""
    with socket.socket() as sock:
        sock.bind((HERE, 0))
        sock.listen()
        yield sock


def test_a_random_port_is_the_same_number_at_all_addresses() -> None:
    with reserve(parse({80: None, "53/udp": None})) as held:
        tcp, udp = held.published

        assert [sock.getsockname()[:2] for sock in held.sockets] == [
            ("0.0.0.0", tcp.host_port),
            ("::", tcp.host_port),
            ("0.0.0.0", udp.host_port),
            ("::", udp.host_port),
        ]
        assert held.targets == (("tcp", 80), ("tcp", 80), ("udp", 53), ("udp", 53))
        assert not any(sock.get_inheritable() for sock in held.sockets)


def test_a_reserved_port_takes_connections_that_wait() -> None:
    with reserve([Port(80, host_address=HERE)]) as held:
        client = socket.create_connection((HERE, held.published[0].host_port))
        client.sendall(b"waiting")
        taken, _ = held.sockets[0].accept()

        with client, taken:
            assert taken.recv(7) == b"waiting"


@pytest.mark.parametrize("address", [HERE, "0.0.0.0", ""])
def test_a_port_in_use_is_a_conflict_that_names_its_holder(
    taken: socket.socket, address: str
) -> None:
    number = taken.getsockname()[1]

    with pytest.raises(pc.Conflict, match=f"the port {number}/tcp of .* is in use") as caught:
        reserve([Port(80, host_address=address, host_port=number)])

    assert f"process {os.getpid()} (" in str(caught.value.hint)


def test_a_udp_port_in_use_is_a_conflict() -> None:
    with reserve([Port(53, "udp", HERE)]) as held:
        number = held.published[0].host_port

        with pytest.raises(pc.Conflict, match=f"the port {number}/udp of this host is in use"):
            reserve([Port(53, "udp", "", number)])


def test_a_range_gives_its_first_free_port(taken: socket.socket) -> None:
    number = taken.getsockname()[1]
    wanted = Port(80, host_address=HERE, host_port=(number, number + 20))

    with reserve([wanted, wanted]) as held:
        first, second = [published.host_port for published in held.published]

        assert number < first < second <= number + 20


def test_a_range_in_use_is_a_conflict() -> None:
    wanted = Port(80, host_address=HERE, host_port=(50000, 60000))

    with reserve([wanted, wanted]) as held:
        first, last = [published.host_port for published in held.published]

        with pytest.raises(pc.Conflict, match=f"each port of {first}-{last}/tcp .* is in use"):
            reserve([Port(80, host_address=HERE, host_port=(first, last))])


def test_an_address_of_another_host_is_refused() -> None:
    for address in ("192.0.2.1", "2001:db8::1"):
        with pytest.raises(pc.InvalidArgument, match=f"no address {address}"):
            reserve([Port(80, host_address=address)])


def test_sctp_without_the_kernel_s_help_needs_a_number() -> None:
    with pytest.raises(pc.NotSupported, match="SCTP"):
        reserve([Port(9, "sctp")])

    with reserve([Port(9, "sctp", HERE, 9899)]) as held:
        assert held.published == (Published("sctp", HERE, 9899, 9),)
        assert held.sockets == ()


def test_nothing_is_held_after_a_failure(taken: socket.socket) -> None:
    before = len(os.listdir("/proc/self/fd"))
    free = reserve([Port(80, host_address=HERE)])
    number = free.published[0].host_port
    free.close()

    with pytest.raises(pc.Conflict):
        reserve(parse({80: (HERE, number), 81: (HERE, taken.getsockname()[1])}))

    assert len(os.listdir("/proc/self/fd")) == before
    reserve([Port(80, host_address=HERE, host_port=number)]).close()


def test_a_fixed_port_is_never_lost_to_a_range_of_the_same_container() -> None:
    with reserve([Port(80, host_address=HERE)]) as held:
        number = held.published[0].host_port

    with reserve(
        [Port(81, "tcp", HERE, (number, number + 9)), Port(80, "tcp", HERE, number)]
    ) as held:
        first, second = held.published

        assert second == Published("tcp", HERE, number, 80)
        assert number < first.host_port <= number + 9


def _in_child(telling: int, go: int) -> int:
    """Reserve three random ports in a fork, tell them, and hold them until there is a byte."""
    pid = os.fork()
    if pid == 0:
        try:
            held = reserve(parse([80, 81, "53/udp"]))
            kinds = [f"{one.host_port}/{one.protocol}" for one in held.published]
            os.write(telling, f"{' '.join(kinds)}\n".encode())
            os.read(go, 1)
        finally:
            os._exit(0)
    return pid


def test_a_hundred_processes_at_once_get_different_ports() -> None:
    reading, telling = os.pipe()
    go, let_go = os.pipe()

    children = [_in_child(telling, go) for _ in range(100)]
    os.close(telling)  # so that the lines end, should a child have failed
    with open(reading, "rb") as lines:
        found = [word for _ in children for word in lines.readline().split()]
    os.write(let_go, bytes(len(children)))
    for pid in children:
        os.waitpid(pid, 0)
    os.close(go)
    os.close(let_go)

    assert len(found) == len(set(found)) == 300
