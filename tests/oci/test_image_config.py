"""Image configs: what other tools make is read, what is written other tools read."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from pycontainers.errors import InvalidArgument
from pycontainers.oci.codec import from_json, to_json
from pycontainers.oci.config import Healthcheck, History, ImageConfig, RootFS
from pycontainers.oci.manifest import OCI_CONFIG

if TYPE_CHECKING:
    from pathlib import Path

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def run(*command: object) -> str:
    argv = [str(part) for part in command]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def umoci_image(directory: Path) -> Path:
    """Make an image without layers in an OCI layout; gives the layout."""
    layout = directory / "layout"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:one")
    run(
        *("umoci", "config", "--image", f"{layout}:one", "--author", "me"),
        *("--config.env", "A=b=c", "--config.exposedports", "80/tcp", "--config.volume", "/data"),
        *("--config.label", "key=value", "--config.entrypoint", "/bin/sh", "--config.cmd", "-c"),
        *("--config.stopsignal", "SIGINT", "--config.workingdir", "/srv", "--config.user", "1:2"),
    )
    return layout


def config_of(directory: Path, manifest: dict[str, Any]) -> bytes:
    digest: str = manifest["config"]["digest"]
    return (directory / digest.removeprefix("sha256:")).read_bytes()


def test_a_config_of_umoci_is_read_and_written_back(tmp_path: Path) -> None:
    layout = umoci_image(tmp_path)
    blobs = layout / "blobs/sha256"
    index = json.loads((layout / "index.json").read_bytes())
    manifest = blobs / index["manifests"][0]["digest"].replace("sha256:", "")
    data = config_of(blobs, json.loads(manifest.read_bytes()))

    image = from_json(ImageConfig, data)

    assert (image.os, image.author) == ("linux", "me")
    assert image.environment() == {"A": "b=c"}
    assert image.command() == ["/bin/sh", "-c"]
    assert (image.exposed_ports, image.volumes) == (("80/tcp",), ("/data",))
    assert (image.working_dir, image.user, image.stop_signal) == ("/srv", "1:2", "SIGINT")
    assert image.labels == {"key": "value"}
    assert image.history[-1].empty_layer
    assert to_json(image) == data.strip()


def test_a_config_in_dockers_format_is_read_and_written_back(tmp_path: Path) -> None:
    layout = umoci_image(tmp_path)
    copy = tmp_path / "copy"
    run("skopeo", "copy", "--format", "v2s2", f"oci:{layout}:one", f"dir:{copy}")
    data = config_of(copy, json.loads((copy / "manifest.json").read_bytes()))

    image = from_json(ImageConfig, data)

    assert image.command() == ["/bin/sh", "-c"]
    assert json.loads(to_json(image)) == json.loads(data)


def test_skopeo_reads_a_config_written_here(tmp_path: Path) -> None:
    image = ImageConfig(
        created="2026-11-24T04:33:06.5Z",
        env=["A=é"],
        cmd=["<&>"],
        labels={"a": "b"},
        exposed_ports=["53/udp"],
        history=(History(created_by="nothing", empty_layer=True),),
    )
    layout = tmp_path / "layout"
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)

    def descriptor(media_type: str, data: bytes) -> dict[str, Any]:
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}

    manifest = {"schemaVersion": 2, "config": descriptor(OCI_CONFIG, to_json(image)), "layers": []}
    entry = descriptor(_MANIFEST, json.dumps({**manifest, "mediaType": _MANIFEST}).encode())
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))

    shown = run("skopeo", "inspect", "--config", f"oci:{layout}")

    assert json.loads(shown) == json.loads(to_json(image))


def test_dockers_members_are_read_and_written_back() -> None:
    document = {
        "created": "0001-01-01T00:00:00Z",
        "architecture": "arm64",
        "variant": "v8",
        "os": "linux",
        "config": {
            "Cmd": ["sh"],
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 3_000_000_000, "Retries": 2},
            "Shell": ["/bin/sh", "-c"],
            "OnBuild": ["RUN true"],
            "ArgsEscaped": True,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{'0' * 64}"]},
        "docker_version": "20.10",
    }

    image = from_json(ImageConfig, json.dumps(document).encode())

    assert image.healthcheck == Healthcheck(test=["CMD", "true"], interval=3_000_000_000, retries=2)
    assert image.on_build == ("RUN true",)
    assert image.unknown == {"config": {"ArgsEscaped": True}, "docker_version": "20.10"}
    assert json.loads(to_json(image)) == document


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "expected"),
    [
        (None, None, ["entry", "cmd"]),
        (None, [], ["entry", "cmd"]),
        (None, ["mine"], ["entry", "mine"]),
        (["mine"], None, ["mine"]),
        (["mine"], ["x"], ["mine", "x"]),
        ([], None, ["cmd"]),
        ([], ["mine"], ["mine"]),
    ],
)
def test_overrides_combine_as_dockers_do(
    entrypoint: list[str] | None, cmd: list[str] | None, expected: list[str]
) -> None:
    image = ImageConfig(entrypoint=["entry"], cmd=["cmd"])

    assert image.command(entrypoint, cmd) == expected


def test_of_a_variable_given_twice_the_last_wins() -> None:
    image = ImageConfig(env=["A=1", "WITHOUT", "=x", "B=", "A=2"])

    assert image.environment() == {"A": "2", "B": ""}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("env", "A=1"),
        ("env", ["A\0=1"]),
        ("cmd", [3]),
        ("labels", {"a": 1}),
        ("labels", []),
        ("exposed_ports", ["http"]),
        ("created", "today"),
        ("os", ""),
        ("healthcheck", ["CMD"]),
        ("rootfs", {}),
        ("history", (RootFS(),)),
        ("user", None),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ImageConfig(**{field: value})

    assert str(caught.value).startswith(field)


def test_a_config_survives_pickling() -> None:
    image = ImageConfig(env=["A=1"], labels={"a": "b"})

    assert pickle.loads(pickle.dumps(image)) == image
