"""Builds at the command line, with Docker's words."""

from __future__ import annotations

import json
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.build.gitserver import Repository, serving
from tests.cli.conftest import IMAGE, Cli, Screen

TEXT = f"FROM {IMAGE}\nARG WHO=nobody\nCOPY file /file\nRUN echo $WHO > /who\n"


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A directory with a Dockerfile and a file."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "file").write_text("content\n")
    (folder / "Dockerfile").write_text(TEXT)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _nothing_stays(filled: Cli) -> Iterator[None]:
    yield
    base = filled.out("image", "inspect", "-f", "{{.id}}", IMAGE)
    for identity in {*filled.out("images", "-q", "--no-trunc").split()} - {base}:
        filled("rmi", "-f", identity)
    filled("builder", "prune", "-a", "-f")


def build(cli: Cli, *words: str, input: str | None = None) -> str:
    return cli.out("build", "--network", "none", *words, input=input)


def shown(cli: Cli, image: str, path: str) -> str:
    return cli.out("run", "--rm", image, "cat", path)


def test_a_directory_becomes_an_image(cli: Cli, context: Path) -> None:
    made = build(
        cli, "-q", "-t", "one", "--tag", "two:1", "--build-arg", "WHO=me", "--label", "a=b",
        str(context),
    )  # fmt: skip

    assert made.startswith("sha256:")
    assert cli.out("image", "inspect", "-f", "{{json .tags}}", made) == '["one:latest", "two:1"]'
    assert cli.out("image", "inspect", "-f", "{{.labels.a}}", made) == "b"
    assert shown(cli, "one", "/file") == "content"
    assert shown(cli, "one", "/who") == "me"


def test_a_build_argument_without_a_value_is_the_shells(cli: Cli, context: Path) -> None:
    cli.env["WHO"] = "shell"
    try:
        made = build(cli, "-q", "--build-arg", "WHO", "--build-arg", "OTHER", str(context))
    finally:
        del cli.env["WHO"]

    assert shown(cli, made, "/who") == "shell"


def test_a_dockerfile_is_named_as_seen_from_the_shell(
    cli: Cli, context: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").write_text(f"FROM {IMAGE}\nCOPY . /all\n")
    (tmp_path / "other.dockerignore").write_text("file\n")
    monkeypatch.chdir(tmp_path)
    cli.env["PYTHONPATH"] = str(Path(__file__).parents[2])

    made = build(cli, "-q", "-f", "other", "context")

    assert cli.out("run", "--rm", made, "ls", "/all") == "Dockerfile"


def test_a_dockerfile_can_be_read_from_standard_input(cli: Cli, context: Path) -> None:
    text = f"FROM {IMAGE}\nCOPY file /read\n"

    made = build(cli, "-q", "-f", "-", str(context), input=text)

    assert shown(cli, made, "/read") == "content"
    assert cli("build", "-f", "-", "-", code=1, input=text).stderr.count("both") == 1


def test_a_context_can_be_read_from_standard_input(cli: Cli, context: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "context.tar", "w") as archive:
        archive.add(context / "file", "file")
        archive.add(context / "Dockerfile", "sub/Other")

    alone = build(cli, "-q", "-", input=f"FROM {IMAGE}\nRUN echo alone > /how\n")
    with (tmp_path / "context.tar").open("rb") as stream:
        started = cli.start("build", "-q", "--network", "none", "-f", "sub/Other", "-")
        out, _ = started.communicate(stream.read(), timeout=60)

    assert shown(cli, alone, "/how") == "alone"
    assert shown(cli, out.decode().strip(), "/file") == "content"


def test_a_context_is_fetched_from_a_url(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    repository = Repository(tmp_path / "served", "one")
    repository.commit({"d/file": "fetched\n", "d/Other": f"FROM {IMAGE}\nCOPY file /file\n"})
    text = f"FROM {IMAGE}\nCOPY d/file /read\n"

    with serving(tmp_path / "served") as server:
        url = f"{server.url}/one.git"
        made = build(cli, "-q", "-f", "Other", f"{url}#main:d")
        read = build(cli, "-q", "-f", "-", url, input=text)
        failed = cli("build", f"{server.url}/none.git", code=1).stderr

    assert shown(cli, made, "/file") == "fetched"
    assert shown(cli, read, "/read") == "fetched"
    assert "not found" in failed


def test_further_contexts_are_named(cli: Cli, context: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more/other").write_text("more\n")
    (context / "Dockerfile").write_text("FROM base\nCOPY --from=more other /other\n")
    base = f"base=docker-image://{IMAGE}"

    made = build(
        cli, "-q", "--build-context", base, "--build-context", f"more={tmp_path}/more", str(context)
    )

    assert shown(cli, made, "/other") == "more"
    assert "NAME=VALUE" in cli("build", "--build-context", "x", str(context), code=1).stderr


def test_a_target_is_built_and_no_more(cli: Cli, context: Path) -> None:
    (context / "Dockerfile").write_text(
        f"FROM {IMAGE} AS first\nRUN echo 1 > /n\nFROM {IMAGE} AS second\nRUN exit 3\n"
    )

    made = build(cli, "-q", "--target", "first", str(context))

    assert shown(cli, made, "/n") == "1"


def test_lines_tell_what_goes_on_unless_asked_not_to(cli: Cli, context: Path) -> None:
    words = ("build", "--network", "none", str(context))
    first, again = cli(*words), cli(*words)
    anew = cli(*words, "--no-cache", "--progress", "plain")
    silent = [cli(*words, *flags) for flags in (("-q",), ("--progress", "none"))]

    assert "[stage-0 3/3] RUN echo $WHO > /who" in first.stderr
    assert "CACHED" in again.stderr.partition("RUN")[2]
    assert "CACHED" not in anew.stderr.partition("RUN")[2]
    assert [one.stderr for one in silent] == ["", ""]
    assert {one.stdout.count("sha256:") for one in (first, again, anew, *silent)} == {1}


def test_warnings_are_printed(cli: Cli, context: Path) -> None:
    (context / "Dockerfile").write_text(f"FROM {IMAGE}\nCMD true\n")

    assert "WARNING JSONArgsRecommended: " in cli("build", str(context)).stderr


def test_a_failure_shows_the_line_and_the_output(cli: Cli, context: Path) -> None:
    (context / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo because >&2; exit 3\n")

    done = cli("build", "--network", "none", "-q", str(context), code=1)

    assert done.stdout == ""
    assert "Dockerfile:2: the command ended with exit code 3" in done.stderr
    assert "because" in done.stderr


def test_a_build_in_a_terminal_is_drawn(cli: Cli, context: Path, screens: list[Screen]) -> None:
    (context / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo a''b; sleep 0.4\n")

    screen = Screen(cli, "build", "--network", "none", str(context), size=(24, 100))
    screens.append(screen)
    screen.wait_for(b"   ab")
    screen.wait_for(b"built: 3 steps, 1 cached")

    assert screen.end() == 0


def test_ctrl_c_ends_a_build(cli: Cli, context: Path, screens: list[Screen]) -> None:
    (context / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN echo a''b; sleep 60\n")

    screen = Screen(cli, "build", "--network", "none", str(context), size=(24, 100))
    screens.append(screen)
    screen.wait_for(b"   ab")
    screen.type(b"\x03")

    assert screen.end() == 130


def test_secrets_come_from_files_and_variables(cli: Cli, context: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from a file")
    cli.env |= {"TOKEN": "from a variable", "named": "by its id"}
    (context / "Dockerfile").write_text(
        f"FROM {IMAGE}\n"
        "RUN --mount=type=secret,id=key --mount=type=secret,id=var --mount=type=secret,id=named "
        "cat /run/secrets/*\n"
    )

    told = cli(
        "build", "--network", "none", "--secret", f"id=key,src={tmp_path}/key",
        "--secret", "id=var,env=TOKEN", "--secret", "id=named", str(context),
    ).stderr  # fmt: skip

    assert "from a file" + "by its id" + "from a variable" in told


def test_an_agents_socket_is_given(cli: Cli, context: Path, tmp_path: Path) -> None:
    (context / "Dockerfile").write_text(
        f"FROM {IMAGE}\nRUN --mount=type=ssh,required test -S $SSH_AUTH_SOCK\n"
        "RUN --mount=type=ssh,id=other,required test -S $SSH_AUTH_SOCK\n"
    )
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(f"{tmp_path}/agent")
        agent.listen()
        cli.env["SSH_AUTH_SOCK"] = f"{tmp_path}/agent"

        made = build(cli, "-q", "--ssh", "default", "--ssh", f"other={tmp_path}/agent",
                     str(context))  # fmt: skip

    assert made.startswith("sha256:")
    del cli.env["SSH_AUTH_SOCK"]
    assert "no socket" in cli("build", "--ssh", "default", str(context), code=1).stderr


def test_rights_are_given_by_name(cli: Cli, context: Path) -> None:
    (context / "Dockerfile").write_text(
        f"FROM {IMAGE}\nRUN --security=insecure mount -t tmpfs none /tmp\n"
    )

    assert "not allowed" in cli("build", "--network", "none", str(context), code=1).stderr
    assert build(cli, "-q", "--allow", "security.insecure", str(context)).startswith("sha256:")


def test_what_was_built_is_taken_to_another_data_root(
    cli: Cli, context: Path, tmp_path: Path
) -> None:
    other, place = Cli(tmp_path / "other"), str(tmp_path / "cache")
    cli("save", "-o", f"{tmp_path}/base.tar", IMAGE)
    other("load", "-i", f"{tmp_path}/base.tar")

    build(cli, "--cache-to", f"type=local,dest={place},mode=max", str(context))
    told = other("build", "--network", "none", "--cache-from", f"type=local,src={place}",
                 str(context)).stderr  # fmt: skip

    assert told.count("CACHED") == 3


def test_the_id_is_written_to_a_file(cli: Cli, context: Path, tmp_path: Path) -> None:
    file = tmp_path / "iid"

    made = build(cli, "-q", "--iidfile", str(file), str(context))
    assert file.read_text() == made
    (context / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN false\n")
    cli("build", "--network", "none", "--iidfile", str(file), str(context), code=1)

    assert not file.exists()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--secret", "src=/etc/passwd"], "src=/etc/passwd"),
        (["--secret", "id=a,colour=blue"], "colour"),
        (["--secret", "id=a,env=NOWHERE"], "NOWHERE"),
        (["--secret", "id=a,src=/nowhere"], "/nowhere"),
        (["--allow", "everything"], "everything"),
        (["--allow", "network.host"], "--network host"),
        (["--label", "=x"], "--label"),
        (["--cache-from", "type=gha"], "type=gha"),
        (["--cache-to", "type=local"], "dest=DIR"),
        (["--platform", "a/b/c/d"], "a/b/c/d"),
        (["--target", "nobody"], "nobody"),
        (["-t", "UPPER"], "UPPER"),
    ],
)
def test_what_can_not_be_is_refused(cli: Cli, context: Path, flags: list[str], told: str) -> None:
    assert told in cli("build", *flags, str(context), code=1).stderr


def test_what_builds_keep_is_listed_and_pruned(cli: Cli, context: Path) -> None:
    cli("builder", "prune", "-a", "-f")
    build(cli, "-q", "-t", "app", str(context))
    (context / "Dockerfile").write_text(
        f"FROM {IMAGE}\nRUN --mount=type=cache,target=/c head -c 50000 /dev/zero > /c/x\n"
    )
    cli("rmi", build(cli, "-q", str(context)))

    rows = [json.loads(line) for line in cli.out("builder", "ls", "--format", "json").splitlines()]
    assert {row["Description"]: (row["Type"], row["Reclaimable"]) for row in rows} == {
        "RUN |1 WHO=nobody /bin/sh -c echo $WHO > /who": ("layer", "false"),
        "COPY file /file": ("layer", "false"),
        "RUN /bin/sh -c head -c 50000 /dev/zero > /c/x": ("layer", "true"),
        "/c": ("cache mount", "true"),
    }
    table = cli.out("builder", "du")
    assert table.splitlines()[0].split() == [
        "ID", "TYPE", "RECLAIMABLE", "SIZE", "LAST", "ACCESSED", "DESCRIPTION",
    ]  # fmt: skip
    assert "Reclaimable: 53.25kB" in table
    assert "Are you sure" in cli("builder", "prune", code=1, input="n\n").stdout
    assert "space: 0B" in cli.out("builder", "prune", "-f", "--filter", "until=24h")
    assert "space: 0B" in cli.out("builder", "prune", "-f", "--keep-storage", "1g")
    assert "space: 53.25kB" in cli.out("builder", "prune", "-f")
    assert len(cli.out("builder", "ls", "-q").split()) == 2
    cli("builder", "prune", "-f", "-a")
    assert cli.out("builder", "ls", "-q") == ""
    assert "until" in cli("builder", "prune", "-f", "--filter", "label=a", code=1).stderr
    assert shown(cli, "app", "/who") == "nobody"


def test_df_and_prune_of_the_system_know_of_builds(cli: Cli, context: Path) -> None:
    cli("builder", "prune", "-a", "-f")
    cli("rmi", build(cli, "-q", str(context)))

    rows = [json.loads(line) for line in cli.out("system", "df", "--format", "json").splitlines()]
    assert [row["TotalCount"] for row in rows if row["Type"] == "Build Cache"] == ["2"]
    assert "space: 0B" not in cli.out("system", "prune", "-f")

    assert cli.out("builder", "ls", "-q") == ""
