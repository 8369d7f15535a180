"""Archives in and out: what we save others load, and what they save we load."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

import pycontainers as pc
from tests.images.build import INDEX, Layout
from tests.images.conftest import Peer
from tests.images.trees import archive, entry, tree

LOOK = "cat /etc/motd.d/* /etc/release; ls /home; ls /etc/gone"
SEEN = "two\nthird\n"


@pytest.fixture
def other(tmp_path: Path) -> Iterator[pc.Engine]:
    """A second engine with an empty store."""
    with pc.Engine(root=tmp_path / "other") as other:
        yield other


@pytest.fixture
def app(layers: list[bytes], layout: Layout, other: pc.Engine) -> pc.Image:
    """The layered image, loaded."""
    layout.image(layers, name="docker.io/library/app:1", Env=["A=1"], Cmd=["sh", "-c", LOOK])
    return pc.Image.load(layout.path, engine=other)


@pytest.mark.parametrize("how", ["gzip", "zstd", ""])
def test_layers_of_every_compression_make_one_file_system(
    how: str, layers: list[bytes], layout: Layout, other: pc.Engine
) -> None:
    layout.image(layers, name="app:1", how=how, Cmd=["sh", "-c", LOOK])

    image = pc.Image.load(layout.path, engine=other)
    result = image.run()

    assert image.tags == ("app:1",)
    assert result.stdout == SEEN
    assert "/etc/gone" in result.stderr
    assert image.run(["stat", "-c", "%u %g %a %Y", "/etc/release"]).stdout == "7 8 640 1000000000\n"


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".xz", ".bz2"])
def test_an_archive_is_read_compressed_from_a_file_and_from_a_pipe(
    suffix: str, layers: list[bytes], layout: Layout, other: pc.Engine, tmp_path: Path
) -> None:
    layout.image(layers, name="app:1")
    path = layout.tar(tmp_path / "app.tar")
    tool = {"": "cat", ".gz": "gzip", ".zst": "zstd", ".xz": "xz", ".bz2": "bzip2"}[suffix]
    packed = tmp_path / f"app.tar{suffix}.packed"
    whole = path.read_bytes()
    packed.write_bytes(subprocess.run([tool], input=whole, capture_output=True, check=True).stdout)

    from_file = pc.Image.load(packed, engine=other)
    with subprocess.Popen(["cat", packed], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        from_pipe = pc.Image.load(cast(BinaryIO, cat.stdout), engine=other)

    assert from_file == from_pipe
    assert from_file.run(["true"]).ok


@pytest.mark.parametrize("form", ["oci", "docker"])
def test_docker_and_podman_run_what_we_save(
    form: str, app: pc.Image, docker: Peer, podman: Peer, tmp_path: Path
) -> None:
    app.tag("saved:1")
    app.untag("app:1")  # podman reads OCI archives of one name only
    app.save(tmp_path / "app.tar", format=form)

    for peer, more in ((docker, ["--network", "none"]), (podman, ["--ulimit=nofile=1024:1024",
                       "--ulimit=nproc=1000:1000", "--network=none"])):  # fmt: skip
        if peer is docker and form == "oci":
            continue  # Docker before 25 reads docker-archives only
        peer("load", "-i", tmp_path / "app.tar")
        assert json.loads(peer("image", "inspect", "saved:1"))[0]["RootFS"]["Layers"] == list(
            app.config.rootfs.diff_ids
        )
        assert peer("run", "--rm", *more, "saved:1", check=False) == SEEN, peer.errors


@pytest.mark.parametrize("form", ["oci", "docker"])
def test_what_is_saved_and_loaded_is_the_same_image(
    form: str, app: pc.Image, engine: pc.Engine, tmp_path: Path
) -> None:
    app.tag("second:2")
    app.save(tmp_path / "app.tar", format=form)
    first = (tmp_path / "app.tar").read_bytes()
    stream = io.BytesIO()
    app.save(stream, format=form)

    loaded = pc.Image.load(tmp_path / "app.tar", engine=engine)

    assert stream.getvalue() == first
    assert (loaded.id, loaded.tags, loaded.config) == (app.id, app.tags, app.config)
    assert loaded.digest == app.digest or form == "docker"
    assert [tree(layer) for layer in loaded.layers] == [tree(layer) for layer in app.layers]
    loaded.remove()


def test_skopeo_copies_both_kinds(app: pc.Image, tmp_path: Path) -> None:
    for form in ("oci", "docker"):
        app.save(tmp_path / f"{form}.tar", format=form)
        subprocess.run(
            ["skopeo", "--insecure-policy", "copy", f"{form}-archive:{tmp_path}/{form}.tar",
             f"oci:{tmp_path}/{form}:x"],
            check=True, capture_output=True,
        )  # fmt: skip


def test_umoci_unpacks_our_store_to_the_tree_that_a_container_sees(
    app: pc.Image, tmp_path: Path
) -> None:
    store = Path(app.root, "content")
    subprocess.run(
        ["umoci", "unpack", "--image", f"{store}:docker.io/library/app:1", tmp_path / "bundle"],
        check=True, capture_output=True,
    )  # fmt: skip
    listed = app.run(
        ["sh", "-c", "cd / && find bin etc home root tmp -exec stat -c '%n %a %u %g %F %Y' {} +"]
    ).stdout

    script = "find bin etc home root tmp -exec stat -c '%n %a %u %g %F %Y' {} +"
    expected = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path / "bundle/rootfs", capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    theirs = set(expected.replace("regular empty file", "regular file").splitlines())
    ours = set(listed.replace("regular empty file", "regular file").splitlines())
    made_by_engine = {"etc/hosts", "etc/hostname", "etc/resolv.conf", "etc", "etc/mtab"}
    assert {line for line in ours ^ theirs if line.split()[0] not in made_by_engine} == set()


def test_archives_of_podman_skopeo_and_docker_are_loaded(
    app: pc.Image, podman: Peer, docker: Peer, engine: pc.Engine, tmp_path: Path
) -> None:
    app.tag("saved:2")
    app.save(tmp_path / "app.tar", format="docker")
    podman("load", "-i", tmp_path / "app.tar")
    docker("load", "-i", tmp_path / "app.tar")
    podman("save", "--format", "docker-archive", "-o", tmp_path / "p.docker", "saved:2")
    podman("save", "--format", "oci-archive", "-o", tmp_path / "p.oci", "saved:2")
    docker("save", "-o", tmp_path / "d.docker", "saved:2")

    for name in ("p.docker", "p.oci", "d.docker"):
        image = pc.Image.load(tmp_path / name, engine=engine)

        assert image.config.rootfs == app.config.rootfs, name
        assert image.run(["sh", "-c", LOOK]).stdout == SEEN, name
        assert any("saved:2" in tag for tag in image.tags), name
        image.remove()


def test_several_images_in_one_archive(
    layers: list[bytes], layout: Layout, other: pc.Engine, tmp_path: Path
) -> None:
    layout.image(layers[:1], name="a.example/one:1", Cmd=["one"])
    layout.image(layers[:1], name="a.example/two:1", Cmd=["two"])
    both = pc.Image.load_all(layout.tar(tmp_path / "both.tar"), engine=other)
    pc.Image.save_all(both, tmp_path / "again.tar", format="docker")
    for image in both:
        image.remove()

    again = pc.Image.load_all(tmp_path / "again.tar", engine=other)

    assert again == both
    assert [image.tags for image in again] == [("a.example/one:1",), ("a.example/two:1",)]
    with pytest.raises(pc.ImageError, match="has 2 images"):
        pc.Image.load(tmp_path / "again.tar", engine=other)


def test_a_hundred_layers_run(layers: list[bytes], layout: Layout, other: pc.Engine) -> None:
    many = [layers[0], *(archive((entry(f"n/{n}"), b"%d" % n)) for n in range(120))]
    layout.image(many, name="many:1")

    image = pc.Image.load(layout.path, engine=other)

    assert image.run(["sh", "-c", "ls /n | wc -l; cat /n/119"]).stdout == "120\n119"


def test_this_machines_platform_is_chosen_from_an_index(
    layers: list[bytes], layout: Layout, other: pc.Engine
) -> None:
    arm = layout.image(layers[:1], listed=False, platform={"architecture": "s390x", "os": "linux"})
    own = layout.image(layers[:1], listed=False, Cmd=["own"])
    index = layout.json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [arm, own]}, INDEX)
    layout.manifests = [index]
    layout.write_index()

    assert pc.Image.load(layout.path, engine=other).config.cmd == ("own",)


def store_of(engine: pc.Engine) -> tuple[list[str], list[str], int]:
    root = engine.services().root
    images = len(pc.Image.list(engine=engine))
    return sorted(os.listdir(root.layers)), sorted(os.listdir(root.ingest)), images


def docker_archive(**members: bytes) -> bytes:
    return archive(*((entry(name), data) for name, data in members.items()))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not an archive"),
        (b"text" * 1000, "not an archive"),
        (archive(entry("etc/passwd")), "neither index.json nor manifest.json"),
        (docker_archive(**{"manifest.json": b"{}"}), "no list"),
        (docker_archive(**{"manifest.json": b"[1]"}), "no list"),
        (docker_archive(**{"manifest.json": b'[{"Config": 1}]'}), "without Config"),
        (docker_archive(**{"manifest.json": b'[{"Config": "../../etc/passwd"}]'}), "has no"),
        (docker_archive(**{"manifest.json": b"[" * 100_000}), "can't be read"),
        (docker_archive(**{"manifest.json": b"[]"}), "has no image"),
        (
            archive(
                (entry("manifest.json"), b'[{"Config": "c"}]'),
                entry("c", tarfile.SYMTYPE, linkname="/etc/passwd"),
            ),
            "has no",
        ),
        (
            archive(
                (entry("manifest.json"), b'[{"Config": "c"}]'),
                entry("c", tarfile.SYMTYPE, linkname="d"),
                entry("d", tarfile.SYMTYPE, linkname="c"),
            ),
            "circles",
        ),
        (
            docker_archive(
                **{"manifest.json": b'[{"Config": "c", "RepoTags": ["../x:1"]}]', "c": b"{}"}
            ),
            "names an image",
        ),
        (
            docker_archive(
                **{"manifest.json": b'[{"Config": "c", "Layers": ["l"]}]', "c": b"{}", "l": b"x"}
            ),
            "config",
        ),
        (docker_archive(**{"oci-layout": b"{}", "index.json": b"{}"}), "neither a manifest"),
    ],
)
def test_a_hostile_archive_is_refused_and_leaves_nothing(
    data: bytes, says: str, engine: pc.Engine
) -> None:
    before = store_of(engine)

    with pytest.raises(pc.ImageError, match=says):
        pc.Image.load(io.BytesIO(data), engine=engine)

    assert store_of(engine) == before


def test_content_that_is_not_its_digest_is_refused(
    layers: list[bytes], layout: Layout, engine: pc.Engine
) -> None:
    entry_ = layout.image(layers)
    manifest = json.loads((layout.path / "blobs/sha256" / entry_["digest"][7:]).read_bytes())

    def damaged(name: str) -> Iterator[None]:
        path = layout.path / "blobs/sha256" / name[7:]
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        yield
        path.write_bytes(whole)

    for name in (entry_["digest"], manifest["config"]["digest"], manifest["layers"][1]["digest"]):
        before = store_of(engine)
        for _ in damaged(name):
            with pytest.raises(pc.ImageError, match="is another"):
                pc.Image.load(layout.path, engine=engine)
        assert store_of(engine) == before


def test_a_config_that_names_other_layers_is_refused(
    layers: list[bytes], layout: Layout, engine: pc.Engine
) -> None:
    def image_of(diff_ids: list[str]) -> None:
        config: dict[str, Any] = {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        manifest = {
            "schemaVersion": 2,
            "config": layout.json(config, "application/vnd.oci.image.config.v1+json"),
            "layers": [layout.blob(layers[1], "application/vnd.oci.image.layer.v1.tar")],
        }
        layout.manifests = [layout.json(manifest, "application/vnd.oci.image.manifest.v1+json")]
        layout.write_index()

    image_of(["sha256:" + "0" * 64])
    with pytest.raises(pc.ImageError, match="another content than its image's config says"):
        pc.Image.load(layout.path, engine=engine)
    image_of([])
    with pytest.raises(pc.ImageError, match="has 1 layers, but its config names 0"):
        pc.Image.load(layout.path, engine=engine)


def test_a_fifo_in_a_layout_does_not_hang(layout: Layout, engine: pc.Engine) -> None:
    (layout.path / "index.json").unlink()
    os.mkfifo(layout.path / "index.json")

    with pytest.raises(pc.ImageError):
        pc.Image.load(layout.path, engine=engine)
