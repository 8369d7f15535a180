"""A file tree as a tar stream: written on one side of a jail's wall, and made again on the other.

Both sides may have somebody else at work in the same directories.  So no link is followed, each
name is used in an open directory, and what a name stands for is judged by the opened file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pycontainers.errors import ImageError, KernelError
from pycontainers.kernel import paths
from pycontainers.runtime import content, layer, lookup, tar, tarwriter, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontainers.runtime.tar import Entry, Input

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPENED: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SET_IDS: Final = 0o6000
# What a name that is changed at this moment gives.
_CHANGED: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


# From files to a stream.


def write(fd: int, parent_fd: int, name: bytes, shown: bytes, *, xattrs: bool) -> None:
    """Write `name` in an open directory, with all below it, as an archive to `fd`.

    Its own entry is called `shown`.  Left out are sockets, what goes while it is read, and what
    lies in the kernel's own file systems (proc, sysfs, cgroups) where they are mounted below.
    """
    writer = _Tree(tarwriter.Writer(fd), xattrs)
    facts = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    stack: list[tuple[int, bytes, int, list[tuple[bytes, int]]]] = []

    def add(parent: int, device: int, name: bytes, path: bytes, kind: int) -> None:
        folder = writer.add(parent, name, path, kind)
        if folder is not None:
            stack.append((folder, path + b"/", own := os.fstat(folder).st_dev, []))
            if own == device or os.fstatvfs(folder).f_blocks:
                stack[-1][3].extend(_names(folder))

    try:
        add(parent_fd, facts.st_dev, name, shown, stat.S_IFMT(facts.st_mode))
        while stack:
            folder, path, device, names = stack[-1]
            if names:
                name, kind = names.pop()
                try:
                    add(folder, device, name, path + name, kind)
                except OSError as error:
                    if error.errno not in _CHANGED:
                        raise
            else:
                os.close(stack.pop()[0])
    finally:
        for folder, *_ in stack:
            os.close(folder)
    writer.archive.end()


def _names(folder: int) -> list[tuple[bytes, int]]:
    """Give a directory's names with their kinds, where the directory tells; the last one first."""
    with os.scandir(folder) as entries:
        found = [
            (
                os.fsencode(entry.name),
                stat.S_IFREG
                if entry.is_file(follow_symlinks=False)
                else stat.S_IFDIR
                if entry.is_dir(follow_symlinks=False)
                else 0,
            )
            for entry in entries
        ]
    found.sort(reverse=True)
    return found


class _Tree:
    """An archive, and the first path of each file that has several."""

    def __init__(self, archive: tarwriter.Writer, xattrs: bool) -> None:
        self.archive = archive
        self._xattrs = xattrs
        self._paths: dict[tuple[int, int], bytes] = {}

    def add(self, parent: int, name: bytes, path: bytes, kind: int) -> int | None:
        """Write one entry; of a directory give the descriptor."""
        if kind == stat.S_IFREG:
            self._file(parent, name, path)
        elif kind == stat.S_IFDIR:
            fd = os.open(name, _FOLDER, dir_fd=parent)
            try:
                self.archive.add(path, os.fstat(fd), xattrs=self._attributes(fd, path))
            except BaseException:
                os.close(fd)
                raise
            return fd
        else:
            facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
            found = stat.S_IFMT(facts.st_mode)
            if found in (stat.S_IFREG, stat.S_IFDIR):
                return self.add(parent, name, path, found)
            if found != stat.S_IFSOCK and not self._linked(path, facts):
                target = os.readlink(name, dir_fd=parent) if found == stat.S_IFLNK else b""
                self.archive.add(path, facts, target=target)
        return None

    def _file(self, parent: int, name: bytes, path: bytes) -> None:
        fd = os.open(name, _OPENED, dir_fd=parent)
        try:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                raise OSError(errno.ENOENT, "it became another kind of file")
            if self._linked(path, facts):
                return
            attributes = self._attributes(fd, path)
            pieces = content.segments(fd, facts)
            if pieces is not None:
                self.archive.sparse(path, facts, fd, pieces, xattrs=attributes)
            else:
                self.archive.add(path, facts, xattrs=attributes)
                self.archive.content(fd, facts.st_size)
        finally:
            os.close(fd)

    def _attributes(self, fd: int, path: bytes) -> dict[bytes, bytes]:
        return layer.xattrs(fd, path) if self._xattrs else {}

    def _linked(self, path: bytes, facts: os.stat_result) -> bool:
        """Whether the file has been written under another name; then this one refers to that."""
        if facts.st_nlink < 2:
            return False
        first = self._paths.setdefault((facts.st_dev, facts.st_ino), path)
        if first is path:
            return False
        self.archive.add(path, facts, target=first, link=True)
        return True


# From a stream to files.


class Rules(NamedTuple):
    """How an archive's entries are made.

    `owner` is "archive" (what it says), "root" (0:0), "caller" (who makes them; then set-id bits
    and attributes go, and devices are passed over) or a user and a group.  With `follow`, links
    among the directories in a name are followed inside the root; without it there must be none.
    In a `layer` a file may come in place of a directory with all in it, and one of a file, and
    there is no device that is a whiteout to overlay.
    """

    owner: str | tuple[int, int]
    follow: bool
    max_entries: int
    max_bytes: int
    layer: bool = False


class Extraction:
    """Makes entries below `prefix` in an open root; `finish` sets what directories have at last."""

    def __init__(self, root_fd: int, prefix: str, rules: Rules) -> None:
        self.entries = self.bytes = 0
        self.passed_over: list[str] = []
        self.passed_over_count = 0
        self._root = root_fd
        self._prefix = prefix
        self._rules = rules
        self._parent = -1
        self._inherited_group = False
        self._parent_path: tuple[bytes, ...] | None = None
        self._directories: dict[tuple[bytes, ...], tuple[int, int, int, int]] = {}

    def take(self, fd: int, *, top: bool) -> None:
        """Make all entries of the archive on a descriptor; `top`: that of the root itself counts.

        Raises ImageError, KernelError; what was made until then is finished and stays.
        """
        source = tar.Input(fd)
        archive = tar.Archive(source)
        try:
            while (entry := archive.next()) is not None:
                try:
                    self._add(entry, source, top)
                except KernelError:
                    raise
                except OSError as error:
                    raise KernelError(error.errno or 0, f"extract({entry.name()!r})") from None
        finally:
            self._finish()

    def _add(self, entry: Entry, source: Input, top: bool) -> None:
        self._count(entry)
        if not entry.path:
            if top and entry.kind == tar.DIRECTORY:
                self._keep(entry)
            source.pass_over(entry)
            return
        self._enter(entry.path[:-1])
        name = entry.path[-1]
        if entry.kind == tar.FILE:
            self._file(entry, name, source)
        elif entry.kind == tar.DIRECTORY:
            self._directory(entry, name)
        elif entry.kind == tar.LINK:
            self._link(entry, name)
        elif entry.kind == tar.SYMLINK:
            self._made(lambda: os.symlink(entry.target, name, dir_fd=self._parent), name)
            self._attributes(entry, name)
        else:
            self._node(entry, name)

    def _count(self, entry: Entry) -> None:
        self.entries += 1
        self.bytes += entry.size
        if self.entries > self._rules.max_entries or self.bytes > self._rules.max_bytes:
            most = f"{self._rules.max_entries} entries or {self._rules.max_bytes} bytes"
            raise ImageError(f"the archive has more than {most}")

    def _open(self, path: tuple[bytes, ...], flags: int) -> int:
        text = self._prefix + os.fsdecode(b"/".join(path))
        return lookup.open_path(text, flags, root_fd=self._root, follow=self._rules.follow)

    def _enter(self, path: tuple[bytes, ...]) -> None:
        """Hold the directory that an entry lies in, made where the archive has none for it."""
        if path == self._parent_path:
            return
        try:
            fd = self._open(path, os.O_PATH | os.O_DIRECTORY)
        except KernelError as error:
            if error.errno != errno.ENOENT or not self._rules.follow:
                raise
            text = self._prefix + os.fsdecode(b"/".join(path))
            fd = paths.make_directories(self._root, text)
        self._leave()
        self._parent, self._parent_path = fd, path
        self._inherited_group = bool(os.fstat(fd).st_mode & stat.S_ISGID)

    def _leave(self) -> None:
        if self._parent >= 0:
            os.close(self._parent)
        self._parent, self._parent_path = -1, None

    def _file(self, entry: Entry, name: bytes, source: Input) -> None:
        mode, uid, gid, mtime_ns = self._facts(entry)
        fd = self._made(lambda: os.open(name, _CREATE, mode & 0o777, dir_fd=self._parent), name)
        try:
            source.content(entry, fd)
            if uid > 0 or gid > 0 or (uid == 0 and self._inherited_group):
                os.fchown(fd, uid, gid)
            # Mostly the file has been made with it: each change costs as much as a small write.
            if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
                os.fchmod(fd, mode)
            if entry.xattrs and self._rules.owner != "caller":
                with contextlib.suppress(OSError):  # as docker: not every file system has them
                    unpack.set_xattrs(fd, entry)
            os.utime(fd, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(fd)

    def _facts(self, entry: Entry) -> tuple[int, int, int, int]:
        """Give mode, owner, group and time as the rules have them."""
        owner, mode = self._rules.owner, entry.mode
        if owner == "caller":
            return mode & ~_SET_IDS, -1, -1, entry.mtime_ns
        given = owner if isinstance(owner, tuple) else (0, 0)
        uid, gid = (entry.uid, entry.gid) if owner == "archive" else given
        return mode, uid, gid, entry.mtime_ns

    def _directory(self, entry: Entry, name: bytes) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=self._parent)
        except FileExistsError:
            facts = os.stat(name, dir_fd=self._parent, follow_symlinks=False)
            if not stat.S_ISDIR(facts.st_mode) and not self._leads_to_directory(entry):
                if not self._rules.layer:
                    call = f"mkdir({entry.name()!r}): no directory is there"
                    raise KernelError(errno.ENOTDIR, call) from None
                os.unlink(name, dir_fd=self._parent)
                os.mkdir(name, 0o700, dir_fd=self._parent)
        self._keep(entry)

    def _leads_to_directory(self, entry: Entry) -> bool:
        """Whether a link is there that stands for a directory, which is used then."""
        if not self._rules.layer:
            return False
        with contextlib.suppress(KernelError):
            os.close(self._open(entry.path, os.O_PATH | os.O_DIRECTORY))
            return True
        return False

    def _keep(self, entry: Entry) -> None:
        """Remember what a directory shall have when all entries are there: it might close it."""
        self._directories[entry.path] = self._facts(entry)

    def _link(self, entry: Entry, name: bytes) -> None:
        target = tar.components(entry.target)
        if target == entry.path or not target:
            return
        try:
            fd = self._open(target[:-1], os.O_PATH | os.O_DIRECTORY)
        except KernelError as error:
            call = f"link({os.fsdecode(b'/'.join(target))!r}, {entry.name()!r})"
            raise KernelError(error.errno or 0, call) from None

        def link() -> None:
            os.link(target[-1], name, src_dir_fd=fd, dst_dir_fd=self._parent, follow_symlinks=False)

        try:
            self._made(link, name)
        finally:
            os.close(fd)

    def _node(self, entry: Entry, name: bytes) -> None:
        mode = self._facts(entry)[0]
        if self._rules.owner == "caller" and entry.kind != tar.FIFO:
            self.passed_over_count += 1
            if len(self.passed_over) < 10:
                self.passed_over.append(entry.name())
            return
        kind, device = entry.node()
        if self._rules.layer and entry.kind == tar.CHAR and not device:
            raise ImageError(f"the archive has a device {entry.name()!r} of 0:0, a whiteout")
        self._made(lambda: os.mknod(name, mode | kind, device, dir_fd=self._parent), name)
        self._attributes(entry, name)

    def _attributes(self, entry: Entry, name: bytes) -> None:
        _, uid, gid, mtime_ns = self._facts(entry)
        if uid >= 0:
            os.chown(name, uid, gid, dir_fd=self._parent, follow_symlinks=False)
        os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=self._parent, follow_symlinks=False)

    def _made(self, make: Callable[[], Any], name: bytes) -> Any:
        """Make something in place of what is there, but for a directory."""
        try:
            return make()
        except FileExistsError:
            facts = os.stat(name, dir_fd=self._parent, follow_symlinks=False)
            if not stat.S_ISDIR(facts.st_mode):
                os.unlink(name, dir_fd=self._parent)
                return make()
            if not self._rules.layer:
                call = f"open({os.fsdecode(name)!r}): a directory is there"
                raise KernelError(errno.EISDIR, call) from None
            paths.remove_tree(os.fsdecode(name), self._parent)
            return make()

    def _finish(self) -> None:
        """Give directories their mode, owner and time; those beneath others first."""
        self._leave()
        for path, (mode, uid, gid, mtime_ns) in reversed(self._directories.items()):
            try:
                fd = self._open(path, _FOLDER & ~os.O_NOFOLLOW if self._rules.layer else _FOLDER)
            except OSError as error:
                if error.errno in _CHANGED:
                    continue
                raise
            try:
                if uid >= 0:
                    os.fchown(fd, uid, gid)
                os.fchmod(fd, mode)
                os.utime(fd, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(fd)
        self._directories.clear()
