"""From the mounts that were asked for to entries of the spec, and from these to a plan's steps.

Volumes and images have types of their own in the spec, which the runtime specification does not
know; `portable` writes them as others understand them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from pycontainers.errors import NotSupported
from pycontainers.kernel import mounts
from pycontainers.oci import runtime
from pycontainers.runtime.mounting import CloneTree, MountImage, MountSecret, MountVolume
from pycontainers.storage.volumes import DATA

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pycontainers.lifecycle.mounts import Mount
    from pycontainers.runtime.mounting import Tree
    from pycontainers.runtime.plan import Plan

_SAFE: Final = ("nosuid", "nodev")
_FLAGS: Final = {  # option: (flag of mount(2), attribute of mount_setattr(2))
    "ro": (mounts.MS_RDONLY, mounts.MOUNT_ATTR_RDONLY),
    "nosuid": (mounts.MS_NOSUID, mounts.MOUNT_ATTR_NOSUID),
    "nodev": (mounts.MS_NODEV, mounts.MOUNT_ATTR_NODEV),
    "noexec": (mounts.MS_NOEXEC, mounts.MOUNT_ATTR_NOEXEC),
}
_IGNORED: Final = {"rw", "suid", "dev", "exec", "bind", "rbind", "idmap", "ridmap", "rprivate",
                   "private", "rslave", "slave", "relatime", "strictatime"}  # fmt: skip
_AS_IT_IS: Final = "x-pycontainers.no-links"
_LAYER: Final = "lowerdir+="
_SUBPATH: Final = "x-pycontainers.subpath="
_VOLUME: Final = "volume"
_IMAGE: Final = "image"
_SECRET: Final = "secret"
_OWNED: Final = ("mode=", "uid=", "gid=")


class Placed(NamedTuple):
    """A volume of a container: its name, where it lies, and whether it is sized."""

    name: str
    place: str
    sized: bool


# Into the spec.


def entry(mount: Mount, *, mapped: bool) -> runtime.Mount:
    """Give the spec's entry for a mount; `mapped` tells whether the container has own ids."""
    if mount.kind == "tmpfs":
        size = () if mount.size is None else (f"size={mount.size}",)
        options = (*_SAFE, f"mode={mount.mode:o}", *size)
        return runtime.Mount(mount.target, type="tmpfs", source="tmpfs", options=options)
    if mount.kind == "bind":
        given = bind(mount.source, mount.target, read_only=mount.read_only, mapped=mapped)
        more = (f"r{mount.propagation}", _AS_IT_IS)
        return attrs.evolve(given, options=(*given.options, *more))
    if mount.kind == "secret":
        owned = (f"mode={mount.mode:o}", f"uid={mount.owner[0]}", f"gid={mount.owner[1]}")
        options = (*_SAFE, "noexec", "ro", *owned)
        return runtime.Mount(mount.target, type=_SECRET, source=mount.source, options=options)
    writable = "ro" if mount.read_only else "rw"
    options = (
        *_SAFE,
        writable,
        *(["ridmap"] if mapped else []),
        *([_SUBPATH + mount.subpath] if mount.subpath else []),
        *(_LAYER + path for path in mount.layers),
    )
    return runtime.Mount(mount.target, type=mount.kind, source=mount.source, options=options)


def bind(source: str, target: str, *, read_only: bool, mapped: bool) -> runtime.Mount:
    """Give the entry of a bind mount of the engine's own."""
    options = ["rbind", *_SAFE, "ro" if read_only else "rw"]
    if mapped:
        options.append("ridmap")
    return runtime.Mount(target, type="bind", source=source, options=tuple(options))


# From the spec.


def is_bind(mount: runtime.Mount) -> bool:
    """Whether an entry is a bind mount."""
    return mount.type == "bind" or "bind" in mount.options or "rbind" in mount.options


def is_tree(mount: runtime.Mount) -> bool:
    """Whether an entry is a mount that is made with the host's privileges."""
    return is_bind(mount) or mount.type in (_VOLUME, _IMAGE, _SECRET)


def parsed(options: Sequence[str]) -> tuple[int, int, list[str]]:
    """Give the flags of mount(2), the attributes of mount_setattr(2), and what is left."""
    flags = attributes = 0
    data = []
    for option in options:
        if option in _FLAGS:
            flag, attribute = _FLAGS[option]
            flags |= flag
            attributes |= attribute
        elif option not in _IGNORED:
            data.append(option)
    return flags, attributes, data


def tree(mount: runtime.Mount) -> Tree:
    """Give the step that makes a mount; which volume it is, `with_volumes` says."""
    attributes = parsed(mount.options)[1]
    idmapped = "ridmap" in mount.options or "idmap" in mount.options
    if is_bind(mount):
        return CloneTree(
            mount.source,
            None,
            mount.destination,
            attributes,
            recursive="bind" not in mount.options,
            idmapped=idmapped,
            follow=_AS_IT_IS not in mount.options,
            propagation=_propagation(mount),
        )
    if mount.type == _SECRET:
        mode, uid, gid = ("".join(_values(mount, key)) for key in _OWNED)
        return MountSecret(mount.source, -1, mount.destination, int(mode, 8), int(uid), int(gid),
                           attributes, False)  # fmt: skip
    subpath = "".join(_values(mount, _SUBPATH))
    if mount.type == _VOLUME:
        return MountVolume(
            mount.source, "", False, subpath, mount.destination, attributes, idmapped
        )
    return MountImage(_values(mount, _LAYER), subpath, mount.destination, attributes, idmapped)


def _propagation(mount: runtime.Mount) -> int:
    if "rslave" in mount.options or "slave" in mount.options:
        return mounts.MS_SLAVE
    private = "rprivate" in mount.options or "private" in mount.options
    return mounts.MS_PRIVATE if private else 0


def _values(mount: runtime.Mount, prefix: str) -> list[str]:
    return [each.removeprefix(prefix) for each in mount.options if each.startswith(prefix)]


def with_volumes(made: Plan, volumes: Mapping[str, Placed]) -> Plan:
    """Give a plan with the volumes of its container, by their targets."""
    if not volumes:
        return made
    beside = [
        step._replace(**volumes[step.target]._asdict()) if isinstance(step, MountVolume) else step
        for step in made.beside
    ]
    return made._replace(beside=beside)


def with_secrets(made: Plan, fds: Mapping[str, int]) -> Plan:
    """Give a plan with the positions among the given descriptors that secrets have, by names."""
    if not fds:
        return made
    beside = [
        step._replace(fd=fds[step.name]) if isinstance(step, MountSecret) else step
        for step in made.beside
    ]
    return made._replace(beside=beside)


def trees(
    entries: Iterable[runtime.Mount], volumes: Mapping[str, Placed], directory: str
) -> list[Tree]:
    """Give the steps of a stopped container's mounts, shown with the ids that are on the disk.

    `directory` is the container's, for what is mounted from there.
    """
    steps = [tree(each)._replace(idmapped=False) for each in entries if is_tree(each)]
    found: list[Tree] = []
    for step in steps:
        if isinstance(step, MountVolume):
            found.append(step._replace(**volumes[step.target]._asdict()))
        elif isinstance(step, CloneTree) and not step.source.startswith("/"):
            found.append(step._replace(source=f"{directory}/{step.source}"))
        else:
            found.append(step)
    return found


def portable(
    entries: Iterable[runtime.Mount], volumes: Mapping[str, Placed]
) -> tuple[runtime.Mount, ...]:
    """Give entries as other runtimes understand them; raises NotSupported."""
    found = []
    for each in entries:
        if each.type == _SECRET:
            raise NotSupported(f"a bundle can't hold the secret at {each.destination}")
        if each.type not in (_VOLUME, _IMAGE):
            kept = tuple(option for option in each.options if option != _AS_IT_IS)
            found.append(attrs.evolve(each, options=kept))
            continue
        subpath = "".join(_values(each, _SUBPATH))
        placed = volumes.get(each.destination)
        if placed is None or placed.sized:
            what = each.type if placed is None else "volume with a size"
            raise NotSupported(f"a bundle can't hold the {what} at {each.destination}")
        kept = tuple(option for option in each.options if not option.startswith(_SUBPATH))
        source = os.path.join(placed.place, DATA, subpath)  # noqa: PTH118
        found.append(attrs.evolve(each, type="bind", source=source, options=("rbind", *kept)))
    return tuple(found)
