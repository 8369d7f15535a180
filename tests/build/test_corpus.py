"""Dockerfiles in the shapes that people write: each is read, and means what it should.

`corpus/expected.json` has the instructions of each stage and the warnings.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pycontainers.build import instructions as i
from pycontainers.build.checks import check
from pycontainers.build.parse import Dockerfile, parse
from pycontainers.build.scope import Globals, Scope, predefined
from pycontainers.oci.platform import Platform

CORPUS = Path(__file__).with_name("corpus")
FILES = sorted(CORPUS.glob("*.Dockerfile"))
EXPECTED: dict[str, Any] = json.loads((CORPUS / "expected.json").read_text())
PREDEFINED = predefined(Platform.parse("linux/amd64"), Platform.parse("linux/amd64"))


def corpus(name: str) -> Dockerfile:
    return parse((CORPUS / f"{name}.Dockerfile").read_bytes(), name)


def meant(dockerfile: Dockerfile) -> list[i.Instruction]:
    """Give the instructions of the first stage with variables put in."""
    scope = Scope(Globals.of(dockerfile, {}, PREDEFINED), {})
    return [scope.apply(one).instruction for one in dockerfile.stages[0].instructions]


def test_there_are_enough() -> None:
    assert len(FILES) >= 60
    assert {path.stem for path in FILES} == set(EXPECTED)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_read_and_written_again(path: Path) -> None:
    data = path.read_bytes()

    dockerfile = parse(data, path.stem)

    assert str(dockerfile).encode() == data
    assert EXPECTED[path.stem]["stages"] == {
        f"{stage.index} {stage.name}".strip(): " ".join(one.name for one in stage.instructions)
        for stage in dockerfile.stages
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_has_these_warnings(path: Path) -> None:
    found = check(corpus(path.stem), predefined=PREDEFINED)

    assert [f"{one.line} {one.rule}" for one in found] == EXPECTED[path.stem]["warnings"]


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.stem != "quoting"], ids=lambda path: path.stem
)
def test_its_variables_can_be_put_in(path: Path) -> None:
    dockerfile = corpus(path.stem)
    globals = Globals.of(dockerfile, {}, PREDEFINED)

    for stage in dockerfile.stages:
        assert globals.origin(stage.begin).image.text
        scope = Scope(globals, {"HOME": "/root"})
        for instruction in stage.instructions:
            assert type(scope.apply(instruction).instruction) is type(instruction)


def test_the_variables_of_a_file_mean_what_they_should() -> None:
    dockerfile = corpus("variables")
    globals = Globals.of(dockerfile, {"TAG": "edge"}, PREDEFINED)
    scope = Scope(globals, {})

    found = [scope.apply(one).instruction for one in dockerfile.stages[0].instructions]

    assert globals.origin(dockerfile.stages[0].begin).image.text == "docker.io/library/alpine:edge"
    assert scope.arguments == {
        "TAG": "edge", "NAME": "world", "GREETING": "hello world", "OTHER": "hello $NAME",
        "PLAIN": "hello world",
    }  # fmt: skip
    del scope.image["PATH"]
    assert scope.image == {
        "A": "1", "B": "", "C": "2", "D": "", "E": "$A", "F": "$A", "FILE": "archive-1.2.3.tar.gz",
        "BASE": "archive-1.2.3", "VERSION": "1.2.3.tar.gz", "EXT": "gz", "STEM": "archive",
        "DASHED": "archive-1-2-3-tar-gz", "FIRST": "archive-1-2.3.tar.gz",
    }  # fmt: skip
    by_name = {one.name: one for one in found}
    assert getattr(by_name["LABEL"], "pairs", ()) == (
        ("name", "world", False), ("with space", "a b", False), ("multi", "one two three", False),
    )  # fmt: skip
    assert getattr(by_name["EXPOSE"], "ports", ()) == ("8080/tcp", "53/udp")
    assert getattr(by_name["VOLUME"], "paths", ()) == ("/data/world", "[not-json")


def test_heredocs_of_a_file_are_where_they_should_be() -> None:
    run, wc, copy, three, echo, tabs = corpus("heredoc-tricky").stages[0].instructions

    assert isinstance(run, i.Run)
    assert run.shell_text == ("<<EOF1 sh -e && echo done\nFROM nothing\nRUN nothing \\\nEOF1")
    assert isinstance(wc, i.Run)
    assert wc.heredocs[0].name == "one two"
    assert isinstance(copy, i.Copy)
    assert [(one.name, one.content) for one in copy.heredocs] == [
        ("run.sh", '#!/bin/sh\nexec "$@"\n'),
        ("EOF.txt", "EOF\n EOF.txt\n"),
    ]
    assert isinstance(three, i.Run)
    assert three.heredocs[0].descriptor == 3
    assert isinstance(echo, i.Run)
    assert echo.heredocs == ()
    assert isinstance(tabs, i.Run)
    assert tabs.heredocs[0].text == "tabs\ngo\n"


def test_odd_white_space_is_kept_where_it_has_a_meaning() -> None:
    first, tabs, three, pairs, legacy, *_, cmd, expose, volume = meant(corpus("odd-whitespace"))

    assert isinstance(first, i.Run)
    assert first.command == "echo   spaces   inside"
    assert isinstance(tabs, i.Run)
    assert tabs.command == "echo\ttabs"
    assert isinstance(three, i.Run)
    assert three.command == "echo one     two\t\tthree"
    assert getattr(pairs, "pairs", ()) == (("a", "1", False), ("b", "2", False))
    assert getattr(legacy, "pairs", ()) == (("c", "value with   spaces", True),)
    assert getattr(cmd, "command", ()) == ("a", "b")
    assert getattr(expose, "ports", ()) == ("443/tcp", "80/tcp")
    assert getattr(volume, "paths", ()) == ("/a", "/b")


def test_windows_line_ends_and_byte_order_marks_make_no_difference() -> None:
    crlf = corpus("windows-line-ends")
    data = (CORPUS / "windows-line-ends.Dockerfile").read_bytes()
    assert b"\r\n" in data
    assert (CORPUS / "with-bom.Dockerfile").read_bytes().startswith(b"\xef\xbb\xbf")

    plain = parse(data.replace(b"\r\n", b"\n"))

    assert [one.text for one in crlf.instructions] == [one.text for one in plain.instructions]
    assert corpus("with-bom").stages[0].begin.image == "debian"
    assert corpus("with-bom-and-directive").escape == "`"


def test_lists_that_are_no_json_are_for_the_shell() -> None:
    found = [
        getattr(one, "command", None) for one in corpus("json-oddities").stages[0].instructions
    ]

    assert [isinstance(command, str) for command in found] == [
        True, True, True, True, False, False, False, True, True, False,
    ]  # fmt: skip
    assert found[4] == ('escapes " \\ / \b \f \n \r \t é 😀',)
    assert found[-1] == ("sh", "-c", "echo")
