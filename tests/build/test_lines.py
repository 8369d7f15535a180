"""Logical lines: continuation, comments, directives and heredocs."""

from __future__ import annotations

import pytest

from pycontainers.build.lines import Heredoc, Line, Lines, heredoc_of
from pycontainers.errors import BuildError


def lines(text: str) -> list[Line]:
    return list(Lines(text, "Dockerfile"))


def texts(text: str) -> list[str]:
    return [line.text for line in lines(text)]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", []),
        ("\n\n", []),
        ("# only\n  # comments\n", []),
        ("RUN a", ["RUN a"]),
        ("  \tRUN a  \n", ["RUN a  "]),
        ("RUN a\\\nb\n", ["RUN ab"]),
        ("RUN a \\\n  b\n", ["RUN a   b"]),
        ("RUN a \\ \t\n  b\n", ["RUN a   b"]),
        ("RUN a \\\\\n  b\n", ["RUN a \\\\", "b"]),
        ("RUN a \\\n# no\n  # no\nb\n", ["RUN a b"]),
        ("RUN a \\\n\n \t \nb\n", ["RUN a b"]),
        ("RUN a \\", ["RUN a "]),
        ("RUN a \\\n", ["RUN a "]),
        ("RUN a \\\n\\\n b", ["RUN a  b"]),
        ("RUN a # no comment\n", ["RUN a # no comment"]),
        ("\\\nRUN a\n", ["RUN a"]),
        ("RUN a\r\nRUN \\\r\n b\r\n", ["RUN a", "RUN  b"]),
        ("\ufeffRUN a\n", ["RUN a"]),
        ("RUN a\fb\x0bc\u2028d\x85\n", ["RUN a\fb\x0bc\u2028d\x85"]),
    ],
)
def test_lines_are_joined_and_comments_left_out(text: str, meant: list[str]) -> None:
    assert texts(text) == meant


def test_a_line_knows_where_it_stands_and_what_was_written() -> None:
    text = "\ufeff# about\n\nRUN a \\\r\n  # between\r\n\r\n  b\r\nCOPY <<E /x\n1\nE\nRUN c"

    first, second, third = lines(text)

    assert (first.start, first.end, first.blank) == (3, 6, 5)
    assert first.source == "RUN a \\\r\n  # between\r\n\r\n  b"
    assert first.comments == ("about",)
    assert (second.start, second.end, second.source) == (7, 9, "COPY <<E /x\n1\nE")
    assert (third.start, third.end, third.source) == (10, 10, "RUN c")


def test_an_empty_comment_ends_what_is_said_about_an_instruction() -> None:
    first, second = lines("# before\n#\n# about it \nARG a\nARG b\n")

    assert first.comments == ("about it",)
    assert second.comments == ()


@pytest.mark.parametrize(
    ("text", "escape"),
    [
        ("# escape=`\n", "`"),
        ("#escape = `\r\n", "`"),
        ("\ufeff  # ESCAPE=`", "`"),
        ("# syntax=docker/dockerfile:1\n# escape=`\n", "`"),
        ("# escape=\\\n", "\\"),
        ("# a comment\n# escape=`\n", "\\"),
        ("\n# escape=`\n", "\\"),
        ("# unknown=1\n# escape=`\n", "\\"),
        ("FROM a\n# escape=`\n", "\\"),
        ("# escape=\n", "\\"),
    ],
)
def test_the_escape_character_is_said_in_the_first_lines(text: str, escape: str) -> None:
    assert Lines(text, "Dockerfile").escape == escape


def test_directives_are_no_comments() -> None:
    found = Lines("# syntax=a:1 x\n# check=skip=all\n# hello\nFROM a\n", "Dockerfile")

    assert [(one.name, one.value, one.line) for one in found.directives] == [
        ("syntax", "a:1 x", 1),
        ("check", "skip=all", 2),
    ]
    assert next(iter(found)).comments == ("hello",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("# escape=x\nFROM a\n", "Dockerfile:1: the escape character is"),
        ("# escape=`\n# Escape=`\nFROM a\n", "Dockerfile:2: a second directive 'escape'"),
    ],
)
def test_wrong_directives_are_refused(text: str, problem: str) -> None:
    with pytest.raises(BuildError, match=problem):
        Lines(text, "Dockerfile")


@pytest.mark.parametrize(
    ("text", "heredocs"),
    [
        ("RUN <<EOF\na\nEOF", [Heredoc("EOF", "a\n")]),
        ("RUN <<EOF\nEOF", [Heredoc("EOF")]),
        ("run <<'EOF' sh\n$a\nEOF", [Heredoc("EOF", "$a\n", expand=False)]),
        ('RUN <<E"O"F\nEOF\n', [Heredoc("EOF", expand=False)]),
        ("RUN <<-EOF\n\ta\n\t\tEOF", [Heredoc("EOF", "\ta\n", chomp=True)]),
        ("RUN 3<<EOF\nEOF", [Heredoc("EOF", descriptor=3)]),
        ("RUN << EOF\nEOF", [Heredoc("EOF")]),
        ("RUN <<'a b'\na b", [Heredoc("a b", expand=False)]),
        ("RUN <<$X\n$X", [Heredoc("$X")]),
        ("RUN <<EOF\r\na\r\nEOF\r\n", [Heredoc("EOF", "a\r\n")]),
        ("RUN <<EOF\n# a\n\n\\\nEOF\\\nEOF", [Heredoc("EOF", "# a\n\n\\\nEOF\\\n")]),
        ("RUN <<A cat && <<B cat\n1\nA\n2\nB", [Heredoc("A", "1\n"), Heredoc("B", "2\n")]),
        ("RUN --network=none \\\n <<A\n1\nA", [Heredoc("A", "1\n")]),
        ("COPY <<X <<Y /dest\nY\nX\nX\nY", [Heredoc("X", "Y\n"), Heredoc("Y", "X\n")]),
        ("ADD <<X /x\nX", [Heredoc("X")]),
        ("ONBUILD RUN <<X\nX", [Heredoc("X")]),
        ("RUN echo '<<EOF'", []),
        ('RUN echo "<<EOF"', []),
        ("RUN echo it's <<EOF", []),
        ("RUN cat <<<EOF", []),
        ('RUN ["cat", "<<EOF"]', []),
        ("USER <<EOF", []),
        ("RUN a <<", []),
    ],
)
def test_heredocs_belong_to_the_instruction_above(text: str, heredocs: list[Heredoc]) -> None:
    (line,) = lines(text)

    assert list(line.heredocs) == heredocs


def test_what_follows_a_heredoc_is_read_on() -> None:
    assert texts("RUN <<A\nRUN x\nA\nRUN b\n") == ["RUN <<A", "RUN b"]


@pytest.mark.parametrize("end", ["", " EOF\n", "EOF \n", "EOF\\\n", "\tEOF\n", "eof\n"])
def test_a_heredoc_without_its_end_is_refused_where_it_begins(end: str) -> None:
    with pytest.raises(BuildError, match="Dockerfile:3: no line 'EOF' ends") as caught:
        lines(f"FROM a\nRUN x \\\n  <<EOF\n1\n{end}")

    assert "> 3 |   <<EOF" in str(caught.value)


@pytest.mark.parametrize("word", ["", "EOF", "<<", "<<-", "<EOF", "<<<EOF", "<<EOF sh", "<<'EOF"])
def test_other_words_are_no_heredocs(word: str) -> None:
    assert heredoc_of(word) is None


def test_tabs_are_taken_from_the_beginning_of_lines_only_if_asked_for() -> None:
    assert Heredoc("E", "\t\ta\tb\n c\n\n\td", chomp=True).text == "a\tb\n c\n\nd"
    assert Heredoc("E", "\ta\n").text == "\ta\n"
