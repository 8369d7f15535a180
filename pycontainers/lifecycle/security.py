"""The default profile: capabilities, hidden and read-only paths, devices, and what opens them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pycontainers.lifecycle.options import Options

# Docker's default less NET_RAW (forged packets), MKNOD (devices) and AUDIT_WRITE (the host's log).
DEFAULT_CAPABILITIES: Final = frozenset(
    {
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_NET_BIND_SERVICE",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    }
)

_MASKED: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)

READ_ONLY_PATHS: Final = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)

# (name in /dev, kind, major, minor, mode): devices.txt in the kernel's admin guide
DEFAULT_DEVICES: Final = (
    ("null", "c", 1, 3, 0o666),
    ("zero", "c", 1, 5, 0o666),
    ("full", "c", 1, 7, 0o666),
    ("random", "c", 1, 8, 0o666),
    ("urandom", "c", 1, 9, 0o666),
    ("tty", "c", 5, 0, 0o666),
)

# What the devices controller lets through where root inside is root outside: any node may be made,
# the default ones and terminals may be used.
DEVICE_RULES: Final = (
    ("c", -1, -1, "m"),
    ("b", -1, -1, "m"),
    *((kind, major, minor, "rwm") for _, kind, major, minor, _ in DEFAULT_DEVICES),
    ("c", 5, 2, "rwm"),
    ("c", 136, -1, "rwm"),
)

# Each value is a parameter of the container's own namespaces that Docker sets too.
DEFAULT_SYSCTLS: Final = (
    ("net.ipv4.ip_unprivileged_port_start", "0"),
    ("net.ipv4.ping_group_range", "0 65535"),
)


@functools.cache
def masked_paths() -> tuple[str, ...]:
    """Give the paths that a container must not see; those of each processor are this host's."""
    throttles = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle")
    return tuple(path for path in (*_MASKED, *map(str, throttles)) if Path(path).exists())


@functools.cache
def read_only_paths() -> tuple[str, ...]:
    """Give the paths that a container may only read."""
    return tuple(path for path in READ_ONLY_PATHS if Path(path).exists())


def granted_capabilities(options: Options, known: frozenset[str]) -> frozenset[str]:
    """Give the capabilities that the options leave; `known` are all that the kernel has.

    As with Docker, `cap_drop=["ALL"]` goes first, and single names win over ALL.
    """
    granted = known if options.privileged else DEFAULT_CAPABILITIES
    if "ALL" in options.cap_add:
        granted = known
    if "ALL" in options.cap_drop:
        granted = frozenset()
    granted = granted - frozenset(options.cap_drop)
    return (granted | frozenset(options.cap_add)) - {"ALL"} & known
