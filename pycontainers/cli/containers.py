"""A container's course: stop, restart, kill, pause, wait, rename, update, rm and prune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pycontainers as pc
from pycontainers.cli import flags
from pycontainers.cli.commands import Command, agreed, complain, each, names

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def _add_grace(parser: ArgumentParser) -> None:
    parser.add_argument(
        "-t", "--timeout", "--time", type=flags.duration, metavar="TIME", help="grace period"
    )
    names(parser)


def _do_stop(args: Namespace) -> int:
    return each(args.names, lambda container: container.stop(args.timeout))


def _do_restart(args: Namespace) -> int:
    return each(args.names, lambda container: container.restart(args.timeout))


def _add_kill(parser: ArgumentParser) -> None:
    parser.add_argument("-s", "--signal", default="KILL", help="by default KILL")
    names(parser)


def _do_kill(args: Namespace) -> int:
    return each(args.names, lambda container: container.kill(args.signal))


def _do_pause(args: Namespace) -> int:
    return each(args.names, lambda container: container.pause())


def _do_unpause(args: Namespace) -> int:
    return each(args.names, lambda container: container.unpause())


def _do_wait(args: Namespace) -> int:
    return each(args.names, lambda container: print(container.wait()), tell=False)


def _add_rename(parser: ArgumentParser) -> None:
    names(parser, many=False)
    parser.add_argument("new", metavar="NAME")


def _do_rename(args: Namespace) -> None:
    pc.Container.get(args.name).rename(args.new)


def _add_update(parser: ArgumentParser) -> None:
    flags.add_limits(parser)
    names(parser)


def _do_update(args: Namespace) -> int:
    changes = flags.limits(args)
    if not changes:
        raise pc.InvalidArgument("update: nothing to change is given")
    return each(args.names, lambda container: container.update(**changes))


def _add_rm(parser: ArgumentParser) -> None:
    parser.add_argument("-f", "--force", action="store_true", help="kill it first; gone is fine")
    parser.add_argument("-v", "--volumes", action="store_true", help="volumes without a name too")
    names(parser)


def _do_rm(args: Namespace) -> int:
    failed = False
    for name in args.names:
        try:
            container = pc.Container.get(name)
            container.remove(force=args.force, volumes=args.volumes, missing_ok=args.force)
        except pc.ContainerNotFound as error:
            complain(error)
            failed = failed or not args.force
        except pc.PyContainersError as error:
            complain(error)
            failed = True
        else:
            print(name)
    return int(failed)


def add_prune(parser: ArgumentParser) -> None:
    """Let a command of the prune kind take its flags."""
    parser.add_argument("-f", "--force", action="store_true", help="don't ask")


def _add_prune(parser: ArgumentParser) -> None:
    add_prune(parser)
    parser.add_argument("--filter", action="append", default=[], metavar="KEY=VALUE")


def _do_prune(args: Namespace) -> int:
    if not agreed(args, "all containers that do not run"):
        return 1
    for identity in pc.Container.prune(filters=flags.filters(args.filter)):
        print(identity)
    return 0


COMMANDS: Final = (
    Command("stop", "stop containers", _add_grace, _do_stop),
    Command("restart", "stop containers and start them again", _add_grace, _do_restart),
    Command("kill", "send containers a signal", _add_kill, _do_kill),
    Command("pause", "have all processes of containers stand still", names, _do_pause),
    Command("unpause", "let paused containers go on", names, _do_unpause),
    Command("wait", "wait until containers end, and print their exit codes", names, _do_wait),
    Command("rename", "give a container another name", _add_rename, _do_rename),
    Command("update", "change limits and the restart policy", _add_update, _do_update),
    Command("rm", "remove containers", _add_rm, _do_rm),
    Command("container prune", "remove all that do not run", _add_prune, _do_prune),
)
