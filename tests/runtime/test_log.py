"""The log's format and its rotation: what is written is whole, in order, and bounded."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycontainers.runtime.log import PIECE, Log, file_name


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def texts(path: Path) -> list[str]:
    return [entry["log"] for entry in entries(path)]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(str(tmp_path), max_size=1 << 20, max_files=3)
    yield log
    log.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "small", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_an_entry_is_docker_s_json(log: Log, tmp_path: Path) -> None:
    log.write("stderr", b'say "hi"\n')

    line = (tmp_path / "container.log").read_bytes()

    assert re.fullmatch(
        rb'\{"log":"say \\"hi\\"\\n","stream":"stderr",'
        rb'"time":"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"\}\n',
        line,
    )


def test_a_line_is_written_when_it_is_whole(log: Log, tmp_path: Path) -> None:
    log.write("stdout", b"he")
    log.write("stderr", b"other\n")
    log.write("stdout", b"llo\nwor")
    assert texts(tmp_path / "container.log") == ["other\n", "hello\n"]

    log.flush("stdout")
    log.flush("stdout")

    assert texts(tmp_path / "container.log") == ["other\n", "hello\n", "wor"]


def test_a_backslash_before_an_n_is_no_newline(log: Log, tmp_path: Path) -> None:
    log.write("stdout", b"C:\\new\n\\\n\\\\n\n")

    assert texts(tmp_path / "container.log") == ["C:\\new\n", "\\\n", "\\\\n\n"]


def test_a_chunk_has_one_timestamp_and_one_write(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = []
    write = os.write

    def counted(fd: int, data: bytes) -> int:
        writes.append(len(data))
        return write(fd, data)

    monkeypatch.setattr(os, "write", counted)

    log.write("stdout", b"a line\n" * 5000)

    assert len(writes) == 1
    assert len({entry["time"] for entry in entries(tmp_path / "container.log")}) == 1


def test_long_lines_are_cut_between_characters(log: Log, tmp_path: Path) -> None:
    line = "a" + "é" * 20000 + "\n"
    log.write("stdout", line.encode())

    pieces = texts(tmp_path / "container.log")

    assert "".join(pieces) == line
    assert len(pieces) == 3
    assert all(len(piece.encode()) <= PIECE for piece in pieces)


def test_a_line_that_just_fits_is_one_entry(log: Log, tmp_path: Path) -> None:
    log.write("stdout", b"x" * (PIECE - 1) + b"\n")
    log.write("stdout", b"x" * PIECE)
    log.write("stdout", b"\n")

    assert [len(text) for text in texts(tmp_path / "container.log")] == [PIECE, PIECE, 1]


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["stdout", "stderr"]),
            st.binary(max_size=60)
            | st.text(alphabet='a"\\\n\r\t\x00né😀\u2028', max_size=40).map(str.encode)
            | st.integers(0, 40000).map(lambda size: b"\xe2\x82\xac" * (size // 3)),
        ),
        max_size=12,
    )
)
def test_the_very_bytes_can_be_read_again(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[tuple[str, bytes]]
) -> None:
    directory = tmp_path_factory.mktemp("log")
    log = Log(str(directory), max_size=1 << 30, max_files=1)

    for stream, data in chunks:
        log.write(stream, data)
    log.close()

    found = entries(directory / "container.log")
    for stream in ("stdout", "stderr"):
        read = [entry["log"] for entry in found if entry["stream"] == stream]
        raw = [text.encode("utf-8", "surrogateescape") for text in read]
        assert b"".join(raw) == b"".join(data for name, data in chunks if name == stream)
        assert all(b"\n" not in piece[:-1] and len(piece) <= PIECE for piece in raw)


def test_rotation_keeps_so_many_files_of_whole_entries(tmp_path: Path) -> None:
    log = Log(str(tmp_path), max_size=1000, max_files=3)

    for number in range(100):
        log.write("stdout", f"line {number}\n".encode())
    log.close()

    assert sorted(os.listdir(tmp_path)) == ["container.log", "container.log.1", "container.log.2"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    found = [text for age in (2, 1, 0) for text in texts(tmp_path / file_name(age))]
    assert found == [f"line {number}\n" for number in range(100 - len(found), 100)]
    assert len(found) > 20


def test_a_chunk_is_spread_over_files_at_its_entries(tmp_path: Path) -> None:
    log = Log(str(tmp_path), max_size=1000, max_files=100)

    log.write("stdout", b"".join(b"line %d\n" % number for number in range(200)))
    log.close()

    count = len(os.listdir(tmp_path))
    found = [text for age in reversed(range(count)) for text in texts(tmp_path / file_name(age))]
    assert found == [f"line {number}\n" for number in range(200)]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())


def test_an_entry_larger_than_a_file_is_not_split(tmp_path: Path) -> None:
    log = Log(str(tmp_path), max_size=10, max_files=2)

    log.write("stdout", b"one\ntwo\nthree\n")
    log.close()

    assert texts(tmp_path / "container.log") == ["three\n"]
    assert texts(tmp_path / "container.log.1") == ["two\n"]


def test_a_single_file_is_started_anew(tmp_path: Path) -> None:
    log = Log(str(tmp_path), max_size=300, max_files=1)

    for number in range(20):
        log.write("stdout", b"line %d\n" % number)
    log.close()

    assert os.listdir(tmp_path) == ["container.log"]
    assert texts(tmp_path / "container.log")[-1] == "line 19\n"
    assert (tmp_path / "container.log").stat().st_size <= 300


def test_surplus_files_go_when_fewer_are_wanted(tmp_path: Path) -> None:
    for files in (5, 2):
        log = Log(str(tmp_path), max_size=100, max_files=files)
        log.write("stdout", b"a line\n" * 10)
        log.close()

    assert sorted(os.listdir(tmp_path)) == ["container.log", "container.log.1"]


def test_a_log_goes_on_where_it_was_left(tmp_path: Path) -> None:
    for text in (b"first\n", b"second\n"):
        log = Log(str(tmp_path), max_size=1 << 20, max_files=2)
        log.write("stdout", text)
        log.close()

    assert texts(tmp_path / "container.log") == ["first\n", "second\n"]


def test_a_torn_entry_does_not_spoil_the_next(tmp_path: Path) -> None:
    (tmp_path / "container.log").write_bytes(b'{"log":"torn by a ki')

    log = Log(str(tmp_path), max_size=1 << 20, max_files=2)
    log.write("stdout", b"next\n")
    log.close()

    lines = (tmp_path / "container.log").read_bytes().splitlines()
    assert lines[0] == b'{"log":"torn by a ki'
    assert json.loads(lines[1])["log"] == "next\n"


def test_a_full_disk_loses_lines_and_no_more(small_disk: Path) -> None:
    log = Log(str(small_disk), max_size=1 << 20, max_files=2)
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 40960)

    log.write("stdout", b"a line of output\n" * 1000)
    log.write("stdout", b"lost\n")

    assert log.lost > 0
    filler.unlink()
    log.write("stdout", b"found\n")
    log.close()
    lines = (small_disk / "container.log").read_bytes().splitlines()
    assert json.loads(lines[-1])["log"] == "found\n"
    assert [json.loads(line)["log"] for line in lines[:-2]] == ["a line of output\n"] * (
        len(lines) - 2
    )


def test_a_log_that_cannot_be_opened_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        log = Log(str(tmp_path), max_size=100, max_files=2)
        log.write("stdout", b"lost\n")
    assert log.lost > 0

    log.write("stdout", b"found\n")
    log.close()
    log.close()

    assert texts(tmp_path / "container.log") == ["found\n"]
