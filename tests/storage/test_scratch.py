"""What is being made: whole or not there, and known as a dead process's where it is one's."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pycontainers.storage.scratch import appearing, is_left, mark, new_directory, scratch


def test_a_directory_goes_with_its_block_unless_it_was_moved(tmp_path: Path) -> None:
    with scratch(tmp_path) as place:
        (place / "a/b").mkdir(parents=True)
        assert not is_left(place.name)
    with scratch(tmp_path) as place:
        (place / "a").mkdir()
        place.rename(tmp_path / "kept")

    assert os.listdir(tmp_path) == ["kept"]
    assert os.listdir(tmp_path / "kept") == ["a"]


def test_modes_are_as_wanted_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        new_directory(tmp_path / "open", 0o1777)
        with scratch(tmp_path) as place:
            mode = stat.S_IMODE(place.stat().st_mode)
    finally:
        os.umask(before)

    assert (stat.S_IMODE((tmp_path / "open").stat().st_mode), mode) == (0o1777, 0o755)


def test_what_an_ended_process_was_making_is_left() -> None:
    program = (
        "from pycontainers.storage.scratch import mark; print(mark('making'), mark('removing'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert is_left(done.stdout.decode().strip())
    assert not is_left(mark("making"))
    assert [is_left(name) for name in (".making-", ".making-1-x-y", ".other-1-1-y", "volume")] == [
        True, True, False, False,
    ]  # fmt: skip


def test_a_file_appears_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with appearing(path) as file:
        file.write(b"one")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), appearing(path) as file:
        file.write(b"two")
        raise ZeroDivisionError

    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["file"]
