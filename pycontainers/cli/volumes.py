"""Volumes: create, ls, inspect, rm and prune."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import pycontainers as pc
from pycontainers.cli import flags, tables
from pycontainers.cli.commands import Command, agreed, each_name, names
from pycontainers.cli.containers import add_prune
from pycontainers.cli.looking import add_inspect, inspect

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_VOLUMES: Final = {"VOLUME NAME": "Name", "SIZE": "Size", "CONTAINERS": "Containers"}


def _add_create(parser: ArgumentParser) -> None:
    parser.add_argument("--label", action="append", default=[], metavar="KEY[=VALUE]")
    parser.add_argument("--size", metavar="SIZE", help="have a file system of so many bytes")
    parser.add_argument("name", nargs="?", metavar="VOLUME", help="by default 64 random digits")


def _do_create(args: Namespace) -> None:
    labels = flags.pairs("--label", args.label, empty=True)
    print(pc.Volume.create(args.name, labels=labels, size=args.size).name)


def _add_ls(parser: ArgumentParser) -> None:
    flags.add_filter(parser)
    tables.add_format(parser, quiet=True)


def _do_ls(args: Namespace) -> None:
    rows = []
    for volume in pc.Volume.list(filters=flags.filters(args.filter)):
        with contextlib.suppress(pc.VolumeNotFound):  # removed meanwhile
            rows.append(
                {
                    "ID": volume.name,
                    "Name": volume.name,
                    "Size": tables.size(volume.size, base=1024) if volume.size else "",
                    "Containers": str(len(volume.containers)),
                    "CreatedAt": tables.date(volume.created),
                    "Labels": ",".join(f"{key}={value}" for key, value in volume.labels.items()),
                }
            )
    tables.show(rows, _VOLUMES, args)


def _add_inspect(parser: ArgumentParser) -> None:
    add_inspect(parser, what="volume")


def _do_inspect(args: Namespace) -> int:
    return inspect(args, lambda name: pc.Volume.get(name).attrs)


def _add_rm(parser: ArgumentParser) -> None:
    parser.add_argument("-f", "--force", action="store_true", help="gone is fine")
    names(parser, what="volume")


def _do_rm(args: Namespace) -> int:
    root = pc.Engine().root
    return each_name(args.names, lambda name: pc.Volume(root, name).remove(missing_ok=args.force))


def _add_prune(parser: ArgumentParser) -> None:
    add_prune(parser)
    parser.add_argument("-a", "--all", action="store_true", help="those with a name too")
    parser.add_argument("--filter", action="append", default=[], metavar="KEY=VALUE")


def _do_prune(args: Namespace) -> int:
    what = "all volumes" if args.all else "all volumes without a name"
    if not agreed(args, f"{what} that no container uses"):
        return 1
    for name in pc.Volume.prune(all=args.all, filters=flags.filters(args.filter)):
        print(name)
    return 0


COMMANDS: Final = (
    Command("volume create", "make a volume", _add_create, _do_create),
    Command("volume ls", "list volumes", _add_ls, _do_ls),
    Command("volume inspect", "print all that is known of volumes", _add_inspect, _do_inspect),
    Command("volume rm", "remove volumes", _add_rm, _do_rm),
    Command("volume prune", "remove those that no container uses", _add_prune, _do_prune),
)
