"""Repositories over SSH: by the build's agent alone, from hosts that are known."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import pycontainers as pc
from tests.build.conftest import give_base
from tests.build.gitserver import Repository

# Root's home, where ssh looks for hosts that are known, is another one in this mount namespace.
SCRIPT = 'mount --bind "$1" /etc/passwd; shift; exec "$@"'
PROGRAM = """
import sys
import pycontainers as pc

root, url, agent = sys.argv[1:]
ssh = {"default": agent} if agent else {}
with pc.Engine(root=root) as engine:
    try:
        image = pc.Image.build(f"FROM bb:1\\nADD {url} /x\\n".encode(), ssh=ssh, cache=False,
                               progress=False, engine=engine)
    except pc.BuildError as error:
        print(error.problem, error.hint)
    else:
        print(image.run(["cat", "/x/a"]).stdout)
"""


@attrs.define
class Place:
    """A server's port, the home that knows its key, and an agent with the key to it."""

    home: Path
    port: int
    agent: Path
    root: Path

    @property
    def url(self) -> str:
        return f"ssh://root@127.0.0.1:{self.port}{self.home}/served/one.git"

    def build(self, url: str, agent: str) -> str:
        """Build in a process that has the home; give what it prints."""
        command = (sys.executable, "-c", PROGRAM, self.root, url, agent)
        return _in_home(self.home, *command, stdout=subprocess.PIPE).communicate(timeout=120)[0]


def _in_home(
    home: Path, *command: str | Path, stdout: int | None = None, stderr: int | None = None
) -> subprocess.Popen[str]:
    inside = ["unshare", "-m", "sh", "-c", SCRIPT, "sh", home / "passwd", *command]
    return subprocess.Popen(inside, text=True, stdout=stdout, stderr=stderr)


@pytest.fixture
def place(tmp_path: Path, base_archive: Path) -> Iterator[Place]:
    """A repository behind a server of SSH."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    with open("/etc/passwd") as users:
        lines = [line if line.split(":")[2] != "0" else f"root:x:0:0::{home}:/bin/sh\n"
                 for line in users]  # fmt: skip
    (home / "passwd").write_text("".join(lines))
    Repository(home / "served", "one").commit({"a": "over ssh\n"})
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / "key")
    (home / ".ssh/authorized_keys").write_text((home / "key.pub").read_text())
    (home / ".ssh/authorized_keys").chmod(0o600)
    told = _run("dropbearkey", "-t", "ed25519", "-f", home / "host")
    public = next(line for line in told.split("\n") if line.startswith("ssh-ed25519"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{port} {public}\n")
    with pc.Engine(root=tmp_path / "root") as engine:
        give_base(engine, base_archive)
    server = _in_home(
        home, "dropbear", "-F", "-E", "-s", "-P", home / "pid", "-r", home / "host",
        "-p", f"127.0.0.1:{port}", stderr=subprocess.PIPE,
    )  # fmt: skip
    agent = subprocess.Popen(
        ["ssh-agent", "-D", "-a", home / "agent"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr is not None
        assert agent.stdout is not None
        assert "Not backgrounding" in server.stderr.readline()
        assert "SSH_AUTH_SOCK" in agent.stdout.readline()
        environment = {**os.environ, "SSH_AUTH_SOCK": str(home / "agent")}
        subprocess.run(["ssh-add", "-q", home / "key"], env=environment, check=True)
        yield Place(home, port, home / "agent", tmp_path / "root")
    finally:
        for process in (server, agent):
            process.terminate()
            process.communicate(timeout=30)


def _run(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_an_agent_of_the_build_gives_the_right_to_read(place: Place) -> None:
    assert place.build(place.url, str(place.agent)) == "over ssh\n\n"


def test_keys_and_agents_of_the_user_are_not_used(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(place.agent))
    (place.home / "key").rename(place.home / ".ssh/id_ed25519")

    said = place.build(place.url, "")

    assert "Permission denied" in said
    assert "ssh={'default'" in said


def test_settings_of_the_user_are_not_used(place: Place) -> None:
    spoiled = place.home / "spoiled"
    (place.home / ".ssh/config").write_text(f"Host *\nProxyCommand touch {spoiled}\n")

    assert place.build(place.url, str(place.agent)) == "over ssh\n\n"
    assert not spoiled.exists()


def test_a_host_that_is_not_known_is_refused_and_does_not_become_known(place: Place) -> None:
    known = place.home / ".ssh/known_hosts"
    right = known.read_text()
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place.home / "other")
    key = " ".join((place.home / "other.pub").read_text().split()[:2])

    for text in ("", f"{right.split()[0]} {key}\n"):
        known.write_text(text)
        said = place.build(place.url, str(place.agent))
        assert "Host key verification failed" in said
        assert "ssh-keyscan" in said
        assert known.read_text() == text
