"""RUN: a command in a container over the layers so far; what it changed is the next layer.

The commands of a stage that have the same network are one container that is started again and
again: its row, its addresses, its ids and its cables are made once.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from pycontainers.errors import KernelError
from pycontainers.kernel import paths
from pycontainers.lifecycle import output
from pycontainers.lifecycle.attached import Attached, new_id
from pycontainers.lifecycle.options import Options
from pycontainers.lifecycle.source import Source
from pycontainers.lifecycle.streams import STDOUT, Streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pycontainers.build.cancelling import Cancellation
    from pycontainers.lifecycle.mounts import Mount
    from pycontainers.lifecycle.services import Services
    from pycontainers.oci.config import ImageConfig

_KEPT_OUTPUT: Final = 64 << 10  # bytes of a command's last output, for an error
_KNOWN: Final = 1 << 12
_HOSTNAME: Final = "build"
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY
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


class Commands:
    """The commands of one stage; `close` takes away all that was made for them."""

    def __init__(self, services: Services, cancellation: Cancellation) -> None:
        self._services = services
        self._cancellation = cancellation
        self._containers: dict[str, Attached] = {}

    def run(
        self,
        layers: Sequence[str],
        config: ImageConfig,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        mounts: Sequence[Mount],
        secrets: Mapping[str, int],
        network: str,
        insecure: bool,
        tell: Callable[[bytes], None],
        keep: Callable[[Path], None],
    ) -> Ended:
        """Run a command over `layers`, topmost first; `keep` takes the directory of its changes.

        That is called only where the command ended with 0.  A cancellation kills the command.
        Raises LaunchError, and BuildError where it was cancelled.
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
        with self._container(options, source, secrets) as attached:
            while True:
                ended = _run_to_end(attached, tell, self._cancellation)
                if not attached.start_again():
                    break
            if ended.exit_code == 0:
                upper = self._services.snapshots.path(attached.id) / "upper"
                targets = [*_STUBS, *(mount.target.strip("/") for mount in mounts)]
                _remove_stubs(upper, layers, targets)
                keep(upper)
            return ended

    @contextlib.contextmanager
    def _container(
        self, options: Options, source: Source, secrets: Mapping[str, int]
    ) -> Iterator[Attached]:
        """Give the container for a command; that of one with the host's rights is its own."""
        network = options.network[0]
        shares = options.has_own_network and not options.privileged
        attached = self._containers.get(network) if shares else None
        if attached is None:
            attached = Attached(self._services, new_id(), options, source, secrets, has_home=shares)
            if shares:
                self._containers[network] = attached
            try:
                attached.create()
                yield attached
            finally:
                if not shares:
                    _remove(attached)
        else:
            attached.change(options, source, secrets)
            yield attached

    def close(self) -> None:
        """Take the containers away, whatever their state."""
        while self._containers:
            _, attached = self._containers.popitem()
            _remove(attached)


def _remove(attached: Attached) -> None:
    attached.end_now()
    attached.remove()


def _run_to_end(
    attached: Attached, tell: Callable[[bytes], None], cancellation: Cancellation
) -> Ended:
    streams = Streams(stderr=STDOUT)
    told = _Told(tell)
    try:
        running = attached.start(streams.theirs)
        streams.started()
        try:
            with cancellation.ending(lambda: running.signal(signal.SIGKILL)):
                outputs: dict[int, output.Stream] = {streams.stdout: told}
                streams.stdout = -1  # `exchange` closes it
                output.exchange(
                    outputs, None, running.fileno(), lambda: running.news() is not None, None,
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


def _remove_stubs(upper: Path, layers: Sequence[str], targets: Sequence[str]) -> None:
    """Take away the empty files and directories that were made for mounts to be attached to.

    The command could write nothing there but what was mounted.  No link is followed.
    """
    with paths.directory(upper) as upper_fd:
        for target in targets:
            path = target
            with contextlib.suppress(OSError):
                while path:  # directories above that were made for it are empty then, too
                    parent, _, name = path.rpartition("/")
                    parent_fd = paths.open_in(upper_fd, parent or ".", _FOLDER, follow=False)
                    try:
                        _remove_stub(parent_fd, name, layers, path)
                    finally:
                        os.close(parent_fd)
                    path = parent


def _remove_stub(parent_fd: int, name: str, layers: Sequence[str], path: str) -> None:
    """Remove an empty file that was not there, or an empty directory that is as it was, if so.

    Raises FileNotFoundError where nothing was made.
    """
    facts = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    if stat.S_ISDIR(facts.st_mode):
        below = _facts_below(layers, path)
        if below is None or _kept(facts) == _kept(below):
            os.rmdir(name, dir_fd=parent_fd)
    elif stat.S_ISREG(facts.st_mode) and not facts.st_size and _facts_below(layers, path) is None:
        os.unlink(name, dir_fd=parent_fd)


def _facts_below(layers: Sequence[str], path: str) -> os.stat_result | None:
    """Tell what the layers below have at a path; None for nothing."""
    for layer in layers:
        facts = _facts_in(layer, path)
        if facts is not None:
            return None if stat.S_ISCHR(facts.st_mode) and not facts.st_rdev else facts
    return None


@functools.lru_cache(maxsize=_KNOWN)
def _facts_in(layer: str, path: str) -> os.stat_result | None:
    """Tell what one layer has at a path; it never changes, and no other one has its name."""
    if not os.path.lexists(f"{layer}/{path}"):  # ten times as fast
        return None
    with paths.directory(layer) as layer_fd:
        try:
            fd = paths.open_in(layer_fd, path, os.O_PATH | os.O_NOFOLLOW, follow=False)
        except KernelError:
            return None
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)


def _kept(facts: os.stat_result) -> tuple[int, int, int]:
    return facts.st_mode, facts.st_uid, facts.st_gid
