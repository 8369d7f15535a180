"""Variables of a build: those before the first FROM, and those of a stage as it goes on."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from pycontainers.build import words
from pycontainers.build.expand import Expanded, expand
from pycontainers.build.instructions import Arg, Argument, Env, From, Instruction
from pycontainers.errors import BuildError, InvalidArgument
from pycontainers.oci.platform import Platform

if TYPE_CHECKING:
    from pycontainers.build.parse import Dockerfile

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PROXIES: Final = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
# More than six million characters can't be given to a program (execve(2)).
_MOST: Final = 6 << 20
_MOST_NAMES: Final = 10_000


def predefined(target: Platform, build: Platform, stage: str = "") -> dict[str, str]:
    """Give the variables that every build has before the first FROM.

    >>> predefined(Platform.parse("linux/arm/v7"), Platform.parse("linux/amd64"))["TARGETVARIANT"]
    'v7'
    """
    values = {}
    for kind, platform in (("BUILD", build), ("TARGET", target)):
        values[f"{kind}PLATFORM"] = str(platform)
        values[f"{kind}OS"] = platform.os
        values[f"{kind}OSVERSION"] = platform.os_version
        values[f"{kind}ARCH"] = platform.architecture
        values[f"{kind}VARIANT"] = platform.variant
    return {**values, "TARGETSTAGE": stage or "default"}


def proxies(build_args: Mapping[str, str]) -> dict[str, str]:
    """Give the proxies that commands see without any ARG; they are in no image and no cache key.

    >>> proxies({"HTTP_PROXY": "http://p:1"})
    {'HTTP_PROXY': 'http://p:1', 'http_proxy': 'http://p:1'}
    """
    found = {}
    for name in sorted(build_args):
        if name.lower() in _PROXIES:
            found[name.upper()] = found[name.lower()] = build_args[name]
    return found


class Origin(NamedTuple):
    """What a FROM means: an image or stage, and a platform, whose text is empty without."""

    image: words.Expansion
    platform: words.Expansion


@attrs.frozen
class Globals:
    """The variables that FROM knows, and what the caller of the build has set."""

    values: Mapping[str, str]
    build_args: Mapping[str, str]
    escape: str = "\\"

    @classmethod
    def of(
        cls,
        dockerfile: Dockerfile,
        build_args: Mapping[str, str],
        predefined: Mapping[str, str],
    ) -> Globals:
        """Take up the ARGs before the first FROM; raises BuildError.

        What the caller sets wins over defaults, also over predefined variables.
        """
        values = {name: build_args.get(name, value) for name, value in predefined.items()}
        size = 0
        for arg in dockerfile.args:
            for name, default in arg.arguments:
                value = build_args.get(name)
                if value is None and default is not None:
                    try:
                        value = words.expand(default, values, dockerfile.escape).text
                    except BuildError as error:
                        raise dockerfile.locate(error, arg) from None
                if value is not None:
                    size = _grown(size, values.get(name, ""), value)
                    values[name] = value
        return cls(values, build_args, dockerfile.escape)

    def origin(self, begin: From) -> Origin:
        """Tell what a FROM means; raises BuildError, without a place."""
        image = words.expand(begin.image, self.values, self.escape)
        if not image.text:
            raise BuildError(f"{begin.image[:80]!r} gives no image", near=begin.image,
                             hint=_unset(image.missing))  # fmt: skip
        platform = words.expand(begin.platform, self.values, self.escape)
        if begin.platform:
            try:
                Platform.parse(platform.text)
            except InvalidArgument:
                raise BuildError(
                    f"{begin.platform[:80]!r} gives {platform.text[:80]!r}, which is no platform",
                    near="--platform",
                    hint=_unset(platform.missing),
                ) from None
        return Origin(image, platform)


class Scope:
    """The variables of one stage, from instruction to instruction.

    `environment` is what commands and later instructions see, of ENV and ARG alike; `image` what
    of it stays in the image's config; `arguments` are the ARGs so far with their values, None for
    those without, as an image's history names them.
    """

    def __init__(self, globals: Globals, image: Mapping[str, str]) -> None:
        """Begin a stage from an image with these variables; PATH is there in any case."""
        self._globals = globals
        self._size = 0
        self.escape = globals.escape
        self.image: dict[str, str] = dict(image)
        self.image.setdefault("PATH", DEFAULT_PATH)
        self.environment: dict[str, str] = dict(self.image)
        self.arguments: dict[str, str | None] = {}

    def child(self) -> Scope:
        """Begin a stage from the one that this has become: it also inherits ARGs."""
        scope = Scope(self._globals, self.image)
        scope.environment = dict(self.environment)
        scope.arguments = dict(self.arguments)
        scope._size = self._size
        return scope

    def apply(self, instruction: Instruction) -> Expanded:
        """Expand an instruction, and take up what ENV and ARG set; an ARG is given its values.

        Raises BuildError, without a place; then nothing has changed.
        """
        if isinstance(instruction, Arg):
            return self._declare(instruction)
        expanded = expand(instruction, self.environment, self.escape)
        if isinstance(expanded.instruction, Env):
            new = {pair.name: pair.value for pair in expanded.instruction.pairs}
            self._set(new)
            self.image |= new
        # An ARG without a value is declared all the same.
        missing = tuple(name for name in expanded.missing if name not in self.arguments)
        return Expanded(expanded.instruction, missing)

    def _declare(self, arg: Arg) -> Expanded:
        """Take up an ARG: each of its names sees those before it."""
        declared: dict[str, str | None] = {}
        new: dict[str, str] = {}
        values = ChainMap(new, self.environment)
        missing: dict[str, None] = {}
        for name, default in arg.arguments:
            value = self._globals.build_args.get(name)
            if value is None and default is None:
                value = self._globals.values.get(name)
            elif value is None and default is not None:
                found = words.expand(default, values, self.escape)
                value = found.text
                missing |= dict.fromkeys(found.missing)
            declared[name] = value
            if value is not None:
                new[name] = value
        self._set(new)
        unknown = tuple(name for name in missing if name not in self.arguments)
        self.arguments |= declared
        given = tuple(Argument(name, declared[name]) for name, _ in arg.arguments)
        return Expanded(attrs.evolve(arg, arguments=given), unknown)

    def _set(self, new: Mapping[str, str]) -> None:
        """Set variables, all or none."""
        size = self._size
        for name, value in new.items():
            size = _grown(size, self.environment.get(name, ""), value)
        if len(self.environment) + len(new) > _MOST_NAMES:
            raise BuildError(f"more than {_MOST_NAMES} variables")
        self._size = size
        self.environment |= new


def _grown(size: int, old: str, new: str) -> int:
    """Count the characters of all variables; raises BuildError for too many."""
    size += len(new) - len(old)
    if size > _MOST:
        raise BuildError(f"all variables together have more than {_MOST} characters")
    return size


def _unset(missing: tuple[str, ...]) -> str | None:
    """Give the hint that variables are not there."""
    if not missing:
        return None
    return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not declared before FROM"
