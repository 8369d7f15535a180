"""The texts that options are written in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pycontainers as pc
from pycontainers.lifecycle import values
from pycontainers.runtime import plan, users


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("512", 512), ("1k", 1024), ("1.5m", 3 << 19), ("2 GiB", 2 << 30)]
)
def test_sizes(text: str, size: int) -> None:
    assert values.size("memory", text) == size


@given(st.text(max_size=30))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    try:
        assert values.size("memory", text) >= 0
    except pc.InvalidArgument:
        return


@given(st.text(max_size=30))
def test_a_path_inside_is_absolute_and_plain_or_refused(text: str) -> None:
    try:
        path = values.inside("workdir", text)
    except pc.InvalidArgument:
        return
    assert path.startswith("/")
    assert ".." not in path.split("/")


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_an_environment_comes_back_or_is_refused(given_: dict[str, str]) -> None:
    try:
        items = values.environment(given_)
    except pc.InvalidArgument:
        return
    assert dict(item.split("=", 1) for item in items) == given_


@given(st.text(max_size=200), st.text(max_size=10), st.text(max_size=5))
def test_a_passwd_file_of_any_text_is_harmless(text: str, name: str, group: str) -> None:
    try:
        identity = users.resolve(name, group, text, text)
    except pc.KernelError:
        return
    assert 0 <= identity.uid < 1 << 32
    assert 0 <= identity.gid < 1 << 32


def test_steps_survive_the_journey() -> None:
    steps: list[plan.AnyStep] = [
        plan.SetHostname("web"),
        plan.MountRoot(["/a"], None, 5, True, 3),
        plan.Execute(["sh"], ["A=b"]),
    ]

    assert [plan.unpack(plan.pack(step)) for step in steps] == steps
