"""Any text is read or refused, and what is read can be written again."""

from __future__ import annotations

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from pycontainers.build.checks import check
from pycontainers.build.instructions import Instruction
from pycontainers.build.parse import Dockerfile, parse
from pycontainers.build.scope import Globals, Scope
from pycontainers.errors import BuildError

_keywords = st.sampled_from(
    ["FROM", "ARG", "RUN", "CMD", "ENTRYPOINT", "COPY", "ADD", "ENV", "LABEL", "USER", "WORKDIR",
     "VOLUME", "EXPOSE", "SHELL", "STOPSIGNAL", "HEALTHCHECK", "ONBUILD", "MAINTAINER", "from",
     "Run", "onbuild copy", "NONSENSE", ""]
)  # fmt: skip
_words = st.sampled_from(
    ["a", "a=b", "$a", "${a}", "${a:-b}", "${a/b/c}", "${a#*b}", "'a b'", '"$a"', "'", '"', "\\ ",
     "\\$a", "<<E", "<<-'E'", "<<E sh", "[", "]", '["a", "b"]', '["a"', "[1]", "--from=a",
     "--mount=type=cache,target=/a", "--mount=type=$a,id=b", "--link", "--chmod=1", "--", "--x",
     "--interval=5s", "--network=none", "CMD", "NONE", "AS", "as", "scratch", "80/udp", "1-9",
     "\\", "`", "é", "\ufeff", "\udcff", "#", "=", "http://x/y", "\x00", "\u2028"]
)  # fmt: skip
_ends = st.sampled_from(["\n", "\n", "\n", "\r\n", " \\\n", "`\n", "\nE\n", "\n\tE\n", "\n# c\n",
                         "\n\n", "", "\n# check=skip=all\n"])  # fmt: skip
_lines = st.builds(
    lambda keyword, words, end: " ".join([keyword, *words]) + end,
    _keywords,
    st.lists(_words, max_size=5),
    _ends,
)
_heads = st.sampled_from(["", "", "FROM a\n", "FROM a AS b\n", "# escape=`\nFROM scratch\n",
                          "\ufeff# syntax=x\r\n# check=error=true\r\nARG a=1\r\nFROM $a\r\n"]
)  # fmt: skip
dockerfiles = st.builds(lambda head, lines: head + "".join(lines), _heads, st.lists(_lines))


def bare(instruction: Instruction) -> Instruction:
    """Give an instruction as if it stood on the first line."""
    place = {"start": 0, "end": instruction.end - instruction.start, "comments": ()}
    return attrs.evolve(instruction, **place)  # type: ignore[arg-type]


def built(dockerfile: Dockerfile) -> None:
    """Put in the values of variables, as far as that goes."""
    globals = Globals.of(dockerfile, {"a": "1 2"}, {"TARGETPLATFORM": "linux/arm"})
    for stage in dockerfile.stages:
        globals.origin(stage.begin)
        scope = Scope(globals, {"b": "x"})
        for instruction in stage.instructions:
            scope.apply(instruction)


@given(dockerfiles | st.text())
@settings(max_examples=500)
def test_any_text_is_read_or_refused_with_its_line(text: str) -> None:
    try:
        dockerfile = parse(text)
    except BuildError as error:
        assert "Dockerfile" in str(error)
        assert 0 <= error.line <= text.count("\n") + 1
        return

    assert str(dockerfile) == text


@given(dockerfiles)
@settings(max_examples=500)
def test_each_instruction_is_the_lines_it_says_and_reads_the_same_alone(text: str) -> None:
    try:
        dockerfile = parse(text)
    except BuildError:
        return
    lines = text.removeprefix("\ufeff").split("\n")

    end = 0
    for instruction in dockerfile.instructions:
        assert end < instruction.start <= instruction.end
        end = instruction.end
        written = "\n".join(lines[instruction.start - 1 : end])
        assert instruction.source == written.removesuffix("\r")
    for stage in dockerfile.stages:
        for instruction in stage.instructions:
            head = f"# escape={dockerfile.escape}\nFROM x\n"
            (again,) = parse(head + instruction.source).stages[0].instructions
            if not hasattr(instruction, "trigger"):
                assert bare(again) == bare(instruction)


@given(dockerfiles)
@settings(max_examples=300)
def test_any_dockerfile_is_expanded_and_checked_or_refused(text: str) -> None:
    try:
        dockerfile = parse(text)
    except BuildError:
        return

    try:
        built(dockerfile)
    except BuildError as error:
        assert error.problem
    for warning in check(dockerfile, build_args={"a": "1"}):
        assert 0 < warning.line <= text.count("\n") + 1


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    text = b"FROM a\nRUN " + data

    try:
        dockerfile = parse(text)
    except BuildError:
        return

    assert str(dockerfile).encode("utf-8", "surrogateescape") == text
