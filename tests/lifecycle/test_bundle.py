"""Bundles: what runc writes runs here, and what is written here runc runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from pycontainers.lifecycle import bundle


@pytest.fixture
def directory(busybox: Path) -> Iterator[Path]:
    """A bundle's directory with a root file system, where a mapped root can walk to it."""
    with tempfile.TemporaryDirectory(prefix="bundle-") as name:
        path = Path(name)
        shutil.copytree(busybox, path / "rootfs", symlinks=True)
        path.chmod(0o755)
        yield path


def test_a_bundle_of_runc_runs_here(directory: Path, engine: pc.Engine) -> None:
    subprocess.run(["runc", "spec"], cwd=directory, check=True)
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config["process"].update(terminal=False, args=["sh", "-c", "echo $$; hostname; touch /x"])
    path.write_text(json.dumps(config))

    result = bundle.run_bundle(engine.services(), directory)

    assert result.stdout == "1\nrunc\n"
    assert "Read-only file system" in result.stderr


@pytest.mark.parametrize("userns", ["auto", "host"])
def test_a_bundle_written_here_runs_with_runc(
    userns: str, directory: Path, image: pc.Image, engine: pc.Engine
) -> None:
    command = [
        "sh",
        "-c",
        "echo $$ $A; grep -c . /proc/self/uid_map; grep Seccomp: /proc/self/status",
    ]
    for name in ("proc", "sys", "dev"):
        (directory / "rootfs" / name).mkdir()
    with pc.Container.create(image, command, env={"A": "b"}, userns=userns, engine=engine) as c:  # type: ignore[arg-type]
        bundle.write_bundle(c._life(), directory, directory / "rootfs")

    done = subprocess.run(
        ["runc", "run", "--bundle", str(directory), f"pct-{userns}-{c.id[:8]}"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )

    assert done.stdout == "1 b\n1\nSeccomp:\t2\n", done.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", '{"process": 1}', '{"root": {"path": ""}}'])
def test_a_bad_config_is_refused(text: str, tmp_path: Path, engine: pc.Engine) -> None:
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(pc.InvalidArgument):
        bundle.run_bundle(engine.services(), tmp_path)
