"""Containers that outlive their creator, found and used by any process of the same user."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from pycontainers.storage.root import run_directory
from tests.crashes.application import ended

CODE = """
import sys
import pycontainers as pc
engine = pc.Engine(root=sys.argv[1])
image = pc.Image.from_rootfs(sys.argv[2], engine=engine)
"""


def elsewhere(engine: pc.Engine, busybox: Path, code: str) -> str:
    """Run code in a process of its own, with the same data root; give what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE + code, engine.root, str(busybox)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def detached(image: pc.Image, engine: pc.Engine) -> Iterator[pc.Container]:
    script = "trap 'echo bye; exit 3' TERM; echo begun; while :; do sleep 0.05; done"
    with pc.Container.run(
        image, ["sh", "-c", script], name="far", detach=True, engine=engine
    ) as container:
        container.wait_for(log="begun")
        yield container


def test_it_outlives_its_creator(engine: pc.Engine, busybox: Path) -> None:
    code = """
c = pc.Container.run(image, ["sh", "-c", "echo here; sleep 60"], name="left", detach=True,
                     engine=engine)
print(c.id)
"""
    told = elsewhere(engine, busybox, code).strip()

    with pc.Container.get("left", engine=engine) as container:
        assert container.id == told
        assert container.status == "running"
        container.wait_for(log="here", timeout=10)
        assert container.exec(["echo", "in"]).stdout == "in\n"
        assert container in pc.Container.list(engine=engine)


def test_another_process_can_do_all_of_it(
    detached: pc.Container, engine: pc.Engine, busybox: Path
) -> None:
    code = """
c = pc.Container.get("far", engine=engine)
print(c.exec(["echo", "hi"]).stdout, c.logs().read(), c.status, sep="", end=" ")
c.pause(); print(c.status, end=" "); c.unpause()
c.rename("near")
c.stop()
print(c.status, c.exit_code)
"""
    assert elsewhere(engine, busybox, code) == "hi\nbegun\nrunning paused exited 3\n"

    assert (detached.name, detached.status, detached.exit_code) == ("near", "exited", 3)
    assert detached.logs().read() == "begun\nbye\n"


def test_the_state_is_true_when_nobody_looked(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(
        image, ["sh", "-c", "echo out; exit 7"], detach=True, engine=engine
    ) as container:
        deadline = time.monotonic() + 10
        while container.status != "exited" and time.monotonic() < deadline:
            time.sleep(0.01)

        assert container.exit_code == 7
        assert container.wait() == 7
        assert container.pid is None
        assert container.result.stdout == "out\n"
        assert container.result.usage.pids_peak is not None


def test_files_stay_over_stop_and_start(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(image, ["sleep", "60"], detach=True, engine=engine) as container:
        container.exec(["sh", "-c", "echo kept >/note"], check=True)
        container.stop(timeout=0)
        container.start()

        assert container.exec(["cat", "/note"]).stdout == "kept\n"


def test_wrong_states_are_conflicts(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.create(image, ["sleep", "60"], detach=True, engine=engine) as container:
        for act in (container.kill, container.pause, container.unpause, container.wait,
                    container.stats, container.top, lambda: container.exec(["true"])):  # fmt: skip
            with pytest.raises(pc.Conflict):
                act()
        container.stop()
        container.start()
        with pytest.raises(pc.Conflict, match="running"):
            container.start()
        with pytest.raises(pc.Conflict):
            container.unpause()
        with pytest.raises(pc.Conflict):
            container.remove()
        with pytest.raises(pc.Conflict, match="terminal"):
            container.resize(10, 20)
        container.pause()
        with pytest.raises(pc.Conflict, match="paused"):
            container.exec(["true"])
        with pytest.raises(pc.Conflict):
            container.pause()
        with pytest.raises(pc.InvalidArgument):
            container.stop(timeout=-1)
        with pytest.raises(pc.InvalidArgument):
            container.wait(timeout=-1)


def test_a_reaping_init_passes_the_stop_signal_on(image: pc.Image, engine: pc.Engine) -> None:
    script = "trap 'echo bye; exit 5' TERM; echo begun; while :; do sleep 0.05; done"
    with pc.Container.run(image, ["sh", "-c", script], init=True, engine=engine) as container:
        container.wait_for(log="begun")
        container.stop(timeout=10)

        assert container.exit_code == 5


def test_a_paused_container_can_be_killed(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(image, ["sleep", "60"], detach=True, engine=engine) as container:
        container.pause()
        container.kill()

        assert container.wait(timeout=10) == 137


def test_names_and_beginnings_of_ids(image: pc.Image, engine: pc.Engine) -> None:
    with (
        pc.Container.create(image, ["true"], name="one", detach=True, engine=engine) as one,
        pc.Container.create(image, ["true"], name="two", engine=engine) as two,
    ):
        with pytest.raises(pc.Conflict):
            two.rename("one")
        with pytest.raises(pc.InvalidArgument):
            two.rename("bad name")
        with pytest.raises(pc.Conflict):
            pc.Container.create(image, ["true"], name="one", engine=engine)
        with pytest.raises(pc.ContainerNotFound):
            pc.Container.get("", engine=engine)
        with pytest.raises(pc.ContainerNotFound):
            pc.Container.get("nobody", engine=engine)
        one.rename("three")
        assert pc.Container.get("three", engine=engine) == one
        found = pc.Container.list(all=True, filters={"name": "thr"}, engine=engine)
        assert found == [one]
        with pytest.raises(pc.InvalidArgument):
            pc.Container.list(filters={"colour": "red"}, engine=engine)


def test_filters(image: pc.Image, engine: pc.Engine) -> None:
    with (
        pc.Container.run(image, ["sleep", "60"], labels={"a": "1"}, engine=engine) as one,
        pc.Container.create(image, ["true"], labels={"a": "2", "b": ""}, engine=engine) as two,
    ):

        def found(**filters: str | list[str]) -> list[pc.Container]:
            return pc.Container.list(all=True, filters=filters, engine=engine)

        assert found(label="a") == [one, two]
        assert found(label=["a=2", "b"]) == [two]
        assert found(status=["created", "exited"]) == [two]
        assert found(id=one.id[:8]) == [one]
        assert found(ancestor=image.id) == [one, two]
        assert pc.Container.prune(filters={"label": "b"}, engine=engine) == [two.id]
        two_again = pc.Container.list(all=True, filters={"label": "b"}, engine=engine)
        assert two_again == []


@pytest.mark.parametrize(("policy", "code", "restarts"), [
    ("on-failure:2", 3, 2), ("on-failure:2", 0, 0), ("no", 3, 0)])  # fmt: skip
def test_restart_policies(
    policy: str, code: int, restarts: int, image: pc.Image, engine: pc.Engine
) -> None:
    with pc.Container.run(
        image, ["sh", "-c", f"echo x; exit {code}"], restart=policy, detach=True, engine=engine
    ) as container:
        deadline = time.monotonic() + 20
        while container.status != "exited" and time.monotonic() < deadline:
            time.sleep(0.02)

        assert container.exit_code == code
        assert container.restarts == restarts
        assert container.logs().read() == "x\n" * (restarts + 1)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_was_stopped_or_killed_is_not_restarted(
    end: str, image: pc.Image, engine: pc.Engine
) -> None:
    with pc.Container.run(
        image, ["sleep", "60"], restart="always", detach=True, engine=engine
    ) as container:
        pid = container.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)  # not by the engine: that is a failure
        deadline = time.monotonic() + 20
        while container.restarts < 1 or container.status != "running":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert container.pid != pid

        getattr(container, end)()

        container.wait(timeout=10)
        time.sleep(0.3)
        assert container.status == "exited"


def test_a_stop_between_two_restarts_is_for_good(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(image, ["false"], restart="always", detach=True, engine=engine) as one:
        deadline = time.monotonic() + 20
        while one.status != "restarting" and time.monotonic() < deadline:
            time.sleep(0.01)
        one.stop()

        assert (one.status, one.exit_code) == ("exited", 1)


def test_after_a_reboot_containers_are_exited_and_can_be_started(
    tmp_path: Path, busybox: Path
) -> None:
    with pc.Engine(root=tmp_path / "root") as own:
        image = pc.Image.from_rootfs(busybox, engine=own)
        script = "cat /note; echo kept >/note; exec sleep 60"
        with pc.Container.run(
            image, ["sh", "-c", script], name="db", detach=True, engine=own
        ) as container:
            while container.exec(["test", "-e", "/note"]).exit_code:
                time.sleep(0.02)
            supervisor = container.attrs["supervisor"][0]
            os.kill(supervisor, signal.SIGKILL)
            assert container.wait(timeout=10) == 137
            # What a reboot clears; what else is there other containers use.
            (run_directory() / "supervisors" / container.id).unlink(missing_ok=True)

            assert (container.status, container.exit_code) == ("exited", 137)
            container.start()
            container.wait_for(log="kept", timeout=10)


def test_a_killed_supervisor_takes_the_container_along_and_all_is_told(
    detached: pc.Container, engine: pc.Engine
) -> None:
    pid, supervisor = detached.pid, detached.attrs["supervisor"][0]
    assert pid is not None

    os.kill(supervisor, signal.SIGKILL)

    assert detached.wait(timeout=10) == 137
    assert detached.status == "exited"
    assert "supervisor" in detached.attrs["error"]
    assert detached.logs().read() == "begun\n"
    assert ended(pid)
    detached.start()
    assert detached.status == "running"


def test_a_killed_nursery_is_missed_by_nobody(detached: pc.Container, image: pc.Image) -> None:
    engine = pc.Engine(root=detached.root)
    parent = Path(f"/proc/{detached.attrs['supervisor'][0]}/stat").read_bytes()
    os.kill(int(parent.rpartition(b")")[2].split()[1]), signal.SIGKILL)

    assert detached.exec(["echo", "fine"]).stdout == "fine\n"
    with pc.Container.run(image, ["sleep", "60"], detach=True, engine=engine) as other:
        assert other.exec(["echo", "too"]).stdout == "too\n"


def test_auto_remove_loses_no_exit_code(image: pc.Image, engine: pc.Engine) -> None:
    container = pc.Container.run(
        image, ["sh", "-c", "sleep 0.2; exit 5"], auto_remove=True, detach=True, name="brief",
        engine=engine,
    )  # fmt: skip

    assert container.wait(timeout=10) == 5
    assert pc.Container.list(all=True, engine=engine) == []
    with pytest.raises(pc.ContainerNotFound):
        pc.Container.get("brief", engine=engine)


def test_a_start_that_fails_tells_why_and_leaves_it_created(
    image: pc.Image, engine: pc.Engine
) -> None:
    with pc.Container.create(image, ["nowhere"], detach=True, engine=engine) as container:
        with pytest.raises(pc.CommandNotFound):
            container.start()

        assert container.status == "created"
        assert "nowhere" in container.attrs["error"]
        assert container.id not in engine.services().cgroups.listing()


def test_limits_change_on_a_live_container(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(
        image, ["sleep", "60"], memory="64m", pids=20, detach=True, engine=engine
    ) as container:
        container.update(memory="32m", pids=10, cpus=0.5, restart="on-failure:1")

        stats = container.stats()
        assert (stats.memory_limit, stats.pids_limit) == (32 << 20, 10)
        assert container.attrs["options"]["restart"]["name"] == "on-failure"
        with pytest.raises(pc.InvalidArgument):
            container.update(memory="1k")
        container.restart(timeout=0)
        assert container.stats().pids_limit == 10


def test_out_of_memory_is_told(image: pc.Image, engine: pc.Engine) -> None:
    script = "tail /dev/zero"
    with pc.Container.run(
        image, ["sh", "-c", f"exec {script}"], memory="16m", detach=True, engine=engine
    ) as container:
        assert container.wait(timeout=30) == 137
        assert container.result.reason == "oom"


def test_a_wall_clock_limit_ends_it(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(
        image, ["sleep", "60"], timeout=0.3, detach=True, engine=engine
    ) as container:
        assert container.wait(timeout=10) == 137
        assert container.result.reason == "timeout"


def test_clients_that_give_up_leave_nothing_with_the_supervisor(detached: pc.Container) -> None:
    control = detached._life().control
    before = control.ask("report")["fds"]
    for _ in range(50):
        with pytest.raises(pc.Timeout):
            detached.wait(timeout=0)
    with pytest.raises(pc.LaunchError, match="knows no"):
        control.ask("nonsense")
    with pytest.raises(pc.LaunchError, match="number"):
        control.ask("signal")

    deadline = time.monotonic() + 10
    while control.ask("report")["fds"] > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert control.ask("report")["fds"] <= before
    assert detached.status == "running"


def test_the_state_file_is_json_for_everybody(detached: pc.Container) -> None:
    path = Path(detached.attrs["directory"], "state.json")

    assert json.loads(path.read_text())["status"] == "running"


def test_supervisors_load_little_and_are_small(detached: pc.Container, engine: pc.Engine) -> None:
    detached.exec(["true"], timeout=10)
    report = detached._life().control.ask("report")
    strange = [name for name in report["modules"] if name.partition(".")[0] not in
               {*sys.stdlib_module_names, "pycontainers", "__main__"}]  # fmt: skip
    supervisor = detached.attrs["supervisor"][0]
    own = Path(f"/proc/{supervisor}/smaps_rollup").read_text()
    private = sum(
        int(line.split()[1]) for line in own.splitlines() if line.startswith("Private_Dirty")
    )

    assert strange == []
    assert not {"sqlite3", "attr", "pathlib", "typing_extensions"} & set(report["modules"])
    assert private < 4096  # KiB
