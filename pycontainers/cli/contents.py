"""A container's files: cp, export and commit."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import pycontainers as pc
from pycontainers.cli.commands import Command, names

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def _add_cp(parser: ArgumentParser) -> None:
    parser.add_argument("-a", "--archive", action="store_true", help="keep owners")
    parser.add_argument("source", metavar="SRC", help="a path, NAME:PATH, or - for a tar archive")
    parser.add_argument("target", metavar="DST", help="a path, NAME:PATH, or - for a tar archive")


def _do_cp(args: Namespace) -> None:
    source, target = _place(args.source), _place(args.target)
    if source and not target:
        container, path = source
        if args.target != "-":
            container.copy_from(path, args.target)
            return
        refuse_terminal(sys.stdout.isatty())
        pieces, _ = container.get_archive(path)
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    elif target and not source:
        container, path = target
        if args.source == "-":
            container.put_archive(path, sys.stdin.buffer)
        else:
            container.copy_to(args.source, path, archive=args.archive)
    else:
        what = "two containers" if source else "no container"
        raise pc.InvalidArgument(
            f"cp: {what} are named", hint="write pycontainers cp NAME:PATH DST, or SRC NAME:PATH"
        )


def _place(text: str) -> tuple[pc.Container, str] | None:
    """Give the container and path of NAME:PATH; None for a path of this machine."""
    name, colon, path = text.partition(":")
    if not colon or text.startswith(("/", ".")):
        return None
    return pc.Container.get(name), path if path.startswith("/") else f"/{path}"


def refuse_terminal(is_one: bool) -> None:
    """Raise InvalidArgument where an archive would be written to a terminal."""
    if is_one:
        raise pc.InvalidArgument(
            "an archive is not for a terminal", hint="redirect the output, or use -o FILE"
        )


def _add_export(parser: ArgumentParser) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", help="instead of standard output")
    names(parser, many=False)


def _do_export(args: Namespace) -> None:
    container = pc.Container.get(args.name)
    if args.output:
        container.export(args.output)
        return
    refuse_terminal(sys.stdout.isatty())
    container.export(sys.stdout.buffer)


def _add_commit(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("-a", "--author", default="", help="who made it")
    add("-m", "--message", default="", help="what it is")
    add("-c", "--change", action="append", default=[], metavar="LINE", help="a Dockerfile's line")
    add("-p", "--pause", choices=("true", "false"), default="true", help="let it stand still")
    names(parser, many=False)
    add("reference", nargs="?", metavar="IMAGE[:TAG]")


def _do_commit(args: Namespace) -> None:
    image = pc.Container.get(args.name).commit(
        args.reference,
        changes=args.change,
        message=args.message,
        author=args.author,
        pause=args.pause == "true",
    )
    print(image.id)


COMMANDS: Final = (
    Command("cp", "copy files into and out of a container", _add_cp, _do_cp),
    Command("export", "write a container's files as a tar archive", _add_export, _do_export),
    Command("commit", "make an image of a container", _add_commit, _do_commit),
)
