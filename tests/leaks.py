"""What could be left over on the host, taken before and after: mounts, cgroups, processes, links, fds."""

from __future__ import annotations

import os
import time
from pathlib import Path

_PATIENCE = 10.0


def snapshot() -> dict[str, set[str]]:
    """Take stock of everything that a container engine can leave behind on a host."""
    return {
        "mounts": _mounts(),
        "cgroups": _cgroups(),
        "processes": _processes(),
        "links": set(os.listdir("/sys/class/net")),
        "network namespaces": _network_namespaces(),
        "descriptors": _descriptors(),
    }


def assert_none_since(before: dict[str, set[str]]) -> None:
    """Fail with a list of what is there now and was not before; the kernel gets a moment."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        now = snapshot()
        left = {kind: sorted(now[kind] - before[kind]) for kind in now if now[kind] - before[kind]}
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert not left, f"left behind: {left}"


def _mounts() -> set[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.split(" ")[4] for line in lines}


def _cgroups() -> set[str]:
    found: set[str] = set()
    for directory, names, _ in os.walk("/sys/fs/cgroup"):
        found |= {f"{directory}/{name}" for name in names if "/pycontainers" in f"{directory}/{name}"}
    return found


def _processes() -> set[str]:
    """Name the processes that are helpers of ours, or in a PID namespace of ours."""
    own = os.readlink("/proc/self/ns/pid")
    found = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            line = Path(f"/proc/{entry}/cmdline").read_bytes()
            inside = os.readlink(f"/proc/{entry}/ns/pid") != own
        except OSError:
            continue
        if inside or b"pycontainers.runtime" in line:
            found.add(f"{entry} {line[:80]!r}")
    return found


def _network_namespaces() -> set[str]:
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found.add(os.readlink(f"/proc/{entry}/ns/net"))
            except OSError:
                continue
    return found


def _descriptors() -> set[str]:
    """Name what this process holds open, but for what pytest and its plugins open by themselves."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:
            continue
        if target.startswith(("anon_inode:[pidfd]", "anon_inode:[eventpoll]", "socket:")) or (
            "state.db" in target
        ):
            found.add(f"{entry} -> {target}")
    return found
