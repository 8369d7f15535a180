"""RUN --mount: what a command sees, with whose rights, and what is left of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainers as pc
from pycontainers.build.agents import forwarded
from tests.build.conftest import Builder


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    """A socket that answers what it is told with the same in capitals."""
    path = tmp_path / "agent"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()

    def serve() -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            with peer:
                peer.sendall(peer.recv(100).upper())

    thread = threading.Thread(target=serve)
    thread.start()
    yield path
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


def test_a_secret_has_the_owner_and_mode_that_were_asked_for(build: Builder) -> None:
    built = build(
        "FROM bb:1\n"
        "RUN --mount=type=secret,id=one stat -c '%a %u:%g' /run/secrets/one\n"
        "RUN --mount=type=secret,id=one,target=/in/it,mode=0440,uid=1000,gid=2000"
        " stat -c '%a %u:%g' /in/it && cat /in/it\n",
        secrets={"one": "hidden"},
    )

    assert built.output.startswith("400 0:0\n440 1000:2000\nhidden")


def test_a_secret_can_not_be_written_to(build: Builder) -> None:
    built = build(
        "FROM bb:1\nRUN --mount=type=secret,id=one echo x > /run/secrets/one || echo refused\n",
        secrets={"one": "hidden"},
    )

    assert "refused" in built.output


def test_several_secrets_are_several_files(build: Builder) -> None:
    built = build(
        "FROM bb:1\nRUN --mount=type=secret,id=a --mount=type=secret,id=b,env=B"
        " --mount=type=secret,id=c,env=C,target=/c cat /run/secrets/a /c && echo $B $C\n",
        secrets={"a": "1", "b": "2", "c": "3"},
    )

    assert built.output.startswith("132 3")


def test_a_secret_lies_in_memory(build: Builder) -> None:
    built = build(
        "FROM bb:1\nRUN --mount=type=secret,id=one grep /run/secrets /proc/self/mountinfo\n",
        secrets={"one": "hidden"},
    )

    assert " - tmpfs " in built.output


def test_a_command_speaks_to_an_ssh_agent(build: Builder, agent: Path) -> None:
    built = build(
        "FROM bb:1\nUSER app\n"
        "RUN --mount=type=ssh,uid=1000 echo $SSH_AUTH_SOCK; stat -c '%a %u' $SSH_AUTH_SOCK;"
        " ls /etc; touch /tmp/x\n",
        ssh={"default": agent},
    )

    assert built.output.startswith("/run/buildkit/ssh_agent.0\n600 1000\n")


def test_what_is_said_to_an_agent_comes_back(
    engine: pc.Engine, agent: Path, tmp_path: Path
) -> None:
    place = tmp_path / "forwarded"
    talk = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/agent');"
        "s.sendall(b'hello'); print(s.recv(100).decode())"
    )

    with forwarded(agent, place):
        place.chmod(0o600)
        mount = pc.Mount.bind(place, "/agent")
        answers = [
            pc.run(["python3", "-c", talk], mounts=[mount], engine=engine).stdout for _ in "12"
        ]

    assert answers == ["HELLO\n", "HELLO\n"]


def test_missing_secrets_and_agents_matter_only_where_they_are_required(build: Builder) -> None:
    build("FROM bb:1\nRUN --mount=type=secret,id=no --mount=type=ssh touch /tmp/x\n")
    secret = build.fails("FROM bb:1\nRUN --mount=type=secret,id=no,required true\n")
    agent = build.fails("FROM bb:1\nRUN --mount=type=ssh,required true\n")

    assert "no secret 'no'" in str(secret)
    assert secret.line == 2
    assert "no SSH agent 'default'" in str(agent)


def test_a_bind_that_can_be_written_to_loses_what_was_written(build: Builder) -> None:
    built = build(
        "FROM bb:1 AS one\nRUN mkdir /data && echo 1 > /data/f\n"
        "FROM bb:1\n"
        "RUN --mount=type=bind,from=one,source=/data,target=/d,rw echo 2 > /d/f; cat /d/f\n"
        "RUN --mount=type=bind,source=file,target=/file,rw echo 3 >> /file; cat /file\n"
        "RUN --mount=from=one,source=/data,target=/d cat /d/f; echo 4 > /d/f || echo refused\n"
        "RUN ls / > /list\n",
        {"file": "context\n"},
    )

    assert [line for line in built.output.splitlines() if len(line) < 20] == [
        "2", "context", "3", "1", "refused"]  # fmt: skip
    names = built.sh("cat /list").split()
    assert "d" not in names
    assert "file" not in names
    assert (build.context / "file").read_text() == "context\n"


def test_a_bind_of_another_image_shows_its_files(build: Builder) -> None:
    built = build(
        "FROM bb:1\nRUN --mount=from=bb:1,source=/etc/passwd,target=/passwd wc -l < /passwd\n"
    )

    assert built.output.splitlines()[0].strip() == "2"


def test_a_bind_of_the_context_shows_nothing_that_is_ignored(build: Builder) -> None:
    built = build(
        "FROM bb:1\nWORKDIR /work\nRUN --mount=target=. find . | sort\n",
        {"a/b": "1", "key": "2", ".dockerignore": "key\nDockerfile\n.dockerignore\n"},
    )

    assert built.output.startswith(".\n./a\n./a/b\n")


def test_a_source_is_no_pattern(build: Builder) -> None:
    error = build.fails("FROM bb:1\nRUN --mount=source=*,target=/x true\n", {"a": "1"})

    assert "not found in the context: '*'" in str(error)


def test_targets_are_relative_to_the_working_directory(build: Builder) -> None:
    built = build(
        "FROM bb:1\nWORKDIR /srv/app\n"
        "RUN --mount=type=tmpfs,target=cache,size=8m df -m | grep /srv/app/cache\n"
    )

    assert built.output.split()[1] == "8"


def test_a_mount_over_the_whole_root_is_refused(build: Builder) -> None:
    for text in ("type=tmpfs,target=/", "type=cache,target=/x/..", "type=bind"):
        error = build.fails(f"FROM bb:1\nRUN --mount={text} true\n")

        assert "can't be at /, over the whole root" in str(error)
        assert error.line == 2


def test_the_kernels_own_file_systems_are_no_targets(build: Builder) -> None:
    for kind in ("tmpfs", "secret,id=s", "cache", "bind"):
        error = build.fails(
            f"FROM bb:1\nRUN --mount=type={kind},target=/proc/x true\n", secrets={"s": "1"}
        )

        assert "nothing can be mounted at /proc/x" in str(error)


def test_one_secret_may_be_several_files(build: Builder) -> None:
    mount = "--mount=type=secret,id=s,target"

    built = build(f"FROM bb:1\nRUN {mount}=/a {mount}=/b,mode=0444 cat /a /b\n", secrets={"s": "1"})

    assert built.output.startswith("11")


def test_a_new_cache_begins_with_what_it_is_from(build: Builder) -> None:
    dockerfile = (
        "FROM bb:1 AS seed\nRUN mkdir /seed && echo planted > /seed/f\n"
        "FROM bb:1\n"
        "RUN --mount=type=cache,id=seeded,from=seed,source=/seed,target=/c,uid=1000,mode=0750"
        " cat /c/f; stat -c '%a %u:%g' /c; echo grown > /c/f # {}\n"
    )

    first = build(dockerfile.format(1))
    second = build(dockerfile.format(2))

    assert first.output.startswith("planted\n750 1000:0\n")
    assert second.output.startswith("grown\n")


def test_a_cache_that_is_mounted_twice_is_no_deadlock(build: Builder) -> None:
    mount = "--mount=type=cache,id=twice,sharing=locked,target"

    built = build(f"FROM bb:1\nRUN {mount}=/a {mount}=/b echo 1 > /a/f; cat /b/f\n")

    assert built.output.startswith("1\n")


def test_private_caches_of_two_commands_are_two_directories(build: Builder) -> None:
    mount = "--mount=type=cache,id=mine,sharing=private,target=/c"
    built = build(
        f"FROM bb:1 AS one\nRUN {mount} touch /c/one; sleep 0.5; ls /c > /list\n"
        f"FROM bb:1 AS two\nRUN {mount} touch /c/two; sleep 0.5; ls /c > /list\n"
        "FROM bb:1\nCOPY --from=one /list /one\nCOPY --from=two /list /two\n"
    )

    assert built.sh("cat /one /two").split() == ["one", "two"]


def test_locked_caches_are_used_one_after_the_other(build: Builder) -> None:
    mount = "--mount=type=cache,id=one-by-one,sharing=locked,target=/c"
    step = "mkdir /c/busy && sleep 0.3 && rmdir /c/busy"
    built = build(
        f"FROM bb:1 AS one\nRUN {mount} {step}\n"
        f"FROM bb:1 AS two\nRUN {mount} {step} && true\n"
        "FROM bb:1\nCOPY --from=one /etc/passwd /1\nCOPY --from=two /etc/passwd /2\n"
    )

    assert built.image.id


def test_what_is_made_for_a_mount_does_not_stay_in_the_layer(build: Builder) -> None:
    built = build(
        "FROM bb:1\n"
        "RUN --mount=type=tmpfs,target=/a/b/c --mount=type=secret,id=s true\n"
        "RUN mkdir -m 0700 /kept\n"
        "RUN --mount=type=tmpfs,target=/kept chmod 0750 / && true\n"
        "RUN --mount=type=tmpfs,target=/kept/in chmod 0711 /kept\n",
        secrets={"s": "1"},
    )

    assert "a" not in built.sh("ls /").split()
    assert built.stat("/kept") == ["711 0:0"]
    assert built.sh("ls /kept") == ""


def test_commands_reach_for_the_host_only_where_that_is_allowed(build: Builder) -> None:
    insecure = "FROM bb:1\nRUN --security=insecure dmesg > /dev/null; unshare -m true\n"
    network = "FROM bb:1\nRUN --network=host ip link > /links\n"

    assert "--security=insecure is not allowed" in str(build.fails(insecure))
    assert "--network=host is not allowed" in str(build.fails(network))
    build(insecure, insecure=True)
    assert build(network, insecure=True).sh("wc -l < /links").strip() != "2"


def test_a_command_can_do_without_a_network(build: Builder) -> None:
    built = build("FROM bb:1\nRUN --network=none ip link | wc -l > /links\n", network="host")

    assert built.sh("cat /links").strip() == "2"
