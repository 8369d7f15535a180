"""Images from Dockerfiles: each instruction and flag, looked at from inside the image."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import pycontainers as pc
from tests.build import flat
from tests.build.conftest import Builder
from tests.images.trees import archive, entry

HEAD = "FROM bb:1\n"


# FROM, ARG, ENV.


def test_a_base_image_comes_through_with_its_config_and_files(
    build: Builder, base: pc.Image
) -> None:
    first = build(HEAD + 'ENV A=1\nUSER app\nLABEL a=b\nCMD ["id", "-un"]\nEXPOSE 80\n')
    first.image.tag("first:1")

    second = build("FROM first:1\nENV B=2\n")

    assert second.config.env[-2:] == ("A=1", "B=2")
    assert second.config.labels == {"a": "b"}
    assert second.config.exposed_ports == ("80/tcp",)
    assert second.image.run().stdout == "app\n"
    assert second.config.rootfs.diff_ids == base.config.rootfs.diff_ids


def test_from_scratch_there_are_only_the_files_that_were_copied(build: Builder) -> None:
    built = build(
        "FROM bb:1 AS tools\nFROM scratch\nCOPY --from=tools /bin/busybox /\n"
        'ENTRYPOINT ["/busybox"]\n'
    )

    assert built.image.run(["echo", "hi"]).stdout == "hi\n"
    assert built.config.working_dir == "/"
    assert built.config.env == (
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    )
    assert len(built.config.rootfs.diff_ids) == 1


def test_a_stage_begins_from_another_and_inherits_its_arguments(build: Builder) -> None:
    built = build(
        "FROM bb:1 AS one\nARG WHO=me\nENV E=$WHO\nWORKDIR /w\nUSER app\n"
        'SHELL ["/bin/sh", "-e", "-c"]\n'
        "FROM one\nRUN echo $WHO $E $PWD $(id -un) $0\n"
    )

    assert built.output.startswith("me me /w app /bin/sh\n") or "me me /w app" in built.output
    assert built.config.shell == ("/bin/sh", "-e", "-c")


def test_arguments_before_from_are_only_for_from(build: Builder) -> None:
    dockerfile = (
        'ARG TAG=1\nARG BASE=bb:${TAG}\nFROM ${BASE} AS one\nRUN echo "[$TAG]"\n'
        'ARG TAG\nRUN echo "<$TAG>"\n'
    )

    built = build(dockerfile)

    assert "[]\n" in built.output
    assert "<1>\n" in built.output


def test_build_arguments_win_over_defaults_and_environment_over_both(build: Builder) -> None:
    built = build(
        HEAD + "ARG A=a\nARG B=b\nARG C\nENV B=env\nRUN echo $A $B $C\n",
        build_args={"A": "given", "B": "given", "C": "given"},
    )

    assert "given env given\n" in built.output
    assert built.config.env[-1] == "B=env"


def test_an_argument_that_is_not_declared_is_not_seen(build: Builder) -> None:
    built = build(HEAD + 'RUN echo "[$A]"\n', build_args={"A": "given"})

    assert "[]\n" in built.output


def test_proxies_are_seen_by_commands_but_are_in_no_image(build: Builder) -> None:
    built = build(
        HEAD + 'RUN echo "$HTTP_PROXY $http_proxy"\n', build_args={"HTTP_PROXY": "http://p:1"}
    )

    assert "http://p:1 http://p:1\n" in built.output
    assert "p:1" not in str(built.config)


def test_platform_arguments_are_there_once_they_are_declared(build: Builder) -> None:
    machine = subprocess.check_output(["uname", "-m"], text=True).strip()
    name = {"x86_64": "amd64", "aarch64": "arm64"}[machine]

    built = build(
        "FROM --platform=$BUILDPLATFORM bb:1\nARG TARGETARCH\nARG TARGETOS BUILDPLATFORM\n"
        "RUN echo $TARGETOS $TARGETARCH $BUILDPLATFORM [$TARGETPLATFORM]\n"
    )

    assert f"linux {name} linux/{name} []\n" in built.output


def test_variables_of_a_line_see_those_before_it(build: Builder) -> None:
    built = build(HEAD + "ENV A=1\nENV A=2 B=$A\nENV C=${NO:-d} D=${A:+alt}$B E='$A'\n")

    assert built.config.env[1:] == ("A=2", "B=1", "C=d", "D=alt1", "E=$A")


# RUN.


def test_run_knows_three_forms(build: Builder) -> None:
    built = build(
        HEAD + 'RUN echo shell $0\nRUN ["/bin/echo", "exec", "$HOME"]\n'
        "RUN <<EOF\necho heredoc one\necho heredoc $((1+1))\nEOF\n"
        "RUN cat <<A && cat <<-B\none $HOME\nA\n\ttwo\n\tB\n"
        'RUN <<EOF\n#!/bin/awk -f\nBEGIN { print "a program" }\nEOF\n'
    )

    lines = built.output.splitlines()
    assert lines[:-1] == ["shell /bin/sh", "exec $HOME", "heredoc one", "heredoc 2",
                          "one /root", "two", "a program"]  # fmt: skip


def test_shell_and_working_directory_and_user_are_those_of_the_instruction_before(
    build: Builder,
) -> None:
    built = build(
        HEAD + "WORKDIR /a\nWORKDIR b\nRUN pwd\n"
        'SHELL ["/bin/sh", "-x", "-c"]\nRUN echo traced\n'
        "USER app\nRUN id -un; echo $HOME\nUSER 1234:5\nRUN id -u; id -g\n"
    )

    out = built.output
    assert "/a/b\n" in out
    assert "+ echo traced\n" in out
    assert "app\n/home/app\n" in out
    assert "id -u\n1234\n+ id -g\n5\n" in out


def test_a_layer_holds_what_the_command_changed_and_nothing_else(build: Builder) -> None:
    built = build(
        HEAD + "RUN --mount=type=tmpfs,target=/deep/er/scratch echo x > /deep/er/scratch/x; "
        "echo y > /root/new; rm /etc/group; ls /proc/self > /dev/null\n"
    )

    found = Path(built.image.root, "layers")
    made = [path for path in found.iterdir() if (path / "root/new").exists()]
    names = sorted(str(path.relative_to(made[0])) for path in made[0].rglob("*"))
    assert names == ["etc", "etc/group", "root", "root/new"]


def test_a_command_that_does_nothing_has_a_layer_all_the_same(build: Builder) -> None:
    built = build(HEAD + "RUN true\nRUN true # again\n")

    assert len(built.config.rootfs.diff_ids) == 3
    assert [step.empty_layer for step in built.image.history()][-2:] == [False, False]


def test_standard_input_of_a_command_is_empty(build: Builder) -> None:
    built = build(HEAD + "RUN cat; echo done\n")

    assert built.output.startswith("done\n")


def test_without_a_network_there_is_the_loopback_only(build: Builder) -> None:
    built = build(
        HEAD + "RUN --network=none ip -o link | wc -l\nRUN ip -o link | wc -l\n",
        network="none",
    )

    assert built.output.startswith("1\n1\n")


def test_the_hosts_network_has_to_be_allowed(build: Builder) -> None:
    dockerfile = HEAD + "RUN --network=host readlink /proc/self/ns/net\n"

    error = build.fails(dockerfile)
    built = build(dockerfile, insecure=True)

    assert "--network=host is not allowed" in error.problem
    assert built.output.startswith(os.readlink("/proc/self/ns/net"))


def test_commands_have_the_default_bridge(build: Builder) -> None:
    built = build(HEAD + "RUN ip -o -4 addr show dev eth0\n", network="bridge")

    assert "inet " in built.output


def test_what_a_command_may_is_what_it_may_in_a_container(build: Builder) -> None:
    built = build(HEAD + "RUN grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status\n")

    capabilities = int(built.output.split("CapEff:\t")[1].split()[0], 16)
    assert capabilities & 1 << 21 == 0  # CAP_SYS_ADMIN
    assert "Seccomp:\t2" in built.output


def test_an_insecure_command_has_to_be_allowed(build: Builder) -> None:
    dockerfile = HEAD + "RUN --security=insecure grep CapEff /proc/self/status\n"

    error = build.fails(dockerfile)
    built = build(dockerfile, insecure=True)

    assert "insecure" in error.problem
    assert int(built.output.split("CapEff:\t")[1].split()[0], 16) & 1 << 21


CAPABLE = """
#include <string.h>
#include <sys/xattr.h>
int main(int argc, char **argv)
{
    /* cap_net_bind_service+ep, as setcap(8) writes it */
    static const unsigned char value[20] = {1, 0, 0, 2, 0, 4, 0, 0};
    return setxattr(argv[1], "security.capability", value, sizeof value, 0) != 0;
}
"""


@pytest.fixture(scope="session")
def capable(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A program that gives a file a capability."""
    path = tmp_path_factory.mktemp("capable")
    (path / "capable.c").write_text(CAPABLE)
    subprocess.run(
        ["gcc", "-static", "-O1", "-o", path / "capable", path / "capable.c"], check=True
    )
    return (path / "capable").read_bytes()


def test_a_command_can_give_files_capabilities(
    build: Builder, capable: bytes, tmp_path: Path
) -> None:
    built = build(
        HEAD + "COPY --chmod=755 capable /\nRUN cp /capable /f && /capable /f\n"
        "FROM bb:1\nCOPY --from=0 /f /g\n",
        {"capable": capable},
    )
    whole = build.build(build.context, target="0")

    for made, name in ((whole, "f"), (built, "g")):
        made.image.save(tmp_path / "image.tar", format="docker")
        node = flat.read(tmp_path / "image.tar").files[name]
        assert [key for key, _ in node.xattrs] == ["security.capability"]
        assert node.xattrs[0][1].encode(errors="surrogateescape")[:8] == (
            b"\x01\x00\x00\x02\x00\x04\x00\x00"
        )


# The config.


def test_what_only_changes_the_config(build: Builder) -> None:
    built = build(
        HEAD + "MAINTAINER me <me@example.com>\n"
        'LABEL a=1 "b c"="d e" f="g\\\n h"\nEXPOSE 80 53/UDP 8000-8002\nVOLUME /v /w\n'
        'VOLUME ["/j k"]\nSTOPSIGNAL 9\nUSER app:app\n'
        "HEALTHCHECK --interval=1m30s --timeout=2s --start-period=3s --start-interval=4s "
        "--retries=5 CMD curl -f http://x\n"
        'ENTRYPOINT ["e", "x"]\nCMD c $HOME\n'
    )

    config = built.config
    assert config.author == "me <me@example.com>"
    assert config.labels == {"a": "1", "b c": "d e", "f": "g h"}
    assert set(config.exposed_ports) == {"80/tcp", "53/udp", "8000/tcp", "8001/tcp", "8002/tcp"}
    assert set(config.volumes) == {"/v", "/w", "/j k"}
    assert (config.stop_signal, config.user) == ("9", "app:app")
    check = config.healthcheck
    assert check is not None
    assert check.test == ("CMD-SHELL", "curl -f http://x")
    assert (check.interval, check.timeout, check.start_period, check.start_interval) == (
        90 * 10**9, 2 * 10**9, 3 * 10**9, 4 * 10**9,
    )  # fmt: skip
    assert check.retries == 5
    assert (config.entrypoint, config.cmd) == (("e", "x"), ("/bin/sh", "-c", "c $HOME"))


def test_history_is_told_as_docker_tells_it(build: Builder) -> None:
    built = build(
        HEAD + 'ARG A=1\nENV E=2\nRUN echo $A\nCOPY a /\nWORKDIR /w\nCMD ["x"]\nUSER app\n',
        {"a": "1"},
    )

    steps = built.image.history()[-7:]
    assert [step.created_by for step in steps] == [
        "ARG A=1", "ENV E=2", "RUN |1 A=1 /bin/sh -c echo $A # buildkit", "COPY a / # buildkit",
        "WORKDIR /w", 'CMD ["x"]', "USER app",
    ]  # fmt: skip
    assert [bool(step.empty_layer) for step in steps] == [
        True, True, False, False, False, True, True
    ]  # fmt: skip
    assert {step.comment for step in steps} == {"buildkit.dockerfile.v0"}


def test_triggers_of_a_base_image_run_first_and_once(build: Builder) -> None:
    parent = build(
        HEAD + "ONBUILD COPY a /from/\nONBUILD RUN cat /from/a\nONBUILD ENV T=1\nONBUILD ARG Q=2\n"
    )
    parent.image.tag("parent:1")

    child = build("FROM parent:1\nRUN echo [$T$Q]\n", {"a": "child's\n"})

    assert parent.config.on_build[0] == "COPY a /from/"
    assert child.output.startswith("child's\n[12]\n")
    assert child.config.on_build == ()


# What the caller says.


def test_the_target_is_built_with_what_it_needs_and_nothing_else(build: Builder) -> None:
    dockerfile = (
        "FROM bb:1 AS broken\nRUN false\nFROM bb:1 AS one\nRUN echo one > /f\n"
        "FROM one AS two\nRUN cat /f\nFROM bb:1\nRUN echo last\n"
    )

    two, number, last = (
        build(dockerfile, target="two"),
        build(dockerfile, target="1"),
        build(dockerfile),
    )

    assert two.output.startswith("one\n")
    assert number.sh("cat /f") == "one\n"
    assert last.made == ["RUN echo last"]


def test_labels_and_tags_of_the_caller(build: Builder) -> None:
    built = build(HEAD + "LABEL a=1 b=2\n", labels={"b": "given", "c": "3"}, tag=["t:1", "t:2"])

    assert built.config.labels == {"a": "1", "b": "given", "c": "3"}
    assert built.image.tags == ("t:1", "t:2")
    built.image.untag("t:1")
    built.image.untag("t:2")


def test_a_dockerfile_can_be_elsewhere(build: Builder, tmp_path: Path) -> None:
    (tmp_path / "Elsewhere").write_text(HEAD + "COPY a /which\n")

    other = build(HEAD, {"a": "1", "sub/Other": HEAD + "COPY sub/b /which\n", "sub/b": "2"},
                  dockerfile="sub/Other")  # fmt: skip
    outside = build.build(build.context, dockerfile=tmp_path / "Elsewhere")

    assert (other.sh("cat /which"), outside.sh("cat /which")) == ("2", "1")


@pytest.mark.parametrize("compress", ["", "gzip", "xz"])
def test_a_context_can_be_an_archive(build: Builder, compress: str) -> None:
    data = archive(
        (entry("Dockerfile"), (HEAD + "COPY a sub /\n").encode()),
        (entry("a", mode=0o640, uid=7), b"1"),
        (entry("sub/b", mtime=7), b"2"),
    )
    if compress:
        data = subprocess.check_output([compress], input=data)

    built = build.build(data)
    again = build.build(io.BytesIO(data))

    assert built.sh("cat /a /b") == "12"
    assert built.stat("/a") == ["640 0:0"]
    assert again.image == built.image


def test_a_dockerfile_alone_is_a_context(build: Builder) -> None:
    built = build.build((HEAD + "COPY <<EOF /a\nalone\nEOF\n").encode())

    assert built.sh("cat /a") == "alone\n"


def test_ignored_files_are_not_there(build: Builder) -> None:
    built = build(
        HEAD + "COPY . /all\nRUN --mount=target=/m find /m -type f | sort\n",
        {".dockerignore": "*.log\nsecret\n!keep.log\n", "a": "", "x.log": "", "keep.log": "",
         "secret/key": "", "dir/y.log": ""},
    )  # fmt: skip

    names = [".dockerignore", "Dockerfile", "a", "dir/y.log", "keep.log"]
    assert built.sh("cd /all; find . -type f | sort").split() == [f"./{name}" for name in names]
    assert built.output.split()[:5] == [f"/m/{name}" for name in names]


def test_an_ignore_file_of_the_dockerfile_comes_first(build: Builder) -> None:
    built = build(
        HEAD,
        {".dockerignore": "a\n", "Other": HEAD + "COPY . /all\n", "Other.dockerignore": "b\n",
         "a": "", "b": ""},
        dockerfile="Other",
    )  # fmt: skip

    assert "a\n" in built.sh("ls /all")
    assert "b\n" not in built.sh("ls /all")


@pytest.mark.parametrize(
    "wrong",
    [
        {"target": "nowhere"},
        {"tag": "UPPER"},
        {"network": "no such\0"},
        {"labels": {"a": 1}},
        {"platform": "a/b/c/d/e"},
        {"build_args": {"A": 1}},
        {"ssh": {"default": "/nowhere"}},
        {"secrets": {"s": Path("/nowhere")}},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_options_that_mean_nothing_are_refused_first(build: Builder, wrong: dict[str, Any]) -> None:
    with pytest.raises(pc.InvalidArgument):
        build(HEAD + "RUN false\n", **wrong)
