"""Starting a helper process: a fresh interpreter that loads the standard library only."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
from pathlib import Path
from typing import Final

from pycontainers.errors import EngineError, KernelError
from pycontainers.kernel import mounts, processes

_BOOT: Final = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from pycontainers.runtime.{} import main; main(sys.argv[2])"
)
_HIGH: Final = 20
_KEPT: Final = ("LD_LIBRARY_PATH",)  # what an interpreter outside the system's paths may need


def spawn(module: str, argument: str, given: dict[int, int]) -> tuple[int, int]:
    """Start a fresh interpreter as the helper `module` of runtime; give its pidfd and number.

    `given` are our descriptors by the numbers that the helper knows them by.

    posix_spawn, so that the application is not forked.  The interpreter is executed from a
    read-only mount of its own file, so that no program in a container can write to it through
    /proc/self/exe (CVE-2019-5736).
    """
    executable = sys.executable
    if not executable or not Path(executable).exists():
        raise EngineError(f"sys.executable names no interpreter to run the {module} with")
    package = str(Path(__file__).resolve().parents[2])
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    # Above the numbers that they shall have, so that none overwrites another on its way.
    fds = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH) for fd in given.values()]
    try:
        path = executable
        with contextlib.suppress(KernelError):  # without the right to: as a plain user
            program_fd = mounts.open_tree(executable)
            fds.append(program_fd)
            mounts.set_attributes(program_fd, add=mounts.MOUNT_ATTR_RDONLY)
            path = f"/proc/self/fd/{program_fd}"
        pid = os.posix_spawn(
            path,
            [executable, "-I", "-S", "-c", _BOOT.format(module), package, argument],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, 2, 2),
                *((os.POSIX_SPAWN_DUP2, *pair) for pair in zip(fds, given, strict=False)),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGCHLD],
        )
    except OSError as error:
        raise EngineError(f"cannot start the {module} with {executable}: {error}") from error
    finally:
        for fd in fds:
            os.close(fd)
    return processes.pidfd_open(pid), pid
