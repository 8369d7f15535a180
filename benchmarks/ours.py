"""pycontainers as a contestant, by its public interface only."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pycontainers as pc
from benchmarks.contestant import Enterable
from benchmarks.peers import IDLE, TRUE
from benchmarks.scratch import BenchmarkError

if TYPE_CHECKING:
    from benchmarks.scratch import Scratch

NAME = "pycontainers"


class Ours(Enterable):
    """`pycontainers.run()` with every default: all namespaces, id map, overlay, cgroup, filter."""

    name = NAME

    def __init__(self, scratch: Scratch) -> None:
        self._engine = pc.Engine(root=str(scratch.directory / "engine"))
        self._image = pc.Image.from_rootfs(str(scratch.rootfs), engine=self._engine)
        self._container: pc.Container | None = None

    def launch(self) -> float:
        """Run one container, its streams captured and its usage read."""
        start = time.perf_counter()
        result = pc.run(TRUE, image=self._image, engine=self._engine)
        seconds = time.perf_counter() - start
        if result.exit_code != 0:
            raise BenchmarkError(f"/bin/true ended with {result.exit_code}: {result.stderr}")
        return seconds

    def open_container(self) -> None:
        """Start the idle container."""
        self._container = pc.Container.run(self._image, IDLE, engine=self._engine)

    def execute(self) -> float:
        """Run a program in the idle container."""
        assert self._container is not None
        start = time.perf_counter()
        result = self._container.exec(TRUE)
        seconds = time.perf_counter() - start
        if result.exit_code != 0:
            raise BenchmarkError(f"/bin/true ended with {result.exit_code}: {result.stderr}")
        return seconds

    def version(self) -> str:
        """Name the package's version."""
        return f"pycontainers {pc.__version__}"

    def close(self) -> None:
        """Remove the idle container and end the engine."""
        if self._container is not None:
            self._container.remove(force=True)
        self._engine.close()
