"""Published ports over the loopback: what comes to the host's sockets reaches the container's."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pycontainers.kernel import namespaces, processes
from pycontainers.net.ports import Port
from pycontainers.net.reservation import Reservation, reserve
from pycontainers.runtime import proxy, relay
from pycontainers.runtime.loop import Loop

HERE = "127.0.0.1"
PATIENCE = 20.0

Serve = Callable[[Callable[[socket.socket], None]], int]


class Supervisor:
    """A process that holds published ports as a container's supervisor does."""

    def __init__(self, held: Reservation, targets: list[tuple[str, int]]) -> None:
        self.ports = [published.host_port for published in held.published]
        published = [
            proxy.Published(sock.fileno(), protocol, *target)
            for sock, (protocol, _), target in zip(held.sockets, held.targets, targets, strict=True)
        ]
        self.pid = os.fork()
        if self.pid == 0:
            try:
                processes.die_with_parent()
                loop = Loop()
                proxy.Relay(loop, lambda: namespaces.clone3(0), published)
                while True:
                    loop.turn()
            finally:
                os._exit(1)

    def connect(self, address: str = HERE) -> socket.socket:
        return socket.create_connection((address, self.ports[0]), timeout=PATIENCE)

    def relays(self) -> list[int]:
        """Give the numbers of the relay processes that live."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(word) for word in text.split()]

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


Publish = Callable[..., Supervisor]


def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def received(sock: socket.socket) -> bytes:
    """Read until the other side ends."""
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def echo(connection: socket.socket) -> None:
    while data := connection.recv(1 << 16):
        connection.sendall(data)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers of TCP: each connection is handled by a function, in a thread."""
    listening: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def handle(connection: socket.socket, handler: Callable[[socket.socket], None]) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(PATIENCE)
            handler(connection)

    def accept(sock: socket.socket, handler: Callable[[socket.socket], None]) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = sock.accept()
                thread = threading.Thread(target=handle, args=(connection, handler))
                threads.append(thread)
                thread.start()

    def start(handler: Callable[[socket.socket], None]) -> int:
        sock = socket.create_server((HERE, 0), backlog=512)
        listening.append(sock)
        thread = threading.Thread(target=accept, args=(sock, handler))
        threads.append(thread)
        thread.start()
        port: int = sock.getsockname()[1]
        return port

    yield start
    for sock in listening:
        sock.shutdown(socket.SHUT_RDWR)
        sock.close()
    for thread in threads:
        thread.join()


@pytest.fixture
def publish() -> Iterator[Publish]:
    """Publish a port of this host at another, as a container's would be."""
    supervisors = []

    def start(target: int, protocol: str = "tcp", address: str = HERE) -> Supervisor:
        with reserve([Port(target, protocol, address)]) as held:
            supervisors.append(Supervisor(held, [(HERE, target)] * len(held.sockets)))
        return supervisors[-1]

    yield start
    for supervisor in supervisors:
        supervisor.end()


def test_there_is_no_relay_until_somebody_connects(serve: Serve, publish: Publish) -> None:
    published = publish(serve(echo))
    assert published.relays() == []

    with published.connect() as client:
        client.sendall(b"hello")

        assert client.recv(5) == b"hello"
        assert len(published.relays()) == 1


def test_what_is_sent_arrives_unchanged(serve: Serve, publish: Publish) -> None:
    arrived = hashlib.sha256()

    def take(connection: socket.socket) -> None:
        while data := connection.recv(1 << 18):
            arrived.update(data)
        connection.sendall(b"done")

    sent = hashlib.sha256()
    with publish(serve(take)).connect() as client:
        for number in range(100):
            block = number.to_bytes(4, "big") * (1 << 18)
            sent.update(block)
            client.sendall(block)
        client.shutdown(socket.SHUT_WR)

        assert received(client) == b"done"
    assert arrived.digest() == sent.digest()


def test_both_directions_are_carried_at_once(serve: Serve, publish: Publish) -> None:
    block = os.urandom(1 << 20)

    with publish(serve(echo)).connect() as client:
        sender = threading.Thread(target=client.sendall, args=(block * 20,))
        sender.start()
        back = bytearray()
        while len(back) < 20 << 20:
            back += client.recv(1 << 20)
        sender.join()

    assert back == block * 20


def test_a_client_that_has_said_all_still_gets_the_answer(serve: Serve, publish: Publish) -> None:
    def answer(connection: socket.socket) -> None:
        said = received(connection)
        time.sleep(0.1)
        connection.sendall(said.upper())

    with publish(serve(answer)).connect() as client:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)

        assert received(client) == b"QUESTION"


def test_a_server_that_has_said_all_still_hears(serve: Serve, publish: Publish) -> None:
    heard: list[bytes] = []

    def greet(connection: socket.socket) -> None:
        connection.sendall(b"welcome")
        connection.shutdown(socket.SHUT_WR)
        heard.append(received(connection))

    with publish(serve(greet)).connect() as client:
        assert received(client) == b"welcome"
        client.sendall(b"thanks")
    until(lambda: heard == [b"thanks"])


def test_an_aborted_connection_is_aborted_on_the_other_side(serve: Serve, publish: Publish) -> None:
    ends: list[str] = []

    def listen(connection: socket.socket) -> None:
        connection.sendall(b"!")
        try:
            connection.recv(1)
        except ConnectionResetError:
            ends.append("reset")

    client = publish(serve(listen)).connect()
    client.recv(1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()

    until(lambda: ends == ["reset"])


def test_a_server_that_aborts_while_it_is_sent_to_never_seems_to_have_ended_well(
    serve: Serve, publish: Publish
) -> None:
    def abort(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    published = publish(serve(abort))
    for _ in range(50):
        with pytest.raises(ConnectionResetError), published.connect() as client:
            with contextlib.suppress(BrokenPipeError):
                for _ in range(1000):
                    client.sendall(bytes(1 << 14))
            assert client.recv(1) != b""


def test_a_target_that_refuses_is_a_reset_and_no_more(publish: Publish) -> None:
    with socket.socket() as target:
        target.bind((HERE, 0))  # it does not listen yet
        published = publish(target.getsockname()[1])
        for _ in range(3):
            with pytest.raises(ConnectionResetError), published.connect() as client:
                client.recv(1)
        relays = published.relays()

        target.listen()

        with published.connect() as client:
            connection, _ = target.accept()
            with connection:
                connection.sendall(b"here")
                assert client.recv(4) == b"here"
        assert published.relays() == relays


def test_hundreds_of_connections_at_once(serve: Serve, publish: Publish) -> None:
    published = publish(serve(echo))

    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(published.connect()) for _ in range(300)]
        for number, client in enumerate(clients):
            client.sendall(b"%06d" % number * 1000)
        for number, client in enumerate(clients):
            assert client.recv(6000, socket.MSG_WAITALL) == b"%06d" % number * 1000


def test_a_reader_that_waits_holds_the_writer_up(serve: Serve, publish: Publish) -> None:
    go_on = threading.Event()
    counts: list[int] = []

    def wait(connection: socket.socket) -> None:
        go_on.wait(PATIENCE)
        counts.append(len(received(connection)))

    sent = 0
    published = publish(serve(wait))
    with published.connect() as client:
        client.settimeout(1)
        with contextlib.suppress(TimeoutError):
            while sent < 1 << 28:
                sent += client.send(bytes(1 << 16))
        assert sent < 1 << 26  # what fits into two pairs of sockets and one pipe
        (pid,) = published.relays()
        before = cpu(pid)
        time.sleep(0.3)
        assert cpu(pid) - before <= 0.02
        go_on.set()
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""

    assert counts == [sent]


def cpu(pid: int) -> float:
    """Give the seconds that a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_client_gone_while_the_server_does_not_read_keeps_no_processor_busy(
    serve: Serve, publish: Publish
) -> None:
    go_on = threading.Event()
    counts: list[int] = []

    def say_and_wait(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_WR)
        go_on.wait(PATIENCE)
        counts.append(len(received(connection)))

    published = publish(serve(say_and_wait))
    client = published.connect()
    assert client.recv(1) == b""
    client.settimeout(0.5)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while True:
            sent += client.send(bytes(1 << 16))
    client.close()
    (pid,) = published.relays()
    before = cpu(pid)
    time.sleep(0.5)
    busy = cpu(pid) - before
    go_on.set()

    assert busy <= 0.02
    until(lambda: counts == [sent])


def test_connections_beyond_the_most_wait_for_their_turn(
    serve: Serve, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_MOST", 3)
    published = publish(serve(echo))

    clients = [published.connect() for _ in range(9)]
    for client in clients:
        client.sendall(b"x")
    answered = []
    for client in clients:
        answered.append(client.recv(1))
        client.close()

    assert answered == [b"x"] * 9


def test_a_relay_without_free_descriptors_goes_on_when_there_are_some(
    serve: Serve, publish: Publish
) -> None:
    published = publish(serve(echo))
    with published.connect() as first:
        first.sendall(b"1")
        assert first.recv(1) == b"1"
        (pid,) = published.relays()
        usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, usual[1]))
        with published.connect() as second:
            second.sendall(b"2")
            first.sendall(b"1")
            assert first.recv(1) == b"1"
            resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)

            assert second.recv(1) == b"2"
    assert published.relays() == [pid]


def test_after_a_killed_relay_comes_another(serve: Serve, publish: Publish) -> None:
    published = publish(serve(echo))
    with published.connect() as client:
        client.sendall(b"x")
        client.recv(1)
        (first,) = published.relays()

        os.kill(first, signal.SIGKILL)

        assert client.recv(1) == b""
    with published.connect() as client:
        client.sendall(b"z")
        assert client.recv(1) == b"z"
    assert published.relays() != [first]


def test_an_idle_relay_ends_until_the_next_connection(
    serve: Serve, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_IDLE", 0.2)
    monkeypatch.setattr(relay, "_SWEEP", 0.1)
    published = publish(serve(echo))

    for _ in range(2):
        with published.connect() as client:
            time.sleep(0.5)
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        until(lambda: published.relays() == [])


def test_a_relay_ends_with_its_supervisor(serve: Serve) -> None:
    with reserve([Port(80, host_address=HERE)]) as held:
        published = Supervisor(held, [(HERE, serve(echo))])
    with published.connect() as client:
        client.sendall(b"x")
        client.recv(1)
        (pid,) = published.relays()

    published.end()

    until(lambda: processes.start_time(pid) is None or "Z" in state(pid))


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_a_relay_holds_no_privilege_and_its_own_descriptors_only(
    serve: Serve, publish: Publish
) -> None:
    secret = os.open("/etc/passwd", os.O_RDONLY)
    published = publish(serve(echo))
    os.close(secret)
    with published.connect() as client:
        client.sendall(b"x")
        client.recv(1)
        (pid,) = published.relays()
        status = Path(f"/proc/{pid}/status").read_text()
        opened = {number: os.readlink(f"/proc/{pid}/fd/{number}")
                  for number in os.listdir(f"/proc/{pid}/fd") if int(number) > 2}  # fmt: skip

    assert "Name:\trelay\n" in status
    assert "NoNewPrivs:\t1\n" in status
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert f"{name}:\t0000000000000000\n" in status
    kinds = {target.split(":")[0] for target in opened.values()}
    assert kinds <= {"socket", "pipe", "anon_inode"}
    assert sum(target.startswith("socket:") for target in opened.values()) == 3


def test_ipv6_reaches_a_container_that_has_ipv4_only(serve: Serve, publish: Publish) -> None:
    with publish(serve(echo), "tcp", "").connect("::1") as client:
        client.sendall(b"six")

        assert client.recv(3) == b"six"


# UDP.


@pytest.fixture
def answering() -> Iterator[int]:
    """A server of UDP that answers with the sender's port and the datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HERE, 0))

        def answer() -> None:
            while True:
                data, address = sock.recvfrom(1 << 16)
                if data == b"end":
                    return
                sock.sendto(b"%d %s" % (address[1], data), address)

        thread = threading.Thread(target=answer)
        thread.start()
        yield sock.getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ending:
            ending.sendto(b"end", sock.getsockname())
        thread.join()


def ask(client: socket.socket, data: bytes) -> tuple[int, bytes]:
    client.send(data)
    port, _, answer = client.recv(1 << 16).partition(b" ")
    return int(port), answer


@contextlib.contextmanager
def datagrams(port: int, address: str = HERE) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.connect((address, port))  # so that answers from elsewhere don't count
        yield client


def test_datagrams_are_answered_to_whom_they_came_from(answering: int, publish: Publish) -> None:
    (port,) = publish(answering, "udp").ports

    with datagrams(port) as one, datagrams(port) as other:
        first, _ = ask(one, b"1")
        second, _ = ask(other, b"2")

        assert first != second
        assert ask(one, b"3" * 60000) == (first, b"3" * 60000)
        assert ask(other, b"") == (second, b"")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1"])
def test_a_datagram_is_answered_from_the_address_it_was_sent_to(
    answering: int, publish: Publish, address: str
) -> None:
    (port,) = publish(answering, "udp", "").ports

    with datagrams(port, address) as client:
        assert ask(client, b"x")[1] == b"x"


def test_datagrams_that_nobody_takes_do_no_harm(publish: Publish) -> None:
    kind = socket.SOCK_DGRAM
    with socket.socket(type=kind) as refusing, socket.socket(type=kind) as target:
        for sock in (refusing, target):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        refusing.bind((HERE, 0))
        number = refusing.getsockname()[1]
        refusing.connect((HERE, 9))  # so that it takes from there only
        published = publish(number, "udp")
        with datagrams(published.ports[0]) as client:
            for _ in range(3):
                client.send(b"lost")
                time.sleep(0.05)
            relays = published.relays()
            target.bind((HERE, number))
            target.settimeout(PATIENCE)
            client.send(b"found")

            assert target.recv(10) == b"found"
        assert published.relays() == relays


def test_of_too_many_clients_the_one_idle_for_longest_is_forgotten(
    answering: int, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_MOST", 2)
    (port,) = publish(answering, "udp").ports

    with datagrams(port) as one, datagrams(port) as two, datagrams(port) as three:
        first, second = ask(one, b"x")[0], ask(two, b"x")[0]
        assert ask(one, b"x")[0] == first
        ask(three, b"x")

        assert ask(one, b"x")[0] == first
        assert ask(two, b"x")[0] != second


def test_an_idle_client_is_forgotten(
    answering: int, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_IDLE", 0.3)
    monkeypatch.setattr(relay, "_SWEEP", 0.1)
    published = publish(answering, "udp")

    with datagrams(published.ports[0]) as client:
        ask(client, b"x")
        until(lambda: published.relays() == [])

        assert ask(client, b"y")[1] == b"y"
