"""Where credentials go and where not: realms, redirects, challenges, proxies."""

from __future__ import annotations

import io

import pytest

from pycontainers.errors import (
    AuthenticationError,
    RegistryError,
    RegistryUnreachable,
)
from pycontainers.oci.manifest import OCI_MANIFEST
from pycontainers.registry.repository import Repository
from tests.registry.conftest import Serve
from tests.registry.misbehaviour import (
    BLOB,
    DIGEST,
    KNOWN,
    ranged,
    read,
    repository,
)
from tests.registry.servers import Authority, Request


def test_an_endless_manifest_error_and_token_are_left(serve: Serve) -> None:
    status = [200]
    server = serve(lambda request: request.pour(status[0], {"Connection": "close"}))

    with Repository(f"http://{server.host}", "a/b") as one:
        with pytest.raises(RegistryError, match="more than 4194304"):
            one.manifest("1")
        with pytest.raises(RegistryError, match="more than"):
            one.tags()
        status[0] = 418
        with pytest.raises(RegistryError, match="answered 418"):
            one.manifest("1")


def test_a_blob_elsewhere_is_fetched_without_credentials(serve: Serve) -> None:
    elsewhere = serve(ranged)

    def respond(request: Request) -> None:
        if "authorization" not in request.headers:
            request.answer(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})
        else:
            place = f"http://{elsewhere.host}/stored?signature=1"
            request.answer(307, b"", {"Location": place})

    server = serve(respond)

    with repository(server.host) as one:
        assert read(one) == BLOB

    assert elsewhere.paths() == ["/stored?signature=1"]
    assert all("authorization" not in one.headers for one in elsewhere.seen)


def test_a_challenge_from_elsewhere_gets_no_credentials(serve: Serve) -> None:
    challenge = {"WWW-Authenticate": 'Basic realm="give"'}
    elsewhere = serve(lambda request: request.answer(401, b"", challenge))
    place = {"Location": f"http://{elsewhere.host}/x"}
    server = serve(lambda request: request.answer(307, b"", place))

    with repository(server.host) as one:
        with pytest.raises(RegistryError, match="401"):
            read(one)
        with pytest.raises(RegistryError, match="401"):
            one.manifest("1")

    assert elsewhere.seen
    assert all("authorization" not in one.headers for one in elsewhere.seen)


def test_an_upload_elsewhere_carries_no_credentials(serve: Serve) -> None:
    elsewhere = serve(lambda request: request.answer(201))

    def respond(request: Request) -> None:
        if "authorization" not in request.headers:
            request.answer(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})
        else:
            request.answer(202, b"", {"Location": f"http://{elsewhere.host}/put?state=1"})

    server = serve(respond)

    with repository(server.host) as one:
        one.upload_blob(DIGEST, len(BLOB), lambda: io.BytesIO(BLOB))

    assert [(one.method, one.path) for one in elsewhere.seen] == [
        ("PUT", f"/put?state=1&digest={DIGEST}")
    ]
    assert elsewhere.seen[0].body == BLOB
    assert "authorization" not in elsewhere.seen[0].headers


def test_redirects_in_a_circle_end(serve: Serve) -> None:
    server = serve(
        lambda request: (
            request.answer(302, b"", {"Location": request.path})
            if "manifests" in request.path
            else request.answer(200)
        )
    )

    with repository(server.host) as one, pytest.raises(RegistryError, match="more than 5 times"):
        one.manifest("1")


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "http://u:p@127.0.0.1/", "ftp://x/", "http://[", "http://x:y"],
)
def test_redirects_to_what_is_no_address_are_refused(serve: Serve, location: str) -> None:
    server = serve(
        lambda request: (
            request.answer(302, b"", {"Location": location})
            if "manifests" in request.path
            else request.answer(200)
        )
    )

    with repository(server.host) as one, pytest.raises(RegistryError, match="no address"):
        one.manifest("1")


def test_nothing_leads_from_https_to_plain_http(serve: Serve, authority: Authority) -> None:
    plain = serve(ranged)
    place = {"Location": f"http://{plain.host}/x"}
    secure = serve(lambda request: request.answer(307, b"", place), authority.context())

    with (
        Repository(secure.host, "a/b", credentials=KNOWN, ca=authority.ca, insecure=False) as one,
        pytest.raises(RegistryError, match="from https to plain http"),
    ):
        read(one)

    assert plain.seen == []


def test_no_credentials_go_from_https_to_a_plain_realm(serve: Serve, authority: Authority) -> None:
    realm = serve(lambda request: request.answer(200, b'{"token":"t"}'))
    challenge = {"WWW-Authenticate": f'Bearer realm="http://{realm.host}/t",service="s"'}
    secure = serve(lambda request: request.answer(401, b"", challenge), authority.context())

    with (
        Repository(secure.host, "a/b", credentials=KNOWN, ca=authority.ca) as one,
        pytest.raises(AuthenticationError, match="plain http"),
    ):
        one.manifest("1")

    assert realm.seen == []


@pytest.mark.parametrize(
    "realm",
    ["http://registry.test/t", "http://127.0.0.1.evil.test/t", "file:///etc/shadow", "",
     "http://localhost@evil.test/t", "//evil.test/t", "https://[/", "http://x:y/"],
)  # fmt: skip
def test_no_credentials_go_to_a_realm_that_may_not_have_them(serve: Serve, realm: str) -> None:
    challenge = {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'}
    server = serve(lambda request: request.answer(401, b"", challenge))

    with repository(server.host) as one, pytest.raises(AuthenticationError):
        one.manifest("1")

    assert all("authorization" not in one.headers for one in server.seen)


def test_a_realm_that_redirects_takes_no_credentials_along(serve: Serve) -> None:
    elsewhere = serve(lambda request: request.answer(200, b'{"token":"t"}'))

    def respond(request: Request) -> None:
        if request.path.startswith("/token"):
            request.answer(302, b"", {"Location": f"http://{elsewhere.host}/steal"})
        elif request.headers.get("authorization") == "Bearer t":
            request.answer(200, b"{}", {"Content-Type": OCI_MANIFEST})
        else:
            realm = f'Bearer realm="http://{server.host}/token"'
            request.answer(401, b"", {"WWW-Authenticate": realm})

    server = serve(respond)

    with repository(server.host) as one:
        assert one.manifest("1").data == b"{}"

    assert [one.path for one in elsewhere.seen] == ["/steal"]
    assert "authorization" not in elsewhere.seen[0].headers


def test_a_registry_that_always_asks_again_is_given_up(serve: Serve) -> None:
    def respond(request: Request) -> None:
        if request.path.startswith("/token"):
            request.answer(200, b'{"token":"t"}')
        else:
            realm = f'Bearer realm="http://{server.host}/token"'
            said = b'{"errors":[{"code":"UNAUTHORIZED","message":"not\\u001b[31m you"}]}'
            request.answer(401, said, {"WWW-Authenticate": realm})

    server = serve(respond)

    with repository(server.host) as one, pytest.raises(AuthenticationError) as caught:
        one.manifest("1")

    assert "UNAUTHORIZED not[31m you" in str(caught.value)
    assert len(server.seen) <= 8


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"{}", b'{"token": 5}', b'{"token": "a\\r\\nX: y"}', b"[" * 100_000, b"\xff"],
)
def test_a_token_server_that_talks_nonsense_is_an_error(serve: Serve, answer: bytes) -> None:
    def respond(request: Request) -> None:
        if request.path.startswith("/token"):
            return request.answer(200, answer)
        realm = f'Bearer realm="http://{server.host}/token"'
        request.answer(401, b"", {"WWW-Authenticate": realm})

    server = serve(respond)

    with repository(server.host) as one, pytest.raises(RegistryError, match="token server"):
        one.manifest("1")


@pytest.mark.parametrize("life", ["NaN", "1e999", "-1", str(10**400), '"x"', "null", "true"])
def test_a_strange_life_of_a_token_does_no_harm(serve: Serve, life: str) -> None:
    def respond(request: Request) -> None:
        if request.path.startswith("/token"):
            return request.answer(200, f'{{"token":"t","expires_in":{life}}}'.encode())
        if request.headers.get("authorization") == "Bearer t":
            return request.answer(200, b"{}")
        realm = f'Bearer realm="http://{server.host}/token"'
        request.answer(401, b"", {"WWW-Authenticate": realm})

    server = serve(respond)

    with repository(server.host) as one:
        assert one.manifest("1").data == b"{}"


def test_a_proxy_is_used_and_gets_its_own_password(
    serve: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    def respond(request: Request) -> None:
        if "authorization" not in request.headers:
            return request.answer(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})
        ranged(request)

    proxy = serve(lambda request: request.relay())
    secure = serve(respond, authority.context())
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:pass%40@{proxy.host}")
    host = f"registry.test:{secure.port}"

    with Repository(host, "a/b", credentials=KNOWN, ca=authority.ca) as one:
        assert read(one) == BLOB

    assert {(one.method, one.path) for one in proxy.seen} == {("CONNECT", host)}
    assert all("authorization" not in one.headers for one in proxy.seen)
    assert proxy.seen[0].headers["proxy-authorization"] == "Basic dXNlcjpwYXNzQA=="
    assert all("proxy-authorization" not in one.headers for one in secure.seen)


@pytest.mark.usefixtures("hasty")
def test_an_exception_to_the_proxy_and_loopback_go_straight(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(lambda request: request.answer(500))
    server = serve(ranged)
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.host}")
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.host}")
    monkeypatch.setenv("NO_PROXY", "registry.test")

    with repository(server.host) as one:
        assert read(one) == BLOB
    with (
        Repository("registry.test", "a/b", insecure=False) as other,
        pytest.raises(RegistryUnreachable),
    ):
        other.tags()

    assert proxy.seen == []
