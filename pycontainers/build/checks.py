"""Warnings of what a Dockerfile may say but should not: BuildKit's build checks, by its names.

`# check=skip=Rule,…;error=true` in the first lines is heeded, and `# check=skip=…` above a single
instruction.  `InvalidBaseImagePlatform` is not here: a base image of a wrong platform is an error.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Final, NamedTuple

from pycontainers.build.flags import truth
from pycontainers.build.instructions import Add, Arg, Copy, From, Instruction, Maintainer
from pycontainers.build.parse import Dockerfile
from pycontainers.build.scope import Globals, Origin
from pycontainers.build.stagechecks import StageChecks, Warned, shown_guess
from pycontainers.build.words import expand
from pycontainers.errors import BuildError, InvalidArgument
from pycontainers.oci.config import ImageConfig
from pycontainers.oci.platform import Platform
from pycontainers.oci.reference import Reference

MOST_WARNINGS: Final = 1000

_ALL: Final = "all"
_ABOVE: Final = re.compile(r"check\s*=\s*(\S+).*", re.ASCII)
_NO_PATH: Final = re.compile(r"\$|://|^git@")
_RESERVED: Final = ("context", "scratch")
_EXPERIMENTAL: Final = ("InvalidDefinitionDescription",)


class BuildWarning(NamedTuple):
    """What a rule says of a line."""

    rule: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"{self.rule}: {self.text} (line {self.line})"


class _Options(NamedTuple):
    """What a check directive asks for."""

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error: bool = False

    @classmethod
    def parse(cls, text: str) -> _Options:
        """Read `skip=A,B;error=true`; raises BuildError, without a place."""
        found = cls()
        for part in filter(None, text.partition(" ")[0].split(";")):
            key, equals, value = part.partition("=")
            names = frozenset(name.strip() for name in value.split(","))
            match key.strip(), equals:
                case "skip", "=":
                    found = found._replace(skip=names)
                case "experimental", "=":
                    found = found._replace(experimental=names)
                case "error", "=":
                    found = found._replace(error=truth(value.strip(), part))
                case _:
                    raise BuildError(
                        f"{part[:80]!r} is unknown to the directive 'check'",
                        near=part,
                        hint="it has skip=…, experimental=… and error=true, with ';' between them",
                    )
        return found

    def with_more(self, other: _Options) -> _Options:
        """Give these and those of a single instruction."""
        return self._replace(
            skip=self.skip | other.skip, experimental=self.experimental | other.experimental
        )

    def allows(self, rule: str) -> bool:
        """Tell whether a rule is to be heard."""
        if rule in _EXPERIMENTAL:
            return rule in self.experimental or _ALL in self.experimental
        return rule not in self.skip and _ALL not in self.skip


def check(
    dockerfile: Dockerfile,
    *,
    build_args: Mapping[str, str] | None = None,
    predefined: Mapping[str, str] | None = None,
    bases: Mapping[int, ImageConfig] | None = None,
    ignores: Callable[[str], bool] | None = None,
) -> tuple[BuildWarning, ...]:
    r"""Give the warnings of all rules by line, at most MOST_WARNINGS.

    `build_args` and `predefined` are as for `scope.Globals`, `bases` the configs of images that
    stages begin from, by the stage's index: undefined variables are looked for only where it is
    known what the image defines.  `ignores` tells which paths the ignore file takes out of the
    context.  What would fail in a build is no warning and ends the checks of its stage.  Raises
    BuildError for a check directive that can't be read.

    >>> from pycontainers.build.parse import parse
    >>> [str(warning) for warning in check(parse("FROM debian\nCMD date\n"))]
    ['JSONArgsRecommended: CMD in shell form does not pass signals on; write JSON (line 2)']
    """
    options = _options(dockerfile)
    above = {
        instruction.start: options.with_more(more)
        for instruction in dockerfile.instructions
        if (more := _options_above(instruction))
    }
    checker = _Checker(dockerfile, build_args or {}, predefined or {}, bases or {})
    found_out = chain(checker.all(), _ignored(dockerfile, ignores) if ignores else ())
    heard = (
        BuildWarning(rule, text, line)
        for rule, text, line in found_out
        if above.get(line, options).allows(rule)
    )
    found = dict.fromkeys(islice(heard, MOST_WARNINGS))
    return tuple(sorted(found, key=lambda warning: warning.line))


def refuse(dockerfile: Dockerfile, warnings: Iterable[BuildWarning]) -> None:
    """Raise BuildError for warnings if the Dockerfile says that they are errors (error=true)."""
    if not (found := tuple(warnings)) or not _options(dockerfile).error:
        return
    rules = ", ".join(dict.fromkeys(warning.rule for warning in found))
    raise BuildError(
        f"the checks found {rules}",
        file=dockerfile.file,
        line=found[0].line,
        output="\n".join(map(str, found)),
        hint="the directive '# check=error=true' makes warnings errors",
    )


def _options(dockerfile: Dockerfile) -> _Options:
    for directive in dockerfile.directives:
        if directive.name == "check":
            try:
                return _Options.parse(directive.value)
            except BuildError as error:
                source = f"# check={directive.value}"
                raise error.at(dockerfile.file, directive.line, source) from None
    return _Options()


def _options_above(instruction: Instruction) -> _Options | None:
    """Read the first check directive in the comments above an instruction; ignore a wrong one."""
    for comment in instruction.comments:
        if match := _ABOVE.fullmatch(comment):
            try:
                return _Options.parse(match[1])
            except BuildError:
                return None
    return None


class _Checker:
    """One pass over a Dockerfile."""

    def __init__(
        self,
        dockerfile: Dockerfile,
        build_args: Mapping[str, str],
        predefined: Mapping[str, str],
        bases: Mapping[int, ImageConfig],
    ) -> None:
        self._dockerfile = dockerfile
        self._build_args = build_args
        self._predefined = {name: build_args.get(name, value) for name, value in predefined.items()}
        self._bases = bases

    def all(self) -> Iterator[Warned]:
        """Give all warnings, in no order."""
        for line in self._dockerfile.blanks:
            yield "NoEmptyContinuation", "a blank line within an instruction", line
        yield from self._casing()
        yield from self._stage_names()
        for instruction in self._dockerfile.instructions:
            yield from _descriptions(instruction)
            if isinstance(instruction, Maintainer):
                text = "MAINTAINER is deprecated; write LABEL org.opencontainers.image.authors="
                yield "MaintainerDeprecated", text, instruction.start
        try:
            globals = Globals.of(self._dockerfile, self._build_args, self._predefined)
            defaults = Globals.of(self._dockerfile, {}, self._predefined)
        except BuildError:
            return
        declared = {one.name for arg in self._dockerfile.args for one in arg.arguments}
        known = declared | set(globals.values)
        walk = StageChecks(globals, self._bases)
        for stage in self._dockerfile.stages:
            yield from _defaults(stage.begin, defaults)
            try:
                origin = globals.origin(stage.begin)
            except BuildError:
                continue
            yield from _origin(stage.begin, origin, globals, known)
            yield from walk.stage(stage, origin.image.text)

    def _casing(self) -> Iterator[Warned]:
        staged = [
            one for stage in self._dockerfile.stages for one in (stage.begin, *stage.instructions)
        ]
        lower = sum(one.keyword == one.keyword.lower() for one in staged)
        upper = sum(one.keyword == one.keyword.upper() for one in staged)
        for one in staged:
            wanted = one.keyword.lower() if lower > upper else one.keyword.upper()
            if one.keyword != wanted:
                text = f"{one.keyword} is written {wanted} like most instructions here"
                yield "ConsistentInstructionCasing", text, one.start

    def _stage_names(self) -> Iterator[Warned]:
        seen: set[str] = set()
        for stage in self._dockerfile.stages:
            begin = stage.begin
            if not stage.name:
                continue
            if begin.written_stage != stage.name:
                text = f"the stage's name {begin.written_stage!r} has capital letters"
                yield "StageNameCasing", text, begin.start
            if not _same_case(begin.keyword, begin.written_as):
                text = f"{begin.keyword} and {begin.written_as} differ in case"
                yield "FromAsCasing", text, begin.start
            if stage.name in _RESERVED:
                yield "ReservedStageName", f"{stage.name!r} means something else", begin.start
            if stage.name in seen:
                yield "DuplicateStageName", f"a second stage {stage.name!r}", begin.start
            seen.add(stage.name)


def _origin(
    begin: From, origin: Origin, globals: Globals, known: Collection[str]
) -> Iterator[Warned]:
    """Look at the variables of a FROM, and at its platform."""
    for name in dict.fromkeys((*origin.image.missing, *origin.platform.missing)):
        if name not in known:
            text = f"the variable {name[:80]!r} is not declared before the first FROM"
            yield "UndefinedArgInFrom", text + shown_guess(name, known), begin.start
    platform = origin.platform
    if not begin.platform or platform.missing:
        return
    if platform.found == {"TARGETPLATFORM"}:
        if platform.text == globals.values.get("TARGETPLATFORM"):
            text = f"--platform={begin.platform} is the default"
            yield "RedundantTargetPlatform", text, begin.start
    elif not platform.found:
        named = Platform.parse(platform.text)
        if named.os not in begin.stage and named.architecture not in begin.stage:
            text = f"--platform={platform.text} is the same whatever the build is for"
            yield "FromPlatformFlagConstDisallowed", text, begin.start


def _same_case(keyword: str, word: str) -> bool:
    """Tell whether a word is in the case of a keyword, if that has one."""
    if keyword == keyword.lower():
        return word == word.lower()
    return keyword != keyword.upper() or word == word.upper()


def _defaults(begin: From, defaults: Globals) -> Iterator[Warned]:
    """Look at the image that a FROM means if the caller sets nothing."""
    try:
        image = expand(begin.image, defaults.values, defaults.escape)
        if image.found or image.missing:
            Reference.parse(image.text)
    except BuildError:
        return
    except InvalidArgument:
        text = f"{begin.image[:80]!r} is no image without build arguments"
        yield "InvalidDefaultArgInFrom", text, begin.start


def _ignored(dockerfile: Dockerfile, ignores: Callable[[str], bool]) -> Iterator[Warned]:
    """Look at what is copied from the context; a name with variables or a URL is none there."""
    for instruction in dockerfile.instructions:
        if not isinstance(instruction, Add) and not (
            isinstance(instruction, Copy) and not instruction.from_
        ):
            continue
        for source in instruction.sources:
            if not _NO_PATH.search(source) and ignores(posixpath.normpath(source)):
                text = f"{source[:80]!r} is left out by the ignore file"
                yield "CopyIgnoredFile", text, instruction.start


def _descriptions(instruction: Instruction) -> Iterator[Warned]:
    """Look at the comment right above what can be described: `# name what it is`."""
    names: list[str] = []
    if isinstance(instruction, Arg):
        names = [argument.name for argument in instruction.arguments]
    elif isinstance(instruction, From) and instruction.stage:
        names = [instruction.stage]
    if names and instruction.comments and instruction.comments[-1].split(" ")[0] not in names:
        text = f"the comment above does not begin with {' or '.join(names)[:80]}"
        yield "InvalidDefinitionDescription", text, instruction.start
