"""A jailed worker: a short-lived fork that works on files and reaches no others than it is for.

Before it looks at the first byte of what it was given, it enters its jail with few capabilities: a
directory, a volume, an image, a running container or its network, or the root file system of a
stopped one.  So no name or link in there leads anywhere else.  Layers `beneath` are opened before,
for tasks that look below the directory, which never follow a link in them; and so is the place of a
volume that a task fills, and the stage that it copies from when it builds, by the layers `source`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pycontainers.errors import KernelError, PyContainersError
from pycontainers.kernel import capabilities, mounts, namespaces, processes, sockets
from pycontainers.runtime import overlay, rootfs, trees
from pycontainers.runtime.plan import unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontainers.runtime.mounting import Tree

    Task = Callable[[dict[str, Any], list[int]], dict[str, Any]]

_FAILED: Final = 1
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# To read and write overlay's own attributes (trusted.*); a task raises it for those calls only.
_RESERVED: Final = capabilities.mask(("CAP_SYS_ADMIN",))
_RIGHTS: Final = capabilities.mask(
    ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_MKNOD", "CAP_SETFCAP")
)
_HARDENED: Final = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV | mounts.MOUNT_ATTR_NOEXEC


def run(work: dict[str, Any], fds: list[int], container_pidfd: int) -> NoReturn:
    """Do one piece of work; the answer goes over the status socket `fds[0]`.  Never returns.

    `container_pidfd` refers to the container that the work is in, else it is -1.  A descriptor that
    a task answers with, under "descriptor", goes before the answer.
    """
    code = _FAILED
    status = socket.socket(fileno=fds[0])
    try:
        task = _task(work)
        beneath = [os.open(path, _FOLDER) for path in work.get("beneath", ())]
        if "fills" in work:
            place, sized = work["fills"]
            beneath.append(trees.open_place(place, sized=sized))
        if "source" in work:
            detached = overlay.takes_detached_layers()
            beneath.append(trees.image(work["source"], 0, None, detached=detached))
        sys.meta_path.clear()
        sys.path.clear()
        _enter(work, container_pidfd)
        answer = task(work, fds[1:] + beneath)
        if "descriptor" in answer:
            sockets.send(status, {}, (answer.pop("descriptor"),))
        status.send(json.dumps(answer).encode())
        code = 0
    except BaseException as error:  # nothing may return into the launcher's code
        known = isinstance(error, PyContainersError)
        account = {
            "step": "Work",
            "doing": f"{work['task']} into {work.get('directory', 'the container')}",
            "errno": (error.errno if isinstance(error, OSError) else None) or 0,
            "detail": str(error.args[0]) if known else str(error) or type(error).__name__,
            "hint": error.hint if isinstance(error, PyContainersError) else None,
        }
        status.send(json.dumps(account).encode())
    finally:
        os._exit(code)


def _task(work: dict[str, Any]) -> Task:
    """Load what the work needs, in this fork only: the launcher stays small."""
    name = work["task"]
    if name == "unpack":
        from pycontainers.runtime import unpack

        return unpack.unpack
    if name in ("layer", "export", "changes"):
        from pycontainers.runtime import layer

        return {"layer": layer.layer, "export": layer.export, "changes": layer.changes}[name]
    if name == "connect":
        from pycontainers.runtime import connect

        return connect.connect
    if name in ("archive", "fetch", "extract", "copy_tree", "copy_in"):
        from pycontainers.runtime import copies

        return _named(name, copies.TASKS[name])
    if name in ("fill", "usage"):
        from pycontainers.runtime import volumes

        return _named(name, volumes.TASKS[name])
    if name in ("select", "copy", "add_archive", "identify", "make_way"):
        from pycontainers.runtime import building

        return _named(name, building.TASKS[name])
    from pycontainers.runtime import files

    return _named(name, files.TASKS[name])


def _named(name: str, perform: Task) -> Task:
    """Have a task on a path raise KernelError, with the path that it was given."""

    def told(work: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        try:
            return perform(work, fds)
        except KernelError as error:
            error.hint = error.hint or ""  # so that none about the host's abilities is added
            raise
        except OSError as error:
            call = f"{name}({work['path']!r})"
            raise KernelError(error.errno or 0, call, hint="") from None

    return told


def _enter(work: dict[str, Any], container_pidfd: int) -> None:
    """Enter the jail that the work names, and keep the rights over files in it only."""
    os.umask(0)
    rights = _RIGHTS
    jail = work.get("jail", "directory")
    if jail == "container":
        _join(container_pidfd, work["namespaces"])
    elif jail == "network":
        namespaces.setns(container_pidfd, namespaces.CLONE_NEWNET)
        rights = 0
    elif jail == "root":
        _enter_stopped(work)
    elif jail in ("volume", "image"):
        _enter_tree(unpack(work["tree"]))
    else:
        root_fd = mounts.open_tree(work["directory"])
        mounts.attach(root_fd, "/")
        mounts.pivot_root(root_fd)
        os.close(root_fd)
        rights |= _RESERVED
    capabilities.drop_bounding(_RIGHTS)
    capabilities.apply(rights, rights & _RIGHTS, 0, 0)
    capabilities.no_new_privs()


def _join(container_pidfd: int, names: list[str]) -> None:
    """Join a running container and become its root.

    The worker stays outside its PID namespace and can't be traced, so that no program in there can
    see it, signal it or look into its memory.
    """
    if container_pidfd < 0:
        raise KernelError(errno.ESRCH, "setns(container)")
    namespaces.setns(container_pidfd, sum(namespaces.NAMESPACES[name] for name in names))
    if "user" in names:
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    # A change of ids takes both of these back.
    processes.set_dumpable(False)
    processes.die_with_parent()


def _enter_tree(step: Tree) -> None:
    """Enter a volume or an image."""
    root_fd = trees.make(step, None, detached=overlay.takes_detached_layers())
    os.close(rootfs.enter(root_fd))
    os.close(root_fd)


def _enter_stopped(work: dict[str, Any]) -> None:
    """Mount a stopped container's root file system and enter it.

    Without an id map: what lies on the disk are the container's own ids.
    """
    detached = overlay.takes_detached_layers()
    shown = []
    for step in map(unpack, work.get("trees", ())):
        hardened = step._replace(attributes=step.attributes | _HARDENED)
        shown.append((trees.make(hardened, None, detached=detached), step.target))
    upper = mounts.open_tree(work["upper"])
    with contextlib.ExitStack() as stack:
        layers = trees.layers(work["lower"], None, stack, detached=detached)
        root_fd = overlay.overlay(layers, upper, _HARDENED, detached=detached)
    slash_fd = rootfs.enter(root_fd)
    for fd, target in shown:
        rootfs.attach_tree(slash_fd, fd, target)
    if work.get("read_only"):
        mounts.set_attributes(slash_fd, add=mounts.MOUNT_ATTR_RDONLY)
    for fd in (upper, root_fd, slash_fd, *(fd for fd, _ in shown)):
        os.close(fd)
