"""How mounts are asked for, in all the ways that Docker's users know, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

import pycontainers as pc
from pycontainers.lifecycle.options import Options


def asked(volumes: Any) -> list[tuple[Any, ...]]:
    mounts = Options.of(["true"], volumes=volumes).volumes
    return [(one.kind, one.source, one.target, one.read_only) for one in mounts]


@pytest.mark.parametrize(
    ("volumes", "expected"),
    [
        ({"data": "/data"}, [("volume", "data", "/data", False)]),
        ({"/usr": "/data"}, [("bind", "/usr", "/data", False)]),
        ({Path("/usr"): "/data"}, [("bind", "/usr", "/data", False)]),
        ({"data": {"bind": "/data", "mode": "ro"}}, [("volume", "data", "/data", True)]),
        ({"data": {"bind": "/data"}}, [("volume", "data", "/data", False)]),
        ({"/usr": {"bind": "/data", "mode": "ro,z"}}, [("bind", "/usr", "/data", True)]),
        (["data:/data"], [("volume", "data", "/data", False)]),
        (["data:/data:ro,nocopy"], [("volume", "data", "/data", True)]),
        (["data:/data:rw"], [("volume", "data", "/data", False)]),
        (["/usr:/in:ro,rslave"], [("bind", "/usr", "/in", True)]),
        (["/own"], [("volume", "", "/own", False)]),
        (("a1:/a", "b1:/b/"), [("volume", "a1", "/a", False), ("volume", "b1", "/b", False)]),
        ([], []),
        ({}, []),
    ],
)
def test_volumes_are_asked_for_as_in_docker(volumes: Any, expected: list[Any]) -> None:
    assert asked(volumes) == expected


def test_a_volume_object_is_a_key(engine: pc.Engine) -> None:
    volume = pc.Volume.create("data", engine=engine)

    assert asked({volume: "/data"}) == [("volume", "data", "/data", False)]


@pytest.mark.parametrize(
    ("volumes", "told"),
    [
        (["data:/data:fast"], "fast"),
        (["data:/data:ro,rw"], "both"),
        (["data:/data:rslave"], "below a volume"),
        (["/usr:/data:nocopy"], "nocopy"),
        (["/usr:/data:rshared"], "appear on the host"),
        (["/nowhere/at/all:/data"], "does not exist"),
        (["data:relative"], "absolute"),
        (["data:/"], "nothing can be mounted"),
        (["data:/proc/x"], "nothing can be mounted"),
        (["a:b:c:d"], "source:target:mode"),
        (["data:/data", "more:/data"], "two mounts"),
        (["", "/x"], "absolute"),
        ({"data": 7}, "bind"),
        ({"data": {"bind": "/data", "modus": "ro"}}, "bind"),
        ({7: "/data"}, "expected a Volume"),
        ("data:/data", "expected a list"),
        ([7], "text"),
    ],
)
def test_what_can_not_be_is_refused_with_the_reason(volumes: Any, told: str) -> None:
    with pytest.raises(pc.InvalidArgument, match=told):
        asked(volumes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: pc.Mount.bind("/nowhere/at/all", "/x"),
        lambda: pc.Mount.bind("/usr", "/x", propagation="shared"),  # type: ignore[arg-type]
        lambda: pc.Mount.bind("/usr", "x"),
        lambda: pc.Mount.volume("data", "/x", subpath="../up"),
        lambda: pc.Mount.volume("data", "/x", subpath="/abs"),
        lambda: pc.Mount.volume(Path("/usr"), "/x"),
        lambda: pc.Mount.image(7, "/x"),  # type: ignore[arg-type]
        lambda: pc.Mount.tmpfs("/dev"),
    ],
)
def test_a_mount_that_can_not_be_is_never_made(make: Any) -> None:
    with pytest.raises(pc.InvalidArgument):
        make()


def test_the_words_of_selinux_are_noted_and_ignored(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="pycontainers"):
        asked(["data:/data:Z"])

    assert "SELinux" in caplog.text


def test_mounts_volumes_and_tmpfs_share_their_targets() -> None:
    with pytest.raises(pc.InvalidArgument, match="two mounts at /x"):
        Options.of(["true"], mounts=[pc.Mount.tmpfs("/x")], volumes={"data": "/x/"})
