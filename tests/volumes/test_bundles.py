"""Volumes in bundles of the runtime spec, which know binds only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pycontainers as pc
from pycontainers.lifecycle import bundle


def test_a_volume_is_a_bind_there(image: pc.Image, engine: pc.Engine, tmp_path: Path) -> None:
    mounts = [pc.Mount.volume("data", "/data", subpath="a/b"), pc.Mount.bind("/usr", "/in")]
    with pc.Container.create(
        image, ["true"], mounts=mounts, volumes=["other:/other:ro"], engine=engine
    ) as container:
        bundle.write_bundle(container._life(), tmp_path, tmp_path / "rootfs")

        written = {
            one["destination"]: one
            for one in json.loads((tmp_path / "config.json").read_text())["mounts"]
        }
        path = pc.Volume.get("data", engine=engine).path
        assert written["/data"]["source"] == str(path / "a/b")
        assert written["/data"]["type"] == "bind"
        assert {"rbind", "rw"} <= set(written["/data"]["options"])
        assert {"rbind", "ro"} <= set(written["/other"]["options"])
        words = {word for one in written.values() for word in one.get("options", ())}
        assert not [word for word in words if "pycontainers" in word]


def test_what_a_bundle_can_not_hold_is_told(
    image: pc.Image, engine: pc.Engine, tmp_path: Path
) -> None:
    volume = pc.Volume.create("data", size="4m", engine=engine)
    for options in ({"volumes": {volume: "/x"}}, {"mounts": [pc.Mount.image(image, "/x")]}):
        with (
            pc.Container.create(image, ["true"], engine=engine, **options) as container,
            pytest.raises(pc.NotSupported, match="/x"),
        ):
            bundle.write_bundle(container._life(), tmp_path, tmp_path / "rootfs")
