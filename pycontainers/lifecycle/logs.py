"""Reading a container's log: Docker's json-file format, rotated (runtime/log.py writes it)."""

from __future__ import annotations

import json
import operator
import re
from typing import TYPE_CHECKING, Any, Final, Generic, cast

from pycontainers.errors import InvalidArgument
from pycontainers.lifecycle.feed import Feed
from pycontainers.lifecycle.moments import Moment, moment, written
from pycontainers.lifecycle.result import Output
from pycontainers.runtime import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontainers.lifecycle.trail import Place

_LONGEST: Final = 1 << 20  # characters of a line that are held before they are given
_LOOK_BACK: Final = 1 << 20  # bytes in which the beginnings of tail's lines are looked for
_HEAD: Final = b'{"log":"'
_TIME: Final = b'"time":"'
_STREAMS: Final = (b"stdout", b"stderr")
_END: Final = re.compile(rb'\\n","stream":"std(?:out|err)","time":"[^"]*"\}\n')
_JOINT: Final = re.compile(_END.pattern + rb'\{"log":"')
_FIELDS: Final = operator.itemgetter("stream", "time", "log")
_BROKEN: Final = ("", "", "")  # belongs to no stream

Entry = tuple[str, str, str]  # stream, time, text


class Logs(Feed[Output], Generic[Output]):
    """The lines of a container's log, each with its newline, in the order written.

    An iterator that ends with the log, or with `follow` when the container has ended and all of it
    has been read.  Lines are str, bytes that are no UTF-8 replaced, or with `text=False` the very
    bytes.  A line that the program has not ended comes last, and one of more than a megabyte in
    parts.  It can be closed from any thread, and is a context manager that closes it.  A reader
    that is overtaken by the rotation, all files being written anew while it reads one, misses what
    was in them.

    >>> for line in container.logs(follow=True):            # doctest: +SKIP
    ...     print(line, end="")
    """

    def __init__(
        self,
        directory: str,
        *,
        stdout: bool = True,
        stderr: bool = True,
        tail: int | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        timestamps: bool = False,
        text: bool = True,
        follow: bool = False,
        ended: Callable[[], bool] = lambda: True,
    ) -> None:
        """Open the log in a container's directory; for Container.logs.

        With `follow`, `ended` is asked whether the log is complete, when something in the directory
        changes.  Raises InvalidArgument before anything is opened.
        """
        if tail is not None and (isinstance(tail, bool) or not isinstance(tail, int) or tail < 0):
            raise InvalidArgument(f"tail: {tail!r} is no number of lines")
        begin, end = moment("since", since), moment("until", until)
        self._directory = directory
        self._streams = frozenset(
            name for name, on in (("stdout", stdout), ("stderr", stderr)) if on
        )
        self._since = None if begin is None else written(begin).decode()
        self._until = None if end is None else written(end).decode()
        self._timestamps = timestamps
        self._text = text
        self._past = False  # beyond `until`
        self._lines = _Lines()
        super().__init__(directory, log.file_name, follow=follow, deadline=end, ended=ended)
        if begin is not None:
            self._trail.skip_before(begin)
        if tail is not None:
            self._trail.go(self._tail(tail))
            self._since = None

    def read(self) -> Output:
        r"""Give all that is left, as one str or bytes; with `follow` once the container has ended.

        >>> container.logs(tail=1).read()                   # doctest: +SKIP
        'ready\n'
        """
        parts: list[Output] = []
        try:
            while not self._closed:
                with self._turn:
                    parts.extend(self._ready)
                    self._ready.clear()
                    if self._finished or self._closed:
                        break
                    parts.extend(self._batch(lines=False))
        finally:
            self._tidy()
        nothing: Any = "" if self._text else b""
        return cast("Output", nothing.join(parts))

    def _more(self) -> list[Output] | None:
        return self._batch(lines=True)

    def _batch(self, *, lines: bool) -> list[Output]:
        """Give the output in the next block of the log, by lines or as one; note the end."""
        block = b"" if self._past else self._block()
        if not block:
            self._finished = True
            return [self._output(*line) for line in self._lines.rest()]
        last = _last_time(block)
        if self._since is not None and last and last < self._since:
            return []
        self._past = self._until is not None and last > self._until
        if (
            self._since is None
            and not self._past
            and not self._timestamps
            and not self._lines.pending
        ):
            whole = _whole(block, self._streams)
            if whole is not None:
                output = self._output("", whole)
                return _split(output) if lines else [output]
        entries = [entry for entry in parse(block) if self._wanted(entry)]
        if entries:
            self._since = None  # the later ones are later
        return [self._output(*line) for line in self._lines.add(entries)]

    def _wanted(self, entry: Entry) -> bool:
        stream, when, _ = entry
        return (
            stream in self._streams
            and (self._since is None or when >= self._since)
            and (self._until is None or when <= self._until)
        )

    def _output(self, when: str, line: str) -> Output:
        """Give text, in which bytes that were no UTF-8 are lone surrogates, as it was asked for."""
        if self._timestamps:
            line = f"{when} {line}"
        output: Any = line
        if not self._text or not line.isascii():
            try:
                data = line.encode()
            except UnicodeEncodeError:
                data = line.encode("utf-8", "surrogateescape")
                output = data.decode(errors="replace")
            if not self._text:
                output = data
        return cast("Output", output)

    def _tail(self, count: int) -> Place:
        """Find where the last `count` lines begin, and keep the earlier pieces of them."""
        place = self._trail.end()
        open_lines: set[str] = set()  # streams in whose first wanted line the search is
        seen: set[str] = set()
        found, budget = 0, _LOOK_BACK
        for block, at in self._trail.backward():
            offset = at.offset + len(block)
            raws = block[:-1].split(b"\n")
            for raw, entry in zip(reversed(raws), reversed(parse(block)), strict=False):
                if found == count and not open_lines:
                    return place
                offset -= len(raw) + 1
                stream, when, text = entry
                if stream and self._since is not None and when < self._since:
                    return place
                if not self._wanted(entry):
                    continue
                if text.endswith("\n") or stream not in seen:
                    seen.add(stream)
                    if found == count:
                        open_lines.discard(stream)
                        continue
                    found += 1
                    open_lines.add(stream)
                    place = at._replace(offset=offset)
                elif found < count:
                    place = at._replace(offset=offset)
                elif stream in open_lines:
                    self._lines.prepend(entry)
            if found == count:
                budget -= len(block)
                if budget < 0:
                    break
        return place

    def __str__(self) -> str:
        """Read all that is left, for print()."""
        output = self.read()
        return output if isinstance(output, str) else output.decode(errors="replace")

    def __repr__(self) -> str:
        return f"<Logs {self._directory}>"


class _Line:
    """A line of which not all pieces have come."""

    def __init__(self, when: str) -> None:
        self.when = when
        self.pieces: list[str] = []
        self.size = 0


class _Lines:
    """Joins the pieces of long lines, of each stream for itself."""

    def __init__(self) -> None:
        self.pending: dict[str, _Line] = {}

    def add(self, entries: list[Entry]) -> list[tuple[str, str]]:
        """Give the lines that these entries complete, each with its time."""
        lines = []
        pending = self.pending
        for stream, when, text in entries:
            whole = text.endswith("\n")
            if whole and stream not in pending:
                lines.append((when, text))
                continue
            line = pending.pop(stream, None) or _Line(when)
            line.pieces.append(text)
            line.size += len(text)
            if whole or line.size >= _LONGEST:
                lines.append((line.when, "".join(line.pieces)))
            else:
                pending[stream] = line  # the last, as a line stands where its last piece does
        return lines

    def prepend(self, entry: Entry) -> None:
        """Put a piece before those that there are of its stream's line."""
        stream, when, text = entry
        line = self.pending.setdefault(stream, _Line(when))
        line.when = when
        line.pieces.insert(0, text)
        line.size += len(text)

    def rest(self) -> list[tuple[str, str]]:
        """Give the lines that will not be completed."""
        lines = [(line.when, "".join(line.pieces)) for line in self.pending.values()]
        self.pending.clear()
        return lines


def parse(block: bytes) -> list[Entry]:
    r"""Give the entries of whole lines of the file; for a broken one, one of no stream.

    >>> parse(b'{"log":"a","stream":"stdout","time":"2026-11-25T10:45:41Z"}\n{"log":\n')
    [('stdout', '2026-11-25T10:45:41Z', 'a'), ('', '', '')]
    """
    try:
        return list(map(_FIELDS, json.loads(b"[%b]" % block[:-1].replace(b"\n", b","))))
    except (ValueError, KeyError, TypeError):
        return [_parse_one(line) for line in block[:-1].split(b"\n")]


def _parse_one(line: bytes) -> Entry:
    try:
        entry: Entry = _FIELDS(json.loads(line))
    except (ValueError, KeyError, TypeError):
        return _BROKEN
    return entry


def _last_time(block: bytes) -> str:
    """Give the time of the last entry that has one as our writer and Docker's do; else nothing."""
    # No entry's text can hold this, as quotation marks are escaped there.
    found = block.rfind(_TIME)
    if found < 0:
        return ""
    begin = found + len(_TIME)
    return block[begin : block.find(b'"', begin)].decode(errors="replace")


def _whole(block: bytes, streams: frozenset[str]) -> str | None:
    """Give the text of a block in which each entry is a line of these streams; None for others.

    What stands between the texts is taken out, and the rest read as one text: several times as fast
    as reading the entries.  Anything unexpected is no such text then, and read otherwise.
    """
    if b'\\\\n"' in block or not block.startswith(_HEAD):
        return None
    if any(b'"stream":"%b"' % name in block for name in _STREAMS if name.decode() not in streams):
        return None
    body = _JOINT.sub(rb"\\n", block)
    end = body.rfind(b'\\n","stream":"')
    if end < 0 or not _END.fullmatch(body, end):
        return None
    try:
        return cast("str", json.loads(b'"%b\\n"' % body[len(_HEAD) : end]))
    except ValueError:
        return None


def _split(output: Output) -> list[Output]:
    """Split what ends with a newline into lines, each with its own."""
    newline: Any = "\n" if isinstance(output, str) else b"\n"
    return [line + newline for line in output[:-1].split(newline)]
