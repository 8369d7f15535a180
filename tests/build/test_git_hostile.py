"""Repositories and servers that mean harm: nothing of theirs is executed or leads out."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from pycontainers.build import gitrun, gittrees
from pycontainers.build.cancelling import Cancellation
from pycontainers.build.gitrefs import GitSource
from pycontainers.build.gitrun import Access
from pycontainers.build.gittrees import GitTree
from pycontainers.distribution.layers import Limits
from tests.build.conftest import Builder
from tests.build.gitserver import Repository, Server, git

Fetch = Callable[..., None]
FILE, LINK, FOLDER, SUBMODULE = "100644", "120000", "40000", "160000"
NO_COMMIT = "1" * 40


@pytest.fixture
def hostile(server: Server) -> Repository:
    """A repository that is crafted object by object."""
    return Repository(server.root, "one")


@pytest.fixture
def fetch(engine: pc.Engine, server: Server) -> Fetch:
    """Fetch the repository with bounds; what is made of it must be gone afterwards."""

    def fetch(most: int = 1 << 30, limits: Limits | None = None) -> None:
        source = GitSource.parse(f"{server.url}/one.git")
        assert source is not None
        access = Access(lambda _: None, {}, most, Cancellation())
        with GitTree(source, engine.services(), access, limits or Limits()) as tree:
            tree.context().close()

    return fetch


@pytest.fixture(autouse=True)
def nothing_is_left(engine: pc.Engine) -> Iterator[None]:
    yield
    assert not list(Path(engine.root, "layers").glob(".making-*"))


def add(server: Server) -> str:
    return f"FROM bb:1\nADD {server.url}/one.git /x\n"


@pytest.mark.parametrize("name", ["..", ".", ".git", ".GIT", "a/../../b", "git~1", ""])
def test_a_name_that_leads_elsewhere_is_not_taken(
    build: Builder, server: Server, hostile: Repository, name: str
) -> None:
    hostile.crafted([(FILE, name, hostile.blob(b"x"))])

    error = build.fails(add(server))

    assert "fsck" in error.problem or "fatal" in error.problem


def test_neither_is_a_directory_of_such_a_name(
    build: Builder, server: Server, hostile: Repository
) -> None:
    blob = hostile.blob(b"#!/bin/sh\n")
    inner = git(hostile.bare, "mktree", data=f"{FILE} blob {blob}\thooks\n".encode())
    for name in ("..", ".git"):
        hostile.crafted([(FOLDER, name, inner)])
        build.fails(add(server))


def test_a_link_in_place_of_a_directory_is_not_taken(
    build: Builder, server: Server, hostile: Repository
) -> None:
    blob = hostile.blob(b"/etc")
    inner = git(hostile.bare, "mktree", data=f"{FILE} blob {blob}\tpasswd\n".encode())
    hostile.crafted([(LINK, "a", blob), (FOLDER, "a", inner)])

    assert "duplicateEntries" in build.fails(add(server)).problem


@pytest.mark.parametrize(
    "url",
    [
        "--upload-pack=touch ${SPOILED}",
        "file:///${REPOSITORY}",
        "${REPOSITORY}",
        "ext::sh -c touch% ${SPOILED}",
        "ssh://-oProxyCommand=touch${SPOILED}/x",
        "-oProxyCommand=touch@host:x",
        "http://127.0.0.1:1/a%0ab",
        "../../../../../../x",
    ],
)
def test_a_submodules_url_executes_nothing_and_reads_no_files_of_the_host(
    build: Builder, server: Server, hostile: Repository, tmp_path: Path, url: str
) -> None:
    spoiled = tmp_path / "spoiled"
    url = url.replace("${SPOILED}", str(spoiled)).replace("${REPOSITORY}", str(hostile.bare))
    own = hostile.crafted([(FILE, "secret", hostile.blob(b"secret"))], "other")
    settings = f'[submodule "s"]\n\tpath = s\n\turl = "{url}"\n\tupdate = !touch {spoiled}\n'
    hostile.crafted([(FILE, ".gitmodules", hostile.blob(settings.encode())), (SUBMODULE, "s", own)])

    build.fails(add(server))

    assert not spoiled.exists()


def test_what_is_told_of_submodules_is_no_link(
    build: Builder, server: Server, hostile: Repository
) -> None:
    hostile.crafted(
        [(LINK, ".gitmodules", hostile.blob(b"/etc/passwd")), (SUBMODULE, "s", NO_COMMIT)]
    )

    assert "gitmodulesSymlink" in build.fails(add(server)).problem


def test_settings_that_include_others_are_not_followed(
    build: Builder, server: Server, hostile: Repository, tmp_path: Path
) -> None:
    (tmp_path / "others").write_text(f'[submodule "s"]\n\turl = {server.url}/one.git\n')
    settings = f'[include]\n\tpath = {tmp_path}/others\n[submodule "s"]\n\tpath = s\n'
    hostile.crafted(
        [(FILE, ".gitmodules", hostile.blob(settings.encode())), (SUBMODULE, "s", NO_COMMIT)]
    )

    assert "does not tell of 's'" in build.fails(add(server)).problem


def test_submodules_are_counted(
    build: Builder, server: Server, hostile: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gittrees, "_MOST_SUBMODULES", 2)
    own = hostile.crafted([(FILE, "a", hostile.blob(b""))], "other")
    names = ("s1", "s2", "s3")
    settings = "".join(
        f'[submodule "{name}"]\n\tpath = {name}\n\turl = {server.url}/one.git\n' for name in names
    )
    links = [(SUBMODULE, name, own) for name in names]
    hostile.crafted([(FILE, ".gitmodules", hostile.blob(settings.encode())), *links])

    assert "more than 2 submodules" in build.fails(add(server)).problem


def test_a_submodules_commit_is_the_one_that_was_asked_for(
    build: Builder, server: Server, hostile: Repository
) -> None:
    settings = f'[submodule "s"]\n\tpath = s\n\turl = {server.url}/one.git\n'
    hostile.crafted(
        [(FILE, ".gitmodules", hostile.blob(settings.encode())), (SUBMODULE, "s", NO_COMMIT)]
    )

    assert NO_COMMIT in build.fails(add(server)).problem


def test_strange_names_are_but_names(build: Builder, server: Server, hostile: Repository) -> None:
    inner = Repository(server.root, "inner")
    own = inner.commit({"in": "inner\n"})
    path = "s 'x'"
    settings = f'[submodule "s"]\n\tpath = "{path}"\n\turl = ../inner.git\n'
    names = ("-rf", "a\nb", "$(id)", '"quoted"', "tab\tbed", "*", "back\\slash")
    tree = sorted(
        [
            (FILE, ".gitmodules", hostile.blob(settings.encode())),
            (SUBMODULE, path, own),
            *((FILE, name, hostile.blob(name.encode())) for name in names),
        ],
        key=lambda entry: entry[1],
    )
    hostile.crafted(tree)

    made = build(add(server))

    listed = made.sh("cd /x && find . -type f -print0 | tr '\\0' '|'").strip("|").split("|")
    assert set(listed) == {f"./{name}" for name in (".gitmodules", f"{path}/in", *names)}
    assert made.sh(f'cat /x/"{path}"/in') == "inner\n"


def test_a_pack_that_is_too_large_is_cut_off(
    fetch: Fetch, hostile: Repository, server: Server
) -> None:
    hostile.crafted([(FILE, "noise", hostile.blob(os.urandom(4 << 20)))])

    with pytest.raises(pc.BuildError, match="more than 1048576 bytes"):
        fetch(most=1 << 20)
    fetch(most=8 << 20)


def test_a_tree_is_bounded_in_bytes_and_entries(
    fetch: Fetch, hostile: Repository, server: Server
) -> None:
    zeros = hostile.blob(bytes(4 << 20))  # 4 KB in a pack
    hostile.crafted([(FILE, f"{n:03}", zeros) for n in range(60)])

    with pytest.raises(pc.ImageError, match="more than"):
        fetch(most=1 << 20, limits=Limits(size=16 << 20, entries=1000))
    with pytest.raises(pc.ImageError, match="more than"):
        fetch(limits=Limits(size=1 << 30, entries=50))


def test_a_list_of_refs_is_bounded(build: Builder, server: Server, hostile: Repository) -> None:
    commit = hostile.crafted([(FILE, "a", hostile.blob(b""))])
    refs = "".join(f"{commit} refs/{n:0100}/HEAD\n" for n in range(120_000))
    (hostile.bare / "packed-refs").write_text(f"# pack-refs with: peeled sorted\n{refs}")

    assert "more than" in build.fails(add(server)).problem


def test_a_server_can_not_send_git_to_a_file(
    build: Builder, server: Server, hostile: Repository
) -> None:
    hostile.crafted([(FILE, "a", hostile.blob(b""))])
    for place in (f"file://{hostile.bare}", "ftp://127.0.0.1:1/x", "ssh://127.0.0.1:1/x"):
        server.moved = {"/one.git": place}
        build.fails(add(server))


def answered(build: Builder, answer: bytes) -> pc.BuildError:
    """Fetch from a server that gives `answer` to whatever it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def serve() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.recv(1 << 16)
                peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        error = build.fails(f"FROM bb:1\nADD git://127.0.0.1:{port}/x /x\n")
        thread.join()
    return error


def test_what_a_server_says_does_nothing_to_a_terminal(build: Builder) -> None:
    said = b"ERR \x1b[31mred\x1b]0;title\x07 end\n"

    error = answered(build, f"{len(said) + 4:04x}".encode() + said)

    assert "red" in error.problem
    assert str(error).replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "answer", [b"", b"zzzz", b"ffff", b"0004", b"001e# service=git-upload-pack\n0000" + b"x" * 9999]
)
def test_nonsense_is_an_error(build: Builder, answer: bytes) -> None:
    assert answered(build, answer).line == 2


def test_git_is_given_so_much_time_and_no_more(
    fetch: Fetch, server: Server, hostile: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gitrun, "_PATIENCE", 0.5)
    server.stalled = {"/one.git"}

    with pytest.raises(pc.BuildError, match=r"more than 0\.5 s"):
        fetch()
