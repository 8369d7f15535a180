"""Docker as a contestant: a dockerd of the benchmark's own, started and stopped with it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from typing import Final

from benchmarks.contestant import Enterable, first_line, prepare, program
from benchmarks.peers import IDLE, IMAGE, TRUE
from benchmarks.processes import timed
from benchmarks.scratch import BenchmarkError, Scratch

_PATIENCE: Final = 60.0  # seconds for the daemon to come and to go


class Docker(Enterable):
    """`docker run` without network, with the client's time as a user sees it."""

    name = "docker"
    every = 10
    # The host's links, rules and settings stay as they are.
    _daemon_options: tuple[str, ...] = (
        "--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"
    )  # fmt: skip

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        home = scratch.new_directory("docker")
        socket = f"unix://{home}/docker.sock"
        self._docker = [program("docker"), "--config", str(home / "client"), "--host", socket]
        (home / "daemon.json").write_text(json.dumps({"deprecated-key-path": str(home / "key")}))
        daemon = [program("dockerd"), "--config-file", str(home / "daemon.json"),
                  "--data-root", str(home / "data"), "--exec-root", str(home / "exec"),
                  "--pidfile", str(home / "pid"), "--host", socket, *self._daemon_options,
                  "--exec-opt", "native.cgroupdriver=cgroupfs",
                  "--cgroup-parent", f"/{scratch.cgroup_name}"]  # fmt: skip
        self._options = ["--network", "none"]
        with (scratch.directory / "dockerd.log").open("w") as log:
            # In a session of its own: a Ctrl-C must not end it before its containers.
            self._daemon = subprocess.Popen(
                daemon, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._await_daemon()
            prepare([*self._docker, "import", str(scratch.tar), IMAGE], scratch)
        except BaseException:
            self.close()
            raise

    def _await_daemon(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while self._daemon.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(BenchmarkError):
                prepare([*self._docker, "info"], self._scratch)
                return
            time.sleep(0.3)
        log = (self._scratch.directory / "dockerd.log").read_text(errors="replace")
        raise BenchmarkError(f"dockerd does not serve: {log[-500:].strip()}")

    def launch(self) -> float:
        """Run docker run."""
        argv = [*self._docker, "run", "--rm", *self._options, IMAGE, *TRUE]
        return timed(argv, self._scratch.log)

    def open_container(self) -> None:
        """Start the idle container."""
        argv = [*self._docker, "run", "--detach", "--name", "idle", *self._options, IMAGE, *IDLE]
        prepare(argv, self._scratch)

    def execute(self) -> float:
        """Run docker exec."""
        return timed([*self._docker, "exec", "idle", *TRUE], self._scratch.log)

    def version(self) -> str:
        """Ask docker."""
        return first_line([self._docker[0], "--version"])

    def close(self) -> None:
        """Remove all containers and stop the daemon."""
        with contextlib.suppress(BenchmarkError):
            names = prepare([*self._docker, "ps", "--all", "--quiet"], self._scratch).split()
            if names:
                prepare([*self._docker, "rm", "--force", *names], self._scratch)
        self._daemon.terminate()
        try:
            self._daemon.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()
