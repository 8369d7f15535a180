"""What Linux does: one file per family of man pages, no policy, no state, standard library only.

The room is public: a person in a notebook can make a namespace, a cgroup or an overlay by hand with
it (docs/kernel.md makes a container of these parts in thirty lines).  Every function names its man
page and raises `KernelError`, an OSError that shows the call as strace(1) does.
"""

__all__ = [
    "capabilities",
    "cgroups",
    "conntrack",
    "inotify",
    "links",
    "loopdevices",
    "mounts",
    "namespaces",
    "netlink",
    "nftables",
    "nftrules",
    "paths",
    "processes",
    "seccomp",
    "sockets",
    "syscall",
]
