"""What the tests of builds share: base images, a call that builds, and what comes of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

import pycontainers as pc
from pycontainers.build.progress import BuildProgress
from pycontainers.oci.config import ImageConfig
from tests.build.gitserver import Repository, Server, serving

Files = Mapping[str, str | bytes]


@attrs.frozen
class Built:
    """An image that a build has made, and what it told meanwhile."""

    image: pc.Image
    events: tuple[BuildProgress, ...]

    @property
    def config(self) -> ImageConfig:
        """The image's config."""
        return self.image.config

    def sh(self, line: str, **options: Any) -> str:
        """Run a line of shell in the image; give what it prints."""
        done = self.image.run(["/bin/sh", "-c", line], **{"entrypoint": [], **options})
        assert done.ok, done.stderr
        return done.stdout

    def stat(self, *paths: str) -> list[str]:
        """Give mode and owner of each path."""
        return self.sh(f"stat -c '%a %u:%g' {' '.join(paths)}").splitlines()

    def steps(self, action: str) -> list[str]:
        """Name the steps that ended in a way: "done", "cached"."""
        return [event.name for event in self.events if event.action == action]

    @property
    def cached(self) -> list[str]:
        """The instructions whose layers were there, without FROM."""
        return [name for name in self.steps("cached") if not name.upper().startswith("FROM")]

    @property
    def made(self) -> list[str]:
        """The instructions that were carried out."""
        return [name for name in self.steps("done") if not name.startswith("exporting")]

    @property
    def output(self) -> str:
        """All that commands have written."""
        return "".join(event.output for event in self.events)


class Builder:
    """Builds in one engine, from a context directory of its own."""

    def __init__(self, engine: pc.Engine, context: Path) -> None:
        self.engine = engine
        self.context = context

    def write(self, files: Files) -> None:
        """Put files into the context."""
        for name, content in files.items():
            path = self.context / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def __call__(self, text: str, files: Files | None = None, /, **options: Any) -> Built:
        """Build the text of a Dockerfile with the context's files, without a network."""
        self.context.mkdir(exist_ok=True)
        self.write({"Dockerfile": text, **(files or {})})
        return self.build(self.context, **options)

    def build(self, context: Any, **options: Any) -> Built:
        """Build any context."""
        events: list[BuildProgress] = []
        wishes = {"network": "none", "progress": events.append, **options}
        image = pc.Image.build(context, engine=self.engine, **wishes)
        return Built(image, tuple(events))

    def fails(self, text: str, files: Files | None = None, /, **options: Any) -> pc.BuildError:
        """Build what can't be built; give the error."""
        with pytest.raises(pc.BuildError) as caught:
            self(text, files, **options)
        return caught.value


@pytest.fixture(scope="session")
def base_archive(busybox: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The busybox root file system as an archive."""
    path = tmp_path_factory.mktemp("base") / "base.tar"
    subprocess.run(["tar", "-C", busybox, "--sort=name", "-cf", path, "."], check=True)
    return path


def give_base(engine: pc.Engine, archive: Path, name: str = "bb:1") -> pc.Image:
    """Give an engine the base image."""
    image = pc.Image.from_rootfs(archive, engine=engine)
    image.tag(name)
    return image


@pytest.fixture(scope="session")
def base(engine: pc.Engine, base_archive: Path) -> pc.Image:
    """The base image bb:1 of the engine that all share."""
    return give_base(engine, base_archive)


@pytest.fixture
def build(base: pc.Image, engine: pc.Engine, tmp_path: Path) -> Builder:
    """Build in the engine that all share."""
    return Builder(engine, tmp_path / "context")


@pytest.fixture
def own_engine(tmp_path: Path, base_archive: Path) -> Iterator[pc.Engine]:
    """An engine with the base image and an empty cache."""
    with pc.Engine(root=tmp_path / "root") as engine:
        give_base(engine, base_archive)
        yield engine


@pytest.fixture
def fresh(own_engine: pc.Engine, tmp_path: Path) -> Builder:
    """Build with an empty cache."""
    return Builder(own_engine, tmp_path / "context")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the Git repositories and files that a test makes."""
    root = tmp_path / "served"
    root.mkdir()
    with serving(root) as server:
        yield server


@pytest.fixture
def repository(server: Server) -> Repository:
    """A repository on the server, with a Dockerfile in its one commit."""
    made = Repository(server.root, "one")
    made.write({"a": "1\n", "d/b": "2\n", "Dockerfile": "FROM bb:1\nCOPY . /all/\n"})
    (made.work / "run").write_text("#!/bin/sh\n")
    (made.work / "run").chmod(0o755)
    (made.work / "link").symlink_to("/etc/passwd")
    made.commit()
    return made
