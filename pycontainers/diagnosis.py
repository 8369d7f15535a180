"""doctor: what this machine can do, found out by trying, and what to do where it can't."""

from __future__ import annotations

import ctypes
import html
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.errors import KernelError, NotSupported, PyContainersError
from pycontainers.kernel import capabilities, mounts, syscall
from pycontainers.kernel.cgroups.host import find_host
from pycontainers.storage.root import default_path, run_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LEAST_FREE: Final = 100 << 20  # bytes


@attrs.frozen
class Finding:
    """One ability of the machine: whether it is there, what was seen, and how to get it."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    required: bool = True


@attrs.frozen(repr=False)
class Report:
    """All findings; prints as aligned text, shows as a table in Jupyter."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether all that containers need is there."""
        return all(finding.ok or not finding.required for finding in self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __str__(self) -> str:
        lines = []
        for finding in self.findings:
            mark = "ok" if finding.ok else "MISSING" if finding.required else "absent"
            lines.append(f"{mark:8} {finding.name:28} {finding.detail}")
            if not finding.ok and finding.fix:
                lines.append(f"{'':8} {'':28} → {finding.fix}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        bad = sum(not finding.ok for finding in self.findings)
        return f"<Report {'ok' if self.ok else 'not ok'}, {bad} of {len(self.findings)} absent>"

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td>{html.escape(text)}</td>"
                for text in ("✓" if one.ok else "✗", one.name, one.detail, one.fix)
            )
            + "</tr>"
            for one in self.findings
        )
        return f"<table><tr><th></th><th>what</th><th>found</th><th>fix</th></tr>{rows}</table>"


def doctor() -> Report:
    """Try out what containers need of this machine; nothing of the trials remains.

    >>> doctor().ok                                     # doctest: +SKIP
    True
    """
    findings = [_attempt(*probe) for probe in _PROBES]
    findings += _cgroups()
    return Report(tuple(findings))


def _attempt(name: str, probe: Callable[[], str], fix: str, required: bool) -> Finding:
    try:
        return Finding(name, True, probe(), required=required)
    except (PyContainersError, OSError) as error:
        detail = str(error.args[0]) if isinstance(error, PyContainersError) else str(error)
        return Finding(name, False, detail, fix, required)


def _rights() -> str:
    held = capabilities.current().effective
    missing = [name for name in ("CAP_SYS_ADMIN", "CAP_SETUID") if not _holds(held, name)]
    if missing:
        raise NotSupported(f"uid {os.geteuid()} lacks {', '.join(missing)}")
    return f"uid {os.geteuid()} holds CAP_SYS_ADMIN"


def _hard_limits() -> str:
    if not _holds(capabilities.current().effective, "CAP_SYS_RESOURCE"):
        raise NotSupported("CAP_SYS_RESOURCE is missing: hard limits can't be raised")
    return "hard limits can be raised"


def _holds(held: int, name: str) -> bool:
    return bool(held >> capabilities.NUMBERS[name] & 1)


def _machine() -> str:
    syscall.number("setns")
    return syscall.MACHINE


def _user_namespaces() -> str:
    limit = Path("/proc/sys/user/max_user_namespaces").read_text().strip()
    if limit == "0":
        raise NotSupported("user.max_user_namespaces is 0")
    return f"up to {limit} user namespaces"


def _detached_mounts() -> str:
    os.close(mounts.new_mount("tmpfs", [("size", "64k")], attributes=mounts.MOUNT_ATTR_NODEV))
    return "fsopen, fsmount and mount_setattr work"


def _overlay() -> str:
    names = Path("/proc/filesystems").read_text().split()
    if "overlay" not in names:
        raise NotSupported("the kernel has no overlay file system")
    return "overlay is there"


def _seccomp() -> str:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise NotSupported(str(error)) from None
    actions = Path("/proc/sys/kernel/seccomp/actions_avail").read_text().split()
    return f"libseccomp.so.2, actions {' '.join(actions)}"


def _space() -> str:
    path = default_path()
    while not path.exists():
        path = path.parent
    if not os.access(path, os.W_OK):
        raise NotSupported(f"{path} is not writable")
    free = shutil.disk_usage(path).free
    if free < _LEAST_FREE:
        raise NotSupported(f"{free >> 20} MiB are free at {path}")
    return f"{free >> 30} GiB free at {path}"


def _run_directory() -> str:
    path = run_directory()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(path, os.W_OK):
        raise NotSupported(f"{path} is not writable")
    return f"{path} is writable"


def _idmapped() -> str:
    """Try an idmapped mount of /usr, in a namespace of a short-lived child."""
    import subprocess

    program = (
        "import os; from pycontainers.kernel import mounts, namespaces as n\n"
        "r, w = os.pipe(); s, t = os.pipe()\n"
        "pid, _ = n.clone3(n.CLONE_NEWUSER)\n"
        "if pid == 0:\n    os.close(t); os.read(s, 1); os._exit(0)\n"
        "n.write_id_maps(pid, [n.IdMap(0, 1879048192, 65536)], [n.IdMap(0, 1879048192, 65536)])\n"
        "fd = mounts.open_tree('/usr')\n"
        "mounts.set_attributes(fd, userns_fd=n.open_namespace(pid, 'user'))\n"
    )
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise NotSupported(lines[-1] if lines else "the trial ended without a word")
    return "/usr can be shown with other ids, in a new user namespace"


def _cgroups() -> list[Finding]:
    try:
        host = find_host()
    except (KernelError, OSError) as error:
        return [Finding("cgroups", False, str(error), "mount /sys/fs/cgroup")]
    usable = sorted(host.controllers)
    fix = "run as root with a writable /sys/fs/cgroup; under systemd, in a delegated scope"
    found = [Finding("cgroups", bool(usable), f"{host.layout}: {' '.join(usable)}", fix)]
    for name in ("pids", "memory", "cpu", "cpuset", "io"):
        there = name in host.controllers
        found.append(
            Finding(
                f"limits by {name}",
                there,
                "can be enforced" if there else "can't be enforced",
                "" if there else "do without these limits, or enable the controller",
                required=False,
            )
        )
    return found


_PROBES: Final[tuple[tuple[str, Callable[[], str], str, bool], ...]] = (
    ("machine", _machine, "use x86-64 or arm64", True),
    ("rights", _rights, "run as root; in a container, as a privileged one", True),
    ("hard limits", _hard_limits, "grant CAP_SYS_RESOURCE, or leave ulimits alone", False),
    ("user namespaces", _user_namespaces, "sysctl user.max_user_namespaces=15000", True),
    ("detached mounts", _detached_mounts, "use Linux 6.1 or newer", True),
    ("overlay", _overlay, "modprobe overlay", True),
    (
        "idmapped mounts",
        _idmapped,
        "use a file system that knows them (ext4, xfs, btrfs), or userns='host'",
        True,
    ),
    ("seccomp", _seccomp, "apt-get install libseccomp2", True),
    ("data root", _space, "free some space, or set PYCONTAINERS_ROOT", True),
    ("run-time directory", _run_directory, "make /run writable", True),
)


if __name__ == "__main__":
    report = doctor()
    print(report)
    sys.exit(0 if report.ok else 1)
