"""The application is left as it was, forks and event loops included."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pycontainers as pc

ROOT = Path(__file__).parents[2]


def _program(body: str, tmp_path: Path, busybox: Path) -> subprocess.CompletedProcess[str]:
    head = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import os, signal, threading, pycontainers as pc\n"
        f"engine = pc.Engine(root={str(tmp_path / 'root')!r})\n"
        f"image = pc.Image.from_rootfs({str(busybox)!r}, engine=engine)\n"
    )
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", head + body],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_forked_child_gets_its_own_launcher(tmp_path: Path, busybox: Path) -> None:
    body = """
with pc.Container.run(image, ["sleep", "60"], engine=engine) as container:
    pid = os.fork()
    if pid == 0:
        said = pc.run(["echo", "child"], image=image, engine=engine).stdout
        os._exit(0 if said == "child\\n" else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert container.status == "running"
    assert container.exec(["echo", "parent"]).stdout == "parent\\n"
"""
    done = _program(body, tmp_path, busybox)

    assert done.returncode == 0, done.stderr


def test_an_application_that_ignores_its_children_works(tmp_path: Path, busybox: Path) -> None:
    body = """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
assert pc.run(["true"], image=image, engine=engine).ok
engine.close()
"""
    done = _program(body, tmp_path, busybox)

    assert done.returncode == 0, done.stderr


def test_the_application_is_left_as_it_was(image: pc.Image, engine: pc.Engine) -> None:
    def state() -> tuple[object, ...]:
        mask = os.umask(0)
        os.umask(mask)
        handlers = [signal.getsignal(n) for n in (signal.SIGCHLD, signal.SIGINT, signal.SIGPIPE)]
        namespaces = [os.readlink(f"/proc/self/ns/{n}") for n in ("mnt", "pid", "user")]
        return os.getcwd(), mask, handlers, namespaces, threading.active_count()

    before = state()
    pc.run(["true"], image=image, engine=engine)

    assert state() == before


def test_it_works_beside_an_event_loop(image: pc.Image, engine: pc.Engine) -> None:
    async def several() -> list[str]:
        def one(number: int) -> str:
            return pc.run(["echo", str(number)], image=image, engine=engine).stdout.strip()

        return await asyncio.gather(*(asyncio.to_thread(one, number) for number in range(6)))

    assert asyncio.run(several()) == [str(number) for number in range(6)]


def test_a_kernel_of_jupyter_runs_containers(tmp_path: Path) -> None:
    from jupyter_client.manager import start_new_kernel

    environment = {
        **os.environ,
        "PYCONTAINERS_ROOT": str(tmp_path / "root"),
        "PYTHONPATH": str(ROOT),
    }
    manager, client = start_new_kernel(env=environment)
    try:
        reply = client.execute_interactive(
            "import pycontainers as pc; assert pc.run(['echo', 'hi']).stdout == 'hi\\n'",
            timeout=60,
            output_hook=lambda message: None,
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
        manager.cleanup_resources()

    assert reply["content"]["status"] == "ok"
