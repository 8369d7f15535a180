"""Attaching to a container's streams: several clients, terminals, binary data, slow readers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import pycontainers as pc

EVERY_BYTE = bytes(range(256)) * 64


def read_all(stream: object) -> bytes:
    return b"".join(iter(lambda: stream.read(65536), b""))  # type: ignore[attr-defined]


def test_what_a_client_writes_comes_back_as_it_is(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.create(image, ["cat"], stdin=True, engine=engine) as container:
        process = container.attach()
        out, err = process.communicate(EVERY_BYTE, timeout=30)

        assert (out, err) == (EVERY_BYTE, b"")
        assert process.wait(timeout=10) == 0
        assert container.logs(text=False).read() == EVERY_BYTE


def test_streams_are_separate(image: pc.Image, engine: pc.Engine) -> None:
    script = ["sh", "-c", "echo out; echo err >&2; exit 4"]
    with pc.Container.create(image, script, engine=engine) as container:
        process = container.attach()
        assert process.communicate(timeout=10) == (b"out\n", b"err\n")
        assert process.wait(timeout=10) == 4
        assert process.returncode == 4
        assert container.logs(stdout=False).read() == "err\n"


def test_several_clients_get_the_same(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.create(image, ["cat"], stdin=True, detach=True, engine=engine) as container:
        writer = container.attach()
        readers = [container.attach(stdin=False) for _ in range(3)]
        assert writer.stdin is not None
        writer.stdin.write(b"to all\n")
        writer.stdin.close()
        writer.stdin = None
        got = [read_all(client.stdout) for client in (writer, *readers)]

        assert got == [b"to all\n"] * 4
        for client in (writer, *readers):
            assert client.wait(timeout=10) == 0
            client.close()
            client._running.close()


def test_who_detaches_leaves_it_running(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(image, ["cat"], stdin=True, detach=True, engine=engine) as container:
        with container.attach() as client:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write(b"one\n")
            assert client.stdout.read(4) == b"one\n"

        assert container.status == "running"
        with container.attach() as client:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write(b"two\n")
            assert client.stdout.read(4) == b"two\n"


def test_a_client_that_is_killed_leaves_it_running(image: pc.Image, engine: pc.Engine) -> None:
    code = """
import sys, time
import pycontainers as pc
c = pc.Container.get(sys.argv[2], engine=pc.Engine(root=sys.argv[1]))
p = c.attach(stdin=False)
print("attached", flush=True)
time.sleep(60)
"""
    script = "while :; do echo line; sleep 0.01; done"
    with pc.Container.run(image, ["sh", "-c", script], detach=True, engine=engine) as container:
        client = subprocess.Popen(
            [sys.executable, "-c", code, engine.root, container.id],
            stdout=subprocess.PIPE, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert client.stdout is not None
        assert client.stdout.readline() == b"attached\n"
        client.kill()
        client.wait()
        client.stdout.close()

        before = len(container.logs().read())
        time.sleep(0.3)
        assert container.status == "running"
        assert len(container.logs().read()) > before


def test_a_flood_is_slowed_by_who_does_not_read(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.create(image, ["yes"], log_max_size="1m", engine=engine) as container:
        client = container.attach()
        time.sleep(0.5)
        supervisor = container.attrs["supervisor"][0]
        lines = Path(f"/proc/{supervisor}/status").read_text().splitlines()
        resident = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        size = Path(container.attrs["directory"], "container.log").stat().st_size
        time.sleep(0.3)

        assert resident < 40_000  # KiB
        assert Path(container.attrs["directory"], "container.log").stat().st_size == size
        client.detach()
        client._running.close()


def test_a_flood_nobody_watches_stays_within_its_log(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(
        image, ["yes"], log_max_size="256k", log_max_files=2, engine=engine
    ) as container:
        time.sleep(1)
        files = list(Path(container.attrs["directory"]).glob("container.log*"))

        assert 1 <= len(files) <= 2  # at the moment of a rotation one is missing
        assert sum(file.stat().st_size for file in files) < 2 * (256 << 10) + 65536
        assert container.exec(["true"], timeout=20).ok


def test_a_terminal_with_its_size(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.create(image, ["sh"], tty=True, detach=True, engine=engine) as container:
        client = container.attach(terminal=(12, 34))
        assert client.stdin is not None
        client.stdin.write(b"stty size\n")
        container.wait_for(log="12 34", timeout=10)
        container.resize(20, 40)
        client.stdin.write(b"stty size\n")
        container.wait_for(log="20 40", timeout=10)
        client.resize(25, 50)
        time.sleep(0.2)
        client.stdin.write(b"stty size; exit 9\n")
        output = read_all(client.stdout)

        assert b"25 50" in output
        assert client.wait(timeout=10) == 9
        client.close()
        client._running.close()


def test_input_that_is_not_taken_is_refused(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.create(image, ["cat"], engine=engine) as container:
        with pytest.raises(pc.InvalidArgument):
            container.attach(stdin=True)

        assert container.status == "created"


def test_a_followed_log_ends_with_the_container(image: pc.Image, engine: pc.Engine) -> None:
    script = "for i in 1 2 3; do echo $i; sleep 0.1; done"
    with pc.Container.run(image, ["sh", "-c", script], detach=True, engine=engine) as container:
        begun = time.monotonic()
        lines: list[str] = []
        with container.logs(follow=True) as logs:
            for line in logs:
                if not lines:
                    assert container.status == "running"  # it comes before the end
                lines.append(line)

        assert lines == ["1\n", "2\n", "3\n"]
        assert time.monotonic() - begun < 10


def test_a_followed_log_is_closed_from_another_thread(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(image, ["sleep", "60"], engine=engine) as container:
        logs = container.logs(follow=True)
        threading.Timer(0.2, logs.close).start()

        assert list(logs) == []


def test_logs_of_every_start_are_kept(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(image, ["echo", "again"], engine=engine) as container:
        container.wait()
        container.start()
        container.wait()

        assert container.logs().read() == "again\n" * 2
        assert container.logs(tail=1).read() == "again\n"
        stamped = container.logs(timestamps=True, tail=1).read()
        assert stamped[4] == "-"
        assert stamped.endswith("Z again\n")


def test_output_of_a_program_that_ends_at_once_is_whole(image: pc.Image, engine: pc.Engine) -> None:
    script = ["sh", "-c", "dd if=/dev/zero bs=1024 count=1024 2>/dev/null"]
    for _ in range(5):
        with pc.Container.run(image, script, engine=engine) as container:
            container.wait()

            assert len(container.logs(text=False).read()) == 1 << 20


def test_multi_byte_characters_stay_whole(image: pc.Image, engine: pc.Engine) -> None:
    text = "äöü€𝄞" * 20_000
    with pc.Container.create(image, ["cat"], stdin=True, engine=engine) as container:
        process = container.attach()
        process.communicate(text.encode(), timeout=30)

        assert container.logs().read() == text


def test_the_last_log_survives_many_exits_of_readers(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(image, ["sleep", "60"], engine=engine) as container:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            with container.logs(follow=True):
                pass
            with container.attach(stdin=False):
                pass

        assert len(os.listdir("/proc/self/fd")) <= before
        report = container._life().control.ask("report")
        assert report["fds"] < 40
