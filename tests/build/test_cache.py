"""The cache of builds: what is made again and what is not, as BuildKit's users expect it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import pycontainers as pc
from tests import leaks
from tests.build.conftest import Builder, give_base
from tests.crashes.application import Application

HEAD = "FROM bb:1\n"


# What counts.


def test_the_same_again_makes_nothing_and_gives_the_same_image(fresh: Builder) -> None:
    text = HEAD + "RUN echo 1 > /1\nWORKDIR /w\nCOPY a .\nADD a /b\nCOPY <<E /e\nx\nE\nENV X=1\n"

    first = fresh(text, {"a": "1"})
    second = fresh(text)

    assert len(first.made) == 5
    assert second.made == []
    assert second.image == first.image


def test_a_build_that_makes_nothing_has_the_times_of_the_layers(fresh: Builder) -> None:
    text = HEAD + "ENV A=1\nRUN echo 1\nLABEL a=b\nCOPY a /\nCMD x\n"
    fresh(text, {"a": "1"})
    with sqlite3.connect(Path(fresh.engine.root) / "state.db") as database:
        database.execute("UPDATE build_layers SET created = 981173106")
    database.close()

    second = fresh(text)

    assert second.config.created == "2001-02-03T04:05:06Z"
    assert {step.created for step in second.image.history()[-5:]} == {"2001-02-03T04:05:06Z"}


def test_the_content_of_files_counts_not_their_times(fresh: Builder) -> None:
    text = HEAD + "COPY a d /x/\n"
    fresh(text, {"a": "1", "d/b": "2"})

    (fresh.context / "a").unlink()
    fresh.write({"a": "1"})
    os.utime(fresh.context / "d", (1, 1))
    os.utime(fresh.context / "d/b", (1, 1))
    touched = fresh(text)
    changed = fresh(text, {"a": "2"})

    assert touched.cached == ["COPY a d /x/"]
    assert changed.made == ["COPY a d /x/"]
    assert changed.sh("cat /x/a /x/b") == "22"


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "d/b").chmod(0o600),
        lambda root: (root / "d/sub").chmod(0o700),
        lambda root: (root / "d/b").rename(root / "d/c"),
        lambda root: (root / "d/new").mkdir(),
        lambda root: (root / "d/l").rename(root / "d/b"),
        lambda root: os.setxattr(root / "d/b", "user.colour", b"blue"),
        lambda root: (root / "d/b").unlink(),
    ],
    ids=["mode", "mode of a directory", "name", "empty directory", "kind", "attribute", "gone"],
)
def test_all_that_an_image_shows_of_files_counts(
    fresh: Builder, change: Callable[[Path], object]
) -> None:
    fresh.write({"d/b": "2", "d/sub/f": "3"})
    (fresh.context / "d/l").symlink_to("x")
    text = HEAD + "COPY d /x/\nRUN echo after\n"
    fresh(text)

    change(fresh.context)
    again = fresh(text)

    assert again.made == ["COPY d /x/", "RUN echo after"]


def test_ignored_and_unused_files_do_not_count(fresh: Builder) -> None:
    text = HEAD + "COPY d /x/\n"
    fresh(text, {".dockerignore": "**/*.log\n", "d/b": "2"})

    again = fresh(text, {"d/x.log": "new", "other": "new"})

    assert again.made == []


def test_an_instruction_that_changes_makes_all_after_it_new(fresh: Builder) -> None:
    fresh(HEAD + "RUN echo 1\nRUN echo 2\nCOPY a /\nRUN echo 3\n", {"a": "1"})

    again = fresh(HEAD + "RUN echo 1\nRUN echo two\nCOPY a /\nRUN echo 3\n")

    assert again.cached == ["RUN echo 1"]
    assert again.made == ["RUN echo two", "COPY a /", "RUN echo 3"]


def test_what_commands_can_not_see_does_not_count(fresh: Builder) -> None:
    text = HEAD + "{}\nRUN echo 1\n"
    fresh(text.format("LABEL a=1"))

    for other in (
        "LABEL a=2",
        "EXPOSE 80",
        'CMD ["x"]',
        "STOPSIGNAL 9",
        "HEALTHCHECK NONE",
        "VOLUME /v",
    ):
        again = fresh(text.format(other))
        assert again.made == [], other


@pytest.mark.parametrize(
    "other",
    ["ENV A=2", "WORKDIR /etc", "USER app", 'SHELL ["/bin/sh", "-e", "-c"]', "ARG A=2"],
)
def test_what_commands_can_see_counts(fresh: Builder, other: str) -> None:
    text = HEAD + "{}\nRUN echo 1\n"
    fresh(text.format("ENV A=1"))

    again = fresh(text.format(other))

    assert "RUN echo 1" in again.made


def test_environment_does_not_count_for_copies(fresh: Builder) -> None:
    fresh(HEAD + "ENV A=1\nCOPY a /\n", {"a": "1"})

    again = fresh(HEAD + "ENV A=2\nCOPY a /\n")

    assert again.made == []


def test_an_argument_counts_from_where_it_is_declared(fresh: Builder) -> None:
    text = HEAD + "RUN echo before\nARG A\nCOPY a /\nRUN echo after\n"
    fresh(text, {"a": "1"}, build_args={"A": "1"})

    again = fresh(text, build_args={"A": "2"})
    unknown = fresh(text, build_args={"A": "2", "OTHER": "x"})

    assert again.cached == ["RUN echo before", "COPY a /"]
    assert again.made == ["RUN echo after"]
    assert unknown.made == []


def test_proxies_and_secrets_do_not_count(fresh: Builder) -> None:
    text = HEAD + "RUN --mount=type=secret,id=s cat /run/secrets/s | wc -c\n"
    fresh(text, secrets={"s": "1"}, build_args={"HTTP_PROXY": "http://a"})

    again = fresh(text, secrets={"s": "22"}, build_args={"HTTP_PROXY": "http://b"})

    assert again.made == []


def test_a_bound_file_counts_by_its_content(fresh: Builder) -> None:
    text = HEAD + "RUN --mount=type=bind,source=d,target=/m cat /m/a\n"
    fresh(text, {"d/a": "1", "other": "1"})

    same = fresh(text, {"other": "2"})
    changed = fresh(text, {"d/a": "2"})

    assert same.made == []
    assert changed.output.startswith("2")


def test_a_stage_made_again_with_the_same_files_changes_nothing_for_others(
    fresh: Builder,
) -> None:
    text = (
        "FROM bb:1 AS one\nRUN echo {} > /dev/null; echo same > /out\n"
        "FROM bb:1\nCOPY --from=one /out /in\nRUN cat /in\n"
    )
    fresh(text.format(1))

    same = fresh(text.format(2))
    other = fresh(text.format(3).replace("same", "other"))

    assert same.made == ["RUN echo 2 > /dev/null; echo same > /out"]
    assert same.cached == ["COPY --from=one /out /in", "RUN cat /in"]
    assert other.output.count("other\n") == 1


def test_files_of_a_stage_count_where_they_are_copied(fresh: Builder) -> None:
    text = "FROM bb:1 AS one\nRUN echo {} > /out\nFROM bb:1\nCOPY --from=one /out /in\n"
    fresh(text.format(1))

    again = fresh(text.format(2))

    assert again.sh("cat /in") == "2\n"


def test_a_linked_copy_does_not_depend_on_what_is_below(fresh: Builder) -> None:
    text = HEAD + "RUN echo {}\nCOPY --link a /\nCOPY a /b\n"
    fresh(text.format(1), {"a": "1"})

    again = fresh(text.format(2))

    assert again.cached == ["COPY --link a /"]


def test_without_the_cache_all_is_made_again_and_kept_for_later(fresh: Builder) -> None:
    text = HEAD + "RUN cat /proc/sys/kernel/random/uuid > /id\nCOPY a /\n"
    first = fresh(text, {"a": "1"})

    second = fresh(text, cache=False)
    third = fresh(text)

    assert len(second.made) == 2
    assert first.sh("cat /id") != second.sh("cat /id") == third.sh("cat /id")
    assert third.made == []


def test_a_new_base_image_makes_all_new(fresh: Builder) -> None:
    fresh(HEAD + "RUN echo other > /f\n").image.tag("moving:1")
    fresh("FROM moving:1\nRUN cat /f\n")
    fresh(HEAD + "RUN echo newer > /f\n").image.tag("moving:1")

    again = fresh("FROM moving:1\nRUN cat /f\n")

    assert again.output.startswith("newer\n")


def test_a_failed_step_is_tried_again(fresh: Builder) -> None:
    text = (
        HEAD
        + "RUN echo 1\nRUN --mount=type=cache,target=/c test -e /c/ok || { touch /c/ok; false; }\n"
    )

    fresh.fails(text)
    again = fresh(text)

    assert again.cached == ["RUN echo 1"]


# Cache mounts.


def test_cache_mounts_keep_what_is_written(fresh: Builder) -> None:
    mount = "--mount=type=cache,target=/c"

    first = fresh(HEAD + f"RUN {mount} echo kept > /c/f\nRUN ls -d /c | wc -l\n")
    second = fresh("FROM bb:1\nENV X=1\n" + f"RUN {mount} cat /c/f\n")
    other = fresh(HEAD + "RUN --mount=type=cache,target=/c,id=other ls /c | wc -l\n")

    assert "\n0\n" in first.output
    assert second.output.startswith("kept\n")
    assert other.output.startswith("0\n")


def test_a_locked_cache_is_used_by_one_command_at_a_time(fresh: Builder) -> None:
    line = (
        "RUN --mount=type=cache,target=/c,sharing={} mkdir /c/busy && "
        "sleep 0.3 && rmdir /c/busy && echo {}\n"
    )
    text = (
        HEAD.replace("\n", " AS a\n")
        + line
        + HEAD.replace("\n", " AS b\n")
        + line
        + (HEAD + "COPY --from=a /etc/passwd /a\nCOPY --from=b /etc/passwd /b\n")
    )

    locked = fresh(text.format("locked", 1, "locked", 2))
    private = fresh(text.format("private", 3, "private", 4))
    error = fresh.fails(text.format("shared", 5, "shared", 6))

    assert {"1\n", "2\n"} <= {event.output for event in locked.events}
    assert {"3\n", "4\n"} <= {event.output for event in private.events}
    assert "busy" in error.output


# Several builds at once.


def test_threads_that_build_the_same_get_the_same_files(fresh: Builder) -> None:
    text = HEAD + "RUN cat /proc/sys/kernel/random/uuid > /id; sleep 0.2\nCOPY a /\nRUN cat /id\n"
    fresh(HEAD, {"a": "1", "Same": text})
    found = []

    def work() -> None:
        built = fresh.build(fresh.context, dockerfile="Same")
        found.append(built.sh("cat /id /a"))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = fresh.build(fresh.context, dockerfile="Same")

    assert len(found) == 3
    assert last.made == []
    assert last.sh("cat /id /a") in found


BUILDING = """
    context = {context!r}
    archive = pc.Image.from_rootfs({base!r}, engine=engine)
    archive.tag("bb:1")
    say("ready")
    sys.stdin.readline() if False else None
    built = pc.Image.build(context, network="none", progress=False, engine=engine)
    say(built.run(["cat", "/id"]).stdout.strip())
"""


def test_processes_that_build_the_same_both_come_through(
    fresh: Builder, busybox: Path, base_archive: Path
) -> None:
    fresh.context.mkdir()
    fresh.write({"Dockerfile": HEAD + "RUN cat /proc/sys/kernel/random/uuid > /id; sleep 0.5\n"})
    root = Path(fresh.engine.root)
    program = BUILDING.format(context=str(fresh.context), base=str(base_archive))

    with (
        Application(program, root, busybox) as one,
        Application(program, root, busybox) as two,
    ):
        found = {one.lines()[-1], two.lines()[-1]}

    again = fresh.build(fresh.context)
    assert again.made == []
    assert again.sh("cat /id").strip() in found


# What goes wrong.


def test_a_full_disk_is_told_and_the_next_build_goes_on(tmp_path: Path, base_archive: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "small", disk], check=True)
    try:
        with pc.Engine(root=disk / "root") as engine:
            give_base(engine, base_archive)
            build = Builder(engine, tmp_path / "context")
            text = HEAD + "RUN echo 1 > /1\nRUN cat /dev/zero > /big\n"

            in_command = build.fails(text)
            in_copy = build.fails(HEAD + "RUN echo 1 > /1\nCOPY big /\n", {"big": bytes(30 << 20)})
            again = build(HEAD + "RUN echo 1 > /1\nRUN echo small > /small\n")

            assert "No space left on device" in in_command.output
            assert "space" in str(in_copy)
            assert in_copy.line == 3
            assert again.cached == ["RUN echo 1 > /1"]
            assert leaks.in_root(disk / "root") == []
    finally:
        subprocess.run(["umount", disk], check=True)


# What is removed.


def test_pruning_images_leaves_the_cache_of_builds(fresh: Builder) -> None:
    text = HEAD + "RUN cat /proc/sys/kernel/random/uuid > /id\nCOPY a /\nWORKDIR /w\n"
    first = fresh(text, {"a": "1"})
    seen = first.sh("cat /id")

    first.image.remove()
    pc.Image.prune(engine=fresh.engine)
    again = fresh(text)

    assert again.made == []
    assert again.sh("cat /id /a") == f"{seen}1"


def test_the_cache_outlives_its_base_image(fresh: Builder, base_archive: Path) -> None:
    text = HEAD + "RUN cat /proc/sys/kernel/random/uuid > /id\n"
    seen = fresh(text).sh("cat /id")
    for image in pc.Image.list(engine=fresh.engine):
        image.remove(force=True)
    pc.Image.prune(all=True, engine=fresh.engine)
    assert pc.Image.list(engine=fresh.engine) == []

    give_base(fresh.engine, base_archive)
    again = fresh(text)

    assert again.made == []
    assert again.sh("cat /id") == seen


def test_an_image_that_was_built_stays_whole_when_its_base_goes(fresh: Builder) -> None:
    built = fresh(HEAD + "RUN echo 1 > /1\n", tag="mine:1")

    pc.Image.get("bb:1", engine=fresh.engine).remove(force=True)
    pc.Image.prune(all=False, engine=fresh.engine)

    assert built.sh("cat /1") == "1\n"


def test_a_layer_that_somebody_deleted_is_made_again(fresh: Builder) -> None:
    text = HEAD + "RUN echo 1 > /1\n"
    fresh(text).image.remove()
    with sqlite3.connect(Path(fresh.engine.root) / "state.db") as database:
        rows = database.execute("SELECT directory FROM build_layers").fetchall()
    database.close()
    for (name,) in rows:
        subprocess.run(["rm", "-r", Path(fresh.engine.root) / "layers" / name], check=True)

    again = fresh(text)

    assert again.made == ["RUN echo 1 > /1"]
    assert again.sh("cat /1") == "1\n"
