"""Modes as chmod(1) takes them: what `u+x,g=rw` makes of a file's mode."""

from __future__ import annotations

import re
from typing import Final

from pycontainers.errors import InvalidArgument

_CLAUSE: Final = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION: Final = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_WHO: Final = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": 0o7777}
_SHIFT: Final = {"u": 6, "g": 3, "o": 0}
_BITS: Final = {"r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000}


def check(text: str) -> None:
    """Raise InvalidArgument for what is neither octal, up to 7777, nor symbolic.

    >>> check("0755"); check("u=rwX,go-w")
    """
    if not _octal(text) and not all(map(_CLAUSE.fullmatch, text.split(","))):
        raise InvalidArgument(
            f"no mode for files: {text!r}",
            hint="it is octal, from 0 to 7777, or symbolic, as u=rwX,go=rX",
        )


def octal(text: str) -> int | None:
    """Give an octal mode's number; None for a symbolic one.

    >>> octal("640"), octal("u+x")
    (416, None)
    """
    return int(text, 8) if _octal(text) else None


def changed(mode: int, text: str, *, directory: bool) -> int:
    """Give the permission bits that a mode makes of those of a file; no umask counts.

    `X` goes by what the file was.

    >>> oct(changed(0o644, "a+X,u+x", directory=False)), oct(changed(0o744, "a+X", directory=False))
    ('0o744', '0o755')
    """
    number = octal(text)
    if number is not None:
        return number
    mode &= 0o7777
    executable = directory or bool(mode & 0o111)
    for clause in text.split(","):
        found = _CLAUSE.fullmatch(clause)
        if found is None:
            raise InvalidArgument(f"no mode for files: {text!r}")
        who = found[1] or "a"
        mask = 0
        for letter in who:
            mask |= _WHO[letter]
        for operator, letters in _ACTION.findall(found[2]):
            bits = _bits(letters, mode, executable) & mask
            if "t" in letters and "o" not in who and "a" not in who:
                bits &= ~0o1000
            if operator == "+":
                mode |= bits
            elif operator == "-":
                mode &= ~bits
            else:
                mode = mode & ~mask | bits
    return mode


def _bits(letters: str, mode: int, executable: bool) -> int:
    if letters in _SHIFT:
        return (mode >> _SHIFT[letters] & 7) * 0o111
    bits = 0
    for letter in letters:
        if letter == "X":
            bits |= 0o111 if executable else 0
        else:
            bits |= _BITS[letter]
    return bits


def _octal(text: str) -> bool:
    return re.fullmatch("[0-7]{1,7}", text) is not None and int(text, 8) <= 0o7777
