"""The patterns of `${name#pattern}` and its like: `*` for any text, `?` for any character.

Both end at a line's end, and a backslash takes a meaning away.  Matching never backtracks further
than into one `*`: what goes before the last one is found at its first place, which leaves most to
the rest.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from pycontainers.errors import BuildError

_ANY: Final = r"[^\n]"
_STAR: Final = "*"
_MOST_WORK: Final = 1 << 26  # comparisons of characters, about half a second


def without_start(pattern: str, value: str, *, longest: bool) -> str:
    """Give the value without the beginning that fits, the shortest or the longest.

    Raises BuildError for a pattern that can't be read.

    >>> without_start("*/", "usr/local/bin", longest=True)
    'bin'
    """
    match = _anchored(_pieces(pattern, value), longest).match(value)
    return value[match.end() :] if match else value


def without_end(pattern: str, value: str, *, longest: bool) -> str:
    """Give the value without the end that fits, the shortest or the longest; raises BuildError.

    >>> without_end(".*", "layer.tar.gz", longest=False)
    'layer.tar'
    """
    # Backwards, an end is a beginning; expressions are searched for from the left only.
    match = _anchored(_pieces(pattern, value)[::-1], longest).match(value[::-1])
    return value[: len(value) - match.end()] if match else value


def replaced(pattern: str, value: str, replacement: str, *, every: bool, room: int) -> str:
    """Give the value with the first longest fitting part replaced, or with every one.

    Raises BuildError for a pattern that can't be read, and where more than `room` is put in.

    >>> replaced("o*e", "one fore", "1", every=False, room=10)
    '1'
    """
    parts = _split(_pieces(pattern, value))
    head = re.compile(parts[0])
    rest = re.compile(_longest(["", *parts[1:]])) if len(parts) > 1 else None
    found: list[str] = []
    at = done = 0
    while at <= len(value) and (match := _search(head, rest, value, at)):
        begin, end = match
        found.append(value[done:begin])
        # As in Go, nothing is put in for the empty text directly behind a match.
        if end > done or begin == 0:
            found.append(replacement)
            room -= len(replacement)
        if room < 0:
            raise BuildError("the replacements put in too many characters")
        done = end
        at = max(at + 1, end)
        if not every:
            break
    return "".join(found) + value[done:]


def _search(
    head: re.Pattern[str], rest: re.Pattern[str] | None, value: str, at: int
) -> tuple[int, int] | None:
    """Find the first place from `at` on where head and rest fit one after the other."""
    while match := head.search(value, at):
        if rest is None:
            return match.span()
        if tail := rest.match(value, match.end()):
            return match.start(), tail.end()
        # What the rest lacks behind this beginning, it also lacks behind later ones of the line.
        at = value.find("\n", match.start()) + 1
        if not at:
            return None
    return None


@lru_cache(maxsize=256)
def _tokens(pattern: str) -> tuple[str, ...]:
    """Read a pattern: `*`, and an expression for each character; raises BuildError."""
    tokens: list[str] = []
    letters = iter(pattern)
    for letter in letters:
        if letter == "*":
            if not tokens or tokens[-1] != _STAR:
                tokens.append(_STAR)
        elif letter == "?":
            tokens.append(_ANY)
        elif letter == "\\":
            escaped = next(letters, "")
            if not escaped or escaped not in "*?\\/}":
                raise BuildError(
                    f"'\\{escaped}' means nothing in the pattern {pattern[:80]!r}",
                    hint="a backslash can stand before *, ?, \\, / and } only",
                )
            tokens.append(re.escape(escaped))
        else:
            tokens.append(re.escape(letter))
    return tuple(tokens)


def _pieces(pattern: str, value: str) -> tuple[str, ...]:
    if len(pattern) * len(value) > _MOST_WORK:
        raise BuildError(
            f"a pattern of {len(pattern)} characters is too long for a value of {len(value)}"
        )
    return _tokens(pattern)


def _split(tokens: tuple[str, ...]) -> list[str]:
    """Give the expressions between the stars; the first and the last may be empty."""
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token == _STAR:
            parts.append([])
        else:
            parts[-1].append(token)
    return ["".join(part) for part in parts]


@lru_cache(maxsize=256)
def _anchored(tokens: tuple[str, ...], longest: bool) -> re.Pattern[str]:
    parts = _split(tokens)
    return re.compile(_longest(parts) if longest else _shortest(parts))


def _shortest(parts: list[str]) -> str:
    return parts[0] + "".join(f"(?>{_ANY}*?{part})" for part in parts[1:])


def _longest(parts: list[str]) -> str:
    """Only the last star decides where the whole ends; the others leave as much as they can."""
    if len(parts) == 1:
        return parts[0]
    return f"{_shortest(parts[:-1])}{_ANY}*{parts[-1]}"
