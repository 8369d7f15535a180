"""Volumes in the course of containers: chosen, made, filled and shown; and their own course."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pycontainers.errors import (
    Conflict,
    EngineError,
    InvalidArgument,
    KernelError,
    LaunchError,
    NotSupported,
    StoreError,
)
from pycontainers.lifecycle import filters as filtering
from pycontainers.lifecycle import mounts, values
from pycontainers.lifecycle.placing import Placed
from pycontainers.lifecycle.workers import ask
from pycontainers.runtime import plan
from pycontainers.runtime.mounting import MountImage, MountVolume
from pycontainers.storage.volumes import DATA, DISK, VolumeRow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pycontainers.lifecycle.launch import Running
    from pycontainers.lifecycle.options import Options
    from pycontainers.lifecycle.services import Services
    from pycontainers.lifecycle.source import Source

_ATTEMPTS: Final = 5
_SMALLEST: Final = 1 << 20  # bytes, of a file system
_PAGE: Final = 4096
_SYSTEM_PROGRAMS: Final = "/usr/local/sbin:/usr/sbin:/sbin"
_MKFS: Final = ("-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard")


# Of a container.


def choose(services: Services, options: Options) -> dict[str, VolumeRow]:
    """Give the volumes that a new container will use, by their targets, new ones as well.

    Directories that are to be made for bind mounts are made now.  Raises InvalidArgument,
    StoreError.
    """
    found = {}
    for mount in mounts.all_of(options):
        if mount.kind == "volume":
            if mount.root not in ("", str(services.root.path)):
                raise InvalidArgument(
                    f"volumes: the volume {mount.source} is in another data root, {mount.root}"
                )
            name = mount.source or new_name()
            anonymous = mount.lent or not mount.source
            found[mount.target] = VolumeRow.new(name, anonymous=anonymous)
        elif mount.create_source:
            try:
                Path(mount.source).mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                pass  # a file is as good
            except OSError as error:
                raise StoreError(f"cannot make {mount.source}: {error.strerror}") from error
    return found


def summary(chosen: Mapping[str, VolumeRow]) -> dict[str, Any]:
    """Give what a container's row tells of its volumes: all by target, and those made for it."""
    return {
        "volumes": {target: volume.name for target, volume in chosen.items()},
        "own_volumes": [volume.name for volume in chosen.values() if volume.anonymous],
    }


def new_name() -> str:
    """Give a fresh name for a volume without one: 64 hexadecimal digits."""
    return os.urandom(32).hex()


def places(services: Services, names: Mapping[str, str]) -> dict[str, Placed]:
    """Give where a container's volumes lie, by their targets; raises VolumeNotFound."""
    return {target: _placed(services, name) for target, name in names.items()}


def _placed(services: Services, name: str) -> Placed:
    row = services.volumes.get(name)
    return Placed(name, str(services.volumes.place(name)), row.size is not None)


def fill(services: Services, options: Options, source: Source, names: Mapping[str, str]) -> None:
    """Copy what the image has at their targets to the volumes that were never used before.

    Others that would do the same wait.  What is interrupted is done again the next time.  Raises
    LaunchError.
    """
    store = services.volumes
    for mount in mounts.all_of(options):
        if mount.kind != "volume" or mount.nocopy or mount.subpath:
            continue
        name = names[mount.target]
        if store.get(name).filled or not _may_have(source.layers, mount.target):
            continue
        with store.locked(name) as lock_fd:
            if store.get(name).filled:
                continue
            placed = _placed(services, name)
            work = {
                "task": "fill",
                "path": mount.target,
                "jail": "image",
                "tree": plan.pack(MountImage(list(source.layers), "", "/", 0, False)),
                "fills": [placed.place, placed.sized],
            }
            try:
                if _filled(services, work, lock_fd):
                    store.mark_filled(name)
            except KernelError as error:
                raise LaunchError(
                    f"fill the volume {name}", error.errno or 0, str(error.args[0])
                ) from error


def _filled(services: Services, work: dict[str, Any], lock_fd: int) -> bool:
    """Have a worker fill a volume; with a launcher that is killed meanwhile it is done again.

    The worker has the lock with it, and so nobody else begins before it has ended.
    """
    attempts = _ATTEMPTS
    while True:
        try:
            return bool(ask(_Workers(services), work, [lock_fd]).told["filled"])
        except EngineError:
            attempts -= 1
            if not attempts:
                raise


def _may_have(layers: Sequence[str], target: str) -> bool:
    """Whether an image may have something at a path; where a link is on the way, a worker looks."""
    below = ""
    for part in target.strip("/").split("/"):
        below = f"{below}/{part}"
        found = [path for path in (f"{layer}{below}" for layer in layers) if os.path.lexists(path)]
        if any(map(os.path.islink, found)):
            return True
        if not found:
            return False
    return True


class _Workers:
    """Workers that are told all about their jail."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def work(self, work: dict[str, Any], fds: list[int]) -> Running:
        return self._services.launcher().work(work, fds)


class VolumeJail:
    """The files of one volume, as jailed workers see them; no path leads out of it."""

    def __init__(self, services: Services, name: str) -> None:
        self._services = services
        self._name = name

    def work(self, work: dict[str, Any], fds: list[int]) -> Running:
        """Have a worker started; raises VolumeNotFound."""
        placed = _placed(self._services, self._name)
        step = MountVolume(*placed, "", "/", 0, False)
        asked = {**work, "jail": "volume", "tree": plan.pack(step)}
        return self._services.launcher().work(asked, fds)


# Their own course.


def create(
    services: Services, name: str | None, labels: Mapping[str, str], size: int | str | None
) -> VolumeRow:
    """Make a volume, or give the one that has the name.

    Raises InvalidArgument, Conflict where that has another size, NotSupported, StoreError.
    """
    wanted = VolumeRow.new(
        new_name() if name is None else mounts.volume_name(name),
        dict(values.labels(labels)),
        None if size is None else _size(size),
        anonymous=name is None,
    )
    found = services.volumes.find(wanted.name)
    if found is None:
        if wanted.size is None:
            found = services.volumes.add(wanted)
        else:
            with services.volumes.making() as place:
                _make_disk(place, wanted.size)
                found = services.volumes.add(wanted, place)
    if wanted.size not in (None, found.size):
        has = "no size" if found.size is None else f"{found.size} bytes"
        raise Conflict(f"the volume {wanted.name} is there already, and has {has}")
    return found


def _size(value: int | str) -> int:
    number = values.size("size", value)
    if number < _SMALLEST:
        raise InvalidArgument(f"size: {number} bytes are too few", hint="at least 1m")
    return number + -number % _PAGE


def _make_disk(place: Path, size: int) -> None:
    """Make a file system of that many bytes in a file, which takes space as it is filled."""
    mkfs = shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:{_SYSTEM_PROGRAMS}")
    if mkfs is None:
        raise NotSupported(
            "a volume with a size needs the program mkfs.ext4", hint="apt install e2fsprogs"
        )
    content = place / "content"
    try:
        content.mkdir(0o755)
        (place / DATA).rename(content / DATA)
        with (place / DISK).open("xb") as file:
            file.truncate(size)
        done = subprocess.run(
            [mkfs, *_MKFS, "-d", content, place / DISK],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StoreError(f"cannot make a file system of {size} bytes: {done.stderr.strip()}")
        (content / DATA).rmdir()
        content.rmdir()
    except OSError as error:
        raise StoreError(f"cannot make a file system in {place}: {error.strerror}") from error


def select(services: Services, filters: Mapping[str, Any] | None) -> list[VolumeRow]:
    """Give the volumes that fit all filters, by name; raises InvalidArgument."""
    wanted = filtering.checked(filters, _FILTERS)
    used = services.volumes.used() if "dangling" in wanted else set()
    return [row for row in services.volumes.all() if _fits(row, used, wanted)]


def prune(services: Services, *, all: bool, filters: Mapping[str, Any] | None) -> list[str]:
    """Remove the volumes without a name that no container uses, or `all` that none uses."""
    rows = select(services, filtering.checked(filters, ("label",)))
    return services.volumes.remove_unused(row.name for row in rows if all or row.anonymous)


def _fits(row: VolumeRow, used: set[str], wanted: Mapping[str, Sequence[str]]) -> bool:
    return filtering.fit(wanted, lambda key, value: _FILTERS[key](row, used, value))


_FILTERS: Final[dict[str, Callable[[VolumeRow, set[str], str], bool]]] = {
    "name": lambda row, _, value: value in row.name,
    "label": lambda row, _, value: filtering.has_label(json.loads(row.labels), value),
    "dangling": lambda row, used, value: (row.name not in used) == filtering.truth(value),
}
