"""SIGKILL of everything while a client writes: what the server acknowledged is in its volume."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

import pycontainers as pc
from tests import leaks
from tests.crashes.application import Application, children
from tests.services.servers import BY_NAME

_PROGRAM = """
    from tests.services.servers import BY_NAME

    server = BY_NAME[{server!r}]
    volume = pc.Volume.create("data", size={size!r}, engine=engine)
    container = server.run(image, volume, engine, name="store", detach={detach})
    server.wait(container)
    container.exec(server.ask(*server.create), check=True)
    say(container.attrs["supervisor"][0])
    for number in range(100000):
        container.exec(server.ask(*server.added(number)), check=True)
        say(number)
"""


def _parent(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_bytes()
    return int(stat.rpartition(b")")[2].split()[1])


def _family(pid: int) -> list[int]:
    try:
        return [pid, *(one for child in children(pid) for one in _family(child))]
    except OSError:  # a client that has just ended
        return []


@pytest.mark.parametrize(
    ("detach", "size"),
    [(False, None), (True, None), (True, "512m")],
    ids=["attached", "detached", "sized"],
)
@pytest.mark.parametrize("name", BY_NAME)
def test_what_was_acknowledged_survives_sigkill_of_everything(
    name: str, detach: bool, size: str | None, root: Path, debian_root: Path
) -> None:
    server = BY_NAME[name]
    before = leaks.snapshot()
    program = _PROGRAM.format(server=name, detach=detach, size=size)
    with Application(program, root, debian_root) as application:
        nursery = _parent(int(application.line()))
        acknowledged = [int(application.line()) for _ in range(10)]

        for pid in (*_family(application.process.pid), *_family(nursery)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

        application.process.wait()
        assert application.process.stdout is not None
        acknowledged += map(int, application.process.stdout.read().split())
        leaks.assert_none_since(before, "processes", "mounts", "network namespaces")

    with pc.Engine(root=root) as engine:
        if detach:
            container = pc.Container.get("store", engine=engine)
            assert (container.status, container.exit_code) == ("exited", 137)
            container.start()
        else:
            assert pc.Container.list(all=True, engine=engine) == []
            image = pc.Image.from_rootfs(debian_root, engine=engine)
            container = server.run(image, "data", engine)
        with container:
            server.wait(container)
            read = container.exec(server.ask(*server.read), check=True)

    found = [int(line) for line in read.stdout.split()]
    # One more may have been written before its client was told.
    assert found in (acknowledged, [*acknowledged, len(acknowledged)])
