"""The peers that need no daemon: bubblewrap, runc and podman, each as a whole process."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from typing import TYPE_CHECKING, Any, Final

from benchmarks.contestant import Contestant, Enterable, first_line, prepare, program
from benchmarks.processes import timed
from benchmarks.scratch import BenchmarkError

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.scratch import Scratch

TRUE: Final = ["/bin/true"]
IDLE: Final = ["/bin/sleep", "600"]
IMAGE: Final = "benchmark:1"


class Bubblewrap(Contestant):
    """`bwrap --unshare-all`: read-only bind of the root, no overlay, no cgroup, no filter."""

    name = "bubblewrap"

    def __init__(self, scratch: Scratch) -> None:
        self._bwrap = program("bwrap")
        self._scratch = scratch
        root = str(scratch.rootfs)
        self._argv = [self._bwrap, "--unshare-all", "--ro-bind", root, "/",
                      "--proc", "/proc", "--dev", "/dev", *TRUE]  # fmt: skip

    def launch(self) -> float:
        """Run bwrap."""
        return timed(self._argv, self._scratch.log)

    def version(self) -> str:
        """Ask bwrap."""
        return first_line([self._bwrap, "--version"])

    def close(self) -> None:
        """Do nothing: bwrap leaves nothing behind."""


class Runc(Enterable):
    """`runc run` of a bundle: no overlay, no network set-up."""

    name = "runc"
    every = 4

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._runc = [program("runc"), "--root", str(scratch.new_directory("runc"))]
        self._numbers = itertools.count()
        self._bundle = self._make_bundle("bundle", TRUE)
        self._idle = self._make_bundle("idle-bundle", IDLE)

    def _make_bundle(self, name: str, argv: list[str]) -> str:
        path = self._scratch.new_directory(name)
        prepare([*self._runc, "spec", "--bundle", str(path)], self._scratch)
        config = path / "config.json"
        spec: dict[str, Any] = json.loads(config.read_text())
        spec["root"] = {"path": str(self._scratch.rootfs), "readonly": True}
        spec["process"].update(args=argv, terminal=False)
        spec["linux"]["cgroupsPath"] = f"/{self._scratch.cgroup_name}/runc-{name}"
        config.write_text(json.dumps(spec))
        return str(path)

    def launch(self) -> float:
        """Run the bundle."""
        number = f"c{next(self._numbers)}"
        return timed([*self._runc, "run", "--bundle", self._bundle, number], self._scratch.log)

    def open_container(self) -> None:
        """Start the idle bundle."""
        timed([*self._runc, "run", "--detach", "--bundle", self._idle, "idle"], self._scratch.log)

    def execute(self) -> float:
        """Run runc exec."""
        return timed([*self._runc, "exec", "idle", *TRUE], self._scratch.log)

    def version(self) -> str:
        """Ask runc."""
        return first_line([*self._runc, "--version"])

    def close(self) -> None:
        """Delete whatever runc still knows."""
        with contextlib.suppress(BenchmarkError):
            for name in prepare([*self._runc, "list", "--quiet"], self._scratch).split():
                prepare([*self._runc, "delete", "--force", name], self._scratch)


class Podman(Enterable):
    """`podman run` without network, with runc, on a store of its own."""

    name = "podman"
    every = 10

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        home = scratch.new_directory("podman")
        self._env = {**os.environ, "CONTAINERS_CONF": str(_podman_configuration(home))}
        self._podman = [program("podman"), "--root", str(home / "root"),
                        "--runroot", str(home / "run"), "--tmpdir", str(home / "tmp"),
                        "--storage-driver", "overlay",
                        "--runtime", program("runc"),
                        f"--runtime-flag=root={home / 'runtime'}"]  # fmt: skip
        # Limits that podman would raise, for which CAP_SYS_RESOURCE can be missing.
        self._options = ["--network", "none", "--ulimit", "nofile=1024:1024",
                         "--ulimit", "nproc=1000:1000",
                         "--cgroup-parent", f"/{scratch.cgroup_name}"]  # fmt: skip
        self._prepare("import", str(scratch.tar), IMAGE)

    def _prepare(self, *arguments: str) -> None:
        prepare([*self._podman, *arguments], self._scratch, self._env)

    def launch(self) -> float:
        """Run podman run."""
        argv = [*self._podman, "run", "--rm", *self._options, IMAGE, *TRUE]
        return timed(argv, self._scratch.log, env=self._env)

    def open_container(self) -> None:
        """Start the idle container."""
        self._prepare("run", "--detach", "--name", "idle", *self._options, IMAGE, *IDLE)

    def execute(self) -> float:
        """Run podman exec."""
        return timed([*self._podman, "exec", "idle", *TRUE], self._scratch.log, env=self._env)

    def version(self) -> str:
        """Ask podman."""
        return first_line([self._podman[0], "--version"])

    def close(self) -> None:
        """Remove its containers and images, which unmounts them."""
        with contextlib.suppress(BenchmarkError):
            self._prepare("rm", "--all", "--force", "--time", "0")
            self._prepare("rmi", "--all", "--force")


def _podman_configuration(home: Path) -> Path:
    """Write podman's settings: no locks in the shared /dev/shm, cgroups without systemd."""
    path = home / "containers.conf"
    path.write_text(
        '[engine]\nlock_type = "file"\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n'
        f'[network]\nnetwork_config_dir = "{home / "networks"}"\n'
    )
    return path
