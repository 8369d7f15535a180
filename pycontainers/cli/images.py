"""Images: list, pull, push, tag, remove, load, save, import, history, and logins."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import pycontainers as pc
from pycontainers.cli import tables
from pycontainers.cli.commands import Command, agreed, complain, names
from pycontainers.cli.containers import add_prune
from pycontainers.cli.contents import refuse_terminal
from pycontainers.cli.looking import print_facts

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_IMAGES: Final = {"REPOSITORY": "Repository", "TAG": "Tag", "IMAGE ID": "ID",
                  "CREATED": "CreatedSince", "SIZE": "Size"}  # fmt: skip
_HISTORY: Final = {"CREATED": "CreatedSince", "CREATED BY": "CreatedBy", "COMMENT": "Comment"}
_LONGEST: Final = 45  # characters of a step of the history
_NONE: Final = "<none>"
_HUB: Final = "docker.io"


def _add_images(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="REPOSITORY[:TAG]")
    tables.add_format(parser, quiet=True, truncates=True)


def _do_images(args: Namespace) -> None:
    rows = []
    for image in pc.Image.list():
        try:
            created = image.config.created
            common = {
                "ID": image.id if args.no_trunc else tables.short(image.id),
                "Digest": image.digest or "",
                "CreatedAt": created,
                "CreatedSince": tables.ago(_seconds(created)),
                "Size": tables.size(image.size),
            }
            pairs = [_split(tag) for tag in image.tags] or [(_NONE, _NONE)]
        except pc.ImageNotFound:  # removed meanwhile
            continue
        rows += [
            {"Repository": repository, "Tag": tag, **common}
            for repository, tag in pairs
            if not args.name or args.name in (repository, f"{repository}:{tag}")
        ]
    if args.quiet:
        rows = list({row["ID"]: row for row in rows}.values())
    tables.show(rows, _IMAGES, args)


def _split(tag: str) -> tuple[str, str]:
    repository, _, name = tag.rpartition(":")
    return repository, name


def _seconds(written: str) -> float | None:
    try:
        return datetime.fromisoformat(written).timestamp()
    except ValueError:
        return None


def _do_inspect(args: Namespace) -> None:
    print_facts([_facts(pc.Image.get(name)) for name in args.names], args.format)


def _facts(image: pc.Image) -> dict[str, Any]:
    config = image.config
    fields = "entrypoint cmd env user working_dir stop_signal exposed_ports volumes"
    known = {name: getattr(config, name) for name in fields.split()}
    return {
        "id": image.id,
        "tags": image.tags,
        "digests": image.digests,
        "digest": image.digest,
        "size": image.size,
        "platform": str(image.platform),
        "created": config.created,
        "labels": dict(config.labels),
        **known,
    }


def _add_inspect(parser: ArgumentParser) -> None:
    parser.add_argument("-f", "--format", metavar="TEMPLATE", help="as '{{.id}}', or json")
    names(parser, what="image")


def _add_pull(parser: ArgumentParser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    parser.add_argument("--platform", metavar="OS/ARCH", help="as linux/arm64")
    names(parser, many=False, what="image")


def _do_pull(args: Namespace) -> None:
    progress = False if args.quiet else None
    image = pc.Image.pull(args.name, platform=args.platform, progress=progress)
    print(image.id if args.quiet else f"{args.name}: {tables.short(image.id)}")


def _add_push(parser: ArgumentParser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    names(parser, many=False, what="image")


def _do_push(args: Namespace) -> None:
    progress = False if args.quiet else None
    print(pc.Image.get(args.name).push(args.name, progress=progress))


def _add_tag(parser: ArgumentParser) -> None:
    names(parser, many=False, what="image")
    parser.add_argument("reference", metavar="TARGET[:TAG]")


def _do_tag(args: Namespace) -> None:
    pc.Image.get(args.name).tag(args.reference)


def _add_rmi(parser: ArgumentParser) -> None:
    parser.add_argument("-f", "--force", action="store_true", help="also where it is in use")
    names(parser, what="image")


def _do_rmi(args: Namespace) -> int:
    failed = False
    for name in args.names:
        try:
            print(_remove(name, force=args.force))
        except pc.PyContainersError as error:
            complain(error)
            failed = True
    return int(failed)


def _remove(name: str, *, force: bool) -> str:
    """Remove an image, or of one with several tags the tag that is named."""
    image = pc.Image.get(name)
    tags = image.tags
    if len(tags) > 1:
        try:
            image.untag(name)
        except pc.ImageNotFound:  # the name is an id
            if not force:
                raise pc.Conflict(
                    f"the image {name} has {len(tags)} tags: {', '.join(tags)}",
                    hint="remove these, or use --force",
                ) from None
        else:
            return f"Untagged: {name}"
    image.remove(force=force)
    return f"Deleted: {image.id}"


def _add_load(parser: ArgumentParser) -> None:
    parser.add_argument("-i", "--input", metavar="FILE", help="instead of standard input")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


def _do_load(args: Namespace) -> None:
    source = args.input or sys.stdin.buffer
    for image in pc.Image.load_all(source, progress=False if args.quiet else None):
        for tag in image.tags:
            print(f"Loaded image: {tag}")
        if not image.tags:
            print(f"Loaded image ID: {image.id}")


def _add_save(parser: ArgumentParser) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", help="instead of standard output")
    parser.add_argument("--format", choices=("oci", "docker"), default="docker", help="of the tar")
    names(parser, what="image")


def _do_save(args: Namespace) -> None:
    images = [pc.Image.get(name) for name in args.names]
    if not args.output:
        refuse_terminal(sys.stdout.isatty())
    pc.Image.save_all(images, args.output or sys.stdout.buffer, format=args.format)


def _add_import(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a tar archive, or - for standard input")
    parser.add_argument("reference", nargs="?", metavar="IMAGE[:TAG]")


def _do_import(args: Namespace) -> None:
    image = pc.Image.from_rootfs(sys.stdin.buffer if args.file == "-" else args.file)
    if args.reference:
        image.tag(args.reference)
    print(image.id)


def _add_history(parser: ArgumentParser) -> None:
    tables.add_format(parser, truncates=True)
    names(parser, many=False, what="image")


def _do_history(args: Namespace) -> None:
    rows = []
    for step in reversed(pc.Image.get(args.name).history()):
        made = step.created_by
        if not args.no_trunc and args.format in (None, "table") and len(made) > _LONGEST:
            made = made[: _LONGEST - 1] + "…"
        rows.append(
            {
                "CreatedAt": step.created,
                "CreatedSince": tables.ago(_seconds(step.created)),
                "CreatedBy": made,
                "Comment": step.comment,
            }
        )
    tables.show(rows, _HISTORY, args)


def _add_prune(parser: ArgumentParser) -> None:
    add_prune(parser)
    parser.add_argument("-a", "--all", action="store_true", help="all that no container uses")


def _do_prune(args: Namespace) -> int:
    what = "all images that no container uses" if args.all else "all images without a tag"
    if not agreed(args, what):
        return 1
    print(f"Total reclaimed space: {tables.size(pc.Image.prune(all=args.all).bytes)}")
    return 0


def _add_login(parser: ArgumentParser) -> None:
    parser.add_argument("-u", "--username", metavar="NAME")
    parser.add_argument("-p", "--password", help="better is --password-stdin")
    parser.add_argument("--password-stdin", action="store_true", help="read it from the input")
    parser.add_argument("server", nargs="?", default=_HUB, help=f"by default {_HUB}")


def _do_login(args: Namespace) -> None:
    if args.password_stdin and (args.password or not args.username):
        raise pc.InvalidArgument("login: --password-stdin needs --username and no --password")
    user = args.username or input("Username: ")
    if args.password_stdin:
        password = sys.stdin.read().rstrip("\r\n")
    elif args.password is not None:
        password = args.password
    else:
        from getpass import getpass

        password = getpass()
    pc.Registry(args.server).login(user, password)
    print("Login Succeeded")


def _add_logout(parser: ArgumentParser) -> None:
    parser.add_argument("server", nargs="?", default=_HUB, help=f"by default {_HUB}")


def _do_logout(args: Namespace) -> None:
    pc.Registry(args.server).logout()
    print(f"Removing login credentials for {args.server}")


COMMANDS: Final = (
    Command("images", "list images", _add_images, _do_images),
    Command("image inspect", "print what is known of images", _add_inspect, _do_inspect),
    Command("pull", "fetch an image from a registry", _add_pull, _do_pull),
    Command("push", "send an image to a registry", _add_push, _do_push),
    Command("tag", "give an image another reference", _add_tag, _do_tag),
    Command("rmi", "remove images", _add_rmi, _do_rmi),
    Command("load", "load images of an archive", _add_load, _do_load),
    Command("save", "write images as an archive", _add_save, _do_save),
    Command("import", "make an image of a root file system", _add_import, _do_import),
    Command("history", "list how an image was made", _add_history, _do_history),
    Command("image prune", "remove images that nobody needs", _add_prune, _do_prune),
    Command("login", "keep credentials for a registry", _add_login, _do_login),
    Command("logout", "forget a registry's credentials", _add_logout, _do_logout),
)
