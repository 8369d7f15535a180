"""The program `pycontainers`: finds the command, and tells of errors with Docker's exit codes."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from typing import TYPE_CHECKING, Final, NoReturn

import pycontainers as pc
from pycontainers.cli import (
    building,
    containers,
    contents,
    images,
    looking,
    networks,
    running,
    system,
    volumes,
)
from pycontainers.cli.commands import complain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pycontainers.cli.commands import Command

_USAGE: Final = 125
_INTERRUPTED: Final = 130
_BROKEN_PIPE: Final = 141
_OWN_DASH_H: Final = ("run", "create")  # whose -h is the host name, as Docker's

_COMMANDS: Final[dict[str, Command]] = {
    command.name: command
    for command in (
        *running.COMMANDS,
        *containers.COMMANDS,
        *looking.COMMANDS,
        *contents.COMMANDS,
        *images.COMMANDS,
        *building.COMMANDS,
        *networks.COMMANDS,
        *volumes.COMMANDS,
        *system.COMMANDS,
    )
}
_GROUPS: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "container": (
        "commands on containers",
        {name: name for name in "run create start stop restart kill pause unpause wait rm logs "
         "attach exec stats top diff port cp export commit rename update".split()}
        | {"ls": "ps", "inspect": "inspect", "prune": "container prune"},
    ),
    "image": (
        "commands on images",
        {name: name for name in "build pull push tag load save import history".split()}
        | {"ls": "images", "rm": "rmi", "prune": "image prune", "inspect": "image inspect"},
    ),
    "builder": (
        "commands on builds, and what they keep",
        {"build": "build", "ls": "builder ls", "du": "builder ls", "prune": "builder prune"},
    ),
    "network": (
        "commands on networks",
        {name: f"network {name}"
         for name in "create ls inspect rm prune connect disconnect".split()},
    ),
    "volume": (
        "commands on volumes",
        {name: f"volume {name}" for name in "create ls inspect rm prune".split()},
    ),
    "system": (
        "commands on all of it",
        {"prune": "system prune", "df": "system df", "info": "info", "events": "events"},
    ),
}  # fmt: skip


class Parser(argparse.ArgumentParser):
    """A parser that ends with Docker's exit code for arguments that can't be used."""

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong with the arguments, and end."""
        print(f"pycontainers: {message}", file=sys.stderr)
        print(f"  see '{self.prog} --help'", file=sys.stderr)
        sys.exit(_USAGE)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say and give the exit code.

    That of the program for `run`, `exec` and others; 125 where `run` fails by itself or the
    arguments can't be used, 126 where the command can't be executed, 127 where there is none, 130
    after Ctrl-C, and 1 for other failures.
    """
    args = _parser().parse_args(argv)
    if args.root:
        os.environ["PYCONTAINERS_ROOT"] = args.root
    try:
        code = args.command.act(args) or 0
        sys.stdout.flush()
        return int(code)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # What is left in the buffer has nowhere to go, also when Python flushes it at its end.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _BROKEN_PIPE
    except (pc.PyContainersError, OSError) as error:
        if args.debug:
            traceback.print_exc()
        else:
            with contextlib.suppress(OSError):  # the terminal may have gone
                complain(error)
        return _code(error, args.command)


def _code(error: Exception, command: Command) -> int:
    if isinstance(error, pc.CommandNotFound):
        return 127
    if isinstance(error, pc.PermissionDenied | pc.BadExecutable):
        return 126
    return command.failure


def _parser() -> Parser:
    parser = Parser(
        prog="pycontainers",
        description="Containers without a daemon: docker's commands, as far as they are there.",
        allow_abbrev=False,
    )
    parser.add_argument("--root", metavar="DIR", help="the data root, instead of PYCONTAINERS_ROOT")
    parser.add_argument("-D", "--debug", action="store_true", help="show where an error came from")
    parser.add_argument(
        "-v", "--version", action="version", version=f"pycontainers {pc.__version__}"
    )
    words = parser.add_subparsers(metavar="COMMAND", required=True)
    _add(words, {name: name for name in _COMMANDS if " " not in name})
    for name, (text, members) in _GROUPS.items():
        group = words.add_parser(name, help=text, description=text, allow_abbrev=False)
        _add(group.add_subparsers(metavar="COMMAND", required=True), members)
    return parser


def _add(words: argparse._SubParsersAction[Parser], members: Mapping[str, str]) -> None:
    """Add commands: the words for them, and which they are."""
    for word, name in sorted(members.items()):
        command = _COMMANDS[name]
        parser = words.add_parser(
            word, help=command.help, description=command.help, allow_abbrev=False, add_help=False
        )
        flags = ("--help",) if name in _OWN_DASH_H else ("-h", "--help")
        parser.add_argument(*flags, action="help", help="show this help")
        command.arguments(parser)
        parser.set_defaults(command=command)
