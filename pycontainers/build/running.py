"""RUN: a command in a container over the layers so far; what it changed is the next layer."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from pycontainers.kernel import paths
from pycontainers.lifecycle import output
from pycontainers.lifecycle.attached import Attached, new_id
from pycontainers.lifecycle.options import Options
from pycontainers.lifecycle.source import Source
from pycontainers.lifecycle.streams import STDOUT, Streams

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pycontainers.lifecycle.mounts import Mount
    from pycontainers.lifecycle.services import Services
    from pycontainers.oci.config import ImageConfig

_KEPT_OUTPUT: Final = 64 << 10  # bytes of a command's last output, for an error
_HOSTNAME: Final = "build"
_STUBS: Final = ("etc/hosts", "etc/resolv.conf", "proc", "sys", "dev")


class Ended(NamedTuple):
    """How a command ended, and what it wrote last."""

    exit_code: int
    reason: str
    output: str


class _Told(output.Stream):
    """A command's output: told as it comes, its end kept."""

    def __init__(self, tell: Callable[[bytes], None]) -> None:
        super().__init__()
        self._tell = tell
        self._last = b""

    def add(self, data: bytes) -> None:
        self._tell(data)
        self._last = (self._last + data)[-_KEPT_OUTPUT:]

    def data(self) -> bytes:
        return self._last


def run(
    services: Services,
    layers: Sequence[str],
    config: ImageConfig,
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    mounts: Sequence[Mount],
    network: str,
    insecure: bool,
    tell: Callable[[bytes], None],
    keep: Callable[[Path], None],
) -> Ended:
    """Run a command over `layers`, topmost first; `keep` takes the directory of what it changed.

    That is called only where the command ended with 0.  Raises LaunchError.
    """
    options = Options.of(
        list(argv),
        entrypoint=[],
        env=dict(env),
        workdir=config.working_dir or "/",
        user=config.user or None,
        hostname=_HOSTNAME,
        network=network,
        mounts=list(mounts),
        no_new_privileges=False,  # as in docker build: sudo and su are used there
        privileged=insecure,
    )
    source = Source(image="", config=attrs.evolve(config, volumes=()), layers=tuple(layers))
    attached = Attached(services, new_id(), options, source)
    try:
        attached.create()
        while True:
            ended = _run_to_end(attached, tell)
            if not attached.start_again():
                break
        if ended.exit_code == 0:
            upper = services.snapshots.path(attached.id) / "upper"
            _remove_stubs(upper, [*_STUBS, *(mount.target.strip("/") for mount in mounts)])
            keep(upper)
        return ended
    finally:
        attached.end_now()
        attached.remove()


def _run_to_end(attached: Attached, tell: Callable[[bytes], None]) -> Ended:
    streams = Streams(stderr=STDOUT)
    told = _Told(tell)
    try:
        running = attached.start(streams.theirs)
        streams.started()
        outputs = {streams.stdout: told}
        streams.stdout = -1  # `exchange` closes it
        try:
            output.exchange(
                dict(outputs), None, running.fileno(), lambda: running.news() is not None, None,
                attached.expire,
            )  # fmt: skip
        except BaseException:
            running.signal(signal.SIGKILL)
            raise
        end = running.wait()
    finally:
        streams.close()
    if running.failure is not None and not running.never_began():
        raise running.failure
    reason = "oom" if end.usage.oom_kills else "signal" if end.exit.signal else "exited"
    return Ended(end.exit.status, reason, told.data().decode("utf-8", "replace"))


def _remove_stubs(upper: Path, targets: Sequence[str]) -> None:
    """Take away the empty files and directories that were made for mounts to be attached to.

    The command could write nothing there but what was mounted.  No link is followed.
    """
    with paths.directory(upper) as upper_fd:
        for target in targets:
            parent, _, name = target.rpartition("/")
            with contextlib.suppress(OSError):
                while name:  # directories above that were made for it are empty then, too
                    parent_fd = paths.open_in(
                        upper_fd, parent or ".", os.O_RDONLY | os.O_DIRECTORY, follow=False
                    )
                    try:
                        _remove_empty(parent_fd, name)
                    finally:
                        os.close(parent_fd)
                    parent, _, name = parent.rpartition("/")


def _remove_empty(parent_fd: int, name: str) -> None:
    facts = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    if facts.st_mode & 0o170000 == 0o040000:
        os.rmdir(name, dir_fd=parent_fd)
    elif facts.st_mode & 0o170000 == 0o100000 and not facts.st_size:
        os.unlink(name, dir_fd=parent_fd)
