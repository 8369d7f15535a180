"""One stage: from its base through its instructions to layers and a config."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.build import config as configs
from pycontainers.build import copying
from pycontainers.build.instructions import Add, Cmd, Copy, OnBuild, Run, Workdir
from pycontainers.build.making import Layer, key_of
from pycontainers.build.parse import parse_trigger
from pycontainers.build.running import Commands
from pycontainers.errors import BuildError, KernelError, PyContainersError
from pycontainers.oci.config import History, ImageConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pycontainers.build.builder import Build
    from pycontainers.build.instructions import Instruction
    from pycontainers.build.parse import Stage
    from pycontainers.build.progress import Step
    from pycontainers.build.scope import Scope

_COMMENT: Final = "buildkit.dockerfile.v0"  # as Docker's builder says; tools look at it


@attrs.frozen
class Result:
    """What a stage is after some of its instructions; `layers` are lowest first.

    `key` stands for all files: stages with the same key have the same.
    """

    key: str
    config: ImageConfig
    layers: tuple[Layer, ...] = ()
    history: tuple[History, ...] = ()
    scope: Scope | None = None

    def paths(self) -> tuple[str, ...]:
        """Give the directories of the layers as overlay takes them: each once, topmost first."""
        return tuple(dict.fromkeys(layer.path for layer in reversed(self.layers)))


class StageBuild:
    """The making of one stage; `step` is given each instruction in turn."""

    def __init__(self, build: Build, stage: Stage, base: Result, scope: Scope) -> None:
        self.build = build
        self.stage = stage
        self.result = base
        self.scope = scope
        self.commands = Commands(build.services, build.progress.cancellation)
        self._has_cmd = False

    def run(self) -> Result:
        """Carry out all instructions; raises BuildError in its place."""
        with contextlib.closing(self.commands):
            for instruction in self._instructions():
                try:
                    self._do(instruction)
                except BuildError as error:
                    raise self.build.dockerfile.locate(error, instruction) from None
                except PyContainersError as error:
                    problem = BuildError(str(error.args[0]), hint=error.hint)
                    raise self.build.dockerfile.locate(problem, instruction) from error
        return attrs.evolve(self.result, scope=self.scope)

    def _instructions(self) -> Iterator[Instruction]:
        """Give what the base image keeps for builds from it, then the stage's own."""
        kept = self.result.config.on_build
        if kept:
            self.result = attrs.evolve(
                self.result, config=attrs.evolve(self.result.config, on_build=())
            )
        for expression in kept:
            yield parse_trigger(expression, self.stage.begin, self.build.dockerfile.file)
        yield from self.stage.instructions

    def _do(self, written: Instruction) -> None:
        instruction = self.scope.apply(written).instruction
        match instruction:
            case Run() | Copy() | Add():
                self.build.await_sources(self.stage, instruction)
                with self.build.progress.step(self.stage, written) as step:
                    layer, said = self._layer(instruction, step)
                self._push(layer, f"{said} # buildkit")
            case Workdir():
                with self.build.progress.step(self.stage, written) as step:
                    self._work_in(instruction, step)
            case _:
                said = configs.said(instruction, self.result.config)
                self._has_cmd = self._has_cmd or isinstance(instruction, Cmd)
                self._reconfigure(instruction)
                if not isinstance(instruction, OnBuild):
                    self._tell(said, empty=True)

    def _layer(self, instruction: Run | Copy | Add, step: Step) -> tuple[Layer, str]:
        from pycontainers.build import files, runs

        if isinstance(instruction, Run):
            return runs.layer(self, instruction, step)
        return files.layer(self, instruction, step)

    def _work_in(self, instruction: Workdir, step: Step) -> None:
        """Set the working directory, and make it, the user's own, where it is missing."""
        path = configs.joined(self.result.config, instruction.path)
        said = configs.said(instruction, self.result.config)
        self._reconfigure(instruction)
        if path == "/":
            step.cached()
            self._tell(said, empty=True)
            return
        key = key_of(self.result.key, "workdir", path, self.result.config.user, self.build.epoch)
        layer = self.build.maker.find(key)
        if layer is None:
            with self.build.maker.changes() as changes:
                self._make_directory(path, changes)
                layer = self.build.maker.keep([key], changes / "upper", said)
        else:
            step.cached()
        self._push(layer, said)

    def _make_directory(self, path: str, changes: Path) -> None:
        target = copying.Target(path, changes, self.result.paths())
        wishes = copying.Wishes(self.result.config.user or None, time=self.build.epoch)
        try:
            copying.make_way(self.build.services, target, wishes)
        except KernelError as error:
            raise BuildError(
                f"cannot make the working directory {path}: {error.args[0]}"
            ) from error

    # What has become of it.

    def _push(self, layer: Layer, said: str) -> None:
        # By the layer itself: several keys may have led to it.
        key = key_of(self.result.key, "layer", layer.identity)
        self.result = attrs.evolve(self.result, key=key, layers=(*self.result.layers, layer))
        made = configs.timestamp(layer.built.created) if layer.built is not None else ""
        self._tell(said, empty=False, created=made)

    def _reconfigure(self, instruction: Instruction) -> None:
        config = configs.changed(self.result.config, instruction, has_cmd=self._has_cmd)
        self.result = attrs.evolve(self.result, config=config)

    def _tell(self, said: str, *, empty: bool, created: str = "") -> None:
        step = History(
            created=created if self.build.seconds is None else self.build.created,
            created_by=said,
            comment=_COMMENT,
            empty_layer=empty,
        )
        self.result = attrs.evolve(self.result, history=(*self.result.history, step))
