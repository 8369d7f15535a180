"""The journal of events: whole lines, from several processes at once, bounded, never an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontainers.runtime import journal

ID = "3f" * 32


def lines(directory: Path) -> list[dict[str, Any]]:
    """Read both files, oldest first."""
    paths = [directory / journal.file_name(age) for age in (1, 0)]
    return [
        json.loads(line)
        for path in paths
        if path.exists()
        for line in path.read_bytes().splitlines()
        if line
    ]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "small", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_an_event_is_one_line(tmp_path: Path) -> None:
    before = time.time()
    journal.append(str(tmp_path), "die", ID, {"name": "wéb", "exitCode": "0"})
    journal.append(str(tmp_path), "pull", "4ee3", {}, kind="image", now=7.5)

    first, second = lines(tmp_path)

    assert before <= first.pop("time") <= time.time()
    assert first == {
        "type": "container",
        "action": "die",
        "id": ID,
        "attributes": {"name": "wéb", "exitCode": "0"},
    }
    assert second == {
        "time": 7.5,
        "type": "image",
        "action": "pull",
        "id": "4ee3",
        "attributes": {},
    }


def test_values_of_any_text_are_kept_and_cut(tmp_path: Path) -> None:
    odd = 'a"\\\n\x00\u2028\udc80'
    journal.append(str(tmp_path), "create", ID, {odd: odd, "long": "x" * 5000})

    assert lines(tmp_path)[0]["attributes"] == {odd: odd, "long": "x" * 1024}


def test_a_full_journal_becomes_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "FULL", 1000)

    for number in range(100):
        journal.append(str(tmp_path), "die", ID, {"number": str(number)})

    numbers = [int(event["attributes"]["number"]) for event in lines(tmp_path)]
    assert numbers == list(range(numbers[0], 100))
    assert 0 < numbers[0] < 99
    assert set(os.listdir(tmp_path)) <= {"events.jsonl", "events.1.jsonl"}


def test_processes_append_at_once_and_lose_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from pycontainers.runtime import journal; journal.FULL = int(sys.argv[3])\n"
        "for number in range(2000):\n"
        "    journal.append(sys.argv[1], 'die', sys.argv[2], {'number': str(number)})"
    )
    full = 500_000  # all events take about 800,000 bytes: one rotation

    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(who), str(full)])
        for who in range(4)
    ]

    assert [writer.wait() for writer in writers] == [0] * 4
    found = lines(tmp_path)
    assert (tmp_path / "events.1.jsonl").exists()
    assert len(found) == 8000
    for who in range(4):
        numbers = [int(one["attributes"]["number"]) for one in found if one["id"] == str(who)]
        assert numbers == list(range(2000))


def test_a_torn_line_is_closed(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b'{"time":1,"ty')

    journal.append(str(tmp_path), "die", ID, {})

    torn, whole = (tmp_path / "events.jsonl").read_bytes().splitlines()
    assert torn == b'{"time":1,"ty'
    assert json.loads(whole)["action"] == "die"


def test_a_full_disk_or_a_missing_directory_is_no_error(small_disk: Path, tmp_path: Path) -> None:
    journal.append(str(tmp_path / "missing"), "die", ID, {})

    for _ in range(200):
        journal.append(str(small_disk), "die", ID, {})

    found = (small_disk / "events.jsonl").read_bytes().splitlines()
    assert all(json.loads(line)["action"] == "die" for line in found[:-1])
