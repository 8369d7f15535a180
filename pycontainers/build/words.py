"""Words of a Dockerfile: quotes, escapes and variables, as BuildKit's shell lexer takes them.

It is no shell: single quotes keep everything, double quotes let variables in, the escape character
is the Dockerfile's, and a variable that is not there is empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple

from pycontainers.build import patterns
from pycontainers.errors import BuildError

SPACES: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""White space as Go's unicode.IsSpace has it: Python's has four control characters more."""

LONGEST: Final = 1 << 20
"""The most characters that the variables of one word may put in."""

_DEEPEST: Final = 60  # nested ${…}, each of which is a few of Python's frames
_SPACE: Final = re.compile(f"([{SPACES}]+)")
_SPECIAL_NAMES: Final = "@*#?-$!"


class Expansion(NamedTuple):
    """A word with its variables put in, and which of them were there and which were not."""

    text: str
    words: tuple[str, ...]
    found: frozenset[str]
    missing: tuple[str, ...]


class _Piece(NamedTuple):
    """A part of a result; `solid` ones, which were quoted or escaped, are not split at spaces."""

    text: str
    solid: bool


def expand(word: str, values: Mapping[str, str], escape: str = "\\") -> Expansion:
    r"""Put the values of variables in, and take quotes and escapes away.

    `text` is the whole, `words` are what it is split into at the spaces outside quotes, those of
    values included.  Raises BuildError, without a place, for what can't be read, what `${x:?}` asks
    for, and results that are too long.

    >>> expand("${tag:-latest} '$tag'", {}).text
    'latest $tag'
    """
    return _Reader(word, values, escape).read()


def expand_document(text: str, values: Mapping[str, str]) -> Expansion:
    r"""Put the values of variables into the content of a heredoc, in which quotes stay.

    The escape character is a backslash there, whatever the Dockerfile's is.  Raises BuildError.

    >>> expand_document('say "$what"', {"what": "hello"}).text
    'say "hello"'
    """
    return _Reader(text, values, "\\", quotes=False).read()


def shown(text: str, values: Mapping[str, str], escape: str = "\\") -> str:
    """Put the known variables into a command for people to read; quotes and others stay.

    >>> shown("echo '$a' $b $c", {"b": "1"})
    "echo '$a' 1 $c"
    """
    try:
        return _Reader(text, values, escape, raw_quotes=True, keep_unset=True).read().text
    except BuildError:
        return text


def raw_words(line: str) -> tuple[str, ...]:
    r"""Split a line at spaces outside quotes and keep all else, or give nothing if it can't be.

    `<<` stays together with the word after it.

    >>> raw_words("cat << 'a b' $x")
    ('cat', "<< 'a b'", '$x')
    """
    reader = _Reader(line, {}, "\\", raw_quotes=True, raw_escapes=True, keep_unset=True)
    try:
        return reader.read().words
    except BuildError:
        return ()


def unquoted(text: str, *, raw_quotes: bool = False) -> tuple[str, ...]:
    """Split a text in which no variable has a value; raises BuildError."""
    return _Reader(text, {}, "\\", raw_quotes=raw_quotes, keep_unset=True).read().words


@cache
def _plain(escape: str, quotes: bool, stop: str) -> re.Pattern[str]:
    """Give the pattern of a run of characters that mean themselves."""
    special = "$<" + escape + ("'\"" if quotes else "") + stop
    return re.compile(f"[^{re.escape(special)}]+")


class _Reader:
    """One pass over a word."""

    def __init__(
        self,
        source: str,
        values: Mapping[str, str],
        escape: str,
        *,
        quotes: bool = True,
        raw_quotes: bool = False,
        raw_escapes: bool = False,
        keep_unset: bool = False,
    ) -> None:
        self._source = source
        self._values = values
        self._escape = escape
        self._quotes = quotes
        self._raw_quotes = raw_quotes
        self._raw_escapes = raw_escapes
        self._keep_unset = keep_unset
        self._at = 0
        self._depth = 0
        self._room = LONGEST
        self._found: set[str] = set()
        self._missing: dict[str, None] = {}

    def read(self) -> Expansion:
        try:
            pieces = self._until("", self._raw_escapes)
        except BuildError as error:
            near = error.near or self._source[:80]
            raise BuildError(error.problem, near=near, hint=error.hint) from None
        text = "".join(piece.text for piece in pieces)
        return Expansion(text, _split(pieces), frozenset(self._found), tuple(self._missing))

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _next(self) -> str:
        letter = self._source[self._at : self._at + 1]
        self._at += len(letter)
        return letter

    def _until(self, stop: str, raw_escapes: bool) -> list[_Piece]:
        """Read up to the character `stop` and over it, or to the end where it is empty."""
        pieces: list[_Piece] = []
        plain = _plain(self._escape, self._quotes, stop)
        while letter := self._peek():
            if letter == stop:
                self._at += 1
                return pieces
            if run := plain.match(self._source, self._at):
                self._at = run.end()
                pieces.append(_Piece(run[0], False))
            elif letter == "$":
                pieces.append(_Piece(self._dollar(raw_escapes), False))
            elif letter == "<":
                pieces.append(_Piece(self._less(), True))
            elif letter == "'":
                pieces.append(_Piece(self._single(), True))
            elif letter == '"':
                pieces.append(_Piece(self._double(raw_escapes), True))
            else:
                self._at += 1
                escaped = self._next()
                pieces.append(_Piece(letter + escaped if raw_escapes else escaped, True))
        if stop:
            raise BuildError(f"a '${{' without its {stop!r}")
        return pieces

    def _single(self) -> str:
        end = self._source.find("'", self._at + 1)
        if end < 0:
            raise BuildError("a single quote without its second one")
        begin, self._at = self._at, end + 1
        return self._source[begin : end + 1] if self._raw_quotes else self._source[begin + 1 : end]

    def _double(self, raw_escapes: bool) -> str:
        quote = '"' if self._raw_quotes else ""
        self._at += 1
        parts = [quote]
        plain = _plain(self._escape, True, "")
        while letter := self._peek():
            if run := plain.match(self._source, self._at):
                self._at = run.end()
                parts.append(run[0])
            elif letter == '"':
                self._at += 1
                return "".join(parts) + quote
            elif letter == "$":
                parts.append(self._dollar(raw_escapes))
            elif letter == self._escape:
                self._at += 1
                if raw_escapes:
                    parts.append(letter)
                if (escaped := self._peek()) and escaped in ('"', "$", self._escape):
                    self._at += 1
                    parts.append(escaped)
                elif escaped:  # anything else is not escaped by it
                    parts.append(letter)
            else:
                self._at += 1
                parts.append(letter)
        raise BuildError("a double quote without its second one")

    def _less(self) -> str:
        """Read `<`, or `<<` with the spaces before the word that ends the document."""
        begin = self._at
        self._at += 1
        if self._peek() == "<":
            self._at += 1
            while (letter := self._peek()) and letter in "\t\r ":
                self._at += 1
        return self._source[begin : self._at]

    def _dollar(self, raw_escapes: bool) -> str:
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self._value(name)
            return f"${name}" if value is None and self._keep_unset else value or ""
        self._at += 1
        if self._peek() in ("", "{", "}", ":"):
            raise BuildError("a '${' without a name after it")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise BuildError(f"more than {_DEEPEST} '${{' in one another")
        text = self._braces(self._name())
        self._depth -= 1
        return text

    def _braces(self, name: str) -> str:
        """Read on behind `${name`."""
        sign = self._next()
        if sign == "}":
            value = self._value(name)
            return f"${{{name}}}" if value is None and self._keep_unset else value or ""
        if sign == "/":
            return self._replaced(name)
        empty_too = sign == ":"
        if empty_too:
            sign = self._next()
        known = "+-?" if empty_too else "+-?#%"
        if not sign or sign not in known:
            wrong = f"':{sign}'" if empty_too else repr(sign)
            raise BuildError(
                f"{wrong} can't follow the name in '${{{name}'"
                if sign
                else "a '${' without its '}'"
            )
        begin = self._at
        word = "".join(piece.text for piece in self._until("}", sign in "#%"))
        value = self._value(name)
        if value is None and self._keep_unset:
            return f"${{{name}{':' if empty_too else ''}{sign}{self._source[begin : self._at]}"
        if sign in "#%":
            longest = word.startswith(sign)
            remove = patterns.without_start if sign == "#" else patterns.without_end
            return remove(word[longest:], value or "", longest=longest)
        there = value is not None and not (empty_too and not value)
        if sign == "-":
            return value or "" if there else word
        if sign == "+":
            return word if there else ""
        if not there:
            problem = word or ("has no value" if value is None else "has an empty value")
            raise BuildError(f"{name}: {problem}")
        return value or ""

    def _replaced(self, name: str) -> str:
        begin = self._at
        every = self._peek() == "/"
        self._at += every
        pattern = "".join(piece.text for piece in self._until("/", True))
        replacement = "".join(piece.text for piece in self._until("}", True))
        value = self._value(name)
        if value is None and self._keep_unset:
            return f"${{{name}/{self._source[begin : self._at]}"
        text = patterns.replaced(pattern, value or "", replacement, every=every, room=self._room)
        self._take(len(text))
        return text

    def _name(self) -> str:
        begin = self._at
        letter = self._peek()
        if letter.isdecimal():
            while self._peek().isdecimal():
                self._at += 1
        elif letter and letter in _SPECIAL_NAMES:
            self._at += 1
        else:
            while (letter := self._peek()).isalpha() or letter.isdecimal() or letter == "_":
                self._at += 1
        return self._source[begin : self._at]

    def _value(self, name: str) -> str | None:
        value = self._values.get(name)
        if value is None:
            self._missing[name] = None
        else:
            self._found.add(name)
            self._take(len(value))
        return value

    def _take(self, length: int) -> None:
        self._room -= length
        if self._room < 0:
            raise BuildError(f"its variables put in more than {LONGEST} characters")


def _split(pieces: list[_Piece]) -> tuple[str, ...]:
    """Split a result at the spaces of pieces that are not solid; empty words are none."""
    words: list[str] = []
    current: list[str] = []
    for text, solid in pieces:
        if solid:
            current.append(text)
            continue
        for part in _SPACE.split(text):
            if part and part[0] in SPACES:
                words.append("".join(current))
                current.clear()
            else:
                current.append(part)
    words.append("".join(current))
    return tuple(filter(None, words))
