"""What builds keep: told with its size, removed where nobody uses it."""

from __future__ import annotations

import datetime
import threading
import time
from pathlib import Path

import pytest

import pycontainers as pc
from tests.build.conftest import Builder

BIG = "RUN head -c 300000 /dev/zero > /big\n"
STAGES = f"FROM bb:1 AS one\n{BIG}FROM bb:1\nCOPY --from=one /big /\nRUN echo kept > /kept\n"
CACHED = "FROM bb:1\nRUN --mount=type=cache,target=/c head -c 200000 /dev/zero > /c/file\n"


def records(build: Builder) -> list[pc.BuildRecord]:
    return pc.Image.build_cache(engine=build.engine)


def titles(found: list[pc.BuildRecord]) -> list[str]:
    return [one.title.replace("/bin/sh -c ", "") for one in found]


def directories(build: Builder) -> set[str]:
    return {path.name for path in (Path(build.engine.root) / "layers").iterdir()}


def test_layers_are_told_with_their_size_and_who_has_them(fresh: Builder) -> None:
    begun = time.time()
    fresh(STAGES)

    found = {one.title: one for one in records(fresh)}

    assert {title: one.shared for title, one in found.items()} == {
        f"RUN /bin/sh -c {BIG.strip().removeprefix('RUN ')}": False,
        "COPY /big /": True,
        "RUN /bin/sh -c echo kept > /kept": True,
    }
    assert all(one.kind == "layer" for one in found.values())
    assert all(begun <= one.created <= one.used <= time.time() for one in found.values())
    copied = found["COPY /big /"]
    assert 300_000 <= copied.size < 330_000
    assert copied.reclaimable == 0


def test_cache_mounts_are_told_by_their_id(fresh: Builder) -> None:
    fresh(CACHED)

    [mount] = [one for one in records(fresh) if one.kind == "mount"]

    assert (mount.title, mount.shared) == ("/c", False)
    assert 200_000 <= mount.reclaimable < 230_000


def test_an_empty_cache_has_nothing(fresh: Builder) -> None:
    assert records(fresh) == []
    assert pc.Image.prune_builds(all=True, engine=fresh.engine) == []


def test_pruning_removes_what_no_image_has(fresh: Builder) -> None:
    image = fresh(STAGES).image
    fresh(CACHED).image.remove()

    removed = pc.Image.prune_builds(engine=fresh.engine)

    assert sum(one.reclaimable for one in removed) >= 500_000
    assert titles(records(fresh)) == ["RUN echo kept > /kept", "COPY /big /"]
    assert not {one.id for one in removed} & directories(fresh)
    assert list((Path(fresh.engine.root) / "build/mounts").iterdir()) == []
    assert image.run(["cat", "/kept"]).stdout == "kept\n"


def test_what_images_have_is_taken_from_the_cache_after_pruning(fresh: Builder) -> None:
    text = f"FROM bb:1\n{BIG}"
    fresh(text)

    pc.Image.prune_builds(engine=fresh.engine)

    assert fresh(text).cached == [BIG.strip()]


def test_pruning_all_forgets_what_images_have_but_leaves_it_to_them(fresh: Builder) -> None:
    image = fresh(STAGES).image

    removed = pc.Image.prune_builds(all=True, engine=fresh.engine)

    assert len(removed) == 3
    assert records(fresh) == []
    assert image.run(["cat", "/kept"]).stdout == "kept\n"
    again = fresh(STAGES)
    assert again.cached == []
    assert again.sh("cat /kept") == "kept\n"


def test_what_only_a_removed_image_had_goes(fresh: Builder) -> None:
    fresh(f"FROM bb:1\n{BIG}").image.remove()

    [removed] = pc.Image.prune_builds(engine=fresh.engine)

    assert removed.reclaimable >= 300_000
    assert removed.id not in directories(fresh)


def test_the_longest_unused_go_first_until_enough_is_free(fresh: Builder) -> None:
    for number in (1, 2, 3):
        fresh(f"FROM bb:1\nRUN head -c 300000 /dev/zero > /{number}\n").image.remove()
    fresh("FROM bb:1\nRUN head -c 300000 /dev/zero > /1\n").image.remove()

    removed = pc.Image.prune_builds(keep="640k", engine=fresh.engine)

    assert [one.title[-1] for one in removed] == ["2"]
    assert [one.title[-1] for one in records(fresh)] == ["3", "1"]
    assert pc.Image.prune_builds(keep=10**9, engine=fresh.engine) == []


def test_of_one_build_the_last_steps_go_first(fresh: Builder) -> None:
    text = f"FROM bb:1\n{BIG}RUN head -c 300000 /dev/zero > /last\n"
    fresh(text).image.remove()

    [removed] = pc.Image.prune_builds(keep="400k", engine=fresh.engine)

    assert removed.title.endswith("> /last")
    assert fresh(text).cached == [BIG.strip()]


def test_what_was_used_lately_stays_where_asked(fresh: Builder) -> None:
    fresh("FROM bb:1\nRUN echo old\n").image.remove()
    between = time.time()
    fresh("FROM bb:1\nRUN echo new\n").image.remove()

    hour = datetime.timedelta(hours=1)
    assert pc.Image.prune_builds(unused_since=hour, engine=fresh.engine) == []
    removed = pc.Image.prune_builds(unused_since=between, engine=fresh.engine)

    assert titles(removed) == ["RUN echo old"]
    assert titles(records(fresh)) == ["RUN echo new"]


def test_what_a_running_build_uses_is_waited_for(fresh: Builder) -> None:
    running = threading.Event()
    text = f"FROM bb:1\n{BIG}RUN sleep 0.7; test -e /big\n"
    made: list[pc.Image] = []

    def listener(event: pc.BuildProgress) -> None:
        if event.name.startswith("RUN sleep") and event.action == "start":
            running.set()

    thread = threading.Thread(target=lambda: made.append(fresh(text, progress=listener).image))
    thread.start()
    assert running.wait(20)
    begun = time.monotonic()
    pc.Image.prune_builds(all=True, engine=fresh.engine)
    waited = time.monotonic() - begun
    thread.join()

    assert waited > 0.3
    assert made[0].run(["test", "-e", "/big"]).ok


@pytest.mark.parametrize("options", [{"keep": "much"}, {"unused_since": -1}, {"all": "yes"}])
def test_options_are_checked(engine: pc.Engine, options: dict[str, object]) -> None:
    with pytest.raises(pc.InvalidArgument):
        pc.Image.prune_builds(engine=engine, **options)  # type: ignore[arg-type]
