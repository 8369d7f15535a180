"""What `run` promises: streams, ends, limits, options, and what is refused."""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path
from typing import Any

import pytest

import pycontainers as pc


def sh(image: pc.Image, engine: pc.Engine, script: str, **options: Any) -> str:
    result = pc.run(["sh", "-c", script], image=image, engine=engine, **options)
    assert result.exit_code == 0, result.stderr
    return str(result.stdout).strip()


def test_streams_and_exit_code_are_given(image: pc.Image, engine: pc.Engine) -> None:
    result = pc.run(
        ["sh", "-c", "cat; echo oops >&2; exit 3"], input="data", image=image, engine=engine
    )

    assert (result.stdout, result.stderr, result.exit_code) == ("data", "oops\n", 3)
    assert result.reason == "exited"
    assert not result.ok
    assert result.usage.wall > 0
    assert result.usage.memory_peak


def test_bytes_stay_bytes_and_bad_text_is_replaced(image: pc.Image, engine: pc.Engine) -> None:
    raw = pc.run(["cat"], input=b"\xff\x00", text=False, image=image, engine=engine)
    text = pc.run(["cat"], input=b"\xff!", image=image, engine=engine)

    assert raw.stdout == b"\xff\x00"
    assert text.stdout == "\ufffd!"


def test_joined_streams_keep_their_order(image: pc.Image, engine: pc.Engine) -> None:
    script = "for i in 1 2 3; do echo out$i; echo err$i >&2; done"

    result = pc.run(["sh", "-c", script], stderr=pc.STDOUT, image=image, engine=engine)

    assert result.stdout.split() == ["out1", "err1", "out2", "err2", "out3", "err3"]


def test_a_megabyte_goes_in_and_comes_out(image: pc.Image, engine: pc.Engine) -> None:
    data = os.urandom(1 << 20)

    result = pc.run(["cat"], input=data, text=False, image=image, engine=engine)

    assert result.stdout == data


def test_a_timeout_keeps_the_output_until_then(image: pc.Image, engine: pc.Engine) -> None:
    result = pc.run(["sh", "-c", "echo begun; sleep 60"], timeout=0.5, image=image, engine=engine)

    assert (result.reason, result.stdout, result.exit_code) == ("timeout", "begun\n", 137)


def test_a_signal_is_told(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(image, ["sleep", "60"], engine=engine) as container:
        container.kill("KILL")

        assert container.wait(timeout=10) == 137
        assert container.result.reason == "signal"


def test_check_raises_with_the_result(image: pc.Image, engine: pc.Engine) -> None:
    with pytest.raises(pc.CommandFailed, match="exited with 4") as caught:
        pc.run(["sh", "-c", "echo why >&2; exit 4"], check=True, image=image, engine=engine)

    assert caught.value.result.stderr == "why\n"


def test_memory_beyond_the_limit_is_told_as_oom(image: pc.Image, engine: pc.Engine) -> None:
    result = pc.run(
        ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"],
        memory="32m",
        image=image,
        engine=engine,
    )

    assert (result.reason, result.exit_code) == ("oom", 137)


def test_a_fork_bomb_is_held_and_ends(image: pc.Image, engine: pc.Engine) -> None:
    result = pc.run(
        ["sh", "-c", "b() { b | b & }; b; sleep 5"], pids=30, timeout=2, image=image, engine=engine
    )

    assert result.usage.pids_peak is None or result.usage.pids_peak <= 30


def test_an_output_flood_is_bounded(image: pc.Image, engine: pc.Engine) -> None:
    result = pc.run(
        ["sh", "-c", "yes | head -c 5000000"], output_limit=10_000, image=image, engine=engine
    )

    assert result.truncated
    assert len(result.stdout) == 10_000
    assert result.exit_code == 0


def test_options_reach_the_program(image: pc.Image, engine: pc.Engine, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from the host")

    assert sh(image, engine, "echo $A $HOME", env={"A": "1"}) == "1 /root"
    assert sh(image, engine, "pwd", workdir="/made/here") == "/made/here"
    assert sh(image, engine, "hostname", hostname="box") == "box"
    assert (
        sh(image, engine, "id", user="app")
        == "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)"
    )
    assert sh(image, engine, "id -u; id -g", user="5:6") == "5\n6"
    assert sh(image, engine, "ulimit -n", ulimits={"nofile": 100}) == "100"
    assert (
        sh(image, engine, "cat /in", mounts=[pc.Mount.bind(tmp_path / "in", "/in")])
        == "from the host"
    )
    assert "size=1024k" in sh(image, engine, "grep /scratch /proc/mounts", tmpfs={"/scratch": "1m"})
    assert (
        sh(image, engine, "cat /proc/sys/net/core/somaxconn", sysctls={"net.core.somaxconn": "7"})
        == "7"
    )
    assert sh(image, engine, "nproc", cpuset="0") == "1"
    assert sh(
        image, engine, "cat /sys/fs/cgroup/memory/memory.limit_in_bytes", memory="64m"
    ) == str(64 << 20)
    assert "refused" in sh(image, engine, "touch /x 2>/dev/null || echo refused", read_only=True)
    assert sh(image, engine, "echo $$; sleep 0 & wait; echo done", init=True).endswith("done")


def test_limits_hold_from_the_first_instruction_on(image: pc.Image, engine: pc.Engine) -> None:
    for _ in range(30):
        assert sh(image, engine, "ulimit -n", ulimits={"nofile": 100}) == "100"


def test_what_root_writes_belongs_to_root_on_the_host(
    image: pc.Image, engine: pc.Engine, tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    mounts = [pc.Mount.bind(tmp_path, "/out")]

    sh(image, engine, "touch /out/root", mounts=mounts)
    sh(image, engine, "touch /out/app", mounts=mounts, user="app")

    assert (tmp_path / "root").stat().st_uid == 0
    assert (tmp_path / "app").stat().st_uid == 1000


def test_changes_are_gone_afterwards(image: pc.Image, engine: pc.Engine) -> None:
    sh(image, engine, "echo x > /marker")

    assert sh(image, engine, "ls /marker 2>/dev/null || echo gone") == "gone"
    assert sh(image, engine, "echo x > /marker; cat /marker", ephemeral=False) == "x"


def test_a_terminal_is_a_terminal(image: pc.Image, engine: pc.Engine) -> None:
    result = pc.run(["sh", "-c", "tty; stty size"], tty=True, image=image, engine=engine)

    assert result.stdout == "/dev/pts/0\r\n24 80\r\n"


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (["nowhere"], pc.CommandNotFound),
        (["/bin"], pc.PermissionDenied),
        (["/etc/passwd"], pc.PermissionDenied),
        (["/proc/self/exe"], pc.PermissionDenied),
        (["/foreign"], pc.BadExecutable),
    ],
)
def test_what_cant_be_executed_is_a_typed_error(
    command: list[str],
    kind: type[pc.LaunchError],
    busybox: Path,
    image: pc.Image,
    engine: pc.Engine,
) -> None:
    foreign = busybox / "foreign"
    foreign.write_bytes(
        b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 2, 0xF3, 1) + bytes(200)
    )
    foreign.chmod(0o755)

    with pytest.raises(kind):
        pc.run(command, image=image, engine=engine)

    assert pc.Container.list(all=True, engine=engine) == []


@pytest.mark.parametrize(
    "options",
    [
        {"memory": "much"},
        {"memory": 1},
        {"memory": -1},
        {"cpus": 0},
        {"cpus": float("nan")},
        {"pids": 0},
        {"timeout": -1},
        {"name": "a/b"},
        {"name": "a\n"},
        {"env": {"A": "a\0b"}},
        {"env": {"A=B": "c"}},
        {"env": ["novalue"]},
        {"workdir": "relative"},
        {"user": "a\nb"},
        {"hostname": "-"},
        {"network": ["host", "bridge"]},
        {"ulimits": {"nofile": (20, 10)}},
        {"ulimits": {"nothing": 1}},
        {"sysctls": {"kernel.hostname": "x"}},
        {"cap_add": ["NOTHING"]},
        {"seccomp": "/nowhere.json"},
        {"tmpfs": {"/proc/x": None}},
        {"userns": "maybe"},
        {"read_only": 1},
        {"cpuset": "a-b"},
    ],
)
def test_bad_values_are_refused_before_anything_is_made(
    options: dict[str, object], image: pc.Image, engine: pc.Engine
) -> None:
    with pytest.raises(pc.InvalidArgument):
        pc.run(["true"], image=image, engine=engine, **options)  # type: ignore[call-overload]

    assert pc.Container.list(all=True, engine=engine) == []


def test_an_unknown_option_is_refused(image: pc.Image, engine: pc.Engine) -> None:
    with pytest.raises(TypeError, match="colour"):
        pc.run(["true"], image=image, engine=engine, colour="red")  # type: ignore[call-overload]


def test_threads_get_their_own_output(image: pc.Image, engine: pc.Engine) -> None:
    wrong: list[str] = []

    def work(number: int) -> None:
        for turn in range(10):
            result = pc.run(["echo", f"{number}.{turn}"], image=image, engine=engine)
            if result.stdout != f"{number}.{turn}\n":
                wrong.append(result.stdout)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
