"""Transfers that break off, hang, wait and are cancelled, in both directions."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable

import pytest

from pycontainers.errors import (
    ImageError,
    PyContainersError,
    RateLimited,
    RegistryError,
    RegistryUnreachable,
)
from pycontainers.registry.repository import Repository
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
from tests.registry.servers import Authority, Request, digest_of


def test_a_broken_transfer_goes_on_where_it_stopped(serve: Serve) -> None:
    server = serve(cutting(2))

    with repository(server.host) as one:
        assert read(one) == BLOB

    starts = [start_of(one) for one in server.seen if "/blobs/" in one.path]
    assert len(starts) == 3 and starts[0] == 0 and 0 < starts[1] < starts[2]


def test_a_registry_that_knows_no_ranges_starts_again(serve: Serve) -> None:
    cut = [True]

    def respond(request: Request) -> None:
        if "/blobs/" in request.path and cut.pop() if cut else False:
            request.cut(200, BLOB[:1_000_000], {"Content-Length": str(len(BLOB))})
        else:
            request.answer(200, BLOB)

    server = serve(respond)

    with repository(server.host) as one:
        assert read(one) == BLOB
        assert read(one, 2_999_999) == BLOB[-1:]


def test_another_range_than_asked_for_is_refused(serve: Serve) -> None:
    server = serve(
        lambda request: request.answer(206, BLOB[5:], {"Content-Range": "bytes 5-9/3000000"})
    )

    with repository(server.host) as one, pytest.raises(RegistryError, match="another range"):
        read(one, 7)


@pytest.mark.usefixtures("hasty")
def test_a_transfer_that_always_breaks_off_is_given_up(serve: Serve) -> None:
    headers = {"Content-Length": str(len(BLOB))}
    server = serve(
        lambda request: request.cut(200, b"", headers) if "blobs" in request.path
        else request.answer(200)
    )  # fmt: skip

    with repository(server.host) as one, pytest.raises(RegistryUnreachable, match="GET"):
        read(one)

    assert len(server.paths()) == 5


def test_a_body_that_ends_early_without_a_length_is_not_taken_for_whole(serve: Serve) -> None:
    ended: list[int] = []

    def respond(request: Request) -> None:
        if "/blobs/" in request.path and not ended:
            ended.append(1)
            request.cut(200, BLOB[:1000], {"Content-Length": "", "Connection": "close"})
        else:
            ranged(request)

    server = serve(respond)

    with repository(server.host) as one:
        assert read(one) == BLOB


def test_an_endless_blob_is_left(serve: Serve) -> None:
    took: list[int] = []
    server = serve(lambda request: took.append(request.pour(200, {"Connection": "close"})))

    with repository(server.host) as one, pytest.raises(ImageError, match="not more"):
        read(one)

    deadline = time.monotonic() + 5
    while len(took) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert max(took) < 20_000_000


def test_too_many_requests_are_waited_for(serve: Serve) -> None:
    left = [2]

    def respond(request: Request) -> None:
        if request.method == "GET" and left[0]:
            left[0] -= 1
            return request.answer(429, b"", {"Retry-After": "1"})
        ranged(request)

    server = serve(respond)
    began = time.monotonic()

    with repository(server.host) as one:
        assert read(one) == BLOB

    assert 2 <= time.monotonic() - began < 4


@pytest.mark.parametrize("call", ["blob", "manifest"])
def test_a_long_wait_is_left_to_the_caller(serve: Serve, call: str) -> None:
    server = serve(lambda request: request.answer(429, b"", {"Retry-After": "3600"}))
    began = time.monotonic()

    with repository(server.host) as one, pytest.raises(RateLimited, match="3600 s") as caught:
        read(one) if call == "blob" else one.manifest("1")

    assert caught.value.retry_after == 3600 and caught.value.status == 429
    assert time.monotonic() - began < 2


def test_a_date_to_retry_after_is_understood(serve: Serve) -> None:
    when = {"Retry-After": "Fri, 31 Dec 9998 23:59:59 GMT"}
    server = serve(lambda request: request.answer(503, b"", when))

    with repository(server.host) as one, pytest.raises(RegistryUnreachable, match="503"):
        one.manifest("1")


def test_a_busy_registry_is_asked_again_and_then_given_up(serve: Serve) -> None:
    server = serve(lambda request: request.answer(503))
    began = time.monotonic()

    with repository(server.host) as one, pytest.raises(RegistryUnreachable, match="503"):
        one.manifest("1")

    assert len(server.paths()) == 5 and time.monotonic() - began < 8


def uploading(seen: list[str], fail: Callable[[Request], bool]) -> Callable[[Request], None]:
    """Be a registry for uploads; `fail` answers some requests itself."""

    def respond(request: Request) -> None:
        seen.append(request.method)
        if fail(request):
            return
        if request.method in ("POST", "PATCH"):
            request.answer(202, b"", {"Location": f"{len(seen)}?x=1"})
        elif request.method == "PUT":
            request.answer(201)
        else:
            request.answer(404)

    return respond


def test_an_upload_that_breaks_off_is_sent_again(serve: Serve) -> None:
    seen: list[str] = []

    def fail(request: Request) -> bool:
        if request.method == "PUT" and seen.count("PUT") == 1:
            request.cut(201, b"", {"Content-Length": "9"})
            return True
        return False

    server = serve(uploading(seen, fail))

    with repository(server.host) as one:
        one.upload_blob(DIGEST, len(BLOB), lambda: io.BytesIO(BLOB))

    assert seen == ["HEAD", "POST", "PUT", "HEAD", "POST", "PUT"]
    assert server.seen[-1].body == BLOB


def test_an_upload_whose_answer_was_lost_is_not_sent_again(serve: Serve) -> None:
    seen: list[str] = []

    def fail(request: Request) -> bool:
        if request.method == "PUT":
            request.cut(201, b"", {"Content-Length": "9"})
        elif request.method == "HEAD" and "blobs" in request.path:
            request.answer(200)
        else:
            return False
        return True

    server = serve(uploading(seen, fail))

    with repository(server.host) as one:
        one.upload_blob(DIGEST, len(BLOB), lambda: io.BytesIO(BLOB))

    assert seen.count("PUT") == 1


def test_a_blob_too_large_for_one_request_is_sent_in_chunks(serve: Serve) -> None:
    data = os.urandom(9 << 20)
    seen: list[str] = []

    def fail(request: Request) -> bool:
        if request.method == "PUT" and request.body:
            request.answer(413)
            return True
        return False

    server = serve(uploading(seen, fail))

    with repository(server.host) as one:
        one.upload_blob(digest_of(data), len(data), lambda: io.BytesIO(data))

    patches = [one for one in server.seen if one.method == "PATCH"]
    assert b"".join(one.body for one in patches) == data
    assert [one.headers["content-range"] for one in patches] == [
        f"0-{(8 << 20) - 1}",
        f"{8 << 20}-{(9 << 20) - 1}",
    ]


def test_an_upload_waits_when_the_registry_is_busy(serve: Serve) -> None:
    seen: list[str] = []

    def fail(request: Request) -> bool:
        if request.method == "PUT" and seen.count("PUT") == 1:
            request.answer(503, b"", {"Retry-After": "1"})
            return True
        return False

    server = serve(uploading(seen, fail))

    with repository(server.host) as one:
        one.upload_blob(DIGEST, len(BLOB), lambda: io.BytesIO(BLOB))

    assert seen.count("PUT") == 2


def test_closing_the_iterator_ends_the_transfer(serve: Serve) -> None:
    took: list[int] = []

    def respond(request: Request) -> None:
        if "blobs" in request.path:
            took.append(request.pour(200, {"Content-Length": str(1 << 30)}))
        else:
            request.answer(200)

    server = serve(respond)

    with repository(server.host) as one:
        pieces = one.blob(DIGEST, 1 << 30)
        next(pieces)
        pieces.close()  # type: ignore[attr-defined]

        deadline = time.monotonic() + 5
        while not took and time.monotonic() < deadline:
            time.sleep(0.01)
        assert took and took[0] < 100_000_000


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("where", ["before the answer", "in the body"])
def test_cancelling_ends_a_transfer_that_hangs(
    serve: Serve, authority: Authority, where: str, secure: bool
) -> None:
    hanging, done = threading.Event(), threading.Event()

    def respond(request: Request) -> None:
        if "blobs" not in request.path:
            return request.answer(200)
        if where == "in the body":
            request.answer(200, b"x" * 10, {"Content-Length": str(len(BLOB))})
        hanging.set()
        done.wait(20)

    server = serve(respond, authority.context() if secure else None)
    caught: list[PyContainersError] = []

    def transfer(one: Repository) -> None:
        try:
            read(one)
        except PyContainersError as error:
            caught.append(error)

    with Repository(server.host, "a/b", ca=authority.ca) as one:
        thread = threading.Thread(target=transfer, args=(one,))
        thread.start()
        assert hanging.wait(10)
        began = time.monotonic()
        one.cancel()
        thread.join(10)
        took = time.monotonic() - began
        with pytest.raises(RegistryError, match="cancelled"):
            one.tags()
    done.set()

    assert took < 1 and "cancelled" in str(caught[0])


def test_an_event_ends_a_wait(serve: Serve) -> None:
    server = serve(lambda request: request.answer(429, b"", {"Retry-After": "7"}))
    event = threading.Event()
    threading.Timer(0.3, event.set).start()
    began = time.monotonic()

    with (
        Repository(server.host, "a/b", cancelled=event) as one,
        pytest.raises(RegistryError, match="cancelled"),
    ):
        one.manifest("1")

    assert time.monotonic() - began < 3
