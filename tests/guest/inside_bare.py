"""Run in the guest: what is promised to root where nobody manages the version 2 cgroups."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pycontainers.kernel.cgroups import layout
from pycontainers.kernel.cgroups.base import Limits
from pycontainers.kernel.cgroups.host import find_host

ROOT = Path("/sys/fs/cgroup")
REPORT = """
import os
from pycontainers.errors import NotSupported
from pycontainers.kernel.cgroups.base import Limits
from pycontainers.kernel.cgroups.host import find_host
host = find_host()
try:
    host.check(Limits(pids=10, memory=1 << 26))
    host.adopt(os.getpid())
    cgroup = host.cgroup("c1")
    cgroup.create(Limits(pids=10, memory=1 << 26))
    print(cgroup.plain()["directory"])
    cgroup.remove()
    host.tidy()
except NotSupported as error:
    print(" ".join(str(error).split()))
"""


@contextmanager
def cgroup_at(path: Path) -> Iterator[Path]:
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        while path != ROOT:
            path.rmdir()
            path = path.parent


def report_from(cgroup: Path, before: str = "") -> str:
    """Say what a process finds that a shell put into a cgroup, after some further commands."""
    script = f'echo 0 >{cgroup}/cgroup.procs; {before} exec "$@"'
    command = ["sh", "-c", script, "sh", sys.executable, "-c", REPORT]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    return said.stdout.strip()


def test_root_in_the_root_cgroup_has_its_place_there_and_stays() -> None:
    host = find_host()

    host.adopt(1)
    cgroup = host.cgroup("c1")
    cgroup.create(Limits(pids=10))

    assert cgroup.plain()["directory"] == f"{ROOT}/pycontainers/c1"
    assert host.listing() == ["c1"]
    assert layout.path_of(1) == "/"
    cgroup.remove()
    host.tidy()
    assert not (ROOT / "pycontainers").exists()


def test_only_the_controllers_asked_for_are_enabled() -> None:
    host = find_host()
    host.adopt(1)
    control = ROOT / "pycontainers/cgroup.subtree_control"
    first = control.read_text().split()
    cgroup = host.cgroup("c1")

    cgroup.create(Limits(cpus=0.5))

    assert first == ["memory", "pids"]
    assert control.read_text().split() == ["cpu", "memory", "pids"]
    cgroup.remove()
    host.tidy()


def test_a_cgroup_with_processes_hands_the_place_up() -> None:
    with cgroup_at(ROOT / "app") as own:
        said = report_from(own)

    assert said == f"{ROOT}/pycontainers/c1"


def test_the_nearest_ancestor_without_processes_is_the_place() -> None:
    with cgroup_at(ROOT / "outer/app") as own:
        said = report_from(own)

    assert said == f"{ROOT}/outer/pycontainers/c1"


def test_in_a_container_whose_cgroup_has_processes_the_remedy_is_named() -> None:
    # As under docker run --privileged: the own cgroup is the root of its namespace.
    enter = 'at=/sys/fs/cgroup; mount="umount $at && mount -t cgroup2 cgroup2 $at"; '
    enter += 'exec unshare --cgroup --mount sh -c "$mount; exec \\"\\$@\\"" sh "$@";'

    with cgroup_at(ROOT / "box") as own:
        said = report_from(own, enter)

    assert "every cgroup that is writable has processes in it" in said
    assert "mkdir /sys/fs/cgroup/app" in said


def test_a_read_only_cgroup_file_system_is_named() -> None:
    enter = 'mount="mount -o remount,bind,ro /sys/fs/cgroup"; '
    enter += 'exec unshare --mount sh -c "$mount; exec \\"\\$@\\"" sh "$@";'

    with cgroup_at(ROOT / "app") as own:
        said = report_from(own, enter)

    assert "none of this process's cgroups is writable" in said
    assert "with a writable /sys/fs/cgroup" in said
