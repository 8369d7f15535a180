"""Events: every process's, in order, filtered, from any moment on, until one or a close."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pycontainers.errors import InvalidArgument
from pycontainers.lifecycle.events import Event, Events
from pycontainers.runtime import journal

WEB, DB, BACK = "3f2a" * 16, "ab12" * 16, "77c0" * 16


def append(directory: Path, action: str, at: float, container_id: str = WEB, **more: str) -> None:
    name = {WEB: "web", DB: "db"}[container_id]
    attributes = {"name": name, "image": f"{name}:1", **more}
    journal.append(str(directory), action, container_id, attributes, now=at)


def actions(directory: Path, **options: Any) -> list[str]:
    with Events(str(directory), follow=False, **options) as events:
        return [event.action for event in events]


def test_an_event_says_what_happened_to_what(tmp_path: Path) -> None:
    append(tmp_path, "die", 1000.5, exitCode="0")

    (event,) = Events(str(tmp_path), since=0, follow=False)

    assert event == Event(
        1000.5, "container", "die", WEB, {"name": "web", "image": "web:1", "exitCode": "0"}
    )
    clock = time.strftime("%H:%M:%S", time.localtime(1000.5))
    assert repr(event) == f"<Event die web 3f2a3f2a3f2a {clock}>"


def test_a_volumes_id_is_its_name(tmp_path: Path) -> None:
    journal.append(str(tmp_path), "create", "a-long-name-of-a-volume", {}, kind="volume", now=1.0)

    (event,) = Events(str(tmp_path), follow=False)

    clock = time.strftime("%H:%M:%S", time.localtime(1.0))
    assert repr(event) == f"<Event create a-long-name-of-a-volume {clock}>"


def test_uses_that_begin_and_end_are_one_write(tmp_path: Path) -> None:
    with_more = {"container": WEB, "destination": "/data"}
    uses: list[list[Any]] = [
        ["volume", "data", with_more, {"container": WEB}],
        ["network", BACK, {"name": "back"}, {"name": "back"}],
    ]
    journal.append_uses(str(tmp_path), uses, begin=True)
    journal.append_uses(str(tmp_path), uses[::-1], begin=False)
    journal.append_uses(str(tmp_path), [], begin=True)

    told = list(Events(str(tmp_path), follow=False))

    assert [(one.type, one.action, one.id) for one in told] == [
        ("volume", "mount", "data"),
        ("network", "connect", BACK),
        ("network", "disconnect", BACK),
        ("volume", "unmount", "data"),
    ]
    assert told[0].time == told[1].time
    assert told[0].attributes == with_more
    assert told[3].attributes == {"container": WEB}


def test_moments_bound_what_is_given(tmp_path: Path) -> None:
    for at, action in enumerate(["create", "start", "die", "destroy"]):
        append(tmp_path, action, 1000.0 + at)

    assert actions(tmp_path) == ["create", "start", "die", "destroy"]
    assert actions(tmp_path, since=1002) == ["die", "destroy"]
    assert actions(tmp_path, until=1001.0) == ["create", "start"]
    assert actions(tmp_path, since=1001, until=1002) == ["start", "die"]
    assert actions(tmp_path, since=timedelta(days=1)) == []
    assert [one.action for one in Events(str(tmp_path), since=1002, until=1002)] == ["die"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"container": "web"}, ["create", "die"]),
        ({"container": "we"}, []),
        ({"container": WEB}, ["create", "die"]),
        ({"container": WEB[:4]}, ["create", "die"]),
        ({"container": WEB[:3]}, []),
        ({"container": ["web", "db"]}, ["create", "start", "die"]),
        ({"event": "start"}, ["start"]),
        ({"event": ["start", "die"], "container": "web"}, ["die"]),
        ({"type": "image"}, ["pull"]),
        ({"type": ("container",), "event": "pull"}, []),
        ({"image": "db:1"}, ["start", "pull"]),
        ({"image": "4ee3"}, ["pull"]),
        ({"label": "team"}, ["die"]),
        ({"label": "team=a"}, ["die"]),
        ({"label": "team=b"}, []),
        ({"label": "team="}, []),
        ({"network": "back"}, ["connect"]),
        ({"network": BACK[:4]}, ["connect"]),
        ({"network": "web"}, []),
        ({"volume": "data"}, ["mount"]),
        ({"volume": "dat"}, []),
        ({"type": ["network", "volume"]}, ["connect", "mount"]),
        ({"network": "back", "container": "web"}, []),
        ({}, ["create", "start", "die", "pull", "connect", "mount"]),
    ],
)
def test_filters_choose(tmp_path: Path, filters: dict[str, Any], expected: list[str]) -> None:
    append(tmp_path, "create", 1)
    append(tmp_path, "start", 2, DB)
    append(tmp_path, "die", 3, team="a")
    journal.append(str(tmp_path), "pull", "4ee3", {"name": "db:1"}, kind="image", now=4)
    journal.append(str(tmp_path), "connect", BACK, {"name": "back"}, kind="network", now=5)
    journal.append(str(tmp_path), "mount", "data", {"driver": "local"}, kind="volume", now=6)

    assert actions(tmp_path, filters=filters) == expected


def test_an_action_with_details_is_found_by_its_name(tmp_path: Path) -> None:
    append(tmp_path, "health_status: healthy", 1)

    for wanted in ("health_status", "health_status: healthy"):
        assert len(actions(tmp_path, filters={"event": wanted})) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"filters": {"name": "web"}},
        {"filters": {"event": 5}},
        {"filters": {"event": []}},
        {"filters": {"event": [""]}},
        {"filters": {"event": b"die"}},
        {"filters": ["event"]},
        {"since": "now"},
        {"until": float("inf")},
        {"until": -1},
    ],
)
def test_bad_options_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    before = os.listdir("/proc/self/fd")

    with pytest.raises(InvalidArgument, match=next(iter(options))):
        Events(str(tmp_path), **options)

    assert os.listdir("/proc/self/fd") == before


def test_from_now_on_means_from_the_call_on(tmp_path: Path) -> None:
    append(tmp_path, "create", time.time())
    with Events(str(tmp_path)) as events:
        append(tmp_path, "start", time.time())

        assert next(events).action == "start"


def test_following_begins_before_there_is_a_journal(tmp_path: Path) -> None:
    with Events(str(tmp_path)) as events:
        threading.Timer(0.1, append, (tmp_path, "create", time.time())).start()

        assert next(events).action == "create"


def test_events_come_at_once(tmp_path: Path) -> None:
    delays = []
    with Events(str(tmp_path)) as events:
        for _ in range(20):
            timer = threading.Timer(0.01, journal.append, (str(tmp_path), "start", WEB, {}))
            timer.start()
            delays.append(-next(events).time + time.time())
            timer.join()

    assert sorted(delays)[10] < 0.05


def test_a_future_moment_ends_the_wait(tmp_path: Path) -> None:
    begun = time.time()

    events = list(Events(str(tmp_path), until=begun + 0.3))

    assert events == []
    assert 0.3 <= time.time() - begun < 0.9


def test_torn_lines_are_skipped(tmp_path: Path) -> None:
    append(tmp_path, "create", 1)
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(
            b'\n[]\n7\n{"time":"x"}\n{"time":1,"type":"container","attributes":[]}\n\xff{"ti'
        )
    append(tmp_path, "die", 2)

    assert actions(tmp_path) == ["create", "die"]
    assert actions(tmp_path, since=2) == ["die"]


def test_both_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "FULL", 2000)
    for at in range(30):
        append(tmp_path, str(at), at)

    found = actions(tmp_path)

    assert (tmp_path / "events.1.jsonl").exists()
    assert found == [str(at) for at in range(int(found[0]), 30)]
    assert len(found) > 10


def test_processes_append_and_rotate_and_a_follower_misses_nothing(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pycontainers.runtime import journal; journal.FULL = 60_000\n"
        "for number in range(1500):\n"
        "    journal.append(sys.argv[1], 'die', sys.argv[2], {'number': str(number)})\n"
        "    time.sleep(0.0005)"
    )
    with Events(str(tmp_path)) as events:
        writers = [
            subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(who)])
            for who in range(4)
        ]

        found = [next(events) for _ in range(6000)]

        assert [writer.wait() for writer in writers] == [0] * 4
    for who in range(4):
        numbers = [int(one.attributes["number"]) for one in found if one.id == str(who)]
        assert numbers == list(range(1500))


def test_another_thread_closes_a_blocked_reader(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    events = Events(str(tmp_path))
    result: list[object] = []
    thread = threading.Thread(target=lambda: result.append(next(events, "ended")))
    thread.start()
    time.sleep(0.1)

    begun = time.monotonic()
    events.close()
    thread.join(5)

    assert time.monotonic() - begun < 0.5  # no waiting for the next look
    assert result == ["ended"]
    assert list(events) == []
    assert os.listdir("/proc/self/fd") == before


def test_one_that_nobody_keeps_leaves_no_descriptor(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")

    events = Events(str(tmp_path))
    del events

    assert os.listdir("/proc/self/fd") == before
