"""What a container gets mounted: directories of the host, memory, volumes and images.

A `Mount` is a value, checked when it is made.  The texts that Docker writes volumes in are read
here too.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

import attrs

from pycontainers.errors import InvalidArgument
from pycontainers.lifecycle import values
from pycontainers.storage.volumes import NAME

if TYPE_CHECKING:
    from pycontainers.lifecycle.options import Options
    from pycontainers.lifecycle.source import Source
    from pycontainers.oci.config import ImageConfig

_LOG: Final = logging.getLogger("pycontainers")
_PROPAGATIONS: Final = ("private", "slave")
_SHARED: Final = "what a container mounts would appear on the host; slave shows it the host's"
_IGNORED: Final = ("z", "Z")
_FIELDS: Final = 3  # of a text as source:target:mode


class NamedVolume(Protocol):
    """A volume as `Volume` is one."""

    @property
    def root(self) -> str:
        """Its data root."""

    @property
    def name(self) -> str:
        """Its name there."""


class StoredImage(Protocol):
    """An image as `Image` is one."""

    @property
    def id(self) -> str:
        """Its id."""

    def source(self) -> Source:
        """Where its files lie."""


VolumeSource: TypeAlias = str | os.PathLike[str] | NamedVolume
# Its keys are VolumeSources: a Mapping of these would refuse a dict[str, str], as keys don't vary.
Propagation: TypeAlias = Literal["private", "slave"]
Volumes: TypeAlias = Mapping[Any, str | Mapping[str, str]] | Sequence[str]


@attrs.frozen
class Mount:
    """One mount of a container; made by `bind`, `tmpfs`, `volume` and `image`.

    `source` is the host's path, a volume's name ("" for one of the container's own), an image's
    reference or id, or the name of a secret, which builds mount with `owner` and `mode`.  `lent`
    marks a volume without a name of another container's (`volumes_from`).
    """

    kind: Literal["bind", "tmpfs", "volume", "image", "secret"]
    target: str
    source: str = ""
    read_only: bool = False
    size: int | None = None
    mode: int = 0o1777
    propagation: str = "private"
    create_source: bool = False
    nocopy: bool = False
    subpath: str = ""
    root: str = ""
    layers: tuple[str, ...] = ()
    owner: tuple[int, int] = (0, 0)
    lent: bool = False

    @classmethod
    def bind(
        cls,
        source: str | os.PathLike[str],
        target: str,
        *,
        read_only: bool = False,
        propagation: Propagation = "private",
        create_source: bool = False,
    ) -> Mount:
        """Show the host's directory or file `source` at `target`, with all mounts below it.

        Ids are mapped: what the container's root writes belongs to root on the host.  `read_only`
        holds for the mounts below it too.  With `propagation="slave"` what the host mounts there
        later appears inside.  Links in the source are followed now and never again: a path that has
        become one is refused at the start.  Raises InvalidArgument where the source is missing;
        with `create_source` a directory is made there when the container is created.

        >>> Mount.bind("/usr/share", "/data", read_only=True).target
        '/data'
        """
        if propagation not in _PROPAGATIONS:
            hint = _SHARED if propagation in ("shared", "rshared") else None
            raise InvalidArgument(
                f"mounts: the propagation {propagation!r} is none of private, slave", hint=hint
            )
        path = Path(source).absolute()
        if not path.exists() and not create_source:
            raise InvalidArgument(
                f"mounts: the source {path} does not exist",
                hint="Mount.bind(…, create_source=True) makes a directory there",
            )
        return cls(
            "bind",
            values.inside("mounts", target, mount=True),
            values.plain("mounts", os.path.realpath(path)),
            values.flag("read_only", read_only),
            propagation=propagation,
            create_source=values.flag("create_source", create_source),
        )

    @classmethod
    def tmpfs(cls, target: str, *, size: int | str | None = None, mode: int = 0o1777) -> Mount:
        """Mount an empty file system in memory at `target`, of at most `size` bytes.

        >>> Mount.tmpfs("/tmp", size="16m").size
        16777216
        """
        return cls(
            "tmpfs",
            values.inside("tmpfs", target, mount=True),
            size=None if size is None else values.size("tmpfs", size),
            mode=values.whole("tmpfs mode", mode, 0, 0o7777),
        )

    @classmethod
    def volume(
        cls,
        source: str | NamedVolume | None,
        target: str,
        *,
        read_only: bool = False,
        nocopy: bool = False,
        subpath: str | None = None,
    ) -> Mount:
        """Mount a volume, or the directory or file `subpath` in it, at `target`.

        `source` is a `Volume` or a name; one that is not there is made when the container is
        created, and None is a new one without a name.  A volume that was never used gets what the
        image has at `target`, unless `nocopy`.  Raises InvalidArgument.

        >>> Mount.volume("data", "/data").source
        'data'
        """
        root = ""
        if source is not None and not isinstance(source, str):
            root = getattr(source, "root", "")
            if not isinstance(root, str) or not root or isinstance(source, os.PathLike):
                raise InvalidArgument(
                    f"volumes: expected a Volume or a name, not {source!r}",
                    hint="Mount.bind(path, target) shows a directory of the host",
                )
            source = source.name
        return cls(
            "volume",
            values.inside("volumes", target, mount=True),
            "" if source is None else volume_name(source),
            values.flag("read_only", read_only),
            nocopy=values.flag("nocopy", nocopy),
            subpath=_subpath(subpath),
            root=root,
        )

    @classmethod
    def image(cls, source: str | StoredImage, target: str, *, subpath: str | None = None) -> Mount:
        """Show an image's files, or the directory or file `subpath` in it, read-only at `target`.

        `source` is an `Image` or a reference, which is pulled where it is missing when the
        container is created.  Raises InvalidArgument.

        >>> Mount.image("debian:12", "/debian").source
        'debian:12'
        """
        layers: tuple[str, ...] = ()
        if not isinstance(source, str):
            if not hasattr(source, "source"):
                raise InvalidArgument(f"mounts: expected an Image or a reference, not {source!r}")
            found = source.source()
            if found.trees:
                raise InvalidArgument(
                    "mounts: the host's own image is made of several mounts",
                    hint="Mount.bind shows a directory of the host",
                )
            source, layers = source.id, found.layers
        return cls(
            "image",
            values.inside("mounts", target, mount=True),
            values.plain("mounts", source),
            read_only=True,
            subpath=_subpath(subpath),
            layers=layers,
        )


def _subpath(value: str | None) -> str:
    if value is None:
        return ""
    path = values.plain("subpath", value)
    if path.startswith("/") or ".." in path.split("/"):
        raise InvalidArgument(f"subpath: {path!r} is not a path below the volume or image")
    return "" if path in ("", ".") else path


def volume_name(value: str) -> str:
    """Give a volume's name, as Docker allows it; raises InvalidArgument."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise InvalidArgument(
            f"volumes: {value!r} is no name of a volume",
            hint="letters, digits, '_', '.' and '-', at least two, the first a letter or digit; "
            "a directory of the host is given by its whole path",
        )
    return value


def listed(value: Sequence[Mount]) -> tuple[Mount, ...]:
    """Give the option `mounts`; raises InvalidArgument."""
    for mount in values.listed("mounts", value):
        if not isinstance(mount, Mount):
            raise InvalidArgument(f"mounts: expected a Mount, not {mount!r}")
    return tuple(value)


def in_memory(value: Mapping[str, int | str | None] | Sequence[str]) -> tuple[Mount, ...]:
    """Give the option `tmpfs`, a mapping to sizes or a list of targets; raises InvalidArgument."""
    if isinstance(value, Mapping):
        return tuple(Mount.tmpfs(target, size=size) for target, size in value.items())
    return tuple(Mount.tmpfs(target) for target in values.listed("tmpfs", value))


def volumes(value: Volumes) -> tuple[Mount, ...]:
    """Give the option `volumes`; raises InvalidArgument.

    A mapping of sources to targets, or as in docker-py to `{"bind": target, "mode": "ro"}`; or a
    list of texts as Docker's `-v` takes them.  A source that is a path is a directory of the host.

    >>> [mount.kind for mount in volumes({"data": "/data", "/usr": {"bind": "/in", "mode": "ro"}})]
    ['volume', 'bind']
    """
    if not isinstance(value, Mapping):
        return tuple(map(parse, values.listed("volumes", value)))
    found = []
    for source, how in value.items():
        if isinstance(how, str):
            target, mode = how, ""
        elif isinstance(how, Mapping) and "bind" in how and not how.keys() - {"bind", "mode"}:
            target, mode = how["bind"], how.get("mode") or ""
        else:
            raise InvalidArgument(
                f"volumes: {how!r} is neither a path in the container nor of the form "
                '{"bind": path, "mode": "ro"}'
            )
        found.append(_mount(source, target, mode))
    return tuple(found)


def parse(text: str) -> Mount:
    """Read one of Docker's texts: `[source:]target[:mode]`; raises InvalidArgument.

    >>> parse("data:/data:ro").read_only
    True
    """
    parts = values.plain("volumes", text).split(":")
    if len(parts) == 1:
        return Mount.volume(None, parts[0])
    if len(parts) > _FIELDS:
        raise InvalidArgument(f"volumes: {text!r} is not of the form source:target:mode")
    return _mount(parts[0], parts[1], "".join(parts[2:]))


def _mount(source: VolumeSource, target: str, mode: str) -> Mount:
    words = _words(mode)
    read_only = "ro" in words
    if isinstance(source, os.PathLike) or (
        isinstance(source, str) and source.startswith(("/", "./", "../"))
    ):
        if "nocopy" in words:
            raise InvalidArgument("volumes: nocopy: nothing is copied to a directory of the host")
        slave = "slave" in words
        propagation: Propagation = "slave" if slave else "private"
        return Mount.bind(source, target, read_only=read_only, propagation=propagation)
    if "slave" in words or "private" in words:
        raise InvalidArgument(f"volumes: {mode}: nothing of the host is mounted below a volume")
    return Mount.volume(source, target, read_only=read_only, nocopy="nocopy" in words)


def _words(mode: str) -> set[str]:
    known = {"ro": "ro", "rw": "rw", "nocopy": "nocopy", "slave": "slave", "rslave": "slave",
             "private": "private", "rprivate": "private"}  # fmt: skip
    found = set()
    for word in values.plain("volumes", mode).split(","):
        if word in _IGNORED:
            _LOG.info("volumes: %s is ignored: labels of SELinux are left as they are", word)
        elif word in known:
            found.add(known[word])
        elif word:
            hint = _SHARED if word in ("shared", "rshared") else "there are " + ", ".join(known)
            raise InvalidArgument(f"volumes: there is no mode {word!r}", hint=hint)
    for one, other in (("ro", "rw"), ("slave", "private")):
        if {one, other} <= found:
            raise InvalidArgument(f"volumes: {mode!r} is both {one} and {other}")
    return found


def with_own(options: Options, config: ImageConfig) -> Options:
    """Give the options with the image's own volumes, for a container that keeps its changes.

    In another one they are in memory, as all the rest.  Raises InvalidArgument.
    """
    if options.ephemeral or not config.volumes:
        return options
    taken = {mount.target for mount in all_of(options)}
    own = {mount.target: mount for mount in (Mount.volume(None, path) for path in config.volumes)}
    more = tuple(mount for target, mount in own.items() if target not in taken)
    return attrs.evolve(options, volumes=(*options.volumes, *more))


def all_of(options: Options) -> tuple[Mount, ...]:
    """Give all mounts that a container gets, those upon others after them."""
    given = (*options.tmpfs, *options.mounts, *options.volumes)
    return tuple(sorted(given, key=lambda mount: mount.target.count("/")))
