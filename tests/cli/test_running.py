"""run, create, start, attach and exec through pipes: streams, signals and exit codes."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.conftest import IMAGE, Cli


def test_run_passes_streams_and_the_exit_code(cli: Cli) -> None:
    done = cli("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3", code=3)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert cli.out("ps", "-aq") == ""


def test_run_without_rm_keeps_the_container(cli: Cli) -> None:
    cli("run", "--name", "kept", IMAGE, "sh", "-c", "echo hi; exit 2", code=2)
    assert cli.out("logs", "kept") == "hi"
    assert cli.out("ps", "-a", "--format", "{{.Names}} {{.State}}") == "kept exited"


def test_the_host_is_an_image(cli: Cli) -> None:
    assert cli.out("run", "--rm", "host", "python3", "-c", "print(6 * 7)") == "42"


@pytest.mark.parametrize(
    ("words", "code"),
    [(["nowhere"], 127), (["/etc/passwd"], 126), (["sh", "-c", "kill -9 $$"], 137)],
)
def test_exit_codes(cli: Cli, words: list[str], code: int) -> None:
    if words[0] == "sh":
        words = ["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]
    done = cli("run", "--rm", IMAGE, *words, code=code)
    assert code == 137 or done.stderr.startswith("pycontainers: ")
    assert cli.out("ps", "-aq") == ""


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-v", "/nowhere/at/all:/x"], "does not exist"),
        (["--mount", "type=nfs,dst=/x"], "no type"),
        (["--memory", "lots"], "no size"),
        (["--no-such-flag"], "unrecognized arguments"),
        (["--log-opt", "colour=red"], "max-size"),
        (["--security-opt", "apparmor=x"], "seccomp"),
        (["-e", "=1"], "env"),
        (["--stop-timeout", "soon"], "duration"),
    ],
)
def test_flags_that_can_not_be_used(cli: Cli, words: list[str], text: str) -> None:
    assert text in cli("run", "--rm", *words, IMAGE, "true", code=125).stderr


def test_input_is_streamed_and_closed(cli: Cli) -> None:
    data = "x" * 300_000
    assert cli.out("run", "--rm", "-i", IMAGE, "cat", input=data) == data
    assert cli.out("run", "--rm", IMAGE, "cat", input="unasked for") == ""


def test_flags_reach_the_container(cli: Cli, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "file").write_text("bound")
    (tmp_path / "vars").write_text("# no variable\nB=2\nPYCONTAINERS_ROOT\n")
    script = "echo $A $B $PYCONTAINERS_ROOT; hostname; id -u; pwd; cat /data/file; ulimit -n"
    script += "; touch /data/x 2>/dev/null || echo read-only; touch /t/x && echo tmpfs"
    script += "; cat /dev/shm/x 2>/dev/null; touch /x 2>/dev/null || echo fixed"
    done = cli(
        *("run", "--rm", "-e", "A=a b", "--env-file", str(tmp_path / "vars"), "-h", "box"),
        *("-u", "app", "-w", "/home/app", "-v", f"{tmp_path}:/data:ro", "--ulimit", "nofile=99"),
        *("--tmpfs", "/t:size=1m", "--read-only", "-m", "64m", "--cpus", "1", "-l", "k=v"),
        *("--cap-drop", "CHOWN", "--security-opt", "no-new-privileges", "--pids-limit", "20"),
        *("--health-cmd", "true", "--health-interval", "1m30s", "--log-opt", "max-size=1m"),
        *("--entrypoint", "sh", IMAGE, "-c", script),
    )
    assert done.stdout.split("\n") == [
        *(f"a b 2 {cli.root}", "box", "1000", "/home/app", "bound99", "read-only", "tmpfs"),
        *("fixed", ""),
    ]


def test_further_flags_reach_the_container(cli: Cli) -> None:
    cli("run", "--name", "lender", "-v", "data:/data", IMAGE, "touch", "/data/kept")
    script = (
        "id -G; cat /proc/self/oom_score_adj /proc/sys/kernel/domainname; hostname -f; "
        "grep 'search\\|options' /etc/resolv.conf; ls /data; touch /data/x || echo read-only"
    )
    done = cli(
        *("run", "--network", "bridge", "--group-add", "extra", "--group-add", "7"),
        *("--oom-score-adj", "300", "-h", "web", "--domainname", "shop.example"),
        *("--dns-search", "shop.example", "--dns-option", "ndots:2", "--volumes-from", "lender:ro"),
        *("--memory-reservation", "32m", "--name", "flagged", IMAGE, "sh", "-c", script),
    )
    assert done.stdout.splitlines() == [
        "0 7 2000", "300", "shop.example", "web.shop.example", "search shop.example",
        "options ndots:2", "kept", "read-only",
    ]  # fmt: skip
    asked = "{{.options.memory_reservation}}"
    assert cli.out("inspect", "-f", asked, "flagged") == str(32 << 20)
    cli("update", "--memory-reservation", "16m", "flagged")
    assert cli.out("inspect", "-f", asked, "flagged") == str(16 << 20)
    cli("rm", "flagged", "lender")
    cli("volume", "rm", "data")


def test_run_detached(cli: Cli) -> None:
    identity = cli.out("run", "-d", "--name", "web", IMAGE, "sleep", "60")
    assert len(identity) == 64
    assert cli.out("ps", "-q") == identity[:12]
    assert cli.out("ps", "-q", "--no-trunc") == identity
    assert "in use" in cli("run", "--name", "web", IMAGE, "true", code=125).stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_passed_on(cli: Cli, number: signal.Signals) -> None:
    script = "trap 'echo got it; exit 5' INT TERM; echo ready; while :; do sleep 0.1; done"
    process = cli.start("run", "--rm", IMAGE, "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (5, b"got it\n")


def test_a_deaf_program_is_left_after_three_signals(cli: Cli) -> None:
    process = cli.start("run", "--name", "deaf", IMAGE, "sh", "-c", "echo ready; sleep 60")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert b"pycontainers kill" in err
    assert cli.out("inspect", "-f", "{{.status}}", "deaf") == "running"


def test_a_reader_that_has_left_ends_the_command(cli: Cli) -> None:
    process = cli.start("run", "--name", "loud", IMAGE, "yes")
    assert process.stdout is not None
    process.stdout.read(1)
    process.stdout.close()
    assert process.wait(timeout=20) == 141
    process.stdout = None
    process.communicate()


def test_create_start_and_attach(cli: Cli) -> None:
    script = "read line; echo got $line; exit 6"
    cli("create", "-i", "--name", "one", IMAGE, "sh", "-c", script)
    assert cli.out("inspect", "-f", "{{.status}}", "one") == "created"
    assert "created" in cli("attach", "one", code=1).stderr

    assert cli("start", "-ai", "one", input="this\n", code=6).stdout == "got this\n"
    assert cli.out("start", "one") == "one"
    assert cli("attach", "one", input="that\n", code=6).stdout == "got that\n"
    assert cli.out("wait", "one") == "6"


def test_exec(cli: Cli) -> None:
    cli("run", "-d", "--name", "one", IMAGE, "sleep", "60")
    done = cli("exec", "one", "sh", "-c", "echo out; echo err >&2; exit 3", code=3)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    assert cli.out("exec", "-i", "one", "cat", input="in") == "in"
    words = ("exec", "-e", "A=1", "-u", "app", "-w", "/tmp", "one", "sh", "-c")
    assert cli.out(*words, "echo $A $(id -u) $(pwd)") == "1 1000 /tmp"
    cli("exec", "one", "nowhere", code=127)
    cli("exec", "one", "/etc/passwd", code=126)
    assert "no container" in cli("exec", "two", "true", code=1).stderr


def test_exec_detached_outlives_the_command(cli: Cli) -> None:
    cli("run", "-d", "--name", "one", IMAGE, "sleep", "60")
    cli("exec", "-d", "one", "sh", "-c", "sleep 0.5; echo x > /tmp/done")
    deadline = time.monotonic() + 10
    while cli("exec", "one", "cat", "/tmp/done", code=None).stdout != "x\n":
        assert time.monotonic() < deadline


def test_exec_that_leaves_a_child_behind_ends(cli: Cli) -> None:
    cli("run", "-d", "--name", "one", IMAGE, "sleep", "60")
    assert cli.out("exec", "one", "sh", "-c", "sleep 30 & echo started") == "started"


def test_an_interrupted_exec_dies(cli: Cli) -> None:
    cli("run", "-d", "--name", "one", IMAGE, "sleep", "60")
    process = cli.start("exec", "one", "sh", "-c", "echo ready; exec sleep 77")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert "sleep 77" not in cli.out("top", "one")


def test_the_package_can_be_asked_for_help(cli: Cli) -> None:
    assert "--hostname" in cli.out("run", "--help")
    assert "system" in cli.out("-h")
    assert cli.out("--version").startswith("pycontainers ")
    assert cli("nonsense", code=125).stdout == ""


def test_importing_it_is_cheap(cli: Cli) -> None:
    script = "import sys, pycontainers.cli.main; print('attrs' in sys.modules)"
    argv = [cli.argv()[0], "-c", script]
    assert subprocess.run(argv, capture_output=True, check=True).stdout == b"False\n"
