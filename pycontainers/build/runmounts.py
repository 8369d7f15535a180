"""The mounts of a RUN: what its result depends on, and what is mounted for it."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
from typing import TYPE_CHECKING, Any, Final

import attrs

from pycontainers.build import agents, caches, copying
from pycontainers.build import config as configs
from pycontainers.errors import BuildError, FileMissing
from pycontainers.lifecycle import values
from pycontainers.lifecycle.mounts import Mount

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pycontainers.build.builder import Build
    from pycontainers.build.context import Selection
    from pycontainers.build.instructions import Run
    from pycontainers.build.lines import Heredoc
    from pycontainers.build.mounts import RunMount
    from pycontainers.build.stage import Result, StageBuild

_AGENT: Final = "/run/buildkit/ssh_agent.{}"
_SECRET_MODE: Final = 0o400
_SOCKET_MODE: Final = 0o600
_PROGRAMS: Final = "/dev/pipes"
_WILD: Final = re.compile(r"[\\*?\[]")


class Mounts:
    """The mounts of one RUN; `key` is what its result depends on, of their content too.

    Raises BuildError for a source or a target that can't be.
    """

    def __init__(self, stage: StageBuild, run: Run) -> None:
        self._build = stage.build
        self._stages: list[Result | None] = []
        self._mounts = [
            attrs.evolve(mount, target=_target(stage.result, mount)) for mount in run.mounts
        ]
        self.key = [self._described(stage, mount) for mount in self._mounts]

    def _described(self, stage: StageBuild, mount: RunMount) -> list[Any]:
        """Tell what of a mount counts: of secrets and caches the name, not the content."""
        found, content = None, ""
        if mount.type in ("bind", "cache") and mount.from_:
            found = self._build.other(stage.stage, mount.from_)
            content = found.key
        elif mount.type == "bind":
            content = _selection(self._build, mount).digest
        self._stages.append(found)
        return [mount.type, mount.target, mount.id, mount.source, mount.read_only, mount.env,
                content]  # fmt: skip

    def made(self, stack: contextlib.ExitStack) -> Made:
        """Make what has to be mounted; it goes with `stack`."""
        made = Made(self._build, stack)
        pairs = list(zip(self._mounts, self._stages, strict=True))
        made.caches = caches.directories(
            self._build, [pair for pair in pairs if pair[0].type == "cache"], stack
        )
        for mount, source in pairs:
            made.add(mount, source)
        return made


class Made:
    """What is mounted for a RUN: `mounts`, the secrets' descriptors, and variables about them."""

    def __init__(self, build: Build, stack: contextlib.ExitStack) -> None:
        self.mounts: list[Mount] = []
        self.secrets: dict[str, int] = {}
        self.variables: dict[str, str] = {}
        self.caches: dict[str, Path] = {}
        self._build = build
        self._stack = stack
        self._agents = 0

    def add(self, mount: RunMount, source: Result | None) -> None:
        """Make one; `source` is the stage that it is from."""
        if mount.type == "tmpfs":
            self.mounts.append(Mount.tmpfs(mount.target, size=mount.size or None))
        elif mount.type == "cache":
            path = self.caches[mount.id]
            self.mounts.append(Mount.bind(path, mount.target, read_only=mount.read_only))
        elif mount.type == "secret":
            self._add_secret(mount)
        elif mount.type == "ssh":
            self._add_agent(mount)
        elif source is not None and mount.read_only:
            subpath = _inside(mount.source).strip("/")
            layers = source.paths()
            self.mounts.append(
                Mount("image", mount.target, "", True, subpath=subpath, layers=layers)
            )
        else:
            path = self._copied(mount, source)
            self.mounts.append(Mount.bind(path, mount.target, read_only=mount.read_only))

    def _add_secret(self, mount: RunMount) -> None:
        data = self._build.secret(mount.id)
        if data is None:
            if mount.required:
                raise BuildError(
                    f"no secret {mount.id!r} was given to this build",
                    near=mount.id,
                    hint=f"Image.build(…, secrets={{{mount.id!r}: …}})",
                )
            return
        if mount.env is not None:
            self.variables[mount.env] = data.decode("utf-8", "surrogateescape")
        if not mount.target:
            return
        mode = _SECRET_MODE if mount.mode is None else mount.mode & 0o7777
        owner = mount.uid or 0, mount.gid or 0
        self.mounts.append(Mount("secret", mount.target, mount.id, True, mode=mode, owner=owner))
        if mount.id not in self.secrets:
            fd = self.secrets[mount.id] = os.memfd_create("secret", os.MFD_CLOEXEC)
            self._stack.callback(os.close, fd)
            with open(fd, "wb", closefd=False) as file:
                file.write(data)

    def _add_agent(self, mount: RunMount) -> None:
        agent = self._build.ssh.get(mount.id)
        if agent is None:
            if mount.required:
                raise BuildError(
                    f"no SSH agent {mount.id!r} was given to this build",
                    near=mount.id,
                    hint=f"Image.build(…, ssh={{{mount.id!r}: …}})",
                )
            return
        target = mount.target or _AGENT.format(self._agents)
        self._agents += 1
        self.variables.setdefault("SSH_AUTH_SOCK", target)
        place = self._directory() / "agent"
        self._stack.enter_context(agents.forwarded(agent, place))
        place.chmod(_SOCKET_MODE if mount.mode is None else mount.mode & 0o7777)
        os.chown(place, mount.uid or 0, mount.gid or 0)
        self.mounts.append(Mount.bind(place, target))

    def add_program(self, heredoc: Heredoc) -> tuple[str, ...]:
        """Make a heredoc a program, and give its argument list."""
        path = self._directory() / "program"
        path.write_text(heredoc.text, encoding="utf-8", errors="surrogateescape")
        path.chmod(0o755)
        target = f"{_PROGRAMS}/{heredoc.name}"
        self.mounts.append(Mount.bind(path, target, read_only=True))
        return (target,)

    def _copied(self, mount: RunMount, source: Result | None) -> Path:
        """Copy what is mounted: of the context nothing ignored may be seen, and writes are lost."""
        build, services = self._build, self._build.services
        changes = self._stack.enter_context(build.maker.changes())
        whole = _inside(mount.source) == "/"
        target = copying.Target("/tree/" if whole else "/tree", changes)
        selection = _selection(build, mount, source)
        if source is None:
            copying.copy(services, selection, build.context.root_fd, target, copying.Wishes((0, 0)))
        else:
            copying.copy(services, selection, source.paths(), target, copying.Wishes())
        return changes / "upper" / "tree"

    def _directory(self) -> Path:
        return self._stack.enter_context(self._build.maker.changes()) / "upper"


def _target(result: Result, mount: RunMount) -> str:
    """Give where a mount is seen; empty for a secret or agent that names no place."""
    if not mount.target and mount.type in ("secret", "ssh"):
        return ""
    target = configs.joined(result.config, mount.target)
    if target == "/":
        raise BuildError(
            f"a {mount.type} mount can't be at /, over the whole root file system",
            near="target" if mount.target else "--mount",
            hint=None if mount.target else "target= says where it is to be seen",
        )
    return values.inside("--mount", target, mount=True)


def _inside(source: str) -> str:
    """Give a mount's source as a path from the root of where it is; the empty one is that root."""
    return posixpath.normpath(f"/{source}")


def _selection(build: Build, mount: RunMount, source: Result | None = None) -> Selection:
    """Find what a bind mount shows; its source is no pattern."""
    path = _inside(mount.source)
    wanted: Sequence[str] = [_WILD.sub(r"\\\g<0>", path.strip("/")) or "."]
    try:
        if source is None:
            return build.context.select(wanted)
        return copying.select_in_stage(build.services, source.paths(), wanted)
    except FileMissing:
        where = mount.from_ or "the context"
        raise BuildError(
            f"not found in {where}: {mount.source!r}, to be mounted at {mount.target}",
            near=mount.source,
        ) from None
