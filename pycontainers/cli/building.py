"""Building: build, and what builds keep."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pycontainers as pc
from pycontainers.cli import flags, tables
from pycontainers.cli.commands import Command, agreed
from pycontainers.cli.containers import add_prune

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable

_RECORDS: Final = {"ID": "ID", "TYPE": "Type", "RECLAIMABLE": "Reclaimable", "SIZE": "Size",
                   "LAST ACCESSED": "LastUsedSince", "DESCRIPTION": "Description"}  # fmt: skip
_LONGEST: Final = 45  # characters of a description
_PROGRESS: Final[dict[str, bool | None]] = {
    "auto": None, "tty": None, "plain": True, "quiet": False, "none": False,
}  # fmt: skip
_INSECURE: Final = "security.insecure"
_HOST_NETWORK: Final = "network.host"


def _add_build(parser: ArgumentParser) -> None:
    add = parser.add_argument

    def several(*flags: str, dest: str, metavar: str, help: str) -> None:
        add(*flags, dest=dest, action="append", default=[], metavar=metavar, help=help)

    several("-t", "--tag", dest="tags", metavar="NAME[:TAG]", help="a reference of the image")
    several("--build-arg", dest="build_args", metavar="NAME[=VALUE]", help="a value for an ARG")
    several("--build-context", dest="contexts", metavar="NAME=DIR|URL|docker-image://REFERENCE",
            help="another context, or an image, for FROM and --from")  # fmt: skip
    several("--secret", dest="secrets", metavar="id=ID[,src=FILE|,env=NAME]",
            help="what RUN --mount=type=secret gets")  # fmt: skip
    several("--ssh", dest="ssh", metavar="default|ID[=SOCKET]", help="an agent's socket")
    several("--label", dest="labels", metavar="KEY[=VALUE]", help="a label of the image")
    several("--allow", dest="allow", metavar="RIGHT", help="security.insecure")
    several("--cache-from", dest="cache_from", metavar="REFERENCE|type=local,src=DIR",
            help="what other data roots have built")  # fmt: skip
    add("--cache-to", metavar="REFERENCE|type=local,dest=DIR", help="where to put what was built")
    add("-f", "--file", metavar="FILE", help="the Dockerfile; - is standard input")
    add("--target", metavar="STAGE", help="the stage to build")
    add("--platform", metavar="OS/ARCH[,…]", help="as linux/arm64; an image for each")
    add("--network", default="bridge", metavar="NETWORK", help="of RUN: bridge, none or host")
    add("--pull", action="store_true", help="ask the registries for newer base images")
    add("--no-cache", action="store_true", help="build everything anew")
    add("--progress", choices=_PROGRESS, default="auto", metavar="KIND",
        help="auto, plain or none")  # fmt: skip
    add("-q", "--quiet", action="store_true", help="print the image's id alone")
    add("--iidfile", metavar="FILE", help="write the image's id there")
    add("context", metavar="PATH|URL|-",
        help="a directory, a Git repository's or archive's URL, or - to read one")  # fmt: skip


def _do_build(args: Namespace) -> None:
    if args.context == "-" and args.file == "-":
        raise pc.InvalidArgument("build: the context and the Dockerfile are both to be read")
    for right in args.allow:
        if right not in (_INSECURE, _HOST_NETWORK):
            raise pc.InvalidArgument(
                f"--allow: there is no {right!r}", hint=f"there is {_INSECURE}"
            )
        if right == _HOST_NETWORK and args.network != "host":
            raise pc.InvalidArgument(f"--allow {right} needs --network host, which is enough")
    progress = _PROGRESS[args.progress]
    if progress is None and not sys.stderr.isatty():
        progress = True
    options: dict[str, Any] = {
        "tag": args.tags,
        "target": args.target,
        "build_args": _arguments(args.build_args),
        "contexts": flags.pairs("--build-context", args.contexts),
        "secrets": dict(map(_secret, args.secrets)),
        "ssh": dict(map(_agent, args.ssh)),
        "labels": flags.pairs("--label", args.labels, empty=True),
        "platform": args.platform.split(",") if args.platform else None,
        "network": {"default": "bridge"}.get(args.network, args.network),
        "insecure": _INSECURE in args.allow,
        "cache": not args.no_cache,
        "cache_from": [_place("--cache-from", "src", text) for text in args.cache_from],
        "cache_to": _place("--cache-to", "dest", args.cache_to) if args.cache_to else None,
        "pull": args.pull,
        "progress": False if args.quiet else progress,
    }
    if args.iidfile:
        Path(args.iidfile).unlink(missing_ok=True)  # that of an earlier build would be taken for it
    if args.file == "-":
        image = _with_file(args.context, sys.stdin.buffer.read(), options)
    elif args.context == "-":
        image = pc.Image.build(sys.stdin.buffer, dockerfile=args.file, **options)
    else:
        file = args.file
        if file is not None and Path(args.context).is_dir():
            file = Path(file).absolute()  # a path of the shell's directory, not of the context
        image = pc.Image.build(args.context, dockerfile=file, **options)
    if args.iidfile:
        Path(args.iidfile).write_text(image.id)
    print(image.id)


def _with_file(context: str, text: bytes, options: dict[str, Any]) -> pc.Image:
    """Build a directory by a Dockerfile that was read."""
    with tempfile.TemporaryDirectory(prefix="pycontainers-") as folder:
        file = Path(folder) / "Dockerfile"
        file.write_bytes(text)
        return pc.Image.build(context, dockerfile=file, **options)


def _arguments(given: Iterable[str]) -> dict[str, str]:
    """Give build arguments; a name alone takes its value from here, if there is one."""
    return dict(item.split("=", 1) for item in flags.environment(given))


def _place(flag: str, key: str, text: str) -> str | Path:
    """Read where a cache lies: `REFERENCE`, `type=registry,ref=REFERENCE` or `type=local,…`."""
    if "=" not in text:
        return text
    given = flags.pairs(flag, text.split(","))
    given.pop("mode", "")  # all that a build has used is always there
    kind = given.pop("type", "")
    place = given.pop("ref" if kind == "registry" else key, "")
    if kind not in ("registry", "local") or not place or given:
        raise pc.InvalidArgument(
            f"{flag}: {text!r} is not understood",
            hint=f"REFERENCE, type=registry,ref=REFERENCE or type=local,{key}=DIR",
        )
    return Path(place) if kind == "local" else place


def _secret(text: str) -> tuple[str, str | Path]:
    """Read `id=ID,src=FILE`, or `,env=NAME`; the file or variable may be called as the secret."""
    given = flags.pairs("--secret", text.split(","))
    name = given.pop("id", "")
    kind = given.pop("type", "")
    source = given.pop("src", "") or given.pop("source", "")
    variable = given.pop("env", "")
    if not name or given or kind not in ("", "file", "env") or (source and variable):
        raise pc.InvalidArgument(
            f"--secret: {text!r} is not understood", hint="id=ID,src=FILE or id=ID,env=NAME"
        )
    if not source and not variable and (kind == "env" or (not kind and name in os.environ)):
        variable = name
    if kind == "env" and source:
        variable, source = source, ""
    if not variable:
        return name, Path(source or name)
    if variable not in os.environ:
        raise pc.InvalidArgument(f"--secret: there is no variable {variable} here")
    return name, os.environ[variable]


def _agent(text: str) -> tuple[str, str]:
    """Read `ID[=SOCKET]`; the socket is that of $SSH_AUTH_SOCK unless given."""
    name, _, path = text.partition("=")
    path = path or os.environ.get("SSH_AUTH_SOCK", "")
    if not path:
        raise pc.InvalidArgument(
            f"--ssh: no socket for {name}", hint="start ssh-agent, or write --ssh ID=SOCKET"
        )
    return name, path


# What builds keep.


def _add_du(parser: ArgumentParser) -> None:
    tables.add_format(parser, quiet=True, truncates=True)


def _do_du(args: Namespace) -> None:
    rows = []
    found = pc.Image.build_cache()
    for one in reversed(found):
        title = one.title
        if not args.no_trunc and args.format in (None, "table") and len(title) > _LONGEST:
            title = title[: _LONGEST - 1] + "…"
        rows.append(
            {
                "ID": tables.short(one.id, args),
                "Type": "cache mount" if one.kind == "mount" else "layer",
                "Reclaimable": str(not one.shared).lower(),
                "Shared": str(one.shared).lower(),
                "Size": tables.size(one.size),
                "CreatedAt": tables.date(one.created),
                "LastUsedAt": tables.date(one.used),
                "LastUsedSince": tables.ago(one.used),
                "Description": title,
            }
        )
    tables.show(rows, _RECORDS, args)
    if args.format in (None, "table") and not args.quiet:
        print(f"Reclaimable: {tables.size(sum(one.reclaimable for one in found))}")
        print(f"Total:       {tables.size(sum(one.size for one in found))}")


def _add_prune(parser: ArgumentParser) -> None:
    add_prune(parser)
    add = parser.add_argument
    add("-a", "--all", action="store_true", help="also forget the layers that images have")
    add("--filter", action="append", default=[], metavar="until=TIME",
        help="only what was not used since, as 24h")  # fmt: skip
    add("--keep-storage", metavar="SIZE", help="leave so much, as 10g")


def _do_prune(args: Namespace) -> int:
    filters = flags.filters(args.filter)
    if set(filters) - {"until"}:
        raise pc.InvalidArgument("--filter: builder prune has until=TIME only")
    moments = [flags.moment(text) for text in filters.get("until", [])]
    if not agreed(args, "all build cache" if args.all else "the build cache that no image shares"):
        return 1
    removed = pc.Image.prune_builds(
        all=args.all, keep=args.keep_storage, unused_since=moments[-1] if moments else None
    )
    for one in removed:
        print(one.id)
    print(f"Total reclaimed space: {tables.size(sum(one.reclaimable for one in removed))}")
    return 0


COMMANDS: Final = (
    Command("build", "build an image from a Dockerfile", _add_build, _do_build),
    Command("builder ls", "list what builds keep", _add_du, _do_du),
    Command("builder prune", "remove what builds keep", _add_prune, _do_prune),
)
