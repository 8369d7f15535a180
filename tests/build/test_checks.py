"""Warnings: each of BuildKit's rules finds what it is for, and nothing else."""

from __future__ import annotations

import pytest

from pycontainers.build.checks import MOST_WARNINGS, check, refuse
from pycontainers.build.parse import parse
from pycontainers.build.scope import predefined
from pycontainers.errors import BuildError
from pycontainers.oci.config import ImageConfig
from pycontainers.oci.platform import Platform

HOST = Platform.parse("linux/amd64")


def warned(text: str, *env: str, **build_args: str) -> list[tuple[str, int]]:
    """Give rules and lines; all stages begin from an image with these variables."""
    dockerfile = parse(text)
    base = ImageConfig(architecture="amd64", env=env)
    found = check(
        dockerfile,
        build_args=build_args,
        predefined=predefined(HOST, HOST),
        bases={stage.index: base for stage in dockerfile.stages},
    )
    return [(warning.rule, warning.line) for warning in found]


@pytest.mark.parametrize(
    ("rule", "line", "text"),
    [
        ("StageNameCasing", 1, "FROM a AS Build"),
        ("FromAsCasing", 1, "FROM a as build"),
        ("FromAsCasing", 1, "from a AS build"),
        ("NoEmptyContinuation", 3, "FROM a\nRUN x \\\n\n  y"),
        ("ConsistentInstructionCasing", 2, "FROM a\nrun x\nRUN y"),
        ("ConsistentInstructionCasing", 3, "from a\nrun x\nRun y"),
        ("ConsistentInstructionCasing", 1, "from a\nRUN y"),
        ("DuplicateStageName", 2, "FROM a AS x\nFROM b AS x"),
        ("ReservedStageName", 1, "FROM a AS scratch"),
        ("ReservedStageName", 1, "FROM a AS context"),
        ("JSONArgsRecommended", 2, "FROM a\nCMD x"),
        ("JSONArgsRecommended", 2, "FROM a\nENTRYPOINT x"),
        ("MaintainerDeprecated", 2, "FROM a\nMAINTAINER x"),
        ("UndefinedArgInFrom", 2, "ARG v=1\nFROM a:$w"),
        ("UndefinedArgInFrom", 1, "FROM --platform=${v:-linux} a"),
        ("WorkdirRelativePath", 2, "FROM a\nWORKDIR x\nWORKDIR y"),
        ("UndefinedVar", 2, "FROM a\nENV x=$y"),
        ("UndefinedVar", 2, "FROM a\nCOPY $y z"),
        ("UndefinedVar", 2, "FROM a\nCOPY <<E /x\n$y\nE"),
        ("UndefinedVar", 2, "FROM a\nARG x=$y"),
        ("MultipleInstructionsDisallowed", 2, 'FROM a\nCMD ["x"]\nCMD ["y"]'),
        ("MultipleInstructionsDisallowed", 2, "FROM a\nHEALTHCHECK NONE\nHEALTHCHECK CMD x"),
        ("LegacyKeyValueFormat", 2, "FROM a\nENV x y"),
        ("LegacyKeyValueFormat", 2, "FROM a\nLABEL x y"),
        ("RedundantTargetPlatform", 1, "FROM --platform=${TARGETPLATFORM} a"),
        ("SecretsUsedInArgOrEnv", 2, "FROM a\nARG GITHUB_TOKEN"),
        ("SecretsUsedInArgOrEnv", 2, "FROM a\nENV password=x"),
        ("InvalidDefaultArgInFrom", 2, "ARG v\nFROM a:$v"),
        ("InvalidDefaultArgInFrom", 2, "ARG v=/\nFROM $v"),
        ("FromPlatformFlagConstDisallowed", 1, "FROM --platform=linux/arm64 a"),
        ("ExposeProtoCasing", 2, "FROM a\nEXPOSE 80/TCP"),
        ("ExposeInvalidFormat", 2, "FROM a\nEXPOSE 8080:80"),
        ("ExposeInvalidFormat", 2, "FROM a\nEXPOSE 127.0.0.1:80:80"),
    ],
)
def test_a_rule_finds_its_line(rule: str, line: int, text: str) -> None:
    assert (rule, line) in warned(text, v="debian" if "Default" in rule else "1")


@pytest.mark.parametrize(
    "text",
    [
        "FROM a AS build",
        "from a as build\nrun x",
        "FROM a\nRUN x \\\n  # comment\n  y",
        'FROM a\nSHELL ["/bin/bash", "-c"]\nCMD x',
        "FROM a\nRUN x",
        "ARG v=1\nFROM a:$v",
        "FROM --platform=$BUILDPLATFORM a",
        "FROM --platform=linux/arm64 a AS build-arm64",
        "FROM a\nWORKDIR /x\nWORKDIR y",
        "FROM a\nENV x=$HOME",
        "FROM a\nARG x\nENV y=$x",
        "FROM a\nRUN echo $y",
        'FROM a\nCMD ["x"]\nFROM b\nCMD ["x"]',
        "FROM a\nARG TOKEN_FILE\nARG PUBLIC_KEY\nARG keyboard\nENV TOKEN_VERSION=1",
        "FROM a\nEXPOSE 80/tcp 90",
        "FROM scratch\nENV x=$PATH",
    ],
)
def test_what_is_right_is_no_warning(text: str) -> None:
    assert warned(text, "HOME=/root") == []


def test_undefined_variables_are_looked_for_where_the_image_is_known() -> None:
    dockerfile = parse("FROM a AS b\nENV x=$y\nFROM scratch\nENV x=$y\nFROM b\nENV z=$w\n")

    assert [warning.line for warning in check(dockerfile)] == [4]


def test_a_stage_knows_what_the_stage_that_it_begins_from_had() -> None:
    text = (
        'FROM a AS base\nARG x=1\nENV y=2\nSHELL ["s"]\nWORKDIR /w\n'
        "ONBUILD ENV t=1\n"
        "FROM base\nENV z=$x$y$t\nWORKDIR v\nCMD c\n"
    )

    assert warned(text) == []


def test_a_guess_is_told_for_a_misspelt_variable() -> None:
    dockerfile = parse("FROM scratch\nENV version=1\nENV x=$vresion\n")

    (warning,) = check(dockerfile)

    assert str(warning) == (
        "UndefinedVar: the variable 'vresion' is not defined; did you mean version? (line 3)"
    )


@pytest.mark.parametrize(
    ("directive", "rules"),
    [
        ("skip=all", []),
        ("skip=JSONArgsRecommended", ["StageNameCasing"]),
        ("skip=JSONArgsRecommended,StageNameCasing", []),
        ("skip= StageNameCasing", ["JSONArgsRecommended", "StageNameCasing"]),
        ("error=true;skip=StageNameCasing", ["JSONArgsRecommended"]),
        ("experimental=all", ["InvalidDefinitionDescription", "StageNameCasing",
                              "JSONArgsRecommended"]),
    ],
)  # fmt: skip
def test_the_check_directive_is_heeded(directive: str, rules: list[str]) -> None:
    found = warned(f"# check={directive}\n# the first\nFROM a AS Build\nCMD x\n")

    assert sorted(rule for rule, _ in found) == sorted(rules)


def test_a_check_comment_is_heeded_for_its_instruction() -> None:
    text = (
        "FROM scratch\n# check=skip=SecretsUsedInArgOrEnv,UndefinedVar why not\n"
        "ENV A_KEY=$x\nENV B_KEY=1\n# check=nonsense\nENV C_KEY=1\n"
    )

    assert warned(text) == [("SecretsUsedInArgOrEnv", 4), ("SecretsUsedInArgOrEnv", 6)]


@pytest.mark.parametrize("options", ["nonsense", "skip", "error=perhaps", "colour=red"])
def test_a_check_directive_that_cannot_be_read_is_refused(options: str) -> None:
    with pytest.raises(BuildError, match=r"^Dockerfile:2: "):
        check(parse(f"# syntax=x\n# check={options}\nFROM a\n"))


def test_warnings_are_errors_if_the_file_says_so() -> None:
    strict = parse("# check=error=true\nFROM a AS B\n")
    lenient = parse("FROM a AS B\n")

    with pytest.raises(BuildError, match=r"^Dockerfile:2: the checks found StageNameCasing"):
        refuse(strict, check(strict))

    refuse(lenient, check(lenient))
    refuse(strict, ())


def test_what_fails_in_a_build_is_no_warning() -> None:
    assert warned("FROM a\nENV x=${y:?}\nENV a b\n") == []
    assert warned("ARG x=${y:?}\nFROM a\n") == []
    assert warned("FROM $none\n") == [("InvalidDefaultArgInFrom", 1)]


def test_there_are_never_too_many_warnings() -> None:
    text = "FROM scratch\n" + "".join(f"ENV x{number}=$y{number}\n" for number in range(5000))

    assert len(warned(text)) == MOST_WARNINGS
