"""The command line as a user runs it: a process on a data root of its own."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import tarfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import leaks

IMAGE = "busybox:test"


class Cli:
    """Runs `python -m pycontainers` on a data root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {**os.environ, "PYCONTAINERS_ROOT": str(root), "PYTHONUNBUFFERED": "1"}

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "pycontainers", *words]

    def __call__(
        self, *words: str, input: str | None = None, code: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end and look at the exit code."""
        done = subprocess.run(
            self.argv(*words),
            env=self.env,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert code is None or done.returncode == code, (words, done)
        return done

    def out(self, *words: str, input: str | None = None) -> str:
        return self(*words, input=input).stdout.strip()

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start it with pipes."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.argv(*words), env=self.env, stdin=pipe, stdout=pipe, stderr=pipe
        )


class Screen:
    """The command line in a terminal: what is typed, and what is shown."""

    def __init__(self, cli: Cli, *words: str, size: tuple[int, int] = (24, 80)) -> None:
        self.master, self.slave = os.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(self.slave)
        self.shown = b""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *cli.argv(*words)],
            env=cli.env,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
        )

    def resize(self, rows: int, columns: int) -> None:
        size = struct.pack("4H", rows, columns, 0, 0)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def wait_for(self, text: bytes, patience: float = 20.0) -> None:
        """Read until a text is shown that has not been waited for yet."""
        deadline = time.monotonic() + patience
        while text not in self.shown:
            ready, _, _ = select.select([self.master], [], [], deadline - time.monotonic())
            assert ready, f"{text!r} is not in {self.shown!r}"
            self.shown += os.read(self.master, 4096)
        self.shown = self.shown.partition(text)[2]

    def end(self) -> int:
        """Wait for the end; gives the exit code."""
        deadline = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.05)[0]:
                self.shown += os.read(self.master, 4096)
        return self.process.wait(timeout=1)

    def is_restored(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before

    def hang_up(self) -> None:
        """Take the terminal away, as closing its window does."""
        os.close(self.slave)
        os.close(self.master)
        self.master = self.slave = -1

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.master >= 0:
            os.close(self.master)
            os.close(self.slave)


@pytest.fixture(scope="session")
def filled(busybox: Path, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A data root with an image of busybox, made by the command line itself."""
    directory = tmp_path_factory.mktemp("cli")
    archive = directory / "busybox.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(busybox, ".")
    cli = Cli(directory / "root")
    assert cli.out("import", str(archive), IMAGE).startswith("sha256:")
    return cli


@pytest.fixture
def cli(filled: Cli) -> Iterator[Cli]:
    """The command line; no container is left of a test."""
    yield filled
    if leaks.in_root(filled.root):  # asked first, as that takes no process
        left = filled.out("ps", "-aq").split()
        if left:
            filled("rm", "-f", *left)


@pytest.fixture
def screens() -> Iterator[list[Screen]]:
    """Screens that are closed at the end."""
    opened: list[Screen] = []
    yield opened
    for screen in opened:
        screen.close()
