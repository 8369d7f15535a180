"""A plan made readable: each step with who takes it and the kernel feature that it uses."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pycontainers.runtime.plan import Plan

FEATURES: Final = {  # step: the pages that tell of what it uses
    "MakeCgroup": "cgroups(7)",
    "MapIds": "user_namespaces(7)",
    "SetLimit": "prlimit(2)",
    "SetOomScore": "proc_pid_oom_score_adj(5)",
    "MountRoot": "overlayfs.rst, mount_setattr(2)",
    "MountDirectory": "open_tree(2), mount_setattr(2)",
    "MountFrame": "tmpfs(5)",
    "MakeDev": "mknod(2), tmpfs(5)",
    "CloneTree": "open_tree(2), mount_setattr(2)",
    "MountVolume": "open_tree(2), mount_setattr(2), loop(4)",
    "MountImage": "overlayfs.rst, mount_setattr(2)",
    "MountSecret": "tmpfs(5), open_tree(2)",
    "JoinCgroup": "cgroups(7), cgroup.procs",
    "JoinNamespaces": "setns(2), pidfd_open(2)",
    "NewCgroupNamespace": "cgroup_namespaces(7)",
    "RaiseLoopback": "network_namespaces(7), netdevice(7)",
    "NewSession": "setsid(2), session-keyring(7)",
    "SetHostname": "uts_namespaces(7)",
    "SetDomainname": "uts_namespaces(7), setdomainname(2)",
    "OpenKernelFilesystems": "fsmount(2), proc(5), sysfs(5)",
    "BecomeRoot": "setresuid(2)",
    "TakeMounts": "unix(7), SCM_RIGHTS",
    "TakeTrees": "unix(7), SCM_RIGHTS",
    "AwaitNetwork": "unix(7)",
    "EnterRoot": "pivot_root(2)",
    "ReplaceRoot": "move_mount(2), pivot_root(2)",
    "MountKernelFilesystems": "move_mount(2), openat2(2)",
    "MountNew": "mount(2)",
    "AttachTree": "move_mount(2), openat2(2)",
    "MountCgroups": "cgroups(7)",
    "Mask": "open_tree(2), move_mount(2)",
    "MakeReadOnly": "mount_setattr(2)",
    "WriteSysctls": "sysctl(8)",
    "OpenTerminal": "pty(7), devpts",
    "Reap": "pid_namespaces(7)",
    "BecomeUser": "setresuid(2), setgroups(2)",
    "EnterDirectory": "openat2(2), fchdir(2)",
    "DropBounding": "PR_CAPBSET_DROP(2const)",
    "SetCapabilities": "capabilities(7)",
    "ForbidNewPrivileges": "PR_SET_NO_NEW_PRIVS(2const)",
    "LoadSeccomp": "seccomp(2)",
    "Execute": "execve(2)",
}
_BIRTH: Final = "clone(2), namespaces(7)"


@attrs.frozen(repr=False)
class Explanation:
    """The steps of a start, in order; prints as text and shows as a table in Jupyter."""

    plan: Plan

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Give (who, what, feature) for each step; features are named by their man pages."""
        for who, step in self.plan.lines():
            feature = _BIRTH if isinstance(step, str) else FEATURES[type(step).__name__]
            yield who, str(step), feature

    def __str__(self) -> str:
        rows = list(self.rows())
        width = max(len(what) for _, what, _ in rows)
        width = min(width, 72)
        return "\n".join(
            f"{number:3}  {who:8}  {what[:width]:{width}}  {feature}"
            for number, (who, what, feature) in enumerate(rows, 1)
        )

    def __repr__(self) -> str:
        return f"<Explanation of {sum(1 for _ in self.rows())} steps>"

    def _repr_html_(self) -> str:
        cells = (
            "".join(f"<td>{html.escape(text)}</td>" for text in (str(number), *row))
            for number, row in enumerate(self.rows(), 1)
        )
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        return f"<table><tr><th></th><th>who</th><th>step</th><th>feature</th></tr>{body}</table>"
