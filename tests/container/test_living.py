"""What a Container promises: its course, programs executed in it, and what others see of it."""

from __future__ import annotations

import pickle
import time

import pytest

import pycontainers as pc


def test_exec_runs_beside_the_program(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(image, ["sleep", "60"], env={"A": "1"}, engine=engine) as container:
        result = container.exec(
            ["sh", "-c", "echo $A $B $$; id -u; exit 5"], env={"B": "2"}, user="app"
        )

        assert result.stdout.split()[:2] == ["1", "2"]
        assert result.stdout.split()[-1] == "1000"
        assert result.exit_code == 5


def test_a_timed_out_exec_dies_with_all_it_started(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(image, ["sleep", "60"], engine=engine) as container:
        script = "echo begun; setsid sleep 77 & setsid setsid sleep 77 & sleep 77"
        result = container.exec(["sh", "-c", script], timeout=0.5)

        assert (result.reason, result.stdout) == ("timeout", "begun\n")
        assert "sleep 77" not in container.exec(["ps"]).stdout
        assert container.status == "running"


def test_popen_streams(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(image, ["sleep", "60"], engine=engine) as container:
        with container.popen(["cat"], stdin=True) as cat:
            assert cat.stdin is not None
            assert cat.stdout is not None
            cat.stdin.write(b"line\n")
            assert cat.stdout.read(5) == b"line\n"
            cat.stdin.close()
            cat.stdin = None
            assert cat.wait(timeout=10) == 0
        with pytest.raises(pc.Timeout), container.popen(["sleep", "60"]) as sleeper:
            sleeper.wait(timeout=0.1)


def test_its_course(image: pc.Image, engine: pc.Engine) -> None:
    container = pc.Container.create(
        image, ["sh", "-c", "echo hi; sleep 60"], name="one", engine=engine
    )
    assert (container.status, container.pid, container.exit_code) == ("created", None, None)

    container.start()
    assert container.status == "running"
    assert container.pid
    with pytest.raises(pc.Conflict):
        container.start()
    with pytest.raises(pc.Conflict):
        container.remove()
    with pytest.raises(pc.Timeout):
        container.wait(timeout=0.05)

    container.stop(timeout=0)
    assert (container.status, container.exit_code) == ("exited", 137)
    assert container.logs().read() == "hi\n"

    container.restart()
    assert container.status == "running"
    container.remove(force=True)
    container.remove(missing_ok=True)
    with pytest.raises(pc.ContainerNotFound):
        container.remove()
    assert "removed" in repr(container)


def test_a_restart_keeps_the_files(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(image, ["sleep", "60"], engine=engine) as container:
        container.exec(["sh", "-c", "echo kept > /file"])
        container.restart()

        assert container.exec(["cat", "/file"]).stdout == "kept\n"


def test_stop_asks_first_and_does_not_wait_in_vain(image: pc.Image, engine: pc.Engine) -> None:
    polite = "trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done"
    with pc.Container.run(image, ["sh", "-c", polite], engine=engine) as container:
        time.sleep(0.2)
        container.stop(timeout=10)
        assert (container.exit_code, container.logs().read()) == (0, "bye\n")
    with pc.Container.run(image, ["sleep", "60"], engine=engine) as container:
        begun = time.monotonic()
        container.stop(timeout=30)
        assert time.monotonic() - begun < 15


def test_names_are_unique_and_found(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(
        image, ["sleep", "60"], name="web", labels={"a": "b"}, engine=engine
    ) as web:
        assert pc.Container.get("web", engine=engine) == web
        assert pc.Container.get(web.id[:10], engine=engine) == web
        assert pc.Container.list(engine=engine) == [web]
        assert web.labels == {"a": "b"}
        assert pickle.loads(pickle.dumps(web)).status == "running"
        assert repr(web) == f"<Container web {web.id[:12]} running>"
        with pytest.raises(pc.Conflict):
            pc.Container.create(image, ["true"], name="web", engine=engine)
    with pytest.raises(pc.ContainerNotFound):
        pc.Container.get("web", engine=engine)


def test_a_start_that_fails_leaves_nothing(image: pc.Image, engine: pc.Engine) -> None:
    with pytest.raises(pc.CommandNotFound):
        pc.Container.run(image, ["nowhere"], engine=engine)

    assert pc.Container.list(all=True, engine=engine) == []


def test_explain_names_steps_and_features(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.create(image, ["true"], engine=engine) as container:
        text = str(container.explain())

        assert "pivot_root(2)" in text
        assert "execute true" in text
        assert "<table>" in container.explain()._repr_html_()


def test_attach_gives_the_terminal(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.create(image, ["sh"], tty=True, stdin=True, engine=engine) as container:
        terminal = container.attach()
        assert terminal.stdin is not None
        assert terminal.stdout is not None
        terminal.resize(10, 20)
        terminal.stdin.write(b"stty size; exit 7\n")
        output = b"".join(iter(lambda: terminal.stdout.read(4096), b""))  # type: ignore[union-attr]

        assert b"10 20" in output
        assert terminal.wait(timeout=10) == 7
        terminal.close()


def test_many_execs_leak_no_descriptor(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(image, ["sleep", "60"], engine=engine) as container:
        container.exec(["true"])
        before = engine.services().launcher().report()["fds"]
        for _ in range(100):
            container.exec(["true"])

        assert engine.services().launcher().report()["fds"] <= before + 8  # a spare may have come
