"""Contexts by names: directories, images and addresses, in place of stages and images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from pycontainers.build.contexts import key
from tests.build.conftest import Builder
from tests.build.gitserver import Repository, Server
from tests.images.trees import archive, entry


@pytest.fixture
def extra(tmp_path: Path) -> Path:
    """A directory that is no part of the main context."""
    path = tmp_path / "extra"
    (path / "d").mkdir(parents=True)
    (path / "x").write_text("extra\n")
    (path / "d/y").write_text("deep\n")
    (path / "run").write_text("#!/bin/sh\necho ran\n")
    (path / "run").chmod(0o755)
    return path


@pytest.fixture
def other(build: Builder) -> Iterator[pc.Image]:
    """An image in the store, with a tag of its own."""
    made = build("FROM bb:1\nENV FROM=other\nRUN echo other > /who\n", tag="named/other:1")
    yield made.image
    made.image.untag("named/other:1")


# Where they are used.


def test_files_are_copied_from_a_directory(build: Builder, extra: Path) -> None:
    made = build(
        "FROM bb:1\nCOPY --from=more x d /to/\nCOPY --from=more --chown=app . /all/\n",
        {"x": "main\n"},
        contexts={"more": extra},
    )

    assert made.sh("cat /to/x /to/y") == "extra\ndeep\n"
    assert made.stat("/all/run", "/all/d") == ["755 1000:1000", "755 1000:1000"]


def test_they_are_mounted_for_commands(build: Builder, extra: Path) -> None:
    made = build(
        "FROM bb:1\n"
        "RUN --mount=from=more,target=/m cat /m/x /m/d/y > /seen && /m/run >> /seen\n"
        "RUN --mount=from=more,source=d,target=/m,rw touch /m/new && ls /m >> /seen\n",
        contexts={"more": extra},
    )

    assert made.sh("cat /seen") == "extra\ndeep\nran\nnew\ny\n"
    assert not (extra / "d/new").exists()


def test_a_stage_may_begin_from_a_directory(build: Builder, extra: Path) -> None:
    made = build(
        "FROM more AS begun\nCOPY here /here\nFROM bb:1\nCOPY --from=begun / /all/\n",
        {"here": ""},
        contexts={"more": extra},
    )

    assert made.sh("find /all | sort").split() == [
        *("/all", "/all/d", "/all/d/y", "/all/here", "/all/run", "/all/x")
    ]


def test_an_image_takes_the_place_of_one(build: Builder, other: pc.Image) -> None:
    text = "FROM nowhere.test/none:3\nCOPY --from=nowhere.test/none:3 /who /copied\n"

    for given in (other, "docker-image://named/other:1"):
        made = build(text, contexts={"nowhere.test/none:3": given})
        assert made.sh("cat /who /copied; echo $FROM") == "other\nother\nother\n"
        assert made.config.env[-1] == "FROM=other"


@pytest.mark.parametrize("name", ["bb", "bb:latest", "docker.io/library/bb", "library/bb:latest"])
def test_a_name_is_that_of_a_reference(build: Builder, other: pc.Image, name: str) -> None:
    assert key(name) == "bb"
    made = build("FROM bb\nCOPY --from=docker.io/library/bb /who /x\n", contexts={name: other})

    assert made.sh("cat /x") == "other\n"


def test_another_tag_is_another_name(build: Builder, other: pc.Image) -> None:
    made = build("FROM bb:1\nCMD x\n", contexts={"bb": other, "bb:2": other})

    assert made.sh("ls /who 2> /dev/null || true") == ""


def test_scratch_can_be_one(build: Builder) -> None:
    made = build(
        "FROM none AS base\nCOPY a /a\nFROM bb:1\nCOPY --from=base / /all/\n",
        {"a": ""},
        contexts={"none": "docker-image://scratch"},
    )

    assert made.sh("ls /all") == "a\n"


# Stages of the same names.


def test_a_context_wins_over_a_stage_which_is_not_made(
    build: Builder, extra: Path, other: pc.Image
) -> None:
    text = (
        "FROM bb:1 AS one\nRUN exit 3\n"
        "FROM one AS two\nRUN cat /who > /two\n"
        "FROM bb:1\nCOPY --from=one /who /one\nCOPY --from=0 /who /zero\nCOPY --from=two /two /\n"
    )

    made = build(text, contexts={"ONE".lower(): other})

    assert made.sh("cat /one /zero /two") == "other\n" * 3


def test_of_a_directory_too(build: Builder, extra: Path) -> None:
    text = (
        "FROM bb:1 AS One\nRUN exit 3\n"
        "FROM one AS two\nCOPY here /\n"
        "FROM bb:1\nCOPY --from=ONE x /one\nCOPY --from=0 x /zero\n"
        "COPY --from=two /x /here /two/\nRUN --mount=from=one,target=/m cat /m/d/y > /mounted\n"
    )

    made = build(text, {"here": ""}, contexts={"one": extra})

    assert made.sh("cat /one /zero /two/x /mounted") == "extra\n" * 3 + "deep\n"


def test_a_target_may_be_replaced(build: Builder, other: pc.Image) -> None:
    text = "FROM bb:1 AS one\nRUN exit 3\nFROM bb:1\nRUN exit 4\n"

    assert build(text, target="one", contexts={"one": other}).sh("cat /who") == "other\n"


def test_an_earlier_stage_wins_over_a_context_of_its_images_name(
    build: Builder, other: pc.Image
) -> None:
    made = build(
        "FROM bb:1 AS base\nRUN echo stage > /who\nFROM base\nRUN true\n",
        contexts={"base:1": other},
    )

    assert made.sh("cat /who") == "stage\n"


def test_what_nothing_needs_is_not_fetched(build: Builder, server: Server) -> None:
    build(
        "FROM unused AS not\nFROM bb:1\n",
        contexts={"unused": f"{server.url}/none.git", "more": f"{server.url}/none.tar"},
    )

    assert server.asked == []


# What the cache goes by.


def test_only_the_files_that_are_copied_count(fresh: Builder, extra: Path) -> None:
    text = "FROM bb:1\nCOPY --from=more x /x\n"
    fresh(text, contexts={"more": extra})
    (extra / "d/y").write_text("changed\n")

    assert fresh(text, contexts={"more": extra}).made == []
    (extra / "x").write_text("changed\n")
    assert fresh(text, contexts={"more": extra}).sh("cat /x") == "changed\n"


def test_a_mount_and_a_beginning_depend_on_the_files(fresh: Builder, extra: Path) -> None:
    text = (
        "FROM more AS begun\nFROM bb:1\nRUN --mount=from=more,target=/m cat /m/x > /ran\n"
        "COPY --from=begun /x /begun\n"
    )
    fresh(text, contexts={"more": extra})
    assert fresh(text, contexts={"more": extra}).made == []
    (extra / "x").write_text("changed\n")

    made = fresh(text, contexts={"more": extra})

    assert made.sh("cat /ran /begun") == "changed\n" * 2


def test_an_ignore_file_of_a_directory_counts(build: Builder, extra: Path) -> None:
    (extra / ".dockerignore").write_text("d\n.dockerignore\n")
    (extra / "Dockerfile.dockerignore").write_text("x\n")

    made = build(
        "FROM bb:1\nCOPY --from=more . /all/\nRUN --mount=from=more,target=/m ls -A /m > /seen\n",
        contexts={"more": extra},
    )

    assert made.sh("ls -A /all; cat /seen").split() == ["Dockerfile.dockerignore", "run", "x"] * 2
    error = build.fails("FROM bb:1\nCOPY --from=more d /\n", contexts={"more": extra})
    assert "ignore file" in (error.hint or "")


# Where they come from.


def test_they_come_from_repositories_and_archives(
    build: Builder, server: Server, repository: Repository
) -> None:
    (server.root / "a.tar").write_bytes(archive((entry("in"), b"archived\n")))

    made = build(
        "FROM bb:1\nCOPY --from=git a /\nCOPY --from=git:d b /\nCOPY --from=tar in /\n"
        "RUN --mount=from=git,target=/m cat /m/d/b > /mounted\n",
        contexts={
            "git": f"{server.url}/one.git",
            "git:d": f"{server.url}/one.git#:d",
            "tar": f"{server.url}/a.tar",
        },
    )

    assert made.sh("cat /a /b /in /mounted") == "1\n2\narchived\n2\n"
    assert sum("service=" in one for one in server.asked) == 4  # two of each


def test_one_that_can_not_be_had_is_told_with_the_line(build: Builder, server: Server) -> None:
    (server.root / "text").write_text("no archive\n")
    for place, told in (
        (f"{server.url}/none.git", "not found"),
        (f"{server.url}/none.tar", "404"),
        (f"{server.url}/text", "no tar archive"),
        ("docker-image://127.0.0.1:1/none", "127.0.0.1:1"),
    ):
        for line in ("COPY --from=more x /", "RUN --mount=from=more,target=/m true"):
            error = build.fails(f"FROM bb:1\n{line}\n", contexts={"more": place})
            assert told in error.problem
            assert error.line == 2


@pytest.mark.parametrize(
    ("name", "place", "told"),
    [
        ("more", "/nowhere", "no directory"),
        ("more", "oci-layout:///tmp", "no directory"),
        ("more", "https://-x/a.git", "begins with '-'"),
        ("more", "docker-image://NOT", "reference"),
        ("more", 3, "no directory, image or URL"),
        ("scratch", "/tmp", "something else"),
        ("context", "/tmp", "something else"),
        ("Not", "/tmp", "reference"),
        ("", "/tmp", "reference"),
    ],
)
def test_what_can_be_no_context_is_refused_at_once(
    build: Builder, name: str, place: str, told: str
) -> None:
    with pytest.raises(pc.InvalidArgument, match=told):
        build("FROM bb:1\n", contexts={name: place})


def test_an_image_that_is_not_in_the_store_is_refused(build: Builder, engine: pc.Engine) -> None:
    with pytest.raises(pc.InvalidArgument, match="not in the store"):
        build("FROM bb:1\n", contexts={"more": pc.Image.host(engine=engine)})


def test_an_image_for_another_platform_is_an_error(build: Builder, other: pc.Image) -> None:
    error = build.fails("FROM more\n", contexts={"more": other}, platform="linux/s390x")

    assert "s390x" in error.problem


def test_the_time_of_a_reproducible_build_counts(fresh: Builder, extra: Path) -> None:
    epoch = {"SOURCE_DATE_EPOCH": "1000000000"}

    made = fresh(
        "FROM more\nCOPY --from=bb:1 /bin /bin\n", contexts={"more": extra}, build_args=epoch
    )

    assert made.image.run(["stat", "-c", "%Y", "/x"]).stdout == "1000000000\n"
    assert {step.created for step in made.image.history()} == {"2001-09-09T01:46:40Z"}
