"""Options whose effect inside is held against a Docker daemon's."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pycontainers as pc
from tests.images.conftest import Peer
from tests.images.conftest import docker as docker  # noqa: PLC0414  # a fixture

Both = Callable[[str, list[str], dict[str, Any]], tuple[str, str]]


@pytest.fixture(scope="module")
def network(docker: Peer, engine: pc.Engine) -> Iterator[pc.Network]:
    docker("network", "create", "both")
    with pc.Network.create("both", engine=engine) as network:
        yield network
    docker("network", "rm", "both")


@pytest.fixture(scope="module")
def both(
    docker: Peer,
    busybox: Path,
    image: pc.Image,
    engine: pc.Engine,
    network: pc.Network,
    tmp_path_factory: pytest.TempPathFactory,
) -> Both:
    """Run a line of shell in both engines with flags and options; gives what each prints."""
    archive = tmp_path_factory.mktemp("image") / "root.tar"
    subprocess.run(["tar", "-C", busybox, "-cf", archive, "."], check=True)
    docker("import", archive, "both:1")

    def run(line: str, flags: list[str], options: dict[str, Any]) -> tuple[str, str]:
        theirs = docker("run", "--rm", "--network", "both", *flags, "both:1", "/bin/sh", "-c", line)
        ours = pc.run(["sh", "-c", line], image=image, network=network, engine=engine, check=True,
                      **options)  # fmt: skip
        return ours.stdout, theirs

    return run


@pytest.mark.parametrize("user", ["0", "app", "1000:0", "3000", "3000:app"])
def test_groups(both: Both, user: str) -> None:
    given = ["extra", "7", "app"]
    flags = ["-u", user, *(f"--group-add={group}" for group in given)]

    ours, theirs = both(
        "grep ^Groups: /proc/self/status", flags, {"user": user, "group_add": given}
    )

    assert sorted(ours.split()) == sorted(theirs.split())


@pytest.mark.parametrize(
    ("hostname", "domainname"), [("web", "shop.example"), ("a.b.example", None), ("web", None)]
)
def test_names(both: Both, hostname: str, domainname: str | None) -> None:
    line = (
        "grep -o '[a-z.]*web.*\\|a\\.b.*' /etc/hosts; hostname; cat /proc/sys/kernel/domainname; "
        "echo $HOSTNAME"
    )
    flags = ["--hostname", hostname, *(["--domainname", domainname] if domainname else [])]

    ours, theirs = both(line, flags, {"hostname": hostname, "domainname": domainname})

    found = ours.splitlines()
    own = found[0].rpartition(" ")[0]  # the last one is its id, which Docker has no name of
    assert [own, *found[1:]] == theirs.splitlines()


@pytest.mark.parametrize(
    ("search", "options"),
    [(["shop.example", "example"], ["ndots:2", "rotate"]), (["."], ["ndots:1"])],
)
def test_the_resolver(both: Both, search: list[str], options: list[str]) -> None:
    flags = [f"--dns-search={one}" for one in search] + [f"--dns-option={one}" for one in options]

    ours, theirs = both(
        "grep 'search\\|options' /etc/resolv.conf",
        flags,
        {"dns_search": search, "dns_options": options},
    )

    assert sorted(ours.splitlines()) == sorted(theirs.splitlines())


def test_the_oom_score(both: Both) -> None:
    ours, theirs = both(
        "cat /proc/self/oom_score_adj", ["--oom-score-adj", "300"], {"oom_score_adj": 300}
    )

    assert ours == theirs == "300\n"


def test_volumes_of_another_container(
    both: Both, docker: Peer, image: pc.Image, engine: pc.Engine, tmp_path: Path
) -> None:
    lent = ["data:/data:ro", "/own", f"{tmp_path}:/bind"]
    docker("create", "--name", "lender", *(f"-v={one}" for one in lent), "--tmpfs=/memory",
           "--network=none", "both:1", "/bin/true")  # fmt: skip
    lender = pc.Container.create(image, ["true"], name="lender", volumes=lent, tmpfs=["/memory"],
                                 engine=engine)  # fmt: skip
    line = (
        "for d in data own bind memory; do "
        'grep -q " /$d " /proc/mounts && echo $d; touch /$d/x 2>/dev/null && echo writable; done; :'
    )

    for mode in ("", ":ro", ":rw"):
        own = tmp_path / "own"
        own.mkdir(exist_ok=True)
        for flags, options in (
            ([], {}),
            (["-v", f"{own}:/data"], {"volumes": {own: "/data"}}),
        ):
            ours, theirs = both(
                line,
                [*flags, "--volumes-from", f"lender{mode}"],
                {**options, "volumes_from": [f"lender{mode}"]},
            )
            assert ours == theirs

    lender.remove(volumes=True)
    pc.Volume.get("data", engine=engine).remove()
    docker("rm", "-v", "lender")
    docker("volume", "rm", "data")
    assert pc.Volume.list(engine=engine) == []
    assert docker("volume", "ls", "-q") == ""
