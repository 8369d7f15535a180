"""Options that another process reads again, and options that are changed on a container."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pycontainers as pc
from pycontainers.kernel.cgroups.base import Limits
from pycontainers.lifecycle.options import Options
from pycontainers.lifecycle.updates import changed_limits

EVERYTHING: dict[str, Any] = {
    "name": "web",
    "entrypoint": ["/bin/sh", "-c"],
    "env": {"A": "b=c", "Ü": "\udce4\n"},
    "workdir": "/srv",
    "user": 1000,
    "group_add": ["audio", 44, "100"],
    "hostname": "host",
    "domainname": "example.org",
    "network": ["back", "front"],
    "ports": {80: 8080, "53/udp": None, "9000-9002": ("127.0.0.1", "9000-9002")},
    "publish_all": True,
    "ip": "10.0.0.9",
    "ip6": "fd00::9",
    "mac": "02:00:00:00:00:09",
    "aliases": ["www"],
    "dns": ["10.0.0.53"],
    "dns_search": ["example.org", "."],
    "dns_options": ["ndots:2"],
    "extra_hosts": {"gate": "host-gateway", "six": "fd00::6"},
    "network_rate": "8mbit",
    "network_priority": 6,
    "mounts": [pc.Mount.bind("/usr", "/data", read_only=True)],
    "volumes": {"data": {"bind": "/volume", "mode": "ro"}, "/usr": "/usr2"},
    "volumes_from": ["db", "web:ro"],
    "tmpfs": {"/tmp": "16m", "/run": None},
    "memory": "64m",
    "memory_swap": -1,
    "memory_reservation": "32m",
    "oom_score_adj": -500,
    "cpus": 0.1,
    "cpu_shares": 512,
    "cpuset": "0-1",
    "pids": 17,
    "io_weight": 300,
    "shm_size": "1m",
    "ulimits": {"nofile": (10, 20), "core": -1},
    "devices": ["/dev/null:/dev/nothing:rw"],
    "sysctls": {"net.ipv4.ip_forward": "1"},
    "labels": {"a": "b"},
    "cap_add": ["NET_ADMIN"],
    "cap_drop": ["CHOWN"],
    "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["reboot"], "args": []}]},
    "no_new_privileges": False,
    "userns": "host",
    "read_only": True,
    "privileged": False,
    "init": True,
    "tty": True,
    "stdin": True,
    "stop_signal": "INT",
    "stop_timeout": 2.5,
    "ephemeral": True,
    "timeout": 60,
    "detach": True,
    "auto_remove": False,
    "restart": "on-failure:3",
    "healthcheck": {"test": ["CMD", "true"], "interval": 2, "retries": 4},
    "log_max_size": "1m",
    "log_max_files": 7,
}


def journey(options: Options) -> Options:
    return Options.unpacked(json.loads(json.dumps(options.packed())))


def test_every_option_survives_the_journey() -> None:
    options = Options.of("echo 'a b'", **EVERYTHING)

    again = journey(options)

    assert again == options
    assert EVERYTHING.keys() | {"command"} == {field.name for field in attrs.fields(Options)}
    assert hash(attrs.evolve(again, seccomp="default")) == hash(
        attrs.evolve(options, seccomp="default")
    )


OF_NETWORKS = (
    "ip ip6 mac aliases dns dns_search dns_options extra_hosts network_rate network_priority"
).split()


@pytest.mark.parametrize("name", EVERYTHING)
def test_each_option_survives_alone(name: str) -> None:
    given_ = {name: EVERYTHING[name]}
    if name == "memory_swap":
        given_["memory"] = "64m"
    if name in OF_NETWORKS:
        given_["network"] = "backend"

    options = Options.of(None, **given_)

    assert journey(options) == options
    assert options != Options() or EVERYTHING[name] is False


def test_the_defaults_survive_the_journey() -> None:
    assert journey(Options()) == Options()


@given(
    command=st.none() | st.lists(st.text(max_size=8).filter(lambda text: "\0" not in text)),
    labels=st.dictionaries(st.text("ab é\U0001f600"), st.text("ab\udc80")),
    cpus=st.none() | st.floats(0.01, 1e6),
    timeout=st.none() | st.floats(0, 1e9),
    memory=st.none() | st.integers(1 << 20, 1 << 60),
)
def test_any_values_survive_the_journey(command: Any, **given_: Any) -> None:
    options = Options.of(command, **given_)

    assert journey(options) == options


def test_a_newer_version_can_be_read_and_an_older_one() -> None:
    packed = Options.of(["true"], mounts=[pc.Mount.tmpfs("/a")], restart="always").packed()
    packed["quantum"] = {"spin": 1}
    packed["mounts"][0]["colour"] = "blue"
    packed["restart"]["mood"] = "good"
    del packed["pids"]
    del packed["mounts"][0]["mode"]

    options = Options.unpacked(packed)

    assert options == Options.of(["true"], mounts=[pc.Mount.tmpfs("/a")], restart="always")


def test_a_profile_that_json_can_not_hold_is_refused() -> None:
    for profile in ({"defaultAction": object()}, {1: "x"}):
        with pytest.raises(pc.InvalidArgument, match="seccomp"):
            Options.of(["true"], seccomp=profile).packed()  # type: ignore[arg-type]


def test_some_options_are_changed_and_the_others_stay() -> None:
    before = Options.of(["true"], memory="64m", cpus=0.5, name="web")

    after = before.updated(memory="128m", restart="always", pids=10)

    assert after == Options.of(
        ["true"], memory="128m", cpus=0.5, name="web", restart="always", pids=10
    )
    assert before.memory == 64 << 20
    assert changed_limits(before, after) == Limits(memory=128 << 20, pids=10)


@pytest.mark.parametrize(
    ("given_", "limits"),
    [
        ({}, Limits()),
        ({"restart": "always"}, Limits()),
        ({"memory": None}, Limits(memory=-1)),
        ({"memory": -1}, Limits(memory=-1)),
        ({"memory_swap": "90m"}, Limits(memory=64 << 20, memory_swap=90 << 20)),
        ({"memory_swap": -1}, Limits(memory=64 << 20, memory_swap=-1)),
        ({"memory_swap": None}, Limits(memory=64 << 20)),
        ({"memory": "32m"}, Limits(memory=32 << 20, memory_swap=80 << 20)),
        ({"memory_reservation": "16m"}, Limits(memory_reservation=16 << 20)),
        ({"memory_reservation": None}, Limits(memory_reservation=-1)),
        ({"memory_reservation": 0}, Limits(memory_reservation=-1)),
        ({"cpus": None}, Limits(cpus=0)),
        ({"cpus": 0}, Limits(cpus=0)),
        ({"cpus": 0.5}, Limits()),
        ({"cpu_shares": 0}, Limits(cpu_shares=0)),
        ({"cpuset": ""}, Limits(cpuset="")),
        ({"pids": -1}, Limits(pids=-1)),
        ({"pids": 0}, Limits(pids=-1)),
        ({"pids": None}, Limits(pids=-1)),
        ({"io_weight": 0}, Limits(io_weight=0)),
    ],
)
def test_what_changes_is_what_the_cgroup_is_told(given_: Any, limits: Limits) -> None:
    before = Options.of(
        ["true"], memory="64m", memory_swap="80m", memory_reservation="24m", cpus=0.5,
        cpu_shares=512, cpuset="0", io_weight=100,
    )  # fmt: skip

    assert changed_limits(before, before.updated(**given_)) == limits


@pytest.mark.parametrize(
    "given_",
    [
        {"memory": "1k"},
        {"memory": "100m"},  # more than memory and swap together
        {"memory_swap": "10m"},
        {"memory_reservation": "65m"},
        {"memory_reservation": 1},
        {"memory": None, "memory_swap": "1g"},
        {"cpus": -1},
        {"cpus": False},
        {"pids": -2},
        {"cpuset": "x"},
        {"io_weight": 1},
        {"restart": "sometimes"},
    ],
)
def test_changes_that_can_not_be_are_refused(given_: Any) -> None:
    options = Options.of(["true"], memory="64m", memory_swap="80m")

    with pytest.raises(pc.InvalidArgument):
        options.updated(**given_)


def test_only_some_options_can_be_changed() -> None:
    options = Options.of(["true"], auto_remove=True)

    with pytest.raises(TypeError, match="env"):
        options.updated(env={"A": "b"})  # type: ignore[call-arg]
    with pytest.raises(pc.InvalidArgument, match="auto_remove"):
        options.updated(restart="always")
