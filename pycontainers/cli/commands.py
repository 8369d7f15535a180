"""What a command of the command line is, and what most of them have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import pycontainers as pc

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


class Command(NamedTuple):
    """A command: its words, a line of help, its arguments, and what it does.

    `act` gives the exit code, None being 0; `failure` is that of our own errors.
    """

    name: str
    help: str
    arguments: Callable[[ArgumentParser], None]
    act: Callable[[Namespace], int | None]
    failure: int = 1


def nothing(_: ArgumentParser) -> None:
    """Take no arguments."""


def complain(error: BaseException) -> None:
    """Tell of an error on standard error, with its hint."""
    text = str(error) or type(error).__name__
    print(f"pycontainers: {text}", file=sys.stderr)


def each(names: Iterable[str], act: Callable[[pc.Container], object], *, tell: bool = True) -> int:
    """Do something with each container, as `each_name` does."""
    return each_name(names, lambda name: act(pc.Container.get(name)), tell=tell)


def each_name(names: Iterable[str], act: Callable[[str], object], *, tell: bool = True) -> int:
    """Do something with each name and print it; one that fails keeps no other from it.

    Gives the exit code.
    """
    failed = False
    for name in names:
        try:
            act(name)
        except pc.PyContainersError as error:
            complain(error)
            failed = True
        else:
            if tell:
                print(name)
    return int(failed)


def names(parser: ArgumentParser, *, many: bool = True, what: str = "container") -> None:
    """Let a command take containers, or others, by name."""
    if many:
        parser.add_argument("names", nargs="+", metavar=what.upper())
    else:
        parser.add_argument("name", metavar=what.upper())


def agreed(args: Namespace, warning: str) -> bool:
    """Ask the user whether to go on, unless `--force` says so."""
    if args.force:
        return True
    print(f"WARNING! This will remove {warning}.")
    try:
        answer = input("Are you sure you want to continue? [y/N] ")
    except EOFError:
        print()
        return False
    return answer.strip().lower() in ("y", "yes")
