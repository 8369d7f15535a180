"""Restart policies and health checks: the forms they are given in, and what they come to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pycontainers as pc
from pycontainers.lifecycle.options import Options
from pycontainers.lifecycle.policies import Healthcheck, RestartPolicy
from pycontainers.oci import config as oci

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("given_", "name", "maximum"),
    [
        ("no", "no", 0),
        ("", "no", 0),
        (None, "no", 0),
        ("always", "always", 0),
        ("unless-stopped", "unless-stopped", 0),
        ("on-failure", "on-failure", 0),
        ("on-failure:3", "on-failure", 3),
        ({"Name": "on-failure", "MaximumRetryCount": 3}, "on-failure", 3),
        ({"Name": "always"}, "always", 0),
        ({"Name": "always", "MaximumRetryCount": 0}, "always", 0),
        ({"Name": ""}, "no", 0),
        (RestartPolicy("always"), "always", 0),
    ],
)
def test_restart_policies(given_: Any, name: str, maximum: int) -> None:
    policy = RestartPolicy.of(given_)

    assert (policy.name, policy.maximum) == (name, maximum)
    assert RestartPolicy.of(str(policy)) == policy


@pytest.mark.parametrize(
    "given_",
    [
        "sometimes",
        "on-failure:",
        "on-failure:x",
        "on-failure:-1",
        "on-failure:99999999999",
        "on-failure:٣",
        "always:3",
        "ON-FAILURE",
        {"Name": "always", "MaximumRetryCount": 2},
        {"Name": "on-failure", "MaximumRetryCount": -1},
        {"Name": "on-failure", "MaximumRetryCount": "3"},
        {"name": "always"},
        {"Name": ["always"]},
        3,
        True,
        ["always"],
    ],
)
def test_other_restart_policies_are_refused(given_: Any) -> None:
    with pytest.raises(pc.InvalidArgument, match="restart"):
        RestartPolicy.of(given_)


@given(st.text(max_size=30))
def test_any_text_is_a_restart_policy_or_refused(text: str) -> None:
    try:
        policy = RestartPolicy.of(text)
    except pc.InvalidArgument:
        return
    assert RestartPolicy.of(str(policy)) == policy


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("curl -f localhost || exit 1", ("CMD-SHELL", "curl -f localhost || exit 1")),
        (["curl", "-f", "localhost"], ("CMD", "curl", "-f", "localhost")),
        (["CMD", "true"], ("CMD", "true")),
        (("CMD-SHELL", "true"), ("CMD-SHELL", "true")),
        (["NONE"], ("NONE",)),
        ({"test": "true"}, ("CMD-SHELL", "true")),
        ({"command": ["true"]}, ("CMD", "true")),
        ({"Test": ["CMD", "true"]}, ("CMD", "true")),
        ({"interval": 3}, ()),
        ({"test": []}, ()),
        ({"test": None}, ()),
    ],
)
def test_commands_of_health_checks(given_: Any, expected: tuple[str, ...]) -> None:
    assert Healthcheck.of(given_).command == expected


def test_times_of_health_checks_are_seconds_or_docker_pys_nanoseconds() -> None:
    seconds = Healthcheck.of({"test": "true", "interval": 1.5, "timeout": 999_999, "retries": 5})
    nanoseconds = Healthcheck.of(
        {
            "Test": ["CMD", "true"],
            "Interval": 1_000_000,
            "Timeout": 2 * SECOND,
            "StartPeriod": 3 * SECOND,
            "start_interval": 2_000_000.0,
        }
    )

    assert (seconds.interval, seconds.timeout, seconds.retries) == (1.5, 999_999.0, 5)
    assert (nanoseconds.interval, nanoseconds.timeout, nanoseconds.start_period) == (0.001, 2, 3)
    assert nanoseconds.start_interval == 2_000_000  # a float is seconds, however large


@pytest.mark.parametrize(
    "given_",
    [
        "",
        "  ",
        "a\0b",
        b"true",
        3,
        ["CMD"],
        ["CMD-SHELL"],
        ["CMD-SHELL", "a", "b"],
        ["NONE", "a"],
        ["true", 3],
        [""],
        {"test": "true", "interval": -1},
        {"test": "true", "interval": float("nan")},
        {"test": "true", "timeout": "3"},
        {"test": "true", "retries": -1},
        {"test": "true", "retries": 1.5},
        {"test": "true", "period": 3},
        {"test": "true", "command": "true"},
        {"test": "true", "Test": "true"},
        {3: "true"},
    ],
)
def test_other_health_checks_are_refused(given_: Any) -> None:
    with pytest.raises(pc.InvalidArgument, match="healthcheck"):
        Healthcheck.of(given_)


def in_image(**members: Any) -> oci.ImageConfig:
    return oci.ImageConfig(healthcheck=oci.Healthcheck(**members))


def test_the_images_check_has_dockers_defaults() -> None:
    check = Healthcheck.effective(None, in_image(test=["CMD-SHELL", "true"], interval=2 * SECOND))

    assert check == Healthcheck(("CMD-SHELL", "true"), 2.0, 30.0, 0.0, 5.0, 3)


def test_what_is_given_goes_before_the_images() -> None:
    image = in_image(
        test=["CMD", "a"], interval=2 * SECOND, timeout=3 * SECOND, start_period=9 * SECOND
    )

    times = Healthcheck.effective(Healthcheck.of({"timeout": 4, "retries": 7}), image)
    command = Healthcheck.effective(Healthcheck.of(["b"]), image)
    alone = Healthcheck.effective(Healthcheck.of(["b"]), oci.ImageConfig())

    assert times == Healthcheck(("CMD", "a"), 2.0, 4.0, 9.0, 5.0, 7)
    assert command == Healthcheck(("CMD", "b"), 2.0, 3.0, 9.0, 5.0, 3)
    assert alone == Healthcheck(("CMD", "b"), 30.0, 30.0, 0.0, 5.0, 3)


def test_a_check_is_switched_off() -> None:
    image = in_image(test=["CMD", "a"])

    assert Healthcheck.effective(Healthcheck.of(["NONE"]), image) is None
    assert Healthcheck.effective(None, in_image(test=["NONE"])) is None
    assert Healthcheck.effective(None, oci.ImageConfig()) is None
    assert Healthcheck.effective(None, in_image()) is None


def test_times_without_any_command_are_refused() -> None:
    with pytest.raises(pc.InvalidArgument, match="the image has none"):
        Healthcheck.effective(Healthcheck.of({"interval": 3}), oci.ImageConfig())


def test_an_images_check_of_an_unknown_kind_is_none() -> None:
    for test in (["HTTP", "localhost"], ["CMD"], ["CMD-SHELL", "a", "b"]):
        assert Healthcheck.effective(None, in_image(test=test)) is None


@given(st.lists(st.text("a CMDNOE-SHL", max_size=9), max_size=3), st.integers(0, 1 << 62))
def test_no_image_makes_an_error_of_its_check(test: list[str], number: int) -> None:
    check = Healthcheck.effective(None, in_image(test=test, interval=number, retries=number))

    assert check is None or (check.interval > 0 and check.retries > 0 and check.argv())


def test_what_a_check_executes() -> None:
    shell = Healthcheck(("CMD-SHELL", "a | b"))

    assert shell.argv() == ("/bin/sh", "-c", "a | b")
    assert shell.argv(("/bin/bash", "-ec")) == ("/bin/bash", "-ec", "a | b")
    assert Healthcheck(("CMD", "a", "b")).argv(("/bin/bash",)) == ("a", "b")


def test_policies_are_options() -> None:
    options = Options.of(["true"], restart="on-failure:2", healthcheck="true")

    assert options.restart == RestartPolicy("on-failure", 2)
    assert options.healthcheck == Healthcheck(("CMD-SHELL", "true"))
    assert Options.of(["true"], restart=None, healthcheck=None) == Options.of(["true"])


@pytest.mark.parametrize(
    "given_",
    [
        {"auto_remove": True, "restart": "always"},
        {"detach": 1},
        {"log_max_size": "1k"},
        {"log_max_size": -1},
        {"log_max_files": 0},
        {"log_max_files": 101},
        {"memory_swap": -2, "memory": "1g"},
        {"memory_swap": -1},
        {"labels": ["a"]},
        {"ulimits": ["nofile"]},
    ],
)
def test_options_that_can_not_be_are_refused(given_: Any) -> None:
    with pytest.raises(pc.InvalidArgument, match=next(iter(given_)).partition("_")[0]):
        Options.of(["true"], **given_)
