"""A build: its stages as a graph, those that the target needs made side by side."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.build import mounts, scope
from pycontainers.build.context import Workers
from pycontainers.build.instructions import Copy, Run
from pycontainers.build.making import Layer, Maker, key_of
from pycontainers.build.scope import DEFAULT_PATH, Globals, Scope
from pycontainers.build.stage import Result, StageBuild
from pycontainers.distribution import catalog
from pycontainers.distribution.layers import Limits
from pycontainers.errors import BuildError, InvalidArgument
from pycontainers.oci import manifest as oci
from pycontainers.oci.config import ImageConfig
from pycontainers.oci.digest import Digest
from pycontainers.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pycontainers.build.context import Context
    from pycontainers.build.instructions import From
    from pycontainers.build.parse import Dockerfile, Stage
    from pycontainers.build.progress import Progress
    from pycontainers.lifecycle.services import Services

_SCRATCH: Final = "scratch"
_EPOCH: Final = "SOURCE_DATE_EPOCH"


@attrs.frozen(kw_only=True)
class Wanted:
    """What a build is asked: see `Image.build`; `pull` gives the id of an image by reference."""

    target: str | None
    build_args: Mapping[str, str]
    secrets: Mapping[str, bytes]
    ssh: Mapping[str, Path]
    platform: Platform
    network: str
    insecure: bool
    cached: bool
    pull: Callable[[str, Platform], str]


class Build:
    """One build of one Dockerfile for one platform."""

    def __init__(
        self,
        services: Services,
        dockerfile: Dockerfile,
        context: Context,
        wanted: Wanted,
        progress: Progress,
    ) -> None:
        self.services = services
        self.dockerfile = dockerfile
        self.context = context
        self.progress = progress
        self.build_args = wanted.build_args
        self.ssh = wanted.ssh
        self.network = wanted.network
        self.insecure = wanted.insecure
        self.limits = Limits()
        self.workers = Workers(services)
        self.maker = Maker(services, cached=wanted.cached)
        self.seconds = _epoch(wanted.build_args)
        self.epoch = None if self.seconds is None else self.seconds * 10**9
        self.created = _time(self.seconds)
        self._wanted = wanted
        self._target = self._find_target(wanted.target)
        known = scope.predefined(wanted.platform, Platform.host(), wanted.target or "")
        self._globals = Globals.of(dockerfile, wanted.build_args, known)
        self._stages: dict[int, Future[Result]] = {}
        self._images: dict[tuple[str, str], Result] = {}
        self._lock = threading.Lock()

    def run(self) -> Result:
        """Make the target and all that it needs; raises BuildError."""
        needed = self._needed()
        pool = ThreadPoolExecutor(
            max(2, os.cpu_count() or 2), thread_name_prefix="pycontainers-build"
        )
        try:
            made = [pool.submit(self._stage, index) for index in needed]
            done, _ = wait(made, return_when="FIRST_EXCEPTION")
            failed = [one for one in done if one.exception() is not None]
            if failed:
                failed[0].result()
            return self._stage(self._target.index)
        except BaseException:
            self.progress.cancel()
            raise
        finally:
            with contextlib.suppress(KeyboardInterrupt):
                pool.shutdown(wait=True, cancel_futures=True)
            self.maker.close()

    def secret(self, name: str) -> bytes | None:
        """Give a secret, None where it was not given."""
        return self._wanted.secrets.get(name)

    def other(self, stage: Stage, key: str) -> Result:
        """Give the stage before `stage`, or the image, that COPY --from or a mount names."""
        found = self.dockerfile.stage(key)
        if found is not None and found.index < stage.index:
            return self._stage(found.index)
        if found is not None:
            raise BuildError(f"the stage {key!r} comes later, or is this one", near=key)
        return self._image(key, self._wanted.platform)

    # The graph.

    def _find_target(self, name: str | None) -> Stage:
        if name is None:
            return self.dockerfile.stages[-1]
        found = self.dockerfile.stage(name)
        if found is None:
            known = ", ".join(map(str, self.dockerfile.stages))
            raise InvalidArgument(f"target: no stage {name!r}", hint=f"there are {known}")
        return found

    def _needed(self) -> list[int]:
        """Give the stages that the target needs, itself last; what comes first is needed first."""
        needed: set[int] = set()
        waiting = [self._target.index]
        while waiting:
            index = waiting.pop()
            if index not in needed:
                needed.add(index)
                waiting += self._needs(self.dockerfile.stages[index])
        return sorted(needed)

    def _needs(self, stage: Stage) -> list[int]:
        names = [self._origin(stage.begin).image.text]
        for instruction in stage.instructions:
            if isinstance(instruction, Copy):
                names.append(instruction.from_)
            elif isinstance(instruction, Run):
                names += [mounts.source_stage(text) for text in instruction.mount_texts]
        found = [self.dockerfile.stage(name) for name in names if name]
        return [one.index for one in found if one is not None and one.index < stage.index]

    def _origin(self, begin: From) -> scope.Origin:
        try:
            return self._globals.origin(begin)
        except BuildError as error:
            raise self.dockerfile.locate(error, begin) from None

    def _stage(self, index: int) -> Result:
        """Give a stage, made by whoever asks first."""
        with self._lock:
            future = self._stages.get(index)
            first = future is None
            if future is None:
                future = self._stages[index] = Future()
        if first:
            try:
                future.set_result(self._make(self.dockerfile.stages[index]))
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def _make(self, stage: Stage) -> Result:
        origin = self._origin(stage.begin)
        image, named = origin.image.text, origin.platform.text
        earlier = self.dockerfile.stage(image)
        if earlier is not None and earlier.index < stage.index:
            base = self._stage(earlier.index)
            assert base.scope is not None
            return StageBuild(self, stage, base, base.scope.child()).run()
        platform = Platform.parse(named) if named else self._wanted.platform
        with self.progress.step(str(stage), stage.begin) as step:
            try:
                base = self._image(image, platform)
            except BuildError as error:
                raise self.dockerfile.locate(error, stage.begin) from None
            step.cached()
        return StageBuild(self, stage, base, Scope(self._globals, base.config.environment())).run()

    # Images.

    def _image(self, reference: str, platform: Platform) -> Result:
        if reference == _SCRATCH:
            config = ImageConfig(
                os=platform.os, architecture=platform.architecture, variant=platform.variant,
                env=(f"PATH={DEFAULT_PATH}",),
            )  # fmt: skip
            return Result(key_of(_SCRATCH), config)
        key = reference, str(platform)
        with self._lock:
            known = self._images.get(key)
        if known is None:
            known = _base(self.services, self._wanted.pull(reference, platform))
            with self._lock:
                self._images[key] = known
        return known


def _base(services: Services, image_id: str) -> Result:
    """Give an image of the store as the beginning of a stage."""
    row = catalog.row(services, image_id)
    config = catalog.config(services, image_id)
    document = oci.parse(services.content.read(Digest.parse(row.manifest), row.length))
    assert isinstance(document, oci.Manifest)
    diff_ids = json.loads(row.diff_ids)
    services.image_store.stack(diff_ids)  # all of them are here, or that is told
    layers = tuple(
        Layer(str(services.image_store.layer(diff_id)), None, diff_id, descriptor)
        for diff_id, descriptor in zip(diff_ids, document.layers, strict=True)
    )
    if "PATH" not in config.environment():
        config = attrs.evolve(config, env=(*config.env, f"PATH={DEFAULT_PATH}"))
    return Result(key_of("image", diff_ids), config, layers, config.history)


def _epoch(build_args: Mapping[str, str]) -> int | None:
    text = build_args.get(_EPOCH, os.environ.get(_EPOCH, ""))
    if not text:
        return None
    if not text.isdigit():
        raise InvalidArgument(f"{_EPOCH}: {text!r} is no number of seconds")
    return int(text)


def _time(seconds: int | None) -> str:
    now = datetime.datetime.now(datetime.UTC)
    if seconds is not None:
        now = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
