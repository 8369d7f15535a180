"""Options as a shell writes them: the flags of `run`, and durations, moments and filters."""

from __future__ import annotations

import argparse
import os
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import pycontainers as pc

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable

    from pycontainers.lifecycle.options import RunOptions, UpdateOptions

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|us|ns|h|m|s)")
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def duration(text: str) -> float:
    """Give the seconds of "1m30s", "500ms" or "10".

    >>> duration("1m30s"), duration("10")
    (90.0, 10.0)
    """
    try:
        return float(text)
    except ValueError:
        parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration as 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def moment(text: str) -> float | datetime | timedelta:
    """Give a moment: seconds since 1970, a date as RFC 3339 writes it, or how long ago.

    >>> moment("10m"), moment("1970-01-02T00:00:00Z").timestamp()
    (datetime.timedelta(seconds=600), 86400.0)
    """
    try:
        return float(text)
    except ValueError:
        pass
    if _DURATION.match(text):
        return timedelta(seconds=duration(text))
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no moment as 10m, 2026-01-31T12:00:00 or 1790000000"
        ) from None
    return found.astimezone() if found.tzinfo is None else found


def filters(given: Iterable[str]) -> dict[str, list[str]]:
    """Give `-f key=value`, several times, as a mapping.

    >>> filters(["label=a=b", "label=c"])
    {'label': ['a=b', 'c']}
    """
    found: dict[str, list[str]] = {}
    for item in given:
        key, equals, value = item.partition("=")
        if not equals:
            raise pc.InvalidArgument(f"--filter: {item!r} is not of the form key=value")
        found.setdefault(key, []).append(value)
    return found


def add_filter(parser: ArgumentParser) -> None:
    """Let a command take `--filter`."""
    parser.add_argument(
        "-f", "--filter", action="append", default=[], metavar="KEY=VALUE", help="only what fits"
    )


def pairs(flag: str, given: Iterable[str], *, empty: bool = False) -> dict[str, str]:
    """Give NAME=VALUE, several times, as a mapping; with `empty` the value can be left out."""
    found = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not name or not (equals or empty):
            raise pc.InvalidArgument(f"{flag}: {item!r} is not of the form NAME=VALUE")
        found[name] = value
    return found


def environment(given: Iterable[str], files: Iterable[str] = ()) -> list[str]:
    """Give variables as NAME=VALUE; a name alone takes its value from here, if there is one."""
    lines: list[str] = []
    for name in files:
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise pc.InvalidArgument(f"--env-file: cannot read {name}: {error}") from error
        stripped = (line.lstrip() for line in text.splitlines())
        lines += [line for line in stripped if line and not line.startswith("#")]
    found = []
    for item in (*lines, *given):
        if "=" in item:
            found.append(item)
        elif item in os.environ:
            found.append(f"{item}={os.environ[item]}")
    return found


def add_limits(parser: ArgumentParser) -> None:
    """Let a command take the limits that can also be changed later, and the restart policy."""
    add = parser.add_argument
    add("-m", "--memory", metavar="SIZE", help="limit of memory, as 512m")
    add("--memory-swap", metavar="SIZE", help="limit of memory and swap together, -1 for none")
    add("--memory-reservation", metavar="SIZE", help="memory that it keeps if it can")
    add("--cpus", type=float, metavar="N", help="limit of processors, as 1.5")
    add("-c", "--cpu-shares", type=int, metavar="N", help="weight against others")
    add("--cpuset-cpus", dest="cpuset", metavar="LIST", help="processors, as 0-2,5")
    add("--pids-limit", dest="pids", type=int, metavar="N", help="limit of processes, -1 for none")
    add("--blkio-weight", dest="io_weight", type=int, metavar="N", help="weight of disk accesses")
    add("--restart", metavar="POLICY", help="no, on-failure[:N], always or unless-stopped")


def limits(args: Namespace) -> UpdateOptions:
    """Give the limits that were given."""
    words = "memory memory_swap memory_reservation cpus cpu_shares cpuset pids io_weight restart"
    given = {name: getattr(args, name) for name in words.split()}
    return cast("UpdateOptions", {name: one for name, one in given.items() if one is not None})


def add_options(parser: ArgumentParser) -> None:
    """Let a command take what a container is created with."""
    add = parser.add_argument

    def several(*flags: str, dest: str, metavar: str, help: str) -> None:
        add(*flags, dest=dest, action="append", default=[], metavar=metavar, help=help)

    add_limits(parser)
    several("-e", "--env", dest="env", metavar="NAME[=VALUE]", help="a variable")
    several("--env-file", dest="env_files", metavar="FILE", help="a file of variables")
    several("--ulimit", dest="ulimits", metavar="NAME=SOFT[:HARD]", help="a resource limit")
    several("--device", dest="devices", metavar="SRC[:DST[:rwm]]", help="a device of the host's")
    several("--sysctl", dest="sysctls", metavar="NAME=VALUE", help="a kernel parameter")
    several("-l", "--label", dest="labels", metavar="KEY[=VALUE]", help="a label")
    several("--group-add", dest="group_add", metavar="GROUP", help="a further group")
    several("--cap-add", dest="cap_add", metavar="CAP", help="add a capability")
    several("--cap-drop", dest="cap_drop", metavar="CAP", help="drop a capability")
    several("--security-opt", dest="security", metavar="OPTION",
            help="seccomp=PROFILE or no-new-privileges[=false]")  # fmt: skip
    several("--log-opt", dest="log_options", metavar="NAME=VALUE", help="max-size or max-file")
    add("--name", help="the container's name")
    add("-w", "--workdir", metavar="DIR", help="working directory")
    add("-u", "--user", help="user, as name, uid or uid:gid")
    add("-h", "--hostname", help="host name")
    add("--domainname", metavar="NAME", help="domain name")
    add("--oom-score-adj", type=int, metavar="N",
        help="how readily it is killed for lack of memory, -1000 to 1000")  # fmt: skip
    add("--shm-size", metavar="SIZE", help="size of /dev/shm")
    add("--userns", metavar="auto|host", help="user namespace of its own, or the host's")
    add("--entrypoint", help='the program, instead of the image\'s; "" for none')
    add("--stop-signal", metavar="SIGNAL", help="what `stop` sends")
    add("--stop-timeout", type=duration, metavar="TIME", help="grace period of `stop`")
    add("--timeout", type=duration, metavar="TIME", help="kill the container after this time")
    for flag, help_ in (
        ("--read-only", "mount the root file system read-only"),
        ("--privileged", "give it all that the host's root has"),
        ("--init", "run a process 1 that reaps others"),
        ("--ephemeral", "keep what it writes in memory, and drop it at its end"),
        ("--rm", "remove the container when it has ended"),
        ("--no-healthcheck", "switch the image's health check off"),
    ):
        add(flag, action="store_true", help=help_)
    add("-t", "--tty", action="store_true", help="give it a terminal")
    add("-i", "--interactive", action="store_true", help="keep its input open")
    add("--health-cmd", metavar="COMMAND", help="what asks for its health")
    for name in ("interval", "timeout", "start-period", "start-interval"):
        add(f"--health-{name}", type=duration, metavar="TIME", help="as of the health check")
    add("--health-retries", type=int, metavar="N", help="failures that make it unhealthy")


def options(args: Namespace) -> RunOptions:
    """Give the options that the flags mean; raises InvalidArgument.

    The container is a detached one: it lives on when the command line has done its part.
    """
    direct = (
        "name workdir user hostname domainname shm_size userns stop_signal stop_timeout timeout"
    )
    found: dict[str, Any] = {**limits(args), "detach": True}
    for name in (*direct.split(), "group_add", "cap_add", "cap_drop", "devices"):
        if getattr(args, name):
            found[name] = getattr(args, name)
    for name in ("read_only", "privileged", "init", "ephemeral", "tty"):
        found[name] = getattr(args, name)
    found |= {"stdin": args.interactive, "auto_remove": args.rm}
    found["oom_score_adj"] = args.oom_score_adj
    found["env"] = environment(args.env, args.env_files)
    found["labels"] = pairs("--label", args.labels, empty=True)
    found["sysctls"] = pairs("--sysctl", args.sysctls)
    found["ulimits"] = {k: _ulimit(v) for k, v in pairs("--ulimit", args.ulimits).items()}
    if found.get("memory") is None and "memory_swap" in found:
        raise pc.InvalidArgument("--memory-swap needs --memory, which it includes")
    if found.get("pids") in (-1, 0):
        found["pids"] = None
    if args.entrypoint is not None:
        found["entrypoint"] = [args.entrypoint] if args.entrypoint else []
    if (check := _healthcheck(args)) is not None:
        found["healthcheck"] = check
    return cast("RunOptions", found | _security(args.security) | _log(args.log_options))


def _ulimit(text: str) -> tuple[int, int]:
    soft, _, hard = text.partition(":")
    try:
        return int(soft), int(hard or soft)
    except ValueError:
        raise pc.InvalidArgument(f"--ulimit: {text!r} is not SOFT[:HARD]") from None


def _security(given: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in given:
        name, _, value = item.replace(":", "=", 1).partition("=")
        if name == "seccomp" and value:
            found["seccomp"] = value
        elif name == "no-new-privileges" and value in ("", "true", "false"):
            found["no_new_privileges"] = value != "false"
        else:
            raise pc.InvalidArgument(
                f"--security-opt: there is no {item!r}",
                hint="there are seccomp=PROFILE and no-new-privileges[=false]",
            )
    return found


def _log(given: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs("--log-opt", given).items():
        if name == "max-size":
            found["log_max_size"] = value
        elif name == "max-file" and value.isdecimal():
            found["log_max_files"] = int(value)
        else:
            raise pc.InvalidArgument(
                f"--log-opt: there is no {name}={value}", hint="there are max-size and max-file"
            )
    return found


def _healthcheck(args: Namespace) -> dict[str, Any] | list[str] | None:
    names = ("interval", "timeout", "start_period", "start_interval", "retries")
    given = {name: getattr(args, f"health_{name}") for name in names}
    found = {name: value for name, value in given.items() if value is not None}
    if args.health_cmd is not None:
        found["test"] = args.health_cmd
    if args.no_healthcheck:
        if found:
            raise pc.InvalidArgument("--no-healthcheck: there are other --health-… options")
        return ["NONE"]
    return found or None
