"""What a supervisor is told: its container's plan, and how to keep it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from pycontainers.lifecycle import compile as compiling
from pycontainers.lifecycle import netoptions, placing, request, uses, volumes, wires
from pycontainers.lifecycle.policies import Healthcheck
from pycontainers.runtime import plan
from pycontainers.runtime.wiring import ConnectBridge, Publish
from pycontainers.storage.root import run_directory

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pycontainers.lifecycle.life import Life
    from pycontainers.net.reservation import Published, Reservation
    from pycontainers.oci import runtime


def make_plan(
    life: Life,
    terminal: tuple[int, int] | None = None,
    published: Sequence[Published] = (),
) -> tuple[plan.Plan, list[int]]:
    """Give the plan of a start, and the descriptors that it takes."""
    services, options = life.services, life.options
    nursery = services.nursery
    nursery.ready()
    template, given = services.template(options, life.source, accounting=True)
    cgroup = nursery.cgroups.cgroup(life.id) if nursery.cgroups.controllers else None
    made = compiling.personal(
        template,
        life.id,
        None if cgroup is None else cgroup.plain(),
        None if options.ephemeral else plan.OWN,
        options.hostname or life.id[:12],
        terminal,
        files=str(life.directory),
        wires=wire(life, published) if options.is_bridged else None,
    )
    places = volumes.places(services, life.volumes)
    return placing.with_volumes(made, places), given


def wire(life: Life, published: Sequence[Published]) -> list[ConnectBridge | Publish]:
    """Give the steps that connect a container to its networks."""
    places = life.services.networks.tables.places(life.id)
    connects = wires.connects(life.services, life.options, places)
    publish = wires.publish(connects, published)
    return [*connects, *([] if publish is None else [publish])]


def make_order(
    life: Life, made: plan.Plan, attach: list[str] | None, reservation: Reservation
) -> dict[str, Any]:
    """Give the order for a start by `made`; `attach` names the streams that are passed along."""
    options = life.options
    connects = [step for step in made.beside if isinstance(step, ConnectBridge)]
    life.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {
        "op": "supervise",
        "id": life.id,
        "directory": str(life.directory),
        "fresh": not (life.directory / "upper").exists(),
        "making": str(life.services.root.layers),
        "socket": str(life.socket),
        "run": str(run_directory()),
        "events": str(life.services.root.events),
        "attributes": life.attributes(),
        "uses": uses.of(life),
        "start": made.plain(),
        "stdin": options.stdin,
        "tty": options.tty,
        "log": {"max_size": options.log_max_size, "max_files": options.log_max_files},
        "restart": list(restart_rule(life)),
        "stop_signal": stop_signal(life),
        "timeout": options.timeout,
        "health": _health(life),
        "attached": life.row.owner_pid != 0,
        "attach": attach,
        "relays": wires.relays(connects, reservation),
        "joins": netoptions.shared(options.network) is not None,
    }


def restart_rule(life: Life) -> tuple[str, int]:
    """Give the name of the restart policy and its most restarts, 0 for no end."""
    return life.options.restart.name, life.options.restart.maximum


def stop_signal(life: Life) -> int:
    """Give the signal that asks the container's program to end."""
    return life.options.stop_signal or request.stop_signal(life.source.config) or signal.SIGTERM


def exec_steps(life: Life, process: runtime.Process) -> tuple[list[plan.Step], list[int]]:
    """Give the steps of a further program, and the descriptors that they name."""
    options = life.options
    profile = "unconfined" if options.privileged else options.seccomp
    granted = frozenset(process.capabilities.bounding)
    filter_fd, size = life.services.filter(profile, granted)
    load = None if filter_fd is None else plan.LoadSeccomp(0, size)
    names = [entry.type for entry in life.spec.linux.namespaces]
    if netoptions.shared(options.network) is not None:
        names.append("network")  # that of another container, in which this one's program is
    steps = compiling.exec_steps(names, process, seccomp=load)
    return steps, [] if filter_fd is None else [filter_fd]


def _health(life: Life) -> dict[str, Any] | None:
    check = Healthcheck.effective(life.options.healthcheck, life.source.config)
    if check is None:
        return None
    argv = check.argv(life.source.config.shell)
    process = request.further_process(life.spec.process, argv, (), None, None, False)
    steps, _ = exec_steps(life, process)
    return {
        "steps": [plan.pack(step) for step in steps],
        "oom_score": life.options.oom_score_adj,
        "interval": check.interval,
        "timeout": check.timeout,
        "start_period": check.start_period,
        "start_interval": check.start_interval,
        "retries": check.retries,
    }


def socket_path(container_id: str) -> Path:
    """Give where a container's supervisor listens."""
    return run_directory() / "supervisors" / container_id
