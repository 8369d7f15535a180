"""Logical lines: what a Dockerfile's text is made of before anybody knows the instructions.

A logical line is a line with those that continue it, without the comments and blank lines among
them, and with the heredocs that follow it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from typing import Final, NamedTuple

import attrs

from pycontainers.build import words
from pycontainers.build.words import SPACES
from pycontainers.errors import BuildError

_BOM: Final = "\ufeff"
_DIRECTIVE: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*", re.ASCII)
_DIRECTIVES: Final = ("syntax", "escape", "check")
_WITH_HEREDOCS: Final = ("run", "copy", "add")
_HEREDOC: Final = re.compile(r"(\d*)<<(-?)\s*([^<]*)", re.ASCII)
_LEADING_TABS: Final = re.compile(r"^\t+", re.MULTILINE)
_SPACE: Final = re.compile(f"[{SPACES}]+")
_QUOTES: Final = re.compile("['\"]")


class Directive(NamedTuple):
    """A parser directive, as `# escape=x`, and its line."""

    name: str
    value: str
    line: int


@attrs.frozen
class Heredoc:
    """A document within a Dockerfile, from the line after its instruction to its name.

    Variables in it have a meaning if `expand`, and tabs at its lines' begins none if `chomp`;
    `content` is as written, with its line ends.  `descriptor` is the number before `<<`, 0 without.
    """

    name: str
    content: str = ""
    expand: bool = True
    chomp: bool = False
    descriptor: int = 0

    @property
    def text(self) -> str:
        r"""The content as it is meant.

        >>> Heredoc("EOF", "\tone\n", chomp=True).text
        'one\n'
        """
        return _LEADING_TABS.sub("", self.content) if self.chomp else self.content


class Line(NamedTuple):
    """A logical line: `text` is what it says, `source` the lines from `start` to `end` as written.

    `comments` are those before it, without `#`; `blank` is the last line among the continued ones
    that is blank, 0 if none is.
    """

    text: str
    start: int
    end: int
    source: str
    comments: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    blank: int = 0


class Lines:
    """The logical lines of a text, to be gone through once, and its directives, read at once."""

    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._name = name
        self._number = 0
        self._begin = self._end = len(_BOM) if text.startswith(_BOM) else 0
        self.directives = tuple(_directives(text[self._begin :], name))
        self.escape = next((one.value for one in self.directives if one.name == "escape"), "\\")

    def __iter__(self) -> Iterator[Line]:
        """Give the logical lines; raises BuildError for a heredoc that does not end."""
        skipped = {directive.line for directive in self.directives}
        comments: list[str] = []
        while (physical := self._take()) is not None:
            piece = physical.lstrip(SPACES)
            if piece.startswith("#"):
                if self._number not in skipped:
                    _take_comment(comments, piece)
            elif piece:
                start, begin = self._number, self._begin
                text, blank = self._joined(piece)
                heredocs = self._documents(text, start, begin)
                source = self._source(begin)
                about = tuple(comments)
                yield Line(text, start, self._number, source, about, heredocs, blank)
                comments.clear()

    def _take(self) -> str | None:
        """Give the next line of the text without its end, or None."""
        if self._end == len(self._text):
            return None
        self._number += 1
        self._begin = self._end
        self._end = self._text.find("\n", self._begin) + 1 or len(self._text)
        return self._text[self._begin : self._end].rstrip("\r\n")

    def _source(self, begin: int) -> str:
        """Give what is written up to here, without the last line's end."""
        return self._text[begin : self._end].removesuffix("\n").removesuffix("\r")

    def _joined(self, first: str) -> tuple[str, int]:
        """Join a line with those that continue it; tell which was blank."""
        piece, goes_on = self._continued(first)
        pieces, blank = [piece], 0
        while goes_on and (physical := self._take()) is not None:
            bare = physical.lstrip(SPACES)
            if not bare:
                blank = self._number
            elif not bare.startswith("#"):
                piece, goes_on = self._continued(physical)
                pieces.append(piece)
        return "".join(pieces), blank

    def _continued(self, piece: str) -> tuple[str, bool]:
        """Take the escape character from a line's end, and tell whether there was one."""
        bare = piece.rstrip(" \t")
        if bare.endswith(self.escape) and not bare.endswith(self.escape * 2):
            return bare[:-1], True
        return piece, False

    def _documents(self, text: str, start: int, begin: int) -> tuple[Heredoc, ...]:
        """Read the heredocs that an instruction announces."""
        if "<<" not in text:
            return ()
        keyword, second, *_ = (*_SPACE.split(text.strip(SPACES), maxsplit=2), "")
        if (second if keyword.lower() == "onbuild" else keyword).lower() not in _WITH_HEREDOCS:
            return ()
        source = self._source(begin)
        found = []
        for word in words.raw_words(text):
            if heredoc := heredoc_of(word):
                content = self._document(heredoc)
                if content is None:
                    raise BuildError(
                        f"no line {heredoc.name[:80]!r} ends the heredoc that begins here",
                        file=self._name,
                        line=start,
                        instruction=source,
                        near=word,
                    )
                found.append(attrs.evolve(heredoc, content=content))
        return tuple(found)

    def _document(self, heredoc: Heredoc) -> str | None:
        """Read a heredoc to its end; None where it has none."""
        begin = self._end
        while (line := self._take()) is not None:
            if (line.lstrip("\t") if heredoc.chomp else line) == heredoc.name:
                return self._text[begin : self._begin]
        return None


@lru_cache(maxsize=64)
def heredoc_of(word: str) -> Heredoc | None:
    """Give the heredoc that a word as `<<-"EOF"` announces, or None.

    >>> heredoc_of("<<'END'")
    Heredoc(name='END', content='', expand=False, chomp=False, descriptor=0)
    """
    match = _HEREDOC.fullmatch(word)
    if match is None or not match[3]:
        return None
    try:
        bare = words.unquoted(match[3])
        quoted = words.unquoted(match[3], raw_quotes=True)
    except BuildError:
        return None
    if len(bare) != 1 or len(quoted) != 1:
        return None
    plain = len(_QUOTES.findall(bare[0])) == len(_QUOTES.findall(quoted[0]))
    descriptor = int(match[1]) if match[1] and len(match[1]) < 10 else 0
    return Heredoc(bare[0], expand=plain, chomp=match[2] == "-", descriptor=descriptor)


def _directives(text: str, name: str) -> Iterator[Directive]:
    """Give the directives, which stand in the first lines only; raises BuildError."""
    seen: set[str] = set()
    begin = 0
    for number in count(1):
        finish = text.find("\n", begin) + 1 or len(text)
        line = text[begin:finish].rstrip("\r\n").lstrip(SPACES)
        begin = finish
        if number == 1 and line.startswith("#!"):
            continue
        if not line.startswith("#"):
            return
        match = _DIRECTIVE.fullmatch(line[1:].lstrip(SPACES))
        key = match[1].lower() if match else ""
        if match is None or key not in _DIRECTIVES:
            return
        problem = ""
        if key in seen:
            problem = f"a second directive {key!r}"
        elif key == "escape" and match[2] not in ("\\", "`"):
            problem = f"the escape character is \\ or `, not {match[2][:20]!r}"
        if problem:
            raise BuildError(problem, file=name, line=number, instruction=line)
        seen.add(key)
        yield Directive(key, match[2], number)


def _take_comment(comments: list[str], piece: str) -> None:
    """Keep a comment for the instruction below; an empty one ends what is said about that."""
    comment = piece[1:].strip(SPACES)
    if comment:
        comments.append(comment)
    else:
        comments.clear()
