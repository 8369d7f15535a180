"""Who takes part in the building benchmark: pycontainers, both builders of docker, and buildah."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pycontainers as pc
from benchmarks.contestant import first_line, prepare, program
from benchmarks.contexts import MADE
from benchmarks.docker import Docker
from benchmarks.living import duration
from benchmarks.ours import Ours
from benchmarks.processes import timed
from benchmarks.scratch import BenchmarkError

if TYPE_CHECKING:
    from benchmarks.scratch import Scratch

CLASSIC: Final = "docker, classic builder"
BUILDKIT: Final = "docker, BuildKit"


class Builder(ABC):
    """A contestant that builds images from Dockerfiles, without network.

    It takes part in every `every`-th round, so that the slow ones do not take the whole time.
    """

    name: str
    every = 1

    @abstractmethod
    def give(self, reference: str, archive: Path) -> None:
        """Make a base image of a root file system's archive."""

    @abstractmethod
    def build(self, context: Path) -> float:
        """Build the image and give it the name that all share; give the seconds."""

    @abstractmethod
    def version(self) -> str:
        """Name the program and its version."""

    @abstractmethod
    def close(self) -> None:
        """End and remove all that was made."""


class BuildingOurs(Ours, Builder):
    """pycontainers, timed around `Image.build`."""

    def give(self, reference: str, archive: Path) -> None:
        """Make the image."""
        pc.Image.from_rootfs(archive, progress=False, engine=self._engine).tag(reference)

    def build(self, context: Path) -> float:
        """Time the call."""

        def build() -> None:
            pc.Image.build(context, tag=MADE, network="none", progress=False, engine=self._engine)

        return duration(build)


class _Daemon(Docker):
    """The dockerd of both builders, asked by the client of its own version.

    A later client needs a plugin to ask the daemon for BuildKit.
    """

    def __init__(self, scratch: Scratch) -> None:
        super().__init__(scratch)
        self._docker[0] = _client()

    def give(self, reference: str, archive: Path) -> None:
        """Import it."""
        prepare([*self._docker, "import", str(archive), reference], self._scratch)

    def build(self, context: Path, buildkit: str) -> float:
        """Run docker build."""
        argv = [*self._docker, "build", "-q", "--network", "none", "-t", MADE, str(context)]
        return timed(argv, self._scratch.log, env={**os.environ, "DOCKER_BUILDKIT": buildkit})


def _client() -> str:
    """Find the client of the daemon's version; raises BenchmarkError."""
    version = first_line([program("dockerd"), "--version"]).partition(",")[0]
    for folder in os.get_exec_path():
        client = Path(folder, "docker")
        if client.exists():
            found = first_line([str(client), "--version"]).partition(",")[0]
            if found == version:
                return str(client)
    raise BenchmarkError(f"there is no docker client of dockerd's version, {version}")


class BuildingDocker(Builder):
    """`docker build` by the first builder, which is in dockerd; it starts dockerd."""

    name = CLASSIC

    def __init__(self, scratch: Scratch) -> None:
        self.daemon = _Daemon(scratch)

    def give(self, reference: str, archive: Path) -> None:
        """Import it."""
        self.daemon.give(reference, archive)

    def build(self, context: Path) -> float:
        """Run docker build."""
        return self.daemon.build(context, "0")

    def version(self) -> str:
        """Ask docker."""
        return self.daemon.version()

    def close(self) -> None:
        """Stop dockerd."""
        self.daemon.close()


class BuildingBuildKit(Builder):
    """`docker build` by the BuildKit in the same dockerd, with the same base images."""

    name = BUILDKIT

    def __init__(self, docker: BuildingDocker) -> None:
        self._daemon = docker.daemon

    def give(self, reference: str, archive: Path) -> None:
        """Do nothing: dockerd has it."""

    def build(self, context: Path) -> float:
        """Run docker build."""
        return self._daemon.build(context, "1")

    def version(self) -> str:
        """Name what the daemon has of it."""
        return "BuildKit as dockerd has it"

    def close(self) -> None:
        """Do nothing: it ends with dockerd."""


class BuildingBuildah(Builder):
    """`buildah bud` with runc, with a layer for each step as the others, on a store of its own."""

    name = "buildah"
    every = 2

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        home = scratch.new_directory("buildah")
        self._env = {**os.environ, "TMPDIR": str(home)}
        self._buildah = [program("buildah"), "--root", str(home / "root"),
                         "--runroot", str(home / "run"), "--storage-driver", "overlay"]  # fmt: skip
        # Limits that buildah would raise, for which CAP_SYS_RESOURCE can be missing.
        self._options = ["--isolation", "oci", "--runtime", program("runc"), "--network", "none",
                         "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000",
                         "--pull-never", "--layers", "--jobs", "2"]  # fmt: skip

    def _do(self, *arguments: str) -> str:
        return prepare([*self._buildah, *arguments], self._scratch, self._env).strip()

    def give(self, reference: str, archive: Path) -> None:
        """Add it to an empty container, and commit that."""
        container = self._do("from", "scratch")
        self._do("add", "-q", container, str(archive), "/")
        self._do("commit", "-q", container, reference)
        self._do("rm", container)

    def build(self, context: Path) -> float:
        """Run buildah bud."""
        argv = [*self._buildah, "bud", "-q", *self._options, "-t", MADE, str(context)]
        return timed(argv, self._scratch.log, env=self._env)

    def version(self) -> str:
        """Ask buildah."""
        return first_line([self._buildah[0], "--version"]).partition(" (")[0]

    def close(self) -> None:
        """Remove its images, which unmounts them."""
        with contextlib.suppress(BenchmarkError):
            self._do("rmi", "--all", "--force")
