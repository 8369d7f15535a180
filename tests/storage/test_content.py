"""The content store: verified, resumable, safe between processes, and readable by others."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pycontainers.errors import ImageError, StoreError
from pycontainers.oci.digest import Digest
from pycontainers.storage.content import ContentStore


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "content", tmp_path / "ingest")


def ingested(store: ContentStore) -> list[str]:
    return sorted(path.name for path in store.ingest.iterdir())


def test_bytes_come_back_by_their_digest(store: ContentStore) -> None:
    digest = store.put(b"hello")

    assert store.read(digest, 5) == b"hello"
    assert store.size(digest) == 5
    assert store.digests() == [digest]
    assert store.path(digest).name == digest.hex
    assert ingested(store) == []


def test_put_twice_is_kept_once(store: ContentStore) -> None:
    assert store.put(b"x") == store.put(b"x")
    assert len(store.digests()) == 1


def test_what_is_not_here_is_an_error_that_names_it(store: ContentStore) -> None:
    digest = Digest.of(b"no")

    assert store.size(digest) is None
    with pytest.raises(StoreError, match=digest.hex):
        store.read(digest, 10)


def test_a_blob_longer_than_allowed_is_not_read(store: ContentStore) -> None:
    digest = store.put(b"x" * 11)

    with pytest.raises(ImageError, match="more than 10"):
        store.read(digest, 10)


def test_other_content_than_the_digest_says_never_appears(store: ContentStore) -> None:
    digest = Digest.of(b"right")

    with pytest.raises(ImageError, match="is another"), store.write(digest, 5) as ingest:
        ingest.write(b"wrong")
        ingest.commit()

    assert store.size(digest) is None
    assert ingested(store) == []


def test_more_than_the_size_is_refused_at_once(store: ContentStore) -> None:
    digest = Digest.of(b"right")

    with pytest.raises(ImageError, match="more than its 5"), store.write(digest, 5) as ingest:
        ingest.write(b"right and more")

    assert ingested(store) == []


def test_an_interrupted_write_goes_on_where_it_was(store: ContentStore) -> None:
    digest = Digest.of(b"one two")
    with pytest.raises(KeyboardInterrupt), store.write(digest, 7) as ingest:
        ingest.write(b"one ")
        raise KeyboardInterrupt
    assert store.size(digest) is None

    with store.write(digest, 7) as ingest:
        before = ingest.offset
        there = b"".join(ingest.partial())
        ingest.write(b"two")
        ingest.commit()

    assert (before, there) == (4, b"one ")
    assert store.read(digest, 7) == b"one two"


def test_a_damaged_beginning_is_found_and_forgotten(store: ContentStore) -> None:
    digest = Digest.of(b"one two")
    with pytest.raises(ZeroDivisionError), store.write(digest, 7) as ingest:
        ingest.write(b"eno ")
        raise ZeroDivisionError

    with pytest.raises(ImageError, match="is another"), store.write(digest, 7) as ingest:
        assert b"".join(ingest.partial()) == b"eno "
        ingest.write(b"two")
        ingest.commit()

    assert ingested(store) == []


def test_bytes_of_unknown_digest_are_named_when_they_are_whole(store: ContentStore) -> None:
    with store.write() as ingest:
        ingest.write(b"a")
        ingest.write(b"b")
        digest = ingest.commit()

    assert digest == Digest.of(b"ab")
    assert store.read(digest, 2) == b"ab"


def test_a_second_writer_waits_and_finds_the_blob(store: ContentStore) -> None:
    digest = Digest.of(b"slow")
    found: list[bool] = []

    def second() -> None:
        with store.write(digest, 4) as ingest:
            found.append(ingest.done)

    with store.write(digest, 4) as ingest:
        thread = threading.Thread(target=second)
        thread.start()
        ingest.write(b"slow")
        ingest.commit()
    thread.join()

    assert found == [True]
    assert ingested(store) == []


def test_a_second_writer_takes_over_from_one_that_gave_up(store: ContentStore) -> None:
    digest = Digest.of(b"slow")
    done = threading.Event()

    def second() -> None:
        with store.write(digest, 4) as ingest:
            assert ingest.offset == 0
            ingest.write(b"slow")
            ingest.commit()
        done.set()

    with store.write(digest, 4):
        thread = threading.Thread(target=second)
        thread.start()
    thread.join()

    assert done.is_set()
    assert store.read(digest, 4) == b"slow"


def test_a_killed_writer_leaves_what_it_had(store: ContentStore, tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from pycontainers.oci.digest import Digest\n"
        "from pycontainers.storage.content import ContentStore\n"
        "store = ContentStore(Path(sys.argv[1], 'content'), Path(sys.argv[1], 'ingest'))\n"
        "with store.write(Digest.of(b'one two'), 7) as ingest:\n"
        "    ingest.write(b'one ')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    digest = Digest.of(b"one two")

    with store.write(digest, 7) as ingest:
        assert b"".join(ingest.partial()) == b"one "
        ingest.write(b"two")
        ingest.commit()

    assert store.read(digest, 7) == b"one two"


def test_nothing_is_collected_while_somebody_adds(store: ContentStore) -> None:
    with store.in_use(), store.in_use(), store.alone(wait=False) as alone:
        assert alone is False
    with store.alone(wait=False) as alone:
        assert alone is True


def test_an_error_while_alone_is_the_callers(store: ContentStore) -> None:
    with pytest.raises(BlockingIOError), store.alone(wait=False) as alone:
        assert alone
        raise BlockingIOError


def test_a_full_disk_gets_its_space_back(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    try:
        store = ContentStore(disk / "content", disk / "ingest")
        free = os.statvfs(disk).f_bavail

        with (
            pytest.raises(StoreError, match="No space") as caught,
            store.write(Digest.of(b""), 4 << 20) as ingest,
        ):
            ingest.write(bytes(4 << 20))

        assert "prune" in (caught.value.hint or "")
        assert os.statvfs(disk).f_bavail == free
        assert ingested(store) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
