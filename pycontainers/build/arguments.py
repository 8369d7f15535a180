"""What stands behind an instruction's flags: words, pairs, JSON lists, durations."""

from __future__ import annotations

import json
import re
from typing import Final

from pycontainers.build.instructions import Command, Pair
from pycontainers.build.lines import Heredoc, heredoc_of
from pycontainers.build.words import SPACES
from pycontainers.errors import BuildError

_BLANKS: Final = re.compile(r"[\t\v\f\r ]+")
_WORD: Final = re.compile(f"[^{SPACES}]+")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_DURATION: Final = re.compile(r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+")
_AMOUNT: Final = re.compile(r"([0-9]*)\.?([0-9]*)([a-zµμ]+)")
_NANOSECONDS: Final = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 1000**2, "s": 1000**3,
                       "m": 60 * 1000**3, "h": 3600 * 1000**3}  # fmt: skip
_LEAST: Final = 1_000_000
_MOST: Final = (1 << 63) - 1


def blank_separated(rest: str) -> tuple[str, ...]:
    """Split at blanks, without a thought for quotes."""
    return tuple(_BLANKS.split(rest)) if rest else ()


def quoted_words(rest: str, escape: str) -> list[str]:
    r"""Split at spaces outside quotes; quotes and escapes stay.

    >>> quoted_words(r"a='1 2' b=3\ 4", "\\")
    ["a='1 2'", 'b=3\\ 4']
    """
    if not any(special in rest for special in ("'", '"', escape)):
        return _WORD.findall(rest)
    words: list[str] = []
    word: list[str] = []
    quote, at = "", 0
    while at < len(rest):
        letter = rest[at]
        at += 1
        if not quote and letter in SPACES:
            words.append("".join(word))
            word.clear()
            continue
        if letter == escape and quote != "'":
            if at == len(rest):
                break  # an escape character at the very end means nothing
            letter += rest[at]
            at += 1
        elif letter == quote:
            quote = ""
        elif not quote and letter in "'\"":
            quote = letter
        word.append(letter)
    words.append("".join(word))
    return [word for word in words if word]


def pairs(instruction: str, rest: str, escape: str) -> tuple[Pair, ...]:
    r"""Read `name=value …`, or the old form `name value`; raises BuildError.

    >>> pairs("ENV", "name some value", "\\")
    (Pair(name='name', value='some value', legacy=True),)
    """
    words = quoted_words(rest, escape)
    if not words:
        raise BuildError(f"{instruction} needs a name and a value")
    if "=" not in words[0]:
        name, *value = _BLANKS.split(rest, maxsplit=1)
        if not value:
            raise BuildError(
                f"{instruction} needs a value for {name[:80]!r}", hint=f"{instruction} name=value"
            )
        return (Pair(name, value[0], legacy=True),)
    found = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise BuildError(
                f"{word[:80]!r} is not of the form name=value",
                near=word,
                hint="a value with spaces needs quotes",
            )
        if not name:
            raise BuildError(f"{instruction} needs a name before '='", near=word)
        found.append(Pair(name, text))
    return tuple(found)


def json_list(rest: str) -> tuple[str, ...] | None:
    """Read a JSON list of texts; None for what is no JSON list.

    Raises BuildError for a list with anything else in it.

    >>> json_list('["a", "b"]')
    ('a', 'b')
    """
    rest = rest.lstrip(SPACES)
    if not rest.startswith("["):
        return None
    try:
        found = json.loads(rest, parse_int=_number, parse_float=_number, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in found):
        raise BuildError("a list in JSON has texts only", near=rest)
    # Go has no halves of surrogate pairs in a text, and neither have arguments of a program.
    return tuple(_SURROGATE.sub("\ufffd", item) for item in found)


def _number(_text: str) -> int:
    """Read any number as one: it is refused, however long it is."""
    return 0


def _refused(text: str) -> object:
    raise ValueError(text)  # NaN and Infinity, which Python's reader knows and JSON does not


def command(rest: str) -> Command:
    """Read the arguments of a program as JSON, or else a text for a shell; raises BuildError."""
    found = json_list(rest)
    return rest if found is None else found


def listed(rest: str) -> tuple[str, ...]:
    """Read a list as JSON, or else split at blanks; raises BuildError."""
    found = json_list(rest)
    return blank_separated(rest) if found is None else found


def sources(
    instruction: str, rest: str, heredocs: tuple[Heredoc, ...]
) -> tuple[tuple[str, ...], str, tuple[Heredoc, ...]]:
    """Read paths to copy, the destination, and the heredocs among the paths; raises BuildError."""
    *paths, destination = listed(rest) or ("",)
    if not paths:
        raise BuildError(f"{instruction} needs at least a source and a destination")
    if heredoc_of(destination):
        raise BuildError(f"{instruction} can't copy to a heredoc", near=destination)
    known = {heredoc.name: heredoc for heredoc in heredocs}
    documents = [(path, heredoc_of(path)) for path in paths]
    return (
        tuple(path for path, heredoc in documents if heredoc is None),
        destination,
        tuple(known.get(heredoc.name, heredoc) for _, heredoc in documents if heredoc),
    )


def duration(flag: str, value: str) -> int:
    """Read a duration as Go does, in nanoseconds; 0 for none.

    Raises BuildError for what is none, and for less than a millisecond.

    >>> duration("--interval", "1m30s")
    90000000000
    """
    if value in ("", "0", "+0", "-0"):
        return 0
    if not _DURATION.fullmatch(value):
        raise BuildError(
            f"{value[:40]!r} is no duration", near=flag, hint="as 30s, 1m30s, 500ms or 1h"
        )
    total = 0
    for whole, fraction, unit in _AMOUNT.findall(value):
        if len(whole) > 19:
            total = _MOST + 1
            break
        scale = _NANOSECONDS[unit]
        total += int(whole or "0") * scale
        total += int(fraction[:18] or "0") * scale // 10 ** len(fraction[:18])
    if value.startswith("-") or 0 < total < _LEAST:
        raise BuildError(f"{flag} is at least 1ms, not {value[:40]}", near=flag)
    if total > _MOST:
        raise BuildError(f"{value[:40]!r} is too long a duration", near=flag)
    return total
