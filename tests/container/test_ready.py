"""Health checks, waiting until a container is ready, connections into it, and events."""

from __future__ import annotations

import errno
import threading
import time

import pytest

import pycontainers as pc

SERVER = [
    "sh",
    "-c",
    "while :; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nhi' | nc -l -p 80 >/dev/null; done",
]


def wait_health(container: pc.Container, wanted: str) -> None:
    deadline = time.monotonic() + 20
    while container.health != wanted:
        assert time.monotonic() < deadline, container.attrs["health"]
        time.sleep(0.02)


def test_a_check_finds_health_and_illness(image: pc.Image, engine: pc.Engine) -> None:
    check = {"test": ["CMD", "test", "-e", "/tmp/well"], "interval": 0.1, "retries": 2,
             "timeout": 5}  # fmt: skip
    with pc.Container.run(image, ["sleep", "60"], healthcheck=check, engine=engine) as container:
        assert container.health == "starting"
        container.exec(["touch", "/tmp/well"])
        wait_health(container, "healthy")
        container.wait_for(healthy=True)
        container.exec(["rm", "/tmp/well"])
        wait_health(container, "unhealthy")

        known = container.attrs["health"]
        assert known["failing_streak"] >= 2
        assert known["log"][-1]["exit_code"] == 1
        assert len(known["log"]) <= 5


def test_a_check_that_hangs_is_killed_with_what_it_started(
    image: pc.Image, engine: pc.Engine
) -> None:
    check = {"test": "echo trying; setsid sleep 71 & sleep 71", "interval": 0.1, "timeout": 0.3,
             "retries": 1}  # fmt: skip
    with pc.Container.run(image, ["sleep", "60"], healthcheck=check, engine=engine) as container:
        wait_health(container, "unhealthy")
        container.update(restart="no")

        assert "trying" in container.attrs["health"]["log"][0]["output"]
        assert "longer than 0.3 s" in container.attrs["health"]["log"][0]["output"]
        assert sum("sleep 71" in p.command for p in container.top()) <= 3


def test_failures_in_the_start_period_do_not_count(image: pc.Image, engine: pc.Engine) -> None:
    check = {"test": ["CMD", "false"], "interval": 0.1, "start_interval": 0.05, "retries": 1,
             "start_period": 1.0, "timeout": 5}  # fmt: skip
    with pc.Container.run(image, ["sleep", "60"], healthcheck=check, engine=engine) as container:
        time.sleep(0.5)
        assert container.health == "starting"
        wait_health(container, "unhealthy")


def test_waiting_for_a_line_of_the_log(image: pc.Image, engine: pc.Engine) -> None:
    script = "sleep 0.2; echo 'server ready on 80'; sleep 60"
    with pc.Container.run(image, ["sh", "-c", script], engine=engine) as container:
        container.wait_for(log=r"ready on \d+", timeout=10)
        with pytest.raises(pc.Timeout, match="server ready"):
            container.wait_for(log="never", timeout=0.3)


def test_a_wait_fails_at_once_when_the_container_has_died(
    image: pc.Image, engine: pc.Engine
) -> None:
    script = "echo 'no such database'; sleep 0.2; exit 3"
    for what in ({"log": "ready"}, {"port": 80}, {"http": "/"}):
        with pc.Container.run(image, ["sh", "-c", script], engine=engine) as container:
            begun = time.monotonic()
            with pytest.raises(pc.Conflict, match=r"(?s)exit code 3.*no such database"):
                container.wait_for(**what, timeout=60)
            assert time.monotonic() - begun < 20


def test_ports_are_reached_from_within(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(image, SERVER, engine=engine) as container:
        container.wait_for(port=80, timeout=20)
        container.wait_for(http="/health", timeout=20)
        deadline = time.monotonic() + 10
        while True:
            try:
                connection = container.connect(80)
                break
            except pc.LaunchError:  # between two turns of the little server
                assert time.monotonic() < deadline
                time.sleep(0.02)
        with connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.0 200")
        with pytest.raises(pc.LaunchError) as refused:
            container.connect(81)
        assert refused.value.errno == errno.ECONNREFUSED
        for bad in ({"port": 0}, {"port": 80, "host": "example.org"}):
            with pytest.raises(pc.InvalidArgument):
                container.connect(**bad)
        for wrong in ({}, {"log": "("}, {"http": "health"}, {"healthy": True}):
            with pytest.raises(pc.InvalidArgument):
                container.wait_for(**wrong)


def test_events_tell_of_a_whole_life(image: pc.Image, engine: pc.Engine) -> None:
    begun = time.time()
    with pc.Container.run(
        image, ["sleep", "60"], name="seen", labels={"kind": "test"}, engine=engine
    ) as container:
        container.exec(["false"])
        container.pause()
        container.unpause()
        container.rename("renamed")
        container.kill()
        container.wait()
        container.start()
        container.stop(timeout=0)

    with pc.events(since=begun, follow=False, filters={"container": container.id},
                   engine=engine) as found:  # fmt: skip
        told = list(found)
    actions = [event.action for event in told]
    assert actions == [
        "create", "start", "exec_start", "exec_die", "pause", "unpause", "rename", "kill", "die",
        "stop", "start", "die", "stop", "destroy",
    ]  # fmt: skip
    deaths = [event for event in told if event.action == "die"]
    assert [event.attributes["exitCode"] for event in deaths] == ["137", "137"]
    assert told[0].attributes["kind"] == "test"
    assert {event.attributes["name"] for event in told} == {"seen", "renamed"}


def test_events_come_while_they_happen(image: pc.Image, engine: pc.Engine) -> None:
    seen: list[str] = []
    ready = threading.Event()

    def watch() -> None:
        with pc.events(filters={"label": "watched", "event": ["start", "die"]},
                       engine=engine) as events:  # fmt: skip
            ready.set()
            for event in events:
                seen.append(event.action)
                if event.action == "die":
                    return

    thread = threading.Thread(target=watch)
    thread.start()
    ready.wait(10)
    with pc.Container.run(image, ["true"], labels={"watched": ""}, engine=engine) as container:
        container.wait()
    thread.join(10)

    assert seen == ["start", "die"]
