"""Checks of the instructions of a stage, which need to know what the stage began from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs

from pycontainers.build.flags import nearest
from pycontainers.build.instructions import (
    Arg,
    Cmd,
    Entrypoint,
    Env,
    Expose,
    HealthCheck,
    Instruction,
    Label,
    OnBuild,
    Shell,
    Workdir,
)
from pycontainers.build.parse import Stage
from pycontainers.build.ports import Exposed
from pycontainers.build.scope import Globals, Scope
from pycontainers.build.words import expand
from pycontainers.errors import BuildError
from pycontainers.oci.config import ImageConfig

Warned = tuple[str, str, int]

_SCRATCH: Final = "scratch"
_ONCE: Final = (Cmd, Entrypoint, HealthCheck)
_SECRET: Final = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)",
    re.IGNORECASE,
)
_NO_SECRET: Final = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)


@attrs.define
class _State:
    """What is known of a stage, as far as it has been looked at."""

    scope: Scope
    known: bool
    shell: bool
    workdir: bool = False
    triggers: list[Instruction] = attrs.field(factory=list)

    def child(self) -> _State:
        """Begin another stage from this one."""
        return _State(self.scope.child(), self.known, self.shell, self.workdir)


class StageChecks:
    """The stages of a Dockerfile, to be looked at in order."""

    def __init__(self, globals: Globals, bases: Mapping[int, ImageConfig]) -> None:
        self._globals = globals
        self._bases = bases
        self._named: dict[str, _State] = {}

    def stage(self, stage: Stage, image: str) -> Iterator[Warned]:
        """Give the warnings of a stage, which begins from `image`, up to what is an error."""
        parent = self._named.get(image)
        state = parent.child() if parent else self._begun(stage, image)
        if stage.name:
            self._named[stage.name] = state
        last: dict[str, Instruction] = {}
        triggers = [
            attrs.evolve(trigger, start=stage.begin.start, end=stage.begin.end)
            for trigger in (parent.triggers if parent else ())
        ]
        for instruction in (*triggers, *stage.instructions):
            if isinstance(instruction, _ONCE):
                if before := last.get(instruction.name):
                    text = f"only the last {instruction.name} of a stage has a meaning"
                    yield "MultipleInstructionsDisallowed", text, before.start
                last[instruction.name] = instruction
            try:
                yield from _written(instruction, state)
                yield from self._applied(instruction, state)
            except BuildError:
                return

    def _begun(self, stage: Stage, image: str) -> _State:
        """Begin from an image, or from nothing."""
        config = self._bases.get(stage.index)
        environment = dict(text.partition("=")[::2] for text in config.env) if config else {}
        known = config is not None or image == _SCRATCH
        return _State(Scope(self._globals, environment), known, bool(config and config.shell))

    def _applied(self, instruction: Instruction, state: _State) -> Iterator[Warned]:
        """Look at what an instruction means with its variables, and take it up."""
        if isinstance(instruction, Expose):
            yield from _ports(instruction, state.scope)
        expanded, missing = state.scope.apply(instruction)
        for name in missing if state.known else ():
            text = f"the variable {name[:80]!r} is not defined"
            guess = shown_guess(name, state.scope.environment)
            yield "UndefinedVar", text + guess, instruction.start
        match expanded:
            case Env():
                yield from _secrets("ENV", (pair.name for pair in expanded.pairs), instruction)
            case Workdir():
                if not state.workdir and not expanded.path.startswith("/"):
                    text = f"{expanded.path[:80]!r} depends on the image's working directory"
                    yield "WorkdirRelativePath", text, instruction.start
                state.workdir = True
            case Shell():
                state.shell = True
            case OnBuild():
                state.triggers.append(expanded.trigger)
            case _:
                pass


def shown_guess(name: str, known: Iterable[str]) -> str:
    """Give the end of a sentence that asks for the name that was meant, or nothing."""
    found = nearest(name, known)
    return f"; did you mean {found}?" if found else ""


def _written(instruction: Instruction, state: _State) -> Iterator[Warned]:
    """Look at how an instruction is written."""
    match instruction:
        case Env() | Label():
            if any(pair.legacy for pair in instruction.pairs):
                text = f"{instruction.name} name value is an old form; write name=value"
                yield "LegacyKeyValueFormat", text, instruction.start
        case Arg():
            names = (argument.name for argument in instruction.arguments)
            yield from _secrets("ARG", names, instruction)
        case Cmd() | Entrypoint():
            if isinstance(instruction.command, str) and not state.shell:
                text = f"{instruction.name} in shell form does not pass signals on; write JSON"
                yield "JSONArgsRecommended", text, instruction.start
        case _:
            pass


def _secrets(kind: str, names: Iterable[str], instruction: Instruction) -> Iterator[Warned]:
    for name in names:
        if _SECRET.search(name) and not _NO_SECRET.search(name):
            text = f"{kind} {name[:80]} stays in the image; give secrets by RUN --mount=type=secret"
            yield "SecretsUsedInArgOrEnv", text, instruction.start


def _ports(instruction: Expose, scope: Scope) -> Iterator[Warned]:
    for written in instruction.ports:
        for text in expand(written, scope.environment, scope.escape).words:
            port = Exposed.parse(text)
            if port.protocol != port.protocol.lower():
                said = f"the protocol of {text[:80]!r} is in capital letters"
                yield "ExposeProtoCasing", said, instruction.start
            if port.published:
                said = f"{text[:80]!r} names an address or a port of the host"
                yield "ExposeInvalidFormat", said, instruction.start
