"""Pull and push with a real registry, and with the peers on its other side."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from tests.images.build import INDEX, Layout
from tests.images.conftest import Peer
from tests.images.trees import archive, entry, tree

LOOK = "cat /etc/motd.d/* /etc/release; ls /home; ls /etc/gone"
SEEN = "two\nthird\n"


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[pc.Engine]:
    """An engine with an empty store."""
    with pc.Engine(root=tmp_path / "empty") as engine:
        yield engine


def skopeo(*arguments: object) -> str:
    command = ["skopeo", "--insecure-policy", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def pushed(layers: list[bytes], layout: Layout, registry: str) -> str:
    """The layered image in the registry, sent there by skopeo."""
    layout.image(layers, name="x", Cmd=["sh", "-c", LOOK])
    reference = f"{registry}/team/app:1"
    skopeo("copy", "--dest-tls-verify=false", f"oci:{layout.path}:x", f"docker://{reference}")
    return reference


def test_a_pulled_image_runs_and_is_known_by_tag_and_digest(pushed: str, empty: pc.Engine) -> None:
    events: list[pc.Progress] = []

    image = pc.Image.pull(pushed, engine=empty, progress=events.append)

    assert image.run().stdout == SEEN
    assert image.tags == (pushed,)
    assert image.digests == (f"{pushed.removesuffix(':1')}@{image.digest}",)
    assert pc.Image.get(pushed, engine=empty) == image
    assert pc.Image.get(image.digests[0], engine=empty) == image
    assert pc.Image.pull(image.digests[0], engine=empty) == image
    ends = [event for event in events if event.action == "done"]
    assert len(ends) == 3
    assert all(event.current == event.total > 0 for event in ends)
    assert f"Image {pushed} " in repr(image)


def test_an_image_option_is_pulled_where_it_is_absent(pushed: str, empty: pc.Engine) -> None:
    assert pc.run(["cat", "/etc/release"], image=pushed, engine=empty).stdout == "third\n"
    assert [image.tags for image in pc.Image.list(engine=empty)] == [(pushed,)]


def test_what_is_here_is_not_fetched_again(pushed: str, empty: pc.Engine) -> None:
    pc.Image.pull(pushed, engine=empty)
    events: list[pc.Progress] = []

    pc.Image.pull(pushed, engine=empty, progress=events.append)

    assert {event.action for event in events} == {"exists"}


def test_pull_run_commit_push_and_run_elsewhere(
    pushed: str, registry: str, empty: pc.Engine, docker: Peer, podman: Peer, tmp_path: Path
) -> None:
    image = pc.Image.pull(pushed, engine=empty)
    script = "echo made > /srv-file; rm /etc/release; chown 5:6 /srv-file; chmod 4711 /srv-file"
    with pc.Container.run(image, ["sh", "-c", script], engine=empty) as container:
        assert container.wait(10) == 0
        made = container.commit(changes=['CMD ["cat", "/srv-file"]'])
    target = f"{registry}/team/made:2"

    digest = made.push(target)

    assert skopeo("inspect", "--tls-verify=false", f"docker://{target}", "--format", "{{.Digest}}"
                  ).strip() == digest  # fmt: skip
    docker("pull", target)
    assert docker("run", "--rm", "--network", "none", target) == "made\n"
    podman("pull", "--tls-verify=false", target)
    limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000", "--network=none"]
    assert podman("run", "--rm", *limits, target) == "made\n"
    with pc.Engine(root=tmp_path / "third") as third:
        again = pc.Image.pull(target, engine=third)
        assert again.digest == digest
        assert [tree(layer) for layer in again.layers] == [tree(layer) for layer in made.layers]
        assert again.run(["sh", "-c", "ls /etc/release; stat -c '%a %u %g' /srv-file"]).stdout == (
            "4711 5 6\n"
        )


@pytest.mark.parametrize("peer_name", ["docker", "podman"])
def test_what_a_peer_pushes_is_pulled(
    peer_name: str,
    pushed: str,
    registry: str,
    empty: pc.Engine,
    request: pytest.FixtureRequest,
) -> None:
    peer: Peer = request.getfixturevalue(peer_name)
    target = f"{registry}/by/{peer_name}:1"
    insecure = ["--tls-verify=false"] if peer_name == "podman" else []
    peer("pull", *insecure, pushed)
    peer("tag", pushed, target)
    peer("push", *insecure, target)

    assert pc.Image.pull(target, engine=empty).run().stdout == SEEN


def test_a_second_push_sends_nothing_and_another_repository_mounts(
    pushed: str, registry: str, empty: pc.Engine
) -> None:
    image = pc.Image.pull(pushed, engine=empty)
    events: list[pc.Progress] = []

    image.push(pushed, progress=events.append)
    image.push(f"{registry}/other/app:1", progress=events.append)

    assert {event.action for event in events if event.part in _layer_digests(image)} == {"exists"}
    assert pc.Registry(registry, engine=empty).tags("other/app") == ["1"]


def _layer_digests(image: pc.Image) -> set[str]:
    manifest = Path(image.root, "content/blobs/sha256", (image.digest or "")[7:]).read_bytes()
    return {layer["digest"] for layer in json.loads(manifest)["layers"]}


def test_plain_layers_are_compressed_before_they_are_sent(
    layers: list[bytes], layout: Layout, registry: str, empty: pc.Engine
) -> None:
    layout.image(layers, name="plain:1", how="")
    image = pc.Image.load(layout.path, engine=empty)

    digest = image.push(f"{registry}/plain:1")

    assert image.digest == digest
    found = json.loads(pc.Registry(registry, engine=empty).manifest("plain:1").data)
    assert {layer["mediaType"].rpartition("+")[2] for layer in found["layers"]} == {"gzip"}
    assert set(image.tags) == {"plain:1"}
    assert image.run(["cat", "/etc/release"]).stdout == "third\n"


def test_the_platform_that_suits_is_pulled_from_an_index(
    layers: list[bytes], layout: Layout, registry: str, empty: pc.Engine
) -> None:
    arm = layout.image(
        layers[:1], listed=False, platform={"architecture": "arm64", "os": "linux"}, Cmd=["arm"]
    )
    own = layout.image(layers[:1], listed=False, Cmd=["own"])
    noise = {**own, "platform": {"architecture": "unknown", "os": "unknown"},
             "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}  # fmt: skip
    index = layout.json(
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": [noise, arm, own]}, INDEX
    )
    layout.manifests = [{**index, "annotations": {"org.opencontainers.image.ref.name": "multi"}}]
    layout.write_index()
    target = f"{registry}/multi:1"
    skopeo("copy", "--all", "--dest-tls-verify=false", f"oci:{layout.path}:multi",
           f"docker://{target}")  # fmt: skip

    assert pc.Image.pull(target, engine=empty).config.cmd == ("own",)
    other = pc.Image.pull(target, platform="arm64", engine=empty)
    assert (other.config.cmd, str(other.platform)) == (("arm",), "linux/arm64")
    with pytest.raises(pc.ImageError) as caught:
        pc.Image.pull(target, platform="s390x", engine=empty)
    assert "linux/amd64, linux/arm64" in (caught.value.hint or "")


def test_another_platform_than_the_only_one_is_refused(pushed: str, empty: pc.Engine) -> None:
    with pytest.raises(pc.ImageError, match="is for linux/amd64"):
        pc.Image.pull(pushed, platform="arm64", engine=empty)

    assert pc.Image.list(engine=empty) == []


def test_what_is_not_there_is_not_found(registry: str, empty: pc.Engine) -> None:
    with pytest.raises(pc.ImageNotFound, match="never"):
        pc.Image.pull(f"{registry}/never:1", engine=empty)
    with pytest.raises(pc.ImageNotFound):
        pc.Registry(registry, engine=empty).tags("never")


def test_a_registry_that_does_not_answer_is_told_by_name(empty: pc.Engine) -> None:
    with pytest.raises(pc.RegistryError, match=r"127\.0\.0\.1:1"):
        pc.Image.pull("127.0.0.1:1/app", engine=empty)


@pytest.fixture
def large(layout: Layout, registry: str) -> str:
    """An image whose layer takes a while."""
    noise = random.Random(1).randbytes(48 << 20)
    layout.image([archive((entry("noise"), noise))], name="x", how="")
    reference = f"{registry}/large:1"
    skopeo("copy", "--dest-tls-verify=false", f"oci:{layout.path}:x", f"docker://{reference}")
    return reference


PULL = """
import sys
import pycontainers as pc
def tell(event):
    if event.action == "download" and event.current > 4 << 20:
        print("under way", flush=True)
with pc.Engine(root=sys.argv[1]) as engine:
    pc.Image.pull(sys.argv[2], engine=engine, progress=tell)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_pull_leaves_the_store_as_it_was_and_goes_on(
    number: int, large: str, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    with subprocess.Popen(
        [sys.executable, "-c", PULL, str(root), large],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"under way\n"
        process.send_signal(number)
        process.communicate()
    left = list((root / "ingest").iterdir())

    with pc.Engine(root=root) as engine:
        assert pc.Image.list(engine=engine) == []
        assert os.listdir(engine.services().root.layers) == []
        first: list[pc.Progress] = []
        image = pc.Image.pull(large, engine=engine, progress=first.append)

        assert len(left) == 1
        assert first[0].current >= 4 << 20 or first[0].action == "done"
        assert (Path(image.layers[0]) / "noise").stat().st_size == 48 << 20
        assert os.listdir(root / "ingest") == []


def test_two_processes_pull_the_same_image_at_once(large: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PULL, str(tmp_path / "store"), large]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]

    assert [process.wait(60) for process in both] == [0, 0]
    with pc.Engine(root=tmp_path / "store") as engine:
        assert len(pc.Image.list(engine=engine)) == 1
        assert len(os.listdir(tmp_path / "store/layers")) == 1
        assert os.listdir(tmp_path / "store/ingest") == []


def test_prune_waits_for_a_running_pull(large: str, empty: pc.Engine) -> None:
    under_way = threading.Event()

    def tell(event: pc.Progress) -> None:
        under_way.set()

    thread = threading.Thread(
        target=pc.Image.pull, args=(large,), kwargs={"engine": empty, "progress": tell}
    )
    thread.start()
    under_way.wait(10)
    pc.Image.prune(all=False, engine=empty)
    thread.join()

    assert len(pc.Image.get(large, engine=empty).layers) == 1


def test_a_full_disk_ends_a_pull_with_its_reason_and_leaves_nothing(
    large: str, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", disk], check=True)
    try:
        with pc.Engine(root=disk / "root") as engine:
            before = os.statvfs(disk).f_bavail
            with pytest.raises(pc.PyContainersError, match="No space left") as caught:
                pc.Image.pull(large, engine=engine)

            assert isinstance(caught.value, (pc.StoreError, pc.ImageError))
            assert pc.Image.list(engine=engine) == []
            pc.Image.prune(engine=engine)
            assert before - os.statvfs(disk).f_bavail < 256
    finally:
        subprocess.run(["umount", disk], check=True)


def test_an_error_of_the_listener_ends_the_pull(large: str, empty: pc.Engine) -> None:
    def refuse(event: pc.Progress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pc.Image.pull(large, engine=empty, progress=refuse)

    assert os.listdir(empty.services().root.layers) == []
