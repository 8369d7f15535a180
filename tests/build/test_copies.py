"""COPY and ADD in whole builds: owners, modes, links, documents and archives, from inside."""

from __future__ import annotations

from pathlib import Path

from tests.build.conftest import Builder
from tests.images.trees import archive, entry

HEAD = "FROM bb:1\n"


def test_copy_keeps_modes_and_gives_files_to_root(build: Builder, tmp_path: Path) -> None:
    build.context.mkdir()
    build.write({"a": "1", "dir/b": "2", "dir/c": "3"})
    (build.context / "a").chmod(0o640)
    (build.context / "dir").chmod(0o700)

    built = build(HEAD + "COPY a /x/y/z\nCOPY . /all/\nCOPY a dir /etc/\n")

    assert built.stat("/x", "/x/y/z", "/all/dir", "/etc/b", "/etc/a", "/all/Dockerfile") == [
        "755 0:0", "640 0:0", "700 0:0", "644 0:0", "640 0:0", "644 0:0"
    ]  # fmt: skip


def test_owners_and_modes_are_given_by_names_numbers_and_symbols(build: Builder) -> None:
    built = build(
        HEAD + "COPY --chown=app:extra a /1\nCOPY --chown=app a /2\nCOPY --chown=5 a /3\n"
        "COPY --chown=5:6 --chmod=4711 a /4\nCOPY --chmod=u=rwx,go=r a /5\n"
        "ADD --chown=app --chmod=600 a /6\nARG WHO=app\nCOPY --chown=$WHO:$WHO dir /d\n"
        "COPY --link --chown=app:app a /linked/7\n",
        {"a": "1", "dir/b": "2"},
    )

    assert built.stat(*"/1 /2 /3 /4 /5 /6 /d /d/b /linked /linked/7".split()) == [
        "644 1000:2000", "644 1000:1000", "644 5:5", "4711 5:6", "744 0:0", "600 1000:1000",
        "755 1000:1000", "644 1000:1000", "755 1000:1000", "644 1000:1000",
    ]  # fmt: skip


def test_files_of_a_stage_keep_their_owners(build: Builder) -> None:
    built = build(
        "FROM bb:1 AS one\nRUN mkdir -m 1777 /d && echo x > /d/f && chown 7:8 /d /d/f\n"
        "FROM bb:1\nCOPY --from=one /d /e\nCOPY --from=0 --chown=0 /d/f /f\n"
        "COPY --from=one /d/ /n/\n"
    )

    assert built.stat("/e/f", "/f", "/n/f") == ["644 7:8", "644 0:0", "644 7:8"]


def test_copy_from_an_image_needs_no_stage(build: Builder) -> None:
    built = build("FROM scratch\nCOPY --from=bb:1 /bin/busybox /bin/sh /bin/\n")

    assert built.sh("echo works") == "works\n"


def test_parents_and_excluded_files(build: Builder) -> None:
    built = build(
        HEAD + "COPY --parents src/a.txt src/deep/b.txt /p/\n"
        "COPY --parents src/./deep/b.txt /q/\n"
        "COPY --exclude=*.md --exclude=deep/x* src /s\n"
        "ADD --exclude=deep src /t\n",
        {"src/a.txt": "1", "src/deep/b.txt": "2", "src/r.md": "3", "src/deep/x1": "4"},
    )

    files = built.sh("cd /; find p q s t -type f | sort").split()
    assert files == ["p/src/a.txt", "p/src/deep/b.txt", "q/deep/b.txt",
                     "s/a.txt", "s/deep/b.txt", "t/a.txt", "t/r.md"]  # fmt: skip


def test_a_linked_copy_does_not_follow_what_is_there(build: Builder) -> None:
    built = build(
        HEAD + "RUN ln -s /etc /there\nCOPY a /there/one\nCOPY --link a /there/two\n", {"a": "1"}
    )

    assert built.sh(
        "ls -d /etc/one /there/two; ls /etc/two 2>&1 || true; test -L /there || echo dir"
    ) == ("/etc/one\n/there/two\nls: /etc/two: No such file or directory\ndir\n")


def test_documents_in_the_dockerfile_become_files(build: Builder) -> None:
    built = build(
        HEAD + "ENV WHO=world\nCOPY <<one <<'two' /docs/\nhello $WHO\none\nhello $WHO\ntwo\n"
        "COPY --chmod=0755 <<EOF /bin/said\n#!/bin/sh\necho said \\$1\nEOF\n"
        "ADD --chown=app <<-x /x\n\tindented\nx\nWORKDIR /w\nCOPY <<y y\nrelative\ny\n"
    )

    assert built.sh("cat /docs/one /docs/two /x /w/y; said it") == (
        "hello world\nhello $WHO\nindented\nrelative\nsaid it\n"
    )
    assert built.stat("/docs/one", "/x") == ["644 0:0", "644 1000:1000"]


def test_archives_are_unpacked_by_add_only(build: Builder) -> None:
    data = archive((entry("d/f", uid=3, gid=4, mode=0o640), b"packed"), entry("d/e", b"5"))

    built = build(
        HEAD + "ADD a.tar /added\nCOPY a.tar /copied/\nADD --unpack=false a.tar /kept/\n"
        "ADD --chown=app a.tar /owned/\nADD no.tar /plain/\n",
        {"a.tar": data, "no.tar": "no archive"},
    )

    assert built.stat("/added/d/f", "/added/d", "/owned/d/f", "/owned/d/e") == [
        "640 3:4", "755 0:0", "640 1000:1000", "755 1000:1000",
    ]  # fmt: skip
    assert built.sh("ls /copied /kept /plain | grep tar") == "a.tar\na.tar\nno.tar\n"


def test_the_working_directory_is_made_and_is_where_copies_go(build: Builder) -> None:
    built = build(
        HEAD + "WORKDIR /one\nWORKDIR two/../three\nCOPY a .\nCOPY a x/\nCOPY a ../up\n"
        "ENV D=/by/variable\nWORKDIR $D\n",
        {"a": "1"},
    )

    assert built.sh("ls -d $PWD /one/three/a /one/three/x/a /one/up") == (
        "/by/variable\n/one/three/a\n/one/three/x/a\n/one/up\n"
    )
    assert built.config.working_dir == "/by/variable"
