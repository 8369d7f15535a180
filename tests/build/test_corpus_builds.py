"""Dockerfiles in the shapes that people write: those that need no network are built.

Their base images are one of busybox, whose package managers and compilers do nothing.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from pycontainers.build import mounts
from pycontainers.build.instructions import Copy, Run
from pycontainers.build.parse import Dockerfile, parse
from pycontainers.build.scope import Globals, predefined
from pycontainers.oci.platform import Platform
from tests.build.conftest import Builder

CORPUS = Path(__file__).with_name("corpus")
# They end well and do nothing.
TOOLS = (
    "adduser addgroup groupadd useradd apk apt-get apt-mark aws bundle cabal cargo cmake composer "
    "conda curl fix-permissions gcc gem git go gpg java jupyter make mamba mix mvn npm npx openssl "
    "perl pip pip3 poetry pnpm python python3 rustup stack ssh-keyscan terraform uv wget xx-apk "
    "yarn a2enmod bash cron ldconfig"
).split()
# In the context there are the files that projects have.
FILES = (
    "a CMakeLists.txt Cargo.lock Cargo.toml Gemfile Gemfile.lock archive-1.2.3.tar.gz "
    "environment.yml go.mod go.sum package.json pom.xml poetry.lock pyproject.toml uv.lock "
    "requirements.txt src/main.rs supervisord.conf testfile.txt yarn.lock app.py "
    "docs/a.md src/lib/x.py"
).split()
# What can't be built here, and why.
NOT = {
    "it copies what its commands would have made": (
        "go-distroless go-scratch haskell java-layers next-standalone node-multistage "
        "python-multistage python-poetry python-wheels ruby-rails rust-chef"
    ),
    "its context has more files": "c-cmake copy-flags cross-compile dotnet elixir",
    "it needs programs that busybox has otherwise": (
        "cron-job go-vendored heredoc-scripts heredoc-tricky long-run php-apache "
        "postgres-like terraform unicode-text"
    ),
    "it needs secrets, agents or the network": "go-private-modules mounts redis-like",
    "it is for Windows": "windows-escape with-bom-and-directive",
    "it is wrong on purpose": "empty-run-forms lower-case quoting",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """Build in an engine whose only image is that of all tools."""
    root = tmp_path_factory.mktemp("world")
    tree = root / "tree"
    (tree / "bin").mkdir(parents=True)
    subprocess.run(["cp", "/bin/busybox", tree / "bin/busybox"], check=True)
    listed = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if name != "busybox":
            (tree / "bin" / name).symlink_to("busybox")
    for name in TOOLS:
        path = tree / "bin" / name
        path.unlink(missing_ok=True)
        path.write_text("#!/bin/sh\nexit 0\n")
        path.chmod(0o755)
    for name in ("etc/apt/sources.list.d", "etc/cron.d", "tmp", "root", "usr/local/bin",
                 "usr/local/etc/php/conf.d", "usr/share/keyrings", "site/dist"):  # fmt: skip
        (tree / name).mkdir(parents=True)
    (tree / "etc/passwd").write_text(
        "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\nnobody:x:9:9::/:\n"
    )
    (tree / "etc/group").write_text("root:x:0:\napp:x:1000:\n")
    (tree / "etc/hostname").write_text("here\n")
    (tree / "etc/os-release").write_text("ID=tools\n")
    subprocess.run(["tar", "-C", tree, "-cf", root / "tree.tar", "."], check=True)
    with pc.Engine(root=root / "root") as engine:
        pc.Image.from_rootfs(root / "tree.tar", engine=engine).tag("tools:1")
        builder = Builder(engine, root / "context")
        builder.context.mkdir()
        builder.write(dict.fromkeys(FILES, ""))
        yield builder


def images(dockerfile: Dockerfile) -> set[str]:
    """Name the images that a Dockerfile needs."""
    known = predefined(Platform.host(), Platform.host())
    globals = Globals.of(dockerfile, {}, known)
    found = set()
    for stage in dockerfile.stages:
        names = [globals.origin(stage.begin).image.text]
        for one in stage.instructions:
            if isinstance(one, Copy):
                names.append(one.from_)
            elif isinstance(one, Run):
                names += [mounts.source_stage(text) for text in one.mount_texts]
        found |= {name for name in names if name and dockerfile.stage(name) is None}
    return found - {"scratch"}


LEFT_OUT = {name for names in NOT.values() for name in names.split()}
BUILT = [path for path in sorted(CORPUS.glob("*.Dockerfile")) if path.stem not in LEFT_OUT]


@pytest.mark.parametrize("path", BUILT, ids=lambda path: path.stem)
def test_it_is_built_and_then_cached(path: Path, world: Builder) -> None:
    text = path.read_bytes().decode()
    base = pc.Image.get("tools:1", engine=world.engine)
    for name in images(parse(text)):
        base.tag(name)

    built = world(text)
    again = world(text)

    assert again.made == []
    assert again.image == built.image
    layers = [step for step in built.image.history() if not step.empty_layer]
    assert len(layers) == len(built.config.rootfs.diff_ids)


def test_there_are_enough() -> None:
    assert len(BUILT) >= 30
    assert {f"{name}.Dockerfile" for name in LEFT_OUT} <= set(os.listdir(CORPUS))
