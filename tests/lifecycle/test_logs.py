"""Reading logs: nothing lost, repeated or reordered, whatever is written, rotated or torn."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycontainers.errors import InvalidArgument, KernelError
from pycontainers.kernel.inotify import Watch
from pycontainers.lifecycle.logs import Logs
from pycontainers.runtime.log import Log

Chunks = list[tuple[str, bytes]]

chunks_of_output = st.lists(
    st.tuples(
        st.sampled_from(["stdout", "stderr"]),
        st.binary(max_size=60)
        | st.text(alphabet='a"\\\n\r\x00né😀\u2028', max_size=40).map(str.encode)
        | st.sampled_from([b"C:\\\n", b'","stream":"stdout","time":"x"}\n{"log":"\n'])
        | st.integers(0, 40000).map(lambda size: b"\xe2\x82\xac" * (size // 3)),
    ),
    max_size=12,
)


def write(directory: Path, *chunks: tuple[str, bytes], size: int = 1 << 30, files: int = 9) -> None:
    log = Log(str(directory), max_size=size, max_files=files)
    for stream, data in chunks:
        log.write(stream, data)
    log.close()


def entry(text: str, at: float, stream: str = "stdout") -> bytes:
    """Make an entry of the log, `at` seconds after the beginning of 2026."""
    when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=at)
    time = when.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    known = {"log": text, "stream": stream, "time": time}
    return json.dumps(known, separators=(",", ":")).encode() + b"\n"


def moment(at: float) -> float:
    return datetime(2026, 1, 1, tzinfo=UTC).timestamp() + at


# What is read.


@settings(deadline=None)  # the machine may be busy
@given(chunks_of_output)
def test_the_very_bytes_are_read(tmp_path_factory: pytest.TempPathFactory, chunks: Chunks) -> None:
    directory = tmp_path_factory.mktemp("log")
    write(directory, *chunks)

    for stream in ("stdout", "stderr"):
        wanted = b"".join(data for name, data in chunks if name == stream)
        only: dict[str, Any] = {"stdout": stream == "stdout", "stderr": stream == "stderr"}
        assert Logs[bytes](str(directory), text=False, **only).read() == wanted
        assert Logs[str](str(directory), **only).read() == wanted.decode(errors="replace")
        lines = list(Logs[bytes](str(directory), text=False, **only))
        assert lines == [line for line in re.split(rb"(?<=\n)", wanted) if line]


@settings(deadline=None)  # the machine may be busy
@given(chunks_of_output)
def test_reading_and_iterating_agree(
    tmp_path_factory: pytest.TempPathFactory, chunks: Chunks
) -> None:
    directory = str(tmp_path_factory.mktemp("log"))
    write(Path(directory), *chunks, size=2000, files=1000)

    whole = Logs[bytes](directory, text=False).read()
    lines = list(Logs[bytes](directory, text=False))

    assert b"".join(lines) == whole
    stamped = list(Logs[bytes](directory, text=False, timestamps=True))
    assert [line[31:] for line in stamped] == lines


@settings(deadline=None)  # the machine may be busy
@given(chunks_of_output, st.integers(0, 12))
def test_a_tail_is_the_end_of_all_lines(
    tmp_path_factory: pytest.TempPathFactory, chunks: Chunks, count: int
) -> None:
    directory = str(tmp_path_factory.mktemp("log"))
    write(Path(directory), *chunks, size=2000, files=1000)

    choices: list[dict[str, Any]] = [{}, {"stdout": False}, {"stderr": False}]
    for only in choices:
        lines = list(Logs[bytes](directory, text=False, **only))
        tail = list(Logs[bytes](directory, text=False, tail=count, **only))
        assert tail == lines[len(lines) - count if count < len(lines) else 0 :]


def test_lines_come_in_the_order_written(tmp_path: Path) -> None:
    write(tmp_path, ("stdout", b"1\n2\n"), ("stderr", b"3\n"), ("stdout", b"4\n"))

    assert list(Logs[str](str(tmp_path))) == ["1\n", "2\n", "3\n", "4\n"]
    assert list(Logs[str](str(tmp_path), stdout=False)) == ["3\n"]
    assert Logs[str](str(tmp_path), stdout=False, stderr=False).read() == ""
    assert str(Logs[bytes](str(tmp_path), text=False)) == "1\n2\n3\n4\n"


def test_a_line_keeps_other_line_ends(tmp_path: Path) -> None:
    text = "10%\r20%\r100%\x0b\x0c\u2028\u0085 done\r\n"
    write(tmp_path, ("stdout", text.encode() * 2))

    assert list(Logs[str](str(tmp_path))) == [text] * 2
    assert list(Logs[bytes](str(tmp_path), text=False)) == [text.encode()] * 2


def test_timestamps_stand_before_the_lines(tmp_path: Path) -> None:
    (tmp_path / "container.log").write_bytes(entry("a\n", 1) + entry("b\n", 2.5))

    assert list(Logs[str](str(tmp_path), timestamps=True)) == [
        "2026-01-01T00:00:01.000000000Z a\n",
        "2026-01-01T00:00:02.500000000Z b\n",
    ]


def test_long_lines_are_joined_and_characters_whole(tmp_path: Path) -> None:
    line = "é😀" * 50_000 + "\n"
    data = line.encode()
    write(tmp_path, *[("stdout", data[at : at + 65_536]) for at in range(0, len(data), 65_536)])

    assert list(Logs[str](str(tmp_path))) == [line]
    assert list(Logs[str](str(tmp_path), tail=1)) == [line]


def test_a_line_without_end_is_given_in_parts(tmp_path: Path) -> None:
    write(tmp_path, ("stdout", b"x" * (3 << 20)))

    lines = list(Logs[str](str(tmp_path)))

    assert sum(map(len, lines)) == 3 << 20
    assert max(map(len, lines)) <= 2 << 20
    assert len(lines) >= 3


def test_an_unfinished_line_comes_last(tmp_path: Path) -> None:
    write(tmp_path, ("stdout", b"begun"), ("stderr", b"line\n"))

    assert list(Logs[str](str(tmp_path))) == ["line\n", "begun"]


def test_unfinished_lines_stand_where_their_last_pieces_do(tmp_path: Path) -> None:
    pieces = [entry("x", 1), entry("y", 2, "stderr"), entry("z", 3)]
    (tmp_path / "container.log").write_bytes(b"".join(pieces))

    assert list(Logs[str](str(tmp_path))) == ["y", "xz"]
    assert list(Logs[str](str(tmp_path), tail=1)) == ["xz"]


def test_torn_entries_are_skipped(tmp_path: Path) -> None:
    whole = [entry("1\n", 1), entry("2\n", 2), entry("3\n", 3)]
    torn = b'{"log":"torn\\n","stream":"std'
    (tmp_path / "container.log").write_bytes(
        whole[0] + torn + b"\n" + whole[1] + b"\x00\xff\n\n7\n" + whole[2] + torn
    )

    assert list(Logs[str](str(tmp_path))) == ["1\n", "2\n", "3\n"]
    assert list(Logs[str](str(tmp_path), tail=2)) == ["2\n", "3\n"]


@pytest.mark.parametrize("junk", [b"", b"\n", b"\n\n", b"torn", b"torn\n", b'{"log":"zzz\n'])
def test_a_log_of_nothing_is_empty(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "container.log").write_bytes(junk)

    assert Logs[str](str(tmp_path)).read() == ""
    assert Logs[str](str(tmp_path), tail=3, since=1, until=2).read() == ""


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert Logs[str](str(tmp_path)).read() == ""
    assert Logs[str](str(tmp_path / "missing"), tail=1, follow=True).read() == ""


def test_since_and_until_include_their_moments(tmp_path: Path) -> None:
    lines = [entry(f"{at}\n", at) for at in range(10)]
    (tmp_path / "container.log.1").write_bytes(b"".join(lines[:4]))
    (tmp_path / "container.log").write_bytes(b"".join(lines[4:]))

    def read(**options: Any) -> str:
        return Logs[str](str(tmp_path), **options).read().replace("\n", "")

    assert read(since=moment(7)) == "789"
    assert read(until=moment(2)) == "012"
    assert read(since=moment(3), until=moment(5)) == "345"
    assert read(since=moment(3), until=moment(5), tail=2) == "45"
    assert read(since=moment(5), tail=9) == "56789"
    assert read(until=moment(5), tail=3, timestamps=True).count("Z") == 3
    assert read(since=datetime(2026, 1, 1, 0, 0, 8)) == "89"
    assert read(since=datetime.fromisoformat("2026-01-01T02:00:08+02:00")) == "89"
    assert read(since=time.time() + 1e9) == ""


def test_a_moment_is_found_in_a_large_log(tmp_path: Path) -> None:
    lines = [entry(f"{at}\n", at) for at in range(20_000)]
    (tmp_path / "container.log").write_bytes(b"".join(lines))

    expected = [f"{at}\n" for at in range(9_000, 11_001)]
    assert list(Logs[str](str(tmp_path), since=moment(9_000), until=moment(11_000))) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"tail": -1},
        {"tail": "all"},
        {"tail": True},
        {"tail": 1.5},
        {"since": "yesterday"},
        {"since": float("nan")},
        {"until": True},
        {"until": -5.0},
        {"since": timedelta(days=40_000)},
    ],
)
def test_bad_options_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    before = os.listdir("/proc/self/fd")

    with pytest.raises(InvalidArgument, match=next(iter(options))):
        Logs[str](str(tmp_path), follow=True, **options)

    assert os.listdir("/proc/self/fd") == before


# What it costs.


def test_the_tail_of_a_large_log_reads_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, *[("stdout", b"a line of output\n" * 10_000)] * 20, size=4 << 20)
    read = []
    pread = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        data = pread(fd, size, offset)
        read.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", counted)

    assert len(list(Logs[str](str(tmp_path), tail=10))) == 10
    assert sum(read) < 200_000


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    write(tmp_path, *[("stdout", b"line\n")] * 100, size=500)
    before = os.listdir("/proc/self/fd")

    Logs[str](str(tmp_path)).read()
    assert len(list(Logs[str](str(tmp_path), follow=True))) > 10
    logs = Logs[str](str(tmp_path), follow=True)
    next(logs)
    del logs  # at once, without the garbage collector
    with Logs[str](str(tmp_path), follow=True) as logs:
        next(logs)
    logs.close()

    assert os.listdir("/proc/self/fd") == before


# Following.


class Ended:
    """An end that a test sets by a file, as a container's state is one."""

    def __init__(self, directory: Path) -> None:
        self.asked = 0
        self._file = directory / "state.json"

    def __call__(self) -> bool:
        self.asked += 1
        return self._file.exists()

    def set(self) -> None:
        self._file.touch()


@pytest.fixture
def ended(tmp_path: Path) -> Ended:
    return Ended(tmp_path)


def follow(directory: Path, ended: Ended, **options: Any) -> Logs[str]:
    return Logs[str](str(directory), follow=True, ended=ended, **options)


def test_following_ends_with_the_container(tmp_path: Path, ended: Ended) -> None:
    log = Log(str(tmp_path), max_size=1 << 20, max_files=2)
    log.write("stdout", b"before\n")

    def live() -> None:
        time.sleep(0.2)
        log.write("stdout", b"after\nunfin")
        time.sleep(0.2)
        log.write("stdout", b"ished")
        log.close()
        ended.set()

    thread = threading.Thread(target=live)
    with follow(tmp_path, ended) as logs:
        thread.start()
        begun = time.monotonic()
        lines = list(logs)
    thread.join()

    assert lines == ["before\n", "after\n", "unfinished"]
    assert time.monotonic() - begun < 0.9  # no waiting for the next look
    assert ended.asked < 10


def test_a_line_is_given_as_soon_as_it_is_written(tmp_path: Path, ended: Ended) -> None:
    log = Log(str(tmp_path), max_size=1 << 20, max_files=2)
    logs = follow(tmp_path, ended, timestamps=True)
    delays = []

    for number in range(20):
        thread = threading.Timer(0.01, log.write, ("stdout", b"%d\n" % number))
        thread.start()
        line = next(logs)
        delays.append(time.time() - datetime.fromisoformat(line[:26] + "+00:00").timestamp())
        thread.join()
        assert line.endswith(f" {number}\n")
    logs.close()
    log.close()

    assert sorted(delays)[10] < 0.05


def test_following_begins_before_there_is_a_log(tmp_path: Path, ended: Ended) -> None:
    logs = follow(tmp_path, ended, tail=5)

    write(tmp_path, ("stdout", b"first\n"))

    assert next(logs) == "first\n"
    logs.close()


def test_a_tail_of_none_gives_only_what_comes(tmp_path: Path, ended: Ended) -> None:
    write(tmp_path, ("stdout", b"old\n"))
    logs = follow(tmp_path, ended, tail=0)

    write(tmp_path, ("stdout", b"new\n"))
    ended.set()

    assert list(logs) == ["new\n"]


def test_following_ends_at_a_moment(tmp_path: Path, ended: Ended) -> None:
    write(tmp_path, ("stdout", b"now\n"))
    begun = time.time()

    lines = list(follow(tmp_path, ended, until=begun + 0.3))

    assert lines == ["now\n"]
    assert 0.3 <= time.time() - begun < 0.9


@pytest.mark.parametrize("files", [1, 2, 5])
def test_rotation_loses_and_repeats_nothing_while_following(
    tmp_path: Path, ended: Ended, files: int
) -> None:
    count = 3000
    read = 0
    log = Log(str(tmp_path), max_size=2000, max_files=files)

    def live() -> None:
        # A reader that is overtaken by all files misses lines: the writer stays in sight.
        for number in range(count):
            while number - read > 8 * files:
                time.sleep(0)
            log.write("stdout", b"%d\n" % number)
        log.close()
        ended.set()

    thread = threading.Thread(target=live)
    lines = []
    logs = follow(tmp_path, ended)
    thread.start()
    for line in logs:
        lines.append(line)
        read = int(line)
    thread.join()

    assert lines == [f"{number}\n" for number in range(count)]


def test_another_process_rotates_fast_and_nothing_is_lost(tmp_path: Path, ended: Ended) -> None:
    program = (
        "import sys; from pycontainers.runtime.log import Log\n"
        "log = Log(sys.argv[1], max_size=20_000, max_files=6)\n"
        "for number in range(20_000):\n"
        "    if number % 200 == 0: sys.stdin.buffer.read(1)\n"
        "    log.write('stdout', b'%d\\n' % number)\n"
        "log.close()"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, bufsize=0
    )
    assert writer.stdin is not None

    def wait() -> None:
        writer.wait()
        ended.set()

    thread = threading.Thread(target=wait)
    logs = follow(tmp_path, ended)
    thread.start()
    writer.stdin.write(b"xxx")  # it is never more than 600 of the 1,200 lines in six files ahead
    numbers = []
    for line in logs:
        numbers.append(int(line))
        if numbers[-1] % 200 == 199 and numbers[-1] < 19_400:
            writer.stdin.write(b"x")
    thread.join()
    writer.stdin.close()

    assert numbers == list(range(20_000))


def test_reading_while_another_process_rotates_gives_whole_runs(tmp_path: Path) -> None:
    program = (
        "import sys; from pycontainers.runtime.log import Log\n"
        "log = Log(sys.argv[1], max_size=2000, max_files=4)\n"
        "number = 0\n"
        "while True:\n"
        "    log.write('stdout', b'%d\\n' % number); number += 1"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    try:
        deadline = time.monotonic() + 10
        while not (tmp_path / "container.log.3").exists() and time.monotonic() < deadline:
            time.sleep(0.01)

        for _ in range(300):
            numbers = [int(line) for line in Logs[str](str(tmp_path))]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            tail = [int(line) for line in Logs[str](str(tmp_path), tail=random.randint(1, 40))]
            assert tail == list(range(tail[0], tail[0] + len(tail)))
    finally:
        writer.kill()
        writer.wait()


@pytest.mark.parametrize("how", ["next", "read"])
def test_another_thread_closes_a_blocked_reader(tmp_path: Path, ended: Ended, how: str) -> None:
    before = os.listdir("/proc/self/fd")
    logs = follow(tmp_path, ended)
    result: list[object] = []

    def act() -> None:
        result.append(next(logs, "ended") if how == "next" else logs.read())

    thread = threading.Thread(target=act)
    thread.start()
    time.sleep(0.1)

    begun = time.monotonic()
    logs.close()
    thread.join(5)

    assert time.monotonic() - begun < 0.5  # no waiting for the next look
    assert result == ["ended" if how == "next" else ""]
    assert list(logs) == []
    assert os.listdir("/proc/self/fd") == before


def test_several_threads_share_the_lines(tmp_path: Path) -> None:
    write(tmp_path, ("stdout", b"".join(b"%d\n" % number for number in range(20_000))))
    logs = Logs[str](str(tmp_path))
    shares: list[list[str]] = [[], [], []]

    threads = [threading.Thread(target=share.extend, args=(logs,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(int(line) for share in shares for line in share) == list(range(20_000))


def test_following_does_without_a_watch(
    tmp_path: Path, ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_: Watch) -> None:
        raise KernelError(24, "inotify_init1()")

    monkeypatch.setattr(Watch, "__init__", none_left)
    logs = follow(tmp_path, ended)
    write(tmp_path, ("stdout", b"line\n"))
    ended.set()

    assert list(logs) == ["line\n"]
