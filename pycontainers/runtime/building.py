"""What a jailed worker does for COPY and ADD: makes files of a selection, or of an archive.

The jail is the stage that is built: its layers with the new one on top, so that every link in the
destination leads where it will lead in the image.  The source is an open directory outside of the
jail, in which no link is followed.  Nobody else is at work in the jail, but maybe in the source.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Any, Final

from pycontainers.errors import ImageError, KernelError
from pycontainers.kernel import paths
from pycontainers.runtime import (
    content,
    filetree,
    hashing,
    lookup,
    modes,
    selecting,
    selection,
    users,
)
from pycontainers.runtime.patterns import Patterns

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontainers.runtime.selection import Entry, Match

    Work = dict[str, Any]
    Answer = dict[str, Any]

_SOURCE: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_PLACE: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPENED: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SMALL: Final = 1 << 17
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


def _select(work: Work, fds: list[int]) -> Answer:
    """Write what `sources` mean in the jail, a stage, to `fds[0]`; give its digest."""
    lookup.allow_depth()
    with paths.directory("/") as root_fd:
        tree = selecting.Tree(root_fd, Patterns(()))
        sources, exclude = work["sources"], work["exclude"]
        matches = tree.select(sources, exclude=exclude, parents=work["parents"])
        digest = hashing.digest(matches, hashing.contents(root_fd, matches))
    with open(fds[0], "wb", closefd=False) as lines:
        selection.write(matches, lines)
    return {"digest": digest}


def _copy(work: Work, fds: list[int]) -> Answer:
    """Copy the files listed on `fds[0]` (selection.write) from the open directory `fds[1]`.

    `path` is the destination.  `owner` is [uid, gid], "user:group" of the jail's own, or None to
    keep owners; `mode` None, octal or symbolic; `time` None to keep times, else in nanoseconds.
    """
    lookup.allow_depth()
    copying = _Copying(work, fds[1])
    with open(fds[0], "rb", closefd=False) as lines:
        for match in selection.read(lines):
            copying.add(match)
    copying.finish()
    return {"entries": copying.entries}


def _add_archive(work: Work, fds: list[int]) -> Answer:
    """Make the entries of the plain tar archive on `fds[0]` in the directory `path`."""
    lookup.allow_depth()
    place = _Place(work)
    target = lookup.resolve(work["path"])
    place.make_way(target, 0o755)
    limits = work["limits"]
    owner = "archive" if place.owner is None else place.owner
    rules = filetree.Rules(owner, True, limits["entries"], limits["bytes"], layer=True)
    with paths.directory(target) as folder_fd:
        extraction = filetree.Extraction(folder_fd, "", rules)
        extraction.take(fds[0], top=False)
    place.touched[target] = None
    place.finish()
    return {"entries": extraction.entries, "bytes": extraction.bytes}


def _make_way(work: Work, _: list[int]) -> Answer:
    """Make the directory `path` with those above it, where they are missing."""
    lookup.allow_depth()
    _Place(work).make_way(lookup.resolve(work["path"]), 0o755)
    return {}


def _identify(work: Work, _: list[int]) -> Answer:
    """Give numbers for a `user:group` of the jail's own."""
    return {"owner": owner_of(work["path"])}


def owner_of(text: str) -> list[int]:
    """Look up --chown's `user[:group]`; a user's number alone is the group's too.

    Raises KernelError for a name that is not there.
    """
    name, _, group = text.partition(":")
    with paths.directory("/") as slash_fd:
        found = users.look_up(slash_fd, f"{name}:{group or name}" if name.isdigit() else text)
    return [int(name) if name.isdigit() else found.uid, found.gid]


class _Place:
    """Where files are made: who owns them, and directories on the way."""

    def __init__(self, work: Work) -> None:
        owner = work["owner"]
        if isinstance(owner, str):
            owner = owner_of(owner)
        self.owner: tuple[int, int] | None = None if owner is None else (owner[0], owner[1])
        self.time: int | None = work["time"]
        self.touched: dict[str, None] = {}

    def make_way(self, path: str, mode: int) -> None:
        """Make a directory with those above it, where they are missing."""
        made = ""
        for part in path.strip("/").split("/"):
            made = f"{made}/{part}"
            try:
                facts = os.lstat(made)
            except FileNotFoundError:
                os.mkdir(made)
                os.chmod(made, mode)  # a set-group-id bit above would be handed down
                os.chown(made, *(self.owner or (0, 0)))
                self.touched |= {made.rpartition("/")[0] or "/": None, made: None}
                continue
            if part and not stat.S_ISDIR(facts.st_mode):
                raise KernelError(errno.ENOTDIR, f"mkdir({made!r}): no directory is there")

    def finish(self) -> None:
        """Give the one time also to directories in which something was made."""
        if self.time is not None:
            for path in self.touched:
                os.utime(path, ns=(self.time, self.time))


class _Copying(_Place):
    """Copies one match after the other to one destination."""

    def __init__(self, work: Work, source_fd: int) -> None:
        super().__init__(work)
        self.entries = 0
        self._source = source_fd
        self._mode: str | None = work["mode"]
        # Directories that are made on the way have an octal mode as well.
        number = None if self._mode is None else modes.octal(self._mode)
        self._way = 0o755 if number is None else number & 0o777
        path: str = work["path"]
        folder = path if path.endswith(("/", "/.")) else path.rpartition("/")[0]
        self.make_way(lookup.resolve(folder or "/"), self._way)
        self._target = lookup.resolve(path)

    def add(self, match: Match) -> None:
        """Copy a file, or what is in a directory."""
        target = self._target
        if match.is_directory:
            self.make_way(target, self._way)
            self._folders(match, target)
            return
        if os.path.isdir(target):
            target = f"{target.rstrip('/')}/{match.facts.name}"
        parent, _, final = target.rpartition("/")
        self.make_way(parent, self._way)
        folder, _, name = match.path.rpartition("/")
        entry = match.facts._replace(name=name)
        self._files(folder, parent or "/", [entry], {}, names=[final])
        self.touched[parent or "/"] = None

    def _folders(self, match: Match, target: str) -> None:
        """Make the directories of a match, with what is in them, then what they have themselves.

        The destination itself has but its source's time, as docker build has it.
        """
        base = f"{match.path}/" if match.path else ""
        top = f"{target.rstrip('/')}/"
        linked: dict[tuple[int, int], str] = {}
        made: list[tuple[str, str, Entry]] = []
        for folder in match.folders:
            self.entries += 1
            path, source = (top + folder.path).rstrip("/") or "/", (base + folder.path).rstrip("/")
            made.append((path, source, folder.facts))
            if folder.path:
                _make_folder(path)
            if folder.entries:
                self._files(source, path, folder.entries, linked)
        for path, source, facts in reversed(made[1:]):
            self._finish(path, source, facts)
        time = match.facts.mtime_ns if self.time is None else self.time
        os.utime(target, ns=(time, time))

    def _finish(self, path: str, source: str, facts: Entry) -> None:
        """Give a directory what its source has."""
        fd = os.open(path, _PLACE)
        try:
            os.fchown(fd, *(self.owner or (facts.uid, facts.gid)))
            os.fchmod(fd, self._mode_of(facts))
            source_fd = self._open_folder(source)
            try:
                _attributes(source_fd, fd)
            finally:
                os.close(source_fd)
            time = facts.mtime_ns if self.time is None else self.time
            os.utime(fd, ns=(time, time))
        finally:
            os.close(fd)

    def _mode_of(self, facts: Entry) -> int:
        if self._mode is None:
            return facts.mode & 0o7777
        return modes.changed(facts.mode, self._mode, directory=stat.S_ISDIR(facts.mode))

    def _open_folder(self, path: str) -> int:
        try:
            return paths.open_in(self._source, path or ".", _SOURCE, follow=False)
        except KernelError as error:
            raise _changed(path, error) from None

    # Files.

    def _files(
        self,
        source: str,
        target: str,
        entries: list[Entry],
        linked: dict[tuple[int, int], str],
        names: list[str] | None = None,
    ) -> None:
        """Copy what is no directory from one directory to another, maybe to other names."""
        source_fd = self._open_folder(source)
        target_fd = os.open(target, _PLACE)
        inherits = bool(os.fstat(target_fd).st_mode & stat.S_ISGID)
        try:
            for entry, name in zip(
                entries, names or [entry.name for entry in entries], strict=True
            ):
                self.entries += 1
                if entry.links > 1:
                    key = (entry.device, entry.inode)
                    first = linked.setdefault(key, f"{target}/{name}")
                    if first != f"{target}/{name}":
                        _link(first, name, target_fd)
                        continue
                try:
                    if stat.S_ISREG(entry.mode):
                        self._file(entry, source_fd, name, target_fd, inherits)
                    else:
                        self._node(entry, name, target_fd)
                except KernelError:
                    raise
                except OSError as error:
                    call = f"copy({f'{source}/{entry.name}'!r}, {f'{target}/{name}'!r})"
                    raise KernelError(error.errno or 0, call) from None
        finally:
            os.close(source_fd)
            os.close(target_fd)

    def _file(
        self, entry: Entry, source_fd: int, name: str, target_fd: int, inherits: bool
    ) -> None:
        try:
            read_fd = os.open(entry.name, _OPENED, dir_fd=source_fd)
        except OSError as error:
            raise _changed(entry.name, error) from None
        mode = self._mode_of(entry)
        uid, gid = self.owner or (entry.uid, entry.gid)
        time = entry.mtime_ns if self.time is None else self.time
        try:
            made_fd = _make(
                name, target_fd, lambda: os.open(name, _CREATE, mode & 0o777, dir_fd=target_fd)
            )
            try:
                size = entry.size
                data = os.read(read_fd, size + 1) if size <= _SMALL else b""
                if data:
                    content.write_all(made_fd, data)
                elif size:
                    content.copy(read_fd, made_fd)
                # After it was read: so it is what was listed.
                facts = os.fstat(read_fd)
                if (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino) != (
                    size, entry.mtime_ns, entry.ctime_ns, entry.inode,
                ):  # fmt: skip
                    raise _changed(entry.name)
                # It was made with that mode, and as root's: each change costs as much as a write.
                if uid or gid or inherits:
                    os.fchown(made_fd, uid, gid)
                if mode > 0o777:
                    os.fchmod(made_fd, mode)
                _attributes(read_fd, made_fd)
                os.utime(made_fd, ns=(time, time))
            finally:
                os.close(made_fd)
        finally:
            os.close(read_fd)

    def _node(self, entry: Entry, name: str, target_fd: int) -> None:
        mode = entry.mode
        if stat.S_ISLNK(mode):
            _make(name, target_fd, lambda: os.symlink(entry.target, name, dir_fd=target_fd))
        else:
            if stat.S_ISCHR(mode) and not entry.rdev:
                raise ImageError(f"{entry.name!r} is a device 0:0, to overlay a whiteout")
            kind = stat.S_IFMT(mode) | self._mode_of(entry)
            _make(name, target_fd, lambda: os.mknod(name, kind, entry.rdev, dir_fd=target_fd))
        os.chown(
            name, *(self.owner or (entry.uid, entry.gid)), dir_fd=target_fd, follow_symlinks=False
        )
        time = entry.mtime_ns if self.time is None else self.time
        os.utime(name, ns=(time, time), dir_fd=target_fd, follow_symlinks=False)


def _make(name: str, parent_fd: int, make: Callable[[], Any]) -> Any:
    """Make something, in place of what is there, but for a directory."""
    try:
        return make()
    except FileExistsError:
        facts = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if stat.S_ISDIR(facts.st_mode):
            raise KernelError(errno.EISDIR, f"open({name!r}): a directory is there") from None
        os.unlink(name, dir_fd=parent_fd)
        return make()


def _make_folder(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise KernelError(errno.ENOTDIR, f"mkdir({path!r}): no directory is there") from None


def _link(first: str, name: str, parent_fd: int) -> None:
    _make(name, parent_fd, lambda: os.link(first, name, dst_dir_fd=parent_fd))


def _attributes(source_fd: int, target_fd: int) -> None:
    for name in os.listxattr(source_fd):
        if selection.is_kept(name):
            with contextlib.suppress(OSError):  # as docker: not every file system has them
                os.setxattr(target_fd, name, os.getxattr(source_fd, name))


def _changed(path: str, error: OSError | None = None) -> Exception:
    """Give the error of a source that is not what it was when it was listed."""
    if error is not None and error.errno not in _GONE:
        return KernelError(error.errno or 0, f"open({path!r})", hint="")
    return ImageError(f"{path!r} was changed while it was copied", hint="try again")


TASKS: Final[dict[str, Callable[[Work, list[int]], Answer]]] = {
    "select": _select,
    "copy": _copy,
    "add_archive": _add_archive,
    "identify": _identify,
    "make_way": _make_way,
}
