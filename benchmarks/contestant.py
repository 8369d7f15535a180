"""What a contestant of the launch benchmark can be asked."""

from __future__ import annotations

import shutil
import subprocess
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from benchmarks.scratch import BenchmarkError

if TYPE_CHECKING:
    from benchmarks.scratch import Scratch


class Contestant(ABC):
    """One way to run `/bin/true` in a container of the scratch root file system.

    It takes part in every `every`-th round, so that the slow ones do not take the whole time.
    """

    name: str
    every = 1

    @abstractmethod
    def launch(self) -> float:
        """Run one container from nothing to nothing; give the seconds."""

    @abstractmethod
    def version(self) -> str:
        """Name the program and its version."""

    @abstractmethod
    def close(self) -> None:
        """End and remove all that was made."""


class Enterable(Contestant):
    """A contestant that can also execute `/bin/true` in a container that is already running."""

    @abstractmethod
    def open_container(self) -> None:
        """Start the idle container that `execute` enters."""

    @abstractmethod
    def execute(self) -> float:
        """Run `/bin/true` in the idle container; give the seconds."""


def program(name: str) -> str:
    """Find a program; raises BenchmarkError where it is not installed."""
    path = shutil.which(name)
    if path is None:
        raise BenchmarkError(f"{name} is not installed")
    return path


def first_line(argv: list[str]) -> str:
    """Give the first line that a program prints."""
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    return done.stdout.partition("\n")[0].strip()


def prepare(argv: list[str], scratch: Scratch, env: dict[str, str] | None = None) -> str:
    """Run a program that a contestant needs beforehand; give its output.

    Raises BenchmarkError with its errors where it fails.
    """
    with scratch.log.open("a") as log:
        done = subprocess.run(
            argv, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            text=True, env=env,
        )  # fmt: skip
    if done.returncode != 0:
        tail = scratch.log.read_text(errors="replace")[-500:].strip()
        raise BenchmarkError(f"{' '.join(argv)} ended with {done.returncode}: {tail}")
    return done.stdout
