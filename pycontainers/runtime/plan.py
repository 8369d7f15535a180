"""What the helper processes are asked to do: plain, printable steps that travel as JSON.

A plan decides nothing and looks nothing up: all that could be resolved, checked or opened was, in
the application.  Its four parts are carried out by the launcher before the container is born, at
its birth, by the launcher beside it, and by the container's init.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, get_args

from pycontainers.runtime.framing import MountFrame, ReplaceRoot
from pycontainers.runtime.mounting import Tree
from pycontainers.runtime.wiring import AwaitNetwork, ConnectBridge, MountSysfs, Publish

if TYPE_CHECKING:
    from collections.abc import Iterable


class MakeCgroup(NamedTuple):
    """Make the container's cgroup, which the plan names, and set its limits."""

    limits: dict[str, Any]

    def __str__(self) -> str:
        limits = ", ".join(f"{k}={v}" for k, v in self.limits.items() if v not in (None, False))
        return f"make the cgroup with {limits or 'no limits'}"


class MapIds(NamedTuple):
    """Give the container's user namespace its ids: (inside, outside, length) each.

    Empty lists ask for a range that no other container of this host has.
    """

    uids: list[list[int]]
    gids: list[list[int]]

    def __str__(self) -> str:
        if not self.uids:
            return "map 65536 ids from 0 on to a free range of the host's"
        inside, outside, length = self.uids[0]
        return (
            f"map the ids {inside} to {inside + length - 1} to {outside} to {outside + length - 1}"
        )


class SetLimit(NamedTuple):
    """Set a resource limit of init from outside, where a hard limit can be raised."""

    name: str
    soft: int
    hard: int

    def __str__(self) -> str:
        return f"limit {self.name} to {self.soft}:{self.hard}"


class SetOomScore(NamedTuple):
    """Set from outside how readily the kernel kills init for lack of memory, -1000 to 1000."""

    score: int

    def __str__(self) -> str:
        return f"set the OOM score adjustment to {self.score}"


OWN: Final = "own"


class MountRoot(NamedTuple):
    """Mount the root file system: an overlay of `lower` (topmost first) and an upper directory.

    `upper` is a directory with `upper` and `work` in it, OWN the container's, where these are
    made if they are missing; None takes a tmpfs of at most `size` bytes.
    """

    lower: list[str]
    upper: str | None
    size: int | None
    idmapped: bool
    attributes: int

    def __str__(self) -> str:
        upper = "the container's directory" if self.upper == OWN else self.upper or "memory"
        mapped = " through idmapped mounts" if self.idmapped else ""
        return f"overlay {' over '.join(self.lower)} with changes to {upper}{mapped}"


class MountDirectory(NamedTuple):
    """Use a directory as the root file system, as an OCI bundle asks."""

    path: str
    idmapped: bool
    attributes: int

    def __str__(self) -> str:
        return f"take {self.path} as root file system"


class MakeDev(NamedTuple):
    """Make /dev: a tmpfs with (name, kind, major, minor, mode) nodes, owned by the container."""

    nodes: list[tuple[str, str, int, int, int]]

    def __str__(self) -> str:
        return f"make /dev with {' '.join(node[0] for node in self.nodes)}"


class JoinCgroup(NamedTuple):
    """Move into the container's cgroup."""

    def __str__(self) -> str:
        return "join the cgroup"


class JoinNamespaces(NamedTuple):
    """Join the namespaces of a running container, all in one step."""

    namespaces: list[str]

    def __str__(self) -> str:
        return f"join the container's namespaces: {' '.join(self.namespaces)}"


class NewCgroupNamespace(NamedTuple):
    """Leave the cgroup namespace for a new one, whose root is the container's own cgroup."""

    def __str__(self) -> str:
        return "enter a new cgroup namespace"


class RaiseLoopback(NamedTuple):
    """Set the loopback interface up."""

    def __str__(self) -> str:
        return "bring the loopback interface up"


class NewSession(NamedTuple):
    """Become a session leader with an empty session keyring."""

    def __str__(self) -> str:
        return "start a session with an empty keyring"


class SetHostname(NamedTuple):
    """Set the host name of the UTS namespace."""

    name: str

    def __str__(self) -> str:
        return f"name the host {self.name}"


class SetDomainname(NamedTuple):
    """Set the domain name of the UTS namespace."""

    name: str

    def __str__(self) -> str:
        return f"name the domain {self.name}"


class OpenKernelFilesystems(NamedTuple):
    """Make /proc and /sys while the old root, which proves the right to them, is still there."""

    sysfs: bool

    def __str__(self) -> str:
        return "make the container's own /proc" + (" and /sys" if self.sysfs else "")


class BecomeRoot(NamedTuple):
    """Take the ids of the user namespace's root, once they are mapped."""

    def __str__(self) -> str:
        return "become root inside"


class TakeMounts(NamedTuple):
    """Wait for the mounts that the launcher makes."""

    def __str__(self) -> str:
        return "take the mounts from the launcher"


class TakeTrees(NamedTuple):
    """Wait for the mounts that the launcher makes for this container alone."""

    def __str__(self) -> str:
        return "take the container's own mounts from the launcher"


class EnterRoot(NamedTuple):
    """Make the root file system the root; from here on no path can lead to the host's."""

    def __str__(self) -> str:
        return "enter the root file system and detach the host's"


class MountKernelFilesystems(NamedTuple):
    """Attach /proc and /sys, at real directories only."""

    def __str__(self) -> str:
        return "attach /proc and /sys"


class MountNew(NamedTuple):
    """Mount a new file system at `target`, made as a directory where it is missing."""

    fstype: str
    target: str
    flags: int
    options: str

    def __str__(self) -> str:
        return f"mount {self.fstype} at {self.target}" + (
            f" ({self.options})" if self.options else ""
        )


class AttachTree(NamedTuple):
    """Attach the `index`-th mount that the launcher made at `target`, inside the root."""

    tree: int
    target: str

    def __str__(self) -> str:
        return f"attach a mount at {self.target}"


class MountCgroups(NamedTuple):
    """Show the container its own cgroups, read-only; for version 1 one directory a hierarchy."""

    hierarchies: list[str]

    def __str__(self) -> str:
        names = ", ".join(self.hierarchies)
        return f"show the own cgroup read-only{f' ({names})' if names else ''}"


class Mask(NamedTuple):
    """Hide paths: an empty directory over a directory, the null device over a file."""

    paths: list[str]

    def __str__(self) -> str:
        return f"hide {' '.join(self.paths)}"


class MakeReadOnly(NamedTuple):
    """Make paths read-only with all mounts below them."""

    paths: list[str]

    def __str__(self) -> str:
        return f"make {' '.join(self.paths)} read-only"


class WriteSysctls(NamedTuple):
    """Write kernel parameters of the container's own namespaces: (name, value) each."""

    values: list[tuple[str, str]]

    def __str__(self) -> str:
        return f"set {', '.join(f'{name}={value}' for name, value in self.values)}"


class OpenTerminal(NamedTuple):
    """Make a pseudo-terminal the standard streams and pass its master side to the application."""

    rows: int
    columns: int

    def __str__(self) -> str:
        return "open a terminal"


class Reap(NamedTuple):
    """Stay as process 1, pass signals on and reap orphans; the program becomes process 2."""

    def __str__(self) -> str:
        return "stay as a reaping process 1 and go on in a child"


class BecomeUser(NamedTuple):
    """Take the user, group and groups that the program runs as.

    `user` is Docker's `user[:group]`, names or numbers; names are looked up in the container's own
    /etc/passwd and /etc/group.  `groups` are further groups, numbers or names.
    """

    user: str
    groups: list[int | str]

    def __str__(self) -> str:
        further = f" with the groups {' '.join(map(str, self.groups))}" if self.groups else ""
        return f"become user {self.user or '0'}{further}"


class EnterDirectory(NamedTuple):
    """Make `path` the working directory, made where it is missing; no magic link is followed."""

    path: str

    def __str__(self) -> str:
        return f"enter {self.path}"


class DropBounding(NamedTuple):
    """Take from the bounding set, which limits all later programs, what is not in the mask."""

    bounding: int

    def __str__(self) -> str:
        return f"bound the capabilities to {self.bounding:#x}"


class SetCapabilities(NamedTuple):
    """Reduce this process's own capability sets to these masks."""

    permitted: int
    effective: int
    inheritable: int
    ambient: int

    def __str__(self) -> str:
        return f"keep {self.permitted.bit_count()} capabilities ({self.permitted:#x})"


class ForbidNewPrivileges(NamedTuple):
    """Let no execve grant privileges."""

    def __str__(self) -> str:
        return "forbid new privileges"


class LoadSeccomp(NamedTuple):
    """Load the seccomp filter that descriptor number `fd` holds."""

    fd: int
    size: int

    def __str__(self) -> str:
        return f"load the system call filter ({self.size // 8} instructions)"


class Execute(NamedTuple):
    """Become the program; `argv[0]` without a slash is searched in the PATH of `env`."""

    argv: list[str]
    env: list[str]

    def __str__(self) -> str:
        return f"execute {self.argv[0]}"


Root: TypeAlias = MountRoot | MountDirectory
BirthStep: TypeAlias = MapIds | MakeCgroup | MakeDev | MountFrame | Root | Tree | MountSysfs
Wire: TypeAlias = ConnectBridge | Publish
Beside: TypeAlias = MakeCgroup | Wire | SetLimit | SetOomScore | Root | Tree | MountSysfs
Step: TypeAlias = (
    JoinCgroup
    | JoinNamespaces
    | NewCgroupNamespace
    | RaiseLoopback
    | NewSession
    | SetHostname
    | SetDomainname
    | OpenKernelFilesystems
    | BecomeRoot
    | TakeMounts
    | TakeTrees
    | AwaitNetwork
    | EnterRoot
    | ReplaceRoot
    | MountKernelFilesystems
    | MountNew
    | AttachTree
    | MountCgroups
    | Mask
    | MakeReadOnly
    | WriteSysctls
    | OpenTerminal
    | Reap
    | BecomeUser
    | EnterDirectory
    | DropBounding
    | SetCapabilities
    | ForbidNewPrivileges
    | LoadSeccomp
    | Execute
)
AnyStep: TypeAlias = BirthStep | Beside | Step
_KINDS: Final[dict[str, Any]] = {kind.__name__: kind for kind in get_args(AnyStep)}


class Birth(NamedTuple):
    """What a new container is before it knows its name, its limits and its program.

    `namespaces` it is born into, what the launcher does for it, and what its init does at once.
    The launcher keeps one such container spare, so that a start like the last one finds this done.
    With a `home` (runtime/home.py) it has the ids and the network of that.
    """

    namespaces: list[str]
    launcher: list[BirthStep]
    init: list[Step]
    home: str = ""

    def packed(self) -> str:
        """Give it as text: births with the same text are the same."""
        launcher, init = map(pack, self.launcher), map(pack, self.init)
        return json.dumps([self.namespaces, [*launcher], [*init], self.home])

    @classmethod
    def unpack(cls, packed: str) -> Birth:
        """Make it again from `packed()`."""
        names, launcher, init, home = json.loads(packed)
        return cls(names, [*map(unpack, launcher)], [*map(unpack, init)], home)


class Plan(NamedTuple):
    """All that is done to start one container: its birth, then two sides that work side by side.

    `cgroup` is the container's cgroup in its `plain()` form.
    """

    id: str
    cgroup: dict[str, Any] | None
    birth: Birth
    beside: list[Beside]
    steps: list[Step]
    packed_birth: str = ""  # made once for all plans that share a birth

    def __str__(self) -> str:
        return "\n".join(f"{who:8} {step}" for who, step in self.lines())

    def lines(self) -> Iterable[tuple[str, AnyStep | str]]:
        """Give (who does it, step); the birth itself is a string."""
        yield "launcher", f"clone3 into new namespaces: {' '.join(self.birth.namespaces)}"
        yield from (("launcher", step) for step in self.birth.launcher)
        yield from (("init", step) for step in self.birth.init)
        yield from (("launcher", step) for step in self.beside)
        yield from (("init", step) for step in self.steps)

    def plain(self) -> dict[str, Any]:
        """Give the plan as JSON-able values."""
        return {
            "id": self.id,
            "cgroup": self.cgroup,
            "birth": self.packed_birth or self.birth.packed(),
            "beside": [pack(step) for step in self.beside],
            "steps": [pack(step) for step in self.steps],
        }


def pack(step: AnyStep) -> list[Any]:
    """Give a step as a list: its kind, then its fields.

    >>> pack(SetHostname("web"))
    ['SetHostname', 'web']
    """
    return [type(step).__name__, *step]


def unpack(packed: list[Any]) -> Any:
    """Make a step again from `pack()`.

    >>> unpack(["SetHostname", "web"])
    SetHostname(name='web')
    """
    return _KINDS[packed[0]](*packed[1:])
