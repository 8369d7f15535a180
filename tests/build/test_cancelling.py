"""A build that fails or is interrupted: it ends at once, all of it, and leaves nothing."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import pycontainers as pc
from pycontainers.build.progress import BuildProgress
from pycontainers.errors import BuildError
from tests.build.conftest import Builder, give_base

PROGRAM = """
import sys
import pycontainers as pc

def tell(event):
    if event.action in ("output", "cancelled"):
        print(event.action, event.output, flush=True)

try:
    with pc.Engine(root=sys.argv[1]) as engine:
        pc.Image.build(sys.argv[2], network="none", secrets={"s": b"very secret"},
                       progress=tell, engine=engine)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
SLEEPING = """
FROM bb:1 AS one
RUN touch /made && echo made
RUN --mount=type=secret,id=s cat /run/secrets/s > /dev/null; echo begun; sleep 1000
FROM bb:1 AS two
RUN sleep 1000
FROM bb:1
COPY --from=one / /one
COPY --from=two / /two
"""


@pytest.fixture
def place(tmp_path: Path, base_archive: Path) -> Path:
    """A data root with a base image, beside a context."""
    with pc.Engine(root=tmp_path / "root") as engine:
        give_base(engine, base_archive)
    (tmp_path / "context").mkdir()
    return tmp_path


@pytest.fixture
def building(place: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that builds what takes for ever, and has begun."""
    (place / "context/Dockerfile").write_text(SLEEPING)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, place / "root", place / "context"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "begun" not in process.stdout.readline():
        pass
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_stage_that_fails_ends_the_others_at_once(build: Builder) -> None:
    events: list[BuildProgress] = []
    build.context.mkdir()
    build.write(
        {
            "Dockerfile": "FROM bb:1 AS slow\nRUN sleep 1000\n"
            "FROM bb:1 AS bad\nRUN sleep 0.3; exit 3\n"
            "FROM bb:1\nCOPY --from=slow /x /x\nCOPY --from=bad /x /x\n"
        }
    )

    began = time.monotonic()
    with pytest.raises(BuildError) as caught:
        build.build(build.context, progress=events.append)

    assert time.monotonic() - began < 5
    assert (caught.value.line, caught.value.exit_code) == (4, 3)
    ends = {event.name: event.action for event in events if event.name.startswith("RUN")}
    assert ends == {"RUN sleep 1000": "cancelled", "RUN sleep 0.3; exit 3": "error"}


def test_a_command_that_waits_for_a_cache_is_ended_too(build: Builder) -> None:
    mount = "--mount=type=cache,id=waited-for,sharing=locked,target=/c"
    failing = (
        f"FROM bb:1 AS slow\nRUN {mount} sleep 1000\n"
        f"FROM bb:1 AS waits\nRUN sleep 0.4\nRUN {mount} true\n"
        "FROM bb:1\nCOPY --from=slow /x /x\nCOPY --from=waits /x /x\n"
    )
    events: list[BuildProgress] = []
    stop = threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT))

    stop.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        build(failing, progress=events.append)

    assert time.monotonic() - began < 5
    assert [event.action for event in events if event.name.startswith("RUN")].count(
        "cancelled"
    ) == 2


def test_a_download_that_does_not_go_on_is_left(build: Builder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        stop = threading.Timer(0.7, lambda: os.kill(os.getpid(), signal.SIGINT))

        stop.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            build(f"FROM bb:1\nADD {url} /x\n")

        assert time.monotonic() - began < 5


@pytest.mark.parametrize("times", [1, 2, 10])
def test_an_interrupted_build_leaves_a_cache_and_nothing_else(
    building: subprocess.Popen[str], place: Path, times: int
) -> None:
    for _ in range(times):
        building.send_signal(signal.SIGINT)
        time.sleep(0.005)

    output, _ = building.communicate(timeout=10)

    assert output.count("cancelled") == 2
    assert output.endswith("interrupted\n")
    _assert_tidy(place / "root")
    _assert_first_step_is_cached(place)


def test_a_killed_build_leaves_a_cache_and_nothing_else(
    building: subprocess.Popen[str], place: Path
) -> None:
    building.kill()
    building.communicate()

    with pc.Engine(root=place / "root") as engine:
        pc.Image.list(engine=engine)  # whoever comes next takes away what was left

    _assert_tidy(place / "root")
    _assert_first_step_is_cached(place)


def _assert_tidy(root: Path) -> None:
    with closing(sqlite3.connect(root / "state.db")) as database:
        assert database.execute("SELECT count(*) FROM containers").fetchone() == (0,)
        known = {row[0] for row in database.execute("SELECT directory FROM build_layers")}
        known |= {row[0] for row in database.execute("SELECT directory FROM layers")}
    assert list((root / "containers").iterdir()) == []
    assert {path.name for path in (root / "layers").iterdir()} == known
    assert list((root / "ingest").iterdir()) == []
    found = subprocess.run(["grep", "-rl", "very secret", root, "/run/pycontainers"], check=False)
    assert found.returncode == 1


def _assert_first_step_is_cached(place: Path) -> None:
    with pc.Engine(root=place / "root") as engine:
        (place / "context/Dockerfile").write_text(
            "FROM bb:1 AS one\nRUN touch /made && echo made\n"
        )
        built = Builder(engine, place / "context").build(place / "context")

        assert built.cached == ["RUN touch /made && echo made"]
