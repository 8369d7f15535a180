"""A repository of a real registry: manifests, blobs and tags, in and out."""

from __future__ import annotations

import io
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from pycontainers.errors import (
    AuthenticationError,
    ImageError,
    ImageNotFound,
    InvalidArgument,
    RegistryError,
    RegistryUnreachable,
)
from pycontainers.oci.manifest import OCI_CONFIG, OCI_MANIFEST
from pycontainers.registry.credentials import Credentials, CredentialStore
from pycontainers.registry.endpoint import Endpoint
from pycontainers.registry.repository import Repository
from tests.registry.servers import Authority, digest_of, docker_registry
from tests.registry.tokens import IDENTITY, PASSWORD, USER, TokenServer


def stream(data: bytes) -> BinaryIO:
    return io.BytesIO(data)


def push(repository: Repository, data: bytes) -> str:
    digest = digest_of(data)
    repository.upload_blob(digest, len(data), lambda: stream(data))
    return digest


def pushed_image(repository: Repository, tag: str = "1") -> bytes:
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    digest = push(repository, config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest, "size": len(config)},
        "layers": [],
    }
    data = json.dumps(manifest).encode()
    repository.put_manifest(tag, data, OCI_MANIFEST)
    return data


def test_an_image_comes_back_as_it_was_sent(open_registry: str) -> None:
    with Repository(open_registry, "round/trip") as repository:
        data = pushed_image(repository)

        by_tag = repository.manifest("1")
        by_digest = repository.manifest(digest_of(data))

        assert by_tag == by_digest
        assert (by_tag.data, by_tag.media_type) == (data, OCI_MANIFEST)
        assert by_tag.digest == digest_of(data)
        with pytest.raises(ImageNotFound):
            repository.manifest("2")


def test_a_blob_comes_in_bounded_pieces_from_any_byte(open_registry: str) -> None:
    data = os.urandom(3_000_000)
    with Repository(open_registry, "blobs/some") as repository:
        digest = push(repository, data)

        pieces = list(repository.blob(digest, len(data)))
        rest = b"".join(repository.blob(digest, len(data), 2_999_990))

        assert b"".join(pieces) == data and max(map(len, pieces)) <= 1 << 20
        assert rest == data[-10:]
        assert list(repository.blob(digest, len(data), len(data))) == []
        assert repository.has_blob(digest) and not repository.has_blob(digest_of(b"no"))


def test_many_threads_use_one_repository(open_registry: str) -> None:
    blobs = [os.urandom(500_000) for _ in range(12)]
    with Repository(open_registry, "blobs/many") as repository, ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(lambda data: push(repository, data), blobs))

        back = list(pool.map(lambda name: b"".join(repository.blob(name, 500_000)), digests))

    assert back == blobs


def test_a_blob_of_unknown_size_is_sent_in_chunks(open_registry: str) -> None:
    data = os.urandom(20_000_000)
    with Repository(open_registry, "blobs/chunks") as repository:
        repository.upload_blob(digest_of(data), None, lambda: stream(data))

        assert b"".join(repository.blob(digest_of(data), len(data))) == data


def test_an_empty_blob_is_sent(open_registry: str) -> None:
    with Repository(open_registry, "blobs/empty") as repository:
        push(repository, b"")

        assert repository.has_blob(digest_of(b""))


@pytest.mark.parametrize("said", [4, 6])
def test_a_stream_of_another_size_is_not_sent(open_registry: str, said: int) -> None:
    with Repository(open_registry, "blobs/size") as repository:
        digest = digest_of(b"other")
        with pytest.raises(ImageError, match="should have"):
            repository.upload_blob(digest, said, lambda: stream(b"other"))

        assert not repository.has_blob(digest)


def test_a_blob_of_another_digest_is_refused(open_registry: str) -> None:
    with Repository(open_registry, "blobs/wrong") as repository:
        with pytest.raises(RegistryError, match="DIGEST_INVALID") as caught:
            repository.upload_blob(digest_of(b"right"), 5, lambda: stream(b"wrong"))

        assert caught.value.status == 400


def test_a_blob_of_another_size_is_refused(open_registry: str) -> None:
    with Repository(open_registry, "blobs/length") as repository:
        digest = push(repository, b"12345")

        with pytest.raises(ImageError, match="6 bytes"):
            list(repository.blob(digest, 6))
        with pytest.raises(ImageError, match="4 bytes"):
            list(repository.blob(digest, 4))


def test_a_blob_is_taken_over_from_another_repository(open_registry: str) -> None:
    with Repository(open_registry, "mount/from") as source:
        digest = push(source, b"to mount")
    with Repository(open_registry, "mount/to") as repository:
        assert not repository.has_blob(digest)

        assert repository.mount_blob(digest, "mount/from")
        assert not repository.mount_blob(digest_of(b"nowhere"), "mount/from")

        assert b"".join(repository.blob(digest, 8)) == b"to mount"


def test_tags_are_listed(open_registry: str) -> None:
    with Repository(open_registry, "some/tags") as repository:
        for tag in ("b", "a", "1.0"):
            pushed_image(repository, tag)

        assert sorted(repository.tags()) == ["1.0", "a", "b"]


def test_what_is_not_there_is_named(open_registry: str) -> None:
    with Repository(open_registry, "no/such") as repository:
        with pytest.raises(ImageNotFound, match="no/such:1"):
            repository.manifest("1")
        with pytest.raises(ImageNotFound, match="no/such"):
            repository.tags()
        with pytest.raises(RegistryError, match="404") as caught:
            list(repository.blob(digest_of(b"x"), 1))

    assert caught.value.status == 404


def test_no_registry_is_an_error_that_names_it() -> None:
    with (
        Repository("127.0.0.1:1", "a/b") as repository,
        pytest.raises(RegistryUnreachable, match=r"127\.0\.0\.1:1.*Connection refused"),
    ):
        repository.tags()


@pytest.mark.parametrize(
    ("registry", "name"),
    [("localhost", "../etc"), ("localhost", "a/../b"), ("localhost", "A"), ("localhost", "a?b"),
     ("me@localhost", "a"), ("ftp://localhost", "a"), ("", "a"), ("local host", "a"),
     ("localhost:99999", "a"), ("localhost#", "a"), ("localhost/a\r\nb", "a")],
)  # fmt: skip
def test_nonsense_is_refused_before_anything_is_sent(registry: str, name: str) -> None:
    with pytest.raises(InvalidArgument):
        Repository(registry, name)


def test_the_wrong_reference_is_refused_before_anything_is_sent() -> None:
    with Repository("localhost:1", "a") as repository:
        for reference in ("", "..", "a/b", "a?b", "sha256:12", "x" * 129):
            with pytest.raises(InvalidArgument):
                repository.manifest(reference)
        with pytest.raises(InvalidArgument):
            repository.blob("sha256:../../x", 1)
        with pytest.raises(ImageError, match="not sha256"):
            repository.put_manifest(digest_of(b"x"), b"y", OCI_MANIFEST)


def test_a_registry_under_a_path(tmp_path: Path) -> None:
    with (
        docker_registry(tmp_path, http="  prefix: /below/here/\n") as host,
        Repository(f"{host}/below/here", "a/b") as repository,
    ):
        data = pushed_image(repository)

        assert repository.manifest("1").data == data
        assert repository.tags() == ["1"]


def test_passwords_over_tls(secure_registry: str, authority: Authority) -> None:
    known = Credentials(USER, PASSWORD)
    with Repository(secure_registry, "se/cure", credentials=known, ca=authority.ca) as repository:
        data = pushed_image(repository)

        assert repository.manifest("1").data == data


def test_the_wrong_password_is_an_authentication_error(
    secure_registry: str, authority: Authority
) -> None:
    for known in (None, Credentials(USER, "wrong")):
        with (
            Repository(secure_registry, "a/b", credentials=known, ca=authority.ca) as repository,
            pytest.raises(AuthenticationError) as caught,
        ):
            repository.tags()
        assert caught.value.status == 401 and "login" in str(caught.value)
        assert "wrong" not in str(caught.value)


def test_an_unknown_authority_is_an_error_that_says_what_to_do(secure_registry: str) -> None:
    for insecure in (None, False):
        with (
            Repository(secure_registry, "a/b", insecure=insecure) as repository,
            pytest.raises(RegistryUnreachable, match="certificate") as caught,
        ):
            repository.tags()
        assert caught.value.hint is not None and "ca=" in caught.value.hint


def test_insecure_takes_any_certificate(secure_registry: str) -> None:
    known = Credentials(USER, PASSWORD)
    with Repository(secure_registry, "in/secure", credentials=known, insecure=True) as repository:
        pushed_image(repository)

        assert repository.tags() == ["1"]


@pytest.mark.usefixtures("hasty")
def test_plain_http_is_not_spoken_when_forbidden(open_registry: str) -> None:
    with (
        Repository(open_registry, "a/b", insecure=False) as repository,
        pytest.raises(RegistryUnreachable),
    ):
        repository.tags()


def test_tokens_are_fetched_once_for_what_is_done(
    token_registry: str, token_server: TokenServer
) -> None:
    known = Credentials(USER, PASSWORD)
    with Repository(token_registry, "public/some", credentials=known) as repository:
        pushed_image(repository)
        repository.manifest("1")
        repository.manifest("1")

        scopes = [one["scope"] for one in token_server.asked]
        assert scopes == [["repository:public/some:pull,push"], ["repository:public/some:pull"]]
        assert {one["service"][0] for one in token_server.asked} == {"test-service"}


def test_anonymous_pulls_what_is_public_and_no_more(
    token_registry: str, token_server: TokenServer
) -> None:
    known = Credentials(USER, PASSWORD)
    for name in ("public/a", "private/a"):
        with Repository(token_registry, name, credentials=known) as repository:
            pushed_image(repository)
    token_server.users.clear()

    with Repository(token_registry, "public/a") as repository:
        assert repository.tags() == ["1"]
        with pytest.raises(AuthenticationError):
            pushed_image(repository)
    with (
        Repository(token_registry, "private/a") as repository,
        pytest.raises(AuthenticationError, match="asks who you are"),
    ):
        repository.tags()
    assert set(token_server.users) == {""}


def test_an_expired_token_is_fetched_again(token_registry: str, token_server: TokenServer) -> None:
    token_server.life = 0.001  # type: ignore[assignment]
    with Repository(token_registry, "public/b", credentials=Credentials(USER, PASSWORD)) as one:
        pushed_image(one)
        one.manifest("1")
        one.manifest("1")

    assert len(token_server.asked) >= 4


def test_an_identity_token_buys_tokens(token_registry: str, token_server: TokenServer) -> None:
    known = Credentials("<token>", "", IDENTITY)
    with Repository(token_registry, "private/c", credentials=known) as repository:
        pushed_image(repository)

    assert set(token_server.users) == {USER}


def test_mounting_asks_for_both_repositories(
    token_registry: str, token_server: TokenServer
) -> None:
    known = Credentials(USER, PASSWORD)
    with Repository(token_registry, "private/from", credentials=known) as source:
        digest = push(source, b"to mount")
    with Repository(token_registry, "private/to", credentials=known) as repository:
        assert repository.mount_blob(digest, "private/from")

    assert token_server.asked[-1]["scope"] == [
        "repository:private/to:pull,push",
        "repository:private/from:pull",
    ]


def test_a_ping_tells_whether_credentials_are_good(
    token_registry: str, secure_registry: str, open_registry: str, authority: Authority
) -> None:
    good, bad = Credentials(USER, PASSWORD), Credentials(USER, "wrong")
    for registry in (token_registry, secure_registry, open_registry):
        endpoint = Endpoint(registry, lambda: good, ca=authority.ca)
        endpoint.ping()
        endpoint.close()
    for registry in (token_registry, secure_registry):
        endpoint = Endpoint(registry, lambda: bad, ca=authority.ca)
        with pytest.raises(AuthenticationError):
            endpoint.ping()
        endpoint.close()


def test_stored_credentials_are_found(secure_registry: str, authority: Authority) -> None:
    store = CredentialStore(authority.ca.with_name("auth.json"))
    store.store(secure_registry, Credentials(USER, PASSWORD))

    with Repository(secure_registry, "st/ored", credentials=store, ca=authority.ca) as repository:
        pushed_image(repository)

        assert repository.tags() == ["1"]


def test_skopeo_reads_what_we_send(open_registry: str) -> None:
    with Repository(open_registry, "for/skopeo") as repository:
        data = pushed_image(repository)

    shown = subprocess.run(
        [
            "skopeo",
            "inspect",
            "--raw",
            "--tls-verify=false",
            f"docker://{open_registry}/for/skopeo:1",
        ],
        capture_output=True,
        check=True,
        timeout=60,
    )

    assert shown.stdout == data
