"""A layered busybox image, and the peers that read what we write: podman, docker."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.build import Layout
from tests.images.trees import archive, entry

DIRECTORY = b"5"


@pytest.fixture(scope="session")
def layers(busybox: Path) -> list[bytes]:
    """Three layers: a root file system, changes with whiteouts, and more files."""
    base = subprocess.run(
        ["tar", "--numeric-owner", "--sort=name", "-C", busybox, "-c", "."],
        capture_output=True,
        check=True,
    ).stdout
    second = archive(
        entry("etc", DIRECTORY, mtime=10**9),
        entry("etc/motd.d", DIRECTORY),
        (entry("etc/motd.d/a"), b"one\n"),
        (entry("etc/gone"), b"for a while\n"),
        entry("home", DIRECTORY, mtime=10**9),
        entry("home/.wh.app"),
    )
    third = archive(
        entry("etc", DIRECTORY, mtime=10**9),
        entry("etc/.wh.gone"),
        entry("etc/motd.d", DIRECTORY),
        entry("etc/motd.d/.wh..wh..opq"),
        (entry("etc/motd.d/b"), b"two\n"),
        (entry("etc/release", uid=7, gid=8, mtime=10**9, mode=0o640), b"third\n"),
    )
    return [base, second, third]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty OCI layout."""
    return Layout(tmp_path / "layout")


class Peer:
    """Another engine, by its command line."""

    def __init__(self, *command: str) -> None:
        self.command = command
        self.errors = ""

    def __call__(self, *arguments: object, check: bool = True) -> str:
        """Run it; give what it prints."""
        done = subprocess.run(
            [*self.command, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        self.errors = done.stderr
        assert not check or done.returncode == 0, f"{arguments}: {done.stderr}{done.stdout}"
        return done.stdout


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """Podman with a store of its own."""
    root = tmp_path_factory.mktemp("podman")
    peer = Peer(
        *("podman", "--root", f"{root}/root", "--runroot", f"{root}/run"),
        *("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "runc"),
    )
    yield peer
    peer("rmi", "--all", "--force", check=False)


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """A Docker daemon of this test run, without networks."""
    root = tmp_path_factory.mktemp("docker")
    socket = root / "docker.sock"
    command = [
        *("dockerd", "--data-root", f"{root}/data", "--exec-root", f"{root}/exec"),
        *("--pidfile", f"{root}/pid", "-H", f"unix://{socket}", "--bridge", "none"),
        *("--iptables=false", "--ip6tables=false", "--ip-forward=false"),
    ]
    with (root / "log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log)
    peer = Peer("docker", "-H", f"unix://{socket}")
    try:
        deadline = time.monotonic() + 60
        while "Server" not in peer("version", check=False):
            assert daemon.poll() is None, (root / "log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield peer
    finally:
        daemon.terminate()
        daemon.wait(30)
        for path in _mounts(root):
            subprocess.run(["umount", path], check=False)


def _mounts(root: Path) -> list[str]:
    with open("/proc/self/mounts") as lines:
        found = [line.split()[1] for line in lines]
    return [path for path in reversed(found) if path.startswith(os.fspath(root))]


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's docker-registry on loopback, open to all; gives its host and port."""
    root = tmp_path_factory.mktemp("registry")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (root / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\n"
        f"storage: {{filesystem: {{rootdirectory: {root}/data}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\n"
    )
    with (root / "log").open("wb") as log:
        server = subprocess.Popen(
            ["docker-registry", "serve", root / "config.yml"], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 20
        while True:
            assert server.poll() is None, (root / "log").read_text()[-2000:]
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)
