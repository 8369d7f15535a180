"""The flags of `run` about mounts: -v, --mount, --volumes-from and --tmpfs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import pycontainers as pc
from pycontainers.cli import flags

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from pycontainers.lifecycle.mounts import Propagation
    from pycontainers.lifecycle.options import RunOptions

_NAMES: Final = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly",
                 "tmpfs-size": "size", "tmpfs-mode": "mode", "bind-propagation": "propagation",
                 "bind-create-src": "create", "volume-nocopy": "nocopy",
                 "volume-subpath": "subpath", "image-subpath": "subpath"}  # fmt: skip
_KNOWN: Final = {  # type: its keys beside type and target
    "bind": {"source", "readonly", "propagation", "create"},
    "volume": {"source", "readonly", "nocopy", "subpath"},
    "image": {"source", "subpath"},
    "tmpfs": {"size", "mode"},
}


def add_options(parser: ArgumentParser) -> None:
    """Let a command take what a container is created with, as to mounts."""

    def several(*flags: str, dest: str, metavar: str, help: str) -> None:
        parser.add_argument(
            *flags, dest=dest, action="append", default=[], metavar=metavar, help=help
        )

    several("-v", "--volume", dest="volumes", metavar="[SOURCE:]TARGET[:ro]",
            help="mount a volume, or a path of the host, which begins with / or .")  # fmt: skip
    several("--mount", dest="mounts", metavar="type=…,src=…,dst=…",
            help="mount a volume, a bind, an image or a tmpfs")  # fmt: skip
    several("--volumes-from", dest="volumes_from", metavar="CONTAINER[:ro]",
            help="mount the volumes and binds of another container")  # fmt: skip
    several("--tmpfs", dest="tmpfs", metavar="PATH[:size=…]", help="mount a tmpfs")


def options(args: Namespace) -> RunOptions:
    """Give the options that the flags mean; raises InvalidArgument."""
    mounts = [*map(_mount, args.mounts), *map(_tmpfs, args.tmpfs)]
    found = {
        "volumes": [*map(_whole, args.volumes)],
        "volumes_from": args.volumes_from,
        "mounts": mounts,
    }
    return cast("RunOptions", found)


def _whole(text: str) -> str:
    """Give the text of a volume with the whole path of a directory that is named from here."""
    source, colon, rest = text.partition(":")
    if not colon or not source.startswith((".", "~")):
        return text
    return f"{Path(source).expanduser().absolute()}:{rest}"


def _mount(text: str) -> pc.Mount:
    given = flags.pairs("--mount", text.split(","), empty=True)
    known = {_NAMES.get(key, key): value for key, value in given.items()}
    kind, target = known.pop("type", "volume"), known.pop("target", "")
    if kind not in _KNOWN:
        raise pc.InvalidArgument(f"--mount: there is no type {kind!r}",
                                 hint=f"there are {', '.join(_KNOWN)}")  # fmt: skip
    if unknown := known.keys() - _KNOWN[kind]:
        raise pc.InvalidArgument(f"--mount: there is no {sorted(unknown)[0]!r} of a {kind}")
    if kind == "tmpfs":
        return _memory(target, known)
    source, subpath = known.get("source", ""), known.get("subpath")
    if kind == "image":
        return pc.Mount.image(source, target, subpath=subpath)
    read_only = _truth("readonly", known)
    if kind == "volume":
        nocopy = _truth("nocopy", known)
        return pc.Mount.volume(
            source or None, target, read_only=read_only, nocopy=nocopy, subpath=subpath
        )
    propagation = known.get("propagation", "private").removeprefix("r")
    return pc.Mount.bind(
        Path(source).expanduser(),
        target,
        read_only=read_only,
        propagation=cast("Propagation", propagation),
        create_source=_truth("create", known),
    )


def _truth(name: str, given: dict[str, str]) -> bool:
    value = given.get(name, "false")
    if value not in ("", "true", "false", "1", "0"):
        raise pc.InvalidArgument(f"--mount: {name}: {value!r} is neither true nor false")
    return value in ("", "true", "1")


def _tmpfs(text: str) -> pc.Mount:
    target, _, rest = text.partition(":")
    given = flags.pairs("--tmpfs", [item for item in rest.split(",") if item], empty=True)
    if unknown := given.keys() - {"size", "mode", "rw"}:
        raise pc.InvalidArgument(f"--tmpfs: there is no {sorted(unknown)[0]!r}")
    return _memory(target, given)


def _memory(target: str, given: dict[str, str]) -> pc.Mount:
    mode = given.get("mode", "1777")
    if not mode or set(mode) - set("01234567"):
        raise pc.InvalidArgument(f"the mode {mode!r} of a tmpfs is no octal number")
    return pc.Mount.tmpfs(target, size=given.get("size"), mode=int(mode, 8))
