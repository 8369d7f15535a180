"""From what a caller gives to a build and its image."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.build import builder, export
from pycontainers.build.context import Context
from pycontainers.build.parse import parse
from pycontainers.build.progress import Plain, Progress
from pycontainers.distribution.layers import Limits
from pycontainers.errors import BuildError, InvalidArgument, PyContainersError
from pycontainers.lifecycle import values
from pycontainers.oci.platform import Platform
from pycontainers.oci.reference import Reference

if TYPE_CHECKING:
    from pycontainers.build.context import Source
    from pycontainers.build.progress import Listener
    from pycontainers.lifecycle.services import Services
    from pycontainers.storage.images import ImageRow

_NAME: Final = "Dockerfile"
_NETWORKS: Final = ("none", "host", "bridge")


@attrs.frozen(kw_only=True)
class Request:
    """What `Image.build` was asked, checked when it is made; raises InvalidArgument."""

    dockerfile: str | os.PathLike[str] | None
    tags: tuple[str, ...]
    target: str | None
    build_args: Mapping[str, str]
    secrets: Mapping[str, bytes]
    ssh: Mapping[str, Path]
    labels: Mapping[str, str]
    platform: Platform
    network: str
    insecure: bool
    cache: bool

    @classmethod
    def of(
        cls,
        *,
        dockerfile: str | os.PathLike[str] | None,
        tag: str | Sequence[str] | None,
        target: str | None,
        build_args: Mapping[str, str],
        secrets: Mapping[str, str | bytes | os.PathLike[str]],
        ssh: Mapping[str, str | os.PathLike[str]],
        labels: Mapping[str, str],
        platform: str | None,
        network: str,
        insecure: bool,
        cache: bool,
    ) -> Request:
        """Check what was given; raises InvalidArgument."""
        names = [tag] if isinstance(tag, str) else list(tag or ())
        for name, value in build_args.items():
            if not isinstance(name, str) or not isinstance(value, str) or "\0" in name + value:
                raise InvalidArgument(f"build_args: {name!r}: {value!r} are not both texts")
        return cls(
            dockerfile=dockerfile,
            tags=tuple(str(Reference.parse(name)) for name in names),
            target=None if target is None else values.plain("target", target),
            build_args=dict(build_args),
            secrets={name: _secret(name, value) for name, value in secrets.items()},
            ssh={name: _socket(name, path) for name, path in ssh.items()},
            labels=dict(values.labels(labels)),
            platform=Platform.host() if platform is None else Platform.parse(platform),
            network=network if network in _NETWORKS else values.plain("network", network, 256),
            insecure=values.flag("insecure", insecure),
            cache=values.flag("cache", cache),
        )


def build(
    services: Services,
    source: Source,
    request: Request,
    pull: Callable[[str, Platform], str],
    listener: Listener | None,
) -> ImageRow:
    """Build an image and give its row; raises BuildError, and what opening the context raises."""
    progress = Progress(listener)
    with services.content.in_use(), Context.of(source, services, Limits()) as context:
        data, name = _dockerfile(context, request.dockerfile)
        parsed = parse(data, name)
        context.use_rules(name)
        wanted = builder.Wanted(
            target=request.target,
            build_args=request.build_args,
            secrets=request.secrets,
            ssh=request.ssh,
            platform=request.platform,
            network=request.network,
            insecure=request.insecure,
            cached=request.cache,
            pull=pull,
        )
        made = builder.Build(services, parsed, context, wanted, progress)
        result = made.run()
        if request.labels:
            labels = {**result.config.labels, **request.labels}
            result = attrs.evolve(result, config=attrs.evolve(result.config, labels=labels))
        return export.export(made, result, request.tags)


def listener(progress: Listener | bool | None) -> Listener | None:
    """Give who is told what a build does, from the option `progress`."""
    if callable(progress):
        return progress
    shown = sys.stderr.isatty() if progress is None else progress
    return Plain() if shown else None


def _dockerfile(context: Context, given: str | os.PathLike[str] | None) -> tuple[bytes, str]:
    """Give the Dockerfile's text and name: of the context, or an absolute path of the host."""
    if given is None or not Path(given).is_absolute():
        name = _NAME if given is None else os.fspath(given)
        try:
            return context.read(name), name
        except PyContainersError as error:
            raise BuildError(
                f"cannot read {name} in the context {context.name}: {error.args[0]}",
                hint=None if given else "dockerfile= names another file",
            ) from error
    try:
        return Path(given).read_bytes(), Path(given).name
    except OSError as error:
        raise BuildError(f"cannot read {given}: {error.strerror}") from error


def _secret(name: str, value: str | bytes | os.PathLike[str]) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        return value
    try:
        return Path(value).read_bytes()
    except (OSError, TypeError) as error:
        raise InvalidArgument(f"secrets: {name}: cannot read {value!r}: {error}") from error


def _socket(name: str, path: str | os.PathLike[str]) -> Path:
    if not Path(path).is_socket():
        raise InvalidArgument(f"ssh: {name}: {os.fspath(path)} is no socket of an agent")
    return Path(path)
