"""Volumes and mounts at the command line, with Docker's words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import IMAGE, Cli


@pytest.fixture(autouse=True)
def _none_stays(cli: Cli) -> Iterator[None]:
    yield
    left = cli.out("ps", "-aq").split()
    if left:
        cli("rm", "-f", "-v", *left)
    cli("volume", "prune", "-a", "-f")
    assert cli.out("volume", "ls", "-q") == ""


def test_a_volume_is_made_listed_inspected_and_removed(cli: Cli) -> None:
    assert cli.out("volume", "create", "--label", "a=b", "data") == "data"
    assert cli.out("volume", "create", "--size", "4m", "small") == "small"

    rows = [line.split() for line in cli.out("volume", "ls").splitlines()]
    assert rows[1:] == [["data", "0"], ["small", "4MiB", "0"]]
    assert cli.out("volume", "ls", "-q", "-f", "label=a") == "data"
    [facts] = json.loads(cli.out("volume", "inspect", "data"))
    assert (facts["name"], facts["labels"], facts["size"]) == ("data", {"a": "b"}, None)
    assert Path(facts["path"]).is_dir()
    assert cli.out("volume", "inspect", "-f", "{{.size}}", "small") == str(4 << 20)
    assert cli.out("volume", "rm", "data", "small") == "data\nsmall"
    assert "no volume 'data'" in cli("volume", "rm", "data", code=1).stderr
    assert cli.out("volume", "rm", "-f", "data") == "data"


def test_run_takes_volumes_as_docker_does(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("host\n")
    shown = cli.out(
        "run", "--rm", "-v", "data:/data", "-v", f"{tmp_path}:/in:ro", "-v", "/own", IMAGE,
        "sh", "-c", "cat /in/file; touch /data/x; grep -c ' /own ' /proc/mounts",
    )  # fmt: skip

    assert shown.split() == ["host", "1"]
    assert cli.out("volume", "ls", "-q") == "data"
    assert cli.out("run", "--rm", "-v", "data:/d:ro,z", IMAGE, "ls", "/d") == "x"


def test_run_takes_mounts_of_every_type(cli: Cli, tmp_path: Path) -> None:
    cli("run", "--rm", "-v", "data:/data", IMAGE, "sh", "-c", "mkdir /data/sub; touch /data/sub/x")
    mounts = (
        "type=volume,src=data,dst=/v,volume-subpath=sub,readonly",
        f"type=bind,src={tmp_path}/new,dst=/b,bind-create-src,bind-propagation=rslave",
        f"type=image,src={IMAGE},dst=/i,image-subpath=etc",
        "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700",
        "dst=/own",
    )
    flags = [word for mount in mounts for word in ("--mount", mount)]

    shown = cli.out("run", "--rm", *flags, IMAGE, "sh", "-c",
                    "ls /v; touch /b/made; ls /i/passwd; stat -c %a /t; ls -d /own")  # fmt: skip

    assert shown.split() == ["x", "/i/passwd", "700", "/own"]
    assert (tmp_path / "new/made").exists()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["-v", "data:/data:fast"], "fast"),
        (["-v", "/nowhere/at/all:/x"], "does not exist"),
        (["--mount", "type=nfs,dst=/x"], "nfs"),
        (["--mount", "type=volume,dst=/x,colour=blue"], "colour"),
        (["--mount", "type=bind,src=/usr,dst=/x,bind-propagation=rshared"], "appear on the host"),
        (["--mount", "type=bind,src=/usr,dst=/x,readonly=maybe"], "maybe"),
    ],
)
def test_what_can_not_be_is_refused(cli: Cli, flags: list[str], told: str) -> None:
    assert told in cli("run", *flags, IMAGE, "true", code=125).stderr


def test_rm_takes_volumes_without_a_name_where_asked(cli: Cli) -> None:
    first, second = (cli.out("create", "-v", "/own", IMAGE, "true") for _ in range(2))

    cli("rm", first)
    assert len(cli.out("volume", "ls", "-q").split()) == 2
    cli("rm", "-v", second)
    assert len(cli.out("volume", "ls", "-q").split()) == 1
    assert "used by" not in cli.out("volume", "prune", "-f")


def test_a_volume_in_use_is_kept(cli: Cli) -> None:
    cli("create", "--name", "user", "-v", "data:/d", IMAGE, "true")

    assert "used by user" in cli("volume", "rm", "data", code=1).stderr
