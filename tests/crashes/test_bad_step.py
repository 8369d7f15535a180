"""A step of a plan that can't be carried out: the error names it, and everything is undone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import pycontainers as pc
from pycontainers.lifecycle.attached import Attached, new_id
from pycontainers.lifecycle.options import Options
from pycontainers.lifecycle.streams import Streams
from pycontainers.runtime import plan
from pycontainers.runtime.mounting import CloneTree
from tests import leaks

_NOWHERE = "/nowhere/at/all"
_IMPOSSIBLE: dict[str, tuple[str, plan.AnyStep]] = {
    "birth": ("birth", plan.MapIds([[0, 1 << 31, 0]], [[0, 1 << 31, 0]])),
    "birth of init": ("birth init", plan.SetHostname("x" * 100)),
    "limit": ("beside", plan.SetLimit("nofile", 1 << 40, 1 << 40)),
    "tree": ("beside", CloneTree(_NOWHERE, None, "/mnt", 0, False, False)),
    "root": ("beside", plan.MountRoot([_NOWHERE], None, None, False, 0)),
    "directory": ("beside", plan.MountDirectory(_NOWHERE, False, 0)),
    "hostname": ("init", plan.SetHostname("x" * 100)),
    "mount": ("init", plan.MountNew("nosuchfs", "/mnt", 0, "")),
    "no tree": ("init", plan.AttachTree(99, "/mnt")),
    "sysctl": ("init", plan.WriteSysctls([("kernel.nothing", "1")])),
    "user": ("late", plan.BecomeUser("nobody-at-all", [])),
    "work": ("late", plan.EnterDirectory("/bin/busybox/below")),
    "filter": ("late", plan.LoadSeccomp(0, 3)),
}


def _spoil(whole: plan.Plan, where: str, step: plan.AnyStep) -> plan.Plan:
    """Put an impossible step into a plan, among those that are carried out at that place."""
    birth = whole.birth
    whole = whole._replace(packed_birth="")
    lists: dict[str, Callable[[], plan.Plan]] = {
        "birth": lambda: whole._replace(birth=birth._replace(launcher=[step])),  # type: ignore[list-item]
        "birth init": lambda: whole._replace(birth=birth._replace(init=[step])),  # type: ignore[list-item]
        "beside": lambda: whole._replace(beside=[*whole.beside, step]),  # type: ignore[list-item]
        "init": lambda: whole._replace(steps=[*whole.steps[:1], step, *whole.steps[1:]]),  # type: ignore[list-item]
        "late": lambda: whole._replace(steps=[*whole.steps[:-1], step, whole.steps[-1]]),  # type: ignore[list-item]
    }
    return lists[where]()


def _attempt(engine: pc.Engine, image: pc.Image, where: str, step: plan.AnyStep) -> pc.LaunchError:
    services = engine.services()
    attached = Attached(services, new_id(), Options.of(["true"], ephemeral=True), image.source())
    attached.create()
    whole, given = attached.plan()
    streams = Streams()
    try:
        running = services.launcher().start(_spoil(whole, where, step), streams.theirs, given)
        attached.running = running
        streams.started()
        with pytest.raises(pc.LaunchError) as caught:
            running.wait_started()
    finally:
        streams.close()
        attached.end_now()
        attached.remove()
    return caught.value


@pytest.mark.parametrize("name", _IMPOSSIBLE)
def test_an_impossible_step_is_named_and_undone(
    name: str, own: pc.Engine, own_image: pc.Image, root: Path
) -> None:
    where, step = _IMPOSSIBLE[name]
    pc.run(["true"], image=own_image, engine=own)  # so that what the launcher keeps is there
    launcher = own.services().launcher()
    error = _attempt(own, own_image, where, step)
    held = len(os.listdir("/proc/self/fd"))
    theirs = launcher.report()["fds"]

    for _ in range(5):
        error = _attempt(own, own_image, where, step)

    assert error.step == str(step)
    assert str(step) in str(error)
    assert len(os.listdir("/proc/self/fd")) == held
    assert launcher.report()["fds"] <= theirs + 8  # a spare newborn comes and goes
    assert leaks.cgroups_of_containers() == []
    assert leaks.in_root(root) == []
    assert pc.run(["echo", "on"], image=own_image, engine=own).stdout == "on\n"


def test_a_message_that_is_nonsense_ends_the_launcher_and_a_new_one_serves(
    own: pc.Engine, own_image: pc.Image
) -> None:
    pc.run(["true"], image=own_image, engine=own)
    launcher = own.services().launcher()

    with pytest.raises(pc.EngineError):
        launcher._answer({"op": "nonsense"})
    answers: list[str] = []
    while "on\n" not in answers and len(answers) < 50:
        try:
            answers.append(pc.run(["echo", "on"], image=own_image, engine=own).stdout)
        except pc.EngineError:
            answers.append("told")

    assert answers[-1] == "on\n"
