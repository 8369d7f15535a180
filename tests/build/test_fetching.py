"""ADD of a URL from servers that do not do what they should."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.build.conftest import Builder

Answering = Callable[[bytes], str]


@pytest.fixture
def answering() -> Iterator[Answering]:
    """Gives the URL of a server that answers the next request with these bytes, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threads = []

        def answer(data: bytes) -> str:
            def serve() -> None:
                peer, _ = listening.accept()
                with peer:
                    peer.recv(1 << 16)
                    peer.sendall(data)

            threads.append(threading.Thread(target=serve))
            threads[-1].start()
            return f"http://127.0.0.1:{listening.getsockname()[1]}/file"

        yield answer
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ntoo short",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\ntoo short",
        b"what is HTTP?\r\n\r\n",
        b"",
    ],
)
def test_a_download_that_is_not_whole_is_an_error(
    build: Builder, answering: Answering, data: bytes
) -> None:
    error = build.fails(f"FROM bb:1\nADD {answering(data)} /x\n")

    assert error.line == 2


def test_a_whole_download_is_a_file_of_the_servers_time(
    build: Builder, answering: Answering
) -> None:
    url = answering(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
        b"Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )

    built = build(f"FROM bb:1\nADD {url} /x/\n")

    assert built.sh("cat /x/file; stat -c ' %Y %a' /x/file") == "abcde 1000000000 600\n"
