"""Dockerfiles: from text to stages of instructions."""

from __future__ import annotations

import re
from typing import Final

import attrs

from pycontainers.build.instructions import Arg, From, Instruction, Maintainer, OnBuild
from pycontainers.build.lines import Directive, Lines
from pycontainers.build.readers import read
from pycontainers.errors import BuildError

MOST_STAGES: Final = 1000

_NUMBER: Final = re.compile("[0-9]{1,9}")


@attrs.frozen(kw_only=True)
class Stage:
    """A FROM and what follows it up to the next; `index` counts from 0, `name` may be empty."""

    index: int
    begin: From
    instructions: tuple[Instruction, ...]

    @property
    def name(self) -> str:
        """The name behind AS, in lower case."""
        return self.begin.stage

    def __str__(self) -> str:
        return self.name or f"stage-{self.index}"


@attrs.frozen(kw_only=True)
class Dockerfile:
    r"""A Dockerfile that has been read; `str` gives its very text.

    `file` is what errors call it, `args` are the ARGs before the first FROM, `blanks` the lines
    that are blank within a continued instruction.

    >>> str(parse("FROM scratch\n"))
    'FROM scratch\n'
    """

    file: str
    written: str = attrs.field(repr=False)
    directives: tuple[Directive, ...]
    escape: str
    args: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    blanks: tuple[int, ...] = ()

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """All instructions in the order written."""
        staged = (one for stage in self.stages for one in (stage.begin, *stage.instructions))
        return (*self.args, *staged)

    def directive(self, name: str) -> str:
        """Give the value of a parser directive, empty without."""
        return next((one.value for one in self.directives if one.name == name), "")

    def stage(self, key: str) -> Stage | None:
        """Give the last stage with this name, in any case of letters, or the one of this number."""
        for stage in reversed(self.stages):
            if stage.name and stage.name == key.lower():
                return stage
        if _NUMBER.fullmatch(key) and int(key) < len(self.stages):
            return self.stages[int(key)]
        return None

    def locate(self, error: BuildError, instruction: Instruction) -> BuildError:
        """Give an error of an instruction its place in this file."""
        return error.at(self.file, instruction.start, instruction.source)

    def __str__(self) -> str:
        return self.written


def parse(text: bytes | str, name: str = "Dockerfile") -> Dockerfile:
    r"""Read a Dockerfile; `name` is what errors call it.

    Bytes are UTF-8; others in them stay, as lone surrogates (PEP 383).  Raises BuildError.

    >>> parse("FROM debian AS base\nRUN true\n").stage("base").instructions[0].command
    'true'
    """
    written = text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")
    lines = Lines(written, name)
    args: list[Arg] = []
    stages: list[tuple[From, list[Instruction]]] = []
    blanks: list[int] = []
    last = 0
    for line in lines:
        try:
            instruction = read(line, lines.escape)
            if not stages and not isinstance(instruction, From | Arg):
                raise BuildError(f"{instruction.name} before the first FROM")
            if len(stages) == MOST_STAGES and isinstance(instruction, From):
                raise BuildError(f"more than {MOST_STAGES} stages")
        except BuildError as error:
            raise error.at(name, line.start, line.source) from None
        if line.blank:
            blanks.append(line.blank)
        last = line.end
        if isinstance(instruction, From):
            stages.append((instruction, []))
        elif stages:
            stages[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            args.append(instruction)
    if not stages:
        raise BuildError(
            f"{name} has no stage to build", file=name, line=last, hint="a stage begins with FROM"
        )
    return Dockerfile(
        file=name,
        written=written,
        directives=lines.directives,
        escape=lines.escape,
        args=tuple(args),
        stages=tuple(
            Stage(index=index, begin=begin, instructions=tuple(instructions))
            for index, (begin, instructions) in enumerate(stages)
        ),
        blanks=tuple(blanks),
    )


def parse_trigger(expression: str, begin: From, name: str = "Dockerfile") -> Instruction:
    """Read what an image keeps for builds from it (ONBUILD); it stands where that FROM does.

    Raises BuildError, as for an expression of several instructions.
    """
    try:
        lines = Lines(expression, name)
        found = [read(line, lines.escape) for line in lines]
        if len(found) != 1 or isinstance(found[0], From | OnBuild | Maintainer):
            raise BuildError(
                f"the base image's trigger {expression[:80]!r} is not one instruction to build with"
            )
    except BuildError as error:
        raise BuildError(error.problem, hint=error.hint).at(
            name, begin.start, begin.source
        ) from None
    return attrs.evolve(found[0], start=begin.start, end=begin.end, source=begin.source)
