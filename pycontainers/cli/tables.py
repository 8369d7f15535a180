"""What lists print: a table, one JSON object a line, a template's lines, or ids alone."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pycontainers as pc

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping, Sequence

_FIELD: Final = re.compile(r"\{\{\s*(json\s+)?\.([\w.-]*)\s*\}\}")
_AGES: Final = (("year", 31536000), ("month", 2592000), ("week", 604800), ("day", 86400),
                ("hour", 3600), ("minute", 60), ("second", 1))  # fmt: skip
_SHORT: Final = 12
_LONGEST: Final = 20  # characters of a command


def add_format(parser: ArgumentParser, *, quiet: bool = False, truncates: bool = False) -> None:
    """Let a command take `--format`, and what else lists have."""
    parser.add_argument(
        "--format", metavar="FORMAT", help="json, table, or a template as '{{.ID}}'"
    )
    if quiet:
        parser.add_argument("-q", "--quiet", action="store_true", help="only the ids")
    if truncates:
        parser.add_argument("--no-trunc", action="store_true", help="shorten nothing")


def show(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], args: Namespace) -> None:
    """Print rows as the command was asked to: `columns` are the table's heads and their keys."""
    if getattr(args, "quiet", False):
        for row in rows:
            print(row["ID"])
    elif args.format == "json":
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    elif args.format not in (None, "", "table"):
        for row in rows:
            print(fill(args.format, row))
    else:
        cells = [[printable(str(row[key])) for key in columns.values()] for row in rows]
        _table(list(columns), cells)


def fill(template: str, row: Mapping[str, Any]) -> str:
    """Put a row's values into a template; raises InvalidArgument for a field that there is not.

    >>> fill("{{.ID}} is {{ .State.Status }}", {"ID": "3f", "State": {"Status": "up"}})
    '3f is up'
    """

    def value(match: re.Match[str]) -> str:
        found: Any = row
        for name in filter(None, match[2].split(".")):
            if not isinstance(found, dict) or name not in found:
                known = ", ".join(map(str, found)) if isinstance(found, dict) else ""
                raise pc.InvalidArgument(
                    f"--format: there is no {match[0]}", hint=f"there are {known}"
                )
            found = found[name]
        if match[1] or isinstance(found, dict | list | tuple):
            return json.dumps(found, ensure_ascii=False)
        return str(found)

    text = template.replace("\\t", "\t").replace("\\n", "\n")
    filled = _FIELD.sub(value, text)
    if "{{" in _FIELD.sub("", text):
        raise pc.InvalidArgument(
            f"--format: {template!r} is no template that is understood",
            hint="'json', or fields as '{{.ID}}' and '{{json .Labels}}'",
        )
    return filled


def _table(heads: list[str], cells: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    if sys.stdout.isatty() and _drawn(heads, cells, sum(widths) + 3 * len(widths)):
        return
    for row in (heads, *cells):
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("   ".join(padded).rstrip())


def _drawn(heads: list[str], cells: list[list[str]], width: int) -> bool:
    """Draw the table with rich, as wide as it is: ids stay in one piece where the terminal folds.

    False where rich is not installed.
    """
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    Console(width=width).print(table)
    return True


def printable(text: str) -> str:
    r"""Escape what would move a terminal's cursor: names and commands are others' texts.

    >>> printable("a\x1b[2J")
    'a\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def short(identity: str, args: Namespace | None = None) -> str:
    """Shorten an id, unless `--no-trunc` is given."""
    if args is not None and getattr(args, "no_trunc", False):
        return identity
    return identity.removeprefix("sha256:")[:_SHORT]


def command(words: Sequence[str], args: Namespace) -> str:
    """Give a command line in quotation marks, shortened as Docker does."""
    text = " ".join(words)
    if not args.no_trunc and len(text) > _LONGEST:
        text = text[: _LONGEST - 1] + "…"
    return f'"{text}"'


class _Ports(NamedTuple):
    """Successive ports of one of the host's addresses: `more` after the first."""

    protocol: str
    address: str
    host: int
    inside: int
    more: int = 0

    def __str__(self) -> str:
        host, inside = (_range(first, first + self.more) for first in (self.host, self.inside))
        return f"{end(self.address, host)}->{inside}/{self.protocol}"


def ports(published: Mapping[str, Sequence[tuple[str, int]]]) -> str:
    """Give what a container publishes as Docker's ps does, with a range for successive ports.

    >>> ports({"80/tcp": [("::", 8080)], "81/tcp": [("::", 8081)], "53/udp": [("::1", 53)]})
    '[::1]:53->53/udp, [::]:8080-8081->80-81/tcp'
    """
    found: list[_Ports] = []
    for one in sorted(
        _Ports(protocol, address, host, int(number))
        for number, _, protocol in (key.partition("/") for key in published)
        for address, host in published[f"{number}/{protocol}"]
    ):
        if found and one == found[-1]._replace(host=one.host, inside=one.inside, more=0):
            step = found[-1].more + 1
            if (one.host, one.inside) == (found[-1].host + step, found[-1].inside + step):
                found[-1] = found[-1]._replace(more=step)
                continue
        found.append(one)
    return ", ".join(map(str, sorted(found, key=lambda one: (one.inside, one.protocol))))


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def end(address: str, port: int | str) -> str:
    """Give an address and a port as one text, IPv6 in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def span(seconds: float) -> str:
    """Give a duration in its largest unit.

    >>> span(7300), span(0.2)
    ('2 hours', 'Less than a second')
    """
    for unit, length in _AGES:
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "Less than a second"


def ago(moment: float | None) -> str:
    """Tell how long ago a moment was."""
    return "" if moment is None else f"{span(max(0.0, time.time() - moment))} ago"


def date(moment: float | None) -> str:
    """Give a moment as RFC 3339 writes it."""
    if moment is None:
        return ""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def size(count: float | None, *, base: int = 1000) -> str:
    """Give a number of bytes with its unit, in powers of 1000 (kB) or of 1024 (KiB).

    >>> size(1500), size(1 << 20, base=1024)
    ('1.5kB', '1MiB')
    """
    if count is None:
        return "--"
    units = ("B", "kB", "MB", "GB", "TB") if base == 1000 else ("B", "KiB", "MiB", "GiB", "TiB")
    number = float(count)
    for unit in units[:-1]:
        if number < base:
            return f"{number:.4g}{unit}"
        number /= base
    return f"{number:.4g}{units[-1]}"
