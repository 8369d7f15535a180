"""Build contexts: what COPY and ADD can name, what of it the cache goes by, and hostile ones."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

import pycontainers as pc
from pycontainers.build.context import Context, Selection
from pycontainers.distribution.layers import Limits
from pycontainers.errors import FileMissing, ImageError, InvalidArgument, NoDirectory
from pycontainers.lifecycle.services import Services
from tests.images.trees import archive, entry

LIMITS = Limits(size=64 << 20, entries=10_000)


@pytest.fixture(scope="module")
def services(engine: pc.Engine) -> Services:
    return engine.services()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory that holds some files, beside one that must not be read."""
    root = tmp_path / "context"
    for path in ("a.txt", "b.txt", "src/main.py", "src/main.pyc", "src/deep/x.py", "docs/x.md"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{path}\n")
    (tmp_path / "secret").write_text("secret\n")
    return root


@pytest.fixture
def context(folder: Path, services: Services) -> Iterator[Context]:
    with Context.directory(folder, services) as context:
        yield context


def names(selection: Selection) -> list[str]:
    """Give the paths below the root of all that was selected, directories with a slash."""
    found = []
    for match in selection.matches:
        if not match.is_directory:
            found.append(match.path)
        for folder in match.folders:
            path = f"{match.path}/{folder.path}/".replace("//", "/").lstrip("/")
            found += [path or "/", *(path + item.name for item in folder.entries)]
    return found


def digest(folder: Path, services: Services, *sources: str, **options: Any) -> str:
    with Context.directory(folder, services) as context:
        return context.select(sources or (".",), **options).digest


# What sources mean.


def test_a_directory_is_selected_with_all_that_is_in_it(context: Context) -> None:
    found = names(context.select(["."]))

    assert found == [
        *("/", "a.txt", "b.txt", "docs/", "docs/x.md", "src/"),
        *("src/main.py", "src/main.pyc", "src/deep/", "src/deep/x.py"),
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a.txt", ["a.txt"]),
        ("./src/../a.txt", ["a.txt"]),
        ("/a.txt", ["a.txt"]),
        ("../../a.txt", ["a.txt"]),
        ("*.txt", ["a.txt", "b.txt"]),
        ("s*/m?in.py", ["src/main.py"]),
        ("*/deep", ["src/deep/", "src/deep/x.py"]),
        ("[a-b].txt", ["a.txt", "b.txt"]),
        ("**/x.py", []),
        ("nothing*", []),
    ],
)
def test_a_source_is_found_as_docker_finds_it(
    context: Context, source: str, expected: list[str]
) -> None:
    found = names(context.select([source]))

    assert found == expected


def test_a_source_that_is_not_there_is_named(context: Context) -> None:
    with pytest.raises(FileMissing, match=r"open\('src/none.py'\): No such file"):
        context.select(["a.txt", "src/none.py"])


def test_a_bad_pattern_is_refused(context: Context) -> None:
    with pytest.raises(InvalidArgument, match=r"no pattern for paths: '\[a'"):
        context.select(["[a"])


def test_a_name_with_special_characters_is_written_with_brackets(
    folder: Path, context: Context
) -> None:
    (folder / "we[ird]*").write_text("x")

    found = names(context.select(["we[[]ird][*]"]))

    assert found == ["we[ird]*"]


def test_what_is_excluded_is_left_out_of_directories_and_wildcards(context: Context) -> None:
    found = names(context.select(["src", "*.txt"], exclude=["**/*.pyc", "deep", "b.*"]))

    assert found == ["src/", "src/main.py", "a.txt"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("src/deep/x.py", ["/", "src/", "src/deep/", "src/deep/x.py"]),
        ("**/*.py", ["/", "src/", "src/main.py", "src/deep/", "src/deep/x.py"]),
        ("src/./deep/x.py", ["src/", "src/deep/", "src/deep/x.py"]),
        ("s*/./deep", ["src/", "src/deep/", "src/deep/x.py"]),
        ("none*/x", ["/"]),
    ],
)
def test_with_parents_directories_come_along(
    context: Context, source: str, expected: list[str]
) -> None:
    found = names(context.select([source], parents=True))

    assert found == expected


def test_with_parents_a_source_without_wildcards_must_be_there(context: Context) -> None:
    with pytest.raises(FileMissing, match=r"src/none"):
        context.select(["src/none"], parents=True)


# Links.


def test_a_link_named_as_source_is_followed_inside_the_context(
    folder: Path, context: Context
) -> None:
    (folder / "link").symlink_to("/src/main.py")

    (match,) = context.select(["link"]).matches

    assert (match.path, match.facts.name) == ("src/main.py", "link")


def test_links_in_a_directory_stay_links(folder: Path, context: Context) -> None:
    (folder / "src/out").symlink_to("../../secret")

    (match,) = context.select(["src"]).matches

    assert [item.target for item in match.folders[0].entries if item.name == "out"] == [
        "../../secret"
    ]


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "../../../../etc/passwd", "loop"])
def test_no_link_leads_out_of_the_context(folder: Path, context: Context, target: str) -> None:
    (folder / "loop").symlink_to(target)

    with pytest.raises(pc.KernelError, match=r"open\('loop'\)"):
        context.select(["loop"])


@pytest.mark.parametrize("source", ["out/secret", "out/*", "*/secret"])
def test_no_linked_directory_leads_out_of_the_context(
    folder: Path, context: Context, source: str
) -> None:
    (folder / "out").symlink_to(folder.parent)
    try:
        found = names(context.select([source]))
    except FileMissing:
        found = []

    assert found == []


def test_a_link_to_the_kernels_own_is_not_followed(folder: Path, context: Context) -> None:
    with (folder / "a.txt").open() as held:
        (folder / "magic").symlink_to(f"/proc/self/fd/{held.fileno()}")

        with pytest.raises(FileMissing):
            context.select(["magic"])


def test_a_directory_that_becomes_a_link_to_the_outside_gives_nothing_of_it(
    folder: Path, services: Services
) -> None:
    outside = folder.parent / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep/stolen").write_text("secret")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            (folder / "src").rename(folder / "aside")
            (folder / "src").symlink_to(outside)
            (folder / "src").unlink()
            (folder / "aside").rename(folder / "src")

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen: set[str] = set()
    try:
        for _ in range(300):
            try:
                with Context.directory(folder, services) as context:
                    seen |= set(names(context.select([".", "src"])))
            except (pc.KernelError, ImageError):
                continue
    finally:
        done.set()
        swapping.join()

    assert not [name for name in seen if "stolen" in name]


# The ignore file.


def test_what_is_ignored_is_not_there(folder: Path, services: Services) -> None:
    (folder / ".dockerignore").write_text("**/*.pyc\nsrc/deep\ndocs\n!docs/x.md\n.dockerignore\n")
    with Context.directory(folder, services) as context:
        context.use_rules()

        found = names(context.select(["."]))
        with pytest.raises(FileMissing):
            context.select(["src/deep/x.py"])

    assert found == ["/", "a.txt", "b.txt", "docs/", "docs/x.md", "src/", "src/main.py"]


def test_an_ignored_dockerfile_can_be_read(folder: Path, services: Services) -> None:
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / ".dockerignore").write_text("Dockerfile\n")
    with Context.directory(folder, services) as context:
        context.use_rules()

        found = context.read("Dockerfile")

    assert found == b"FROM scratch\n"


def test_the_rules_beside_a_dockerfile_replace_the_common_ones(
    folder: Path, services: Services
) -> None:
    (folder / ".dockerignore").write_text("a.txt\n")
    (folder / "docs/web.Dockerfile.dockerignore").write_text("b.txt\n")
    with Context.directory(folder, services) as context:
        context.use_rules("docs/web.Dockerfile")

        found = names(context.select(["*.txt"]))

    assert found == ["a.txt"]


def test_an_ignored_link_leads_nowhere(folder: Path, services: Services) -> None:
    (folder / "link").symlink_to("src")
    (folder / ".dockerignore").write_text("link\n")
    with Context.directory(folder, services) as context:
        context.use_rules()

        with pytest.raises(FileMissing):
            context.select(["link/main.py"])


def test_a_bad_rule_is_told_with_its_file(folder: Path, services: Services) -> None:
    (folder / ".dockerignore").write_text("[\n")

    with (
        Context.directory(folder, services) as context,
        pytest.raises(InvalidArgument, match=r"\.dockerignore: no pattern"),
    ):
        context.use_rules()


# Digests.


def test_times_and_owners_change_no_digest(folder: Path, services: Services) -> None:
    before = digest(folder, services)
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (1, 1))
        os.chown(path, 5, 6)

    after = digest(folder, services)

    assert after == before


def _write(path: Path) -> None:
    path.write_text("A.txt\n")


def _write_unseen(path: Path) -> None:
    facts = path.stat()
    path.write_text("A.txt\n")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("b.txt")


@pytest.mark.parametrize(
    "change",
    [
        _write,
        _write_unseen,
        _link,
        lambda path: path.chmod(0o600),
        lambda path: path.rename(path.with_name("c.txt")),
        lambda path: os.setxattr(path, "user.x", b"1"),
        lambda path: os.setxattr(path.parent / "src", "user.x", b"1"),
        lambda path: (path.parent / "src").chmod(0o700),
        lambda path: (path.parent / "new").mkdir(),
        lambda path: os.mkfifo(path.parent / "new"),
    ],
)
def test_what_an_image_would_show_changes_the_digest(
    folder: Path, services: Services, change: Callable[[Path], object]
) -> None:
    before = digest(folder, services)
    change(folder / "a.txt")

    after = digest(folder, services)

    assert after != before


@pytest.mark.parametrize(
    ("one", "other"),
    [(["a.txt"], ["b.txt"]), (["src"], ["src/deep"]), (["a.txt", "b.txt"], ["b.txt", "a.txt"])],
)
def test_other_sources_have_another_digest(
    folder: Path, services: Services, one: Sequence[str], other: Sequence[str]
) -> None:
    found = digest(folder, services, *one), digest(folder, services, *other)

    assert found[0] != found[1]


def read_so_far() -> int:
    return int(Path("/proc/thread-self/io").read_text().split()[1])


def test_content_is_read_once(folder: Path, services: Services) -> None:
    (folder / "big").write_bytes(os.urandom(3 << 20))
    os.utime(folder / "big", (1, 1))
    subprocess.run(["sleep", "0.1"], check=True)  # until nothing is too new to be sure of
    first = digest(folder, services)
    begun = read_so_far()

    again = digest(folder, services)

    assert again == first
    assert read_so_far() - begun < 1 << 20


def test_a_damaged_cache_is_no_harm(folder: Path, services: Services) -> None:
    first = digest(folder, services)
    subprocess.run(["sleep", "0.1"], check=True)
    digest(folder, services)
    facts = folder.stat()
    kept = services.root.cache / f"context-{facts.st_dev:x}-{facts.st_ino:x}"
    kept.write_bytes(kept.read_bytes()[:-7] + b"garbage")

    again = digest(folder, services)

    assert again == first


def test_several_processes_can_look_at_once(folder: Path, services: Services) -> None:
    for number in range(500):
        (folder / f"file{number}").write_bytes(b"x" * number)
    program = (
        "import sys; import pycontainers as pc; from pycontainers.build.context import Context\n"
        "with pc.Engine(root=sys.argv[1]) as engine:\n"
        "    for _ in range(5):\n"
        "        with Context.directory(sys.argv[2], engine.services()) as context:\n"
        "            print(context.select(['.']).digest)\n"
    )
    command = [sys.executable, "-c", program, str(services.root.path), str(folder)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]

    told = {line for process in running for line in process.communicate()[0].split()}

    assert told == {digest(folder, services).encode()}
    assert [process.returncode for process in running] == [0, 0, 0]


# Streams.


def tarred(folder: Path) -> bytes:
    return subprocess.run(["tar", "-C", folder, "-c", "."], capture_output=True, check=True).stdout


@pytest.mark.parametrize(
    "compress",
    [
        bytes,
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda data: subprocess.check_output(["zstd", "-q"], input=data),
    ],
)
def test_a_tar_stream_is_a_context(
    folder: Path, services: Services, compress: Callable[[bytes], bytes]
) -> None:
    data = compress(tarred(folder))

    with Context.of(io.BytesIO(data), services, LIMITS) as context:
        found = context.select(["."]).digest

    assert found == digest(folder, services)


def test_a_dockerfile_alone_is_a_context(services: Services) -> None:
    with Context.of(b"FROM scratch\n", services, LIMITS) as context:
        found = context.read("Dockerfile"), names(context.select(["."]))

    assert found == (b"FROM scratch\n", ["/", "Dockerfile"])


def test_what_was_unpacked_goes_with_the_context(folder: Path, services: Services) -> None:
    with Context.of(tarred(folder), services, LIMITS):
        during = [path for path in services.root.layers.iterdir() if "making" in path.name]

    after = [path for path in services.root.layers.iterdir() if "making" in path.name]

    assert (len(during), after) == (1, [])


@pytest.mark.parametrize(
    "item",
    [
        entry("../escaped"),
        entry("a/../../escaped"),
        entry("x" * 300),
        entry("/".join(["y" * 200] * 30)),
    ],
)
def test_an_archive_that_leads_out_is_refused(services: Services, item: Any) -> None:
    with pytest.raises(ImageError, match=r"entry"):
        Context.of(archive(item), services, LIMITS)


def test_an_archive_cannot_write_through_its_own_links(tmp_path: Path, services: Services) -> None:
    data = archive(
        entry("out", b"2", linkname=str(tmp_path)),
        (entry("out/escaped"), b"x"),
    )

    with Context.of(data, services, LIMITS) as context:
        found = names(context.select(["."]))

    assert found[-1].endswith("/escaped")
    assert not (tmp_path / "escaped").exists()


def test_an_archive_beyond_the_limits_is_refused(services: Services) -> None:
    data = archive(*[(entry(f"f{number}"), b"x" * 1000) for number in range(20)])

    with pytest.raises(ImageError, match=r"more than"):
        Context.of(data, services, Limits(size=1 << 20, entries=10))


def test_what_is_neither_archive_nor_dockerfile_is_refused(services: Services) -> None:
    with pytest.raises(InvalidArgument, match=r"no tar archive, and no Dockerfile"):
        Context.of(b"x" * (17 << 20), services, LIMITS)


def test_a_damaged_archive_is_refused(folder: Path, services: Services) -> None:
    data = gzip.compress(tarred(folder))

    with pytest.raises(ImageError):
        Context.of(data[: len(data) // 2], services, LIMITS)


def test_an_open_text_file_is_refused(services: Services) -> None:
    with pytest.raises(InvalidArgument, match=r"read\(\) gave str, not bytes"):
        Context.of(cast(BinaryIO, io.StringIO("FROM scratch")), services, LIMITS)


def test_a_file_is_no_context_directory(folder: Path, services: Services) -> None:
    with pytest.raises(NoDirectory, match=r"a build context is a directory"):
        Context.of(folder / "a.txt", services, LIMITS)
