"""ADD of Git repositories: what of them is added, what the cache goes by, and what is refused."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import pycontainers as pc
from tests.build.conftest import Builder
from tests.build.gitserver import WHEN, Repository, Server, git, serving

TREE = ["/x", "/x/Dockerfile", "/x/a", "/x/d", "/x/d/b", "/x/link", "/x/run"]


def add(url: str, flags: str = "") -> str:
    return f"FROM bb:1\nADD {flags} {url} /x\n"


def test_the_files_of_the_default_branch_are_added_without_git(
    build: Builder, server: Server, repository: Repository
) -> None:
    made = build(add(f"{server.url}/one.git"))

    assert made.sh("find /x | sort").split() == TREE
    assert made.sh("cat /x/a /x/d/b; readlink /x/link") == "1\n2\n/etc/passwd\n"
    assert made.stat("/x", "/x/a", "/x/d", "/x/run") == [
        *("755 0:0", "644 0:0", "755 0:0", "755 0:0")
    ]
    assert set(made.sh("find /x -exec stat -c %Y {} +").split()) == {str(WHEN)}


def test_a_ref_is_a_branch_before_a_tag_or_a_commit_or_a_whole_name(
    build: Builder, server: Server, repository: Repository
) -> None:
    def version(text: str) -> str:
        repository.write({"v": text})
        return repository.commit()

    first = version("1")
    git(repository.work, "tag", "-a", "-m", "first", "v1")
    git(repository.work, "tag", "both")
    version("2")
    git(repository.work, "branch", "both")
    git(repository.work, "update-ref", "refs/pull/42/head", "HEAD")
    version("3")

    for ref, expected in (
        ("", "3"),
        ("#main", "3"),
        ("#v1", "1"),
        ("?tag=v1", "1"),
        ("#refs/tags/v1", "1"),
        ("#both", "2"),
        ("?tag=both", "1"),
        ("?branch=both", "2"),
        ("#pull/42/head", "2"),
        (f"#{first}", "1"),
        (f"#{repository.rev('v1')}", "1"),
        ("#:d", ""),
    ):
        made = build(add(f"{server.url}/one.git{ref}"))
        assert made.sh("cat /x/v 2> /dev/null || true") == expected, ref


def test_a_directory_is_added_alone_and_no_link_leads_to_one(
    build: Builder, server: Server, repository: Repository
) -> None:
    (repository.work / "to").symlink_to("d")
    repository.commit()

    assert build(add(f"{server.url}/one.git#:d")).sh("find /x | sort").split() == ["/x", "/x/b"]
    for folder in ("to", "none", "a", "link"):
        error = build.fails(add(f"{server.url}/one.git#:{folder}"))
        assert f"no directory {folder!r}" in error.problem
        assert error.line == 2


def test_what_a_tree_says_of_archives_does_not_count_and_what_of_checkouts_does(
    build: Builder, server: Server, repository: Repository
) -> None:
    repository.commit(
        {
            ".gitattributes": "[attr]all export-ignore export-subst\na export-ignore\n"
            "d/b all\nv export-subst\nc text eol=crlf\ni ident\nf filter=lfs\n",
            "v": "$Format:%H$\n",
            "c": "1\n",
            "i": "$Id$\n",
            "f": "pointer\n",
        }
    )

    made = build(add(f"{server.url}/one.git"))

    assert made.sh("cat /x/a /x/d/b /x/v /x/c /x/f") == "1\n2\n$Format:%H$\n1\r\npointer\n"
    assert made.sh("cat /x/i") == f"$Id: {repository.rev('HEAD:i')} $\n"


def test_owners_modes_and_patterns_are_as_for_other_sources(
    build: Builder, server: Server, repository: Repository
) -> None:
    made = build(add(f"{server.url}/one.git", "--chown=app:extra --chmod=700 --exclude=d"))

    assert made.stat("/x/a", "/x/run") == ["700 1000:2000"] * 2
    assert made.sh("ls /x").split() == ["Dockerfile", "a", "link", "run"]


def test_several_sources_go_into_one_directory(
    build: Builder, server: Server, repository: Repository
) -> None:
    Repository(server.root, "two").commit({"second": ""})

    text = f"FROM bb:1\nADD {server.url}/one.git#:d {server.url}/two.git here /x/\n"
    made = build(text, {"here": ""})

    assert made.sh("ls /x").split() == ["b", "here", "second"]


# Submodules.


@pytest.fixture
def nested(server: Server, repository: Repository) -> Repository:
    """A repository with a submodule, which has one itself."""
    inner = Repository(server.root, "inner")
    inner.commit({"deep": "inner\n"})
    middle = Repository(server.root, "middle")
    middle.commit({"half": "middle\n"})
    submodule(middle, "in", "../inner.git", inner)
    submodule(repository, "m/s", f"{server.url}/middle.git", middle)
    return repository


def submodule(outer: Repository, path: str, url: str, inner: Repository) -> None:
    """Commit a submodule, whatever its URL."""
    git(outer.work, "config", "-f", ".gitmodules", f"submodule.{path}.path", path)
    git(outer.work, "config", "-f", ".gitmodules", f"submodule.{path}.url", url)
    link = f"160000,{inner.rev('HEAD')},{path}"
    git(outer.work, "update-index", "--add", "--cacheinfo", link)
    (outer.work / path).mkdir(parents=True, exist_ok=True)
    outer.commit()


def test_submodules_are_fetched_with_their_own(
    build: Builder, server: Server, nested: Repository
) -> None:
    made = build(add(f"{server.url}/one.git"))

    assert made.sh("cat /x/m/s/half /x/m/s/in/deep") == "middle\ninner\n"
    assert made.sh("find /x -name .git") == ""


def test_submodules_may_be_left_out(build: Builder, server: Server, nested: Repository) -> None:
    made = build(add(f"{server.url}/one.git?submodules=false"))

    assert made.sh("find /x/m").split() == ["/x/m", "/x/m/s"]


def test_a_submodule_that_asks_for_no_update_is_not_fetched(
    build: Builder, server: Server, nested: Repository
) -> None:
    git(nested.work, "config", "-f", ".gitmodules", "submodule.m/s.update", "none")
    nested.commit()

    assert build(add(f"{server.url}/one.git")).sh("ls /x/m/s") == ""


# The cache.


def test_the_cache_goes_by_the_commit(
    fresh: Builder, server: Server, repository: Repository
) -> None:
    text = add(f"{server.url}/one.git#main")
    fresh(text)
    packs = server.packs

    again = fresh(text)

    assert again.made == []
    assert server.packs == packs + 1  # the list of refs, and no files
    repository.commit({"a": "new\n"})
    assert fresh(text).sh("cat /x/a") == "new\n"


def test_a_commit_that_is_known_asks_no_server(
    fresh: Builder, server: Server, repository: Repository
) -> None:
    text = add(f"{server.url}/one.git#{repository.rev('HEAD')}")
    fresh(text)
    asked = list(server.asked)

    assert fresh(text).made == []
    assert server.asked == asked


def test_another_directory_of_a_commit_is_another_step(
    fresh: Builder, server: Server, repository: Repository
) -> None:
    for ref in ("", "#:d", "?submodules=false", "?keep-git-dir"):
        assert len(fresh(add(f"{server.url}/one.git{ref}")).made) == 1, ref


def test_a_server_that_names_another_commit_than_it_sends_is_found_out(
    build: Builder, server: Server, repository: Repository
) -> None:
    git(repository.work, "tag", "-a", "-m", "t", "v1")
    repository.commit({"a": "other\n"})
    tag = git(repository.bare, "rev-parse", "v1")
    lie = repository.rev("HEAD")
    git(repository.bare, "pack-refs", "--all")
    packed = repository.bare / "packed-refs"
    lines = packed.read_text().split("\n")
    at = next(n for n, line in enumerate(lines) if line.startswith(tag))
    lines[at + 1] = f"^{lie}"
    packed.write_text("\n".join(lines))

    error = build.fails(add(f"{server.url}/one.git#v1"))

    assert lie in error.problem


# The checksum.


def test_a_checksum_is_the_beginning_of_the_commit(
    build: Builder, server: Server, repository: Repository
) -> None:
    git(repository.work, "tag", "-a", "-m", "t", "v1")
    repository.serve()
    commit = repository.rev("HEAD")
    for ref, checksum in (
        ("", commit),
        ("", commit[:1]),
        ("#main", commit[:7]),
        ("#v1", commit),
        ("#v1", repository.rev("v1")),
        (f"#{commit}", commit[:9]),
    ):
        build(add(f"{server.url}/one.git{ref}", f"--checksum={checksum}"))
    build(add(f"{server.url}/one.git?checksum={commit[:8]}"))

    wrong = f"{(int(commit[0], 16) + 1) % 16:x}"
    for ref in ("", f"#{commit}"):
        error = build.fails(add(f"{server.url}/one.git{ref}", f"--checksum={wrong}"))
        assert commit in error.problem
        assert error.line == 2


def test_a_checksum_is_of_one_source_that_is_fetched(build: Builder, server: Server) -> None:
    for sources in ("a", f"{server.url}/one.git {server.url}/two.git", f"a {server.url}/one.git"):
        error = build.fails(f"FROM bb:1\nADD --checksum=abc {sources} /x/\n", {"a": ""})
        assert "--checksum" in error.problem


# The repository itself.


@pytest.mark.parametrize("ref", ["", "#main", "#v1", "#COMMIT"])
def test_a_kept_repository_is_that_of_a_clone_with_one_commit(
    build: Builder, server: Server, nested: Repository, tmp_path: Path, ref: str
) -> None:
    git(nested.work, "tag", "-a", "-m", "t", "v1")
    nested.serve()
    commit = nested.rev("HEAD")
    url = f"{server.url}/one.git"

    made = build(add(url + ref.replace("COMMIT", commit), "--keep-git-dir=true"))

    image = tmp_path / "image"
    with pc.Container.create(made.image, ["true"], engine=build.engine) as container:
        container.copy_from("/x", image)
    assert git(image, "rev-parse", "HEAD") == commit
    assert git(image, "log", "--format=%s") == "more"
    assert git(image, "status", "--porcelain") == ""
    assert git(image, "remote", "get-url", "origin") == url
    assert git(image, "fsck") == ""
    for path, name in (("m/s", "middle"), ("m/s/in", "inner")):
        assert git(image / path, "rev-parse", "--show-toplevel") == str(image / path)
        assert git(image / path, "status", "--porcelain") == ""
        assert git(image / path, "remote", "get-url", "origin") == f"{server.url}/{name}.git"
    if ref == "#v1":
        assert git(image, "describe") == "v1"
    assert not list((image / ".git").glob("hooks/*"))


def test_a_kept_repository_keeps_no_password_or_token(
    build: Builder, server: Server, repository: Repository
) -> None:
    address = server.url.replace("//", "//me:word@")

    made = build(
        add(f"{address}/one.git", "--keep-git-dir"), secrets={"GIT_AUTH_TOKEN": b"token123"}
    )

    assert "word" not in made.sh("cat /x/.git/config")
    assert made.sh("grep -r -e word -e token123 /x || true") == ""


def test_a_directory_has_no_repository_to_keep(
    build: Builder, server: Server, repository: Repository
) -> None:
    made = build(add(f"{server.url}/one.git?keep-git-dir=1&subdir=d"))

    assert made.sh("ls -A /x") == "b\n"


# Other ways to a server.


def test_gits_own_protocol(build: Builder, server: Server, nested: Repository) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    daemon = subprocess.Popen(
        ["git", "daemon", "--export-all", "--listen=127.0.0.1", f"--port={port}", "--reuseaddr",
         "--max-connections=0", f"--base-path={server.root}", server.root],
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        until(lambda: _answers(port))
        made = build(add(f"git://127.0.0.1:{port}/one.git"))
    finally:
        os.killpg(daemon.pid, signal.SIGTERM)
        daemon.wait()

    assert made.sh("cat /x/m/s/in/deep") == "inner\n"


def until(done: Callable[[], object]) -> None:
    """Wait for what comes about in another process."""
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_a_server_of_files_alone(build: Builder, server: Server, repository: Repository) -> None:
    git(repository.bare, "update-server-info")
    plain = server.root / "plain"
    repository.bare.rename(plain)
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"],
        cwd=server.root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            port = process.stdout.readline().split(" port ")[1].split()[0]
            (server.root / "dumb.git").symlink_to(plain)
            made = build(add(f"http://127.0.0.1:{port}/dumb.git#main"))
        finally:
            process.kill()

    assert made.sh("find /x | sort").split() == TREE


def test_a_repository_of_sha256(build: Builder, server: Server) -> None:
    made = Repository(server.root, "wide", "--object-format=sha256")
    commit = made.commit({"a": "wide\n"})
    assert len(commit) == 64

    for ref in ("", "#main", f"#{commit}"):
        built = build(add(f"{server.url}/wide.git{ref}", "--keep-git-dir"))
        assert built.sh("cat /x/a /x/.git/HEAD") == f"wide\n{commit}\n"


def test_a_commit_that_is_no_branch_is_fetched_from_servers_of_old(
    build: Builder, server: Server, repository: Repository
) -> None:
    before = repository.rev("HEAD")
    repository.commit({"a": "new\n"})
    server.is_old = True  # it knows no version 2 of the protocol, which gives any commit

    assert build(add(f"{server.url}/one.git#{before}")).sh("cat /x/a") == "1\n"


# Rights.


@pytest.mark.parametrize(
    ("name", "secret", "header"),
    [
        ("GIT_AUTH_TOKEN", b"abc\n", "basic eC1hY2Nlc3MtdG9rZW46YWJj"),
        ("GIT_AUTH_HEADER", b"Bearer abc", "Bearer abc"),
        ("GIT_AUTH_HEADER.127.0.0.1:PORT", b"Bearer abc", "Bearer abc"),
    ],
)
def test_a_secret_of_the_build_gives_the_right_to_read(
    build: Builder, server: Server, repository: Repository, name: str, secret: bytes, header: str
) -> None:
    server.wanted = header
    text = add(f"{server.url}/one.git")

    made = build(text, secrets={name.replace("PORT", str(server.server_port)): secret})
    assert made.sh("cat /x/a") == "1\n"

    error = build.fails(text, cache=False)
    assert "GIT_AUTH_TOKEN" in (error.hint or "")


def test_a_secret_is_neither_for_submodules_elsewhere_nor_for_whom_one_is_sent_to(
    build: Builder, server: Server, repository: Repository, tmp_path: Path
) -> None:
    with_other = tmp_path / "elsewhere"
    with_other.mkdir()
    with serving(with_other) as other:
        inner = Repository(other.root, "inner")
        inner.commit({"deep": "inner\n"})
        submodule(repository, "s", f"{other.url}/inner.git", inner)
        secrets = {"GIT_AUTH_HEADER": b"Bearer abc"}

        made = build(add(f"{server.url}/one.git"), secrets=secrets)
        assert made.sh("cat /x/s/deep") == "inner\n"
        assert set(other.headers) == {None}
        assert set(server.headers) == {"Bearer abc"}

        server.moved = {"/away.git": f"{other.url}/inner.git"}
        build.fails(add(f"{server.url}/away.git"), secrets=secrets)
        assert set(other.headers) == {None}
        assert build(add(f"{server.url}/away.git")).sh("cat /x/deep") == "inner\n"


def test_nothing_of_the_hosts_settings_counts(
    build: Builder,
    server: Server,
    repository: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "hooks").mkdir()
    spoiled = tmp_path / "spoiled"
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f'[url "file:///nowhere/"]\n\tinsteadOf = {server.url}/\n[core]\n\tsshCommand = touch '
        f"{spoiled}\n[credential]\n\thelper = !touch {spoiled}\n"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_ASKPASS", "/bin/false")
    build(add(f"{server.url}/one.git"), cache=False)
    server.wanted = "never"

    build.fails(add(f"{server.url}/one.git"), cache=False)

    assert not spoiled.exists()


# What goes wrong.


def test_what_is_not_there_is_told_with_its_line(
    build: Builder, server: Server, repository: Repository
) -> None:
    none = "0" * 40
    for source, told in (
        ("/one.git#none", "has no 'none'"),
        ("/one.git#refs/heads/none", "has no 'refs/heads/none'"),
        (f"/one.git#{repository.rev('HEAD')[:7]}", "all of its 40 digits"),
        (f"/one.git#{none}", none),
        ("/none.git", "not found"),
    ):
        error = build.fails(add(server.url + source))
        assert told in error.problem + (error.hint or ""), source
        assert error.line == 2


def test_an_empty_repository_has_no_branch(build: Builder, server: Server) -> None:
    Repository(server.root, "empty")

    assert "default branch" in build.fails(add(f"{server.url}/empty.git")).problem


def test_copy_fetches_nothing(build: Builder, server: Server, repository: Repository) -> None:
    for source in (f"{server.url}/one.git", f"{server.url}/file"):
        error = build.fails(f"FROM bb:1\nCOPY {source} /x\n")
        assert "COPY does not fetch" in error.problem
        assert "ADD" in (error.hint or "")


def test_without_git_the_error_says_what_to_install(
    build: Builder, server: Server, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert "install git" in (build.fails(add(f"{server.url}/one.git")).hint or "")


def test_a_server_that_says_nothing_does_not_hold_up_the_end_of_a_build(
    build: Builder, server: Server, repository: Repository
) -> None:
    server.stalled = {"/one.git"}
    text = (
        "FROM bb:1 AS bad\nRUN until test -e /none; do sleep 0.5; exit 3; done\n"
        f"FROM bb:1 AS slow\nADD {server.url}/one.git /x\n"
        "FROM bb:1\nCOPY --from=slow / /s\nCOPY --from=bad / /b\n"
    )

    began = time.monotonic()
    error = build.fails(text)

    assert error.exit_code == 3
    assert time.monotonic() - began < 30  # the server would be silent for 60 s


PROGRAM = """
import sys
import pycontainers as pc

with pc.Engine(root=sys.argv[1]) as engine:
    try:
        pc.Image.build(sys.argv[2], progress=False, engine=engine)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_build_ends_git_and_leaves_nothing(
    server: Server, repository: Repository, tmp_path: Path, sent: signal.Signals
) -> None:
    server.stalled = {"/one.git"}
    root = tmp_path / "root"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, root, f"{server.url}/one.git"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert server.is_stalled.wait(60)
        assert _gits(root)
        process.send_signal(sent)
        said, _ = process.communicate(timeout=60)

    assert said == ("interrupted\n" if sent == signal.SIGINT else "")
    until(lambda: not _gits(root))
    with pc.Engine(root=root) as engine:
        pc.Image.list(engine=engine)
        assert not list((root / "layers").glob(".making-*"))


def _gits(root: Path) -> list[str]:
    """Give the command lines of processes of git that work in a data root."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            place = os.readlink(path.with_name("cwd"))
        except OSError:
            continue
        if place.startswith(str(root)) and "git" in line:
            found.append(line)
    return found


REAPER = """
import sys
from pathlib import Path
import pycontainers as pc
from pycontainers.kernel import syscall

syscall.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
with pc.Engine(root=sys.argv[1]) as engine:
    pc.Image.build(sys.argv[2], progress=False, engine=engine)
    for path in Path("/proc/self/task").glob("*/children"):
        for pid in path.read_text().split():
            if "\\nState:\\tZ" in Path(f"/proc/{pid}/status").read_text():
                print("a zombie is left")
"""


def test_a_process_that_orphans_are_given_to_is_left_none(
    server: Server, repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"Dockerfile": "FROM scratch\nCOPY a /\n"})

    done = subprocess.run(
        [sys.executable, "-c", REAPER, tmp_path / "root", f"{server.url}/one.git"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, ""), done.stderr
