"""ADD of URLs: fetched, checked, kept as they are unless they are to be unpacked."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import os
import socket
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.build.conftest import Builder

CONTENT = b"from afar\n"
TIME = 981173106


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files, and what leads elsewhere."""

    def do_GET(self) -> None:
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """The directory that the server gives."""
    path = tmp_path / "served"
    path.mkdir()
    (path / "file").write_bytes(CONTENT)
    return path


@pytest.fixture
def url(served: Path) -> Iterator[str]:
    """The address of a server."""
    handler = functools.partial(_Handler, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def digest(data: bytes = CONTENT) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_a_file_is_fetched_and_belongs_to_root_alone(build: Builder, url: str) -> None:
    made = build(f"FROM bb:1\nADD {url}/file /as\nADD {url}/file /in/\n")

    assert made.sh("cat /as /in/file") == CONTENT.decode() * 2
    assert made.stat("/as") == ["600 0:0"]


def test_its_time_is_what_the_server_says(build: Builder, url: str, served: Path) -> None:
    os.utime(served / "file", (TIME, TIME))

    assert build(f"FROM bb:1\nADD {url}/file /\n").sh("stat -c %Y /file") == f"{TIME}\n"


def test_a_redirection_is_followed_over_http_only(build: Builder, url: str) -> None:
    assert build(f"FROM bb:1\nADD {url}/moved /f\n").sh("cat /f") == CONTENT.decode()

    error = build.fails(f"FROM bb:1\nADD {url}/elsewhere /f\n")

    assert "cannot fetch" in error.problem


def test_a_right_checksum_is_asked_for_and_a_wrong_one_is_an_error(
    build: Builder, url: str
) -> None:
    build(f"FROM bb:1\nADD --checksum={digest()} {url}/file /\n")

    error = build.fails(f"FROM bb:1\nADD --checksum={digest(b'')} {url}/file /\n")

    assert digest() in error.problem
    assert error.line == 2


@pytest.mark.parametrize("checksum", ["md5:00", "sha256", "sha256:"])
def test_a_checksum_that_is_none_is_refused(build: Builder, url: str, checksum: str) -> None:
    assert "checksum" in build.fails(f"FROM bb:1\nADD --checksum={checksum} {url}/file /\n").problem


def test_owner_and_mode_can_be_chosen(build: Builder, url: str) -> None:
    made = build(f"FROM bb:1\nADD --chown=app:extra --chmod=644 {url}/file /\n")

    assert made.stat("/file") == ["644 1000:2000"]


def test_an_archive_is_unpacked_only_where_asked(build: Builder, url: str, served: Path) -> None:
    with tarfile.open(served / "a.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("inside")
        entry.size = len(CONTENT)
        archive.addfile(entry, io.BytesIO(CONTENT))

    made = build(f"FROM bb:1\nADD {url}/a.tar.gz /kept/\nADD --unpack {url}/a.tar.gz /un/\n")

    assert made.sh("ls /kept; cat /un/inside") == "a.tar.gz\n" + CONTENT.decode()


def test_new_content_behind_an_address_is_a_new_step(
    build: Builder, url: str, served: Path
) -> None:
    text = f"FROM bb:1\nADD {url}/file /\n"
    build(text)
    assert build(text).made == []
    (served / "file").write_bytes(b"other\n")

    assert build(text).sh("cat /file") == "other\n"


def test_a_server_that_has_not_or_is_not_is_told_with_its_line(build: Builder, url: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{free.getsockname()[1]}"

        for address, told in ((f"{url}/nothing", "404"), (f"{dead}/file", "refused")):
            error = build.fails(f"FROM bb:1\nADD {address} /\n")
            assert told in error.problem
            assert error.line == 2
