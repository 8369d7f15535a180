"""RUN of a stage: what it depends on, what is mounted for it, and the layer that it makes."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pycontainers.build import config as configs
from pycontainers.build import copying, running, scope
from pycontainers.build.making import Layer, key_of
from pycontainers.errors import BuildError
from pycontainers.lifecycle.mounts import Mount
from pycontainers.storage.root import run_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pycontainers.build.builder import Build
    from pycontainers.build.instructions import Run
    from pycontainers.build.mounts import RunMount
    from pycontainers.build.progress import Step
    from pycontainers.build.stage import Result, StageBuild

_AGENT: Final = "/run/buildkit/ssh_agent.{}"
_SECRET_MODE: Final = 0o400
_CACHE_MODE: Final = 0o755


def layer(stage: StageBuild, run: Run, step: Step) -> tuple[Layer, str]:
    """Give the layer of a RUN, and what the image's history tells; raises BuildError."""
    build, result = stage.build, stage.result
    config = result.config
    if run.security == "insecure" and not build.insecure:
        raise BuildError("--security=insecure is not allowed in this build", near="--security")
    script = run.script
    is_program = script is not None and script.text.startswith("#!")
    text = run.shell_text
    argv = configs.argv(config, text if isinstance(run.command, str) else run.command)
    environment = dict(stage.scope.environment)
    sources = [_source(build, stage, mount) for mount in run.mounts]
    key = key_of(
        result.key, "run", argv, environment, config.working_dir, config.user,
        run.network, run.security,
        [[*_described(mount), part] for mount, (part, _) in zip(run.mounts, sources, strict=True)],
    )  # fmt: skip
    said = _said(stage, argv, run)
    found = build.maker.find(key)
    if found is not None:
        step.cached()
        return found, said
    with contextlib.ExitStack() as stack:
        mounts: list[Mount] = []
        secret_variables: dict[str, str] = {}
        for mount, (_, source) in zip(run.mounts, sources, strict=True):
            mounts += _mounted(build, mount, source, stack, secret_variables)
        if is_program and script is not None:
            program = _program(build, script.name, script.text, stack)
            argv = (program.target,)
            mounts.append(program)
        kept: list[Layer] = []
        ended = running.run(
            build.services,
            result.paths(),
            config,
            argv,
            env={**scope.proxies(build.build_args), **environment, **secret_variables},
            mounts=mounts,
            network={"default": build.network}.get(run.network, run.network),
            insecure=run.security == "insecure",
            tell=step.output,
            keep=lambda upper: kept.append(build.maker.keep([key], upper, said)),
        )
    if not kept:
        killed = " (out of memory)" if ended.reason == "oom" else ""
        raise BuildError(
            f"the command ended with exit code {ended.exit_code}{killed}",
            output=ended.output,
            exit_code=ended.exit_code,
        )
    return kept[0], said


def _said(stage: StageBuild, argv: Sequence[str], run: Run) -> str:
    """Give what the history tells, with the ARGs that the command saw, as Docker writes it."""
    given = [
        f"{name}={value}" for name, value in stage.scope.arguments.items() if value is not None
    ]
    before = f"|{len(given)} {' '.join(given)} " if given else ""
    return f"RUN {before}{' '.join(argv)}"


def _described(mount: RunMount) -> list[Any]:
    """Give what of a mount the result depends on; secrets and caches count by their name only."""
    return [mount.type, mount.target, mount.id, mount.source, mount.read_only, mount.env]


def _source(build: Build, stage: StageBuild, mount: RunMount) -> tuple[str, Result | None]:
    """Give what a mount's content is known by, and the stage or image it is of."""
    if mount.type not in ("bind", "cache") or (mount.type == "cache" and not mount.from_):
        return "", None
    if not mount.from_:
        selection = build.context.select([mount.source or "."])
        return selection.digest, None
    found = build.other(stage.stage, mount.from_)
    return found.key, found


def _mounted(
    build: Build,
    mount: RunMount,
    source: Result | None,
    stack: contextlib.ExitStack,
    variables: dict[str, str],
) -> Iterator[Mount]:
    """Give what has to be mounted; what is made for it goes with `stack`."""
    if mount.type == "tmpfs":
        yield Mount.tmpfs(mount.target, size=mount.size or None)
    elif mount.type == "cache":
        path = _cache(build, mount, stack)
        yield Mount.bind(path, mount.target, read_only=mount.read_only)
    elif mount.type == "secret":
        data = build.secret(mount.id)
        if data is None:
            if mount.required:
                raise BuildError(f"no secret {mount.id!r} was given to this build", near=mount.id)
            return
        if mount.env is not None:
            variables[mount.env] = data.decode("utf-8", "surrogateescape")
        if mount.target:
            yield Mount.bind(_secret(mount, data, stack), mount.target, read_only=True)
    elif mount.type == "ssh":
        agent = build.ssh.get(mount.id or "default")
        if agent is None:
            if mount.required:
                raise BuildError(f"no SSH agent {mount.id!r} was given to this build")
            return
        target = mount.target or _AGENT.format(0)
        variables["SSH_AUTH_SOCK"] = target
        yield Mount.bind(agent, target)
    elif source is not None and mount.read_only:
        subpath = mount.source.strip("/")
        yield Mount("image", mount.target, "", True, subpath=subpath, layers=source.paths())
    else:
        path = _copied(build, mount, source, stack)
        yield Mount.bind(path, mount.target, read_only=mount.read_only)


def _copied(
    build: Build, mount: RunMount, source: Result | None, stack: contextlib.ExitStack
) -> Path:
    """Copy what is mounted: of the context nothing ignored may be seen, and writes are lost."""
    wanted = mount.source or "."
    changes = stack.enter_context(build.maker.changes())
    target = copying.Target("/tree/" if wanted in (".", "/") else "/tree", changes)
    if source is None:
        selection = build.context.select([wanted])
        copying.copy(
            build.services, selection, build.context.root_fd, target, copying.Wishes((0, 0))
        )
    else:
        layers = source.paths()
        selection = copying.select_in_stage(build.services, layers, [wanted])
        copying.copy(build.services, selection, layers, target, copying.Wishes())
    return changes / "upper" / "tree"


def _cache(build: Build, mount: RunMount, stack: contextlib.ExitStack) -> Path:
    """Give the directory of a cache mount, locked as its sharing says."""
    name = hashlib.sha256((mount.id or mount.target).encode()).hexdigest()[:32]
    home = build.services.root.path / "build" / "mounts"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    number = 0
    while True:
        path = home / (name if number == 0 else f"{name}-{number}")
        fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if mount.sharing == "private":
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                number += 1
                continue
        else:
            fcntl.flock(fd, fcntl.LOCK_EX if mount.sharing == "locked" else fcntl.LOCK_SH)
        stack.callback(os.close, fd)
        break
    if not path.exists():
        path.mkdir(exist_ok=True)
        path.chmod(_CACHE_MODE if mount.mode is None else mount.mode)
        os.chown(path, mount.uid or 0, mount.gid or 0)
    return path


def _secret(mount: RunMount, data: bytes, stack: contextlib.ExitStack) -> Path:
    """Write a secret where nothing but its mount shows it, in memory, for one command."""
    home = run_directory() / "secrets"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home / os.urandom(16).hex()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    stack.callback(path.unlink, missing_ok=True)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        os.fchown(fd, mount.uid or 0, mount.gid or 0)
        os.fchmod(fd, _SECRET_MODE if mount.mode is None else mount.mode)
    return path


def _program(build: Build, name: str, text: str, stack: contextlib.ExitStack) -> Mount:
    """Give the mount of a heredoc that is a program."""
    changes = stack.enter_context(build.maker.changes())
    path = changes / "upper" / "program"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    path.chmod(0o755)
    return Mount.bind(path, f"/dev/pipes/{name}", read_only=True)
