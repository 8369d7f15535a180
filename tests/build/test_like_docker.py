"""The same Dockerfiles built by us, by docker build and by buildah: the same images."""

from __future__ import annotations

import gzip
import os
import random
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pycontainers as pc
from tests.build import flat
from tests.build.conftest import give_base
from tests.build.gitserver import Repository, git, serving
from tests.images.conftest import Peer
from tests.images.conftest import docker as docker  # noqa: PLC0414  # a fixture
from tests.images.trees import archive, entry

BASE = "localhost/tools:1"
OLD = 981173106

Make = Callable[[Path | str, str], flat.Flat]

FIELDS = ("Env", "Cmd", "Entrypoint", "WorkingDir", "User", "Labels", "ExposedPorts", "Volumes",
          "StopSignal", "Healthcheck", "Shell", "OnBuild")  # fmt: skip


@pytest.fixture(scope="module")
def tools(busybox: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base image's archive, with all that engines make for themselves."""
    root = tmp_path_factory.mktemp("tools")
    root.chmod(0o755)
    subprocess.run(["cp", "-a", f"{busybox}/.", root], check=True)
    for name in ("dev", "proc", "sys", "run", "var/tmp", "usr/lib"):
        (root / name).mkdir(parents=True)
    for name in ("etc/hosts", "etc/resolv.conf", "etc/hostname"):
        (root / name).touch()
    (root / "lib").symlink_to("usr/lib")
    path = tmp_path_factory.mktemp("tools") / "tools.tar"
    subprocess.run(["tar", "-C", root, "--sort=name", "-cf", path, "."], check=True)
    return path


@pytest.fixture(scope="module")
def ours(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Build with the library."""
    root = tmp_path_factory.mktemp("ours")
    with pc.Engine(root=root / "root") as engine:
        give_base(engine, tools, BASE)

        def make(context: Path | str, target: str) -> flat.Flat:
            image = pc.Image.build(
                context, target=target or None, build_args={"GIVEN": "from outside"},
                network="none", progress=False, engine=engine,
            )  # fmt: skip
            image.save(root / "image.tar", format="docker")
            return flat.read(root / "image.tar")

        yield make


def _docker(docker: Peer, buildkit: str, scratch: Path) -> Make:
    def make(context: Path | str, target: str) -> flat.Flat:
        named = ["--target", target] if target else []
        environment = {**os.environ, "DOCKER_BUILDKIT": buildkit}
        # The client of the daemon's own version: later ones need a plugin for its BuildKit.
        client = ["/usr/bin/docker", *docker.command[1:]]
        done = subprocess.run(
            [*client, "build", "-q", "--network", "none", "--build-arg", "GIVEN=from outside",
             *named, context],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        docker("save", "-o", scratch / "image.tar", done.stdout.strip())
        return flat.read(scratch / "image.tar")

    return make


@pytest.fixture(scope="module")
def stocked_docker(docker: Peer, tools: Path) -> Peer:
    """A Docker daemon that has the base image."""
    docker("import", tools, BASE)
    return docker


@pytest.fixture(scope="module")
def buildkit(stocked_docker: Peer, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Build with the BuildKit in dockerd."""
    return _docker(stocked_docker, "1", tmp_path_factory.mktemp("buildkit"))


@pytest.fixture(scope="module")
def classic(stocked_docker: Peer, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Build with the first builder of dockerd."""
    return _docker(stocked_docker, "0", tmp_path_factory.mktemp("classic"))


@pytest.fixture(scope="module")
def buildah(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Build with buildah."""
    root = tmp_path_factory.mktemp("buildah")
    peer = Peer("buildah", "--root", f"{root}/root", "--runroot", f"{root}/run",
                "--storage-driver", "overlay")  # fmt: skip
    container = peer("from", "scratch").strip()
    peer("add", "-q", container, tools, "/")
    peer("commit", "-q", container, BASE)
    peer("rm", container)

    def make(context: Path | str, target: str) -> flat.Flat:
        named = ["--target", target] if target else []
        image = peer("bud", "-q", "--isolation", "chroot", "--format", "docker",
                     "--pull-never", "--layers", "--build-arg", "GIVEN=from outside", *named,
                     context).strip()  # fmt: skip
        saved = root / "image.tar"
        saved.unlink(missing_ok=True)
        peer("push", "-q", image, f"docker-archive:{saved}")
        return flat.read(saved)

    yield make
    peer("rmi", "--all", "--force", check=False)
    subprocess.run(["umount", f"{root}/root/overlay"], check=False, capture_output=True)


def stock(root: Path, *, odd: bool) -> None:
    """Make a context of everything that a Dockerfile can take up; odd is what only BuildKit can."""
    (root / "dir/sub/deep").mkdir(parents=True)
    (root / "dir/empty").mkdir()
    (root / "a.txt").write_text("a\n")
    (root / "b.txt").write_text("b\n")
    (root / "c.md").write_text("c\n")
    (root / "dir/one").write_text("one\n")
    (root / "dir/sub/two").write_text("two\n")
    (root / "dir/sub/deep/three").write_text("three\n")
    (root / "dir/relative").symlink_to("sub/two")
    (root / "dir/absolute").symlink_to("/etc/passwd")
    (root / "dir/dangling").symlink_to("nowhere")
    (root / "link.txt").symlink_to("a.txt")
    (root / "script.sh").write_text("#!/bin/sh\necho script\n")
    (root / "script.sh").chmod(0o755)
    (root / "suid").write_text("suid\n")
    (root / "dir/empty").chmod(0o700)
    if odd:
        (root / "[odd] name").write_text("odd\n")
        (root / "suid").chmod(0o4711)
        (root / "dir/sub").chmod(0o1777)
    data = archive(
        entry("made", b"5", mode=0o750, uid=3, gid=4, mtime=OLD),
        (entry("made/file", mode=0o640, uid=5, gid=6, mtime=OLD), b"packed\n"),
        entry("made/link", b"2", linkname="file", mode=0o777, mtime=OLD),
        entry("made/hard", b"1", linkname="made/file", mtime=OLD, uid=5, gid=6, mode=0o640),
    )
    (root / "packed.tar.gz").write_bytes(gzip.compress(data, mtime=0))
    (root / "packed.tar").write_bytes(data)
    for path in root.rglob("*"):
        os.utime(path, (OLD, OLD), follow_symlinks=False)


COPIES = """
COPY a.txt /one/
COPY a.txt b.txt /two/
COPY *.txt /three/
COPY a.txt /four
COPY dir /five
COPY dir/ /six/
COPY . /seven/
COPY dir/sub dir/one /eight/
COPY dir/sub /nine
COPY suid script.sh /bin/
COPY link.txt /ten/
COPY dir/relative dir/sub/tw* /eleven/
COPY ?.md /twelve/deep/er/
COPY dir/s*b /thirteen
COPY a.txt /lib/through
COPY dir /lib/
WORKDIR /work
COPY a.txt .
COPY a.txt ./
COPY b.txt sub/
COPY dir/one ../up
COPY dir/sub /five
COPY --chown=1000:1000 dir /owned
COPY --chown=app:extra a.txt /owned/by/name
COPY --chown=app b.txt /owned/by/user
COPY --chown=7 b.txt /owned/by/number
"""
RUNS = """
RUN echo one > /one && mkdir -p /d/e && echo two > /d/e/two && chmod 4750 /one
RUN ["/bin/sh", "-c", "echo exec form > /exec"]
RUN rm /one && rm -r /d/e && mkdir /d/e && echo three > /d/e/three
RUN ln -s /nowhere /link && ln /exec /hard && mkfifo /pipe
RUN chown 12:34 /exec && chmod 1777 /d && mv /home /home2 && chown -h 5:6 /link
RUN rm -r /tmp && mkdir -m 1777 /tmp && mkdir /usr/local && rmdir /usr/local
ENV A=1
ARG GIVEN
ARG DEFAULT=by-default
ARG UNSET
RUN echo "$A $GIVEN $DEFAULT $UNSET" > /variables; id -u > /id; pwd > /pwd; umask > /umask
USER app
WORKDIR /home2
RUN id -u > /tmp/id; id -G > /tmp/groups; pwd > /tmp/pwd; echo "$HOME" > /tmp/home
USER 1234:2000
RUN id -u > /tmp/id2; id -g > /tmp/gid
USER root
SHELL ["/bin/sh", "-e", "-c"]
RUN echo $0 > /shell
RUN set > /dev/null \\
  # a comment
  && echo 'quoted "text"' \\

     > /joined
RUN true
"""
CONFIG = """
MAINTAINER Somebody <somebody@example.com>
ENV ONE=1 TWO="two words" THREE=three\\ words
ENV OLD style with   spaces
ENV PATH=/opt/bin:$PATH ONE=${ONE}1
ENV LATER=$ONE DEFAULT=${NOTHING:-default} ALT=${ONE:+alternative} QUOTED='$ONE' ESC=\\$ONE
LABEL a=b "c d"="e f" multi="line \\
goes on"
LABEL a=overwritten env=$ONE
EXPOSE 80 443/tcp 53/udp 8000-8002
EXPOSE $ONE
VOLUME /data /more
VOLUME ["/json", "/more"]
WORKDIR /a
WORKDIR b
WORKDIR $ONE
USER app:extra
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=5s --timeout=3s --start-period=1m --retries=4 CMD test -e /ok
ONBUILD RUN echo triggered
ONBUILD COPY a.txt /
SHELL ["/bin/sh", "-x", "-c"]
ENTRYPOINT exec run "$@"
CMD ["first", "second \\"quoted\\""]
"""
COMMANDS = """
FROM {base} AS parent
CMD ["kept"]
HEALTHCHECK CMD ["/bin/true"]
FROM parent AS reset
ENTRYPOINT ["/bin/echo"]
FROM parent AS both
CMD shell form $HOME
ENTRYPOINT ["/bin/echo", "a"]
HEALTHCHECK NONE
FROM parent AS empty
ENTRYPOINT []
CMD []
FROM parent AS last
CMD last one
CMD ["really", "last"]
ENTRYPOINT first
ENTRYPOINT ["second"]
LABEL x=y
"""
STAGES = """
ARG TAG=1
FROM localhost/tools:${TAG} AS one
ARG TAG
ARG GIVEN
ENV WHO=$GIVEN
WORKDIR /src
COPY --chown=1000:1000 dir ./dir
RUN echo "$TAG $WHO" > /src/told && touch -d '2001-02-03 04:05:06' /src/told && chown 7:8 /src/told
FROM scratch AS nothing
COPY --from=one /src/told /
FROM one AS two
RUN rm -r dir/sub && ln -s /src/told /abs && ln -s told /src/rel
FROM localhost/tools:${TAG}
COPY --from=two /src /from/two
COPY --from=0 /src/dir /from/one/
COPY --from=nothing / /from/nothing/
COPY --from=two /abs /src/rel /from/links/
COPY --from=one --chown=9:9 /src/dir/one /from/owned
COPY --from=localhost/tools:1 /etc/passwd /from/image
CMD ["x"]
"""
ADDS = """
ADD packed.tar.gz /added
ADD packed.tar /into/ 
ADD a.txt dir /plain/
ADD dir/one /file
"""
VOLUMES = """
RUN mkdir /data && echo before > /data/before
VOLUME /data /fresh
RUN echo after > /data/after
COPY a.txt /data/
WORKDIR /fresh/sub
"""
BUILDKIT = """
COPY ["[[]odd] name", "/odd/"]
COPY *odd* /odder
RUN mkdir -p /moded /var/cache/x /context /d /deep/scratch /mnt
COPY --chmod=750 dir/one b.txt /moded/
COPY --chmod=0604 --chown=3:4 a.txt /both
ADD --chmod=611 b.txt /added
RUN --mount=type=cache,target=/var/cache/x echo 1 > /var/cache/x/kept
RUN --mount=type=cache,target=/var/cache/x cat /var/cache/x/kept > /seen
RUN --mount=type=bind,target=/context cat /context/a.txt /context/dir/one > /bound
RUN --mount=type=bind,source=dir,target=/d,rw echo lost > /d/new && ls /d > /bound2
RUN --mount=type=tmpfs,target=/deep/scratch echo lost > /deep/scratch/x
RUN --mount=type=bind,from=localhost/tools:1,source=/etc,target=/mnt cat /mnt/passwd > /bound3
"""
ONBUILD = """
FROM {base} AS parent
ONBUILD COPY a.txt /triggered/
ONBUILD RUN echo ran > /triggered/ran
ONBUILD ENV FROM_PARENT=yes
FROM parent
RUN test -e /triggered/ran && echo $FROM_PARENT > /after
FROM parent AS other
"""
IGNORED = """
COPY . /all/
COPY dir /dir/
"""
HEAD = "FROM {base}\n"
# Name: Dockerfile, target, who builds it the same, and what they do otherwise.
CASES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "copy": (HEAD + COPIES, "", ("buildkit", "classic", "buildah")),
    "run": (HEAD + RUNS, "", ("buildkit", "classic", "buildah")),
    "config": (HEAD + CONFIG, "", ("buildkit", "classic")),
    "entrypoint alone": (COMMANDS, "reset", ("buildkit", "classic", "buildah")),
    "command and entrypoint": (COMMANDS, "both", ("buildkit", "classic", "buildah")),
    "empty commands": (COMMANDS, "empty", ("buildkit", "classic", "buildah")),
    "last of several": (COMMANDS, "last", ("buildkit", "classic", "buildah")),
    "stages": (STAGES, "", ("buildkit", "classic", "buildah")),
    "from scratch": (STAGES, "nothing", ("buildkit", "classic", "buildah")),
    "add": (HEAD + ADDS, "", ("buildkit", "classic", "buildah")),
    "volumes": (HEAD + VOLUMES, "", ("buildkit",)),
    "buildkit": (HEAD + BUILDKIT, "", ("buildkit",)),
    "onbuild": (ONBUILD, "", ("buildkit", "classic", "buildah")),
    "ignored": (HEAD + IGNORED, "", ("buildkit", "classic", "buildah")),
}
RULES = "*.txt\n!b.txt\ndir/sub\n!dir/sub/deep\n# no\n\n/script.sh\n**/one\n"


@pytest.mark.parametrize(
    ("case", "peer"), [(case, peer) for case, (_, _, peers) in CASES.items() for peer in peers]
)
def test_the_image_is_the_same(
    case: str, peer: str, ours: Make, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    text, target, _ = CASES[case]
    stock(tmp_path, odd=peer == "buildkit")
    (tmp_path / "Dockerfile").write_text(text.replace("{base}", BASE))
    if case == "ignored":
        (tmp_path / ".dockerignore").write_text(RULES)

    theirs = request.getfixturevalue(peer)(tmp_path, target)
    found = ours(tmp_path, target)

    assert settings(found) == settings(theirs)
    mine, others = set(found.lines()), set(theirs.lines())
    assert sorted(mine - others) == sorted(others - mine) == []


def settings(image: flat.Flat) -> dict[str, Any]:
    """Give what Docker's config says; nothing, empty and the root directory are the same."""
    config = image.config["config"]
    if config.get("WorkingDir") == "/":  # BuildKit says it from scratch, others do not
        config = {**config, "WorkingDir": ""}
    found = {name: config.get(name) or None for name in FIELDS}
    labels = {
        name: value for name, value in (found["Labels"] or {}).items() if "buildah" not in name
    }
    return {**found, "Labels": labels, "Author": image.config.get("author") or None}


@pytest.mark.parametrize("case", ["copy", "run", "config", "stages", "onbuild"])
def test_the_history_is_buildkits(case: str, ours: Make, buildkit: Make, tmp_path: Path) -> None:
    stock(tmp_path, odd=True)
    text = "\n".join(line for line in CASES[case][0].split("\n") if "HEALTHCHECK" not in line)
    (tmp_path / "Dockerfile").write_text(text.replace("{base}", BASE))

    found, theirs = ours(tmp_path, ""), buildkit(tmp_path, "")

    assert told(found) == told(theirs)


def told(image: flat.Flat) -> list[tuple[str, str, bool]]:
    """Give what the history tells, but for the base image's, and for what later versions add."""
    return [
        (
            re.sub(r" --chown=\S+|(?<=ARG GIVEN)=.*", "", step["created_by"]),
            step["comment"],
            step.get("empty_layer", False),
        )
        for step in image.config["history"]
        if step.get("comment", "").startswith("buildkit")
    ]


# What COPY is given, and where it goes, in all combinations that make sense; {} is the line's own.
SOURCES = (
    "a.txt b.txt *.txt dir dir/ dir/* dir/s* dir/sub/. dir/relative link.txt suid dir/sub/deep "
    "d*/s*/d* ./a.txt /dir/one dir/../a.txt ?.txt dir/o[mn]e ldir ldir/ ldir/one ldir/sub "
    "dir/empty . hard linked"
).split()
DIRECTORIES = (
    "{}/new/ {}/dir/ {}/ldir/ {}/dir/x/y/ {}/dir/. {} {}/ {}/a/../b/ {}/dir/link/ {}/shared {}/ldir"
).split()
FILES = "{}/new {}/file {}/lfile {}/dangling {}/dir/one".split()
PLACES = """
RUN for i in $(seq 0 39); do p=/n$i; mkdir -p $p/dir/sub $p/other $p/shared; chmod 700 $p/dir; \
    chown 5:6 $p/dir $p/shared; chmod 2755 $p/shared; echo f > $p/file; ln -s file $p/lfile; \
    ln -s dir $p/ldir; ln -s /n$i/other $p/dir/link; ln -s nowhere $p/dangling; \
    echo old > $p/dir/one; chmod 600 $p/dir/one; done
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_any_copy_does_what_buildkit_does(
    seed: int, ours: Make, buildkit: Make, tmp_path: Path
) -> None:
    stock(tmp_path, odd=True)
    (tmp_path / "dir/dangling").unlink()
    (tmp_path / "dir/absolute").unlink()
    (tmp_path / "ldir").symlink_to("dir")
    (tmp_path / "hard").write_text("h")
    (tmp_path / "linked").mkdir()
    for name in ("x", "y"):
        os.link(tmp_path / "hard", tmp_path / "linked" / name)
    (tmp_path / ".dockerignore").write_text("Dockerfile\n.dockerignore\n")
    chosen = random.Random(seed)
    lines = []
    for number in range(40):
        several = chosen.random() < 0.7
        sources = chosen.choices(SOURCES, k=chosen.randint(1, 3)) if several else ["a.txt"]
        target = chosen.choice(DIRECTORIES if several else FILES).format(f"/n{number}")
        slash = "/" if several and not target.endswith(("/", "/.")) else ""
        owner = chosen.choice(["", "", "--chown=7:8 ", "--chown=app "])
        lines.append(f"COPY {owner}{' '.join(sources)} {target}{slash}")
    text = f"FROM {BASE}{PLACES}" + "\n".join(lines)
    (tmp_path / "Dockerfile").write_text(text)

    mine, others = set(ours(tmp_path, "").lines()), set(buildkit(tmp_path, "").lines())

    assert sorted(mine - others) == sorted(others - mine) == []


@pytest.mark.parametrize(
    ("ref", "builder"),
    # That BuildKit knows no directories yet, the first builder does.
    [("#main", "buildkit"), ("#v1", "buildkit"), ("#main:d", "classic")],
)
def test_a_repository_gives_the_tree_that_it_gives_docker(
    tmp_path: Path, ours: Make, request: pytest.FixtureRequest, ref: str, builder: str
) -> None:
    theirs: Make = request.getfixturevalue(builder)
    (tmp_path / "served").mkdir()
    inner = Repository(tmp_path / "served", "inner")
    inner.commit({"in/deep": "inner\n"})
    outer = Repository(tmp_path / "served", "outer")
    outer.write(
        {
            "Dockerfile": "FROM scratch\nCOPY . /all/\n",
            "d/Dockerfile": "FROM scratch\nCOPY . /all/\n",
            "d/e/f": "f\n",
            ".gitattributes": "d export-ignore\nv export-subst\nc text eol=crlf\ni ident\n",
            ".dockerignore": "d\n",
            "v": "$Format:%H$\n",
            "c": "1\n2\n",
            "i": "$Id$\n",
            "umlaut-\u00e4": "",
        }
    )
    (outer.work / "run").write_text("#!/bin/sh\n")
    (outer.work / "run").chmod(0o775)
    (outer.work / "link").symlink_to("/etc/passwd")
    with serving(tmp_path / "served") as server:
        git(outer.work, "submodule", "add", "-q", f"{server.url}/inner.git", "d/sub")
        outer.commit()
        git(outer.work, "tag", "-a", "-m", "t", "v1")
        outer.serve()
        trees = [make(f"{server.url}/outer.git{ref}", "") for make in (ours, theirs)]

    # Times are the commit's for us; and docker leaves a file that points to nothing.
    lines = [
        [
            str((name, node._replace(mtime=0)))
            for name, node in sorted(tree.files.items())
            if not name.endswith("sub/.git")
        ]
        for tree in trees
    ]
    assert lines[0] == lines[1]
    assert len(lines[0]) > 3
