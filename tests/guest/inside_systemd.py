"""Run in the guest: what is promised where systemd owns the cgroups, as root and as a user."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainers.errors import NotSupported
from pycontainers.kernel import mounts
from pycontainers.kernel.cgroups import layout, systemd
from pycontainers.kernel.cgroups.base import Limits
from pycontainers.kernel.cgroups.host import find_host

LAUNCHER = "import subprocess; subprocess.run(['sleep', '60'], start_new_session=True)"
REPORT = (
    "from pycontainers.kernel.cgroups.host import find_host; print(find_host().controllers['pids'])"
)


@pytest.fixture
def launcher() -> Iterator[int]:
    """A process with a child, as a launcher is; both end with the test."""
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", LAUNCHER])
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not children.read_text():
        time.sleep(0.01)
    child = int(children.read_text())
    yield process.pid
    os.kill(child, signal.SIGKILL)
    process.wait()


def test_the_launcher_is_moved_with_its_child_and_nobody_else(launcher: int) -> None:
    before = layout.own()
    host = find_host()

    host.adopt(launcher)

    child = int(Path(f"/proc/{launcher}/task/{launcher}/children").read_text())
    place = layout.path_of(launcher)
    assert place is not None
    assert place.endswith(".scope/launcher")
    assert layout.path_of(child) == place
    assert layout.own() == before
    scope = f"/sys/fs/cgroup{os.path.dirname(place)}"
    assert host.controllers["pids"] == f"{scope}/pycontainers"
    assert Path(f"{scope}/cgroup.procs").read_text() == ""


def test_children_that_are_born_meanwhile_come_along() -> None:
    restless = (
        "import os, time\nfor n in range(40):\n    time.sleep(.05)\n    os.fork() or time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", restless])
    host = find_host()

    host.adopt(process.pid)

    place = layout.path_of(process.pid)
    time.sleep(0.5)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    assert {layout.path_of(int(child)) for child in children} == {place}
    for number in children:
        os.kill(int(number), signal.SIGKILL)
    process.kill()
    process.wait()


def test_the_scope_lies_in_the_slice_of_the_caller(launcher: int) -> None:
    host = find_host()

    host.adopt(launcher)

    own = systemd.slice_of(layout.path_of(os.getpid()) or "") or "app.slice"
    assert f"/{own}/pycontainers-{launcher}-" in (layout.path_of(launcher) or "")


def test_each_launcher_has_a_scope_that_goes_with_it() -> None:
    process = subprocess.Popen(["sleep", "60"])
    host = find_host()
    host.adopt(process.pid)
    left = host.cgroup("c1")
    left.create(Limits(pids=10))
    scope = Path(host.controllers["pids"]).parent
    assert scope.is_dir()

    process.kill()
    process.wait()
    successor = subprocess.Popen(["sleep", "60"])
    host.adopt(successor.pid)
    second = Path(host.controllers["pids"]).parent
    successor.kill()
    successor.wait()

    assert second != scope
    deadline = time.monotonic() + 20
    while (scope.exists() or second.exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not scope.exists()
    assert not second.exists()


def test_there_is_no_place_before_a_launcher_is_adopted() -> None:
    host = find_host()

    assert host.listing() == []
    assert host.hierarchies(Limits()) == ()
    with pytest.raises(NotSupported, match="no place yet"):
        host.cgroup("c1")


def test_a_controller_that_is_not_delegated_is_refused_with_the_remedy() -> None:
    host = find_host()
    lacking = {"cpuset": Limits(cpuset="0"), "io": Limits(io_weight=100)}

    for controller, limits in lacking.items():
        if controller in host.controllers:
            host.check(limits)
            continue
        with pytest.raises(NotSupported, match="not delegated") as caught:
            host.check(limits)
        assert "Delegate=cpu cpuset io memory pids" in (caught.value.hint or "")


def test_what_systemd_refuses_is_told_in_its_words() -> None:
    (hierarchy,) = layout.hierarchies(mounts.mountinfo(), layout.own())

    with pytest.raises(NotSupported, match="systemd gives no cgroup") as caught:
        systemd.delegate(os.getpid(), "not/a/name", hierarchy)

    assert "systemd-run" in (caught.value.hint or "")


def test_without_a_message_bus_every_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        monkeypatch.setenv("PATH", "/nowhere")
        missing = "busctl"
    else:
        monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
        monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
        missing = "enable-linger"

    host = find_host()

    assert host.controllers == {}
    host.check(Limits())
    with pytest.raises(NotSupported, match=missing):
        host.check(Limits(pids=10))
    with pytest.raises(NotSupported, match=missing):
        host.cgroup("c1")


def test_a_delegated_cgroup_without_processes_is_used_as_it_is() -> None:
    if os.geteuid() != 0:
        return  # a user's manager leaves no mark on what it delegates
    enter = "own=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); mkdir $own/app; "
    enter += f'echo 0 >$own/app/cgroup.procs; exec "{sys.executable}" -c "{REPORT}"'

    said = subprocess.run(
        ["systemd-run", "--scope", "--quiet", "--unit=giver", "-p", "Delegate=yes",
         "sh", "-c", enter],
        check=True, capture_output=True, text=True,
    )  # fmt: skip

    assert said.stdout.strip() == "/sys/fs/cgroup/system.slice/giver.scope/pycontainers"
