"""Contexts that are fetched: repositories of Git, and archives and Dockerfiles at URLs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import pycontainers as pc
from tests.build.conftest import Builder
from tests.build.gitserver import Repository, Server, git
from tests.images.trees import archive, entry


def test_a_repository_is_a_context(build: Builder, server: Server, repository: Repository) -> None:
    made = build.build(f"{server.url}/one.git")

    assert made.sh("find /all | sort").split() == [
        *("/all", "/all/Dockerfile", "/all/a", "/all/d", "/all/d/b", "/all/link", "/all/run")
    ]
    assert made.stat("/all/run", "/all/a") == ["755 0:0", "644 0:0"]
    assert made.events[0].title == f"fetching {server.url}/one.git"


def test_a_directory_of_a_branch_is_one(
    build: Builder, server: Server, repository: Repository
) -> None:
    git(repository.work, "checkout", "-q", "-b", "other")
    repository.commit({"d/Dockerfile": "FROM bb:1\nCOPY b /b\n", "d/b": "other\n"})

    assert build.build(f"{server.url}/one.git#other:d").sh("cat /b") == "other\n"


def test_another_dockerfile_is_one_of_the_repository_or_of_the_host(
    build: Builder, server: Server, repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"d/Other": "FROM bb:1\nCOPY a /a\n"})
    (tmp_path / "Mine").write_text("FROM bb:1\nCOPY d/b /mine\n")
    url = f"{server.url}/one.git"

    assert build.build(url, dockerfile="d/Other").sh("cat /a") == "1\n"
    assert build.build(url, dockerfile=tmp_path / "Mine").sh("cat /mine") == "2\n"


def test_a_commit_that_was_built_is_cached(
    fresh: Builder, server: Server, repository: Repository
) -> None:
    url = f"{server.url}/one.git"
    first = fresh.build(url)

    again = fresh.build(url)

    assert again.image == first.image
    assert again.made == [f"fetching {url}"]


def test_ignore_files_of_fetched_contexts_do_not_count_as_in_buildkit(
    build: Builder, server: Server, repository: Repository
) -> None:
    repository.commit({".dockerignore": "a\n"})
    files = (entry("Dockerfile"), b"FROM bb:1\nCOPY . /all/\n"), (entry("a"), b"1\n")
    packed = archive(*files, (entry(".dockerignore"), b"a\n"))
    (server.root / "context.tar").write_bytes(packed)

    for context in (f"{server.url}/one.git", f"{server.url}/context.tar", packed):
        assert build.build(context).sh("cat /all/a") == "1\n"


def test_a_repository_may_be_kept_by_argument_or_by_url(
    build: Builder, server: Server, repository: Repository
) -> None:
    url, keep = f"{server.url}/one.git", {"BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1"}

    assert "main" in build.build(url, build_args=keep).sh("ls /all/.git/refs/heads")
    assert "main" in build.build(f"{url}?keep-git-dir").sh("ls /all/.git/refs/heads")
    assert build.build(url).sh("ls -d /all/.git 2> /dev/null || true") == ""


@pytest.mark.parametrize("packed", [[], ["gzip", "-n"], ["xz"], ["zstd"]])
def test_an_archive_at_a_url_is_a_context(
    build: Builder, server: Server, repository: Repository, packed: list[str]
) -> None:
    data = subprocess.run(
        ["tar", "-C", repository.work, "--exclude=.git", "-c", "."], capture_output=True, check=True
    ).stdout
    if packed:
        data = subprocess.run(packed, input=data, capture_output=True, check=True).stdout
    (server.root / "context").write_bytes(data)

    assert build.build(f"{server.url}/context").sh("cat /all/d/b") == "2\n"


def test_a_dockerfile_at_a_url_is_one_too(build: Builder, server: Server) -> None:
    (server.root / "Dockerfile").write_text("FROM bb:1\nRUN echo built > /x\n")

    assert build.build(f"{server.url}/Dockerfile").sh("cat /x") == "built\n"


def test_what_can_not_be_fetched_is_an_error(
    build: Builder, server: Server, repository: Repository
) -> None:
    repository.commit({"huge": "x" * (17 << 20)})
    (server.root / "noise").write_bytes(b"x" * (17 << 20))
    for url, told in (
        (f"{server.url}/none", "404"),
        (f"{server.url}/none.git", "not found"),
        (f"{server.url}/one.git#none", "has no 'none'"),
        (f"{server.url}/one.git#:none", "no directory 'none'"),
        (f"{server.url}/one.git#:d", "cannot read Dockerfile"),
        (f"{server.url}/noise", "no Dockerfile"),
        (f"{server.url}/one.git#--upload-pack=x", "no branch"),
    ):
        with pytest.raises(pc.PyContainersError, match=told):
            build.build(url)


def test_a_directory_that_is_there_is_never_taken_for_an_address(
    build: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "github.com/some/body"
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM bb:1\nRUN echo here > /x\n")
    monkeypatch.chdir(tmp_path)

    assert build.build("github.com/some/body").sh("cat /x") == "here\n"


def test_what_was_fetched_is_gone_afterwards(
    fresh: Builder, server: Server, repository: Repository
) -> None:
    fresh.build(f"{server.url}/one.git")
    fresh(f"FROM bb:1\nADD {server.url}/one.git /x\n")

    assert not list(Path(fresh.engine.root, "layers").glob(".making-*"))
