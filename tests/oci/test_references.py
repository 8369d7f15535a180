"""References: Docker's rules for what people write, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainers.errors import InvalidArgument
from pycontainers.oci.digest import Digest
from pycontainers.oci.reference import Reference

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("written", "meant", "familiar"),
    [
        ("debian", "docker.io/library/debian:latest", "debian:latest"),
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("index.docker.io/library/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("me/app", "docker.io/me/app:latest", "me/app:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/a/b:1", "localhost:5000/a/b:1", "localhost:5000/a/b:1"),
        ("[::1]:5000/app:1", "[::1]:5000/app:1", "[::1]:5000/app:1"),
        ("Registry/app", "Registry/app:latest", "Registry/app:latest"),
        ("quay.io/a/b--c__d.e", "quay.io/a/b--c__d.e:latest", "quay.io/a/b--c__d.e:latest"),
        (f"debian@sha256:{HEX}", f"docker.io/library/debian@sha256:{HEX}", f"debian@sha256:{HEX}"),
        (f"a:1@sha256:{HEX}", f"docker.io/library/a:1@sha256:{HEX}", f"a:1@sha256:{HEX}"),
    ],
)
def test_a_reference_means_what_docker_takes_it_for(
    written: str, meant: str, familiar: str
) -> None:
    reference = Reference.parse(written)

    assert str(reference) == meant
    assert reference.familiar == familiar
    assert Reference.parse(familiar) == reference


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "Debian",
        "a//b",
        "/a",
        "a/",
        "a:",
        "a:-x",
        "a:x y",
        f"a:{'x' * 129}",
        "a@sha256:12",
        "a@md5:" + 32 * "0",
        f"a@sha256:{HEX.upper()}",
        "a@",
        "a..b",
        "a___b",
        "_a",
        "../etc/passwd",
        "a/../../b",
        "-host.example/a",
        "host.example:port/a",
        "https://host/a",
        "a\n",
        "ä",
        HEX,
        "x" * 256,
        "user:secret@host.example/app",
    ],
)
def test_a_reference_against_the_grammar_is_refused(nonsense: str) -> None:
    with pytest.raises(InvalidArgument):
        Reference.parse(nonsense)


def test_an_upper_case_repository_is_told_its_lower_case() -> None:
    with pytest.raises(InvalidArgument) as caught:
        Reference.parse("localhost:5000/App")

    assert "lower-case: app" in (caught.value.hint or "")


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidArgument:
        return

    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference


PART = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,2})[a-z0-9]{1,4})?", fullmatch=True)


@given(
    st.sampled_from(["docker.io", "localhost", "localhost:5000", "a.b", "127.0.0.1:1"]),
    st.lists(PART, min_size=1, max_size=3),
    st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    st.none() | st.binary(max_size=4).map(Digest.of),
)
def test_parts_round_trip(
    registry: str, parts: list[str], tag: str | None, digest: Digest | None
) -> None:
    reference = Reference.parse(
        f"{registry}/{'/'.join(parts)}"
        + (f":{tag}" if tag else "")
        + (f"@{digest}" if digest else "")
    )

    assert reference.tag == (tag or (None if digest else "latest"))
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference
