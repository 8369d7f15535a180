"""What instructions change of an image's config; values are expanded already."""

from __future__ import annotations

import datetime
import json
import posixpath
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.build.instructions import (
    Arg,
    Cmd,
    Entrypoint,
    Env,
    Expose,
    HealthCheck,
    Label,
    Maintainer,
    OnBuild,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from pycontainers.oci.config import Healthcheck, History, ImageConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pycontainers.build.instructions import Argument, Command, Instruction

DEFAULT_SHELL: Final = ("/bin/sh", "-c")


def changed(config: ImageConfig, instruction: Instruction, *, has_cmd: bool) -> ImageConfig:
    """Give the config after an instruction that only changes that.

    `has_cmd` tells whether the stage has set a command: else an entrypoint takes the base image's
    away, which was made for another one.
    """
    match instruction:
        case Env():
            return attrs.evolve(config, env=_with_variables(config.env, instruction))
        case Label():
            pairs = {pair.name: pair.value for pair in instruction.pairs}
            return attrs.evolve(config, labels={**config.labels, **pairs})
        case User():
            return attrs.evolve(config, user=instruction.user)
        case Workdir():
            return attrs.evolve(config, working_dir=joined(config, instruction.path))
        case Volume():
            return attrs.evolve(config, volumes=_united(config.volumes, instruction.paths))
        case Expose():
            return attrs.evolve(
                config, exposed_ports=_united(config.exposed_ports, instruction.ports)
            )
        case Shell():
            return attrs.evolve(config, shell=instruction.command)
        case StopSignal():
            return attrs.evolve(config, stop_signal=instruction.signal)
        case Cmd():
            return attrs.evolve(config, cmd=argv(config, instruction.command))
        case Entrypoint():
            cmd = config.cmd if has_cmd else ()
            return attrs.evolve(config, entrypoint=argv(config, instruction.command), cmd=cmd)
        case HealthCheck():
            return attrs.evolve(config, healthcheck=_health_check(instruction))
        case Maintainer():
            return attrs.evolve(config, author=instruction.author)
        case OnBuild():
            return attrs.evolve(config, on_build=(*config.on_build, instruction.expression))
        case _:
            return config


def argv(config: ImageConfig, command: Command) -> tuple[str, ...]:
    """Give what is executed: a text goes to the shell."""
    return (*(config.shell or DEFAULT_SHELL), command) if isinstance(command, str) else command


def joined(config: ImageConfig, path: str) -> str:
    """Give a path in the image, from its working directory on where it is relative."""
    return posixpath.normpath(posixpath.join(config.working_dir or "/", path))


def timestamp(seconds: float) -> str:
    """Give a time as configs have it.

    >>> timestamp(0)
    '1970-01-01T00:00:00Z'
    """
    when = datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def dated(history: Sequence[History]) -> tuple[History, ...]:
    """Give steps that have no time that of the step before, as they are as old as its layer.

    So a build that makes nothing new gives the very image that was there; where no layer has a
    time, as below an image of a plain archive, none is made up.
    """
    latest = next((step.created for step in history if step.created), "")
    found = []
    for step in history:
        latest = step.created or latest
        found.append(attrs.evolve(step, created=latest))
    return tuple(found)


def said(instruction: Instruction, config: ImageConfig) -> str:
    """Give what an image's history tells of an instruction, as Docker writes it."""
    match instruction:
        case Env() | Label():
            pairs = " ".join(f"{pair.name}={pair.value}" for pair in instruction.pairs)
            return f"{instruction.name} {pairs}"
        case Cmd() | Entrypoint():
            return f"{instruction.name} {_list(argv(config, instruction.command))}"
        case Expose():
            return f"EXPOSE {_map(instruction.ports)}"
        case Volume():
            return f"VOLUME [{' '.join(instruction.paths)}]"
        case Shell():
            return f"SHELL [{' '.join(instruction.command)}]"
        case Arg():
            return " ".join(["ARG", *(_argument(one) for one in instruction.arguments)])
        case User():
            return f"USER {instruction.user}"
        case Workdir():
            return f"WORKDIR {joined(config, instruction.path)}"
        case Maintainer():
            return f"MAINTAINER {instruction.author}"
        case HealthCheck():
            return f"HEALTHCHECK {_health(instruction)}"
        case StopSignal():
            return f"STOPSIGNAL {instruction.signal}"
        case _:
            return instruction.text


def _argument(argument: Argument) -> str:
    name, value = argument
    return name if value is None else f"{name}={value}"


def _list(values: Sequence[str]) -> str:
    return "[" + " ".join(json.dumps(value, ensure_ascii=False) for value in values) + "]"


def _map(ports: Iterable[str]) -> str:
    return "map[" + " ".join(f"{port}:{{}}" for port in ports) + "]"


def _health(check: HealthCheck) -> str:
    """Write a health check as Go prints the structure that holds it."""
    times = (
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    )
    parts = [f"Test:[{' '.join(check.test)}]", *(f"{name}:{_time(ns)}" for name, ns in times)]
    return "{" + " ".join([*parts, f"Retries:{check.retries}"]) + "}"


def _time(nanoseconds: int) -> str:
    """Write a time as Go does.

    >>> _time(90 * 10**9), _time(1_500_000), _time(0)
    ('1m30s', '1.5ms', '0s')
    """
    if 0 < nanoseconds < 10**9:
        unit, factor = ("ms", 10**6) if nanoseconds >= 10**6 else ("µs", 10**3)
        return f"{nanoseconds / factor:g}{unit}"
    seconds = nanoseconds / 10**9
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    whole = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{whole}{rest:.9f}".rstrip("0").rstrip(".") + "s"


def _with_variables(env: Iterable[str], instruction: Env) -> tuple[str, ...]:
    known = dict(entry.partition("=")[::2] for entry in env)
    known |= {pair.name: pair.value for pair in instruction.pairs}
    return tuple(f"{name}={value}" for name, value in known.items())


def _united(old: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*old, *new]))


def _health_check(instruction: HealthCheck) -> Healthcheck:
    return Healthcheck(
        test=instruction.test,
        interval=instruction.interval,
        timeout=instruction.timeout,
        start_period=instruction.start_period,
        start_interval=instruction.start_interval,
        retries=instruction.retries,
    )
