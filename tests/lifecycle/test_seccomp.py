"""Seccomp profiles: what is compiled, refused and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pycontainers as pc
from pycontainers.lifecycle import bpf, seccomp
from pycontainers.lifecycle.security import DEFAULT_CAPABILITIES


def _said(image: pc.Image, engine: pc.Engine, profile: Any, script: str) -> str:
    result = pc.run(["sh", "-c", script], seccomp=profile, image=image, engine=engine)
    return str(result.stdout + result.stderr).strip()


def test_the_default_program_is_small() -> None:
    program = seccomp.compile_profile("default", DEFAULT_CAPABILITIES)

    assert program is not None
    assert len(program) % 8 == 0
    assert len(program) // 8 < 600


def test_capabilities_open_calls() -> None:
    closed = seccomp.resolved("default", frozenset())
    opened = seccomp.resolved("default", frozenset({"CAP_SYS_ADMIN"}))

    assert closed is not None
    assert opened is not None
    names = [
        {name for rule in one["syscalls"] for name in rule["names"]} for one in (closed, opened)
    ]
    assert "mount" not in names[0]
    assert "mount" in names[1]


def test_a_profile_of_ones_own_is_enforced(image: pc.Image, engine: pc.Engine) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }

    assert "not supported" in _said(image, engine, profile, "mkdir /x").lower()
    assert _said(image, engine, profile, "touch /x && echo made") == "made"


def test_conditions_on_arguments_hold(image: pc.Image, engine: pc.Engine) -> None:
    argument = {"index": 1, "value": 15, "op": "SCMP_CMP_EQ"}
    rule = {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [argument]}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}

    assert "not permitted" in _said(image, engine, profile, "kill -TERM $$")
    assert _said(image, engine, profile, "kill -CONT $$; echo on") == "on"


def test_a_damaged_program_is_made_again(tmp_path: Path) -> None:
    before = seccomp.compile_profile("default", frozenset({"CAP_KILL"}), cache=tmp_path)
    (kept,) = tmp_path.glob("*.bpf")
    kept.write_bytes(b"\0" * kept.stat().st_size)
    seccomp._cached.cache_clear()

    assert seccomp.compile_profile("default", frozenset({"CAP_KILL"}), cache=tmp_path) == before


@pytest.mark.parametrize(
    "profile",
    [
        {},
        {"defaultAction": "ALLOW"},
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": [], "action": "SCMP_ACT_ALLOW"}],
        },
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"], "action": "NO"}]},
        {"defaultAction": "SCMP_ACT_ALLOW", "surprise": 1},
        {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1 << 20},
    ],
)
def test_bad_profiles_are_refused(profile: dict[str, Any]) -> None:
    with pytest.raises(pc.InvalidArgument):
        seccomp.compile_profile(profile, frozenset())


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["defaultAction", "syscalls", "names", "action", "args", "archMap", "op"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["defaultAction", "syscalls", "archMap"]), _json))
def test_any_profile_is_compiled_or_refused(profile: dict[str, Any]) -> None:
    try:
        seccomp.compile_profile(profile, frozenset())
    except pc.InvalidArgument:
        return


def test_the_most_restrictive_of_two_rules_counts() -> None:
    clauses = [bpf.Clause(bpf.ALLOW), bpf.Clause(bpf.ERRNO | 1)]

    assert bpf.settle(clauses, bpf.KILL_PROCESS)[0].action == bpf.ERRNO | 1
