"""doctor: what this machine can do, found out by trying, and what to do where it can't."""

from __future__ import annotations

import ctypes
import html
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.command import run
from pycontainers.engine import Engine
from pycontainers.errors import KernelError, NotSupported, PyContainersError
from pycontainers.kernel import capabilities, links, namespaces, syscall
from pycontainers.kernel.cgroups.host import find_host
from pycontainers.kernel.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, Netlink
from pycontainers.net import firewall
from pycontainers.storage.root import default_path, run_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LEAST_FREE: Final = 100 << 20  # bytes
_PATIENCE: Final = 60  # seconds
_PACKAGE: Final = str(Path(__file__).parents[1])


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
    findings += [*_trials(), *_cgroups()]
    findings.append(_attempt("a container", _container, "see what is missing above", True))
    return Report((*findings, *_networks()))


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


def _libseccomp() -> str:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise NotSupported(str(error)) from None
    return "libseccomp.so.2 compiles the filters"


def _space() -> str:
    path = _existing(default_path())
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


def _trials() -> list[Finding]:
    """Have the kernel tried in an interpreter apart, whose namespaces and mounts end with it."""
    boot = (
        "import sys; sys.path.insert(0, sys.argv.pop()); "
        "from pycontainers.runtime.trials import main; main()"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", boot, _existing(default_path()), _PACKAGE],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=True,
        )
        outcomes = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return [Finding("trials", False, f"they can't be made: {error}", "see the message")]
    return [
        Finding(name, ok, seen, "" if ok else _FIXES[name], required=name != "detached layers")
        for name, (ok, seen) in outcomes.items()
    ]


def _existing(path: Path) -> str:
    while not path.exists():
        path = path.parent
    return str(path)


def _container(network: str = "none") -> str:
    """Run what the README runs first, in a data root that is taken away again."""
    with tempfile.TemporaryDirectory(prefix="pycontainers-doctor-") as root:
        with Engine(root=root) as engine:
            result = run(["true"], engine=engine, network=network, timeout=_PATIENCE)
        if not result.ok:
            raise NotSupported(f"/bin/true ended with {result.exit_code}")
    return "one has run and left nothing"


def _networks() -> list[Finding]:
    """Have networks tried by an interpreter apart, and look at the firewall if it can use them."""
    program = "from pycontainers import diagnosis; diagnosis.try_networks()"
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([_PACKAGE, *sys.path])},
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=True,
        )
        tried = Finding(**json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        tried = Finding("networks", False, f"they can't be tried: {error}", _NETWORKS_FIX, False)
    if not tried.ok:
        return [tried]
    return [tried, _attempt("forwarding", _forwarding, _FORWARDING_FIX, False)]


def try_networks() -> None:
    """Print the finding about networks; this process has a network of its own from then on."""
    found = _attempt("networks", _networked, _NETWORKS_FIX, False)
    print(json.dumps(attrs.asdict(found)))


def _networked() -> str:
    with Netlink(NETLINK_ROUTE) as netlink:
        try:
            netlink.ask([links.delete(_NOBODY)])
        except KernelError as error:
            raise NotSupported(f"this process may not change its network: {error}") from None
    namespaces.unshare(namespaces.CLONE_NEWNET)
    _container(network="bridge")
    return "a container was connected: bridge, veth, nftables"


def _forwarding() -> str:
    with Netlink(NETLINK_NETFILTER) as netlink:
        if strict := firewall.foreign_drops(netlink):
            raise NotSupported(f"packets of containers are dropped by {'; '.join(strict)}")
    return "no other nftables drop what containers send"


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


_FIXES: Final = {
    "namespaces": "sysctl user.max_user_namespaces=15000; where AppArmor forbids user namespaces,"
    " sysctl kernel.apparmor_restrict_unprivileged_userns=0; in a container, run it privileged",
    "id maps": "grant CAP_SETUID and CAP_SETGID: run as root",
    "proc": "in a container, run that one privileged: parts of its own /proc are hidden",
    "detached mounts": "use Linux 6.1 or newer; in a container, run it privileged",
    "idmapped mounts": "use a file system that knows them (ext4, xfs, btrfs), or userns='host'",
    "overlay": "modprobe overlay",
    "detached layers": "nothing need be done: before Linux 6.15 layers are attached first",
    "seccomp filters": "use a kernel with CONFIG_SECCOMP_FILTER",
}
_NOBODY: Final = "pc"  # an interface that there is not
_NETWORKS_FIX: Final = (
    "grant CAP_NET_ADMIN: run as root; modprobe bridge veth nf_tables; in a container, run it"
    " privileged"
)
_FORWARDING_FIX: Final = (
    "accept there what comes from and goes to interfaces pc*; for Docker's: iptables -I DOCKER-USER"
    " -i pc+ -j ACCEPT; iptables -I DOCKER-USER -o pc+ -j ACCEPT; for IPv6 so with ip6tables"
)
_PROBES: Final[tuple[tuple[str, Callable[[], str], str, bool], ...]] = (
    ("machine", _machine, "use x86-64 or arm64", True),
    ("rights", _rights, "run as root; in a container, as a privileged one", True),
    ("hard limits", _hard_limits, "grant CAP_SYS_RESOURCE, or leave ulimits alone", False),
    ("libseccomp", _libseccomp, "apt-get install libseccomp2", True),
    ("data root", _space, "free some space, or set PYCONTAINERS_ROOT", True),
    ("run-time directory", _run_directory, "make /run writable", True),
)


if __name__ == "__main__":
    report = doctor()
    print(report)
    sys.exit(0 if report.ok else 1)
