"""A jailed worker: a short-lived fork that works on files below one directory and reaches no other.

It enters the directory as its root, with few capabilities, before it looks at the first byte of
what it was given; so no name or link in there leads anywhere else.  Layers `beneath` are opened
before, for tasks that look below the directory, which never follow a link in them.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

from pycontainers.errors import PyContainersError
from pycontainers.kernel import capabilities, mounts

if TYPE_CHECKING:
    from collections.abc import Callable

_FAILED: Final = 1
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# To read and write overlay's own attributes (trusted.*); a task raises it for those calls only.
_RESERVED: Final = capabilities.mask(("CAP_SYS_ADMIN",))
_RIGHTS: Final = capabilities.mask(
    ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_MKNOD", "CAP_SETFCAP")
)


def run(work: dict[str, Any], fds: list[int]) -> NoReturn:
    """Do one piece of work; the answer goes over the status socket `fds[0]`.  Never returns."""
    code = _FAILED
    status = socket.socket(fileno=fds[0])
    try:
        task = _task(work)
        beneath = [os.open(path, _FOLDER) for path in work.get("beneath", ())]
        sys.meta_path.clear()
        sys.path.clear()
        _enter(work["directory"])
        status.send(json.dumps(task(work, fds[1:] + beneath)).encode())
        code = 0
    except BaseException as error:  # nothing may return into the launcher's code
        known = isinstance(error, PyContainersError)
        account = {
            "step": "Work",
            "doing": f"{work['task']} into {work['directory']}",
            "errno": (error.errno if isinstance(error, OSError) else None) or 0,
            "detail": str(error.args[0]) if known else str(error) or type(error).__name__,
            "hint": error.hint if isinstance(error, PyContainersError) else None,
        }
        status.send(json.dumps(account).encode())
    finally:
        os._exit(code)


def _task(work: dict[str, Any]) -> Callable[[dict[str, Any], list[int]], dict[str, Any]]:
    """Load what the work needs, in this fork only: the launcher stays small."""
    if work["task"] == "unpack":
        from pycontainers.runtime import unpack

        return unpack.unpack
    from pycontainers.runtime import layer

    return {"layer": layer.layer, "export": layer.export, "changes": layer.changes}[work["task"]]


def _enter(directory: str) -> None:
    root_fd = mounts.open_tree(directory)
    mounts.attach(root_fd, "/")
    mounts.pivot_root(root_fd)
    os.close(root_fd)
    capabilities.drop_bounding(_RIGHTS)
    capabilities.apply(_RIGHTS | _RESERVED, _RIGHTS, 0, 0)
    capabilities.no_new_privs()
