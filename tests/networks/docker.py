"""A Docker daemon with its usual bridge and rules, in the network namespace of its caller."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_PATIENCE = 60.0


class Docker:
    """A daemon, with all its files in a directory of its own; a context manager that ends it."""

    def __init__(self, busybox: Path) -> None:
        # A short name: those of sockets are limited.
        directory = self._directory = Path(tempfile.mkdtemp(prefix="docker"))
        socket = f"unix://{directory}/socket"
        self._client = ["docker", "-H", socket]
        with (directory / "log").open("wb") as log:
            self._daemon = subprocess.Popen(
                ["dockerd", "--data-root", directory / "data", "--exec-root", directory / "exec",
                 "--pidfile", directory / "pid", "-H", socket, "--storage-driver", "vfs"],
                stdout=log, stderr=log,
            )  # fmt: skip
        try:
            deadline = time.monotonic() + _PATIENCE
            while "Server" not in self._run("version", check=False):
                assert self._daemon.poll() is None, (directory / "log").read_text()[-2000:]
                assert time.monotonic() < deadline
                time.sleep(0.05)
            tar = subprocess.run(
                ["tar", "-C", busybox, "-c", "."], stdout=subprocess.PIPE, check=True
            )
            self._run("import", "-", "busybox", stdin=tar.stdout)
        except BaseException:
            self.close()
            raise

    def _run(self, *words: str, check: bool = True, stdin: bytes = b"") -> str:
        done = subprocess.run(
            [*self._client, *words], input=stdin, capture_output=True, check=False
        )
        assert not check or done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def serve(self, port: int) -> None:
        """Have a container that says "docker" at its port 80, published at a port of the host."""
        self._run("run", "-d", "--name", "web", "-p", f"{port}:80", "busybox",
                  "busybox", "nc", "-ll", "-p", "80", "-e", "echo", "docker")  # fmt: skip

    def ask(self, address: str, port: int) -> str:
        """Give what a server says to that container."""
        return self._run("exec", "web", "sh", "-c", f"busybox nc -w 2 {address} {port} </dev/null",
                         check=False)  # fmt: skip

    def end(self) -> None:
        """Remove the container."""
        self._run("rm", "-f", "web")

    def close(self) -> None:
        """End the daemon, and take away what it leaves."""
        self._daemon.terminate()
        self._daemon.wait(_PATIENCE)
        subprocess.run(["ip", "link", "del", "docker0"], check=False)
        for table in ("nat", "filter"):
            subprocess.run(["nft", "delete", "table", "ip", table], check=False)
        with open("/proc/self/mounts") as lines:
            mounts = [line.split()[1] for line in lines]
        for path in reversed(mounts):
            if path.startswith(os.fspath(self._directory)):
                subprocess.run(["umount", path], check=True)
        shutil.rmtree(self._directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
