"""All of it: system prune, system df, info and version."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

import pycontainers as pc
from pycontainers.cli import flags, tables
from pycontainers.cli.commands import Command, agreed, nothing
from pycontainers.cli.containers import add_prune

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_DF: Final = {"TYPE": "Type", "TOTAL": "TotalCount", "ACTIVE": "Active", "SIZE": "Size"}
_VERSION: Final = {"PYCONTAINERS": "Version", "PYTHON": "Python", "KERNEL": "KernelVersion",
                   "OS/ARCH": "Platform", "DATA ROOT": "Root"}  # fmt: skip


def _add_prune(parser: ArgumentParser) -> None:
    add_prune(parser)
    parser.add_argument("-a", "--all", action="store_true", help="all images that are not used")
    parser.add_argument("--volumes", action="store_true", help="volumes without a name too")
    parser.add_argument("--filter", action="append", default=[], metavar="KEY=VALUE",
                        help="only containers that fit")  # fmt: skip


def _do_prune(args: Namespace) -> int:
    images = "that no container uses" if args.all else "without a tag"
    networks = "all networks that no container is in"
    volumes = ", all volumes without a name that no container uses" if args.volumes else ""
    builds = "the build cache" if args.all else "the build cache that no image shares"
    if not agreed(
        args,
        f"all containers that do not run, {networks}{volumes}, {builds}, and all images {images}",
    ):
        return 1
    removed = pc.Container.prune(filters=flags.filters(args.filter))
    if removed:
        print("Deleted Containers:", *removed, "", sep="\n")
    if unused := pc.Network.prune():
        print("Deleted Networks:", *unused, "", sep="\n")
    if args.volumes and (nameless := pc.Volume.prune()):
        print("Deleted Volumes:", *nameless, "", sep="\n")
    freed = pc.Image.prune(all=args.all).bytes
    # After the images: what only these had is then nobody's.
    freed += sum(one.reclaimable for one in pc.Image.prune_builds(all=args.all))
    print(f"Total reclaimed space: {tables.size(freed)}")
    return 0


def _do_df(args: Namespace) -> None:
    containers = pc.Container.list(all=True)
    running = sum(one.status in ("running", "paused", "restarting") for one in containers)
    used = {container.image for container in containers}
    images, volumes, builds = pc.Image.list(), pc.Volume.list(), pc.Image.build_cache()
    rows = [
        {
            "Type": "Images",
            "TotalCount": str(len(images)),
            "Active": str(sum(image.id in used for image in images)),
            "Size": tables.size(sum(image.size for image in images)),
        },
        {
            "Type": "Containers",
            "TotalCount": str(len(containers)),
            "Active": str(running),
            "Size": "--",
        },
        {
            "Type": "Local Volumes",
            "TotalCount": str(len(volumes)),
            "Active": str(sum(bool(volume.containers) for volume in volumes)),
            "Size": tables.size(sum(volume.usage() for volume in volumes)),
        },
        {
            "Type": "Build Cache",
            "TotalCount": str(len(builds)),
            "Active": str(sum(one.shared for one in builds)),
            "Size": tables.size(sum(one.size for one in builds)),
        },
    ]
    tables.show(rows, _DF, args)


def _do_info(_: Namespace) -> int:
    report = pc.doctor()
    print(report)
    return 0 if report.ok else 1


def _do_version(args: Namespace) -> None:
    uname = platform.uname()
    row = {
        "Version": pc.__version__,
        "Python": platform.python_version(),
        "KernelVersion": uname.release,
        "Platform": f"linux/{uname.machine}",
        "Root": pc.Engine().root,
    }
    tables.show([row], _VERSION, args)


COMMANDS: Final = (
    Command("system prune", "remove what nobody needs", _add_prune, _do_prune),
    Command("system df", "tell how much there is", tables.add_format, _do_df),
    Command("info", "tell what this machine can do", nothing, _do_info),
    Command("version", "tell the versions", tables.add_format, _do_version),
)
