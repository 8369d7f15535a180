"""Repositories that tests make, and servers that give them over HTTP and Git's own protocol."""

from __future__ import annotations

import contextlib
import http.server
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

BACKEND = "/usr/lib/git-core/git-http-backend"
WHEN = 1234567890
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    **{
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "A"), ("EMAIL", "a@b"), ("DATE", f"{WHEN} +0000"))
    },
}


def git(folder: Path, *arguments: str | Path, data: bytes | None = None) -> str:
    """Run git in a directory; give what it prints."""
    done = subprocess.run(
        ["git", "-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        input=data,
        stdout=subprocess.PIPE,
        check=True,
    )
    return done.stdout.decode().strip()


class Repository:
    """A work tree, and the bare repository that a server gives of it."""

    def __init__(self, served: Path, name: str, *options: str) -> None:
        self.bare = served / f"{name}.git"
        self.work = served.parent / f"work-{name}"
        self.bare.mkdir(parents=True)
        self.work.mkdir()
        git(self.bare, "init", "-q", "--bare", *options)
        git(self.work, "init", "-q", *options)

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Put files into the work tree."""
        for name, content in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, files: Mapping[str, str | bytes] | None = None) -> str:
        """Commit all that is in the work tree, and have it served; give the commit."""
        self.write(files or {})
        git(self.work, "add", "-A")
        git(self.work, "commit", "-q", "--allow-empty", "-m", "more")
        self.serve()
        return self.rev("HEAD")

    def serve(self) -> None:
        """Have the server's side be like the work tree's repository."""
        git(self.work, "push", "-q", "--mirror", self.bare)

    def rev(self, name: str) -> str:
        """Give the id behind a name."""
        return git(self.work, "rev-parse", name)

    def crafted(self, entries: Sequence[tuple[str, str, str]], branch: str = "main") -> str:
        """Serve a commit of (mode, name, object) entries that git itself would not make."""
        tree = b"".join(
            f"{mode} {name}\0".encode() + bytes.fromhex(what) for mode, name, what in entries
        )
        where = ("hash-object", "-w", "--literally", "-t", "tree", "--stdin")
        made = git(self.bare, *where, data=tree)
        commit = git(self.bare, "commit-tree", made, "-m", "crafted")
        git(self.bare, "update-ref", f"refs/heads/{branch}", commit)
        return commit

    def blob(self, data: bytes) -> str:
        """Have the server's side hold a blob; give its id."""
        return git(self.bare, "hash-object", "-w", "--stdin", data=data)


class Server(http.server.ThreadingHTTPServer):
    """Gives the repositories in a directory by `git http-backend`, and notes what it is asked."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.asked: list[str] = []
        self.headers: list[str | None] = []
        self.is_old = False
        self.wanted: str | None = None  # the header that is asked for
        self.moved: dict[str, str] = {}
        self.stalled: set[str] = set()
        self.is_stalled, self.ended = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def packs(self) -> int:
        """How many times files were sent."""
        return sum(one.startswith("POST") for one in self.asked)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(f"{self.command} {self.path}")
        server.headers.append(self.headers.get("Authorization"))
        path, _, query = self.path.partition("?")
        if any(path.startswith(one) for one in server.stalled):
            server.is_stalled.set()
            server.ended.wait(60)
            return
        for old, new in server.moved.items():
            if path.startswith(old):
                self.send_response(301)
                self.send_header("Location", new + self.path.removeprefix(old))
                self.end_headers()
                return
        if server.wanted and self.headers.get("Authorization") != server.wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="r"')
            self.end_headers()
            return
        if not path.split(".git")[0].strip("/") or ".git/" not in path:
            self._file(server.root / path.strip("/"))
            return
        self._backend(path, query)

    do_POST = do_GET

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _backend(self, path: str, query: str) -> None:
        environment = {
            **ENVIRONMENT,
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": "" if self.server.is_old else self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run(
            [BACKEND], env=environment, input=self._body(), stdout=subprocess.PIPE, check=False
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        lines = [line.partition(": ") for line in head.decode().split("\r\n")]
        status = next((value for name, _, value in lines if name == "Status"), "200 OK")
        self.send_response(int(status.split()[0]))
        for name, _, value in lines:
            if name and name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # git was killed
            self.wfile.write(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serving(root: Path) -> Iterator[Server]:
    """Have a server for the repositories in a directory."""
    with Server(root) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()
