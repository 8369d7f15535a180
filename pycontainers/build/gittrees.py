"""The files of a repository with its submodules: fetched, and unpacked by a jailed worker."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pycontainers.build.context import Context, Workers, extraction
from pycontainers.build.git import Repository, Resolved
from pycontainers.build.gitrefs import redacted, resolved
from pycontainers.errors import BuildError, KernelError
from pycontainers.kernel import paths
from pycontainers.kernel.closing import Closing
from pycontainers.lifecycle import workers
from pycontainers.storage.scratch import new_directory, scratch

if TYPE_CHECKING:
    from pathlib import Path

    from pycontainers.build.gitrefs import GitSource
    from pycontainers.build.gitrun import Access
    from pycontainers.distribution.layers import Limits
    from pycontainers.lifecycle.services import Services

_MOST_SUBMODULES: Final = 500
# Nothing else is within the worker's reach; and git tells the time of what is not the top.
_JAIL: Final = "jail"
_TREE: Final = "tree"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class _Submodule(NamedTuple):
    """A submodule: where it is below that of `prefix`, which is empty or ends with a slash."""

    prefix: str
    path: str
    repository: Repository
    commit: str

    @property
    def place(self) -> str:
        """Where its files are, with a slash at the end."""
        return f"{self.prefix}{self.path}/"


class GitTree(Closing):
    """A source whose commit is known; its files are fetched when they are asked for.

    To be closed; raises BuildError for what is not there, or can't be asked.
    """

    def __init__(
        self, source: GitSource, services: Services, access: Access, limits: Limits
    ) -> None:
        self.source = source
        self._services = services
        self._access = access
        self._limits = limits
        self._submodules: list[_Submodule] = []
        self._open = contextlib.ExitStack()
        with contextlib.ExitStack() as opened:
            self._home = opened.enter_context(scratch(services.root.layers, 0o700))
            self._repository = Repository(self._home / "0", source.url, access)
            self.found: Resolved = self._repository.resolve(source)
            self._open = opened.pop_all()

    def close(self) -> None:
        """Remove what was fetched."""
        self._open.close()

    @property
    def keeps_git_dir(self) -> bool:
        """Whether `.git` is among the files; of a directory in the repository it never is."""
        return bool(self.source.keep_git_dir) and not self.source.subdir

    @property
    def key(self) -> list[Any]:
        """What the files depend on: the commit, not where it is from, unless `.git` tells that."""
        source, found = self.source, self.found
        kept = [redacted(source.url), found.ref, found.tip] if self.keeps_git_dir else []
        return ["git", found.commit, source.subdir, source.submodules, kept]

    def context(self) -> Context:
        """Fetch the files, as a context that lives as long as this; raises BuildError."""
        files = self._home / _JAIL / _TREE
        files.mkdir(parents=True)
        self._fill(files)
        if self.keeps_git_dir:
            self._keep(files)
        with paths.directory(files) as files_fd:
            try:
                root_fd = paths.open_in(files_fd, self.source.subdir, _FOLDER, follow=False)
            except KernelError as error:
                raise BuildError(
                    f"{redacted(self.source.url)} has no directory {self.source.subdir!r}: "
                    f"{os.strerror(error.errno or 0)}",
                    near=self.source.subdir,
                ) from None
        return Context(redacted(self.source.url), root_fd)

    def _fill(self, files: Path) -> None:
        """Unpack the commit, and below it those of its submodules, and of theirs."""
        source, count = self.source, 0
        commit = self._fetched(self._repository, self.found.tip)
        self.found = self.found._replace(commit=commit)
        waiting = [(self._repository, commit, "")]
        while waiting:
            repository, commit, prefix = waiting.pop()
            self._unpack(repository, commit, f"{_TREE}/{prefix}", files.parent)
            if not source.submodules:
                break
            for path, written, wanted in repository.submodules(commit):
                count += 1
                if count > _MOST_SUBMODULES:
                    raise BuildError(
                        f"{redacted(source.url)} has more than {_MOST_SUBMODULES} submodules"
                    )
                url = resolved(written, repository.url)
                below = Repository(self._home / str(count), url, self._access, source.url)
                found = _Submodule(prefix, path, below, self._fetched(below, wanted))
                self._submodules.append(found)
                waiting.append((below, found.commit, found.place))

    def _fetched(self, repository: Repository, tip: str) -> str:
        commit = repository.fetch(tip)
        expected = self.found.commit if repository is self._repository else tip
        if expected not in (commit, self.source.commit):
            raise BuildError(f"{redacted(repository.url)} gave {commit} for {expected}")
        return commit

    def _unpack(self, repository: Repository, commit: str, prefix: str, place: Path) -> None:
        work = extraction(place, self._limits)
        with workers.reader(Workers(self._services), work) as fd:
            repository.archive(commit, prefix, fd)

    def _keep(self, files: Path) -> None:
        """Have the repository itself among its files, and those of submodules in it, as git has."""
        facts = files.stat()
        self._repository.become_git_dir(self.found)
        homes = {"": files / ".git"}
        try:
            self._repository.home.rename(homes[""])
        except OSError as error:
            raise BuildError(
                f"{redacted(self.source.url)} has a file in place of .git: {error.strerror}"
            ) from error
        os.utime(files, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        with paths.directory(files) as files_fd:
            for one in self._submodules:
                home = homes[one.place] = homes[one.prefix] / "modules" / one.path
                _make(home.parent)
                place = files / one.place
                found = Resolved("", one.commit, one.commit)
                one.repository.become_git_dir(found, os.path.relpath(place, home))
                one.repository.home.rename(home)
                _point(files_fd, one.place, os.path.relpath(home, place))


def _make(folder: Path) -> None:
    """Make a directory, and those above it, with the mode that git's have."""
    if not folder.is_dir():
        _make(folder.parent)
        new_directory(folder, 0o755)


def _point(files_fd: int, place: str, home: str) -> None:
    """Have a submodule's files tell where its repository is."""
    folder_fd = paths.open_in(files_fd, place, _FOLDER, follow=False)
    try:
        facts = os.fstat(folder_fd)
        fd = os.open(".git", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folder_fd)
        with os.fdopen(fd, "wb") as file:
            file.write(os.fsencode(f"gitdir: {home}\n"))
            os.fchmod(fd, 0o644)
        os.utime(folder_fd, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    finally:
        os.close(folder_fd)
