"""What an image's history and config tell of its build, and whose the working directory is."""

from __future__ import annotations

import pytest

from pycontainers.build.config import said
from pycontainers.build.parse import parse
from pycontainers.oci.config import ImageConfig
from tests.build.conftest import Builder

TOLD = [
    ('CMD ["a b", "c"]', 'CMD ["a b" "c"]'),
    ("ENTRYPOINT run me", 'ENTRYPOINT ["/bin/sh" "-c" "run me"]'),
    ("VOLUME /a /b", "VOLUME [/a /b]"),
    ('SHELL ["/bin/bash", "-c"]', "SHELL [/bin/bash -c]"),
    ("MAINTAINER  some  body", "MAINTAINER some  body"),
    ("USER app", "USER app"),
    ("STOPSIGNAL SIGINT", "STOPSIGNAL SIGINT"),
    (
        "HEALTHCHECK --interval=90s --timeout=1500ms --start-period=100ms --retries=2 CMD true",
        "HEALTHCHECK {Test:[CMD-SHELL true] Interval:1m30s Timeout:1.5s StartPeriod:100ms"
        " StartInterval:0s Retries:2}",
    ),
    (
        'HEALTHCHECK --interval=2h CMD ["a", "b"]',
        "HEALTHCHECK {Test:[CMD a b] Interval:2h0m0s Timeout:0s StartPeriod:0s StartInterval:0s"
        " Retries:0}",
    ),
]


@pytest.mark.parametrize(("written", "told"), TOLD)
def test_instructions_are_told_as_buildkit_tells_them(written: str, told: str) -> None:
    instruction = parse(f"FROM x\n{written}\n").stages[0].instructions[0]

    assert said(instruction, ImageConfig()) == told


def test_a_command_is_told_with_the_arguments_that_it_saw(build: Builder) -> None:
    built = build(
        "FROM bb:1\nARG A=1\nARG B\nARG C=3\nENV C=4\nRUN true\n", build_args={"HTTP_PROXY": "p"}
    )

    assert built.image.history()[-1].created_by == "RUN |3 A=1 B= C=4 /bin/sh -c true # buildkit"
    assert "HTTP_PROXY" not in str(built.image.history())


def test_history_has_as_many_layers_as_the_image(build: Builder) -> None:
    built = build("FROM bb:1\nWORKDIR /\nRUN true\nENV A=1\nWORKDIR /w\n")

    layers = [step for step in built.image.history() if not step.empty_layer]
    assert len(layers) == len(built.config.rootfs.diff_ids)


def test_a_working_directory_belongs_to_the_user(build: Builder) -> None:
    built = build("FROM bb:1\nWORKDIR /a\nUSER app\nWORKDIR /a/b/c\nUSER 5:6\nWORKDIR /d\n")

    assert built.stat("/a", "/a/b", "/a/b/c", "/d") == [
        "755 0:0", "755 1000:1000", "755 1000:1000", "755 5:6"]  # fmt: skip


def test_a_working_directory_that_is_there_stays_as_it_is(build: Builder) -> None:
    built = build("FROM bb:1\nRUN mkdir -m 0700 /mine\nUSER app\nWORKDIR /mine\n")

    assert built.stat("/mine") == ["700 0:0"]


def test_a_working_directory_over_a_file_names_it(build: Builder) -> None:
    error = build.fails("FROM bb:1\nRUN touch /file\nWORKDIR /file/in\n")

    assert (error.line, "working directory /file/in" in str(error)) == (3, True)


def test_the_author_and_the_time_are_the_builds(build: Builder) -> None:
    built = build("FROM bb:1\nMAINTAINER me\n", build_args={"SOURCE_DATE_EPOCH": "0"})

    assert (built.config.author, built.config.created) == ("me", "1970-01-01T00:00:00Z")
