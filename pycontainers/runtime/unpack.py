"""Unpack one layer into an empty directory, inside a jail.

Owners, modes, times, hard links, device nodes, sparse files and extended attributes are kept.  A
whiteout becomes what overlay knows: a character device 0:0, or an attribute of an opaque directory
(image spec, layer.md; overlayfs.rst).  It hides what lies in lower layers, never its own layer's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Any, Final

from pycontainers.errors import ImageError, KernelError
from pycontainers.kernel import capabilities, paths
from pycontainers.runtime import tar
from pycontainers.runtime.tar import Archive, Entry, Input

_WHITEOUT: Final = b".wh."
_META: Final = b".wh..wh."
_OPAQUE: Final = b".wh..wh..opq"
_OPAQUE_XATTR: Final = "trusted.overlay.opaque"
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack(work: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """Unpack the plain tar stream on descriptor `fds[0]` into the root directory, to its end.

    `limits` bounds the entries and the bytes of their content.  Gives both.  Raises ImageError.
    """
    unpacking = _Unpacking(work["limits"]["entries"], work["limits"]["bytes"])
    archive = Archive(Input(fds[0]))
    while (entry := archive.next()) is not None:
        try:
            unpacking.add(entry, archive.source)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise ImageError(f"cannot unpack the entry {entry.name()!r}: {reason}") from error
    unpacking.finish()
    return {"entries": unpacking.entries, "bytes": unpacking.bytes}


class _Unpacking:
    """What is known while entries come: the open directory, and what is to be done last."""

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self.entries = self.bytes = 0
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._parent_path: tuple[bytes, ...] = ()
        self._parent = os.dup(self._root)
        self._times = _Times()
        self._opaque: set[bytes] = set()

    def add(self, entry: Entry, source: Input) -> None:
        """Make what an entry says; its content is read in any case."""
        self._count(entry)
        if not entry.path:
            if entry.kind == tar.DIRECTORY:
                self._attributes_of_root(entry)
            source.pass_over(entry)
            return
        name = entry.path[-1]
        self._enter(entry.path[:-1])
        if name.startswith(_WHITEOUT):
            self._hide(entry.path, name)
            source.pass_over(entry)
        elif entry.kind == tar.FILE:
            self._file(entry, name, source)
        elif entry.kind == tar.DIRECTORY:
            self._directory(entry, name)
        elif entry.kind == tar.LINK:
            self._link(entry, name)
        else:
            self._node(entry, name)

    def finish(self) -> None:
        """Set what the entries of directories would have changed, and mark the opaque ones."""
        self._times.apply()
        if not self._opaque:
            return
        # The one right of the host's that this needs is raised only now, for these calls only.
        capabilities.set_effective(capabilities.current().permitted)
        for path in self._opaque:
            fd = paths.open_in(self._root, os.fsdecode(path), os.O_RDONLY | os.O_DIRECTORY)
            os.setxattr(fd, _OPAQUE_XATTR, b"y")
            os.close(fd)

    def _count(self, entry: Entry) -> None:
        self.entries += 1
        self.bytes += entry.size
        if self.entries > self._max_entries:
            raise ImageError(
                f"the layer has more than {self._max_entries} entries",
                hint="max_entries= allows more",
            )
        if self.bytes > self._max_bytes or entry.length > self._max_bytes:
            raise ImageError(
                f"the layer unpacks to more than {self._max_bytes} bytes",
                hint="max_size= allows more",
            )

    def _enter(self, path: tuple[bytes, ...]) -> None:
        """Hold the directory that an entry lies in, made where the archive has none for it."""
        if path == self._parent_path:
            return
        text = os.fsdecode(b"/".join(path)) or "/"
        try:
            fd = paths.open_in(self._root, text, os.O_PATH | os.O_DIRECTORY)
        except KernelError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            self._make_way(path)
            fd = paths.open_in(self._root, text, os.O_PATH | os.O_DIRECTORY)
        os.close(self._parent)
        self._parent, self._parent_path = fd, path

    def _make_way(self, path: tuple[bytes, ...]) -> None:
        for depth in range(1, len(path) + 1):
            above = os.fsdecode(b"/".join(path[: depth - 1])) or "/"
            fd = paths.open_in(self._root, above, os.O_PATH | os.O_DIRECTORY)
            try:
                name = path[depth - 1]
                try:
                    facts = os.stat(name, dir_fd=fd, follow_symlinks=False)
                except FileNotFoundError:
                    facts = None
                if facts is not None and stat.S_ISDIR(facts.st_mode):
                    continue
                if facts is not None and stat.S_ISLNK(facts.st_mode):
                    with contextlib.suppress(OSError):
                        os.stat(name, dir_fd=fd)
                        continue
                if facts is not None:
                    os.unlink(name, dir_fd=fd)
                    if _is_whiteout(facts):
                        self._opaque.add(b"/".join(path[:depth]))
                os.mkdir(name, 0o755, dir_fd=fd)
                os.chmod(name, 0o755, dir_fd=fd)
            finally:
                os.close(fd)

    def _hide(self, path: tuple[bytes, ...], name: bytes) -> None:
        if name == _OPAQUE:
            self._opaque.add(b"/".join(path[:-1]))
            return
        hidden = name[len(_WHITEOUT) :]
        if name.startswith(_META):
            return  # aufs kept its own files under such names
        if hidden in (b"", b".", b".."):
            raise ImageError(f"the layer has a whiteout {os.fsdecode(name)!r} of nothing")
        try:
            os.mknod(hidden, stat.S_IFCHR, os.makedev(0, 0), dir_fd=self._parent)
        except FileExistsError:
            facts = os.stat(hidden, dir_fd=self._parent, follow_symlinks=False)
            if stat.S_ISDIR(facts.st_mode):
                self._opaque.add(b"/".join((*path[:-1], hidden)))

    def _file(self, entry: Entry, name: bytes, source: Input) -> None:
        fd = self._created(lambda: os.open(name, _CREATE, 0o600, dir_fd=self._parent), entry, name)
        try:
            source.content(entry, fd)
            os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
            if entry.xattrs:
                set_xattrs(fd, entry)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _directory(self, entry: Entry, name: bytes) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=self._parent)
        except FileExistsError:
            facts = os.stat(name, dir_fd=self._parent, follow_symlinks=False)
            if not stat.S_ISDIR(facts.st_mode):
                os.unlink(name, dir_fd=self._parent)
                os.mkdir(name, 0o700, dir_fd=self._parent)
                if _is_whiteout(facts):
                    self._opaque.add(b"/".join(entry.path))
        os.chown(name, entry.uid, entry.gid, dir_fd=self._parent, follow_symlinks=False)
        os.chmod(name, entry.mode, dir_fd=self._parent)  # no link: it has just been looked at
        if entry.xattrs:
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._parent)
            try:
                set_xattrs(fd, entry)
            finally:
                os.close(fd)
        self._times.add(b"/".join(entry.path), entry.mtime_ns)

    def _attributes_of_root(self, entry: Entry) -> None:
        os.chown("/", entry.uid, entry.gid)
        os.chmod("/", entry.mode)
        self._times.add(b"/", entry.mtime_ns)

    def _link(self, entry: Entry, name: bytes) -> None:
        target = tar.components(entry.target)
        original = b"/".join(target)
        if target == entry.path:
            return

        def link() -> None:
            os.link(
                original,
                name,
                src_dir_fd=self._root,
                dst_dir_fd=self._parent,
                follow_symlinks=False,
            )

        try:
            self._created(link, entry, name)
        except FileNotFoundError:
            raise ImageError(
                f"the layer has a hard link {entry.name()!r} to {os.fsdecode(original)!r}, "
                "which is not in it"
            ) from None

    def _node(self, entry: Entry, name: bytes) -> None:
        if entry.kind == tar.SYMLINK:
            self._created(lambda: os.symlink(entry.target, name, dir_fd=self._parent), entry, name)
        else:
            kind, device = entry.node()
            if entry.kind == tar.CHAR and not device:
                raise ImageError(
                    f"the layer has a character device 0:0, {entry.name()!r}: to overlay that is a "
                    "whiteout, and an archive has others"
                )
            mode = kind | 0o600
            self._created(lambda: os.mknod(name, mode, device, dir_fd=self._parent), entry, name)
        os.chown(name, entry.uid, entry.gid, dir_fd=self._parent, follow_symlinks=False)
        if entry.kind != tar.SYMLINK:
            os.chmod(name, entry.mode, dir_fd=self._parent)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(name, ns=times, dir_fd=self._parent, follow_symlinks=False)

    def _created(self, make: Any, entry: Entry, name: bytes) -> Any:
        """Make something; of two entries of one name the later wins, as in tar(1)."""
        try:
            return make()
        except FileExistsError:
            facts = os.stat(name, dir_fd=self._parent, follow_symlinks=False)
            if stat.S_ISDIR(facts.st_mode):
                paths.remove_tree(os.fsdecode(name), self._parent)
                gone = b"/".join(entry.path) + b"/"
                self._opaque = {path for path in self._opaque if not (path + b"/").startswith(gone)}
            else:
                os.unlink(name, dir_fd=self._parent)
            return make()


class _Times:
    """Times of directories, set when all entries are there; on disk, as they may be many."""

    def __init__(self) -> None:
        try:
            fd = os.open("/", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            fd = os.memfd_create("times", os.MFD_CLOEXEC)
        self._file = open(fd, "w+b", buffering=1 << 16)  # noqa: SIM115

    def add(self, path: bytes, mtime_ns: int) -> None:
        """Keep a directory's time; of two, the later counts."""
        self._file.write(b"%d %b\0" % (mtime_ns, path))

    def apply(self) -> None:
        """Set the times of what is still a directory."""
        self._file.seek(0)
        rest = b""
        while data := self._file.read(1 << 16):
            *records, rest = (rest + data).split(b"\0")
            for record in records:
                text, _, path = record.partition(b" ")
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    if stat.S_ISDIR(os.lstat(b"/" + path).st_mode):
                        os.utime(b"/" + path, ns=(int(text), int(text)), follow_symlinks=False)


def set_xattrs(fd: int, entry: Entry) -> None:
    """Keep what belongs to files; what overlay and others read there is not an image's to say."""
    for name, value in entry.xattrs.items():
        if name == b"security.capability" or (
            name.startswith(b"user.") and not name.startswith(b"user.overlay.")
        ):
            os.setxattr(fd, name, value)


def _is_whiteout(facts: os.stat_result) -> bool:
    return stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0
