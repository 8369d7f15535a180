"""Who takes part in the life benchmark: pycontainers, docker and podman, all asked the same."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import pycontainers as pc
from benchmarks.contestant import Enterable, prepare
from benchmarks.docker import Docker
from benchmarks.ours import Ours
from benchmarks.peers import IDLE, IMAGE, Podman
from benchmarks.processes import timed
from benchmarks.scratch import BenchmarkError, Scratch

if TYPE_CHECKING:
    from pathlib import Path

Steps = dict[str, float]  # seconds by what was done

START: Final = "start detached"
LINES: Final = ", line by line"
READ: Final = "read the log"
COPIES: Final = ("copy in", "copy out")
_LINE: Final = "x" * 99  # and its newline


class Amount(NamedTuple):
    """How much is measured."""

    execs: int  # rounds of the cheap one
    rounds: int  # of the others
    log: int  # bytes
    files: int
    file: int  # bytes of the large one
    listed: int
    watched: int  # whose statistics are read


FULL: Final = Amount(200, 7, 100_000_000, 1000, 500_000_000, 300, 100)
QUICK: Final = Amount(20, 2, 10_000_000, 100, 50_000_000, 30, 10)


def writer(size: int) -> list[str]:
    """Give the command that writes so many bytes in lines of 100."""
    return ["/bin/sh", "-c", f"busybox yes {_LINE} | busybox head -c {size}"]


def duration(act: Callable[[], object]) -> float:
    """Call it; give the seconds."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


class Living(Enterable):
    """A contestant with containers that outlive the call that starts them."""

    @abstractmethod
    def cycle(self) -> Steps:
        """Start a container, stop it by SIGKILL, start and stop it again, remove it."""

    @abstractmethod
    def write_log(self, size: int) -> Steps:
        """Run a program that writes so many bytes, to its end; its container stays."""

    @abstractmethod
    def read_log(self, size: int) -> Steps:
        """Read all that it has written."""

    @abstractmethod
    def copy_in(self, source: Path, target: str) -> float:
        """Copy a file or directory into the idle container."""

    @abstractmethod
    def copy_out(self, source: str, target: Path) -> float:
        """Copy one out of it."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Delete what lies in the idle container there."""

    @abstractmethod
    def crowd(self, listed: int, watched: int) -> None:
        """Have so many containers, of which at least so many run."""

    @abstractmethod
    def list_all(self) -> float:
        """List all containers, with name, image and status."""

    @abstractmethod
    def watch(self) -> float:
        """Read the statistics of those that run."""

    def copies(self, what: str, source: Path) -> Steps:
        """Copy in and out again, and make sure that all came back."""
        inside, outside = "/copied", source.with_name("copied")
        taken = [self.copy_in(source, inside), self.copy_out(inside, outside)]
        self.delete(inside)
        same = _size(outside) == _size(source)
        if outside.is_dir():
            shutil.rmtree(outside)
        else:
            outside.unlink()
        if not same:
            raise BenchmarkError(f"{self.name} has not copied all of {source}")
        return {f"{copy}: {what}": seconds for copy, seconds in zip(COPIES, taken, strict=True)}


def _size(path: Path) -> tuple[int, int]:
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return len(files), sum(file.stat().st_size for file in files)


class LivingOurs(Ours, Living):
    """pycontainers with detached containers, timed around the calls."""

    def _start(self, argv: list[str], name: str | None = None) -> pc.Container:
        return pc.Container.run(
            self._image,
            argv,
            engine=self._engine,
            detach=True,
            name=name,
            stop_signal="KILL",
            log_max_size="1g",
        )

    def open_container(self) -> None:
        """Start the idle container."""
        self._container = self._start(IDLE)

    def cycle(self) -> Steps:
        """Time each call."""
        begin = time.perf_counter()
        container = self._start(IDLE)
        return {
            START: time.perf_counter() - begin,
            "stop": duration(container.stop),
            "start again": duration(container.start),
            "stop again": duration(container.stop),
            "remove": duration(container.remove),
        }

    def write_log(self, size: int) -> Steps:
        """Time the start and the end."""
        with contextlib.suppress(pc.ContainerNotFound):
            pc.Container.get("log", engine=self._engine).remove()
        return {"write the log": duration(lambda: self._start(writer(size), "log").wait())}

    def read_log(self, size: int) -> Steps:
        """Read at once, and line by line."""
        container = pc.Container.get("log", engine=self._engine)
        begin = time.perf_counter()
        text = container.logs().read()
        middle = time.perf_counter()
        lines = sum(1 for _ in container.logs())
        seconds = time.perf_counter() - middle
        if len(text) != size or lines != size // (len(_LINE) + 1):
            raise BenchmarkError(f"a log of {size} bytes gave {len(text)} in {lines} lines")
        return {READ: middle - begin, READ + LINES: seconds}

    def copy_in(self, source: Path, target: str) -> float:
        """Time the call."""
        container = self._idle()
        return duration(lambda: container.copy_to(source, target))

    def copy_out(self, source: str, target: Path) -> float:
        """Time the call."""
        container = self._idle()
        return duration(lambda: container.copy_from(source, target))

    def delete(self, path: str) -> None:
        """Delete it by the image's own program."""
        self._idle().exec(["/bin/busybox", "rm", "-r", path], check=True)

    def _idle(self) -> pc.Container:
        assert self._container is not None
        return self._container

    def crowd(self, listed: int, watched: int) -> None:
        """Start them all."""
        self._watched = watched
        for number in range(listed - len(pc.Container.list(all=True, engine=self._engine))):
            self._start(IDLE, f"crowd{number}")

    def list_all(self) -> float:
        """Ask each for what `docker ps` prints."""
        begin = time.perf_counter()
        found = pc.Container.list(all=True, engine=self._engine)
        facts = [(each.id, each.name, each.image, each.created, each.status) for each in found]
        seconds = time.perf_counter() - begin
        assert facts
        return seconds

    def watch(self) -> float:
        """Ask one after the other."""
        found = pc.Container.list(engine=self._engine)[: self._watched]
        return duration(lambda: [each.stats() for each in found])

    def close(self) -> None:
        """Remove all containers and end the engine."""
        for container in pc.Container.list(all=True, engine=self._engine):
            container.remove(force=True, missing_ok=True)
        self._engine.close()


class Peer(Living):
    """Docker and podman, by the commands that they share, as whole processes."""

    _scratch: Scratch
    _options: list[str]
    _log: str | None = None
    _log_options: tuple[str, ...] = ()
    _wait_options: tuple[str, ...] = ()
    _numbers = itertools.count()

    @property
    @abstractmethod
    def _client(self) -> list[str]:
        """The program with its own options."""

    @property
    def _environment(self) -> dict[str, str] | None:
        return None

    def _do(self, *arguments: object) -> str:
        argv = [*self._client, *map(str, arguments)]
        return prepare(argv, self._scratch, self._environment)

    def _time(self, *arguments: object) -> float:
        argv = [*self._client, *map(str, arguments)]
        return timed(argv, self._scratch.log, env=self._environment)

    def cycle(self) -> Steps:
        """Time each command."""
        name = f"cycle{next(self._numbers)}"
        run = ["run", "--detach", "--name", name, "--stop-signal", "KILL"]
        return {
            START: self._time(*run, *self._options, IMAGE, *IDLE),
            "stop": self._time("stop", name),
            "start again": self._time("start", name),
            "stop again": self._time("stop", name),
            "remove": self._time("rm", name),
        }

    def write_log(self, size: int) -> Steps:
        """Time the start and the waiting."""
        if self._log is not None:
            self._do("rm", self._log)
        self._log = f"log{next(self._numbers)}"
        run = ["run", "--detach", "--name", self._log, *self._log_options, *self._options]
        seconds = self._time(*run, IMAGE, *writer(size))
        return {"write the log": seconds + self._time("wait", *self._wait_options, self._log)}

    def read_log(self, size: int) -> Steps:
        """Read it to /dev/null."""
        return {READ: self._time("logs", self._log)}

    def copy_in(self, source: Path, target: str) -> float:
        """Run cp."""
        return self._time("cp", source, f"idle:{target}")

    def copy_out(self, source: str, target: Path) -> float:
        """Run cp."""
        return self._time("cp", f"idle:{source}", target)

    def delete(self, path: str) -> None:
        """Delete it by the image's own program."""
        self._do("exec", "idle", "/bin/busybox", "rm", "-r", path)

    def crowd(self, listed: int, watched: int) -> None:
        """Start as many as are watched, and create the others."""
        more = listed - len(self._do("ps", "--all", "--quiet").split())
        watched -= len(self._do("ps", "--quiet").split())
        for number in range(more):
            how = ["run", "--detach"] if number < watched else ["create"]
            self._do(*how, "--name", f"crowd{number}", *self._options, IMAGE, *IDLE)

    def list_all(self) -> float:
        """Run ps."""
        return self._time("ps", "--all")

    def watch(self) -> float:
        """Run stats."""
        return self._time("stats", "--no-stream")


class LivingDocker(Docker, Peer):
    """Docker."""

    @property
    def _client(self) -> list[str]:
        return self._docker


class LivingPodman(Podman, Peer):
    """Podman."""

    # The default, journald, needs systemd.
    _log_options = ("--log-driver", "k8s-file")
    _wait_options = ("--interval", "10ms")  # it looks only so often

    def __init__(self, scratch: Scratch) -> None:
        super().__init__(scratch)
        # conmon's clean-up is not given that flag, and leaves a runtime's state that forbids to
        # start the container again; /run, where the state lies without it, is the run's own.
        flag = "--runtime-flag"
        self._podman = [part for part in self._podman if not part.startswith(flag)]

    @property
    def _client(self) -> list[str]:
        return self._podman

    @property
    def _environment(self) -> dict[str, str]:
        return self._env
