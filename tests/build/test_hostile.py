"""Dockerfiles, contexts and commands that want out of their build: none gets to the host."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pycontainers as pc
from tests import leaks
from tests.build.conftest import Builder, Files
from tests.images.trees import archive, entry

HEAD = "FROM bb:1\n"
SECRET = "the host's own"


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A file beside the context, that no build may see or change."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "file").write_text(SECRET)
    yield path
    assert os.listdir(path) == ["file"]
    assert (path / "file").read_text() == SECRET


# The context.


@pytest.mark.parametrize(
    "line",
    [
        "COPY ../outside /x/",
        "COPY /../../../../../../{outside}/file /x/",
        "COPY link/file /x/",
        "COPY link /x/",
        "COPY up/outside/file /x/",
        "COPY up /x/",
        "COPY l*k/file /x/",
        "COPY --parents link/file /x/",
        "COPY proc/1/root/etc/passwd /x/",
        "COPY self/root{outside}/file /x/",
        "ADD link/file /x/",
        "RUN --mount=type=bind,source=../outside,target=/x cat /x/file",
        "RUN --mount=type=bind,source=link,target=/x cat /x/file",
        "RUN --mount=type=bind,source=up,target=/x cat /x/outside/file",
        "RUN --mount=type=bind,target=/x,rw cat /x/link/file",
    ],
)
def test_nothing_outside_the_context_is_read(build: Builder, outside: Path, line: str) -> None:
    build.context.mkdir()
    (build.context / "link").symlink_to(outside)
    (build.context / "up").symlink_to("..")
    (build.context / "proc").symlink_to("/proc")
    (build.context / "self").symlink_to("/proc/self")

    with contextlib.suppress(pc.PyContainersError):
        built = build(HEAD + line.format(outside=outside) + "\n")

        assert SECRET not in built.output
        assert SECRET not in built.sh("find /x -type f -exec cat {} + || true")


@pytest.mark.parametrize("name", ["../escaped", "/../escaped", "a/../../escaped", "link/escaped"])
def test_an_archive_as_context_leads_nowhere(
    build: Builder, outside: Path, tmp_path: Path, name: str
) -> None:
    data = archive(
        (entry("Dockerfile"), (HEAD + "COPY . /x/\n").encode()),
        entry("link", b"2", linkname=str(outside)),
        (entry(name), b"escaped"),
    )

    with contextlib.suppress(pc.PyContainersError):
        build.build(io.BytesIO(data))

    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize(
    "entries",
    [
        [(entry("../../../../../../{outside}/new"), b"x")],
        [(entry("{outside}/new"), b"x")],
        [entry("l", b"2", linkname="{outside}"), (entry("l/new"), b"x")],
        [entry("l", b"2", linkname="../../../../../..{outside}"), (entry("l/new"), b"x")],
        [entry("h", b"1", linkname="{outside}/file"), (entry("h"), b"x")],
        [entry("l", b"2", linkname="{outside}/file"), (entry("l"), b"x")],
        [entry("l", b"2", linkname="/proc/self/root"), (entry("l{outside}/new"), b"x")],
        [entry("d", b"4", devmajor=8, devminor=0)],
    ],
    ids=["traversal", "absolute", "link", "relative link", "hard link", "over", "proc", "device"],
)
def test_an_added_archive_leads_nowhere(build: Builder, outside: Path, entries: list[Any]) -> None:
    made = []
    for item in entries:
        info, content = item if isinstance(item, tuple) else (item, b"")
        for field in ("name", "linkname"):
            setattr(info, field, getattr(info, field).replace("{outside}", str(outside)))
        made.append((info, content))

    with contextlib.suppress(pc.PyContainersError):
        build(HEAD + "ADD a.tar /x/\n", {"a.tar": archive(*made)})


# Stages.


@pytest.mark.parametrize(
    "lines",
    [
        "RUN ln -s {outside} /out\n|COPY --from=one /out /x/",
        "RUN ln -s {outside} /out\n|COPY --from=one /out/file /x/",
        "RUN ln -s ../../../../../../..{outside} /out\n|COPY --from=one /out/ /x/",
        "RUN ln -s /proc/1/root /out\n|COPY --from=one /out{outside}/file /x/",
        "RUN ln -s {outside} /out\n|"
        "RUN --mount=type=bind,from=one,source=/out,target=/x cat /x/file",
        "RUN ln -s {outside} /out\n|"
        "RUN --mount=type=bind,from=one,source=/out,target=/x,rw echo x > /x/file",
        "RUN ln -s {outside} /x\n|WORKDIR /nothing",
    ],
)
def test_a_link_in_a_stage_leads_into_the_stage(build: Builder, outside: Path, lines: str) -> None:
    first, second = lines.format(outside=outside).split("|")

    with contextlib.suppress(pc.PyContainersError):
        built = build(f"FROM bb:1 AS one\n{first}FROM bb:1\n{second}\n")

        assert SECRET not in built.output
        assert SECRET not in built.sh("find /x -type f -exec cat {} + || true")


@pytest.mark.parametrize(
    "line",
    [
        "COPY a /out/file",
        "COPY a /out/new",
        "COPY dir /out",
        "ADD a.tar /out",
        "WORKDIR /out/new",
        "COPY <<E /out/new\nx\nE",
        "RUN --mount=type=tmpfs,target=/out/t touch /out/new /out/t/x",
        "RUN --mount=type=cache,target=/out/t touch /out/t/x",
        "RUN --mount=type=secret,id=s,target=/out/new cat /out/new",
    ],
)
def test_a_link_in_the_image_takes_no_file_out_of_it(
    build: Builder, outside: Path, line: str
) -> None:
    files: Files = {"a": "1", "dir/new": "1", "a.tar": archive((entry("new"), b"x"))}

    with contextlib.suppress(pc.BuildError):
        build(HEAD + f"RUN ln -s {outside} /out\n{line}\n", files, secrets={"s": "x"})


def test_stubs_of_mounts_are_removed_from_the_layer_only(build: Builder, outside: Path) -> None:
    (outside / "empty").mkdir()
    (outside / "file").write_text("")
    try:
        built = build(
            HEAD + f"RUN --mount=type=tmpfs,target=/m/empty --mount=type=tmpfs,target=/m/file "
            f"mkdir -p /keep; rm -rf /etc/hosts /n; ln -s {outside} /n; true\n"
            f"RUN --mount=type=tmpfs,target=/a/empty true; mv /a /b; ln -s {outside} /a\n"
            "RUN true\n"
        )
        assert built.sh("ls -d /keep") == "/keep\n"
        assert sorted(os.listdir(outside)) == ["empty", "file"]
    except pc.BuildError:
        assert sorted(os.listdir(outside)) == ["empty", "file"]
    finally:
        (outside / "empty").rmdir()
        (outside / "file").write_text(SECRET)


def test_a_race_of_links_in_the_context_copies_nothing_from_outside(
    build: Builder, outside: Path
) -> None:
    build.context.mkdir()
    (build.context / "d").mkdir()
    (build.context / "d/file").write_text("mine")
    done = threading.Event()

    def swap() -> None:
        aside = build.context / "aside"
        while not done.is_set():
            (build.context / "d").rename(aside)
            (build.context / "d").symlink_to(outside)
            (build.context / "d").unlink()
            aside.rename(build.context / "d")

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen = set()
    try:
        for number in range(15):
            with contextlib.suppress(pc.PyContainersError):
                line = f"COPY d/file /x{number}" if number % 2 else f"COPY d /x{number}/"
                built = build(HEAD + line + "\n", cache=False)
                seen.add(built.sh(f"cat /x{number} 2>/dev/null || cat /x{number}/file"))
    finally:
        done.set()
        swapping.join()

    assert seen <= {"mine"}


# Commands.


def test_a_command_can_not_reach_the_host(build: Builder, outside: Path) -> None:
    built = build(
        HEAD + f"RUN ls {outside} 2>&1; mount -t tmpfs x /mnt 2>&1; mknod /d b 8 0 2>&1; "
        f"cat < /d 2>&1 | head -c 10; ls /proc/1/root{outside} 2>&1; "
        "mkdir /c; mount --bind /proc /c 2>&1; kill -9 1; echo alive\n"
    )

    assert built.output.count("denied") + built.output.count("not permitted") >= 2
    assert "alive" in built.output
    assert "\nfile\n" not in f"\n{built.output}"


def test_a_fork_bomb_ends_with_the_build(build: Builder) -> None:
    begun = time.monotonic()

    with contextlib.suppress(pc.BuildError):
        build(HEAD + "RUN (while :; do sleep 60 & done) & sleep 0.2; exit 1\n")

    assert time.monotonic() - begun < 30
    assert leaks.in_root(Path(build.engine.root)) == []


def test_what_a_command_leaves_running_ends_with_it(build: Builder) -> None:
    built = build(
        HEAD + "RUN (sleep 0.5; echo late > /late) & echo early > /early\nRUN sleep 0.8; ls /\n"
    )

    assert "early" in built.output
    assert "late" not in built.output


def test_a_command_can_not_forge_whiteouts(build: Builder) -> None:
    with pytest.raises(pc.ImageError, match=r"\.wh\.passwd"):
        build(HEAD + "RUN mkdir /d && touch /d/.wh.passwd\n")


# Secrets.


def test_secrets_are_nowhere_in_the_data_root(fresh: Builder) -> None:
    secret = "S3CR3T-" + os.urandom(8).hex()

    built = fresh(
        HEAD + "RUN --mount=type=secret,id=s,target=/where --mount=type=secret,id=e,env=E "
        'wc -c /where; test -n "$E"; cp /etc/passwd /copy\n',
        secrets={"s": secret, "e": secret},
        tag="secret:1",
    )

    assert f"{len(secret)} /where" in built.output
    found = subprocess.run(
        ["grep", "-rlaF", secret, fresh.engine.root, "/run/pycontainers"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.stdout == ""
    assert secret not in "".join(map(str, built.image.history()))
    assert built.sh("ls /where 2>&1 || true").startswith("ls:")


# Sizes.


def test_huge_variables_and_many_lines_are_bounded(build: Builder) -> None:
    begun = time.monotonic()

    huge = build.fails(HEAD + "ENV A=" + "x" * (7 << 20) + "\nRUN true\n")
    doubling = build.fails(HEAD + "ENV A0=xxxxxxxxxxxxxxxx\n" + "".join(
        f"ENV A{n + 1}=$A{n}$A{n}\n" for n in range(40)
    ) + "RUN true\n")  # fmt: skip
    million = build(HEAD + "# comment\n" * 1_000_000)

    assert "characters" in str(huge) or "large" in str(huge)
    assert doubling.line < 40
    assert million.made == []
    assert time.monotonic() - begun < 30


def test_an_environment_that_execve_can_not_take_is_told(build: Builder) -> None:
    error = build.fails(HEAD + "ENV A=" + "x" * (200 << 10) + "\nRUN true\n")

    assert error.line == 3


def test_more_layers_than_docker_can_have(build: Builder) -> None:
    text = HEAD + "".join(f"COPY --link a /d{n}\n" for n in range(130)) + "RUN cat /d0 /d129\n"

    built = build(text, {"a": "1"})

    assert built.output.startswith("11")
    assert built.sh("cat /d0 /d129") == "11"


def test_odd_names_come_through(build: Builder) -> None:
    names = ["a b", "-rf", "new\nline", "quo'te", 'dou"ble', "é", "$HOME", "*", "[x]", "\\back"]
    build.context.mkdir()
    for name in names:
        (build.context / name).write_text("")
    (build.context / os.fsdecode(b"\xff")).write_text("")

    built = build(HEAD + "COPY . /x/\n")

    assert int(built.sh("cd /x; find . -type f -print0 | tr -cd '\\0' | wc -c")) == len(names) + 2


def test_a_context_with_pipes_sockets_and_devices_does_not_hang(build: Builder) -> None:
    build.context.mkdir()
    os.mkfifo(build.context / "pipe")
    os.mknod(build.context / "zero", 0o666 | 0o020000, os.makedev(1, 5))
    begun = time.monotonic()

    with contextlib.suppress(pc.PyContainersError):
        build(HEAD + "COPY . /x/\n")
    with contextlib.suppress(pc.PyContainersError):
        build(HEAD + "ADD pipe /y\n")

    assert time.monotonic() - begun < 20
