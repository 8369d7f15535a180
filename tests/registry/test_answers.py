"""Answers that lie, say nonsense or do not end, and mirrors that give them."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from pycontainers.errors import (
    ImageError,
    RegistryError,
    RegistryUnreachable,
)
from tests.registry.conftest import Serve
from tests.registry.misbehaviour import (
    BLOB,
    DIGEST,
    cutting,
    ranged,
    read,
    repository,
    start_of,
)
from tests.registry.servers import Request, digest_of


def test_bytes_of_another_digest_are_refused(serve: Serve) -> None:
    named = [digest_of(b"other")]
    server = serve(lambda request: request.answer(200, b"{}", {"Docker-Content-Digest": named[0]}))

    with repository(server.host) as one:
        with pytest.raises(ImageError, match="digest"):
            one.manifest("1")
        with pytest.raises(ImageError, match="digest"):
            one.manifest(digest_of(b"another"))
        named[0] = "md5:abc"
        with pytest.raises(ImageError, match="md5"):
            one.manifest("1")


def test_endless_pages_of_tags_are_left(serve: Serve) -> None:
    def respond(request: Request) -> None:
        tags = json.dumps({"tags": ["again"]}).encode()
        link = f'</v2/a/b/tags/list?last={len(server.seen)}>; rel="next"'
        request.answer(200, tags, {"Link": link})

    server = serve(respond)

    with repository(server.host) as one, pytest.raises(RegistryError, match="without an end"):
        one.tags()

    assert len(server.seen) < 5


def test_pages_of_tags_are_put_together(serve: Serve) -> None:
    def respond(request: Request) -> None:
        page = 2 if "last=b" in request.path else 1
        link = {"Link": '</v2/a/b/tags/list?last=b&n=2>; rel="next"'} if page == 1 else {}
        tags = ["a", "b"] if page == 1 else ["c"]
        request.answer(200, json.dumps({"tags": tags}).encode(), link)

    server = serve(respond)

    with repository(server.host) as one:
        assert one.tags() == ["a", "b", "c"]


def test_pages_of_tags_elsewhere_are_not_fetched(serve: Serve) -> None:
    elsewhere = serve(lambda request: request.answer(200, b'{"tags":[]}'))
    link = {"Link": f'<http://{elsewhere.host}/x>; rel="next"'}
    server = serve(lambda request: request.answer(200, b'{"tags":["a"]}', link))

    with repository(server.host) as one, pytest.raises(RegistryError):
        one.tags()

    assert elsewhere.seen == []


@pytest.mark.parametrize(
    "page", [b"", b"[]", b'{"tags":{}}', b'{"tags":[1]}', b'{"tags":["../x"]}', b'{"tags":["\\n"]}']
)
def test_nonsense_is_no_list_of_tags(serve: Serve, page: bytes) -> None:
    server = serve(lambda request: request.answer(200, page))

    with repository(server.host) as one, pytest.raises(RegistryError, match="no list of tags"):
        one.tags()


def test_something_that_speaks_no_http_is_an_error(serve: Serve) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def talk() -> None:
        while not stop.is_set():
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                peer.recv(65536)
                peer.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

    thread = threading.Thread(target=talk)
    thread.start()
    with (
        repository(f"127.0.0.1:{listener.getsockname()[1]}") as one,
        pytest.raises(RegistryUnreachable),
    ):
        one.tags()
    stop.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_a_mirror_is_asked_first_and_gets_no_credentials_of_the_registry(serve: Serve) -> None:
    mirror = serve(ranged)
    server = serve(lambda request: request.answer(500))

    with repository(server.host, mirrors=(mirror.host,)) as one:
        assert read(one) == BLOB
        assert one.manifest(DIGEST).data == BLOB

    assert server.seen == []
    assert all("authorization" not in one.headers for one in mirror.seen)


def test_what_a_mirror_has_not_comes_from_the_registry(serve: Serve) -> None:
    statuses = [404, 500, 401, 429]
    mirrors = []
    for status in statuses:
        mirrors.append(serve(lambda request, status=status: request.answer(status)).host)
    server = serve(ranged)

    with repository(server.host, mirrors=(*mirrors, "127.0.0.1:1")) as one:
        assert read(one) == BLOB
        assert one.manifest(DIGEST).data == BLOB


def test_a_mirror_that_breaks_off_is_gone_on_from_at_the_registry(serve: Serve) -> None:
    mirror, server = serve(cutting(99)), serve(ranged)

    with repository(server.host, mirrors=(mirror.host,)) as one:
        assert read(one) == BLOB

    assert start_of(server.seen[-1]) > 0


def test_a_mirror_that_lies_is_not_believed(serve: Serve) -> None:
    mirror = serve(lambda request: request.answer(200, b"other"))
    server = serve(ranged)

    with repository(server.host, mirrors=(mirror.host,)) as one:
        assert one.manifest(DIGEST).data == BLOB
        assert read(one) == BLOB
