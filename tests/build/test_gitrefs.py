"""Which sources are repositories of Git, what of them is meant, and which git is never given."""

from __future__ import annotations

import pytest

from pycontainers.build.gitrefs import GitSource, redacted, resolved
from pycontainers.errors import BuildError

COMMIT = "0123456789abcdef" * 2 + "01234567"
HTTP = "https://example.com/group/one.git"


def source(text: str, *, context: bool = False) -> GitSource:
    found = GitSource.parse(text, context=context)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "url", "ref", "subdir"),
    [
        (HTTP, HTTP, "", ""),
        (f"{HTTP}#", HTTP, "", ""),
        (f"{HTTP}#v1", HTTP, "v1", ""),
        (f"{HTTP}#v1:a/b", HTTP, "v1", "a/b"),
        (f"{HTTP}#:a", HTTP, "", "a"),
        (f"{HTTP}#refs/pull/42/head:/../a/./b/../c/", HTTP, "refs/pull/42/head", "a/c"),
        (f"{HTTP}#a%20b:c%20d".replace("a%20b", "main"), HTTP, "main", "c d"),
        (f"{HTTP}#{COMMIT}", HTTP, COMMIT, ""),
        ("http://user:word@host:8080/x.git", "http://user:word@host:8080/x.git", "", ""),
        ("git://host/any/path#b", "git://host/any/path", "b", ""),
        ("ssh://git@host:2222/~/x#b:d", "ssh://git@host:2222/~/x", "b", "d"),
        ("git@github.com:moby/buildkit.git#v1:hack", "git@github.com:moby/buildkit.git", "v1",
         "hack"),
        ("me@host:x?ref=b", "me@host:x", "b", ""),
        (f"{HTTP}?ref=pull/42/head", HTTP, "pull/42/head", ""),
        (f"{HTTP}?tag=v1&subdir=d", HTTP, "refs/tags/v1", "d"),
        (f"{HTTP}?branch=b#:d", HTTP, "refs/heads/b", "d"),
        (f"{HTTP}?branch=refs/heads/b", HTTP, "refs/heads/b", ""),
    ],
)  # fmt: skip
def test_a_source_is_read_as_buildkit_reads_it(text: str, url: str, ref: str, subdir: str) -> None:
    found = source(text)

    assert (found.url, found.ref, found.subdir) == (url, ref, subdir)


@pytest.mark.parametrize(
    "text",
    ["a.txt", "https://example.com/a.tar.gz", "https://example.com/one", "./git@host:x.git",
     "file:///srv/one.git", "/srv/one.git", "ftp://example.com/one.git", "ext::sh -c true",
     "github.com/a/b.git", "https://example.com/one.git/info", "../x.git"],
)  # fmt: skip
def test_what_is_no_repository_for_buildkit_is_none(text: str) -> None:
    assert GitSource.parse(text) is None


def test_a_context_of_github_needs_no_scheme() -> None:
    assert source("github.com/a/b#v1", context=True).url == "https://github.com/a/b"


def test_switches_may_have_no_value() -> None:
    assert source(f"{HTTP}?keep-git-dir&submodules=0").keep_git_dir is True
    assert source(f"{HTTP}?keep-git-dir=false").keep_git_dir is False
    assert source(f"{HTTP}?submodules=false").submodules is False
    assert source(HTTP).keep_git_dir is None


@pytest.mark.parametrize(
    "text",
    [
        f"{HTTP}?depth=1",
        f"{HTTP}?ref=a&ref=b",
        f"{HTTP}?ref=",
        f"{HTTP}?tag=a&branch=a",
        f"{HTTP}?ref=a#b",
        f"{HTTP}?subdir=a#:b",
        f"{HTTP}?checksum=abc&commit=abd",
        f"{HTTP}?checksum=xyz",
        f"{HTTP}?keep-git-dir=maybe",
        f"{HTTP}#--upload-pack=x",
        f"{HTTP}#a..b",
        f"{HTTP}#a b",
        f"{HTTP}#refs/heads/*",
        f"{HTTP}#@{{-1}}",
        "https://example.com:port/one.git",
        "https://-oProxyCommand=x/one.git",
        "ssh://-oProxyCommand=x/one.git",
        "ssh://-l@host/one.git",
        "ssh://%2DoProxyCommand=x/one.git",
        "git@-host:x.git",
        "git@host:-x.git",
        "-u@host:x",
        "git:///no/host",
        "git://host/a b",
    ],
)
def test_what_would_lead_git_astray_is_refused(text: str) -> None:
    with pytest.raises(BuildError):
        GitSource.parse(text)


def test_flags_and_url_must_agree() -> None:
    one = source(f"{HTTP}?keep-git-dir=true&checksum=abc")

    assert one.with_wishes("", None) == one
    assert source(HTTP).with_wishes("ab", True).keep_git_dir is True
    for checksum, keep in (("abd", None), ("", False)):
        with pytest.raises(BuildError):
            one.with_wishes(checksum, keep)


@pytest.mark.parametrize(
    ("url", "base", "expected"),
    [
        ("../two.git", HTTP, "https://example.com/group/two.git"),
        ("../../two.git", f"{HTTP}/", "https://example.com/two.git"),
        ("./sub.git", HTTP, f"{HTTP}/sub.git"),
        ("../two.git", "git@host:group/one.git", "git@host:group/two.git"),
        ("../two.git", "git@host:one.git", "git@host:two.git"),
        ("https://other/x", HTTP, "https://other/x"),
    ],
)
def test_a_submodules_url_is_relative_to_the_repositorys(
    url: str, base: str, expected: str
) -> None:
    assert resolved(url, base) == expected


@pytest.mark.parametrize(
    "url",
    ["file:///etc", "/srv/one.git", "--upload-pack=touch /x", "ext::sh -c true", "-x@host:y",
     "ssh://-x/y", "fd::17", "../../../../../..", "C:/x", ""],
)  # fmt: skip
def test_a_submodule_comes_over_the_same_transports_only(url: str) -> None:
    with pytest.raises(BuildError):
        resolved(url, HTTP)


def test_messages_have_no_passwords() -> None:
    found = source("https://me:secret@example.com/a.git#main:d")

    assert "secret" not in redacted(found.url)
    assert str(found) == "https://xxxxx@example.com/a.git#main:d"
