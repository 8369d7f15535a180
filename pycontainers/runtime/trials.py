"""Trials of what containers need of the kernel, for doctor(): each is done, not looked up.

The application runs this file's `main` in an interpreter of its own.  Each trial has a fork to
itself, so that the namespaces and mounts it makes end with it.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import TYPE_CHECKING, Final

from pycontainers.errors import KernelError, PyContainersError
from pycontainers.kernel import capabilities, mounts, namespaces, processes, seccomp
from pycontainers.kernel.namespaces import IdMap

if TYPE_CHECKING:
    from collections.abc import Callable

_ALLOW_ALL: Final = struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)
_IDS: Final = [IdMap(0, 1879048192, 65536)]
_KINDS: Final = {
    "user": 0,
    "mnt": namespaces.CLONE_NEWNS,
    "pid": namespaces.CLONE_NEWPID,
    "net": namespaces.CLONE_NEWNET,
    "ipc": namespaces.CLONE_NEWIPC,
    "uts": namespaces.CLONE_NEWUTS,
    "cgroup": namespaces.CLONE_NEWCGROUP,
}


def main() -> None:
    """Write the outcome of every trial to standard output: {name: [ok, what was seen]}."""
    root = sys.argv[1]
    print(json.dumps({name: _apart(trial, root) for name, trial in _TRIALS.items()}))


def _apart(trial: Callable[[str], str], root: str) -> tuple[bool, str]:
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        _tell(write_fd, trial, root)
    os.close(write_fd)
    with open(read_fd, encoding="utf-8") as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    if not text:
        return False, "the trial ended without a word"
    ok, seen = json.loads(text)
    return ok, seen


def _tell(fd: int, trial: Callable[[str], str], root: str) -> None:
    try:
        outcome = (True, trial(root))
    except KernelError as error:
        outcome = (False, str(error))
    except PyContainersError as error:
        outcome = (False, str(error.args[0]))
    except OSError as error:
        outcome = (False, str(error))
    os.write(fd, json.dumps(outcome).encode())
    os._exit(0)


def _namespaces(_: str) -> str:
    for flag in _KINDS.values():
        _newborn(flag, lambda: None)
    return ", ".join(_KINDS)


def _id_maps(_: str) -> str:
    _newborn(0, lambda: os.setresuid(1, 1, 1), mapped=True)
    return "65536 ids in a user namespace"


def _proc(_: str) -> str:
    flags = namespaces.CLONE_NEWNS | namespaces.CLONE_NEWPID
    _newborn(flags, lambda: os.close(mounts.new_mount("proc", [])), mapped=True)
    return "a new /proc in a user namespace"


def _newborn(flags: int, act: Callable[[], None], *, mapped: bool = False) -> None:
    """Act in a process born into a new user namespace, and into those of `flags`."""
    ready_fd, go_fd = os.pipe()
    answer_fd, said_fd = os.pipe()
    pid, pidfd = namespaces.clone3(namespaces.CLONE_NEWUSER | flags)
    if pid == 0:
        os.close(go_fd)
        os.read(ready_fd, 1)
        try:
            act()
        except OSError as error:
            os.write(said_fd, str(error).encode())
        os._exit(0)
    os.close(said_fd)
    try:
        if mapped:
            namespaces.write_id_maps(pid, _IDS, _IDS)
    finally:
        os.close(go_fd)
        failure = os.read(answer_fd, 4096).decode()
        processes.wait(pidfd)
    if failure:
        raise PyContainersError(failure)


def _detached_mounts(_: str) -> str:
    os.close(mounts.new_mount("tmpfs", [("size", "64k")], attributes=mounts.MOUNT_ATTR_NODEV))
    return "made and given attributes"


def _idmapped(root: str) -> str:
    shown = [path for path in dict.fromkeys(("/usr", root)) if _shows_other_ids(path)]
    return " and ".join(shown)


def _shows_other_ids(path: str) -> bool:
    ready_fd, go_fd = os.pipe()
    pid, pidfd = namespaces.clone3(namespaces.CLONE_NEWUSER)
    if pid == 0:
        os.close(go_fd)
        os.read(ready_fd, 1)
        os._exit(0)
    try:
        namespaces.write_id_maps(pid, _IDS, _IDS)
        mount_fd = mounts.open_tree(path)
        try:
            mounts.set_attributes(mount_fd, userns_fd=namespaces.open_namespace(pid, "user"))
        except KernelError as error:
            raise PyContainersError(f"{path}: {error}") from None
    finally:
        os.close(go_fd)
        processes.wait(pidfd)
    return True


def _overlay(root: str) -> str:
    _own_tmpfs()
    mounts.attach(mounts.new_mount("overlay", _overlay_options("/tmp/")), "/tmp/merged")
    with open("/tmp/merged/file", "a", encoding="utf-8") as file:
        file.write("changed")
    with open("/tmp/upper/file", encoding="utf-8") as file:
        if file.read() != "changed":
            raise PyContainersError("a changed file is not in the upper directory")
    return "a file was changed in an upper directory"


def _detached_layers(_: str) -> str:
    _own_tmpfs()
    lower_fd = mounts.open_tree("/tmp/lower")
    options = [("lowerdir+", f"/proc/self/fd/{lower_fd}"), *_overlay_options("/tmp/")[1:]]
    os.close(mounts.new_mount("overlay", options))
    return "taken without a place in the file system"


def _own_tmpfs() -> None:
    namespaces.unshare(namespaces.CLONE_NEWNS)
    mounts.mount(None, "/", None, mounts.MS_REC | mounts.MS_PRIVATE)
    mounts.attach(mounts.new_mount("tmpfs", [("size", "1m")]), "/tmp")
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(f"/tmp/{name}")
    with open("/tmp/lower/file", "w", encoding="utf-8"):
        pass


def _overlay_options(base: str) -> list[tuple[str, str | None]]:
    names = {"lowerdir": "lower", "upperdir": "upper", "workdir": "work"}
    return [(option, base + name) for option, name in names.items()]


def _seccomp(_: str) -> str:
    capabilities.no_new_privs()
    seccomp.load(_ALLOW_ALL)
    return "a filter was loaded"


_TRIALS: Final[dict[str, Callable[[str], str]]] = {
    "namespaces": _namespaces,
    "id maps": _id_maps,
    "proc": _proc,
    "detached mounts": _detached_mounts,
    "idmapped mounts": _idmapped,
    "overlay": _overlay,
    "detached layers": _detached_layers,
    "seccomp filters": _seccomp,
}
