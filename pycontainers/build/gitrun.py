"""The host's git, run in a bare repository of our own, whose settings are the only ones.

There is no hook, filter, helper or prompt, and no transport but http, ssh and git.
"""

from __future__ import annotations

import base64
import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.parse
from typing import IO, TYPE_CHECKING, Final

import attrs

from pycontainers.build.gitrefs import redacted, scheme_of
from pycontainers.build.progress import plain_lines
from pycontainers.errors import BuildError
from pycontainers.storage.scratch import new_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pycontainers.build.cancelling import Cancellation

_PATIENCE: Final = 3600.0  # seconds for one command
_STALLED: Final = 60  # seconds without a byte, of http
_LARGEST_ANSWER: Final = 16 << 20  # bytes of refs and settings
_SAID: Final = 4096  # bytes of git's last words, for an error
# The kernel counts what is written, in units of 512 bytes.  Standard input ends with this process,
# and then all that git has begun does.
_SCRIPT: Final = """umask 022; ulimit -f "$1"; shift
exec 3<&0
(read -r _; kill -s KILL -- -$$) <&3 > /dev/null 2>&1 &
exec "$@" < /dev/null 3<&-
"""
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy",
                   "https_proxy", "no_proxy", "all_proxy")  # fmt: skip
_SSH: Final = (
    "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=yes -o UpdateHostKeys=no"
    " -o IdentityFile=none -o ConnectTimeout=30 -o ServerAliveInterval=30"
)
_AGENT: Final = "default"
_GITHUB: Final = ("https://github.com/", "https://www.github.com/")
_CONFIG: Final = """[core]
	repositoryformatversion = {version}
	bare = true
	hooksPath = /dev/null
	attributesFile = /dev/null
	fsmonitor = false
	bigFileThreshold = 32m
[fetch]
	unpackLimit = 1
	recurseSubmodules = false
[transfer]
	fsckObjects = true
[gc]
	auto = 0
[maintenance]
	auto = false
[credential]
	helper =
[tar]
	umask = 0022
[http]
	lowSpeedLimit = 1
	lowSpeedTime = {stalled}
{more}[remote "origin"]
	url = {url}
"""
_KEPT_CONFIG: Final = """[core]
	repositoryformatversion = {version}
	filemode = true
	bare = false
	logallrefupdates = true
{more}[remote "origin"]
	url = {url}
	fetch = +refs/heads/*:refs/remotes/origin/*
"""
# What the tree itself says of archives does not count: all of its files are wanted.
_ATTRIBUTES: Final = "* -export-ignore -export-subst\n"
_HINTS: Final = (
    ("could not read Username", "secrets={'GIT_AUTH_TOKEN': …} give the right to read it"),
    ("Host key verification failed", "ssh-keyscan HOST >> ~/.ssh/known_hosts makes it known"),
    ("Permission denied", "ssh={'default': …} gives the socket of an agent with the key"),
    ("redirection", "with a secret for it no redirection is followed: write the new address"),
)


@attrs.frozen
class Access:
    """What fetching may use: secrets and agents of a build, so many bytes, and its time."""

    secret: Callable[[str], bytes | None]
    agents: Mapping[str, Path]
    most_bytes: int
    cancellation: Cancellation


class Git:
    """Runs git in `home`, which is made for it; there is one remote repository, `origin`.

    `main` is the URL that the build named: secrets are for that, and not for any submodule's.
    """

    def __init__(self, home: Path, url: str, access: Access, main: str) -> None:
        self.home = home
        self.url = url
        self._access = access
        self._header = _authorization(url, main, access)
        new_directory(home, 0o700)
        for name in ("objects", "refs", "info"):
            new_directory(home / name, 0o755)
        (home / "HEAD").write_text("ref: refs/heads/main\n")
        (home / "info/attributes").write_text(_ATTRIBUTES)
        self.configure("")

    def configure(self, tip: str) -> None:
        """Write the settings that git has; the ids of objects are like that of `tip`."""
        header = ""
        if self._header:
            # It would be sent on to wherever a server redirects to.
            header = f"\tfollowRedirects = false\n\textraHeader = {_quoted(self._header)}\n"
        self._write(_CONFIG, tip, self.url, header)

    def leave(self, commit: str, work_tree: str) -> None:
        """Leave a `.git` behind that has a commit checked out, and nothing of this in it."""
        (self.home / "HEAD").write_text(f"{commit}\n")
        shutil.rmtree(self.home / "info")
        more = f"\tworktree = {_quoted(work_tree)}\n" if work_tree else ""
        self._write(_KEPT_CONFIG, commit, redacted(self.url), more)
        self.home.chmod(0o755)

    def _write(self, form: str, tip: str, url: str, more: str) -> None:
        sha256 = len(tip) == 64
        if sha256:
            more += "[extensions]\n\tobjectFormat = sha256\n"
        text = form.format(version=int(sha256), url=_quoted(url), more=more, stalled=_STALLED)
        path = self.home / "config"
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        path.chmod(0o644)

    def run(self, *arguments: str, most: int = _LARGEST_ANSWER, stdout: int | None = None) -> bytes:
        """Run git to its end and give what it prints; raises BuildError with its last words."""
        program = shutil.which("git")
        if program is None:
            raise BuildError(
                "there is no git on this machine to fetch a repository with",
                hint="install git, as by: apt-get install git",
            )
        command = ["/bin/sh", "-c", _SCRIPT, "sh", str(max(most, 1 << 16) // 512), program]
        with contextlib.ExitStack() as stack:
            said = stack.enter_context(tempfile.TemporaryFile(dir=self.home))
            told = stack.enter_context(tempfile.TemporaryFile(dir=self.home))
            process = subprocess.Popen(
                [*command, f"--git-dir={self.home}", *arguments],
                stdin=subprocess.PIPE, stdout=told if stdout is None else stdout, stderr=said,
                cwd=self.home, env=self._environment(), start_new_session=True,
            )  # fmt: skip
            status = self._ended(process)
            if status == 0:
                told.seek(0)
                return told.read()
            if status == -signal.SIGPIPE and stdout is not None:
                raise BrokenPipeError  # whoever reads tells why
            words = _last(said)
        raise self._failed(arguments[0], status, words, most)

    def _ended(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for git, and end all of it where the build ends, or it takes too long."""
        ending, end = socket.socketpair()

        def wake() -> None:
            with contextlib.suppress(OSError):  # git has just ended
                end.send(b"!")

        try:
            with ending, end, self._access.cancellation.ending(wake):
                came = _first(process, ending)
        finally:
            # What git has begun may outlive it; the number is its own until it is waited for.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
            assert process.stdin is not None
            process.stdin.close()
            # A process that orphans are given to, as a container's first, has them now.
            with contextlib.suppress(ChildProcessError):
                while True:
                    os.waitpid(-process.pid, 0)
        if not came:
            raise BuildError(
                f"cannot fetch {redacted(self.url)}: git took more than {_PATIENCE:g} s"
            )
        return status

    def _failed(self, command: str, status: int, words: str, most: int) -> BuildError:
        packs = self.home.glob("objects/pack/*")
        full = any(path.stat().st_size >= most // 512 * 512 for path in packs)
        if full or status == -signal.SIGXFSZ:
            words = f"more than {most} bytes"
        words = words.replace(self.url, redacted(self.url)) or f"it ended with {status}"
        hint = next((hint for say, hint in _HINTS if say in words), None)
        return BuildError(f"cannot fetch {redacted(self.url)}: git {command}: {words}", hint=hint)

    def _environment(self) -> dict[str, str]:
        """Give all the variables that git has."""
        given = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": "/dev/null",
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "http:https:ssh:git",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_SSH_COMMAND": _SSH,
            **{name: os.environ[name] for name in _PROXIES if name in os.environ},
        }
        agent = self._access.agents.get(_AGENT)
        return given if agent is None else {**given, "SSH_AUTH_SOCK": str(agent)}


def _authorization(url: str, main: str, access: Access) -> str:
    """Give the header that a secret of the build asks for, as BuildKit's clients name those."""
    scope = next((prefix for prefix in _GITHUB if main.startswith(prefix)), main)
    if scheme_of(url) not in ("http", "https") or not url.startswith(scope):
        return ""
    host = urllib.parse.urlsplit(url).netloc.rpartition("@")[2]
    for name in (f"GIT_AUTH_HEADER.{host}", f"GIT_AUTH_TOKEN.{host}", "GIT_AUTH_HEADER",
                 "GIT_AUTH_TOKEN"):  # fmt: skip
        secret = access.secret(name)
        if secret is None:
            continue
        value = secret.strip()
        if name.startswith("GIT_AUTH_TOKEN"):
            value = b"basic " + base64.b64encode(b"x-access-token:" + value)
        if not value.isascii() or any(byte < 0x20 for byte in value):
            raise BuildError(f"the secret {name} has lines or letters that no header can have")
        return f"Authorization: {value.decode()}"
    return ""


def _quoted(value: str) -> str:
    """Give a value as git's settings have it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _first(process: subprocess.Popen[bytes], ending: socket.socket) -> bool:
    """Wait for a process's end, or a word that it has to end; False where neither comes."""
    pidfd = os.pidfd_open(process.pid)
    try:
        waiting = select.poll()
        waiting.register(pidfd, select.POLLIN)
        waiting.register(ending, select.POLLIN)
        return bool(waiting.poll(_PATIENCE * 1000))
    finally:
        os.close(pidfd)


def _last(file: IO[bytes]) -> str:
    """Give git's last words, without what steers a terminal."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _SAID))
    lines = plain_lines(file.read(_SAID).decode("utf-8", "replace"))
    return "; ".join(filter(None, map(str.strip, lines)))
