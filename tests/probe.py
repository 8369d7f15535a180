"""The program that reports from inside a container, as JSON; it is passed to Python with -c."""

import contextlib
import ctypes
import json
import os
import resource
import socket

libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {
    "x86_64": dict(
        mount=165, umount2=166, pivot_root=155, unshare=272, setns=308, bpf=321, keyctl=250,
        add_key=248, request_key=249, io_uring_setup=425, kexec_load=246, init_module=175,
        delete_module=176, open_by_handle_at=304, perf_event_open=298, userfaultfd=323, reboot=169,
        swapon=167, settimeofday=164, acct=163, iopl=172, move_mount=429, fsopen=430,
        mount_setattr=442, quotactl=179, clone3=435,
    ),
}  # fmt: skip


def call(number, *arguments):
    """Give the errno of a system call, 0 where it was let through."""
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *arguments)
    return ctypes.get_errno() if result == -1 else 0


def attempt(act):
    """Give the errno of a Python call, 0 where it succeeded."""
    try:
        act()
    except OSError as error:
        return error.errno
    return 0


def read(path):
    """Read what a masked path shows: a file's text, or a directory's names."""
    try:
        if os.path.isdir(path):
            return " ".join(os.listdir(path))
        with open(path, errors="replace") as file:
            return file.read(100)
    except OSError:
        return ""


calls = {}
for name, number in NUMBERS[os.uname().machine].items():
    first = 0x10000000 if name == "unshare" else 0
    calls[name] = call(number, ctypes.c_long(first), *[ctypes.c_long(0)] * 5)
calls["socket_vsock"] = attempt(lambda: socket.socket(40, socket.SOCK_STREAM))

writes = {}
for path in (
    "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity",
    "/proc/sys/vm/drop_caches", "/sys/kernel/mm/transparent_hugepage/enabled", "/usr/bin/env",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/pids/cgroup.procs",
    "/proc/sys/kernel/modprobe", "/proc/1/oom_score_adj_missing",
):  # fmt: skip
    writes[path] = attempt(lambda path=path: os.close(os.open(path, os.O_WRONLY)))

candidates = [
    "/etc/shadow", "/root/.ssh", "/home/app", "/var/lib/dpkg", "/run/pycontainers",
    "/var/lib/pycontainers", "/proc/1/root/var/lib/dpkg",
     "/dev/mem", "/dev/kmsg", "/dev/vda", "/boot",
]  # fmt: skip
masked = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
    "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
fds = []
for number in range(256):
    with contextlib.suppress(OSError):
        os.fstat(number)
        fds.append(number)

with open("/proc/self/status") as status:
    fields = dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)
with open("/proc/self/mountinfo") as mountinfo:
    mounts = mountinfo.read().splitlines()
with open("/proc/self/uid_map") as uid_map:
    ids = uid_map.read()

print(
    json.dumps(
        {
            "status": fields,
            "calls": calls,
            "writes": writes,
            "masked": {path: read(path) for path in masked},
            "absent": [path for path in candidates if not os.path.exists(path)],
            "dev": os.listdir("/dev"),
            "mknod": attempt(lambda: os.mknod("/tmp/node", 0o20600, os.makedev(1, 3))),
            "pids": [int(name) for name in os.listdir("/proc") if name.isdigit()],
            "interfaces": [name for _, name in socket.if_nameindex()],
            "network": attempt(lambda: socket.create_connection(("192.0.2.1", 80), timeout=2)),
            "loopback": attempt(lambda: socket.create_connection(("127.0.0.1", 9), timeout=2)),
            "fds": fds,
            "environment": sorted(os.environ),
            "core": list(resource.getrlimit(resource.RLIMIT_CORE)),
            "mountinfo": mounts,
            "uid_map": ids,
        }
    )
)
