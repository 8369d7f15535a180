"""A build context: the files that a Dockerfile can COPY and ADD, and nothing else of the host.

A directory is opened once, and everything is looked up below it.  A tar stream is unpacked by a
jailed worker into a directory of its own, which goes with the context.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import attrs

from pycontainers.build import ignore
from pycontainers.build.hashes import Hashes
from pycontainers.distribution.compression import CHUNK, Reader, decompressed, peek
from pycontainers.errors import ImageError, InvalidArgument, KernelError, file_error
from pycontainers.kernel import paths
from pycontainers.kernel.closing import Closing
from pycontainers.lifecycle import workers
from pycontainers.runtime import hashing, selection
from pycontainers.runtime.patterns import Patterns
from pycontainers.runtime.selecting import Tree
from pycontainers.runtime.selection import Match
from pycontainers.storage.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pycontainers.distribution.layers import Limits
    from pycontainers.lifecycle.launch import Running
    from pycontainers.lifecycle.services import Services

Source = str | os.PathLike[str] | bytes | BinaryIO

_ROOT: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LARGEST_TEXT: Final = 16 << 20  # of a Dockerfile, and of its ignore file
_DOCKERFILE: Final = "Dockerfile"
_BLOCK: Final = 512


@attrs.frozen
class Selection:
    """Files for COPY or ADD, and the digest of all that an image could show of them."""

    matches: tuple[Match, ...]
    digest: str

    def listing(self) -> BinaryIO:
        """Give the list as an open file in memory, for the worker that copies them."""
        fd = os.memfd_create("selection", os.MFD_CLOEXEC)
        file = os.fdopen(fd, "w+b", buffering=1 << 20)
        selection.write(self.matches, file)
        file.flush()
        file.seek(0)
        return file


class Context(Closing):
    """The files of one build; a context manager, which lets them go."""

    def __init__(self, name: str, root_fd: int, hashes: Hashes | None = None) -> None:
        self.name = name
        self.root_fd = root_fd
        self.ignored: tuple[str, ...] = ()
        self._hashes = hashes
        self._open = contextlib.ExitStack()
        self._open.callback(os.close, root_fd)

    def close(self) -> None:
        """Let the files go; what was unpacked is removed."""
        self._open.close()

    @classmethod
    def directory(cls, path: str | os.PathLike[str], services: Services) -> Context:
        """Open a directory; raises KernelError: FileMissing, NoDirectory, AccessRefused."""
        try:
            root_fd = os.open(path, _ROOT)
        except OSError as error:
            hint = "a build context is a directory, or a tar archive as a stream"
            raise file_error(error.errno or 0, f"open({os.fspath(path)!r})", hint=hint) from None
        return cls(os.fspath(path), root_fd, Hashes(services.root.cache, root_fd))

    @classmethod
    def stream(
        cls, source: bytes | BinaryIO, services: Services, limits: Limits, *, named: bool = False
    ) -> Context:
        """Take a tar archive, maybe compressed, or a Dockerfile alone, as `docker build -` does.

        A `named` context, which is no place for a Dockerfile, has to be an archive.  Raises
        ImageError for a damaged archive, or one beyond `limits`, InvalidArgument for none.
        """
        given = io.BytesIO(source) if isinstance(source, bytes) else source
        kind, whole = peek(_Steady(given))
        plain = decompressed(whole) if kind else whole
        first = _exactly(plain, _BLOCK)
        with contextlib.ExitStack() as opened:
            path = opened.enter_context(scratch(services.root.layers))
            if kind or looks_like_tar(first):
                feed(Workers(services), extraction(path, limits), Archive(first, plain))
            else:
                text = first + _exactly(plain, _LARGEST_TEXT)
                if named:
                    raise InvalidArgument("the context is no tar archive")
                if len(text) > _LARGEST_TEXT:
                    raise InvalidArgument("the context is no tar archive, and no Dockerfile")
                (path / _DOCKERFILE).write_bytes(text)
            context = cls("-", os.open(path, _ROOT))
            context._open.push(opened.pop_all())
            return context

    @classmethod
    def of(cls, source: Source, services: Services, limits: Limits) -> Context:
        """Open what a user calls a context: a directory's path, bytes, or an open file."""
        if isinstance(source, (str, os.PathLike)):
            return cls.directory(source, services)
        return cls.stream(source, services, limits)

    def read(self, path: str) -> bytes:
        """Give a file's content, ignored or not: a Dockerfile; raises FileMissing, KernelError."""
        try:
            return paths.read_in(self.root_fd, path, _LARGEST_TEXT)
        except KernelError as error:
            raise file_error(error.errno or 0, f"open({path!r})") from None

    @property
    def is_directory(self) -> bool:
        """Whether these are somebody's files where they lie, and not unpacked ones."""
        return self._hashes is not None

    def use_rules(
        self, dockerfile: str | None = _DOCKERFILE, beside: Context | None = None
    ) -> None:
        """Leave out what the ignore file for a Dockerfile says; `beside` is where that lies.

        Without a Dockerfile only the common ignore file counts.  Raises InvalidArgument for a
        pattern that is none.
        """
        own, common = ignore.file_names(dockerfile or _DOCKERFILE)
        places = [(beside or self, own), (self, common)]
        for place, name in places if dockerfile else places[1:]:
            try:
                data = place.read(name)
            except KernelError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                    raise
                continue
            rules = ignore.parse(data)
            try:
                Patterns(rules)
            except InvalidArgument as error:
                raise InvalidArgument(f"{name}: {error.args[0]}") from None
            self.ignored = rules
            return

    def ignores(self, path: str) -> bool:
        """Whether the rules take away a path."""
        return Patterns(self.ignored).matches(path.strip("/"))

    def select(
        self, sources: Sequence[str], *, exclude: Sequence[str] = (), parents: bool = False
    ) -> Selection:
        """Find what COPY or ADD name, and its digest; owners are all 0:0.

        Raises FileMissing naming the source that matches nothing, InvalidArgument for a pattern
        that is none, ImageError for what is changed meanwhile.
        """
        tree = Tree(self.root_fd, Patterns(self.ignored), (0, 0))
        with workers.host("select"):
            matches = tree.select(sources, exclude=exclude, parents=parents)
            if self._hashes is None:
                known = hashing.contents(self.root_fd, matches)
            else:
                known = self._hashes.contents(matches)
        return Selection(tuple(matches), hashing.digest(matches, known))

    def archive(self, match: Match) -> Archive | None:
        """Open a selected file that is a tar archive; None for any other file.

        It may be compressed by gzip, bzip2, xz or zstd.
        """
        if match.is_directory or not match.facts.size:
            return None
        with workers.host("open"):
            fd = paths.open_in(self.root_fd, match.path, os.O_RDONLY | os.O_NONBLOCK, follow=False)
        return archive(os.fdopen(fd, "rb"))


def extraction(place: Path, limits: Limits) -> dict[str, Any]:
    """Give the work of unpacking an archive into a directory that is there, and only there."""
    return {
        "task": "extract",
        "directory": str(place),
        "path": "/",
        "owner": "root",
        "top": False,
        "limits": {"entries": limits.entries, "bytes": limits.size},
    }


def archive(file: BinaryIO) -> Archive | None:
    """Give the plain bytes of a tar archive in a file, which is closed where it is none."""
    try:
        plain = decompressed(_Steady(file))
        first = _exactly(plain, _BLOCK)
    except ImageError:  # it only began like something compressed
        first = b""
    except BaseException:
        file.close()
        raise
    if not looks_like_tar(first):
        file.close()
        return None
    return Archive(first, plain, file)


def looks_like_tar(block: bytes) -> bool:
    """Whether 512 bytes are the header of an archive's first entry."""
    if len(block) < _BLOCK or not any(block):
        return False
    try:
        told = int(block[148:156].strip(b" \0") or b"x", 8)
    except ValueError:
        return False
    return sum(block) - sum(block[148:156]) + 256 == told


class Archive(Closing):
    """The plain bytes of a tar archive whose first block has been looked at; to be closed."""

    def __init__(self, first: bytes, rest: Reader, file: BinaryIO | None = None) -> None:
        self._first = first
        self._rest = rest
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        """Give at most `size` bytes; raises ImageError for a damaged stream."""
        first, self._first = self._first, b""
        return first or self._rest.read(size)

    def close(self) -> None:
        """Close the file that it is read from."""
        if self._file is not None:
            self._file.close()


class Workers:
    """Jailed workers of the engine's launcher, that are told all about their jail."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def work(self, work: dict[str, Any], fds: list[int]) -> Running:
        """Start one."""
        return self._services.launcher().work(work, fds)


def feed(jail: workers.Jail, work: dict[str, Any], plain: Reader) -> None:
    """Have a worker read all of a stream; raises ImageError, KernelError, EngineError."""
    with workers.reader(jail, work) as fd, contextlib.suppress(BrokenPipeError):
        while data := plain.read(CHUNK):
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]


class _Steady:
    """A file whose `read` may give text, or None, by mistake; refused in plain words."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(CHUNK if size < 0 else size)
        if not isinstance(data, bytes):
            raise InvalidArgument(
                f"the context's read() gave {type(data).__name__}, not bytes",
                hint="open it in binary mode",
            )
        return data


def _exactly(reader: Reader, size: int) -> bytes:
    """Read so many bytes, or all there are."""
    data = b""
    while len(data) < size and (more := reader.read(size - len(data))):
        data += more
    return data
