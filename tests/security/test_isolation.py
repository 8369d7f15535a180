"""What a default container can't do, probed from inside by a Python program and by busybox."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

import pycontainers as pc
from pycontainers.kernel import capabilities
from pycontainers.lifecycle.security import DEFAULT_CAPABILITIES, masked_paths

PROBE = Path(__file__).parents[1] / "probe.py"


@pytest.fixture(scope="module")
def inside(engine: pc.Engine) -> dict[str, Any]:
    """What the probe program reports from a default container of the host's own programs."""
    os.environ["PROBE_SECRET"] = "secret"
    try:
        result = pc.run(["python3", "-c", PROBE.read_text()], engine=engine, timeout=60, check=True)
    finally:
        del os.environ["PROBE_SECRET"]
    report: dict[str, Any] = json.loads(result.stdout)
    return report


@pytest.mark.parametrize("name", sorted(capabilities.NUMBERS))
def test_capabilities_are_the_default_ones(name: str, inside: dict[str, Any]) -> None:
    held = bool(int(inside["status"]["CapEff"], 16) >> capabilities.NUMBERS[name] & 1)
    bound = bool(int(inside["status"]["CapBnd"], 16) >> capabilities.NUMBERS[name] & 1)

    assert held == bound == (name in DEFAULT_CAPABILITIES)


@pytest.mark.parametrize("name", ["CapInh", "CapAmb"])
def test_no_capability_is_inherited(name: str, inside: dict[str, Any]) -> None:
    assert int(inside["status"][name], 16) == 0


def test_privileges_and_filter(inside: dict[str, Any]) -> None:
    assert inside["status"]["NoNewPrivs"] == "1"
    assert inside["status"]["Seccomp"] == "2"


@pytest.mark.parametrize(
    "call",
    [
        "mount", "umount2", "pivot_root", "unshare", "setns", "bpf", "keyctl", "add_key",
        "request_key", "io_uring_setup", "kexec_load", "init_module", "delete_module",
        "open_by_handle_at", "perf_event_open", "userfaultfd", "reboot", "swapon", "settimeofday",
        "acct", "iopl", "move_mount", "fsopen", "mount_setattr", "quotactl", "socket_vsock",
    ],
)  # fmt: skip
def test_forbidden_calls_are_refused(call: str, inside: dict[str, Any]) -> None:
    assert inside["calls"][call] in (1, 38)  # EPERM, ENOSYS


def test_clone3_is_as_missing(inside: dict[str, Any]) -> None:
    assert inside["calls"]["clone3"] == 38


@pytest.mark.parametrize(
    "path",
    ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity",
     "/proc/sys/vm/drop_caches", "/sys/kernel/mm/transparent_hugepage/enabled", "/usr/bin/env",
     "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/pids/cgroup.procs",
     "/proc/sys/kernel/modprobe", "/proc/1/oom_score_adj_missing"],
)  # fmt: skip
def test_kernel_files_cant_be_written(path: str, inside: dict[str, Any]) -> None:
    assert inside["writes"][path] != 0


@pytest.mark.parametrize("path", masked_paths())
def test_masked_paths_show_nothing(path: str, inside: dict[str, Any]) -> None:
    assert inside["masked"].get(path, "") == ""


@pytest.mark.parametrize(
    "path",
    ["/etc/shadow", "/root/.ssh", "/home/app", "/var/lib/dpkg", "/run/pycontainers",
     "/var/lib/pycontainers", "/proc/1/root/var/lib/dpkg",
     "/dev/mem", "/dev/kmsg", "/dev/vda", "/boot"],
)  # fmt: skip
def test_host_files_are_not_there(path: str, inside: dict[str, Any]) -> None:
    assert path in inside["absent"]


def test_devices_are_the_minimal_ones(inside: dict[str, Any]) -> None:
    assert set(inside["dev"]) == {
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
        "tty", "urandom", "zero",
    }  # fmt: skip
    assert inside["mknod"] == 1


def test_it_sees_its_own_world_only(inside: dict[str, Any]) -> None:
    assert inside["pids"] == [1]
    assert inside["interfaces"] == ["lo"]
    assert inside["network"] == 101  # ENETUNREACH
    assert inside["loopback"] == 111  # ECONNREFUSED: up, and nobody listens
    assert inside["fds"] == [0, 1, 2]
    assert "PROBE_SECRET" not in inside["environment"]
    assert inside["core"] == [0, 0]
    assert int(inside["uid_map"].split()[1]) >= 1 << 16


def test_no_host_path_is_in_its_mounts(inside: dict[str, Any], engine: pc.Engine) -> None:
    roots = [line.split()[4] for line in inside["mountinfo"]]

    assert "/" in roots
    assert not [line for line in inside["mountinfo"] if " shared:" in line or " master:" in line]


def test_abstract_sockets_of_the_host_are_out_of_reach(engine: pc.Engine) -> None:
    name = f"\0pycontainers-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        program = f"import socket; socket.socket(socket.AF_UNIX).connect({name!r})"

        result = pc.run(["python3", "-c", program], engine=engine)

    assert "ConnectionRefusedError" in result.stderr


def test_two_containers_have_different_ids(image: pc.Image, engine: pc.Engine) -> None:
    with (
        pc.Container.run(image, ["sleep", "60"], engine=engine) as one,
        pc.Container.run(image, ["sleep", "60"], engine=engine) as other,
    ):
        maps = [c.exec(["cat", "/proc/self/uid_map"]).stdout for c in (one, other)]
        owners = [Path(f"/proc/{c.pid}").stat().st_uid for c in (one, other)]

    assert maps[0] != maps[1]
    assert min(owners) >= 0x70000000


def test_orphans_do_not_outlive_the_run(image: pc.Image, engine: pc.Engine) -> None:
    pc.run(["sh", "-c", "(setsid sleep 987 &) ; exit 0"], image=image, engine=engine)

    running = [p for p in os.listdir("/proc") if p.isdigit() and b"987" in _command(p)]
    assert running == []


def _command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    "directory", ["/proc/self/fd/3", "/proc/self/fd/7", "/proc/1/root/var/lib/dpkg"]
)
def test_a_working_directory_does_not_lead_out(
    directory: str, image: pc.Image, engine: pc.Engine
) -> None:
    with pytest.raises(pc.LaunchError):
        pc.run(["true"], workdir=directory, image=image, engine=engine)


def test_exec_leaks_no_descriptor_or_directory(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(image, ["sleep", "60"], engine=engine) as container:
        fds = container.exec(["sh", "-c", "ls /proc/$$/fd; true"]).stdout.split()

        assert fds == ["0", "1", "2"]


@pytest.mark.parametrize("target", ["proc", "sys", "dev"])
def test_an_image_with_links_for_mount_points_is_refused(
    target: str, busybox: Path, engine: pc.Engine, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    os.link(busybox / "bin/busybox", root / "bin/true")
    (root / target).symlink_to("/etc")
    image = pc.Image.from_rootfs(root, engine=engine)

    with pytest.raises(pc.LaunchError):
        pc.run(["/bin/true"], image=image, engine=engine)


@pytest.mark.parametrize("passwd", ["fifo", "huge", "link"])
def test_a_hostile_passwd_is_no_trap(
    passwd: str, busybox: Path, engine: pc.Engine, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    for name in ("bin", "etc"):
        (root / name).mkdir(parents=True)
    os.link(busybox / "bin/busybox", root / "bin/true")
    path = root / "etc/passwd"
    if passwd == "fifo":
        os.mkfifo(path)
    elif passwd == "huge":
        path.write_bytes(b"app:x:1:1::/:\n" * (1 << 17))
    else:
        path.symlink_to("/proc/self/environ")

    with pytest.raises(pc.LaunchError, match="become user app"):
        pc.run(["true"], user="app", image=pc.Image.from_rootfs(root, engine=engine), engine=engine)


def test_modules_in_an_image_are_never_loaded(
    busybox: Path, engine: pc.Engine, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    os.link(busybox / "bin/busybox", root / "bin/true")
    library = root / os.__file__.lstrip("/").rpartition("/")[0]
    (library / "encodings").mkdir(parents=True)
    for name in ("traceback.py", "linecache.py", "encodings/__init__.py", "encodings/idna.py"):
        (library / name).write_text("open('/trap', 'w')\n")
    image = pc.Image.from_rootfs(root, engine=engine)

    with pc.Container.create(image, ["nowhere"], engine=engine) as container:
        with pytest.raises(pc.CommandNotFound):
            container.start()
        upper = engine.services().snapshots.path(container.id) / "upper"

        assert not (upper / "trap").exists()


def test_helpers_load_the_standard_library_only(image: pc.Image, engine: pc.Engine) -> None:
    pc.run(["true"], image=image, engine=engine)

    loaded = engine.services().launcher().report()["modules"]

    assert not {"attr", "attrs", "cattrs", "sqlite3", "subprocess"} & set(loaded)
    assert all(name.startswith("pycontainers.") for name in loaded if "pycontainers." in name)


def test_opt_outs_open_what_they_say(image: pc.Image, engine: pc.Engine) -> None:
    def said(script: str, **options: Any) -> str:
        result = pc.run(["sh", "-c", script], image=image, engine=engine, **options)
        return str(result.stdout).strip()

    assert said("cat /proc/self/uid_map", userns="host").split() == ["0", "0", "4294967295"]
    assert said("grep Seccomp: /proc/self/status", seccomp="unconfined").endswith("0")
    assert said("grep NoNewPrivs /proc/self/status", no_new_privileges=False).endswith("0")
    assert "1" in said("grep CapEff /proc/self/status", cap_drop=["ALL"], cap_add=["CHOWN"])[-1]
    assert said("grep CapEff /proc/self/status", cap_drop=["ALL"]).endswith("0" * 16)
    assert len(said("ls /sys/class/net", network="host").split()) == len(
        os.listdir("/sys/class/net")
    )
    assert said("mount -t tmpfs x /tmp && echo mounted", privileged=True) == "mounted"
