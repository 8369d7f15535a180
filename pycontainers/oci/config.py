"""An image's config: its platform, its layers' diff IDs, and what its program starts with.

This is the image spec's media type `application/vnd.oci.image.config.v1+json`, with the members
that Docker adds (Healthcheck, Shell, OnBuild).  Others stay in `unknown`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from pycontainers.errors import InvalidArgument
from pycontainers.oci.digest import Digest
from pycontainers.oci.fields import (
    INT64_MAX,
    InvalidField,
    a,
    flag,
    one_of,
    optional,
    place,
    plain_map,
    several,
    shown,
    some_text,
    text,
    text_map,
    texts,
    tupled,
    whole,
)
from pycontainers.oci.platform import Platform

_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_PORT: Final = re.compile(r"\d{1,5}(-\d{1,5})?(/[a-z]+)?", re.ASCII)
_duration: Final = whole(0, INT64_MAX)


def _time(_: object, field: attrs.Attribute[Any], value: str) -> None:
    text(_, field, value)
    if value and not _TIME.fullmatch(value):
        raise InvalidField(field.name, f"{shown(value)} is not a time as RFC 3339 writes it")


def _digests(_: object, field: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    texts(_, field, value)
    for index, item in enumerate(value):
        try:
            Digest.parse(item)
        except InvalidArgument as error:
            raise InvalidField(f"{field.name}[{index}]", str(error.args[0])) from None


def _ports(_: object, field: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    texts(_, field, value)
    for index, item in enumerate(value):
        if not _PORT.fullmatch(item):
            raise InvalidField(f"{field.name}[{index}]", f"{shown(item)} is not a port as 80/tcp")


@attrs.frozen(kw_only=True)
class Healthcheck:
    """Docker's health check: `test` is ("CMD", …), ("CMD-SHELL", text) or ("NONE",).

    Times are in nanoseconds, as in the document; 0 means the default.
    """

    test: tuple[str, ...] = attrs.field(
        default=(), converter=tupled, validator=texts, metadata=place("Test")
    )
    interval: int = attrs.field(default=0, validator=_duration, metadata=place("Interval"))
    timeout: int = attrs.field(default=0, validator=_duration, metadata=place("Timeout"))
    start_period: int = attrs.field(default=0, validator=_duration, metadata=place("StartPeriod"))
    start_interval: int = attrs.field(
        default=0, validator=_duration, metadata=place("StartInterval")
    )
    retries: int = attrs.field(default=0, validator=_duration, metadata=place("Retries"))
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)


@attrs.frozen(kw_only=True)
class RootFS:
    """The layers' diff IDs, lowest first."""

    type: str = attrs.field(
        default="layers", validator=one_of(("layers",)), metadata=place(always=True)
    )
    diff_ids: tuple[str, ...] = attrs.field(
        default=(),
        converter=tupled,
        validator=_digests,
        metadata=place("diff_ids", always=True),
    )
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)


@attrs.frozen(kw_only=True)
class History:
    """How one layer came to be; with `empty_layer` the step made none."""

    created: str = attrs.field(default="", validator=_time)
    created_by: str = attrs.field(default="", validator=text, metadata=place("created_by"))
    author: str = attrs.field(default="", validator=text)
    comment: str = attrs.field(default="", validator=text)
    empty_layer: bool = attrs.field(default=False, validator=flag, metadata=place("empty_layer"))
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)


@attrs.frozen(kw_only=True)
class ImageConfig:
    """The config of an image; what stands under `config` in the document is an attribute here.

    Raises InvalidArgument for a value that can't be used.  Without a platform it is this machine's.

    >>> ImageConfig(env=["LANG=C"], entrypoint=["/bin/echo"], cmd=["hello"]).command()
    ['/bin/echo', 'hello']
    """

    created: str = attrs.field(default="", validator=_time)
    author: str = attrs.field(default="", validator=text)
    architecture: str = attrs.field(
        factory=lambda: Platform.host().architecture,
        validator=some_text,
        metadata=place(always=True),
    )
    variant: str = attrs.field(default="", validator=text)
    os: str = attrs.field(default="linux", validator=some_text, metadata=place(always=True))
    os_version: str = attrs.field(default="", validator=text, metadata=place("os.version"))
    os_features: tuple[str, ...] = attrs.field(
        default=(), converter=tupled, validator=texts, metadata=place("os.features")
    )

    user: str = attrs.field(default="", validator=text, metadata=place("config", "User"))
    exposed_ports: tuple[str, ...] = attrs.field(
        default=(),
        converter=tupled,
        validator=_ports,
        metadata=place("config", "ExposedPorts", keys=True),
    )
    env: tuple[str, ...] = attrs.field(
        default=(), converter=tupled, validator=texts, metadata=place("config", "Env")
    )
    entrypoint: tuple[str, ...] = attrs.field(
        default=(), converter=tupled, validator=texts, metadata=place("config", "Entrypoint")
    )
    cmd: tuple[str, ...] = attrs.field(
        default=(), converter=tupled, validator=texts, metadata=place("config", "Cmd")
    )
    volumes: tuple[str, ...] = attrs.field(
        default=(),
        converter=tupled,
        validator=texts,
        metadata=place("config", "Volumes", keys=True),
    )
    working_dir: str = attrs.field(
        default="", validator=text, metadata=place("config", "WorkingDir")
    )
    labels: Mapping[str, str] = attrs.field(
        factory=dict, validator=text_map, metadata=place("config", "Labels"), hash=False
    )
    stop_signal: str = attrs.field(
        default="", validator=text, metadata=place("config", "StopSignal")
    )
    healthcheck: Healthcheck | None = attrs.field(
        default=None,
        validator=optional(a(Healthcheck)),
        metadata=place("config", "Healthcheck"),
    )
    shell: tuple[str, ...] = attrs.field(
        default=(), converter=tupled, validator=texts, metadata=place("config", "Shell")
    )
    on_build: tuple[str, ...] = attrs.field(
        default=(), converter=tupled, validator=texts, metadata=place("config", "OnBuild")
    )

    rootfs: RootFS = attrs.field(default=RootFS(), validator=a(RootFS), metadata=place(always=True))
    history: tuple[History, ...] = attrs.field(default=(), validator=several(History))
    unknown: Mapping[str, object] = attrs.field(factory=dict, validator=plain_map, hash=False)

    def environment(self) -> dict[str, str]:
        """Give the environment by name; of a name given twice, the last wins.

        An entry without "=" names no value, and is left out.

        >>> ImageConfig(env=["A=1", "B=x=y", "A=2"]).environment()
        {'A': '2', 'B': 'x=y'}
        """
        return dict(entry.split("=", 1) for entry in self.env if entry.find("=") > 0)

    def command(
        self, entrypoint: Sequence[str] | None = None, cmd: Sequence[str] | None = None
    ) -> list[str]:
        """Give the whole command line of a container that overrides nothing, one or both.

        Docker's rule: a command of the caller's replaces the image's.  So does an entrypoint, which
        also drops the image's command, made for the image's entrypoint; but an empty entrypoint
        only takes the image's away, and an empty command is as none.

        >>> config = ImageConfig(entrypoint=["/bin/echo"], cmd=["hello"])
        >>> config.command(cmd=["bye"]), config.command(["/bin/cat"]), config.command([])
        (['/bin/echo', 'bye'], ['/bin/cat'], ['hello'])
        """
        first = self.entrypoint if entrypoint is None else entrypoint
        rest = cmd or (() if entrypoint else self.cmd)
        return [*first, *rest]
