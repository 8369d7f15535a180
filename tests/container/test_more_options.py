"""Groups, OOM score, names of hosts and domains, the resolver, memory that is kept: from inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import pycontainers as pc
from pycontainers.kernel import capabilities
from pycontainers.kernel.cgroups import files
from pycontainers.kernel.cgroups.plain import from_plain
from pycontainers.lifecycle.bundle import write_bundle
from tests.kernel.programs import directory

SLEEP = ["sleep", "600"]
OOM = ["cat", "/proc/self/oom_score_adj"]


def groups(text: str) -> list[int]:
    return sorted(map(int, text.split()))


def settings(container: pc.Container) -> dict[str, list[str]]:
    """Give the lines of a container's resolv.conf by their first words."""
    lines = container.exec(["cat", "/etc/resolv.conf"]).stdout.splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines if line}


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (None, [0, 7, 1000, 2000]),
        ("app", [7, 1000, 2000]),
        ("1000:0", [0, 7, 1000, 2000]),
        ("3000", [0, 7, 1000, 2000]),
    ],
)
def test_further_groups_are_looked_up_inside(
    image: pc.Image, engine: pc.Engine, user: str | None, expected: list[int]
) -> None:
    with pc.Container.run(
        image, SLEEP, user=user, group_add=["extra", 7, "app", "7"], engine=engine
    ) as container:
        status = container.exec(["grep", "Groups", "/proc/1/status"]).stdout
        assert groups(status.partition(":")[2]) == expected
        assert groups(container.exec(["id", "-G"]).stdout) == expected
        assert groups(container.exec(["id", "-G"], user="3000:7").stdout) == [7, 1000, 2000]


def test_further_groups_in_debian(engine: pc.Engine) -> None:
    shown = pc.run(["id", "-Gn"], user="nobody", group_add=["users", "tty"], engine=engine)

    assert sorted(shown.stdout.split()) == ["nogroup", "tty", "users"]


def test_a_group_that_is_not_there(image: pc.Image, engine: pc.Engine) -> None:
    with pytest.raises(pc.LaunchError, match="no group 'nobodies'"):
        pc.run(["id"], image=image, group_add=["nobodies"], engine=engine)


@pytest.mark.parametrize("score", [0, 700])
def test_the_oom_score_is_that_of_all_programs(
    image: pc.Image, engine: pc.Engine, score: int
) -> None:
    check = {"test": f"{' '.join(OOM)} > /tmp/checked", "interval": 0.05}
    for _ in range(2):  # the second has a spare
        done = pc.run(OOM, image=image, oom_score_adj=score, engine=engine)
        assert int(done.stdout) == score
    with pc.Container.run(
        image, SLEEP, oom_score_adj=score, healthcheck=check, engine=engine
    ) as container:
        container.wait_for(healthy=True)
        assert int(container.exec(["cat", "/proc/1/oom_score_adj"]).stdout) == score
        assert int(container.exec(OOM).stdout) == score
        assert int(container.exec(["cat", "/tmp/checked"]).stdout) == score
        lower = f"echo {score - 1} > /proc/self/oom_score_adj"
        if may_lower() or score == 0:
            assert not container.exec(["sh", "-c", lower]).ok


def may_lower() -> bool:
    """Whether this machine lets its root have less than the usual score."""
    return "CAP_SYS_RESOURCE" in capabilities.names(capabilities.current().permitted)


def test_a_score_below_this_machines_own(image: pc.Image, engine: pc.Engine) -> None:
    if may_lower():
        done = pc.run(OOM, image=image, oom_score_adj=-500, engine=engine)
        assert int(done.stdout) == -500
        return
    for _ in range(2):  # the second has a spare
        with pytest.raises(pc.LaunchError, match="OOM score adjustment to -500") as caught:
            pc.run(OOM, image=image, oom_score_adj=-500, engine=engine)
        assert "CAP_SYS_RESOURCE" in str(caught.value)


def test_a_container_without_a_score_has_this_machines(image: pc.Image, engine: pc.Engine) -> None:
    assert int(pc.run(OOM, image=image, engine=engine).stdout) == int(
        Path("/proc/self/oom_score_adj").read_text()
    )


@pytest.mark.parametrize("given", [{"hostname": "web"}, {}])
def test_a_domain_name(engine: pc.Engine, given: dict[str, Any]) -> None:
    with (
        pc.Network.create("named", engine=engine) as network,
        pc.Container.run(
            None, SLEEP, network=network, domainname="shop.example", engine=engine, **given
        ) as container,
    ):
        name = given.get("hostname", container.id[:12])
        assert container.exec(["hostname", "-f"]).stdout == f"{name}.shop.example\n"
        assert container.exec(["hostname", "-d"]).stdout == "shop.example\n"
        assert container.exec(["hostname"]).stdout == f"{name}\n"
        kept = container.exec(["cat", "/proc/sys/kernel/domainname"])
        assert kept.stdout == "shop.example\n"


def test_a_domain_name_in_busybox_and_without_a_network(image: pc.Image, engine: pc.Engine) -> None:
    done = pc.run(["hostname", "-f"], image=image, network="bridge", hostname="web",
                  domainname="shop.example", engine=engine)  # fmt: skip
    assert done.stdout == "web.shop.example\n"
    for _ in range(2):  # the second has a spare
        done = pc.run(["cat", "/proc/sys/kernel/domainname"], image=image,
                      domainname="shop.example", engine=engine)  # fmt: skip
        assert done.stdout == "shop.example\n"


def test_a_host_name_with_a_domain_is_known_without_it(image: pc.Image, engine: pc.Engine) -> None:
    hosts = pc.run(["cat", "/etc/hosts"], image=image, network="bridge", hostname="a.b.example",
                   engine=engine).stdout  # fmt: skip

    (own,) = [line.split()[1:3] for line in hosts.splitlines() if "a.b.example" in line]
    assert own == ["a.b.example", "a"]


def test_where_the_resolver_looks(image: pc.Image, engine: pc.Engine) -> None:
    with (
        pc.Network.create("resolving", engine=engine) as network,
        pc.Container.run(
            image, SLEEP, network=network, dns=["192.0.2.53"],
            dns_search=["shop.example", "example"], dns_options=["ndots:2", "rotate"],
            engine=engine,
        ) as container,
    ):  # fmt: skip
        assert settings(container) == {
            "nameserver": ["192.0.2.53"],
            "search": ["shop.example", "example"],
            "options": ["ndots:2", "rotate"],
        }
        container.restart(timeout=0)
        assert settings(container)["search"] == ["shop.example", "example"]
    with pc.Container.run(
        image, SLEEP, network="bridge", dns_search=["."], engine=engine
    ) as container:
        assert "search" not in settings(container)


def reserved(container: pc.Container) -> int | None:
    where = directory(from_plain(container.attrs["cgroup"]), "memory")
    names = ("memory.soft_limit_in_bytes", "memory.low")
    return next(
        (found for name in names if (found := files.number(f"{where}/{name}")) is not None), None
    )


def test_memory_that_is_kept(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(
        image, SLEEP, memory="64m", memory_reservation="32m", engine=engine
    ) as container:
        assert reserved(container) == 32 << 20
        container.update(memory_reservation="16m")
        assert reserved(container) == 16 << 20
        container.update(cpus=0.9)
        assert reserved(container) == 16 << 20
        container.restart(timeout=0)
        assert reserved(container) == 16 << 20
        with pytest.raises(pc.InvalidArgument, match="memory_reservation"):
            container.update(memory="8m")
        container.update(memory_reservation=None)
        assert reserved(container) in (0, (1 << 63) - 4096)
    with pc.Container.run(image, SLEEP, memory_reservation="32m", engine=engine) as container:
        assert reserved(container) == 32 << 20


@pytest.mark.parametrize(
    "given",
    [
        {"group_add": "audio"},
        {"group_add": [""]},
        {"group_add": [-1]},
        {"group_add": [True]},
        {"group_add": ["a:b"]},
        {"group_add": list(range(1025))},
        {"oom_score_adj": 1001},
        {"oom_score_adj": "high"},
        {"domainname": "-"},
        {"domainname": "x" * 65},
        {"dns_search": "example.org", "network": "bridge"},
        {"dns_search": ["a b"], "network": "bridge"},
        {"dns_search": ["example.org"]},
        {"dns_options": ["a b"], "network": "bridge"},
        {"dns_options": [""], "network": "bridge"},
        {"dns_options": ["ndots:2"], "network": "host"},
        {"memory_reservation": "1k"},
        {"memory_reservation": "65m", "memory": "64m"},
        {"volumes_from": "web"},
        {"volumes_from": [":ro"]},
        {"volumes_from": ["web:ro:rw"]},
        {"volumes_from": ["web:private"]},
        {"volumes_from": [5]},
    ],
)
def test_what_can_not_be_is_refused(
    image: pc.Image, engine: pc.Engine, given: dict[str, Any]
) -> None:
    with pytest.raises(pc.InvalidArgument, match=next(iter(given))):
        pc.Container.create(image, SLEEP, volumes={"made": "/a"}, engine=engine, **given)

    assert pc.Container.list(all=True, engine=engine) == []
    assert pc.Volume.list(engine=engine) == []


def test_they_are_told_and_explained(image: pc.Image, engine: pc.Engine) -> None:
    given: dict[str, Any] = {
        "group_add": ["extra", 7], "oom_score_adj": 5, "domainname": "shop.example",
        "memory_reservation": 32 << 20,
    }  # fmt: skip
    with pc.Container.create(image, SLEEP, engine=engine, **given) as container:
        kept = container.attrs["options"]
        told = [(what, feature) for _, what, feature in container.explain().rows()]

    assert {name: kept[name] for name in given} == given
    assert ("name the domain shop.example", "uts_namespaces(7), setdomainname(2)") in told
    assert ("set the OOM score adjustment to 5", "proc_pid_oom_score_adj(5)") in told
    assert any(what == "become user 0:0 with the groups 7 extra" for what, _ in told)
    assert any(f"memory_reservation={32 << 20}" in what for what, _ in told)


def test_a_bundle_has_them(
    image: pc.Image, engine: pc.Engine, busybox: Path, tmp_path: Path
) -> None:
    with pc.Container.create(
        image, SLEEP, group_add=[7, 8], oom_score_adj=5, domainname="shop.example",
        memory_reservation="32m", engine=engine,
    ) as container:  # fmt: skip
        write_bundle(container._life(), tmp_path, busybox)
    config = json.loads((tmp_path / "config.json").read_text())

    assert config["process"]["user"]["additionalGids"] == [7, 8]
    assert "groupNames" not in config["process"]["user"]
    assert config["process"]["oomScoreAdj"] == 5
    assert config["domainname"] == "shop.example"
    assert config["linux"]["resources"]["memory"] == {"reservation": 32 << 20}

    with (
        pc.Container.create(image, SLEEP, group_add=["extra"], engine=engine) as container,
        pytest.raises(pc.InvalidArgument, match="group_add"),
    ):
        write_bundle(container._life(), tmp_path, busybox)
