"""Instructions with the values of variables put in, where Docker expands them and only there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import attrs

from pycontainers.build import words
from pycontainers.build.instructions import (
    Add,
    Env,
    Expose,
    Files,
    Instruction,
    Label,
    Pair,
    Run,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from pycontainers.build.lines import Heredoc
from pycontainers.build.mounts import RunMount
from pycontainers.build.ports import exposed


class Expanded(NamedTuple):
    """An instruction without variables, and the names of those that had no value."""

    instruction: Instruction
    missing: tuple[str, ...]


def expand(instruction: Instruction, values: Mapping[str, str], escape: str = "\\") -> Expanded:
    """Put the values of variables into an instruction, and take quotes and escapes away.

    ADD, COPY, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR and the mounts of RUN have
    variables; all others stay as they are, as shells have variables of their own.  FROM and ARG are
    for `scope`.  All of one instruction see the same values, so that `ENV a=1 b=$a` means the `a`
    from before.  Raises BuildError, without a place.
    """
    expansion = _Expansion(values, escape)
    return Expanded(expansion.of(instruction), tuple(expansion.missing))


class _Expansion:
    """The values, and which were missing so far."""

    def __init__(self, values: Mapping[str, str], escape: str) -> None:
        self._values = values
        self._escape = escape
        self.missing: dict[str, None] = {}

    def of(self, instruction: Instruction) -> Instruction:
        """Give the instruction expanded."""
        match instruction:
            case Files():
                return self._copied(instruction)
            case Env() | Label():
                return attrs.evolve(instruction, pairs=tuple(map(self._pair, instruction.pairs)))
            case Expose():
                found = [word for port in instruction.ports for word in self._words(port)]
                return attrs.evolve(instruction, ports=exposed(found))
            case Run():
                mounts = (RunMount.parse(text, self._word) for text in instruction.mount_texts)
                return attrs.evolve(instruction, mounts=tuple(mounts))
            case StopSignal():
                return attrs.evolve(instruction, signal=self._word(instruction.signal))
            case User():
                return attrs.evolve(instruction, user=self._word(instruction.user))
            case Volume():
                return attrs.evolve(instruction, paths=self._all(instruction.paths))
            case Workdir():
                return attrs.evolve(instruction, path=self._word(instruction.path))
            case _:
                return instruction

    def _copied(self, instruction: Files) -> Files:
        expanded = attrs.evolve(
            instruction,
            sources=self._all(instruction.sources),
            destination=self._word(instruction.destination),
            chown=self._word(instruction.chown),
            chmod=self._word(instruction.chmod),
            heredocs=tuple(map(self._document, instruction.heredocs)),
        )
        if isinstance(expanded, Add):
            return attrs.evolve(expanded, checksum=self._word(expanded.checksum))
        return expanded

    def _document(self, heredoc: Heredoc) -> Heredoc:
        """Expand a heredoc, whose tabs go first: those that variables bring in stay."""
        if not heredoc.expand:
            return attrs.evolve(heredoc, content=heredoc.text, chomp=False)
        found = words.expand_document(heredoc.text, self._values)
        self._miss(found)
        return attrs.evolve(heredoc, content=found.text, chomp=False, expand=False)

    def _pair(self, pair: Pair) -> Pair:
        return pair._replace(name=self._word(pair.name), value=self._word(pair.value))

    def _all(self, texts: Iterable[str]) -> tuple[str, ...]:
        return tuple(map(self._word, texts))

    def _word(self, text: str) -> str:
        found = words.expand(text, self._values, self._escape)
        self._miss(found)
        return found.text

    def _words(self, text: str) -> tuple[str, ...]:
        found = words.expand(text, self._values, self._escape)
        self._miss(found)
        return found.words

    def _miss(self, found: words.Expansion) -> None:
        self.missing.update(dict.fromkeys(found.missing))
