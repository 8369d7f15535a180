"""Changes of an image's config, in the words of a Dockerfile: `CMD`, `ENV`, `LABEL` and others."""

from __future__ import annotations

import json
import posixpath
import shlex
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.errors import InvalidArgument
from pycontainers.oci.fields import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pycontainers.oci.config import ImageConfig

_SHELL: Final = ("/bin/sh", "-c")


def apply_changes(config: ImageConfig, changes: Iterable[str]) -> ImageConfig:
    """Give the config with changes made one after the other; raises InvalidArgument.

    >>> from pycontainers.oci.config import ImageConfig
    >>> apply_changes(ImageConfig(), ['CMD ["ls"]', "ENV A=1"]).env
    ('A=1',)
    """
    for change in changes:
        word, _, rest = change.strip().partition(" ")
        make = _CHANGES.get(word.upper())
        if make is None:
            known = ", ".join(_CHANGES)
            raise InvalidArgument(f"changes: {shown(change)} is not one of {known}")
        try:
            config = make(config, rest.strip())
        except InvalidArgument:
            raise
        except ValueError as error:
            raise InvalidArgument(f"changes: cannot read {shown(change)}: {error}") from error
    return config


def _command(config: ImageConfig, text: str) -> tuple[str, ...]:
    """Read a JSON list, or a text for the shell."""
    if text.startswith("["):
        found = json.loads(text)
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            raise InvalidArgument(f"changes: {shown(text)} is no list of texts")
        return tuple(found)
    return (*(config.shell or _SHELL), text) if text else ()


def _cmd(config: ImageConfig, text: str) -> ImageConfig:
    return attrs.evolve(config, cmd=_command(config, text))


def _entrypoint(config: ImageConfig, text: str) -> ImageConfig:
    return attrs.evolve(config, entrypoint=_command(config, text))


def _pairs(text: str) -> dict[str, str]:
    parts = shlex.split(text)
    if parts and "=" not in parts[0] and len(parts) > 1:  # the old form: ENV name value
        return {parts[0]: text.split(None, 1)[1]}
    found = dict(part.split("=", 1) for part in parts if part.find("=") > 0)
    if len(found) != len(parts) or not parts:
        raise InvalidArgument(f"changes: {shown(text)} is not NAME=value")
    return found


def _env(config: ImageConfig, text: str) -> ImageConfig:
    known = config.environment() | _pairs(text)
    return attrs.evolve(config, env=tuple(f"{name}={value}" for name, value in known.items()))


def _label(config: ImageConfig, text: str) -> ImageConfig:
    return attrs.evolve(config, labels={**config.labels, **_pairs(text)})


def _workdir(config: ImageConfig, text: str) -> ImageConfig:
    path = posixpath.normpath(posixpath.join(config.working_dir or "/", text))
    return attrs.evolve(config, working_dir=path)


def _user(config: ImageConfig, text: str) -> ImageConfig:
    return attrs.evolve(config, user=text)


def _expose(config: ImageConfig, text: str) -> ImageConfig:
    ports = [port if "/" in port else f"{port}/tcp" for port in text.split()]
    return attrs.evolve(config, exposed_ports=tuple(dict.fromkeys([*config.exposed_ports, *ports])))


def _volume(config: ImageConfig, text: str) -> ImageConfig:
    paths = _command(config, text) if text.startswith("[") else tuple(shlex.split(text))
    return attrs.evolve(config, volumes=tuple(dict.fromkeys([*config.volumes, *paths])))


def _stop_signal(config: ImageConfig, text: str) -> ImageConfig:
    return attrs.evolve(config, stop_signal=text)


_CHANGES: Final[dict[str, Callable[[ImageConfig, str], ImageConfig]]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "LABEL": _label,
    "WORKDIR": _workdir,
    "USER": _user,
    "EXPOSE": _expose,
    "VOLUME": _volume,
    "STOPSIGNAL": _stop_signal,
}
