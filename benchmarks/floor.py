"""The floor as a contestant: floor.c, compiled on the fly and asked over its standard input."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.contestant import Contestant, first_line, prepare, program
from benchmarks.scratch import BenchmarkError
from pycontainers.lifecycle.seccomp import compile_profile
from pycontainers.lifecycle.security import DEFAULT_CAPABILITIES

if TYPE_CHECKING:
    from benchmarks.scratch import Scratch

LEVELS: Final = (
    "floor: exec only",
    "floor: + namespaces",
    "floor: + overlay, network",
    "floor: whole container",
)
WHOLE: Final = LEVELS[-1]
_SOURCES: Final = ("floor.c", "floor_init.c")


class FloorPrograms:
    """The compiled floor, and what each of its processes is given."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._binary = str(scratch.directory / "floor")
        here = Path(__file__).parent
        sources = [str(here / name) for name in _SOURCES]
        prepare([program("gcc"), "-O2", "-static", "-o", self._binary, *sources], scratch)
        self._filter = _compiled_filter(scratch)
        self._cgroups = scratch.make_cgroups()
        self._count = 0

    def start(self) -> subprocess.Popen[str]:
        """Start one floor process, with cgroups of its own to make containers' in."""
        self._count += 1
        cgroups = []
        for parent in self._cgroups:
            path = Path(parent) / str(self._count)
            path.mkdir()
            control = path / "cgroup.subtree_control"
            if control.exists():
                control.write_text("+pids +memory")
            cgroups.append(str(path))
        with self._scratch.log.open("a") as log:
            return subprocess.Popen(
                [self._binary, str(self._scratch.rootfs), self._filter, *cgroups],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                # A Ctrl-C is this process's to handle: it ends the floor by closing its input.
                start_new_session=True,
            )  # fmt: skip


class Floor(Contestant):
    """One level of the floor; a process of its own measures each launch inside itself."""

    def __init__(self, programs: FloorPrograms, name: str) -> None:
        self.name = name
        self._level = LEVELS.index(name)
        self._process = programs.start()

    def launch(self) -> float:
        """Ask for one launch; give the seconds that the program measured."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{self._level} 1\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(f"{self.name} has ended; its errors are in the log")
        return int(line) / 1e9

    def version(self) -> str:
        """Name the compiler."""
        return first_line([program("gcc"), "--version"])

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def _compiled_filter(scratch: Scratch) -> str:
    """Write the engine's own default filter where the floor can read it."""
    compiled = compile_profile("default", capabilities=DEFAULT_CAPABILITIES)
    assert compiled is not None
    path = scratch.directory / "default.bpf"
    path.write_bytes(compiled)
    return str(path)
