"""Lists, logs and files: what the command line prints about containers and images."""

from __future__ import annotations

import json
import subprocess
import tarfile
import time
from io import BytesIO
from pathlib import Path

from tests.cli.conftest import IMAGE, Cli


def test_ps(cli: Cli) -> None:
    assert cli.out("ps") == "CONTAINER ID   IMAGE   COMMAND   CREATED   STATUS   PORTS   NAMES"
    identity = cli.out("run", "-d", "--name", "web", "-l", "a=b", IMAGE, "sleep", "60")
    cli("create", IMAGE, "true")

    row = json.loads(cli.out("ps", "--format", "json"))
    assert row["ID"] == identity[:12]
    assert (row["Image"], row["Names"], row["State"]) == (IMAGE, "web", "running")
    assert (row["Command"], row["Labels"]) == ('"sleep 60"', "a=b")
    assert row["Status"].startswith("Up ")
    assert len(cli.out("ps", "-a").splitlines()) == 3
    assert cli.out("ps", "-a", "-f", "status=created", "--format", "{{.Status}}") == "Created"
    assert cli.out("container", "ls", "-q", "-f", "label=a") == identity[:12]
    assert cli.out("ps", "-f", "label=c", "-q") == ""
    assert "there is no" in cli("ps", "--format", "{{.Colour}}", code=1).stderr
    assert "none of" in cli("ps", "-f", "colour=red", code=1).stderr


def test_a_name_can_not_move_the_cursor(cli: Cli) -> None:
    cli("create", IMAGE, "echo", "\x1b[2J")
    assert "\\x1b[2J" in cli.out("ps", "-a")


def test_logs(cli: Cli) -> None:
    script = "echo one; echo two >&2; sleep 0.3; echo three"
    cli("run", "--name", "one", IMAGE, "sh", "-c", script)
    done = cli("logs", "one")
    assert (done.stdout, done.stderr) == ("one\nthree\n", "two\n")
    done = cli("logs", "--tail", "2", "one")
    assert (done.stdout, done.stderr) == ("three\n", "two\n")
    assert cli.out("logs", "--tail", "0", "one") == ""
    assert cli.out("logs", "-t", "one").split("\n")[0].endswith("Z one")
    assert cli.out("logs", "--until", "1h", "one") == ""
    assert cli.out("logs", "--since", "1h", "one") == "one\nthree"
    assert cli("logs", "--tail", "x", "one", code=1).stdout == ""


def test_logs_are_followed_to_the_end(cli: Cli) -> None:
    script = "for i in 1 2 3; do echo $i; echo e$i >&2; sleep 0.3; done"
    cli("run", "-d", "--name", "one", IMAGE, "sh", "-c", script)
    done = cli("logs", "-f", "one")
    assert (done.stdout, done.stderr) == ("1\n2\n3\n", "e1\ne2\ne3\n")


def test_one_stream_keeps_the_order(cli: Cli) -> None:
    script = "for i in 1 2 3; do echo $i; sleep 0.05; echo e$i >&2; sleep 0.05; done"
    cli("run", "--name", "one", IMAGE, "sh", "-c", script)
    out = subprocess.run(
        cli.argv("logs", "-f", "one"),
        env=cli.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
    ).stdout
    assert out.split() == [b"1", b"e1", b"2", b"e2", b"3", b"e3"]


def test_stats_and_top(cli: Cli) -> None:
    cli("run", "-d", "--name", "one", "-m", "64m", IMAGE, "sleep", "60")
    row = json.loads(cli.out("stats", "--no-stream", "--format", "json"))
    assert row["Name"] == "one"
    assert row["MemUsage"].endswith(" / 64MiB")
    assert row["CPUPerc"].endswith("%")
    row = json.loads(cli.out("top", "one", "--format", "json"))
    assert (row["pid"], row["command"]) == (1, "sleep 60")
    assert "sleep 60" in cli.out("top", "one")


def test_stats_go_on_until_the_container_ends(cli: Cli) -> None:
    cli("run", "-d", "--name", "one", IMAGE, "sleep", "4")
    lines = cli.out("stats", "--format", "{{.Name}} {{.PIDs}}", "one").splitlines()
    assert lines[0] == "one 1"
    assert lines[-1] == "one --"


def test_the_course_of_a_container(cli: Cli) -> None:
    cli("run", "-d", "--name", "one", IMAGE, "sleep", "60")
    status = ("inspect", "-f", "{{.status}}")
    assert cli.out("pause", "one") == "one"
    assert "Paused" in cli.out("ps")
    cli("unpause", "one")
    cli("rename", "one", "two")
    cli("update", "-m", "80m", "two")
    assert json.loads(cli.out("inspect", "two"))[0]["options"]["memory"] == 80 << 20
    cli("restart", "-t", "0", "two")
    assert cli.out(*status, "two") == "running"
    assert "running" in cli("rm", "two", code=1).stderr
    cli("stop", "-t", "0", "two")
    assert cli.out("wait", "two") == "137"
    done = cli("rm", "none", "two", code=1)
    assert (done.stdout, "'none'" in done.stderr) == ("two\n", True)
    cli("rm", "-f", "two")
    assert "not" in cli("update", "two", code=1).stderr


def test_kill_sends_any_signal(cli: Cli) -> None:
    script = "trap 'exit 8' USR1; echo ready; while :; do sleep 0.1; done"
    cli("run", "-d", "--name", "one", IMAGE, "sh", "-c", script)
    while cli.out("logs", "one") != "ready":
        time.sleep(0.1)
    cli("kill", "-s", "USR1", "one")
    assert cli.out("wait", "one") == "8"


def test_cp(cli: Cli, tmp_path: Path) -> None:
    cli("run", "-d", "--name", "one", IMAGE, "sleep", "60")
    (tmp_path / "in").write_text("content")
    cli("cp", str(tmp_path / "in"), "one:/tmp/copied")
    assert cli.out("exec", "one", "cat", "/tmp/copied") == "content"
    cli("cp", "one:/tmp/copied", str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "content"
    assert cli.out("diff", "one") == "C /tmp\nA /tmp/copied"

    tar = subprocess.run(
        cli.argv("cp", "one:/tmp/copied", "-"), env=cli.env, capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=BytesIO(tar)) as archive:
        assert archive.getnames() == ["copied"]
    cli("exec", "one", "mkdir", "/tmp/d")
    subprocess.run(cli.argv("cp", "-", "one:/tmp/d"), env=cli.env, input=tar, check=True)
    assert cli.out("exec", "one", "cat", "/tmp/d/copied") == "content"
    assert "no container" in cli("cp", "a", "b", code=1).stderr
    assert "No such file" in cli("cp", "one:/none", str(tmp_path), code=1).stderr


def test_images(cli: Cli, tmp_path: Path) -> None:
    row = json.loads(cli.out("images", "--format", "json", IMAGE))
    assert (row["Repository"], row["Tag"]) == ("busybox", "test")
    cli("run", "--name", "one", IMAGE, "sh", "-c", "echo new > /new")
    made = cli.out("commit", "-m", "why", "-c", 'CMD ["cat", "/new"]', "one", "app:1")
    assert cli.out("run", "--rm", "app:1") == "new"
    assert cli.out("image", "inspect", "-f", "{{json .cmd}}", "app:1") == '["cat", "/new"]'
    assert "why" in cli.out("history", "app:1")

    cli("tag", "app:1", "app:2")
    assert cli.out("rmi", "app:2") == "Untagged: app:2"
    cli("save", "-o", str(tmp_path / "app.tar"), "app:1")
    assert cli.out("rmi", "app:1") == f"Deleted: {made}"
    assert "no image" in cli("rmi", "app:1", code=1).stderr
    assert cli.out("load", "-i", str(tmp_path / "app.tar")) == "Loaded image: app:1"
    assert cli.out("images", "-q", "app") == made.removeprefix("sha256:")[:12]
    cli("rmi", "app:1")
    cli("export", "-o", str(tmp_path / "all.tar"), "one")
    with tarfile.open(tmp_path / "all.tar") as archive:
        assert "new" in {Path(name).name for name in archive.getnames()}


def test_prune(cli: Cli) -> None:
    dead = cli.out("create", IMAGE, "true")
    alive = cli.out("run", "-d", IMAGE, "sleep", "60")
    done = cli("system", "prune", input="n\n", code=1)
    assert "Are you sure" in done.stdout
    out = cli.out("system", "prune", "-f")
    assert dead in out
    assert "reclaimed" in out
    assert cli.out("ps", "-aq", "--no-trunc") == alive
    rows = [json.loads(line) for line in cli.out("system", "df", "--format", "json").splitlines()]
    assert [(row["Type"], row["Active"]) for row in rows] == [
        ("Images", "1"), ("Containers", "1"), ("Local Volumes", "0"), ("Build Cache", "0"),
    ]  # fmt: skip
    cli("kill", alive)
    assert cli.out("container", "prune", "-f") == alive


def test_events(cli: Cli) -> None:
    begun = str(time.time())
    cli("run", "--name", "one", IMAGE, "true")
    words = ("events", "--since", begun, "--until", str(time.time()), "--format")
    events = [json.loads(line) for line in cli.out(*words, "json").splitlines()]
    actions = [event["Action"] for event in events]
    assert [a for a in actions if a in ("create", "start", "die")] == ["create", "start", "die"]
    assert events[0]["Actor"]["Attributes"]["name"] == "one"
    assert cli.out(*words, "{{.Type}}", "-f", "event=die") == "container"


def test_events_of_networks_and_volumes(cli: Cli) -> None:
    begun = str(time.time())
    network = cli.out("network", "create", "back")
    cli("run", "--rm", "--network", "back", "-v", "data:/data", IMAGE, "true")
    cli("network", "rm", "back")
    cli("volume", "rm", "data")

    words = ("events", "--since", begun, "--until", str(time.time()), "-f")
    shown = cli.out(*words, "network=back", "--format", "{{.Action}} {{.ID}}").splitlines()
    assert shown == [f"{a} {network}" for a in ("create", "connect", "disconnect", "destroy")]
    shown = cli.out(*words, "type=volume").splitlines()
    assert [line.partition("volume ")[2].partition(" (")[0] for line in shown] == [
        f"{action} data" for action in ("create", "mount", "unmount", "destroy")
    ]


def test_version_and_info(cli: Cli) -> None:
    assert json.loads(cli.out("version", "--format", "json"))["Root"] == str(cli.root)
    assert "container" in cli.out("info")


def test_a_data_root_of_choice(cli: Cli, tmp_path: Path) -> None:
    cli("create", "--name", "here", IMAGE, "true")
    assert cli.out("--root", str(tmp_path / "other"), "ps", "-aq") == ""
    done = cli("--root", "/proc/nowhere", "ps", code=1)
    assert done.stderr.startswith("pycontainers: cannot make the data root")
