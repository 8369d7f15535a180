"""How each instruction is read from its logical line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypedDict

from pycontainers.build import arguments, mounts
from pycontainers.build.flags import Flags, guess, split_instruction
from pycontainers.build.instructions import (
    Add,
    Arg,
    Argument,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    HealthCheck,
    Instruction,
    Label,
    Maintainer,
    OnBuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
    with_documents,
)
from pycontainers.build.lines import Heredoc, Line
from pycontainers.build.words import SPACES, expand
from pycontainers.errors import BuildError

_SPACE: Final = re.compile(f"[{SPACES}]+")
_STAGE: Final = re.compile(r"[a-z][a-z0-9_.-]*")
_ONBUILD: Final = re.compile(r"\s*ONBUILD\s*", re.IGNORECASE | re.ASCII)
_NETWORKS: Final = ("default", "none", "host")
_SECURITY: Final = ("sandbox", "insecure")
_MOST_RETRIES: Final = (1 << 31) - 1


class _Place(TypedDict):
    start: int
    end: int
    source: str
    text: str
    comments: tuple[str, ...]


class _Parts(NamedTuple):
    """An instruction's line, taken apart."""

    keyword: str
    flags: tuple[str, ...]
    rest: str
    escape: str
    heredocs: tuple[Heredoc, ...]
    place: _Place


def read(line: Line, escape: str) -> Instruction:
    """Read an instruction; raises BuildError, without a place."""
    text = line.text.strip(SPACES)
    keyword, flags, rest = split_instruction(text, escape)
    reader = _READERS.get(keyword.upper())
    if reader is None:
        hint = guess(keyword.upper(), _READERS)
        raise BuildError(f"unknown instruction {keyword[:80]!r}", near=keyword, hint=hint)
    place = _Place(
        start=line.start, end=line.end, source=line.source, text=text, comments=line.comments
    )
    return reader(_Parts(keyword.upper(), flags, rest, escape, line.heredocs, place))


def _from(parts: _Parts) -> From:
    flags = Flags("FROM", parts.flags, single=("platform",))
    found = arguments.blank_separated(parts.rest)
    if len(found) == 1:
        return From(image=found[0], platform=flags.one("platform"), **parts.place)
    if len(found) != 3 or found[1].lower() != "as":
        raise BuildError("FROM takes an image, or an image AS a stage's name")
    stage = found[2].lower()
    if not _STAGE.fullmatch(stage):
        raise BuildError(
            f"{found[2][:80]!r} can't name a stage",
            near=found[2],
            hint="a name begins with a letter, and has letters, digits, '_', '-' and '.' only",
        )
    return From(
        image=found[0],
        stage=stage,
        written_stage=found[2],
        written_as=found[1],
        platform=flags.one("platform"),
        **parts.place,
    )


def _arg(parts: _Parts) -> Arg:
    Flags("ARG", parts.flags)
    found = []
    for word in arguments.quoted_words(parts.rest, parts.escape):
        name, equals, default = word.partition("=")
        if not name:
            raise BuildError("ARG needs a name before '='", near=word)
        found.append(Argument(name, default if equals else None))
    if not found:
        raise BuildError("ARG needs at least one name")
    return Arg(arguments=tuple(found), **parts.place)


def _env(parts: _Parts) -> Env:
    Flags("ENV", parts.flags)
    return Env(pairs=arguments.pairs("ENV", parts.rest, parts.escape), **parts.place)


def _label(parts: _Parts) -> Label:
    Flags("LABEL", parts.flags)
    return Label(pairs=arguments.pairs("LABEL", parts.rest, parts.escape), **parts.place)


def _run(parts: _Parts) -> Run:
    flags = Flags("RUN", parts.flags, single=("network", "security"), several=("mount",))
    network, security = flags.one("network", "default"), flags.one("security", "sandbox")
    for value, allowed, name in (
        (network, _NETWORKS, "--network"),
        (security, _SECURITY, "--security"),
    ):
        if value not in allowed:
            hint = guess(value, allowed) or f"one of {', '.join(allowed)}"
            raise BuildError(f"{value[:80]!r} is unknown to {name}", near=name, hint=hint)
    texts = flags.all("mount")
    for text in texts:
        mounts.source_stage(text)
        if "$" not in text:
            mounts.RunMount.parse(text, lambda value: expand(value, {}, parts.escape).text)
    command = arguments.command(parts.rest)
    if command == ():
        raise BuildError("RUN needs a program to run")
    return Run(
        command=command,
        heredocs=parts.heredocs if isinstance(command, str) else (),
        mount_texts=texts,
        network=network,
        security=security,
        **parts.place,
    )


def _cmd(parts: _Parts) -> Cmd:
    Flags("CMD", parts.flags)
    return Cmd(command=arguments.command(parts.rest), **parts.place)


def _entrypoint(parts: _Parts) -> Entrypoint:
    Flags("ENTRYPOINT", parts.flags)
    return Entrypoint(command=arguments.command(parts.rest), **parts.place)


def _copy(parts: _Parts) -> Copy:
    flags = Flags(
        "COPY",
        parts.flags,
        single=("from", "chown", "chmod"),
        several=("exclude",),
        switches=("link", "parents"),
    )
    sources, destination, heredocs = arguments.sources("COPY", parts.rest, parts.heredocs)
    stage = flags.one("from")
    if expand(stage, {}, parts.escape).text != stage:
        raise BuildError(
            "--from can't have variables or quotes",
            near="--from",
            hint="begin a stage with FROM and the variable, and name that stage",
        )
    return Copy(
        sources=sources,
        destination=destination,
        heredocs=heredocs,
        from_=stage,
        chown=flags.one("chown"),
        chmod=flags.one("chmod"),
        link=flags.switch("link") or False,
        parents=flags.switch("parents") or False,
        exclude=flags.all("exclude"),
        **parts.place,
    )


def _add(parts: _Parts) -> Add:
    flags = Flags(
        "ADD",
        parts.flags,
        single=("chown", "chmod", "checksum"),
        several=("exclude",),
        switches=("link", "keep-git-dir", "unpack"),
    )
    sources, destination, heredocs = arguments.sources("ADD", parts.rest, parts.heredocs)
    return Add(
        sources=sources,
        destination=destination,
        heredocs=heredocs,
        chown=flags.one("chown"),
        chmod=flags.one("chmod"),
        link=flags.switch("link") or False,
        exclude=flags.all("exclude"),
        checksum=flags.one("checksum"),
        keep_git_dir=flags.switch("keep-git-dir"),
        unpack=flags.switch("unpack"),
        **parts.place,
    )


def _user(parts: _Parts) -> User:
    return User(user=_single(parts), **parts.place)


def _workdir(parts: _Parts) -> Workdir:
    return Workdir(path=_single(parts), **parts.place)


def _stopsignal(parts: _Parts) -> StopSignal:
    return StopSignal(signal=_single(parts), **parts.place)


def _maintainer(parts: _Parts) -> Maintainer:
    return Maintainer(author=_single(parts), **parts.place)


def _volume(parts: _Parts) -> Volume:
    Flags("VOLUME", parts.flags)
    paths = tuple(path.strip(SPACES) for path in arguments.listed(parts.rest))
    if not paths or "" in paths:
        raise BuildError("VOLUME needs a path" if not paths else "VOLUME has an empty path")
    return Volume(paths=paths, **parts.place)


def _expose(parts: _Parts) -> Expose:
    Flags("EXPOSE", parts.flags)
    ports = arguments.blank_separated(parts.rest)
    if not ports:
        raise BuildError("EXPOSE needs a port")
    return Expose(ports=tuple(sorted(ports)), **parts.place)


def _shell(parts: _Parts) -> Shell:
    Flags("SHELL", parts.flags)
    command = arguments.command(parts.rest)
    if not command or isinstance(command, str):
        raise BuildError(
            "SHELL needs a program and its arguments as JSON",
            hint='as SHELL ["/bin/bash", "-c"]',
        )
    return Shell(command=command, **parts.place)


def _healthcheck(parts: _Parts) -> HealthCheck:
    durations = ("interval", "timeout", "start-period", "start-interval")
    flags = Flags("HEALTHCHECK", parts.flags, single=(*durations, "retries"))
    kind, rest, *_ = (*_SPACE.split(parts.rest, maxsplit=1), "")
    if kind.upper() == "NONE" and not rest:
        return HealthCheck(command=None, **parts.place)
    if kind.upper() != "CMD":
        raise BuildError("HEALTHCHECK takes NONE alone, or CMD and a command", near=kind)
    command = arguments.command(rest)
    if not command:
        raise BuildError("HEALTHCHECK CMD needs a command")
    retries = flags.one("retries", "0")
    if not re.fullmatch(r"\+?[0-9]{1,10}", retries) or int(retries) > _MOST_RETRIES:
        raise BuildError(f"{retries[:40]!r} is no number of retries", near="--retries")
    return HealthCheck(
        command=command,
        interval=arguments.duration("--interval", flags.one("interval")),
        timeout=arguments.duration("--timeout", flags.one("timeout")),
        start_period=arguments.duration("--start-period", flags.one("start-period")),
        start_interval=arguments.duration("--start-interval", flags.one("start-interval")),
        retries=int(retries),
        **parts.place,
    )


def _onbuild(parts: _Parts) -> OnBuild:
    Flags("ONBUILD", parts.flags)
    expression = _ONBUILD.sub("", parts.place["text"], count=1)
    keyword = expression.split(maxsplit=1)[0].upper() if expression else ""
    if not keyword or keyword in ("ONBUILD", "FROM", "MAINTAINER"):
        raise BuildError(
            f"ONBUILD can't keep {keyword}" if keyword else "ONBUILD needs an instruction"
        )
    place = parts.place
    line = Line(expression, place["start"], place["end"], place["source"], heredocs=parts.heredocs)
    return OnBuild(
        expression=with_documents(expression, parts.heredocs),
        trigger=read(line, parts.escape),
        **place,
    )


def _single(parts: _Parts) -> str:
    """Give the one argument of an instruction, spaces in it included."""
    Flags(parts.keyword, parts.flags)
    if not parts.rest:
        raise BuildError(f"{parts.keyword} needs an argument")
    return parts.rest


_READERS: Final[Mapping[str, Callable[[_Parts], Instruction]]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
