"""What the tests of crashes share: a data root that the test is the only one to use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from tests import leaks


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A data root of the test's own; after the test and a recovery it holds no container."""
    path = tmp_path / "root"
    before = leaks.snapshot()
    yield path
    leaks.assert_recovered(path, before)


@pytest.fixture
def own(root: Path) -> Iterator[pc.Engine]:
    """An engine that the test may break: nobody else uses it."""
    with pc.Engine(root=root) as engine:
        yield engine


@pytest.fixture
def own_image(busybox: Path, own: pc.Engine) -> pc.Image:
    """The busybox image in that engine."""
    return pc.Image.from_rootfs(busybox, engine=own)
