"""Patterns of paths, as in .dockerignore: which files are left out of a context or a copy.

A pattern is Go's filepath.Match with `**` for any number of directories; a leading `!` brings back
what the ones before took away, and the last one that matches decides.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from pycontainers.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SPACE: Final = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_SPECIAL: Final = re.compile(r"[*?\[\]\\]")
_STARS: Final = 2  # more could keep a backtracking matcher busy for long
_STATES: Final = 10_000  # transitions of an automaton that are kept

# What a pattern is made of; literals and classes are regular expressions for one character.
_ONE, _STAR, _DEEP, _REST = "one", "star", "deep", "rest"


class _Part(NamedTuple):
    kind: str
    regex: str = ""


class _Pattern(NamedTuple):
    exception: bool
    match: Callable[[str], bool]
    prefix: str  # what all that it matches begins with


class Patterns:
    """Patterns in the order given; raises InvalidArgument for one that is none.

    >>> Patterns(["*.log", "!keep.log"]).matches("keep.log")
    False
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        made = [_pattern(text) for text in patterns if text.strip(SPACE)]
        self._patterns = made
        self._exceptions = [pattern for pattern in made if pattern.exception]
        self.above: tuple[bool, ...] = (False,) * len(made)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def below(self, path: str, above: tuple[bool, ...]) -> tuple[bool, tuple[bool, ...]]:
        """Tell whether a path matches, and which patterns did, for what lies below it.

        `above` is what its directory has given, at the top `self.above`.
        """
        matched = False
        known = list(above)
        for index, pattern in enumerate(self._patterns):
            if not known[index]:
                if pattern.exception is not matched or not pattern.match(path):
                    continue
                known[index] = True
            matched = not pattern.exception
        return matched, tuple(known)

    def matches(self, path: str) -> bool:
        """Tell whether a path matches, or a directory above it does."""
        above = self.above
        at = path.find("/")
        while at >= 0:
            _, above = self.below(path[:at], above)
            at = path.find("/", at + 1)
        return self.below(path, above)[0]

    def may_except_below(self, path: str) -> bool:
        """Whether an exception might match something in a directory that matches."""
        folder = path + "/"
        return any(
            pattern.prefix.startswith(folder) or folder.startswith(pattern.prefix)
            for pattern in self._exceptions
        )


def clean(path: str) -> str:
    """Give the shortest form of a path: no double slashes, no dots.

    >>> clean("//a/./b/../c/")
    '/a/c'
    """
    return posixpath.normpath(re.sub("^//+", "/", path))


def has_wildcards(path: str) -> bool:
    r"""Whether a path is a pattern for filepath.Match.

    >>> has_wildcards("a*"), has_wildcards(r"a\*")
    (True, False)
    """
    return re.search(r"[*?\[]", re.sub(r"\\.", "", path, flags=re.DOTALL)) is not None


def name_matcher(pattern: str) -> Callable[[str], bool]:
    """Give what tells whether one component of a path matches; raises InvalidArgument."""
    parts = [
        _Part(_STAR) if part.kind in (_DEEP, _REST) else part
        for part in _parts(pattern, deep=False)
    ]
    return _matcher(parts)


def _pattern(text: str) -> _Pattern:
    shown = text
    text = clean(text.strip(SPACE))
    exception = text.startswith("!")
    text = text.removeprefix("!")
    if not text:
        raise InvalidArgument('the pattern "!" excepts nothing')
    try:
        parts = _parts(text, deep=True)
    except InvalidArgument:
        raise InvalidArgument(f"no pattern for paths: {shown!r}") from None
    special = _SPECIAL.search(text)
    prefix = text[: special.start()] if special else text
    return _Pattern(exception, _choose(text, parts), prefix)


def _choose(text: str, parts: list[_Part]) -> Callable[[str], bool]:
    """Give the quickest matcher that a pattern can have."""
    if not _SPECIAL.search(text):
        return text.__eq__
    deep = text.startswith("**") and not _SPECIAL.search(text, 2)
    if deep:
        # Here `**` stands for any beginning, not for whole directories only.
        end = text[2:]
        if not end.startswith("/"):
            return lambda path: path.endswith(end)
        return lambda path: path.endswith(end) or path == end[1:]
    if text.endswith("**") and not _SPECIAL.search(text[:-2]):
        return lambda path: path.startswith(text[:-2])
    return _matcher(parts)


def _matcher(parts: list[_Part]) -> Callable[[str], bool]:
    if sum(part.kind != _ONE for part in parts) > _STARS:
        return _Automaton(parts).match
    shown = {_STAR: "[^/]*", _DEEP: "(?:.*/)?", _REST: ".*"}
    regex = re.compile("".join(shown.get(part.kind, part.regex) for part in parts))
    return lambda path: regex.fullmatch(path) is not None


def _parts(text: str, *, deep: bool) -> list[_Part]:
    parts: list[_Part] = []
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "*" and deep and text[at : at + 1] == "*":
            at += 1
            if text[at : at + 1] == "/":
                at += 1
            parts.append(_Part(_REST if at == len(text) else _DEEP))
        elif char == "*":
            parts.append(_Part(_STAR))
        elif char == "?":
            parts.append(_Part(_ONE, "[^/]"))
        elif char == "[":
            regex, at = _class(text, at)
            parts.append(_Part(_ONE, regex))
        elif char == "\\":
            if at == len(text):
                raise InvalidArgument(f"no pattern for paths: {text!r}")
            parts.append(_Part(_ONE, re.escape(text[at])))
            at += 1
        else:
            parts.append(_Part(_ONE, re.escape(char)))
    return parts


def _class(text: str, at: int) -> tuple[str, int]:
    """Read `[…]` from behind its bracket; give it as a regular expression, and where it ends."""
    negated = text[at : at + 1] == "^"
    at += negated
    ranges = ""
    begun = False
    while not (begun and text[at : at + 1] == "]"):
        low, at = _member(text, at)
        high = low
        if text[at : at + 1] == "-":
            high, at = _member(text, at + 1)
        if low <= high:
            ranges += f"{re.escape(low)}-{re.escape(high)}"
        begun = True
    if not ranges:
        return (r"[\s\S]" if negated else "(?!)"), at + 1
    return f"[{'^' if negated else ''}{ranges}]", at + 1


def _member(text: str, at: int) -> tuple[str, int]:
    char = text[at : at + 1]
    if char == "\\":
        at += 1
        char = text[at : at + 1]
    elif char in ("-", "]"):
        char = ""
    if not char or at + 1 == len(text):
        raise InvalidArgument(f"no pattern for paths: {text!r}")
    return char, at + 1


class _Automaton:
    """Matches in a time that grows with the path only, however many stars there are.

    A state is a set of places in the pattern, as bits; where a character leads from it is found
    once and kept.
    """

    def __init__(self, parts: list[_Part]) -> None:
        self._places: list[tuple[str, Callable[[str], object]]] = []
        for part in parts:
            self._places.append((part.kind, re.compile(part.regex).fullmatch))
            if part.kind == _DEEP:
                self._places.append(("within", re.compile("").fullmatch))
        self._end = 1 << len(self._places)
        self._start = self._closed(1)
        self._next: dict[tuple[int, str], int] = {}

    def match(self, path: str) -> bool:
        state = self._start
        for char in path:
            found = self._next.get((state, char))
            if found is None:
                if len(self._next) >= _STATES:
                    self._next.clear()
                found = self._next[state, char] = self._step(state, char)
            if not found:
                return False
            state = found
        return bool(state & self._end)

    def _closed(self, state: int) -> int:
        """Add the places that are reached without a character."""
        for index, (kind, _) in enumerate(self._places):
            if state >> index & 1:
                if kind in (_STAR, _REST):
                    state |= 2 << index
                elif kind == _DEEP:
                    state |= 6 << index
        return state

    def _step(self, state: int, char: str) -> int:
        found = 0
        for index, (kind, matches) in enumerate(self._places):
            if not state >> index & 1:
                continue
            if kind == _ONE and matches(char):
                found |= 2 << index
            elif (kind == _STAR and char != "/") or (kind == _REST and char != "\n"):
                found |= 1 << index
            elif kind == "within" and char != "\n":
                found |= 1 << index
                if char == "/":
                    found |= 2 << index
        return self._closed(found)
