"""Looking at containers: ps, inspect, logs, stats, top, diff and events."""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import pycontainers as pc
from pycontainers.cli import flags, tables
from pycontainers.cli.commands import Command, complain, names

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Iterator

_PS: Final = {"CONTAINER ID": "ID", "IMAGE": "Image", "COMMAND": "Command",
              "CREATED": "RunningFor", "STATUS": "Status", "PORTS": "Ports",
              "NAMES": "Names"}  # fmt: skip
_STATS: Final = {"CONTAINER ID": "ID", "NAME": "Name", "CPU %": "CPUPerc",
                 "MEM USAGE / LIMIT": "MemUsage", "MEM %": "MemPerc", "NET I/O": "NetIO",
                 "BLOCK I/O": "BlockIO", "PIDS": "PIDs"}  # fmt: skip
_TOP: Final = {"USER": "user", "PID": "pid", "HOST PID": "host_pid", "PPID": "parent",
               "STATE": "state", "CPU": "cpu", "MEMORY": "memory",
               "COMMAND": "command"}  # fmt: skip
_CLEAR: Final = "\x1b[H\x1b[2J"
_WAITING: Final = 0.05  # seconds between two looks at whether a reader has ended


def _add_ps(parser: ArgumentParser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="also those that do not run")
    parser.add_argument("-n", "--last", type=int, metavar="N", help="the N youngest of all")
    parser.add_argument("-l", "--latest", action="store_true", help="the youngest of all")
    flags.add_filter(parser)
    tables.add_format(parser, quiet=True, truncates=True)


def _do_ps(args: Namespace) -> None:
    last = 1 if args.latest else args.last
    everything = args.all or last is not None
    found = pc.Container.list(all=everything, filters=flags.filters(args.filter))
    youngest = list(reversed(found))[:last]
    titles: dict[str, str] = {}
    rows = []
    for container in youngest:
        with contextlib.suppress(pc.ContainerNotFound):  # removed meanwhile
            rows.append(_row(container.attrs, args, titles))
    tables.show(rows, _PS, args)


def _row(attrs: dict[str, Any], args: Namespace, titles: dict[str, str]) -> dict[str, str]:
    image = attrs["image"]
    if image not in titles:
        titles[image] = _title(image)
    return {
        "ID": tables.short(attrs["id"], args),
        "Image": titles[image],
        "Command": tables.command(attrs["argv"], args),
        "CreatedAt": tables.date(attrs["created"]),
        "RunningFor": tables.ago(attrs["created"]),
        "State": attrs["status"],
        "Status": _status(attrs),
        "Names": attrs["name"] or "",
        "Labels": ",".join(f"{key}={value}" for key, value in attrs["labels"].items()),
        "Ports": tables.ports(attrs["ports"]),
        "Networks": _networks(attrs),
        "Mounts": ",".join(mount["target"] for mount in attrs["options"]["mounts"]),
    }


def _networks(attrs: dict[str, Any]) -> str:
    """Give the names of a container's networks, or what it has instead of any."""
    first: str = attrs["options"]["network"][0]
    if first in ("none", "host") or first.startswith("container:"):
        return first
    return ",".join(attrs["networks"])


def _title(image: str) -> str:
    """Give an image's first tag, or its short id."""
    if image.startswith("host-"):
        return "host"
    with contextlib.suppress(pc.PyContainersError):  # removed, or a directory
        for tag in pc.Image.get(image).tags:
            return tag
    return tables.short(image)


def _status(attrs: dict[str, Any]) -> str:
    """Tell of the state as Docker's ps does."""
    status, health = attrs["status"], attrs["health"]
    if status == "restarting":
        return f"Restarting ({attrs['exit_code']}) {tables.ago(attrs['finished'])}"
    if status in ("running", "paused"):
        up = f"Up {tables.ago(attrs['started']).removesuffix(' ago')}"
        if status == "paused":
            return f"{up} (Paused)"
        if health is None:
            return up
        word = "health: starting" if health["status"] == "starting" else health["status"]
        return f"{up} ({word})"
    if status == "exited":
        return f"Exited ({attrs['exit_code']}) {tables.ago(attrs['finished'])}"
    return str(status).capitalize()


def add_inspect(parser: ArgumentParser, what: str = "container") -> None:
    """Let a command of the inspect kind take its flags and names."""
    parser.add_argument("-f", "--format", metavar="TEMPLATE", help="as '{{.name}}', or json")
    names(parser, what=what)


def _do_inspect(args: Namespace) -> int:
    return inspect(args, lambda name: pc.Container.get(name).attrs)


def inspect(args: Namespace, facts: Callable[[str], dict[str, Any]]) -> int:
    """Print what is known of objects by their names, and give the exit code."""
    found, failed = [], False
    for name in args.names:
        try:
            found.append(facts(name))
        except pc.PyContainersError as error:
            complain(error)
            failed = True
    print_facts(found, args.format)
    return int(failed)


def print_facts(found: list[dict[str, Any]], template: str | None) -> None:
    """Print what is known of objects: a JSON list, or a template's line for each."""
    if template is None:
        print(json.dumps(found, indent=4, ensure_ascii=False))
        return
    for one in found:
        print(json.dumps(one) if template == "json" else tables.fill(template, one))


def _add_logs(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("-f", "--follow", action="store_true", help="go on until the container ends")
    add("-n", "--tail", default="all", metavar="N", help="lines from the end to begin with")
    add("--since", type=flags.moment, metavar="TIME", help="only later ones: a date, or as 10m")
    add("--until", type=flags.moment, metavar="TIME", help="only earlier ones")
    add("-t", "--timestamps", action="store_true", help="each line with its time")
    names(parser, many=False)


def _do_logs(args: Namespace) -> None:
    container = pc.Container.get(args.name)
    if args.tail != "all" and not args.tail.isdecimal():
        raise pc.InvalidArgument(f"--tail: {args.tail!r} is no number of lines")
    tail = None if args.tail == "all" else int(args.tail)
    if _same_file():
        with _opened(container, args, tail, args.timestamps) as lines:
            for line in lines:
                _write(1, line)
    elif args.follow:
        _follow(container, args, tail)
    else:
        _merge(container, args, tail)


def _opened(
    container: pc.Container,
    args: Namespace,
    tail: int | None,
    timestamps: bool,
    only: int | None = None,
) -> pc.Logs[bytes]:
    return container.logs(
        stdout=only in (None, 1),
        stderr=only in (None, 2),
        follow=args.follow,
        tail=tail,
        since=args.since,
        until=args.until,
        timestamps=timestamps,
        text=False,
    )


def _same_file() -> bool:
    """Whether standard output and error are one, so that one reader keeps the lines' order."""
    try:
        return os.path.samestat(os.fstat(1), os.fstat(2))
    except OSError:
        return True


def _write(fd: int, line: bytes) -> None:
    view = memoryview(line)
    while view:
        view = view[os.write(fd, view) :]


def _merge(container: pc.Container, args: Namespace, tail: int | None) -> None:
    """Write the lines of each stream to ours, all in the order of their times."""

    def lines(fd: int) -> Iterator[tuple[bytes, int, bytes]]:
        with _opened(container, args, tail, True, fd) as found:
            for line in found:
                when, _, text = line.partition(b" ")
                yield when, fd, line if args.timestamps else text

    merged: Any = heapq.merge(lines(1), lines(2), key=lambda line: line[0])
    if tail is not None:
        merged = list(merged)[-tail:] if tail else []
    for _, fd, text in merged:
        _write(fd, text)


def _follow(container: pc.Container, args: Namespace, tail: int | None) -> None:
    """Write the lines of each stream to ours as they come."""
    readers = {fd: _opened(container, args, tail, args.timestamps, fd) for fd in (1, 2)}
    failures: list[OSError] = []

    def read(fd: int) -> None:
        try:
            for line in readers[fd]:
                _write(fd, line)
        except OSError as error:
            failures.append(error)
            for reader in readers.values():
                reader.close()

    threads = [threading.Thread(target=read, args=(fd,)) for fd in readers]
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(_WAITING)
    finally:
        for reader in readers.values():
            reader.close()
    for failure in failures:
        raise failure


def _add_stats(parser: ArgumentParser) -> None:
    parser.add_argument("--no-stream", action="store_true", help="only once")
    tables.add_format(parser, truncates=True)
    parser.add_argument("names", nargs="*", metavar="CONTAINER")


def _do_stats(args: Namespace) -> None:
    streams: dict[str, tuple[pc.Container, pc.StatsStream]] = {}
    live = not args.no_stream
    while True:
        found = [pc.Container.get(name) for name in args.names] or pc.Container.list()
        for container in found:
            if container.id not in streams:
                streams[container.id] = container, container.stats_stream(1.0)
        rows = []
        for container, stream in list(streams.values()):
            with contextlib.suppress(pc.ContainerNotFound):
                figures = next(stream, None)
                if figures is not None:
                    rows.append(_figures(container, figures, args))
                    continue
            if args.names:
                rows.append(_figures(container, None, args))
            del streams[container.id]
        if live and sys.stdout.isatty() and args.format in (None, "table"):
            print(_CLEAR, end="")
        tables.show(rows, _STATS, args)
        sys.stdout.flush()
        if not live or not streams:
            return


def _figures(container: pc.Container, stats: pc.Stats | None, args: Namespace) -> dict[str, str]:
    row = dict.fromkeys(_STATS.values(), "--")
    with contextlib.suppress(pc.ContainerNotFound):
        row["Name"] = container.name or ""
    row |= {"ID": tables.short(container.id, args), "Container": container.id}
    if stats is None:
        return row
    received = sum(one.rx_bytes for one in stats.networks.values())
    sent = sum(one.tx_bytes for one in stats.networks.values())
    memory, limit = (tables.size(n, base=1024) for n in (stats.memory, stats.memory_limit))
    return row | {
        "CPUPerc": _percent(stats.cpu_percent),
        "MemUsage": f"{memory} / {limit}",
        "MemPerc": _percent(stats.memory_percent),
        "NetIO": f"{tables.size(received)} / {tables.size(sent)}",
        "BlockIO": f"{tables.size(stats.io_read)} / {tables.size(stats.io_write)}",
        "PIDs": "--" if stats.pids is None else str(stats.pids),
    }


def _percent(value: float | None) -> str:
    return "--" if value is None else f"{value:.2f}%"


def _add_top(parser: ArgumentParser) -> None:
    tables.add_format(parser)
    names(parser, many=False)


def _do_top(args: Namespace) -> None:
    rows = []
    for found in pc.Container.get(args.name).top():
        row: dict[str, Any] = {key: getattr(found, key) for key in _TOP.values()}
        if args.format in (None, "table"):
            row |= {"cpu": f"{found.cpu:.2f}s", "memory": tables.size(found.memory, base=1024)}
        rows.append(row)
    tables.show(rows, _TOP, args)


def _add_diff(parser: ArgumentParser) -> None:
    names(parser, many=False)


def _do_diff(args: Namespace) -> None:
    for change in pc.Container.get(args.name).diff():
        print(change.kind, tables.printable(change.path))


def _add_events(parser: ArgumentParser) -> None:
    parser.add_argument("--since", type=flags.moment, metavar="TIME", help="a date, or as 10m")
    parser.add_argument("--until", type=flags.moment, metavar="TIME", help="when to end")
    flags.add_filter(parser)
    parser.add_argument("--format", metavar="FORMAT", help="json, or a template as '{{.Action}}'")


def _do_events(args: Namespace) -> None:
    filters = flags.filters(args.filter)
    with pc.events(args.since, args.until, filters=filters) as events:
        for event in events:
            row = {
                "Type": event.type,
                "Action": event.action,
                "ID": event.id,
                "Actor": {"ID": event.id, "Attributes": event.attributes},
                "time": int(event.time),
                "timeNano": int(event.time * 1e9),
            }
            if args.format == "json":
                print(json.dumps(row, ensure_ascii=False), flush=True)
            elif args.format:
                print(tables.fill(args.format, row), flush=True)
            else:
                known = ", ".join(f"{key}={value}" for key, value in event.attributes.items())
                line = f"{tables.date(event.time)} {event.type} {event.action} {event.id} ({known})"
                print(tables.printable(line), flush=True)


COMMANDS: Final = (
    Command("ps", "list containers", _add_ps, _do_ps),
    Command("inspect", "print all that is known of containers", add_inspect, _do_inspect),
    Command("logs", "print what a container has written", _add_logs, _do_logs),
    Command("stats", "print what containers use", _add_stats, _do_stats),
    Command("top", "list a container's processes", _add_top, _do_top),
    Command("diff", "list what a container changed in its files", _add_diff, _do_diff),
    Command("events", "print what happens, as it happens", _add_events, _do_events),
)
