"""Asking systemd for a cgroup: the tree is its own, and it delegates parts of it on request.

systemd's CGROUP_DELEGATION and ControlGroupInterface pages, org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import errno
import os
import time
from typing import Final

from pycontainers.errors import KernelError, NotSupported
from pycontainers.kernel.cgroups import base, files, layout, v2
from pycontainers.kernel.cgroups.layout import Hierarchy

_UNITS: Final = (".slice", ".scope", ".service")
_MOMENT: Final = 0.1  # seconds that systemd gets to move one process after the other
_PATIENCE: Final = 30.0  # seconds; systemd answers in milliseconds unless the machine is choking


def is_running() -> bool:
    """Whether systemd is this machine's first process (sd_booted(3)).

    >>> is_running() in (True, False)
    True
    """
    return os.path.isdir("/run/systemd/system")


def is_delegated(directory: str, own: str) -> bool:
    """Whether systemd left a cgroup, at or above `own`, to what runs there.

    It marks the cgroups that it delegates.  Where units lie between the mark and `own`, the mark is
    that of another service manager, as a user's, which is the owner of what lies below.
    """
    above = directory
    while above.count("/") > 1:
        if _marked(above):
            between = own[len(above) :].split("/")
            return not any(part.endswith(_UNITS) for part in between)
        above = os.path.dirname(above)
    return False


def obstacle() -> tuple[str, str] | None:
    """Say why systemd can't be asked by this user, and the remedy; None where it can."""
    import shutil

    if shutil.which("busctl") is None:
        return "the program busctl, which asks systemd, is not there", "install systemd's programs"
    if os.geteuid() == 0:
        if os.path.exists("/run/dbus/system_bus_socket"):
            return None
        return "the system's message bus is not running", "install and start dbus"
    if "DBUS_SESSION_BUS_ADDRESS" in os.environ or os.path.exists(f"{_run_directory()}/bus"):
        return None
    return (
        "the user's service manager is not running, or has no message bus",
        "install dbus-user-session and run loginctl enable-linger, then log in anew",
    )


def root(hierarchy: Hierarchy) -> str:
    """Give the cgroup of the service manager that this user can ask."""
    uid = os.geteuid()
    if uid == 0:
        return hierarchy.target
    return f"{hierarchy.target}/user.slice/user-{uid}.slice/user@{uid}.service"


def delegate(pid: int, name: str, hierarchy: Hierarchy) -> str:
    """Have systemd put a process and its children into a new, delegated scope `name`.

    They end up in the scope's child `launcher`, since the scope itself can have no processes then;
    gives the directory beside it that is ready for the containers' cgroups.  systemd takes the
    scope away once no process is left in it.  Raises KernelError, NotSupported where systemd
    refuses.

    >>> delegate(4711, "pycontainers-4711", hierarchy)          # doctest: +SKIP
    '/sys/fs/cgroup/system.slice/pycontainers-4711.scope/pycontainers'
    """
    unit, family = f"{name}.scope", _family(pid)
    properties = [
        *("Description", "s", "containers of a pycontainers engine"),
        *("PIDs", "au", str(len(family)), *map(str, family)),
        *("Delegate", "b", "true"),
        *("CollectMode", "s", "inactive-or-failed"),
    ]
    count = 4
    if slice_ := slice_of(hierarchy.own):
        properties += ["Slice", "s", slice_]
        count += 1
    signature = "ssa(sv)a(sa(sv))"
    _ask("StartTransientUnit", signature, unit, "fail", str(count), *properties, "0")
    path = _gather(pid, unit)
    scope = hierarchy.target + path
    files.make(f"{scope}/launcher")
    # A child born meanwhile is beside its parent, so that at last nobody is left to move.
    while members := (files.read(f"{scope}/cgroup.procs") or "").split():
        for member in members:
            try:
                files.write(f"{scope}/launcher/cgroup.procs", member)
            except KernelError as error:
                if error.errno != errno.ESRCH:
                    raise
    place = f"{scope}/{base.PARENT}"
    v2.prepare(place)
    return place


def slice_of(own: str) -> str | None:
    """Name the slice in which a cgroup lies, as far as the service manager of this user knows it.

    >>> slice_of("/sys/fs/cgroup/user.slice/user-0.slice/session-1.scope")      # doctest: +SKIP
    'user-0.slice'
    """
    parts = own.split("/")
    uid = os.geteuid()
    manager = f"user@{uid}.service"
    if uid != 0:
        parts = parts[parts.index(manager) :] if manager in parts else []
    slices = [part for part in parts if part.endswith(".slice")]
    return slices[-1] if slices else None


def _ask(method: str, signature: str, *arguments: str) -> None:
    """Call a method of this user's service manager; raises NotSupported with its answer."""
    import subprocess  # slow to load, and only asked under systemd

    command = [
        *("busctl", "--system" if os.geteuid() == 0 else "--user", "call"),
        *("org.freedesktop.systemd1", "/org/freedesktop/systemd1"),
        *("org.freedesktop.systemd1.Manager", method, signature, *arguments),
    ]
    try:
        answer = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_PATIENCE,
            env={"XDG_RUNTIME_DIR": _run_directory(), **os.environ},
        )
        problem = answer.stderr.strip() if answer.returncode else None
    except subprocess.TimeoutExpired:
        problem = f"no answer within {_PATIENCE:.0f} s"
    if problem is not None:
        user = "" if os.geteuid() == 0 else "--user "
        raise NotSupported(
            f"systemd gives no cgroup for the containers: {problem}",
            hint=f"try it by hand: systemd-run {user}--scope -p Delegate=yes true",
        )


def _gather(pid: int, unit: str) -> str:
    """Wait until a process and all its descendants are in a unit; give the unit's cgroup.

    A child that was born while its parent was moved has stayed behind, and is sent after it.
    """
    deadline = time.monotonic() + _PATIENCE
    asked = time.monotonic()
    while True:
        paths = {member: layout.path_of(member) or "" for member in _family(pid)}
        if not paths[pid].endswith(f"/{unit}"):
            outside = []  # the unit is not there yet
        else:
            outside = [member for member, path in paths.items() if path not in ("", paths[pid])]
            if not outside:
                return paths[pid]
        now = time.monotonic()
        if now > deadline:
            raise NotSupported(
                f"systemd did not move process {pid} into {unit}, it is in {paths[pid] or 'none'}",
                hint=f"look at what it says: systemctl status {unit}, journalctl -u {unit}",
            )
        if outside and now - asked > _MOMENT:
            asked = now
            pids = map(str, outside)
            _ask("AttachProcessesToUnit", "ssau", unit, "/", str(len(outside)), *pids)
        time.sleep(0.005)


def _family(pid: int) -> list[int]:
    """Give a process and all its descendants; those of one thread, as the launcher has."""
    found = [pid]
    for member in found:
        text = files.read(f"/proc/{member}/task/{member}/children") or ""
        found += map(int, text.split())
    return found


def _marked(directory: str) -> bool:
    for name in ("user.delegate", "trusted.delegate"):
        try:
            return os.getxattr(directory, name) == b"1"
        except OSError:
            continue  # not there, or not to be read by this user
    return False


def _run_directory() -> str:
    return os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
