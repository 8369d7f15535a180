"""One commit of a remote repository: asked for, fetched, and given as a tar archive."""

from __future__ import annotations

import os
import posixpath
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from pycontainers.build.gitrefs import is_commit, redacted
from pycontainers.build.gitrun import Git
from pycontainers.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path

    from pycontainers.build.gitrefs import GitSource
    from pycontainers.build.gitrun import Access

_LARGEST_LISTING: Final = 128 << 20  # bytes of names
_ALL: Final = "+refs/*:refs/remote/*"
# What servers and git say where a commit alone can't be had.
_NOT_ALONE: Final = ("shallow", "not our ref", "unadvertised object", "--depth")
_GITLINK: Final = re.compile(rb"160000 commit ([0-9a-f]+)\t(.+)", re.DOTALL)


class Resolved(NamedTuple):
    """What a ref means at this moment: the full name, its object, and the commit behind a tag."""

    ref: str
    tip: str
    commit: str


class Repository:
    """A bare repository in a directory that is made for it; it never holds more than is asked for.

    `main` is the URL that the build named: secrets are for that, and not for any submodule's.
    """

    def __init__(self, home: Path, url: str, access: Access, main: str = "") -> None:
        self.home = home
        self.url = url
        self._access = access
        self._git = Git(home, url, access, main or url)

    def resolve(self, source: GitSource) -> Resolved:
        """Ask what a source's ref means, a commit's id aside; raises BuildError."""
        commit = source.commit
        found = Resolved("", commit, commit) if commit else self._asked(source)
        if not any(one.startswith(source.checksum.lower()) for one in (found.tip, found.commit)):
            raise BuildError(
                f"{source.ref or 'the default branch'} of {redacted(source.url)} is the commit "
                f"{found.commit}, not {source.checksum}",
                near=source.checksum,
            )
        return found

    def _asked(self, source: GitSource) -> Resolved:
        if not source.ref:
            lines = self._listed("--symref", "HEAD")
            named = [told for told, name in lines if name == "HEAD" and told.startswith("ref: ")]
            ids = [told for told, name in lines if name == "HEAD" and is_commit(told)]
            if not ids:
                raise BuildError(f"{redacted(self.url)} has no default branch")
            ref = named[0].removeprefix("ref: ") if named else ""
            return Resolved(ref, ids[0], ids[0])
        bare = source.ref.removeprefix("refs/")
        names = [
            f"refs/{bare}",
            f"refs/heads/{source.ref.removeprefix('refs/heads/')}",
            f"refs/tags/{source.ref.removeprefix('refs/tags/')}",
        ]
        behind = [f"{name}^{{}}" for name in names]
        found = {name: told for told, name in self._listed(*names, *behind) if is_commit(told)}
        for name in names:  # a branch wins over a tag, as with git checkout
            if name in found:
                return Resolved(name, found[name], found.get(f"{name}^{{}}", found[name]))
        hint = "a commit is named by all of its 40 digits"
        raise BuildError(f"{redacted(self.url)} has no {source.ref!r}", near=source.ref, hint=hint)

    def _listed(self, *asked: str) -> list[tuple[str, str]]:
        options = [one for one in asked if one.startswith("--")]
        names = [one for one in asked if one not in options]
        told = self._git.run("ls-remote", *options, "--", "origin", *names).decode(
            "utf-8", "replace"
        )
        return [(one, name) for one, _, name in (line.partition("\t") for line in told.split("\n"))]

    def fetch(self, tip: str) -> str:
        """Have a commit, or the tag that leads to one, and give the commit; raises BuildError."""
        self._git.configure(tip)
        attempts = (["--depth=1", tip], [tip], [_ALL])
        for attempt in attempts:
            options = [one for one in attempt if one.startswith("--")]
            try:
                self._git.run(
                    "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", *options,
                    "--", "origin", attempt[-1], most=self._access.most_bytes,
                )  # fmt: skip
                break
            except BuildError as error:
                if attempt is attempts[-1] or not any(say in error.problem for say in _NOT_ALONE):
                    raise
        wanted = f"{tip}^{{commit}}"
        try:
            found = self._git.run("rev-parse", "--verify", "--end-of-options", wanted)
        except BuildError as error:
            raise BuildError(f"{redacted(self.url)} has no commit {tip}") from error
        return found.decode().strip()

    def archive(self, commit: str, prefix: str, fd: int) -> None:
        """Write the files of a commit as a tar archive to a pipe, all below `prefix`."""
        self._git.run("archive", "--format=tar", f"--prefix={prefix}", commit, stdout=fd)

    def submodules(self, commit: str) -> list[tuple[str, str, str]]:
        """Give path, URL and commit of each submodule that is to be fetched; raises BuildError."""
        settings = self._settings(commit)
        if not settings:
            return []
        paths = {given["path"]: given for given in settings.values() if "path" in given}
        listing = self._git.run("ls-tree", "-r", "-z", "--full-tree", commit, most=_LARGEST_LISTING)
        found = []
        for link in filter(None, map(_GITLINK.fullmatch, listing.split(b"\0"))):
            path = os.fsdecode(link[2])
            if posixpath.normpath(f"/{path}") != f"/{path}":
                raise BuildError(f"{redacted(self.url)} has a submodule at {path!r}")
            given = paths.get(path, {})
            if "url" not in given:
                raise BuildError(f".gitmodules of {redacted(self.url)} does not tell of {path!r}")
            if given.get("update") != "none":
                found.append((path, given["url"], link[1].decode()))
        return found

    def _settings(self, commit: str) -> dict[str, dict[str, str]]:
        """Read .gitmodules: the settings of each submodule by its name."""
        try:
            told = self._git.run("config", "--no-includes", "--blob", f"{commit}:.gitmodules", "-z",
                             "--list")  # fmt: skip
        except BuildError:
            return {}
        found: dict[str, dict[str, str]] = {}
        for item in told.decode("utf-8", "surrogateescape").split("\0"):
            key, _, value = item.partition("\n")
            section, _, rest = key.partition(".")
            name, _, setting = rest.rpartition(".")
            if section == "submodule" and name:
                found.setdefault(name, {})[setting] = value
        return found

    def become_git_dir(self, found: Resolved, work_tree: str = "") -> None:
        """Be what `.git` of a clone is that has this commit checked out, and nothing else.

        `work_tree` tells where the files are, for a submodule's, which does not lie beside them.
        """
        self._git.run("read-tree", found.commit)
        if found.ref.startswith("refs/"):
            self._git.run("update-ref", "--", found.ref, found.tip)
        self._git.leave(found.commit, work_tree)
