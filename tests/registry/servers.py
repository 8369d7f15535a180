"""Counterparts: Debian's docker-registry on loopback, and HTTP servers that answer as they like."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Headers = dict[str, str]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Request:
    """One request as it came, and the ways to answer it."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._handler = handler
        self.method = handler.command
        self.path = handler.path
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.body = b""
        if handler.headers.get("transfer-encoding") is None:
            self.body = handler.rfile.read(int(handler.headers.get("content-length", "0")))

    def answer(self, status: int, data: bytes = b"", headers: Headers | None = None) -> None:
        self._handler.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self._handler.send_header(name, value)
        self._handler.end_headers()
        if self.method != "HEAD":
            self._handler.wfile.write(data)

    def cut(self, status: int, data: bytes, headers: Headers) -> None:
        """Send a beginning and end the connection."""
        self.answer(status, data, headers)
        self._handler.wfile.flush()
        self._handler.close_connection = True
        self._handler.connection.shutdown(socket.SHUT_RDWR)

    def pour(self, status: int, headers: Headers, piece: bytes = b"x" * 65536) -> int:
        """Send a body that does not end; gives how many bytes somebody took."""
        self._handler.close_connection = True
        self._handler.send_response(status)
        for name, value in headers.items():
            self._handler.send_header(name, value)
        self._handler.end_headers()
        sent = 0
        try:
            while sent < 1 << 30:
                self._handler.wfile.write(piece)
                sent += len(piece)
        except OSError:
            pass
        return sent

    def relay(self) -> None:
        """Do what CONNECT asks, to the port of this machine that it names."""
        port = int(self.path.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as other:
            self._handler.send_response(200)
            self._handler.end_headers()
            ours = self._handler.connection
            back = threading.Thread(target=_pump, args=(other, ours))
            back.start()
            _pump(ours, other)
            back.join()
        self._handler.close_connection = True


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Server:
    """An HTTP server in threads; `seen` lists its requests."""

    def __init__(self, respond: Callable[[Request], object], tls: ssl.SSLContext | None) -> None:
        self.seen: list[Request] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                request = Request(self)
                outer.seen.append(request)
                respond(request)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = handle_one

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass

        self._server = Quiet(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def paths(self, method: str = "GET") -> list[str]:
        return [one.path for one in self.seen if one.method == method]


class Authority:
    """A certificate authority of our own, and a certificate for this machine."""

    def __init__(self, directory: Path) -> None:
        self.ca = directory / "ca.pem"
        self.certificate = directory / "server.pem"
        self.key = directory / "server.key"
        ca_key = directory / "ca.key"
        fresh = ["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
        fresh += ["-pkeyopt", "ec_paramgen_curve:prime256v1"]
        names = "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:registry.test"
        _quietly(
            *fresh, "-keyout", str(ca_key), "-out", str(self.ca), "-subj", "/CN=test authority",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip
        _quietly(
            *fresh, "-keyout", str(self.key), "-out", str(self.certificate), "-subj", "/CN=test",
            "-addext", names, "-addext", "basicConstraints=critical,CA:FALSE",
            "-CA", str(self.ca), "-CAkey", str(ca_key),
        )  # fmt: skip

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def _quietly(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@contextmanager
def docker_registry(directory: Path, *, http: str = "", auth: str = "") -> Iterator[str]:
    """Run Debian's docker-registry on a free port; gives host:port.

    `http` and `auth` are lines of YAML for these sections of its configuration.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = directory / "config.yml"
    config.write_text(
        "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\n"
        f"storage:\n  filesystem:\n    rootdirectory: {directory}/data\n"
        f"http:\n  addr: 127.0.0.1:{port}\n  secret: not-so-secret\n{http}"
        + (f"auth:\n{auth}" if auth else "")
    )
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(config)], stdout=log, stderr=log, env=os.environ
        )
    try:
        _wait_for(port, process, directory / "log")
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"no registry: {log.read_text()}") from None
            time.sleep(0.02)
