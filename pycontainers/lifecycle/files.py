"""Files between the host and a container: copies by the rules of `docker cp`, and archives.

Every path inside the container is resolved by a jailed worker.  What comes out of it is made here
by descriptor and follows no link, so that nothing is written outside the destination.
"""

from __future__ import annotations

import bz2
import contextlib
import datetime
import errno
import gzip
import io
import lzma
import os
import select
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from pycontainers.errors import ImageError, KernelError, NotSupported
from pycontainers.lifecycle.workers import ask, finish, host, inside, reader, stream, writer
from pycontainers.runtime import content, filetree
from pycontainers.runtime.filetree import Extraction, Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pycontainers.lifecycle.launch import Running
    from pycontainers.lifecycle.workers import Jail

_LIMITS: Final = {"entries": 1 << 24, "bytes": 1 << 44}
_CHUNK: Final = 1 << 20
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_COMPRESSED: Final[dict[bytes, Callable[..., Any]]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
_GO_TYPES: Final = {  # the bits of Go's os.FileMode, which Docker tells modes in
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}
_GO_BITS: Final = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


# Copies.


def copy_to(
    jail: Jail,
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    archive: bool = False,
) -> None:
    """Copy a file or directory of the host's into the container, as `docker cp` does.

    An existing directory gets it under its name, else it gets the destination's; of `source/.` the
    content is copied.  It is root's then, or keeps its ids, if `archive`.  Raises KernelError; one
    for a missing file is a FileNotFoundError too, and so on.
    """
    path, text = inside(destination), os.fspath(source)
    content_only, name = _named(text)
    with host(f"open({text!r})"):
        facts = os.lstat(text)
        owner = [facts.st_uid, facts.st_gid] if archive else [0, 0]
        work = {"path": path, "name": name, "owner": owner, "mtime_ns": facts.st_mtime_ns}
        if stat.S_ISDIR(facts.st_mode):
            owning = "archive" if archive else "root"
            wanted = None if content_only else name
            work |= {"task": "copy_tree", "name": wanted, "owner": owning, "limits": _LIMITS}
            folder = os.open(text, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with reader(jail, work) as pipe:
                    filetree.write(pipe, folder, b".", b".", xattrs=archive)
            finally:
                os.close(folder)
        elif stat.S_ISLNK(facts.st_mode):
            target = os.readlink(text)  # noqa: PTH115 - a Path would change its text
            ask(jail, work | {"task": "copy_in", "target": target})
        else:
            fd = _open_regular(text)
            try:
                mode = stat.S_IMODE(os.fstat(fd).st_mode)
                ask(jail, work | {"task": "copy_in", "mode": mode}, [fd])
            finally:
                os.close(fd)


def _named(path: str) -> tuple[bool, str]:
    """Tell whether a path means a directory's content, and give its last name."""
    name = path.rstrip("/").rpartition("/")[2]
    return name in ("", ".", ".."), name


def _open_regular(path: str) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise KernelError(errno.EINVAL, f"open({path!r}): not a regular file")
    return fd


def copy_from(
    jail: Jail, source: str | os.PathLike[str], destination: str | os.PathLike[str]
) -> None:
    """Copy a file or directory of the container's to the host, as `docker cp` does.

    All is the caller's then, without set-id bits.  Raises KernelError; one for a missing file
    is a FileNotFoundError too, and so on; NotSupported for devices, when all else is there.
    """
    path, target = inside(source), os.fspath(destination)
    content_only, name = _named(path)
    follow = path.endswith(("/", "/."))
    running, reading = writer(jail, {"task": "fetch", "path": path, "follow": follow})
    try:
        with host(f"open({target!r})"):
            if _has_data(reading):
                _receive_tree(running, reading, target, "" if content_only else name)
                return
            told, fd = finish(running)
            try:
                _receive_file(fd, told, target, path)
            finally:
                if fd >= 0:
                    os.close(fd)
    finally:
        os.close(reading)
        running.wait()
        running.close()


def _has_data(fd: int) -> bool:
    """Wait for a pipe's first byte or its end: a directory comes as a stream, all else does not."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return any(event & select.POLLIN for _, event in poller.poll())


def _receive_file(fd: int, told: dict[str, Any], target: str, path: str) -> None:
    """Put an open file, or a link, where it belongs; it appears when it is whole."""
    if fd < 0 and told["target"] is None:
        raise KernelError(errno.EINVAL, f"open({path!r}): not a file, link or directory")
    if Path(target).is_dir():
        parent, name = target, _named(path)[1]
    else:
        if target.endswith(("/", "/.")):
            raise KernelError(errno.ENOENT, f"open({target!r})", hint="no such directory")
        parent, name = os.path.split(os.path.realpath(target))
    mode, mtime_ns = told["facts"][0], told["facts"][8]
    parent_fd = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    spare = f".{os.urandom(12).hex()}"
    try:
        _check_replaceable(name, parent_fd)
        if fd < 0:
            os.symlink(told["target"], spare, dir_fd=parent_fd)
        else:
            made = os.open(spare, _CREATE, 0o600, dir_fd=parent_fd)
        try:
            if fd >= 0:
                try:
                    content.copy(fd, made)
                    os.fchmod(made, stat.S_IMODE(mode) & 0o1777)
                    os.utime(made, ns=(mtime_ns, mtime_ns))
                finally:
                    os.close(made)
            content.put(spare, name, parent_fd, told["facts"][6])
        except BaseException:
            os.unlink(spare, dir_fd=parent_fd)
            raise
    finally:
        os.close(parent_fd)


def _check_replaceable(name: str, parent_fd: int) -> None:
    try:
        mode = os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise KernelError(errno.EISDIR, f"rename({name!r}): a directory is there")
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        raise KernelError(errno.EINVAL, f"rename({name!r}): not a regular file")


def _receive_tree(running: Running, reading: int, target: str, name: str) -> None:
    """Make a directory of what a worker writes: under its name in an existing one."""
    top = True
    if not os.path.lexists(target):
        Path(target).mkdir(0o700)
        name = ""
    else:
        top = bool(name)
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if name:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=root)
            above, root = root, os.open(name, _FOLDER, dir_fd=root)
            os.close(above)
        rules = Rules("caller", False, _LIMITS["entries"], _LIMITS["bytes"])
        extraction = Extraction(root, "", rules)
        try:
            extraction.take(reading, top=top)
        except ImageError:
            finish(running)  # a worker that has failed tells why the stream ends
            raise
        finish(running)
    finally:
        os.close(root)
    if extraction.passed_over:
        count, first = extraction.passed_over_count, extraction.passed_over[0]
        raise NotSupported(f"{count} devices were not copied: {first!r} …")


# Archives.


def get_archive(
    jail: Jail, path: str | os.PathLike[str]
) -> tuple[Generator[bytes], dict[str, Any]]:
    """Give a file or directory as the pieces of a tar archive, and its facts as Docker has them.

    A worker is started when the first piece is asked for.  Raises KernelError.
    """
    text = inside(path)
    content_only, name = _named(text)
    follow = text.endswith(("/", "/."))
    told, _ = ask(jail, {"task": "stat", "path": text, "follow": follow, "resolve": True})
    shown = "." if content_only else name
    facts = _docker_facts(told, "/" if text.strip("/") == "" else shown)
    work = {"task": "archive", "path": text, "name": shown, "xattrs": True}
    return stream(jail, work), facts


def _docker_facts(told: dict[str, Any], name: str) -> dict[str, Any]:
    mode, size, mtime_ns = (told["facts"][index] for index in (0, 6, 8))
    go_mode = mode & 0o777 | _GO_TYPES.get(stat.S_IFMT(mode), 0)
    go_mode |= sum(bit for own, bit in _GO_BITS.items() if mode & own)
    seconds, nanoseconds = divmod(mtime_ns, 1_000_000_000)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{nanoseconds:09}".rstrip("0").rstrip(".")
    return {
        "name": name,
        "size": size,
        "mode": go_mode,
        "mtime": f"{moment}{fraction}Z",
        "linkTarget": told["resolved"] if told["target"] is not None else "",
    }


def put_archive(
    jail: Jail,
    path: str | os.PathLike[str],
    data: bytes | BinaryIO | str | os.PathLike[str],
    *,
    top: bool = False,
) -> None:
    """Unpack a tar archive into an existing directory, with the owners that it says.

    It is given as bytes, a binary file or the path of one; gzip, bzip2 and xz are undone.  No entry
    leads out of the root, through whatever links.  With `top` the directory itself gets what the
    archive says of it.  Raises ImageError for what is no archive, KernelError.
    """
    work = {"task": "extract", "path": inside(path), "owner": "archive", "limits": _LIMITS,
            "top": top}  # fmt: skip
    with contextlib.ExitStack() as stack:
        if isinstance(data, (str, os.PathLike)):
            with host(f"open({os.fspath(data)!r})"):
                source: BinaryIO = stack.enter_context(Path(data).open("rb"))
        else:
            source = io.BytesIO(data) if isinstance(data, (bytes, bytearray, memoryview)) else data
        head = source.read(8)
        plain: Any = _Rejoined(head, source)
        for magic, decompressor in _COMPRESSED.items():
            if head.startswith(magic):
                plain = stack.enter_context(decompressor(io.BufferedReader(plain), "rb"))
        with reader(jail, work) as pipe:
            try:
                while piece := plain.read(_CHUNK):
                    content.write_all(pipe, piece)
            except (EOFError, lzma.LZMAError, gzip.BadGzipFile) as error:
                raise ImageError(f"cannot decompress the archive: {error}") from None


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes have been looked at."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        """Tell that it is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what fits."""
        data = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(data) :] if self._head else b""
        buffer[: len(data)] = data
        return len(data)
