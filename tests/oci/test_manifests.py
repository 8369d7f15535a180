"""Manifests, indexes, digests and platforms: what the specs say, refused where against them."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainers.errors import ImageError, InvalidArgument
from pycontainers.oci import manifest as oci
from pycontainers.oci.codec import to_json
from pycontainers.oci.digest import Digest
from pycontainers.oci.platform import Platform


def entry(platform: str | None, **others: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "mediaType": oci.OCI_MANIFEST,
        "digest": str(Digest.of(f"{platform}{others}".encode())),
        "size": 7,
        **others,
    }
    if platform:
        system, architecture, *variant = platform.split("/")
        found["platform"] = {"os": system, "architecture": architecture}
        found["platform"] |= {"variant": variant[0]} if variant else {}
    return found


def document(**members: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, **members}).encode()


def a_manifest(**others: Any) -> bytes:
    config = {"mediaType": oci.OCI_CONFIG, "digest": str(Digest.of(b"{}")), "size": 2}
    layer = {"mediaType": oci.OCI_LAYER_GZIP, "digest": str(Digest.of(b"x")), "size": 1}
    return document(**{"config": config, "layers": [layer], **others})


def index(*entries: dict[str, Any]) -> oci.Index:
    found = oci.parse(document(manifests=list(entries)))
    assert isinstance(found, oci.Index)
    return found


@pytest.mark.parametrize("media_type", oci.MANIFESTS)
def test_a_manifest_is_read_and_written_back_with_what_is_unknown(media_type: str) -> None:
    data = a_manifest(mediaType=media_type, later={"new": [1]})

    found = oci.parse(data, media_type)

    assert isinstance(found, oci.Manifest)
    assert json.loads(to_json(found)) == json.loads(data)
    assert oci.check_image(found) is found


@pytest.mark.parametrize(
    ("data", "media_type", "says"),
    [
        (b'{"schemaVersion": 1, "fsLayers": []}', None, "schema 1"),
        (a_manifest(), "application/vnd.docker.distribution.manifest.v1+prettyjws", "schema 1"),
        (a_manifest(manifests=[]), None, "both"),
        (a_manifest(mediaType=oci.OCI_MANIFEST), oci.OCI_INDEX, "came as"),
        (a_manifest(mediaType=oci.OCI_INDEX), None, "expected a manifest or an index"),
        (a_manifest(), oci.OCI_INDEX, "expected a manifest or an index"),
        (document(), None, "neither"),
        (b'{"schemaVersion": 3, "manifests": []}', None, "schema version 3"),
        (b'{"manifests": []}', None, "schema version 0"),
        (b'{"schemaVersion": "2", "manifests": []}', None, "schemaVersion"),
        (b"<html>", None, "not JSON"),
        (b"", None, "not JSON"),
        (b'{"schemaVersion": 2, "manifests": [], "manifests": []}', None, "twice"),
        (document(manifests=[{"mediaType": "a", "digest": "sha256:1", "size": 1}]), None, "digest"),
        (a_manifest(layers=[{"mediaType": "a", "digest": str(Digest.of(b"")), "size": -1}]), None,
         "size"),
        (a_manifest(layers=[{"mediaType": "a", "digest": str(Digest.of(b"")), "size": 1.0}]), None,
         "size"),
        (a_manifest(layers=[None] * 3), None, "layers"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, None, "nested"),
        (
            a_manifest(layers=[{"mediaType": oci.OCI_LAYER, "digest": str(Digest.of(b"")),
                                "size": 1}] * 1025),
            None, "1025 layers",
        ),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused_by_name(
    data: bytes, media_type: str | None, says: str
) -> None:
    with pytest.raises(ImageError, match=says):
        oci.parse(data, media_type)


@pytest.mark.parametrize(
    "changed",
    [
        {"artifactType": "application/vnd.example"},
        {"config": {"mediaType": "application/vnd.oci.empty.v1+json",
                    "digest": str(Digest.of(b"{}")), "size": 2}},
        {"layers": [{"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
                     "digest": str(Digest.of(b"x")), "size": 1}]},
    ],
)  # fmt: skip
def test_an_artifact_is_not_taken_for_an_image(changed: dict[str, Any]) -> None:
    found = oci.parse(a_manifest(**changed))
    assert isinstance(found, oci.Manifest)

    with pytest.raises(ImageError, match=r"artifact|media type"):
        oci.check_image(found)


def test_the_best_variant_is_chosen_and_attestations_are_passed_over() -> None:
    attestation = entry(
        "unknown/unknown", annotations={"vnd.docker.reference.type": "attestation-manifest"}
    )
    artifact = entry("linux/amd64", artifactType="application/vnd.example.sbom")
    several = index(
        attestation,
        artifact,
        entry("linux/arm/v6"),
        entry("linux/arm/v7"),
        entry("linux/arm64/v8"),
        entry("linux/amd64"),
        entry("linux/amd64/v3"),
    )

    def chosen(wanted: str) -> str:
        return str(oci.choose(several, Platform.parse(wanted)).platform)

    assert chosen("linux/amd64") == "linux/amd64"
    assert chosen("linux/amd64/v4") == "linux/amd64/v3"
    assert chosen("linux/amd64/v2") == "linux/amd64"
    assert chosen("arm64") == "linux/arm64/v8"
    assert chosen("linux/aarch64") == "linux/arm64/v8"
    assert chosen("linux/arm") == "linux/arm/v7"
    assert chosen("linux/arm/v6") == "linux/arm/v6"


def test_a_missing_platform_is_refused_with_those_there_are() -> None:
    several = index(entry("linux/amd64"), entry("linux/s390x"), entry("windows/amd64"))

    with pytest.raises(ImageError) as caught:
        oci.choose(several, Platform.parse("linux/riscv64"))

    assert "linux/amd64, linux/s390x, windows/amd64" in (caught.value.hint or "")


def test_the_only_image_without_a_platform_is_taken() -> None:
    only = index(entry(None))

    assert oci.choose(only, Platform.host()).platform is None


@given(st.text(max_size=30))
def test_any_platform_text_is_read_or_refused(text: str) -> None:
    try:
        platform = Platform.parse(text)
    except InvalidArgument:
        return

    assert platform.normalized() == platform
    assert platform.rank(platform) == 0


@given(st.binary(max_size=100))
def test_digests_round_trip(data: bytes) -> None:
    digest = Digest.of(data)

    assert Digest.parse(str(digest)) == digest
    hasher = digest.hasher()
    hasher.update(data)
    assert hasher.hexdigest() == digest.hex


@given(st.text(max_size=80))
def test_any_other_digest_is_refused(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        assert str(Digest.parse(text)) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["schemaVersion", "config", "layers", "manifests", "digest", "size"]),
            inner,
            max_size=4,
        )
    ),
)


@given(JSON)
def test_any_document_is_read_or_refused(value: Any) -> None:
    with contextlib.suppress(ImageError):
        oci.parse(json.dumps(value).encode())
