"""The rows of images: found by every name, kept true in index.json, collected when unreachable."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainers.errors import ImageNotFound, StoreError
from pycontainers.oci import manifest as oci
from pycontainers.oci.codec import to_json
from pycontainers.oci.config import ImageConfig, RootFS
from pycontainers.oci.digest import Digest
from pycontainers.storage.content import ContentStore
from pycontainers.storage.database import Database
from pycontainers.storage.images import ImageRow, ImageStore, blob_list
from pycontainers.storage.root import DataRoot

APP = "docker.io/library/app:1"


class Store:
    def __init__(self, root: Path) -> None:
        self.root = DataRoot(root)
        self.database = Database(self.root.database)
        self.content = ContentStore(self.root.content, self.root.ingest)
        self.images = ImageStore(self.database, self.content, self.root.layers)

    def add(self, name: str, *references: str) -> ImageRow:
        """Add an image of one tiny layer, whole and valid."""
        tar = subprocess.run(
            ["tar", "--format=ustar", "-c", "-T", "/dev/null"], capture_output=True, check=True
        ).stdout
        layer = self.content.put(tar)
        config = self.content.put(
            to_json(ImageConfig(author=name, rootfs=RootFS(diff_ids=(str(layer),))))
        )
        parts = [
            oci.Descriptor(media_type=kind, digest=str(digest), size=self.content.size(digest) or 0)
            for kind, digest in ((oci.OCI_CONFIG, config), (oci.OCI_LAYER, layer))
        ]
        data = to_json(
            oci.Manifest(media_type=oci.OCI_MANIFEST, config=parts[0], layers=(parts[1],))
        )
        manifest = self.content.put(data)
        directory = self.images.new_layer()
        directory.mkdir()
        (directory / "file").write_text(name)
        self.images.add_layer(str(layer), directory, 10)
        row = ImageRow(
            manifest=str(manifest),
            config=str(config),
            media_type=oci.OCI_MANIFEST,
            length=len(data),
            size=sum(part.size for part in parts),
            added=time.time(),
            platform="linux/amd64",
            blobs=blob_list([str(manifest), *(part.digest for part in parts)]),
            diff_ids=blob_list([str(layer)]),
        )
        self.images.add(row, references)
        return row


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "root")
    yield store
    store.database.close()


def index_of(store: Store) -> list[tuple[str, str | None]]:
    document = json.loads((store.root.content / "index.json").read_bytes())
    return [
        (entry["digest"], entry.get("annotations", {}).get(oci.REF_NAME))
        for entry in document["manifests"]
    ]


def test_an_image_is_found_by_reference_digest_and_id(store: Store) -> None:
    row = store.add("one", APP)

    assert store.images.by_reference(APP) == row
    assert store.images.by_manifest(row.manifest) == row
    assert store.images.by_id(row.config) == [row]
    assert store.images.by_id(row.config.removeprefix("sha256:")[:12]) == [row]
    assert store.images.by_reference("docker.io/library/other:1") is None
    assert store.images.by_id("sha256:%") == []


def test_a_tag_moves_and_its_old_image_stays(store: Store) -> None:
    one = store.add("one", APP)
    two = store.add("two", APP)

    assert store.images.by_reference(APP) == two
    assert store.images.references(one.manifest) == ()
    assert dict(store.images.all()) == {two: (APP,), one: ()}
    assert sorted(index_of(store)) == sorted([(two.manifest, APP), (one.manifest, None)])


def test_untagging_tells_whether_there_was_something(store: Store) -> None:
    store.add("one", APP)

    assert store.images.untag(APP) is True
    assert store.images.untag(APP) is False


def test_tagging_a_removed_image_is_refused(store: Store) -> None:
    row = store.add("one")
    store.images.remove([row.manifest])

    with pytest.raises(ImageNotFound):
        store.images.tag(row.manifest, APP)


def test_what_no_image_has_is_collected_and_the_rest_stays(store: Store) -> None:
    one, two = store.add("one", APP), store.add("two")
    stray = store.content.put(b"stray")
    (store.root.layers / ("0" * 32)).mkdir()
    store.images.remove([two.manifest])

    collected = store.images.collect(wait=True)

    assert collected.blobs == 3  # the stray one, and the config and manifest of the second image
    assert store.content.size(stray) is None
    assert all(store.content.size(Digest.parse(blob)) for blob in json.loads(one.blobs))
    assert len(store.images.stack(json.loads(one.diff_ids))) == 1
    assert len(list(store.root.layers.iterdir())) == 1


def test_collection_waits_for_nobody_unless_asked(store: Store) -> None:
    stray = store.content.put(b"stray")

    with store.content.in_use():
        assert store.images.collect(wait=False) == (0, 0, 0)
    assert store.content.size(stray) == 5
    assert store.images.collect(wait=True).bytes == 5


def test_a_layer_unpacked_twice_is_kept_once(store: Store) -> None:
    first, second = store.images.new_layer(), store.images.new_layer()
    first.mkdir()
    second.mkdir()
    diff_id = str(Digest.of(b"layer"))

    assert store.images.add_layer(diff_id, first, 1) == first
    assert store.images.add_layer(diff_id, second, 1) == first

    assert not second.exists()


def test_a_layer_that_is_there_twice_is_stacked_once(store: Store) -> None:
    diff_ids = [str(Digest.of(name)) for name in (b"a", b"b")]
    for diff_id in diff_ids:
        directory = store.images.new_layer()
        directory.mkdir()
        store.images.add_layer(diff_id, directory, 1)
    low, high = (str(store.images.layer(diff_id)) for diff_id in diff_ids)

    assert store.images.stack([*diff_ids, diff_ids[0]]) == (low, high)
    assert store.images.stack(diff_ids) == (high, low)


def test_a_missing_layer_is_told_by_name(store: Store) -> None:
    with pytest.raises(StoreError, match="has been removed"):
        store.images.stack([str(Digest.of(b"none"))])


def test_a_thousand_images_are_listed_at_once(store: Store) -> None:
    row = store.add("one", APP)
    rows = [
        row._replace(manifest=str(Digest.of(b"%d" % number)), config=str(Digest.of(b"c")))
        for number in range(1000)
    ]
    with store.database.transaction() as change:
        change.executemany("INSERT INTO images VALUES (?,?,?,?,?,?,?,?,?)", rows)
        change.executemany(
            "INSERT INTO tags VALUES (?,?)",
            [(f"docker.io/library/a:{n}", row.manifest) for n, row in enumerate(rows)],
        )

    assert len(store.images.all()) == 1001


def test_skopeo_and_umoci_read_the_store_as_it_is(store: Store, tmp_path: Path) -> None:
    row = store.add("one", APP)
    layout = store.root.content

    shown = subprocess.run(
        ["skopeo", "inspect", "--raw", f"oci:{layout}:{APP}"], capture_output=True, check=True
    ).stdout
    listed = subprocess.run(
        ["umoci", "ls", "--layout", str(layout)], capture_output=True, check=True, text=True
    ).stdout

    assert str(Digest.of(shown)) == row.manifest
    assert listed.split() == [APP]


def test_a_database_of_the_first_format_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    old = sqlite3.connect(path)
    old.execute(
        "CREATE TABLE containers (id TEXT PRIMARY KEY, name TEXT UNIQUE, owner_pid INTEGER, "
        "owner_start INTEGER, pid INTEGER, start INTEGER, status TEXT, exit_code INTEGER, "
        "created REAL, cgroup TEXT, options TEXT)"
    )
    old.execute(
        "INSERT INTO containers VALUES ('a', 'n', 1, 1, NULL, NULL, 'created', NULL, 1, '', '{}')"
    )
    old.execute("PRAGMA user_version = 1")
    old.commit()
    old.close()

    database = Database(path)

    assert [row.id for row in database.containers()] == ["a"]
    assert database.rows("SELECT * FROM images") == []
    database.close()


def test_a_database_of_a_later_format_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    later = sqlite3.connect(path)
    later.execute("PRAGMA user_version = 99")
    later.close()

    with pytest.raises(StoreError, match="format 99"):
        Database(path)
