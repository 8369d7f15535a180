"""RUN of a stage: what it depends on, and the layer that it makes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from pycontainers.build import config as configs
from pycontainers.build import scope
from pycontainers.build.making import Layer, key_of
from pycontainers.build.runmounts import Mounts
from pycontainers.distribution.record import platform_of
from pycontainers.errors import BadExecutable, BuildError
from pycontainers.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pycontainers.build.builder import Build
    from pycontainers.build.instructions import Run
    from pycontainers.build.progress import Step
    from pycontainers.build.stage import StageBuild
    from pycontainers.oci.config import ImageConfig

_ALLOW: Final = "Image.build(…, insecure=True) allows it"


def layer(stage: StageBuild, run: Run, step: Step) -> tuple[Layer, str]:
    """Give the layer of a RUN, and what the image's history tells; raises BuildError."""
    build, result = stage.build, stage.result
    config = result.config
    _check(build, run)
    script = run.script
    is_program = script is not None and script.text.startswith("#!")
    argv = configs.argv(config, run.shell_text if isinstance(run.command, str) else run.command)
    environment = dict(stage.scope.environment)
    mounts = Mounts(stage, run)
    key = key_of(
        result.key, "run", argv, environment, config.working_dir, config.user,
        run.network, run.security, mounts.key,
    )  # fmt: skip
    said = _said(stage, argv, run)
    found = build.maker.find(key)
    if found is not None:
        step.cached()
        return found, said
    kept: list[Layer] = []
    with contextlib.ExitStack() as stack:
        made = mounts.made(stack)
        if is_program and script is not None:
            argv = made.add_program(script)
        stack.enter_context(_foreign(config))
        ended = stage.commands.run(
            result.paths(),
            config,
            argv,
            env={**scope.proxies(build.build_args), **environment, **made.variables},
            mounts=made.mounts,
            secrets=made.secrets,
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


@contextlib.contextmanager
def _foreign(config: ImageConfig) -> Iterator[None]:
    """Tell of a program for another machine as of that; the kernel may know how to execute it."""
    try:
        yield
    except BadExecutable as error:
        platform, host = platform_of(config), Platform.host()
        if platform.rank(host) is not None:
            raise
        raise BuildError(
            f"a command for {platform} can't be executed on this machine, {host}",
            hint="COPY, ENV and others can; or register an emulator with binfmt_misc, as the "
            "package qemu-user-static does",
        ) from error


def _check(build: Build, run: Run) -> None:
    """Refuse what reaches for the host, unless the build allows it."""
    if run.security == "insecure" and not build.insecure:
        raise BuildError(
            "--security=insecure is not allowed in this build", near="--security", hint=_ALLOW
        )
    if run.network == "host" and build.network != "host" and not build.insecure:
        raise BuildError(
            "--network=host is not allowed in this build", near="--network", hint=_ALLOW
        )


def _said(stage: StageBuild, argv: Sequence[str], run: Run) -> str:
    """Give what the history tells, with the ARGs that the command saw, as Docker writes it."""
    environment = stage.scope.environment
    given = [f"{name}={environment.get(name, '')}" for name in stage.scope.arguments]
    before = f"|{len(given)} {' '.join(given)} " if given else ""
    return f"RUN {before}{' '.join(argv)}"
