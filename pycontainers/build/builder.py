"""A build: its stages as a graph, those that the target needs made side by side."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.build import mounts, scope
from pycontainers.build.bases import Bases
from pycontainers.build.config import timestamp
from pycontainers.build.context import Workers
from pycontainers.build.instructions import Copy, Run
from pycontainers.build.making import Maker
from pycontainers.build.once import Once
from pycontainers.build.scope import Globals, Scope
from pycontainers.build.stage import Result, StageBuild
from pycontainers.distribution.layers import Limits
from pycontainers.errors import BuildError, InvalidArgument, PyContainersError
from pycontainers.oci.config import ImageConfig
from pycontainers.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future

    from pycontainers.build.bases import Fetch
    from pycontainers.build.cancelling import Cancellation
    from pycontainers.build.context import Context
    from pycontainers.build.contexts import Contexts
    from pycontainers.build.gitrun import Access
    from pycontainers.build.importing import Imports
    from pycontainers.build.instructions import From, Instruction
    from pycontainers.build.parse import Dockerfile, Stage
    from pycontainers.build.progress import Progress
    from pycontainers.lifecycle.services import Services

_AT_ONCE: Final = 16  # stages
_LATEST: Final = 253402300799  # the year 9999
_EPOCH: Final = "SOURCE_DATE_EPOCH"


@attrs.frozen(kw_only=True)
class Wanted:
    """What a build is asked: see `Image.build`; `fetch` gives the id of an image."""

    target: str | None
    build_args: Mapping[str, str]
    secrets: Mapping[str, bytes]
    ssh: Mapping[str, Path]
    platform: Platform
    network: str
    insecure: bool
    cached: bool
    fetch: Fetch
    imports: Imports
    contexts: Contexts
    access: Access


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
        self.build_args = build_args = _with_epoch(wanted.build_args)
        self.ssh = wanted.ssh
        self.network = wanted.network
        self.insecure = wanted.insecure
        self.access = wanted.access
        self.limits = Limits()
        self.workers = Workers(services)
        self.maker = Maker(services, cached=wanted.cached, imports=wanted.imports)
        self.seconds = _epoch(build_args)
        self.epoch = None if self.seconds is None else self.seconds * 10**9
        self.created = timestamp(time.time() if self.seconds is None else self.seconds)
        self._wanted = wanted
        self._target = self._find_target(wanted.target)
        known = scope.predefined(wanted.platform, Platform.host(), wanted.target or "")
        self._globals = Globals.of(dockerfile, build_args, known)
        self._stages = Once[Result]()
        self.bases: dict[int, ImageConfig] = {}  # of the images that stages begin from
        self._contexts = wanted.contexts
        self._images = Bases(services, wanted.fetch, wanted.contexts, self.maker, self.epoch)

    def run(self) -> Result:
        """Make the target and all that it needs; raises BuildError."""
        needed = self._needed()
        # Not by processors alone: stages also wait, for what comes from a registry.
        pool = ThreadPoolExecutor(
            min(len(needed), _AT_ONCE), thread_name_prefix="pycontainers-build"
        )
        made: list[Future[Result]] = []
        try:
            made += [pool.submit(self._stage, index) for index in needed]
            done, _ = wait(made, return_when="FIRST_EXCEPTION")
            failed = [one for one in done if one.exception() is not None]
            if failed:
                failed[0].result()
            return self._stage(self._target.index)
        except BaseException:
            self.progress.cancellation.call()
            raise
        finally:
            try:
                _end(pool, made, self.progress.cancellation)
            finally:
                self.maker.close()

    def secret(self, name: str) -> bytes | None:
        """Give a secret, None where it was not given."""
        return self._wanted.secrets.get(name)

    def source(self, stage: Stage, key: str) -> Result | Context:
        """Give what COPY --from names: as `other` does, but the files of a context as they are."""
        found = self.dockerfile.stage(key)
        name = self._contexts.find(found.name if found is not None else key)
        if not name or self._contexts.image(name) is not None:
            return self.other(stage, key)
        return self._contexts.files(name)

    def other(self, stage: Stage, key: str) -> Result:
        """Give the stage before `stage`, or the image, that COPY --from or a mount names."""
        found = self.dockerfile.stage(key)
        if found is not None and found.index < stage.index:
            return self._stage(found.index)
        if found is not None:
            raise BuildError(f"the stage {key!r} comes later, or is this one", near=key)
        try:
            return self._images.get(key, self._wanted.platform)
        except PyContainersError as error:
            problem = f"cannot get the image {key}: {error.args[0]}"
            raise BuildError(problem, near=key, hint=error.hint) from error

    def await_sources(self, stage: Stage, instruction: Instruction) -> None:
        """Have the other stages made that an instruction takes something from."""
        for index in self._earlier(stage, _sources(instruction)):
            self._stage(index)

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
        if self._contexts.find(stage.name):
            return []
        names = [self._origin(stage.begin).image.text]
        for instruction in stage.instructions:
            names += _sources(instruction)
        return self._earlier(stage, names)

    def _earlier(self, stage: Stage, names: Sequence[str]) -> list[int]:
        """Give the stages before `stage` that are among these names of stages and images."""
        found = [self.dockerfile.stage(name) for name in names if name]
        return [
            one.index
            for one in found
            # What a context takes the place of is made only where it is a layer.
            if one is not None and one.index < stage.index and not self._contexts.find(one.name)
        ]

    def _origin(self, begin: From) -> scope.Origin:
        try:
            return self._globals.origin(begin)
        except BuildError as error:
            raise self.dockerfile.locate(error, begin) from None

    def _stage(self, index: int) -> Result:
        """Give a stage, made by whoever asks first."""
        return self._stages.get(index, lambda: self._make(self.dockerfile.stages[index]))

    def _make(self, stage: Stage) -> Result:
        origin = self._origin(stage.begin)
        image, named = origin.image.text, origin.platform.text
        replaced = self._contexts.find(stage.name)
        earlier = None if replaced else self.dockerfile.stage(image)
        if earlier is not None and earlier.index < stage.index:
            base = self._stage(earlier.index)
            assert base.scope is not None
            return StageBuild(self, stage, base, base.scope.child()).run()
        platform = Platform.parse(named) if named else self._wanted.platform
        with self.progress.step(stage, stage.begin) as step:
            try:
                base = self._images.get(replaced or image, platform, step.transfer)
            except BuildError as error:
                raise self.dockerfile.locate(error, stage.begin) from None
            if not step.has_transferred:
                step.cached()
        self.bases[stage.index] = base.config
        scope = Scope(self._globals, base.config.environment())
        if replaced:
            return attrs.evolve(base, scope=scope)
        return StageBuild(self, stage, base, scope).run()


def _sources(instruction: Instruction) -> list[str]:
    """Name the stages and images that an instruction takes something from."""
    if isinstance(instruction, Copy):
        return [instruction.from_]
    if isinstance(instruction, Run):
        return [mounts.source_stage(text) for text in instruction.mount_texts]
    return []


def _end(
    pool: ThreadPoolExecutor, made: Sequence[Future[Result]], cancellation: Cancellation
) -> None:
    """Wait for what goes on; it takes no long time, as a build that failed has been cancelled."""
    interrupted = False
    while True:
        try:
            if interrupted or cancellation.is_called:
                cancellation.call()  # also what an interruption has kept it from
            pool.shutdown(wait=False, cancel_futures=True)
            # Not by the threads: Thread.join, interrupted, takes one for ended (CPython 3.11).
            wait([one for one in made if not one.cancelled()])
            pool.shutdown()
            break
        except KeyboardInterrupt:  # to leave now would leave containers behind
            interrupted = True
    if interrupted:
        raise KeyboardInterrupt


def _with_epoch(build_args: Mapping[str, str]) -> Mapping[str, str]:
    """Give the arguments with the time of this process's environment, unless they have one."""
    given = os.environ.get(_EPOCH)
    return {_EPOCH: given, **build_args} if given else build_args


def _epoch(build_args: Mapping[str, str]) -> int | None:
    text = build_args.get(_EPOCH, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= _LATEST):
        raise InvalidArgument(f"{_EPOCH}: {text!r} is no number of seconds")
    return int(text)
