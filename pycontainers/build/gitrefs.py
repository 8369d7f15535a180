"""Sources that are repositories of Git: which texts name one, and what of it they mean."""

from __future__ import annotations

import posixpath
import re
import urllib.parse
from typing import Final

import attrs

from pycontainers.build.flags import truth
from pycontainers.errors import BuildError

_SCHEME: Final = re.compile(r"([a-zA-Z0-9]+)://")
_SCHEMES: Final = ("http", "https", "ssh", "git")
_WEB: Final = ("http", "https")
# As ssh has it: user@host:path, here with a query and a fragment.
_SHORT: Final = re.compile(
    r"(?P<url>[a-zA-Z0-9_-]+@[a-zA-Z0-9.-]+:.*?)(?:\?(?P<query>.*?))?(?:#(?P<fragment>.*))?"
)
_GITHUB: Final = "github.com/"
_HEX: Final = re.compile("[0-9a-fA-F]+")
_COMMIT: Final = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
# What no name of a branch or tag has (git-check-ref-format(1)), and what an option begins with.
_NO_REF: Final = re.compile(r"^[-/]|[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/$|\.lock$")
_QUERIES: Final = ("ref", "tag", "branch", "subdir", "checksum", "commit", "keep-git-dir",
                   "submodules")  # fmt: skip
_SWITCHES: Final = ("keep-git-dir", "submodules")
_MOST_QUERIES: Final = 20


@attrs.frozen(kw_only=True)
class GitSource:
    """The files of a commit in a repository; raises BuildError for what git must not be given.

    `ref` is a branch, a tag, a whole name below refs/ or a commit's whole id, and empty for the
    default branch.  `checksum` is what the commit's id has to begin with.  `keep_git_dir` is None
    where nothing is said.
    """

    url: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keep_git_dir: bool | None = None
    submodules: bool = True

    def __attrs_post_init__(self) -> None:
        check_url(self.url)
        if self.ref and _NO_REF.search(self.ref):
            raise BuildError(f"{self.ref[:80]!r} is no branch, tag or commit", near=self.ref)
        if self.checksum and not _HEX.fullmatch(self.checksum):
            raise BuildError(
                f"the checksum {self.checksum[:80]!r} is not the id of a commit",
                near=self.checksum,
                hint="of a Git repository it is the commit's id, or the beginning of that",
            )

    @classmethod
    def parse(cls, text: str, *, context: bool = False) -> GitSource | None:
        """Read a source as BuildKit does; None for one that is no repository.

        Of http there are only paths that end in `.git`.  For a `context`, `github.com/` may stand
        without a scheme.  Raises BuildError.

        >>> GitSource.parse("https://example.com/a.git#v1:docs").subdir
        'docs'
        """
        if context and text.startswith(_GITHUB):
            return cls._of(f"https://{text}")
        scheme = scheme_of(text)
        if scheme in _WEB and not _split(text).path.endswith(".git"):
            return None
        return cls._of(text) if scheme or _SHORT.fullmatch(text) else None

    @classmethod
    def _of(cls, text: str) -> GitSource:
        if short := _SHORT.fullmatch(text):
            url, query, fragment = short["url"], short["query"] or "", short["fragment"] or ""
        else:
            parts = _split(text)
            url, query = parts._replace(query="", fragment="").geturl(), parts.query
            fragment = urllib.parse.unquote(parts.fragment)
        ref, _, subdir = fragment.partition(":")
        given = _queries(query)
        ref = _agreed("ref", ref, given.get("ref", ""))
        for kind, prefix in (("tag", "refs/tags/"), ("branch", "refs/heads/")):
            if name := given.get(kind, ""):
                ref = _agreed("ref", ref, prefix + name.removeprefix(prefix))
        keep, submodules = given.get("keep-git-dir"), given.get("submodules", "true")
        return cls(
            url=url,
            ref=ref,
            subdir=_inside(_agreed("subdir", subdir, given.get("subdir", ""))),
            checksum=_agreed("checksum", given.get("checksum", ""), given.get("commit", "")),
            keep_git_dir=None if keep is None else truth(keep, query),
            submodules=truth(submodules, query),
        )

    def __str__(self) -> str:
        what = f"{self.ref}:{self.subdir}".rstrip(":")
        return f"{redacted(self.url)}#{what}" if what else redacted(self.url)

    @property
    def commit(self) -> str:
        """The commit's id, where the ref is one; else empty."""
        return self.ref if is_commit(self.ref) else ""

    def with_wishes(self, checksum: str, keep_git_dir: bool | None) -> GitSource:
        """Give this with what an instruction's flags say; raises BuildError for contradictions."""
        keep = self.keep_git_dir
        if None not in (keep, keep_git_dir) and keep != keep_git_dir:
            raise BuildError(
                "--keep-git-dir and the URL's keep-git-dir disagree", near="--keep-git-dir"
            )
        return attrs.evolve(
            self,
            checksum=_agreed("checksum", self.checksum, checksum),
            keep_git_dir=keep_git_dir if keep is None else keep,
        )


def is_download(source: str) -> bool:
    """Whether a source is a URL of http: of a file, unless it is a repository's.

    >>> is_download("https://example.com/a.txt"), is_download("a.txt")
    (True, False)
    """
    return source.startswith(("http://", "https://"))


def is_commit(text: str) -> bool:
    """Whether a text is the whole id of a commit, by SHA-1 or SHA-256."""
    return bool(_COMMIT.fullmatch(text))


def scheme_of(text: str) -> str:
    """Give the scheme of a URL that git may be given, in lower case; empty for anything else.

    >>> scheme_of("HTTPS://example.com/a.git"), scheme_of("file:///srv/a.git")
    ('https', '')
    """
    found = _SCHEME.match(text)
    scheme = found[1].lower() if found else ""
    return scheme if scheme in _SCHEMES else ""


def check_url(url: str) -> None:
    """Refuse a URL that is none of Git's over a network, or leads git astray; raises BuildError."""
    shown = redacted(url)[:200]
    if any(letter <= " " or letter == "\x7f" for letter in url):
        raise BuildError(f"the URL {shown!r} has spaces or control characters")
    if scheme_of(url):
        parts = _split(url)
        words = [parts.hostname or "-", parts.username or ""]
    elif _SHORT.fullmatch(url):
        place, _, path = url.partition(":")
        user, _, host = place.partition("@")
        words = [user, host, path]
    else:
        hint = f"a repository's URL is {', '.join(_SCHEMES)}:// or user@host:path"
        raise BuildError(f"git must not fetch from {shown!r}", hint=hint)
    if any(urllib.parse.unquote(word).startswith("-") for word in words):
        raise BuildError(f"the URL {shown!r} has no host, or a part of it begins with '-'")


def resolved(url: str, base: str) -> str:
    """Give a submodule's URL, which may be relative to the repository's own; raises BuildError.

    >>> resolved("../other.git", "https://example.com/group/one.git")
    'https://example.com/group/other.git'
    """
    if url.startswith(("./", "../")):
        base = base.rstrip("/")
        while url.startswith(("./", "../")):
            if url.startswith("../"):
                base = base[: max(base.rfind("/"), base.rfind(":"), 0)]
            url = url.partition("/")[2]
        # What is left of `user@host:path` may be the host alone.
        url = f"{base}{'/' if '/' in base or ':' in base else ':'}{url}"
    check_url(url)
    return url


def redacted(url: str) -> str:
    """Give a URL without the user and password in it, for messages.

    >>> redacted("https://me:secret@example.com/a.git")
    'https://xxxxx@example.com/a.git'
    """
    return re.sub(r"(?<=://)[^/@]*@", "xxxxx@", url) if scheme_of(url) in _WEB else url


def _split(text: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise BuildError(f"{redacted(text)[:200]!r} is no URL: {error}", near=text) from None
    return parts


def _queries(query: str) -> dict[str, str]:
    """Read `name=value&…`; a switch may have no value.  Raises BuildError."""
    if not query:
        return {}
    try:
        found = urllib.parse.parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_QUERIES)
    except ValueError as error:
        raise BuildError(f"the query {query[:80]!r} can't be read: {error}", near=query) from None
    given: dict[str, str] = {}
    for name, value in found:
        if name not in _QUERIES:
            hint = f"there are {', '.join(_QUERIES)}"
            raise BuildError(f"a Git URL has no query {name[:80]!r}", near=query, hint=hint)
        if name in given:
            raise BuildError(f"the query {name!r} is there twice", near=query)
        if not value and name not in _SWITCHES:
            raise BuildError(f"the query {name!r} has no value", near=query)
        given[name] = value or "true"
    if "tag" in given and "branch" in given:
        raise BuildError("the queries 'tag' and 'branch' exclude each other", near=query)
    return given


def _agreed(what: str, one: str, other: str) -> str:
    """Give what is said in one or both of two places; raises BuildError where they differ."""
    if one and other and one != other:
        raise BuildError(f"the {what} is {one[:80]!r} and {other[:80]!r} at once", near=other)
    return one or other


def _inside(subdir: str) -> str:
    """Give a directory as a path from the repository's root, which is the empty one."""
    return posixpath.normpath(f"/{subdir}").strip("/")
