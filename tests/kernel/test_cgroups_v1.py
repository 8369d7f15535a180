"""Version 1 and the hybrid layout: the own place is found, and little of it is used."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainers.errors import KernelError, NotSupported
from pycontainers.kernel.cgroups import figures, layout
from pycontainers.kernel.cgroups.base import Cgroup, Limits, joined, needed
from pycontainers.kernel.cgroups.host import V1Host, find_host
from pycontainers.kernel.cgroups.place import Host, NoHost, processors
from pycontainers.kernel.cgroups.plain import from_plain
from pycontainers.kernel.cgroups.v1 import V1Cgroup
from pycontainers.kernel.mounts import Mount

HYBRID = """\
12:cpu,cpuacct:/docker/c1
11:memory:/docker/c1/inner
10:pids:/elsewhere
9:freezer:/../outside
1:name=systemd:/docker/c1
0::/docker/c1
"""


@pytest.fixture
def host() -> Iterator[Host]:
    found = find_host()
    yield found
    found.tidy()


@pytest.fixture
def cgroup(host: Host) -> Iterator[Cgroup]:
    made = host.cgroup(f"test-{os.urandom(4).hex()}")
    yield made
    made.remove()


def mounted(fstype: str, target: str, options: str, root: str = "/") -> Mount:
    return Mount(1, 0, root, target, "rw", fstype, "cgroup", options)


def own_cgroups() -> dict[str, str]:
    lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    return {names: path for _, names, path in lines}


def in_own_namespace(script: str) -> str:
    """Say what a Python program prints after a shell script in a mount namespace of its own."""
    program = (
        "from pycontainers.errors import NotSupported\n"
        "from pycontainers.kernel.cgroups.base import Limits\n"
        "from pycontainers.kernel.cgroups.host import find_host\n"
        "host = find_host()\n"
        "host.check(Limits())\n"
        "try:\n"
        "    host.check(Limits(pids=10))\n"
        "    print('enforced')\n"
        "except NotSupported as error:\n"
        "    print(host.layout, error)\n"
    )
    command = ["unshare", "--mount", "sh", "-ec", f'{script}; exec "$@"', "sh"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(
        [*command, sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return " ".join(said.stdout.split())


def test_a_cgroup_lies_beneath_the_callers_own(host: Host) -> None:
    for controller, directory in host.controllers.items():
        name = "blkio" if controller == "io" else controller
        own = next(path for names, path in own_cgroups().items() if name in names.split(","))
        assert directory.endswith(f"{own.rstrip('/')}/pycontainers")


def test_only_the_hierarchies_that_limits_need_are_joined(host: Host, cgroup: Cgroup) -> None:
    cgroup.create(Limits(cpus=1.0))

    directories = cgroup.plain()["directories"]
    exist = {name for name, path in directories.items() if Path(path).exists()}

    assert exist == {"pids", "memory", "cpu"}
    assert host.hierarchies(Limits(cpus=1.0)) == ("pids", "memory", "cpu")


def test_accounting_joins_what_tells_of_cpu_and_io(host: Host, cgroup: Cgroup) -> None:
    cgroup.create(Limits(accounting=True))

    directories = cgroup.plain()["directories"]
    exist = {name for name, path in directories.items() if Path(path).exists()}

    assert exist == {"pids", "memory", "cpuacct", "io"}
    assert host.hierarchies(Limits(accounting=True)) == ("pids", "memory", "cpuacct", "blkio")


def test_kills_in_cgroups_made_within_are_counted(cgroup: Cgroup) -> None:
    # As a container makes them that has the right to, say for containers of its own.
    cgroup.create(Limits(memory=256 << 20))
    inner = Path(cgroup.plain()["directories"]["memory"], "inner")
    inner.mkdir()
    (inner / "memory.limit_in_bytes").write_text(str(16 << 20))
    (inner / "memory.memsw.limit_in_bytes").write_text(str(16 << 20))
    script = f"echo 0 >{inner}/cgroup.procs; exec dd if=/dev/zero of=/dev/null bs=100M count=1"

    subprocess.run(["sh", "-c", script], check=False)

    assert cgroup.usage().oom_kills == 1
    assert cgroup.sample().oom_kills == 1


def test_a_program_executed_later_joins_what_another_process_made_it_join(
    host: Host, cgroup: Cgroup
) -> None:
    cgroup.create(Limits())
    from_plain(cgroup.plain()).update(Limits(cpus=0.5))

    inner = cgroup.subgroup("exec-1")
    inner.create(Limits())
    fds = inner.join_fds()

    paths = [str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in fds]
    for fd in fds:
        os.close(fd)
    assert f"{cgroup.plain()['directories']['cpu']}/tasks" in paths


def test_io_is_summed_over_disks_and_unknown_where_none_is_named(tmp_path: Path) -> None:
    name = "blkio.throttle.io_service_bytes_recursive"
    (tmp_path / name).write_text("8:0 Read 10\n8:0 Write 20\n8:0 Total 30\n8:16 Read 5\nTotal 35\n")

    told = figures.transferred(str(tmp_path))
    (tmp_path / name).write_text("Total 0\n")

    assert told == (15, 20)
    assert figures.transferred(str(tmp_path)) == (None, None)


def test_two_processes_may_freeze_and_limit_the_same(cgroup: Cgroup) -> None:
    cgroup.create(Limits())
    other = from_plain(cgroup.plain())
    other.freeze()
    other.thaw()
    other.update(Limits(cpu_shares=512))

    cgroup.freeze()
    cgroup.thaw()
    cgroup.update(Limits(cpu_shares=256))

    shares = Path(cgroup.plain()["directories"]["cpu"], "cpu.shares")
    assert shares.read_text() == "256\n"


def test_memory_that_swap_can_not_follow_stays_as_it_was(cgroup: Cgroup) -> None:
    cgroup.create(Limits(memory=32 << 20, memory_swap=64 << 20))

    with pytest.raises(KernelError):
        cgroup.update(Limits(memory=48 << 20, memory_swap=40 << 20))

    where = Path(cgroup.plain()["directories"]["memory"])
    assert (where / "memory.limit_in_bytes").read_text() == f"{32 << 20}\n"
    assert (where / "memory.memsw.limit_in_bytes").read_text() == f"{64 << 20}\n"


def test_nothing_of_the_caller_is_moved_or_left(host: Host) -> None:
    before = own_cgroups()
    host.adopt(os.getpid())
    cgroup = host.cgroup("test-unmoved")

    cgroup.create(Limits(pids=5, cpus=0.5, cpuset="0", devices=(), io_weight=100))
    cgroup.freeze()
    cgroup.thaw()
    cgroup.kill()
    cgroup.remove()

    assert own_cgroups() == before
    assert not any(Path(path).exists() for path in cgroup.plain()["directories"].values())


def test_a_tidied_host_keeps_what_is_in_use(host: Host, cgroup: Cgroup) -> None:
    cgroup.create(Limits(pids=10))

    host.tidy()

    assert cgroup.plain()["directories"]["pids"].rpartition("/")[2] in host.listing()


def test_a_read_only_cgroup_file_system_refuses_limits_with_the_remedy() -> None:
    said = in_own_namespace(
        "for d in /sys/fs/cgroup/*; do mountpoint -q $d && mount -o remount,bind,ro $d; done"
    )

    assert said.startswith("hybrid the limit pids can't be enforced: the cgroup hierarchy")
    assert "is not writable" in said
    assert "with a writable /sys/fs/cgroup" in said


def test_a_machine_without_mounted_cgroups_refuses_limits_with_the_remedy() -> None:
    said = in_own_namespace("umount --lazy --recursive /sys/fs/cgroup")

    assert said.startswith("none the limit pids can't be enforced: no file system is mounted")
    assert "mount -t cgroup2" in said


def test_a_controller_that_is_not_mounted_is_named() -> None:
    host = V1Host([])

    with pytest.raises(NotSupported, match="blkio cgroup /sys/fs/cgroup/blkio"):
        host.check(Limits(io_weight=100))
    with pytest.raises(NotSupported, match="no cgroup hierarchy is writable"):
        host.cgroup("c1")


def test_a_host_without_cgroups_still_runs_what_asks_for_none() -> None:
    host = NoHost("none", "there are none", "mount them")

    host.check(Limits())
    host.adopt(os.getpid())
    host.tidy()

    assert host.listing() == []
    assert host.hierarchies(Limits()) == ()
    with pytest.raises(NotSupported, match=r"there are none\n  mount them"):
        host.cgroup("c1")


def test_without_a_freezer_freezing_says_so(host: Host) -> None:
    directories = {name: f"{path}/x" for name, path in host.controllers.items()}
    del directories["freezer"]

    with pytest.raises(NotSupported, match="mount -t cgroup -o freezer"):
        V1Cgroup(directories).freeze()


def test_without_pids_the_freezer_holds_the_tree_together(host: Host) -> None:
    cgroup = V1Cgroup({"freezer": f"{host.controllers['freezer']}/test-nopids"})
    cgroup.create(Limits())
    inner = cgroup.subgroup("exec-1")
    inner.create(Limits())
    sleeper = subprocess.Popen(["sleep", "60"])
    (fd,) = inner.join_fds()
    os.write(fd, str(sleeper.pid).encode())
    os.close(fd)

    inner.kill()

    sleeper.wait()
    cgroup.remove()
    assert not Path(cgroup.plain()["directories"]["freezer"]).exists()


def test_the_place_is_read_from_mounts_and_paths() -> None:
    mounts = [
        mounted("tmpfs", "/sys/fs/cgroup", "rw"),
        mounted("cgroup", "/sys/fs/cgroup/cpu,cpuacct", "rw,cpu,cpuacct"),
        mounted("cgroup", "/sys/fs/cgroup/memory", "rw,memory", root="/docker/c1"),
        mounted("cgroup", "/sys/fs/cgroup/pids", "rw,pids", root="/docker"),
        mounted("cgroup", "/sys/fs/cgroup/freezer", "rw,freezer"),
        mounted("cgroup", "/sys/fs/cgroup/systemd", "rw,xattr,name=systemd"),
        mounted("cgroup2", "/sys/fs/cgroup/unified", "rw"),
    ]

    cpu, memory, unified = layout.hierarchies(mounts, HYBRID)

    assert cpu.own == "/sys/fs/cgroup/cpu,cpuacct/docker/c1"
    assert (cpu.controllers, cpu.names) == (("cpu", "cpuacct"), "cpu,cpuacct")
    assert memory.own == "/sys/fs/cgroup/memory/inner"
    assert layout.ancestors(memory)[-1] == "/sys/fs/cgroup/memory"
    assert unified.own == "/sys/fs/cgroup/unified/docker/c1"


@given(text=st.text(), root=st.text(), options=st.text())
def test_no_text_of_the_kernel_leads_outside_the_mount(text: str, root: str, options: str) -> None:
    mounts = [
        mounted("cgroup2", "/m", options, root),
        mounted("cgroup", "/m", f"{options},pids", root),
    ]

    for hierarchy in layout.hierarchies(mounts, f"{text}\n0::{text}\n1:pids:/{text}"):
        assert hierarchy.own == "/m" or hierarchy.own.startswith("/m/")
        assert ".." not in hierarchy.own.split("/")
        assert all(path.startswith("/m") for path in layout.ancestors(hierarchy))


@given(st.sets(st.integers(0, 8191), min_size=1))
def test_a_list_of_processors_is_read_back(numbers: set[int]) -> None:
    parts = [f"{n}-{n + 1}" if n + 1 in numbers else str(n) for n in numbers]

    assert processors(",".join(parts)) == numbers


def test_limits_name_the_controllers_they_need() -> None:
    limits = Limits(cpuset="0", io_weight=100, devices=())

    assert needed(limits) == ("cpuset", "devices", "io")
    assert needed(Limits()) == ()
    assert joined(limits, ["memory", "cpuset"]) == ("memory", "cpuset")
