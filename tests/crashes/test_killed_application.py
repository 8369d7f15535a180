"""SIGKILL of the application, in every phase of a container's life."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests import leaks
from tests.crashes.application import Application, ended

_PHASES = {
    "created": """
        engine.services()
        say("go")
        while True:
            pc.Container.create(image, ["true"], engine=engine)
    """,
    "launcher starting": """
        say("go")
        engine.services().launcher()
        time.sleep(60)
    """,
    "starting": """
        pc.run(["true"], image=image, engine=engine)
        say("go")
        while True:
            pc.run(["true"], image=image, engine=engine, ephemeral=False)
    """,
    "first start": """
        say("go")
        pc.Container.run(image, ["sleep", "60"], engine=engine, ephemeral=False)
        time.sleep(60)
    """,
    "running": """
        for number in range(6):
            script = "setsid sleep 60 & echo x >/note; exec sleep 60"
            pc.Container.run(image, ["sh", "-c", script], engine=engine, ephemeral=number % 2 == 0)
        say("go")
        time.sleep(60)
    """,
    "executing": """
        container = pc.Container.run(image, ["sleep", "60"], engine=engine)
        say("go")
        while True:
            container.exec(["true"], timeout=30)
            container.exec(["true"])
    """,
    "removing": """
        script = "mkdir /many; for i in $(seq 800); do : >/many/$i; done"
        say("go")
        while True:
            with pc.Container.run(image, ["sh", "-c", script], engine=engine) as container:
                container.wait()
    """,
    "unpacking": """
        import io, tarfile
        with tarfile.open("/dev/shm/" + os.path.basename(sys.argv[1]), "w") as archive:
            for number in range(3000):
                archive.addfile(tarfile.TarInfo(f"file{number}"), io.BytesIO())
        file = os.open(archive.name, os.O_RDONLY)
        os.unlink(archive.name)
        say("go")
        pc.Image.from_rootfs(f"/proc/self/fd/{file}", engine=engine)
        time.sleep(60)
    """,
}


@pytest.mark.parametrize("phase", _PHASES)
def test_a_killed_application_leaves_nothing(phase: str, root: Path, busybox: Path) -> None:
    before = leaks.snapshot()
    for delay in random.Random(phase).choices(range(60), k=4):
        with Application(_PHASES[phase], root, busybox) as application:
            assert application.line() == "go"
            time.sleep(delay / 1000)

            application.kill()

        leaks.assert_none_since(before, "processes", "mounts", "network namespaces")
        leaks.assert_recovered(root, before)


def test_a_killed_application_takes_its_containers_along_though_its_children_live_on(
    root: Path, busybox: Path
) -> None:
    program = """
        containers = [
            pc.Container.run(image, ["sleep", "60"], engine=engine, ephemeral=ephemeral)
            for ephemeral in (True, False)
        ]
        child = os.fork()  # it holds every descriptor that the library has open
        if child == 0:
            time.sleep(60)
        say(child, *[container.pid for container in containers])
        time.sleep(60)
    """
    before = leaks.snapshot()
    with Application(program, root, busybox) as application:
        child, *containers = map(int, application.line().split())
        try:
            assert not any(map(ended, containers))

            application.kill()

            leaks.assert_none_since(before, "processes")
            leaks.assert_recovered(root, before)
            assert not ended(child)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_killed_application_is_dead_before_its_parent_reaps_it(root: Path, busybox: Path) -> None:
    program = """
        pc.Container.run(image, ["sleep", "60"], engine=engine, ephemeral=False)
        say("go")
        time.sleep(60)
    """
    before = leaks.snapshot()
    with Application(program, root, busybox) as application:
        application.line()

        application.process.send_signal(signal.SIGKILL)  # what has not been waited for is a zombie

        leaks.assert_none_since(before, "processes")
        leaks.assert_recovered(root, before)


@pytest.mark.parametrize("end", ["sys.exit(0)", "raise RuntimeError", "os._exit(0)"])
def test_an_application_that_ends_leaves_no_process(end: str, root: Path, busybox: Path) -> None:
    program = f"""
        pc.Container.run(image, ["sleep", "60"], engine=engine, ephemeral=False)
        pc.Container.create(image, ["sleep", "60"], engine=engine)
        say("go")
        {end}
    """
    before = leaks.snapshot()
    with Application(program, root, busybox) as application:
        application.line()

        application.process.wait()

        leaks.assert_none_since(before, "processes", "cgroups")
        assert end == "os._exit(0)" or not leaks.in_root(root)
        leaks.assert_recovered(root, before)


def test_recovery_spares_what_a_living_process_has(root: Path, busybox: Path) -> None:
    living = """
        containers = [
            pc.Container.run(image, ["sleep", "60"], engine=engine, ephemeral=ephemeral)
            for ephemeral in (True, False)
        ]
        late = pc.Container.create(image, ["echo", "late"], engine=engine, ephemeral=False)
        containers.append(late)
        say("go")
        sys.stdin.readline()
        containers[2].start()
        say(containers[2].wait(), *[c.exec(["echo", "alive"]).stdout for c in containers[:2]])
    """
    dying = """
        pc.Container.run(image, ["sleep", "60"], engine=engine, ephemeral=False)
        say("go")
        time.sleep(60)
    """
    reader, writer = os.pipe()
    with Application(living, root, busybox, terminal=reader) as survivor:
        os.close(reader)
        assert survivor.line() == "go"
        with Application(dying, root, busybox) as application:
            assert application.line() == "go"
            assert len(_rows(root)) == 4
            application.kill()

        with Application("engine.services()", root, busybox) as third:
            third.lines()
        assert len(_rows(root)) == 3
        os.close(writer)

        assert survivor.lines() == ["0 alive", " alive", ""]


def test_recovery_never_disturbs_a_start_in_another_process(root: Path, busybox: Path) -> None:
    starting = """
        for number in range(120):
            result = pc.run(["echo", str(number)], image=image, engine=engine, ephemeral=False)
            assert result.stdout == f"{number}\\n", result
        say("done")
    """
    opening = """
        for _ in range(60):
            with pc.Engine(root=sys.argv[1]) as opened:
                opened.services()
                pc.Container.list(all=True, engine=opened)
    """
    with (
        Application(starting, root, busybox) as one,
        Application(starting, root, busybox) as other,
        Application(opening, root, busybox) as third,
    ):
        third.lines()

        assert one.lines() == ["done"]
        assert other.lines() == ["done"]


def _rows(root: Path) -> list[str]:
    return [name for name in leaks.in_root(root) if name.startswith("row")]
