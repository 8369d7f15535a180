"""The flags between an instruction's name and what it is about: `--name=value`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from typing import Final

from pycontainers.build.words import SPACES
from pycontainers.errors import BuildError

_KEYWORD: Final = re.compile(r"[\t\v\f\r ]+")
_TRUE: Final = ("1", "t", "T", "TRUE", "true", "True")
_FALSE: Final = ("0", "f", "F", "FALSE", "false", "False")
_FAR: Final = 3  # changed letters at which another word was meant
_LONG: Final = 40
_MOST_KNOWN: Final = 200


def split_instruction(text: str, escape: str) -> tuple[str, tuple[str, ...], str]:
    r"""Give an instruction's keyword, its flags and the rest, without spaces around it.

    >>> split_instruction("COPY --link --chown='a b' x y", "\\")
    ('COPY', ('--link', '--chown=a b'), 'x y')
    """
    keyword, *rest = _KEYWORD.split(text.strip(SPACES), maxsplit=1)
    flags, arguments = _flags(rest[0], escape) if rest else ([], "")
    return keyword, tuple(flags), arguments.strip(SPACES)


def _flags(text: str, escape: str) -> tuple[list[str], str]:
    """Take the words that begin with `--` from a text's beginning, up to one that is only that."""
    flags: list[str] = []
    at = 0
    while True:
        while at < len(text) and text[at] in SPACES:
            at += 1
        if not text.startswith("--", at):
            return flags, text[at:]
        word, at = _word(text, at, escape)
        if word == "--":
            return flags, text[at:]
        flags.append(word)


def _word(text: str, at: int, escape: str) -> tuple[str, int]:
    """Read a word to the next space outside quotes, without quotes and escapes."""
    letters: list[str] = []
    quote = ""
    while at < len(text):
        letter = text[at]
        at += 1
        if letter == quote:
            quote = ""
        elif not quote and letter in SPACES:
            return "".join(letters), at - 1
        elif not quote and letter in "'\"":
            quote = letter
        elif letter == escape:
            letters.append(text[at : at + 1])
            at += 1
        else:
            letters.append(letter)
    return "".join(letters), at


class Flags:
    """An instruction's flags, as those that it knows; raises BuildError for others and repeated.

    `single` have one value, `several` may be repeated, `switches` are on or off.

    >>> Flags("COPY", ("--from=build",), single=("from",)).one("from")
    'build'
    """

    def __init__(
        self,
        instruction: str,
        written: Iterable[str],
        *,
        single: tuple[str, ...] = (),
        several: tuple[str, ...] = (),
        switches: tuple[str, ...] = (),
    ) -> None:
        self._values: dict[str, list[str]] = {}
        self._switches: dict[str, bool] = {}
        for flag in written:
            name, equals, value = flag[2:].partition("=")
            near = f"--{name}"
            if name not in (*single, *several, *switches):
                meant = guess(name, (*single, *several, *switches), "--")
                raise BuildError(f"{instruction} has no flag --{name[:80]}", near=near, hint=meant)
            if name in self._switches or (name in self._values and name not in several):
                raise BuildError(f"{instruction} has the flag --{name} twice", near=near)
            if name in switches:
                said = value.lower() if equals else "true"
                if said not in ("true", "false"):
                    raise BuildError(f"--{name} is true or false, not {value[:40]!r}", near=near)
                self._switches[name] = said == "true"
            elif not equals:
                raise BuildError(f"--{name} of {instruction} needs a value", near=near)
            else:
                self._values.setdefault(name, []).append(value)

    def one(self, name: str, default: str = "") -> str:
        """Give a flag's value."""
        return self._values.get(name, [default])[0]

    def all(self, name: str) -> tuple[str, ...]:
        """Give all values of a flag that may be repeated."""
        return tuple(self._values.get(name, ()))

    def switch(self, name: str) -> bool | None:
        """Tell whether a switch is on; None if nothing is said."""
        return self._switches.get(name)


def truth(value: str, near: str) -> bool:
    """Read a boolean as Go does; raises BuildError.

    >>> truth("F", "ro=F")
    False
    """
    if value not in _TRUE and value not in _FALSE:
        raise BuildError(f"{value[:40]!r} is neither true nor false", near=near)
    return value in _TRUE


def guess(word: str, known: Iterable[str], prefix: str = "") -> str | None:
    """Give the hint that a known word was meant, or None where none is near.

    >>> guess("form", ["from", "chown"], "--")
    'did you mean --from?'
    """
    found = nearest(word, known)
    return f"did you mean {prefix}{found}?" if found else None


def nearest(word: str, known: Iterable[str]) -> str:
    """Give the known word that at most two changes of letters lead to, or nothing.

    >>> nearest("TARGETPLATFROM", ["TARGETPLATFORM", "PATH"])
    'TARGETPLATFORM'
    """
    best, least = "", _FAR
    if len(word) <= _LONG:
        for other in islice(known, _MOST_KNOWN):
            if other != word and abs(len(other) - len(word)) < least:
                changes = _distance(word, other)
                if changes < least:
                    best, least = other, changes
    return best


def _distance(one: str, other: str) -> int:
    """Count the letters to insert, delete or replace between two short words."""
    before = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        now = [row]
        for column, against in enumerate(other, 1):
            now.append(
                min(before[column] + 1, now[-1] + 1, before[column - 1] + (letter != against))
            )
        if min(now) >= _FAR:
            return _FAR
        before = now
    return before[-1]
