"""Programs: create, run, start, attach and exec."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING, Final

import pycontainers as pc
from pycontainers.cli import flags, mounts, networks, terminal
from pycontainers.cli.commands import Command, each

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_DETACH_KEYS: Final = "ctrl-p,ctrl-q"
_HOST: Final = "host"


def _add_program(parser: ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help='a reference or id, or "host"')
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")


def _add_keys(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--detach-keys", default=_DETACH_KEYS, metavar="KEYS", help=f"by default {_DETACH_KEYS}"
    )


def _add_create(parser: ArgumentParser) -> None:
    flags.add_options(parser)
    mounts.add_options(parser)
    networks.add_options(parser)
    _add_program(parser)


def _add_run(parser: ArgumentParser) -> None:
    flags.add_options(parser)
    mounts.add_options(parser)
    networks.add_options(parser)
    parser.add_argument("-d", "--detach", action="store_true", help="print the id and leave it")
    _add_proxy(parser)
    _add_keys(parser)
    _add_program(parser)


def _add_proxy(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--sig-proxy", choices=("true", "false"), default="true", help="pass signals on"
    )


def _create(args: Namespace) -> pc.Container:
    image = None if args.image == _HOST else args.image
    options = flags.options(args)
    options.update(mounts.options(args))
    options.update(networks.options(args))
    return pc.Container.create(image, args.words or None, **options)


def _do_create(args: Namespace) -> None:
    print(_create(args).id)


def _do_run(args: Namespace) -> int:
    """Run a container in the foreground, or start one and leave it; nothing stays of a failure."""
    keys = terminal.detach_keys(args.detach_keys)
    if args.tty and not args.detach:
        terminal.need_terminal(interactive=args.interactive)
    container = _create(args)
    try:
        if args.detach:
            container.start()
            print(container.id)
            return 0
        process = container.attach(
            stdin=args.interactive, terminal=terminal.window() if args.tty else None
        )
    except BaseException:
        container.remove(force=True, volumes=True, missing_ok=True)
        raise
    return _follow(container, process, args, keys, interactive=args.interactive)


def _follow(
    container: pc.Container,
    process: pc.Process,
    args: Namespace,
    keys: bytes,
    *,
    interactive: bool,
) -> int:
    """Join our streams with the container's until it ends or is detached from."""
    options = container.attrs["options"]

    def forward(number: int) -> None:
        if args.sig_proxy == "true":
            with contextlib.suppress(pc.Conflict, pc.ContainerNotFound):  # it has just ended
                container.kill(number)

    session = terminal.Session(
        process, forward, interactive=interactive, tty=options["tty"], keys=keys
    )
    outcome = session.run()
    if outcome == "ended":
        code = process.wait()
        process.close()
        if options["auto_remove"]:
            container.remove(force=True, volumes=True, missing_ok=True)
        return code
    process.detach()
    if outcome == "detached":
        with contextlib.suppress(OSError):  # the terminal has gone
            print("\nread escape sequence", file=sys.stderr, flush=True)
        return 0
    print(
        f"pycontainers: the program goes on after several signals; it was left alone\n"
        f"  end it with: pycontainers kill {container.id[:12]}",
        file=sys.stderr,
    )
    return 1


def _add_start(parser: ArgumentParser) -> None:
    parser.add_argument("-a", "--attach", action="store_true", help="follow its output")
    parser.add_argument("-i", "--interactive", action="store_true", help="pass our input on")
    _add_proxy(parser)
    _add_keys(parser)
    parser.add_argument("names", nargs="+", metavar="CONTAINER")


def _do_start(args: Namespace) -> int:
    if not args.attach and not args.interactive:
        return each(args.names, lambda container: container.start())
    if len(args.names) > 1:
        raise pc.InvalidArgument("only one container can be attached to")
    container = pc.Container.get(args.names[0])
    if container.status in ("running", "paused", "restarting"):
        raise pc.Conflict(f"the container {args.names[0]} is {container.status}")
    return _attach(container, args, wanted=args.interactive)


def _add_attach(parser: ArgumentParser) -> None:
    parser.add_argument("--no-stdin", action="store_true", help="don't pass our input on")
    _add_proxy(parser)
    _add_keys(parser)
    parser.add_argument("name", metavar="CONTAINER")


def _do_attach(args: Namespace) -> int:
    container = pc.Container.get(args.name)
    if container.status != "running":
        raise pc.Conflict(
            f"the container {args.name} is {container.status}",
            hint=f"pycontainers start -ai {args.name} starts it and attaches",
        )
    return _attach(container, args, wanted=not args.no_stdin)


def _attach(container: pc.Container, args: Namespace, *, wanted: bool) -> int:
    """Attach to a container, which is started where it does not run."""
    keys = terminal.detach_keys(args.detach_keys)
    options = container.attrs["options"]
    interactive = wanted and (options["stdin"] or options["tty"])
    if options["tty"]:
        terminal.need_terminal(interactive=interactive)
    process = container.attach(
        stdin=interactive, terminal=terminal.window() if options["tty"] else None
    )
    return _follow(container, process, args, keys, interactive=interactive)


def _add_exec(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("-i", "--interactive", action="store_true", help="pass our input on")
    add("-t", "--tty", action="store_true", help="give it a terminal")
    add("-d", "--detach", action="store_true", help="start it and leave it")
    add("-e", "--env", action="append", default=[], metavar="NAME[=VALUE]", help="a variable")
    add("--env-file", action="append", default=[], metavar="FILE", help="a file of variables")
    add("-u", "--user", help="user, as name, uid or uid:gid")
    add("-w", "--workdir", metavar="DIR", help="working directory")
    add("name", metavar="CONTAINER")
    add("words", nargs=argparse.REMAINDER, metavar="COMMAND")


def _do_exec(args: Namespace) -> int:
    if not args.words:
        raise pc.InvalidArgument("exec: no command is given")
    container = pc.Container.get(args.name)
    tty = args.tty and not args.detach
    if tty:
        terminal.need_terminal(interactive=args.interactive)
    stdout = pc.DEVNULL if args.detach else pc.PIPE
    process = container.popen(
        args.words,
        stdin=args.interactive and not args.detach,
        stdout=stdout,
        stderr=stdout,
        env=flags.environment(args.env, args.env_file),
        user=args.user,
        workdir=args.workdir,
        tty=tty,
    )
    if args.detach:
        return 0
    size = terminal.window()
    if tty and size is not None:
        process.resize(*size)
    session = terminal.Session(
        process, process.send_signal, interactive=args.interactive, tty=tty, shared=True
    )
    if session.run() != "ended":  # nobody else would look after it
        process.kill()
    return process.wait()


COMMANDS: Final = (
    Command("run", "run a command in a new container", _add_run, _do_run, 125),
    Command("create", "create a container without starting it", _add_create, _do_create),
    Command("start", "start containers", _add_start, _do_start),
    Command("attach", "join a running container's streams", _add_attach, _do_attach),
    Command("exec", "run a command in a running container", _add_exec, _do_exec),
)
