"""The rules of .dockerignore, by examples and against a slow implementation, easy to read."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pycontainers.build.ignore import file_names, parse
from pycontainers.errors import InvalidArgument
from pycontainers.runtime.patterns import Patterns, name_matcher


def hidden(rules: str, path: str) -> bool:
    return Patterns(parse(rules.encode())).matches(path)


@pytest.mark.parametrize(
    ("rules", "path", "expected"),
    [
        ("*.log", "a.log", True),
        ("*.log", "deep/a.log", False),
        ("**/*.log", "a.log", True),
        ("**/*.log", "deep/er/a.log", True),
        ("**", "any/thing", True),
        ("a/**", "a/b/c", True),
        ("a/**", "a", False),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("a/**/z", "ab/z", False),
        ("**foo", "xfoo", True),
        ("**/foo", "xfoo", False),
        ("node_modules", "node_modules/x/y", True),
        ("node_modules", "a/node_modules", False),
        ("/root.txt", "root.txt", True),
        ("dir/", "dir/file", True),
        ("./a//b/../c", "a/c", True),
        ("../out", "out", False),
        (".", "a", False),
        ("?.md", "a.md", True),
        ("?.md", "ab.md", False),
        ("[a-c].md", "b.md", True),
        ("[^a-c].md", "b.md", False),
        ("[!a].md", "!.md", True),
        (r"\*.md", "*.md", True),
        (r"\*.md", "a.md", False),
        (r"[\]a].md", "].md", True),
        ("a.b", "axb", False),
        ("a+(b)|{c}^$", "a+(b)|{c}^$", True),
        ("ä?", "äö", True),
        ("  spaced  ", "spaced", True),
        ("[z-a]", "b", False),
    ],
)
def test_a_pattern_matches_as_docker_has_it(rules: str, path: str, expected: bool) -> None:
    found = hidden(rules, path)

    assert found is expected


def test_the_last_rule_that_matches_decides() -> None:
    rules = "*.md\n!README*.md\nREADME-secret.md"

    found = {path: hidden(rules, path) for path in ("a.md", "README.md", "README-secret.md")}

    assert found == {"a.md": True, "README.md": False, "README-secret.md": True}


def test_an_exception_brings_back_what_lies_in_an_ignored_directory() -> None:
    rules = "vendor\n!vendor/keep/**"

    found = {path: hidden(rules, path) for path in ("vendor/a", "vendor/keep/b", "vendor/keep")}

    assert found == {"vendor/a": True, "vendor/keep/b": False, "vendor/keep": True}


def test_a_rule_after_an_exception_counts_for_all_below_its_directory() -> None:
    rules = "!a/b\na"

    found = hidden(rules, "a/b")

    assert found


def test_comments_blank_lines_a_byte_order_mark_and_carriage_returns_mean_nothing() -> None:
    data = b"\xef\xbb\xbf# comment\r\n\r\n  \r\n*.o\r\n #no comment\r\n! /keep.o \r\n"

    found = parse(data)

    assert found == ("*.o", "#no comment", "!keep.o")


def test_the_dockerfiles_own_rules_come_first() -> None:
    found = file_names("sub/app.Dockerfile")

    assert found == ("sub/app.Dockerfile.dockerignore", ".dockerignore")


@pytest.mark.parametrize("rule", ["!", "a[", "[]a]", "[-a]", "[a-]", "a\\", "[a-\\]", "[^]", "["])
def test_what_is_no_pattern_is_refused(rule: str) -> None:
    with pytest.raises(InvalidArgument, match=r"pattern"):
        Patterns(parse(rule.encode()))


@pytest.mark.parametrize("pattern", ["a*" * 30 + "b", "**/a" * 20 + "/b", "*" * 100 + "b"])
def test_a_malicious_pattern_takes_no_longer_than_others(pattern: str) -> None:
    patterns, path = Patterns([pattern]), "a" * 4000
    started = time.process_time()

    found = patterns.matches(path)

    assert not found
    assert time.process_time() - started < 1


# Against an implementation that tries everything.


def slow_one(pattern: str, char: str) -> tuple[bool, str] | None:
    """Match one character; give whether it does, and what follows in the pattern."""
    head = pattern[0]
    if head == "?":
        return char != "/", pattern[1:]
    if head == "\\":
        return pattern[1] == char, pattern[2:]
    if head != "[":
        return head == char, pattern[1:]
    rest = pattern[1:]
    negated = rest.startswith("^")
    rest = rest.removeprefix("^")
    found = first = False
    while not (first and rest[0] == "]"):
        ends = []
        for _ in "lh":
            rest = rest.removeprefix("\\")
            ends.append(rest[0])
            rest = rest[1:]
            if len(ends) == 1 and rest[0] != "-":
                break
            rest = rest.removeprefix("-") if len(ends) == 1 else rest
        found = found or ends[0] <= char <= ends[-1]
        first = True
    return found is not negated, rest[1:]


def slow_match(pattern: str, path: str, *, deep: bool = True) -> bool:
    if not pattern:
        return not path
    if deep and pattern.startswith("**"):
        rest = pattern[2:].removeprefix("/")
        if not rest:
            return "\n" not in path
        starts = [0, *(at + 1 for at, char in enumerate(path) if char == "/")]
        return any("\n" not in path[:at] and slow_match(rest, path[at:]) for at in starts)
    if pattern[0] == "*":
        for at in range(len(path) + 1):
            if "/" not in path[:at] and slow_match(pattern[1:], path[at:], deep=deep):
                return True
        return False
    if not path:
        return False
    step = slow_one(pattern, path[0])
    return step is not None and step[0] and slow_match(step[1], path[1:], deep=deep)


def slow_whole(pattern: str, path: str) -> bool:
    special = set("*?[]\\")
    if pattern.startswith("**") and not special & set(pattern[2:]):
        end = pattern[2:]
        return path.endswith(end) or (end.startswith("/") and path == end[1:])
    if pattern.endswith("**") and not special & set(pattern[:-2]):
        return path.startswith(pattern[:-2])
    return slow_match(pattern, path)


def slow_decision(patterns: list[str], path: str) -> bool:
    matched, above = False, [False] * len(patterns)
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        here = "/".join(parts[:depth])
        matched = False
        for index, pattern in enumerate(patterns):
            exception = pattern.startswith("!")
            if not above[index]:
                if exception != matched:
                    continue
                above[index] = slow_whole(pattern.removeprefix("!"), here)
            if above[index]:
                matched = not exception
    return matched


NAMES = st.text("ab.-/\n", min_size=1, max_size=3)
CLASSES = st.builds(
    "[{}{}]".format, st.sampled_from(["", "^"]), st.sampled_from(["a", "a-c", r"\]", "ab.", "b-a"])
)
PIECES = st.one_of(
    st.sampled_from(["*", "**", "?", "/", "/**/", "**/", "\\a", "\\*", "a", "b", ".", "]"]), CLASSES
)
PATTERNS = st.builds(
    "{}{}".format,
    st.sampled_from(["", "", "!"]),
    st.lists(PIECES, min_size=1, max_size=8).map("".join),
)


def cleaned(patterns: list[str]) -> list[str]:
    found = []
    for pattern in patterns:
        (text,) = parse(pattern.encode())
        if text not in ("!", "!/", "/"):
            found.append(text)
    return found


@settings(deadline=None)  # the machine may be busy
@given(st.lists(PATTERNS, max_size=4), st.lists(NAMES, min_size=1, max_size=5).map("".join))
@example(["**/a**/b*"], "a/ab/b")
@example(["a", "!a/b*", "a/bb"], "a/bb/c")
def test_decisions_are_those_of_the_slow_implementation(patterns: list[str], path: str) -> None:
    path = "/".join(part for part in path.split("/") if part) or "a"
    rules = cleaned(patterns)

    found = Patterns(rules).matches(path)

    assert found is slow_decision(rules, path), rules


@settings(deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=8).map("".join), st.text("ab.-]*\n", max_size=6))
def test_a_name_is_matched_without_a_meaning_of_two_stars(pattern: str, name: str) -> None:
    single = pattern.replace("/", "")

    found = name_matcher(single)(name)

    assert found is slow_match(single, name, deep=False)
