"""Between clone3 and execve: carry out the plan's steps in their order, then become the program.

From `EnterRoot` on nothing is looked up that could be the image's: no import, no dlopen, no name
service.  A step that fails is reported over the status socket, which the exec closes: its end
without a message is the sign of success.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import stat
import struct
import sys
import termios
from typing import TYPE_CHECKING, Any, Final, NoReturn, assert_never

from pycontainers.errors import KernelError
from pycontainers.kernel import capabilities, namespaces, paths, processes, seccomp, sockets
from pycontainers.runtime import plan, rootfs, users
from pycontainers.runtime.framing import ReplaceRoot
from pycontainers.runtime.plan import (
    AttachTree,
    BecomeRoot,
    BecomeUser,
    DropBounding,
    EnterDirectory,
    EnterRoot,
    Execute,
    ForbidNewPrivileges,
    JoinCgroup,
    JoinNamespaces,
    LoadSeccomp,
    MakeReadOnly,
    Mask,
    MountCgroups,
    MountKernelFilesystems,
    MountNew,
    NewCgroupNamespace,
    NewSession,
    OpenKernelFilesystems,
    OpenTerminal,
    RaiseLoopback,
    Reap,
    SetCapabilities,
    SetDomainname,
    SetHostname,
    TakeMounts,
    TakeTrees,
    WriteSysctls,
)
from pycontainers.runtime.wiring import AwaitNetwork

if TYPE_CHECKING:
    from pycontainers.runtime.plan import Step

_TIOCSPTLCK: Final = 0x40045431
_TIOCGPTPEER: Final = 0x5441
_SI_KERNEL: Final = 0x80
_DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LAUNCH_FAILED: Final = 127


class Init:
    """What a process between clone3 and execve holds: its descriptors, all close-on-exec."""

    def __init__(self, launcher: socket.socket, container_pidfd: int) -> None:
        self.launcher = launcher
        self.container_pidfd = container_pidfd
        self.status: socket.socket | None = None
        self.cgroup_fds: list[int] = []
        self.given_fds: list[int] = []
        self.tree_fds: list[int] = []
        self.root_fd = -1
        self.slash_fd = -1
        self.proc_fd = -1
        self.sys_fd = -1
        self.home = "/root"

    def take(self, order: dict[str, Any], cgroup_fds: list[int], fds: list[int]) -> list[Step]:
        """Take the descriptors of an order (status, streams, given ones); give its steps."""
        self.cgroup_fds += cgroup_fds
        self.status = socket.socket(fileno=fds[0])
        streams, self.given_fds = fds[1 : 1 + order["stdio"]], fds[1 + order["stdio"] :]
        for number, fd in enumerate(streams):
            os.dup2(fd, number)
        return [plan.unpack(step) for step in order["steps"]]


def await_orders(launcher: socket.socket, early: list[Step], container_pidfd: int) -> NoReturn:
    """Be a newborn: carry out `early`, wait for orders, carry those out.  Never returns.

    `container_pidfd` refers to the container that a further program is for, else it is -1.
    """
    init = Init(launcher, container_pidfd)
    step: Step | None = None
    failed: BaseException | None = None
    try:
        # What is not loaded by now would come from the image, once the root has changed.
        sys.meta_path.clear()
        sys.path.clear()
        if early:
            received = sockets.receive(launcher)
            if received is None:
                os._exit(_LAUNCH_FAILED)
            init.cgroup_fds = received[1]
        for step in early:
            perform(step, init)
    except BaseException as error:  # nothing may return into the zygote's code
        failed = error
        launcher.send(b"failed", socket.MSG_NOSIGNAL)  # so that it is not kept as a spare
    try:
        while received := sockets.receive(launcher):
            order, fds = received
            if "steps" not in order:
                continue  # mounts, for a step that has not been reached
            steps = init.take(order, fds[: order["cgroups"]], fds[order["cgroups"] :])
            if failed is None:
                run(init, steps)
            else:
                _report(init, step, failed)
            break
    finally:
        os._exit(_LAUNCH_FAILED)


def run(init: Init, steps: list[Step]) -> None:
    """Carry out `steps` in the order given; the last one is the exec."""
    step: Step | None = None
    try:
        for step in steps:
            perform(step, init)
    except BaseException as error:  # nothing may return into the zygote's code
        _report(init, step, error)


def _report(init: Init, step: Step | None, error: BaseException) -> None:
    assert init.status is not None
    known = isinstance(error, KernelError)
    account = {
        "step": type(step).__name__,
        "doing": str(step) if step is not None else "begin",
        "errno": (error.errno if isinstance(error, OSError) else None) or 0,
        "detail": str(error.args[0]) if known else str(error) or type(error).__name__,
        "hint": error.hint if isinstance(error, KernelError) else None,
    }
    init.status.send(json.dumps(account).encode(), socket.MSG_NOSIGNAL)


def perform(step: Step, init: Init) -> None:
    """Carry out one step; raises KernelError or OSError."""
    match step:
        case JoinCgroup():
            if init.container_pidfd < 0 and not init.cgroup_fds:
                raise KernelError(errno.EBADF, "write(cgroup, '0')")
            for fd in init.cgroup_fds:
                os.write(fd, b"0")
                os.close(fd)
            init.cgroup_fds = []
        case JoinNamespaces():
            flags = sum(namespaces.NAMESPACES[name] for name in step.namespaces)
            namespaces.setns(init.container_pidfd, flags)
            init.slash_fd = rootfs.open_slash()
            os.umask(0o022)
        case NewCgroupNamespace():
            namespaces.unshare(namespaces.CLONE_NEWCGROUP)
        case RaiseLoopback():
            namespaces.bring_loopback_up()
        case NewSession():
            os.setsid()
            processes.new_session_keyring()
        case SetHostname():
            socket.sethostname(step.name)
        case SetDomainname():
            namespaces.set_domainname(step.name)
        case OpenKernelFilesystems():
            init.proc_fd = rootfs.open_proc()
            if step.sysfs:
                init.sys_fd = rootfs.open_sys()
        case BecomeRoot():
            _become_root()
        case TakeMounts():
            _take_mounts(init)
        case TakeTrees():
            init.tree_fds = _receive_mounts(init)
        case AwaitNetwork():
            _receive_mounts(init)
        case EnterRoot():
            init.slash_fd = rootfs.enter(init.root_fd)
        case ReplaceRoot():
            init.slash_fd = rootfs.replace(init.tree_fds[0])
        case MountKernelFilesystems():
            rootfs.attach_kernel_filesystem(init.proc_fd, init.slash_fd, "/proc")
            if init.sys_fd >= 0:
                rootfs.attach_kernel_filesystem(init.sys_fd, init.slash_fd, "/sys")
        case MountNew():
            rootfs.mount_new(init.slash_fd, step.fstype, step.target, step.flags, step.options)
        case AttachTree():
            rootfs.attach_tree(init.slash_fd, init.tree_fds[step.tree], step.target)
        case MountCgroups():
            rootfs.mount_cgroups(step.hierarchies)
        case Mask():
            rootfs.mask(init.slash_fd, step.paths)
        case MakeReadOnly():
            rootfs.make_read_only(init.slash_fd, step.paths)
        case WriteSysctls():
            _write_sysctls(step)
        case OpenTerminal():
            _open_terminal(step, init)
        case Reap():
            _reap(init)
        case BecomeUser():
            _become_user(step, init)
        case EnterDirectory():
            _enter_directory(step, init)
        case SetCapabilities():
            capabilities.apply(*step)
        case DropBounding():
            capabilities.drop_bounding(step.bounding)
        case ForbidNewPrivileges():
            capabilities.no_new_privs()
        case LoadSeccomp():
            seccomp.load(os.pread(init.given_fds[step.fd], step.size, 0))
        case Execute():
            _execute(step, init)
        case _:
            assert_never(step)


def settle() -> None:
    """Be the root of new user and network namespaces, in which others will be born."""
    _become_root()
    processes.die_with_parent()  # the change of ids has taken it back
    namespaces.bring_loopback_up()


def _become_root() -> None:
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    # A change of ids makes a process dumpable again where fs.suid_dumpable says so.
    processes.set_dumpable(False)


def _take_mounts(init: Init) -> None:
    init.root_fd, *init.tree_fds = _receive_mounts(init)
    os.umask(0o022)


def _receive_mounts(init: Init) -> list[int]:
    received = sockets.receive(init.launcher)
    if received is None:
        os._exit(_LAUNCH_FAILED)  # the launcher met an error and has told of it
    return received[1]


def _write_sysctls(step: WriteSysctls) -> None:
    for name, value in step.values:
        path = f"/proc/sys/{name.replace('.', '/')}"
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.write(fd, value.encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise KernelError(error.errno or 0, f"write({path!r}, {value!r})") from None


def _open_terminal(step: OpenTerminal, init: Init) -> None:
    flags = os.O_RDWR | os.O_NOCTTY
    master = paths.open_in(init.slash_fd, "/dev/pts/ptmx", flags, follow=False)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    # The peer by descriptor: a look-up of /dev/pts/0 by name could find something else.
    slave = fcntl.ioctl(master, _TIOCGPTPEER, flags | os.O_CLOEXEC)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", step.rows, step.columns, 0, 0))
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for number in (0, 1, 2):
        os.dup2(slave, number)
    assert init.status is not None
    sockets.send(init.status, {"terminal": True}, (master,))
    os.close(master)
    os.close(slave)


def _become_user(step: BecomeUser, init: Init) -> None:
    uid, gid, groups = 0, 0, users.group_numbers(init.slash_fd, step.groups)
    if step.user not in ("", "0", "root", "0:0", "root:root"):
        found = users.look_up(init.slash_fd, step.user)
        uid, gid, init.home = found.uid, found.gid, found.home
        groups = sorted({gid, *groups, *found.groups})
    elif groups:
        groups = sorted({gid, *groups})
    if os.isatty(0):
        os.fchown(0, uid, -1)
    # Kept over the change of user, so that the next step can choose; execve drops them for others
    # than root (capabilities(7)).
    processes.keep_capabilities()
    try:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        hint = "the ids must lie within the container's id map" if error.errno == 22 else None
        raise KernelError(error.errno or 0, f"setresuid({uid}), group {gid}", hint=hint) from None
    # A change of ids takes both of these back.
    processes.set_dumpable(False)
    processes.die_with_parent()


def _enter_directory(step: EnterDirectory, init: Init) -> None:
    """Enter a directory by descriptor: /proc/self/fd/N would lead out (CVE-2024-21626)."""
    slash_fd = init.slash_fd
    try:
        fd = paths.open_in(slash_fd, step.path, os.O_PATH | os.O_DIRECTORY)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        fd = paths.make_directories(slash_fd, step.path)
    os.fchdir(fd)
    os.close(fd)


def _reap(init: Init) -> None:
    """Fork: the parent stays process 1 until its child ends, the child goes on with the plan."""
    everything = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    signal.pthread_sigmask(signal.SIG_SETMASK, everything)
    pid, pidfd = namespaces.clone3(0)
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        return
    os.close(pidfd)
    processes.set_name("init")
    assert init.status is not None
    init.status.close()
    processes.close_from(3)
    while True:
        received = signal.sigwaitinfo(everything)
        if received.si_signo == signal.SIGCHLD:
            _reap_children(pid)
        elif received.si_code != _SI_KERNEL:  # a terminal's signals reach the whole group already
            os.kill(pid, received.si_signo)


def _reap_children(main: int) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid == main:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _execute(step: Execute, init: Init) -> None:
    environment = dict(item.split("=", 1) for item in step.env)
    environment.setdefault("HOME", init.home)
    command = step.argv[0]
    if "/" in command:
        candidates = [command]
    else:
        searched = environment.get("PATH", _DEFAULT_PATH).split(":")
        candidates = [f"{directory or '.'}/{command}" for directory in searched]
    failure: KernelError | None = None
    for candidate in candidates:
        error = _try_execute(candidate, step.argv, environment)
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            raise error
        # A file that can't be executed tells more than the next directory's lack of one.
        if failure is None or failure.errno != errno.EACCES:
            failure = error
    raise failure or KernelError(errno.ENOENT, f"execve({command!r})")


def _try_execute(path: str, argv: list[str], environment: dict[str, str]) -> KernelError:
    """Execute `path`, or give the error.  Magic links are refused: /proc/self/exe is the host's."""
    call = f"execve({path!r})"
    found = False
    try:
        fd = paths.open_without_magic(path, os.O_PATH)
        found = True
        is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
        os.close(fd)
        if is_directory:
            return KernelError(errno.EACCES, call, hint="it is a directory")
        os.execve(path, argv, environment)
    except OSError as error:
        hint = None
        if found and error.errno == errno.ENOENT:
            hint = "the file is there; the interpreter that it names is not"
        return KernelError(error.errno or 0, call, hint=hint)
