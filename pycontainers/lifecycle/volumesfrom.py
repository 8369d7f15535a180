"""The option `volumes_from`: a container gets the volumes and binds of others, as `--volumes-from`.

They become mounts of its own, so that nothing else has to know where they come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import attrs

from pycontainers.errors import InvalidArgument
from pycontainers.lifecycle import mounts, selection, values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pycontainers.lifecycle.life import Life
    from pycontainers.lifecycle.mounts import Mount
    from pycontainers.lifecycle.options import Options
    from pycontainers.lifecycle.services import Services

_MODES: Final = ("ro", "rw")
_LENT: Final = ("volume", "bind")


class Lender(Protocol):
    """A container as `Container` is one."""

    @property
    def id(self) -> str:
        """Its id."""


VolumesFrom: TypeAlias = "Sequence[str | Lender]"


def listed(value: VolumesFrom) -> tuple[str, ...]:
    """Give the option as texts of the form "container:mode"; raises InvalidArgument.

    >>> listed(["db", "web:ro"])
    ('db:rw', 'web:ro')
    """
    found = []
    for item in values.listed("volumes_from", value):
        text = item if isinstance(item, str) else getattr(item, "id", None)
        key, colon, mode = values.plain("volumes_from", text or "").partition(":")
        if not key or (colon and mode not in _MODES):
            raise InvalidArgument(
                f"volumes_from: {item!r} is not of the form container:ro",
                hint="a Container, its name or id, with :ro or :rw",
            )
        found.append(f"{key}:{mode or 'rw'}")
    return tuple(found)


def resolved(services: Services, options: Options) -> Options:
    """Give the options with the mounts of those containers, which are named by their ids then.

    The container's own mounts win, and of two others the later one.  Raises ContainerNotFound,
    Conflict.
    """
    if not options.volumes_from:
        return options
    own = {mount.target for mount in mounts.all_of(options)}
    more: dict[str, Mount] = {}
    sources = []
    for text in options.volumes_from:
        key, _, mode = text.partition(":")
        life = selection.find(services, key)
        sources.append(f"{life.id}:{mode}")
        for mount in _lent(life, read_only=mode == "ro"):
            if mount.target not in own:
                more[mount.target] = mount
    return attrs.evolve(
        options, volumes_from=tuple(sources), volumes=(*options.volumes, *more.values())
    )


def _lent(life: Life, *, read_only: bool) -> Iterator[Mount]:
    """Give a container's volumes and binds as another one gets them."""
    for mount in mounts.all_of(life.options):
        if mount.kind in _LENT:
            volume = mount.kind == "volume"
            yield attrs.evolve(
                mount,
                source=life.volumes[mount.target] if volume else mount.source,
                read_only=mount.read_only or read_only,
                create_source=False,
                nocopy=volume,
                lent=volume and (mount.lent or not mount.source),
            )
