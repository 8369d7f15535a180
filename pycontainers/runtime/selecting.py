"""What COPY and ADD mean by their sources: files below an open directory, found and listed.

The directory is a build context's, or the root file system of a stage.  No name leads out of it;
nothing that is found is opened but directories.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from pycontainers.errors import KernelError
from pycontainers.kernel import paths
from pycontainers.runtime.patterns import Patterns, clean, has_wildcards, name_matcher
from pycontainers.runtime.selection import Entry, Folder, Match, attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_LINKS: Final = 40  # followed in one path, as the kernel does
_LONGEST: Final = 4095
_MISSING: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def check(sources: Sequence[str], exclude: Sequence[str], *, parents: bool) -> None:
    """Raise InvalidArgument for what is no pattern among sources and what they exclude."""
    Patterns(exclude)
    for source in sources:
        if parents:
            Patterns((clean(f"/{source}")[1:],))
        for part in source.split("/"):
            if has_wildcards(part):
                name_matcher(part)


class Tree:
    """Files below an open directory, without those that are `ignored`.

    With `owner` all of them are said to belong to that user and group.
    """

    def __init__(
        self, root_fd: int, ignored: Patterns, owner: tuple[int, int] | None = None
    ) -> None:
        self._root = root_fd
        self._ignored = ignored
        self._owner = owner

    def select(
        self, sources: Sequence[str], *, exclude: Sequence[str] = (), parents: bool = False
    ) -> list[Match]:
        """Find sources, as COPY and ADD have them; raises InvalidArgument, KernelError.

        A source without wildcards must exist (ENOENT).  What matches `exclude` below a directory,
        or by its name, is left out.  With `parents`, what is found has its directories with it.
        """
        excluded = Patterns(exclude)
        found: list[Match] = []
        for source in sources:
            if parents:
                found += self._with_parents(source, excluded)
                continue
            for path in self._expand(source):
                match = self._match(source, path, excluded, Patterns(()))
                if match.is_directory or not excluded.matches(match.facts.name):
                    found.append(match)
        return found

    def _with_parents(self, source: str, excluded: Patterns) -> Iterator[Match]:
        """Find what a source means where the directories before it, from `/./` on, are kept."""
        base, pivot, pattern = source.partition("/./")
        if not pivot:
            base, pattern = "/", source
        pattern = clean(f"/{pattern}")[1:]
        if not has_wildcards(base) and not has_wildcards(pattern):
            path = f"{base}/{pattern}"
            if not self._is_seen(self._resolve(source, path, last=False)):
                raise _missing(source)
        for path in self._expand(base):
            included = Patterns((pattern,)) if pattern else Patterns(())
            yield self._match(source, path, excluded, included)

    # Names.

    def _expand(self, source: str) -> list[str]:
        """Give the paths that a source with wildcards means; only those before them are links."""
        parts = [part for part in clean(f"/{source}").split("/") if part]
        plain = next((index for index, part in enumerate(parts) if has_wildcards(part)), len(parts))
        if plain == len(parts):
            return ["/".join(parts)]
        try:
            found = [self._resolve(source, "/".join(parts[:plain]))]
        except KernelError as error:
            if error.errno not in _MISSING:
                raise
            return []
        for index, part in enumerate(parts[plain:], plain):
            matches, last = name_matcher(part), index == len(parts) - 1
            found = [
                f"{path}/{name}" if path else name
                for path in found
                for name in self._names(path, matches)
            ]
            if last:
                found = [path for path in found if self._is_seen(path)]
        return found

    def _names(self, path: str, matches: Callable[[str], bool]) -> list[str]:
        try:
            fd = self._open(path, _FOLDER)
        except KernelError as error:
            if error.errno in _MISSING:
                return []
            raise
        try:
            return sorted(filter(matches, os.listdir(fd)), key=os.fsencode)
        finally:
            os.close(fd)

    def _open(self, path: str, flags: int) -> int:
        return paths.open_in(self._root, path or ".", flags, follow=False)

    def _resolve(self, source: str, path: str, *, last: bool = True) -> str:
        """Give a path without links, which are followed inside the root; raises KernelError."""
        done: list[str] = []
        todo = [part for part in reversed(clean(f"/{path}").split("/")) if part]
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                done = done[:-1]
                continue
            here = "/".join([*done, part])
            facts = self._facts(source, here)
            if not stat.S_ISLNK(facts.mode) or not (todo or last):
                done.append(part)
                continue
            links += 1
            if links > _LINKS:
                raise KernelError(errno.ELOOP, f"open({source!r})", hint="")
            if self._ignored.matches(here):
                raise _missing(source)
            done = [] if facts.target.startswith("/") else done
            todo += [part for part in reversed(facts.target.split("/")) if part not in ("", ".")]
        return "/".join(done)

    def _facts(self, source: str, path: str) -> Entry:
        """Give the facts of a name itself; raises KernelError."""
        folder, _, name = path.rpartition("/")
        try:
            fd = self._open(folder, os.O_PATH | os.O_DIRECTORY)
        except KernelError as error:
            raise KernelError(error.errno or 0, f"open({source!r})", hint="") from None
        try:
            return self._entry(
                name or ".", os.stat(name or ".", dir_fd=fd, follow_symlinks=False), fd
            )
        except OSError as error:
            raise KernelError(error.errno or 0, f"open({source!r})", hint="") from None
        finally:
            os.close(fd)

    def _entry(self, name: str, facts: os.stat_result, fd: int) -> Entry:
        mode = facts.st_mode
        uid, gid = self._owner or (facts.st_uid, facts.st_gid)
        target = os.readlink(name, dir_fd=fd) if stat.S_ISLNK(mode) else ""
        return Entry(
            name, mode, uid, gid, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns,
            facts.st_dev, facts.st_ino, facts.st_nlink, facts.st_rdev, target,
        )  # fmt: skip

    def _is_seen(self, path: str) -> bool:
        """Whether a path is not ignored, or something in it is not."""
        if not path or not self._ignored or not self._ignored.matches(path):
            return True
        if not self._ignored.may_except_below(path):
            return False
        facts = self._facts(path, path)
        return stat.S_ISDIR(facts.mode) and bool(
            self._walk(path, facts, Patterns(()), Patterns(()), wanted=False)
        )

    # Listing.

    def _match(self, source: str, path: str, excluded: Patterns, included: Patterns) -> Match:
        real = self._resolve(source, path)
        facts = self._facts(source, real)
        name = path.rstrip("/").rpartition("/")[2]
        named = facts._replace(name=name)
        if not stat.S_ISDIR(facts.mode):
            if not self._is_seen(real):
                raise _missing(source)
            return Match(source, real, named, [])
        if not self._is_seen(real):
            raise _missing(source)
        return Match(source, real, named, self._walk(real, facts, excluded, included))

    def _walk(
        self,
        base: str,
        facts: Entry,
        excluded: Patterns,
        included: Patterns,
        *,
        wanted: bool = True,
    ) -> list[Folder]:
        """List a directory; directories of which nothing is wanted are left out."""
        filters = _Filters(self._ignored, excluded, included)
        found: list[tuple[Folder, bool]] = []
        stack = [("", facts, filters.start(base), wanted)]
        while stack:
            path, facts, state, wanted = stack.pop()
            whole = f"{base}/{path}".strip("/")
            if len(os.fsencode(whole)) > _LONGEST:
                raise KernelError(errno.ENAMETOOLONG, f"open({whole[:80]!r}…)", hint="")
            try:
                fd = self._open(whole, _FOLDER)
            except KernelError as error:
                raise KernelError(error.errno or 0, f"open({whole!r})", hint="") from None
            try:
                folder, below = self._list(fd, path, whole, facts, filters, state)
            finally:
                os.close(fd)
            found.append((folder, wanted))
            stack += reversed(below)
        return _needed(found)

    def _list(
        self, fd: int, path: str, whole: str, facts: Entry, filters: _Filters, state: _State
    ) -> tuple[Folder, list[tuple[str, Entry, _State, bool]]]:
        entries: list[Entry] = []
        below: list[tuple[str, Entry, _State, bool]] = []
        start, above = f"{path}/" if path else "", f"{whole}/" if whole else ""
        filtering = filters.any
        with os.scandir(fd) as names:
            found = sorted(names, key=_by_name)
        for item in found:
            name = item.name
            is_folder = item.is_dir(follow_symlinks=False)
            wanted, within = True, state
            if filtering:
                wanted, deeper, within = filters.judge(above + name, start + name, state)
                if not wanted and not (is_folder and deeper):
                    continue
            try:
                entry = self._entry(name, item.stat(follow_symlinks=False), fd)
            except FileNotFoundError:
                continue  # removed meanwhile
            except OSError as error:
                call = f"stat({above + name!r})"
                raise KernelError(error.errno or 0, call, hint="") from None
            if is_folder:
                below.append((start + name, entry, within, wanted))
            elif not stat.S_ISSOCK(entry.mode):
                entries.append(entry)
        return Folder(path, facts, entries, attributes(fd)), below


_State = tuple[tuple[bool, ...], tuple[bool, ...], tuple[bool, ...]]


class _Filters:
    """What is ignored, excluded and asked for, in one."""

    def __init__(self, ignored: Patterns, excluded: Patterns, included: Patterns) -> None:
        self.any = bool(ignored or excluded or included)
        self._ignored = ignored
        self._excluded = excluded
        self._included = included

    def start(self, base: str) -> _State:
        """Give the state at a directory, by its path below the root."""
        above = self._ignored.above
        at = base.find("/") if base else -1
        while at >= 0:
            above = self._ignored.below(base[:at], above)[1]
            at = base.find("/", at + 1)
        if base:
            above = self._ignored.below(base, above)[1]
        return above, self._excluded.above, self._included.above

    def judge(self, whole: str, path: str, state: _State) -> tuple[bool, bool, _State]:
        """Tell of a name whether it is wanted, and whether anything below it may be."""
        ignored, excluded, included = state
        wanted = deeper = True
        for patterns, subject, known in (
            (self._ignored, whole, ignored),
            (self._excluded, path, excluded),
        ):
            if patterns:
                matched, now = patterns.below(subject, known)
                if matched:
                    wanted = False
                    deeper = deeper and patterns.may_except_below(subject)
                if patterns is self._ignored:
                    ignored = now
                else:
                    excluded = now
        if self._included:
            matched, included = self._included.below(path, included)
            wanted = wanted and matched
        return wanted, deeper, (ignored, excluded, included)


def _by_name(entry: os.DirEntry[str]) -> bytes:
    return os.fsencode(entry.name)


def _missing(source: str) -> KernelError:
    return KernelError(errno.ENOENT, f"open({source!r})", hint="")


def _needed(found: list[tuple[Folder, bool]]) -> list[Folder]:
    """Leave out directories that nobody asked for and that have nothing that somebody did."""
    kept: set[str] = set()
    needed = []
    for folder, wanted in reversed(found):
        if wanted or folder.entries or folder.path in kept:
            needed.append(folder)
            if folder.path:
                kept.add(folder.path.rpartition("/")[0])
    needed.reverse()
    return needed
