"""From what a caller gives to a build and its image."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.build import builder, contexts, export, saving, scope, sharing
from pycontainers.build.checks import BuildWarning, check, refuse
from pycontainers.build.context import Context
from pycontainers.build.contexts import Contexts, named
from pycontainers.build.flags import truth
from pycontainers.build.gitrefs import GitSource
from pycontainers.build.gitrun import Access
from pycontainers.build.importing import Imports
from pycontainers.build.parse import Dockerfile, parse
from pycontainers.build.progress import Progress
from pycontainers.distribution import record
from pycontainers.distribution.layers import Limits
from pycontainers.errors import BuildError, InvalidArgument, PyContainersError
from pycontainers.lifecycle import values
from pycontainers.oci.platform import Platform
from pycontainers.oci.reference import Reference

if TYPE_CHECKING:
    from pycontainers.build.bases import Fetch
    from pycontainers.build.context import Source
    from pycontainers.build.contexts import Given, Place
    from pycontainers.build.progress import Listener
    from pycontainers.build.sharing import Shared
    from pycontainers.lifecycle.services import Services
    from pycontainers.oci.config import ImageConfig
    from pycontainers.storage.images import ImageRow

_NAME: Final = "Dockerfile"
_NETWORKS: Final = ("none", "host", "bridge")
_KEEP_GIT: Final = "BUILDKIT_CONTEXT_KEEP_GIT_DIR"


@attrs.frozen(kw_only=True)
class Request:
    """What `Image.build` was asked, checked when it is made; raises InvalidArgument."""

    dockerfile: str | os.PathLike[str] | None
    contexts: Mapping[str, Place]
    tags: tuple[str, ...]
    target: str | None
    build_args: Mapping[str, str]
    secrets: Mapping[str, bytes]
    ssh: Mapping[str, Path]
    labels: Mapping[str, str]
    platforms: tuple[Platform, ...]
    network: str
    insecure: bool
    cache: bool
    cache_from: tuple[Path | Reference, ...]
    cache_to: Path | Reference | None

    @classmethod
    def of(
        cls,
        *,
        dockerfile: str | os.PathLike[str] | None,
        contexts: Mapping[str, Given],
        tag: str | Sequence[str] | None,
        target: str | None,
        build_args: Mapping[str, str],
        secrets: Mapping[str, str | bytes | os.PathLike[str]],
        ssh: Mapping[str, str | os.PathLike[str]],
        labels: Mapping[str, str],
        platform: str | Sequence[str] | None,
        network: str,
        insecure: bool,
        cache: bool,
        cache_from: Sequence[str | os.PathLike[str]],
        cache_to: str | os.PathLike[str] | None,
    ) -> Request:
        """Check what was given; raises InvalidArgument."""
        names = [tag] if isinstance(tag, str) else list(tag or ())
        for name, value in build_args.items():
            if not isinstance(name, str) or not isinstance(value, str) or "\0" in name + value:
                raise InvalidArgument(f"build_args: {name!r}: {value!r} are not both texts")
        return cls(
            dockerfile=dockerfile,
            contexts=named(contexts),
            tags=tuple(str(Reference.parse(name)) for name in names),
            target=None if target is None else values.plain("target", target),
            build_args=dict(build_args),
            secrets={name: _secret(name, value) for name, value in secrets.items()},
            ssh={name: _socket(name, path) for name, path in ssh.items()},
            labels=dict(values.labels(labels)),
            platforms=_platforms(platform),
            network=network if network in _NETWORKS else values.plain("network", network, 256),
            insecure=values.flag("insecure", insecure),
            cache=values.flag("cache", cache),
            cache_from=tuple(map(sharing.place, values.listed("cache_from", cache_from))),
            cache_to=None if cache_to is None else sharing.place(cache_to),
        )


def build(
    services: Services,
    source: Source,
    request: Request,
    fetch: Fetch,
    listener: Listener | None,
) -> ImageRow:
    """Build an image and give its row; raises BuildError, and what opening the context raises.

    Of one for several platforms that is the image which suits this machine, or else the first.
    """
    progress = Progress(listener)
    limits = Limits()
    access = Access(request.secrets.get, request.ssh, limits.size, progress.cancellation)
    with contextlib.ExitStack() as stack:
        stack.enter_context(services.content.in_use())
        context = _context(source, request, services, access, progress, stack)
        others = stack.enter_context(Contexts(request.contexts, services, access, limits))
        parsed = parse(*_dockerfile(context, services, request.dockerfile))
        imports = Imports(services, progress)
        imports.open(request.cache_from if request.cache else (), stack)
        work = _Work(services, parsed, context, request, fetch, imports, others, access)
        chosen = _built(work, progress)
        if request.cache_to is not None:
            with progress.exporting("exporting the cache"):
                saving.save(services, request.cache_to, work.shared)
        return chosen


def _context(
    source: Source,
    request: Request,
    services: Services,
    access: Access,
    progress: Progress,
    stack: contextlib.ExitStack,
) -> Context:
    """Open the main context, which may have to be fetched; a directory that is there wins."""
    place = None
    if isinstance(source, str) and not Path(source).is_dir():
        place = contexts.elsewhere(source)
    if place is None:
        return stack.enter_context(Context.of(source, services, Limits()))
    kept = request.build_args.get(_KEEP_GIT)
    if isinstance(place, GitSource) and kept:
        place = place.with_wishes("", truth(kept, _KEEP_GIT))
    with progress.exporting(f"fetching {place}"):
        return stack.enter_context(contexts.opened(place, services, access, Limits()))


def _built(work: _Work, progress: Progress) -> ImageRow:
    """Build for one platform or several; give the row of the image that suits this machine."""
    services, request = work.services, work.request
    if len(request.platforms) == 1:
        return work.image(request.platforms[0], progress, request.tags)
    rows = [
        work.image(platform, progress.named(f"{platform} "), ()) for platform in request.platforms
    ]
    record.compose_index(services, rows)
    host = Platform.host()
    suits = (row for row in rows if Platform.parse(row.platform).rank(host) is not None)
    chosen = next(suits, rows[0])
    for name in request.tags:
        services.image_store.tag(chosen.manifest, name)
    return chosen


@attrs.frozen
class _Work:
    """What the builds for several platforms share."""

    services: Services
    parsed: Dockerfile
    context: Context
    request: Request
    fetch: Fetch
    imports: Imports
    contexts: Contexts
    access: Access
    shared: list[Shared] = attrs.field(factory=list)
    told: set[BuildWarning] = attrs.field(factory=set)

    def image(self, platform: Platform, progress: Progress, tags: Sequence[str]) -> ImageRow:
        """Build the image for one platform."""
        request = self.request
        warnings = _Warnings(self, platform, progress)
        warnings.tell({})
        wanted = builder.Wanted(
            target=request.target,
            build_args=request.build_args,
            secrets=request.secrets,
            ssh=request.ssh,
            platform=platform,
            network=request.network,
            insecure=request.insecure,
            cached=request.cache,
            fetch=self.fetch,
            imports=self.imports,
            contexts=self.contexts,
            access=self.access,
        )
        made = builder.Build(self.services, self.parsed, self.context, wanted, progress)
        result = made.run()
        warnings.tell(made.bases)
        if request.labels:
            labels = {**result.config.labels, **request.labels}
            result = attrs.evolve(result, config=attrs.evolve(result.config, labels=labels))
        row = export.export(made, result, tags)
        if request.cache_to is not None:
            self.shared.extend(saving.shared(made))
        return row


class _Warnings:
    """What the checks say, each told once."""

    def __init__(self, work: _Work, platform: Platform, progress: Progress) -> None:
        self._work = work
        target = work.request.target or ""
        self._predefined = scope.predefined(platform, Platform.host(), target)
        self._progress = progress

    def tell(self, bases: Mapping[int, ImageConfig]) -> None:
        """Tell what is known with these base images; raises BuildError if that is to be one."""
        work = self._work
        if not self._progress.is_heard and not work.parsed.directive("check"):
            return
        found = check(
            work.parsed,
            build_args=work.request.build_args,
            predefined=self._predefined,
            bases=bases,
            ignores=work.context.ignores if work.context.ignored else None,
        )
        for warning in found:
            if warning not in work.told:
                work.told.add(warning)
                self._progress.warn(warning.rule, f"{warning.text} (line {warning.line})")
        refuse(work.parsed, found)


def _dockerfile(
    context: Context, services: Services, given: str | os.PathLike[str] | None
) -> tuple[bytes, str]:
    """Give the Dockerfile's text and name: of the context, or an absolute path of the host.

    The ignore file beside it comes into force, where the context is a directory.
    """
    name = _NAME if given is None else os.fspath(given)
    with contextlib.ExitStack() as stack:
        home = context
        try:
            if Path(name).is_absolute():
                folder, name = os.path.split(name)
                home = stack.enter_context(Context.directory(folder, services))
            data = home.read(name)
        except PyContainersError as error:
            where = "in the context " if home is context else "in "
            raise BuildError(
                f"cannot read {name} {where}{home.name}: {error.args[0]}",
                hint=None if given else "dockerfile= names another file",
            ) from error
        if context.is_directory:  # of archives and repositories all is wanted, as in BuildKit
            context.use_rules(name, None if home is context else home)
        return data, name


def _platforms(given: str | Sequence[str] | None) -> tuple[Platform, ...]:
    """Give the platforms to build for, each once: this machine's unless others are named."""
    names = [given] if isinstance(given, str) else list(given or ())
    return tuple(dict.fromkeys(map(Platform.parse, names))) or (Platform.host(),)


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
