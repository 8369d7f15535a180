"""Specs: runc's own is read and written back, and runc runs what is written here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import attrs
import pytest

from pycontainers.errors import InvalidArgument
from pycontainers.oci.codec import from_json, to_json
from pycontainers.oci.runtime import (
    Capabilities,
    Device,
    DeviceRule,
    IDMapping,
    Linux,
    Memory,
    Mount,
    Namespace,
    Pids,
    Process,
    Resources,
    Rlimit,
    Root,
    Spec,
    User,
)

_SCRIPT = """
echo hello from $(hostname) as $(id -u):$(id -g), $A, in $(pwd)
echo groups $(id -G)
grep -E '^(CapBnd|CapEff|NoNewPrivs)' /proc/self/status
echo core $(ulimit -c) of $(ulimit -H -c), files $(ulimit -n)
touch /file 2>&1
cat /proc/sys/net/ipv4/ping_group_range
cat /proc/keys | wc -c
df -k /tmp | tail -n 1
"""


def bundle(directory: Path, spec: Spec) -> Path:
    """Make a bundle with busybox as its root file system."""
    binaries = directory / "rootfs/bin"
    binaries.mkdir(parents=True)
    for name in ("proc", "dev", "tmp"):
        (directory / "rootfs" / name).mkdir()
    shutil.copy("/bin/busybox", binaries / "busybox")
    for name in ("sh", "hostname", "id", "grep", "touch", "cat", "wc", "df", "tail"):
        (binaries / name).symlink_to("busybox")
    (directory / "config.json").write_bytes(to_json(spec))
    return directory


def run_by_runc(directory: Path) -> subprocess.CompletedProcess[str]:
    name = f"pycontainers-test-{os.getpid()}"
    command = ["runc", "--root", str(directory / "state"), "run", "--bundle", str(directory), name]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )


def test_runc_runs_a_spec_written_here(tmp_path: Path) -> None:
    few = ("CAP_CHOWN", "CAP_KILL")
    spec = Spec(
        process=Process(
            args=("/bin/sh", "-c", _SCRIPT),
            env=("PATH=/bin", "A=é <&> \\"),
            cwd="/tmp",
            user=User(0, 0, additional_gids=(7, 8), umask=0o27),
            capabilities=Capabilities(bounding=few, permitted=few, effective=few),
            rlimits=(Rlimit("RLIMIT_CORE", hard=0, soft=0), Rlimit("RLIMIT_NOFILE", 512, 256)),
            no_new_privileges=True,
            oom_score_adj=100,
        ),
        root=Root("rootfs", readonly=True),
        hostname="inside",
        mounts=(
            Mount("/proc", type="proc", source="proc", options=("nosuid", "noexec", "nodev")),
            Mount("/tmp", type="tmpfs", source="tmpfs", options=("nosuid", "size=128k")),
        ),
        annotations={"a.b": "c"},
        linux=Linux(
            namespaces=tuple(map(Namespace, ("pid", "mount", "uts", "ipc", "network"))),
            sysctl={"net.ipv4.ping_group_range": "5 6"},
            masked_paths=("/proc/keys",),
            readonly_paths=("/proc/sys",),
            resources=Resources(
                devices=(DeviceRule(allow=False, access="rwm"),),
                memory=Memory(limit=64 << 20),
                pids=Pids(limit=50),
            ),
            rootfs_propagation="private",
        ),
    )

    done = run_by_runc(bundle(tmp_path, spec))

    assert done.stderr == ""
    assert done.returncode == 0
    assert [" ".join(line.split()) for line in done.stdout.splitlines()] == [
        "hello from inside as 0:0, é <&> \\, in /tmp",
        "groups 0 7 8",
        "CapEff: 0000000000000021",
        "CapBnd: 0000000000000021",
        "NoNewPrivs: 1",
        "core 0 of 0, files 256",
        "touch: /file: Read-only file system",
        "5 6",
        "0",
        "tmpfs 128 0 128 0% /tmp",
    ]


def test_runc_runs_a_spec_with_a_user_namespace() -> None:
    mapping = (IDMapping(0, 100_000, 65_536),)
    spec = Spec(
        process=Process(args=("/bin/cat", "/proc/self/uid_map"), env=("PATH=/bin",)),
        root=Root("rootfs"),
        mounts=(
            Mount("/proc", type="proc", source="proc"),
            Mount("/dev", type="tmpfs", source="tmpfs", options=("nosuid", "mode=755")),
        ),
        linux=Linux(
            namespaces=tuple(map(Namespace, ("pid", "mount", "user"))),
            uid_mappings=mapping,
            gid_mappings=mapping,
        ),
    )
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)  # root inside is a stranger outside

        done = run_by_runc(bundle(directory, spec))

    assert done.stderr == ""
    assert done.stdout.split() == ["0", "100000", "65536"]


def test_runcs_own_spec_is_read_and_written_back(tmp_path: Path) -> None:
    subprocess.run(["runc", "spec"], cwd=tmp_path, check=True)
    data = (tmp_path / "config.json").read_bytes()

    spec = from_json(Spec, data)

    assert spec.process.args == ("sh",)
    assert spec.linux.resources.devices == (DeviceRule(allow=False, access="rwm"),)
    assert json.loads(to_json(spec)) == json.loads(data)


def test_runcs_rootless_spec_is_read_and_written_back(tmp_path: Path) -> None:
    subprocess.run(["runc", "spec", "--rootless"], cwd=tmp_path, check=True)
    data = (tmp_path / "config.json").read_bytes()

    spec = from_json(Spec, data)

    assert spec.linux.uid_mappings == (IDMapping(0, os.getuid(), 1),)
    assert json.loads(to_json(spec)) == json.loads(data)


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda: Mount("tmp"), "destination"),
        (lambda: Mount("/tmp", options=["ro"]), "options"),  # type: ignore[arg-type]
        (lambda: Mount("/tmp", options=("ro", "a\0b")), "options[1]"),
        (lambda: Process(cwd=""), "cwd"),
        (lambda: Process(env=("=x",)), "env[0]"),
        (lambda: Process(oom_score_adj=1001), "oom_score_adj"),
        (lambda: Capabilities(ambient=("CAP_KILL", "KILL")), "ambient[1]"),
        (lambda: Rlimit("RLIMIT_CORE", hard=1, soft=2), "soft"),
        (lambda: Rlimit("CORE", hard=1, soft=1), "type"),
        (lambda: Namespace("net"), "type"),
        (lambda: Namespace("network", "ns"), "path"),
        (lambda: IDMapping(0, 0, 0), "size"),
        (lambda: IDMapping(2, 0, 2**32 - 1), "size"),
        (lambda: Device(type="c", path="/dev/a", major=1), "minor"),
        (lambda: Device(type="x", path="/dev/a"), "type"),
        (lambda: DeviceRule(allow=True, access="rx"), "access"),
        (lambda: Memory(limit=-2), "limit"),
        (lambda: Memory(limit=1 << 63), "limit"),
        (lambda: Pids(limit=True), "limit"),
        (lambda: Root(""), "path"),
        (lambda: Linux(namespaces=(Namespace("pid"),) * 2), "namespaces"),
        (lambda: Linux(rootfs_propagation="none"), "rootfs_propagation"),
        (lambda: Linux(masked_paths=("proc",)), "masked_paths[0]"),
        (lambda: Linux(sysctl={"a": 1}), "sysctl"),  # type: ignore[dict-item]
        (lambda: Spec(root=Root("a"), mounts=(Root("b"),)), "mounts[0]"),  # type: ignore[arg-type]
        (lambda: Root("a", unknown=[]), "unknown"),  # type: ignore[arg-type]
        (lambda: attrs.evolve(Mount("/tmp"), destination="tmp"), "destination"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(make: Any, path: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        make()

    assert str(caught.value).startswith(f"{path}: ")


def test_equal_values_have_equal_hashes() -> None:
    one, two = (Spec(root=Root("a"), annotations={"a": "b"}) for _ in range(2))

    assert one == two
    assert hash(one) == hash(two)
