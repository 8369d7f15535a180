"""ContainerPath: a path in a container, with pathlib's habits."""

from __future__ import annotations

import errno
import fnmatch
import io
import os
import stat
from pathlib import PurePosixPath
from typing import (
    IO,
    TYPE_CHECKING,
    Any,
    BinaryIO,
    Final,
    Literal,
    Protocol,
    Self,
    TextIO,
    overload,
)

from pycontainers.errors import InvalidArgument, KernelError
from pycontainers.lifecycle import workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontainers.lifecycle.workers import Jail

    Text = Literal["r", "w", "a", "x", "r+", "w+", "a+", "x+", "rt", "wt", "at", "xt"]
    Binary = Literal["rb", "wb", "ab", "xb", "r+b", "w+b", "a+b", "x+b", "rb+", "wb+", "ab+", "xb+"]

_WAYS: Final = {
    "r": 0,
    "w": os.O_CREAT | os.O_TRUNC,
    "a": os.O_CREAT | os.O_APPEND,
    "x": os.O_CREAT | os.O_EXCL,
}
_UMASK: Final = 0o022


class _Container(Protocol):
    @property
    def id(self) -> str: ...
    def _jail(self) -> Jail: ...


class ContainerPath:
    r"""A path in a container, running or not; a plain value, as pathlib's are.

    It is absolute.  Links are followed inside the container's root only.  Every method that looks
    at files raises KernelError; one for a missing file is also a FileNotFoundError, and so on for
    FileExistsError, IsADirectoryError, NotADirectoryError and PermissionError.

    >>> path = container.path("/etc") / "motd"                          # doctest: +SKIP
    >>> path.write_text("hello\n")
    6
    """

    __slots__ = ("_container", "_path")

    def __init__(self, container: _Container, path: str | os.PathLike[str] = "/") -> None:
        self._container = container
        # Two slashes at the beginning would stay two (pathlib), and mean the same.
        self._path = PurePosixPath("/" + workers.inside(path).lstrip("/"))

    # What it says.

    @property
    def name(self) -> str:
        """The last component, empty for the root."""
        return self._path.name

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return self._path.stem

    @property
    def suffix(self) -> str:
        """The name's last suffix, with the dot."""
        return self._path.suffix

    @property
    def suffixes(self) -> list[str]:
        """All suffixes of the name."""
        return self._path.suffixes

    @property
    def parts(self) -> tuple[str, ...]:
        """The components, the root first."""
        return self._path.parts

    @property
    def parent(self) -> Self:
        """The path above; the root is above itself."""
        return self._made(self._path.parent)

    @property
    def parents(self) -> tuple[Self, ...]:
        """All paths above, the nearest first."""
        return tuple(self._made(path) for path in self._path.parents)

    def joinpath(self, *others: str | PurePosixPath | ContainerPath) -> Self:
        """Give the path of another below this one; an absolute one stands for itself."""
        return self._made(self._path.joinpath(*map(self._text, others)))

    def with_name(self, name: str) -> Self:
        """Give the path with another last component."""
        return self._made(self._path.with_name(name))

    def with_suffix(self, suffix: str) -> Self:
        """Give the path with another suffix."""
        return self._made(self._path.with_suffix(suffix))

    def relative_to(self, other: str | PurePosixPath | ContainerPath) -> PurePosixPath:
        """Give this path as seen from one above it; raises ValueError where it is not."""
        return self._path.relative_to(str(other))

    def is_relative_to(self, other: str | PurePosixPath | ContainerPath) -> bool:
        """Whether the other path is above this one, or the same."""
        return self._path.is_relative_to(str(other))

    def match(self, pattern: str) -> bool:
        """Whether the path matches a pattern, as pathlib has it."""
        return self._path.match(pattern)

    def as_posix(self) -> str:
        """Give the path as text."""
        return str(self._path)

    def __truediv__(self, other: str | PurePosixPath | ContainerPath) -> Self:
        return self.joinpath(other)

    def __str__(self) -> str:
        return str(self._path)

    def __repr__(self) -> str:
        return f"<ContainerPath {self._container.id[:12]}:{self._path}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ContainerPath) and self._key() == other._key()

    def __lt__(self, other: ContainerPath) -> bool:
        return (self._container.id, self._path) < (other._container.id, other._path)

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._container, str(self._path))

    # What is there.

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Give the facts, with the ids that the container sees."""
        told, _ = self._ask("stat", follow=follow_symlinks)
        mode, ino, dev, nlink, uid, gid, size, atime, mtime, ctime, block, blocks, rdev = told[
            "facts"
        ]
        times = {"st_atime": atime / 1e9, "st_mtime": mtime / 1e9, "st_ctime": ctime / 1e9}
        exact = {"st_atime_ns": atime, "st_mtime_ns": mtime, "st_ctime_ns": ctime}
        more = {"st_blksize": block, "st_blocks": blocks, "st_rdev": rdev}
        whole = (int(time // 1e9) for time in (atime, mtime, ctime))
        return os.stat_result(
            (mode, ino, dev, nlink, uid, gid, size, *whole), {**times, **exact, **more}
        )

    def lstat(self) -> os.stat_result:
        """Give the facts of the path itself, also where it is a link."""
        return self.stat(follow_symlinks=False)

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether something is there."""
        return self._mode(follow_symlinks) is not None

    def is_file(self) -> bool:
        """Whether it is, or leads to, a regular file."""
        return stat.S_ISREG(self._mode() or 0)

    def is_dir(self) -> bool:
        """Whether it is, or leads to, a directory."""
        return stat.S_ISDIR(self._mode() or 0)

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self._mode(False) or 0)

    def readlink(self) -> PurePosixPath:
        """Give where a link points to, as it is written there."""
        told, _ = self._ask("stat", follow=False)
        if told["target"] is None:
            raise KernelError(errno.EINVAL, f"readlink({str(self)!r})")
        return PurePosixPath(told["target"])

    def resolve(self, strict: bool = False) -> Self:
        """Give the path without links and `..`; raises FileNotFoundError if `strict`."""
        told, _ = self._ask("resolve", strict=strict)
        return self._made(PurePosixPath(told["resolved"]))

    def iterdir(self) -> Iterator[Self]:
        """Give the paths in the directory, in no order."""
        for name in self._names("list"):
            yield self / name

    def glob(self, pattern: str) -> Iterator[Self]:
        """Give the paths below that match, in order; `**` is any depth of directories.

        Raises InvalidArgument for a pattern that is empty or absolute.
        """
        parts = []
        for part in PurePosixPath(pattern).parts:
            if part in {"/", ".."}:
                raise InvalidArgument(f"no pattern below a directory: {pattern!r}")
            if part == "**":
                parts.append(("all", ""))
            elif any(letter in part for letter in "*?["):
                parts.append(("pattern", fnmatch.translate(part)))
            else:
                parts.append(("name", part))
        if not parts:
            raise InvalidArgument(f"no pattern: {pattern!r}")
        for found in self._names("glob", parts=parts):
            yield self / found

    def rglob(self, pattern: str) -> Iterator[Self]:
        """Give the paths at any depth below that match."""
        return self.glob(f"**/{pattern}")

    # Content.

    @overload
    def open(
        self,
        mode: Text = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> TextIO: ...
    @overload
    def open(
        self,
        mode: Binary,
        buffering: int = -1,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
    ) -> BinaryIO: ...
    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Open a regular file as the builtin `open` does; text is UTF-8 unless told otherwise.

        The file object is a real one.  Raises KernelError too for what is no regular file, at once.
        One of a stopped container is to be closed before that is started.
        """
        letters = set(mode)
        ways = [letter for letter in "rwax" if letter in letters]
        if len(ways) != 1 or letters - set("rwaxbt+") or {"b", "t"} <= letters:
            raise InvalidArgument(f"no mode to open a file in: {mode!r}")
        access = os.O_RDWR if "+" in letters else os.O_RDONLY if ways == ["r"] else os.O_WRONLY
        if "b" not in letters:
            encoding = io.text_encoding(encoding) if encoding else "utf-8"

        def opener(_path: str, _flags: int) -> int:
            return self._ask("open", flags=access | _WAYS[ways[0]])[1]

        return io.open(  # noqa: UP020
            str(self), mode, buffering, encoding, errors, newline, opener=opener
        )

    def read_bytes(self) -> bytes:
        """Give the content."""
        with self.open("rb") as file:
            return file.read()

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Give the content as text."""
        with self.open("r", encoding=encoding, errors=errors) as file:
            return file.read()

    def write_bytes(self, data: bytes) -> int:
        """Make this the content; gives its length."""
        with self.open("wb") as file:
            return file.write(data)

    def write_text(
        self,
        data: str,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> int:
        """Make this text the content; gives its length."""
        with self.open("w", encoding=encoding, errors=errors, newline=newline) as file:
            return file.write(data)

    # Changes.

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Make a directory, of root's, less the usual umask of 022."""
        self._ask("mkdir", mode=mode & ~_UMASK, parents=parents, exist_ok=exist_ok)

    def touch(self, mode: int = 0o666, exist_ok: bool = True) -> None:
        """Make an empty file, or set the times of what is there to now."""
        self._ask("touch", mode=mode & ~_UMASK, exist_ok=exist_ok)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove a file or link."""
        self._ask("unlink", missing_ok=missing_ok)

    def rmdir(self) -> None:
        """Remove an empty directory."""
        self._ask("rmdir")

    def remove_tree(self) -> None:
        """Remove a file, or a directory with all below it; links are not followed."""
        self._ask("remove")

    def rename(self, target: str | PurePosixPath | ContainerPath) -> Self:
        """Give it another path in the same container, in place of a file there; gives that."""
        made = self._made(PurePosixPath(self._text(target)))
        self._ask("rename", target=str(made))
        return made

    def replace(self, target: str | PurePosixPath | ContainerPath) -> Self:
        """Do what `rename` does."""
        return self.rename(target)

    def symlink_to(self, target: str | PurePosixPath | ContainerPath) -> None:
        """Make this a symbolic link to a path, which need not exist."""
        self._ask("symlink", target=str(target))

    def hardlink_to(self, target: str | PurePosixPath | ContainerPath) -> None:
        """Make this a further name of an existing file."""
        self._ask("link", target=str(self._made(PurePosixPath(self._text(target)))))

    def chmod(self, mode: int) -> None:
        """Set the permissions of what it leads to."""
        self._ask("chmod", mode=mode)

    def chown(self, uid: int, gid: int, *, follow_symlinks: bool = True) -> None:
        """Set owner and group, as the container numbers them."""
        self._ask("chown", uid=uid, gid=gid, follow=follow_symlinks)

    def utime(self, *, atime_ns: int, mtime_ns: int) -> None:
        """Set the times of access and change, in nanoseconds."""
        self._ask("utime", times=[atime_ns, mtime_ns])

    # How it is done.

    def _key(self) -> tuple[object, ...]:
        return self._container.id, self._path

    def _text(self, other: str | PurePosixPath | ContainerPath) -> str:
        """Give another path of the same container as text."""
        if isinstance(other, ContainerPath) and other._container.id != self._container.id:
            raise InvalidArgument(f"{other!r} is a path of another container")
        return os.fspath(other) if isinstance(other, str | PurePosixPath) else str(other)

    def _made(self, path: PurePosixPath) -> Self:
        return type(self)(self._container, path)

    def _mode(self, follow: bool = True) -> int | None:
        try:
            return self.stat(follow_symlinks=follow).st_mode
        except KernelError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            raise

    def _ask(self, task: str, **more: Any) -> workers.Answer:
        return workers.ask(self._container._jail(), {"task": task, "path": str(self), **more})

    def _names(self, task: str, **more: Any) -> list[str]:
        """Give the names that a worker writes, each with a NUL after it."""
        work = {"task": task, "path": str(self), **more}
        names = workers.read(self._container._jail(), work).split(b"\0")
        return [os.fsdecode(name) for name in names if name]
