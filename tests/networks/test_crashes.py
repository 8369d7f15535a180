"""Networks after SIGKILL of whoever used them, and after what others do to the host."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import pycontainers as pc
from pycontainers.net.tables import RULES
from tests import leaks
from tests.crashes.application import Application
from tests.networks.conftest import OtherHost, answers, host_address, talking
from tests.networks.talk import SILENCE, ask

APPLICATIONS = {
    "containers with ports": """
        while True:
            with pc.Container.run(image, ["sleep", "60"], network=["one", "two"], engine=engine,
                                  ports=["80", "81/udp"], network_priority=3):
                pass
    """,
    "runs": """
        while True:
            pc.run(["true"], image=image, network=["one", "two"], name="same", engine=engine)
    """,
    "a container that moves": """
        one, two = (pc.Network.get(name, engine=engine) for name in ("one", "two"))
        container = pc.Container.run(image, ["sleep", "60"], network=one, ports=["80"],
                                     engine=engine)
        while True:
            two.connect(container)
            two.disconnect(container)
    """,
    "networks": """
        while True:
            with pc.Network.create("brief", ipv6=True, engine=engine):
                pass
    """,
    "the default network": """
        while True:
            pc.run(["true"], image=image, network="bridge", engine=engine)
            engine.close()
    """,
}


@pytest.mark.parametrize("kind", APPLICATIONS)
def test_a_killed_application_leaves_nothing_in_networks(
    kind: str, root: Path, busybox: Path
) -> None:
    program = 'say("go")\n' + "\n".join(
        line.removeprefix("        ") for line in APPLICATIONS[kind].splitlines()
    )
    with pc.Engine(root=root) as engine:
        networks = [pc.Network.create(name, ipv6=True, engine=engine) for name in ("one", "two")]
    before = leaks.snapshot()
    for delay in random.Random(kind).choices(range(120), k=5):
        with Application(program, root, busybox) as application:
            assert application.line() == "go"
            time.sleep(delay / 1000)

            application.kill()

        with pc.Engine(root=root) as engine:
            assert [network.containers for network in networks] == [{}, {}]
            pc.Network.prune(filters={"name": "brief"}, engine=engine)
        leaks.assert_none_since(before)
    with pc.Engine(root=root) as engine:
        for network in networks:
            with talking(engine, network=network, ports=["80"]) as server:
                assert server.id[:12] in ask("STREAM", host_address(4), server.port(80))
            network.remove()


def run_with_port(image: pc.Image, engine: pc.Engine) -> None:
    with pc.Container.run(image, ["sleep", "0.05"], network="one", ports=["80"],
                          engine=engine) as container:  # fmt: skip
        container.wait()


def run_once(image: pc.Image, engine: pc.Engine) -> None:
    pc.run(["true"], image=image, network="one", engine=engine)


# The names of helper processes, and what needs them.
HELPERS = {
    "supervisor": run_with_port,
    "nursery": run_with_port,
    "pycontainers": run_once,
    "zygote": run_once,
}


@pytest.mark.parametrize("helper", HELPERS)
def test_a_killed_helper_leaves_nothing_in_networks(
    helper: str, own: pc.Engine, busybox: Path
) -> None:
    image = pc.Image.from_rootfs(busybox, engine=own)
    strangers = leaks._descendants()
    with pc.Network.create("one", ipv6=True, engine=own) as network:
        before = leaks.firewall_entries()
        done = threading.Event()

        def use() -> None:
            while not done.is_set():
                with contextlib.suppress(pc.PyContainersError):
                    HELPERS[helper](image, own)

        user = threading.Thread(target=use)
        user.start()
        killed = 0
        for delay in random.Random(helper).choices(range(80), k=8):
            time.sleep(delay / 1000)
            for pid in leaks._descendants() - strangers:
                if name_of(pid) == helper:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed += 1
        done.set()
        user.join()

        assert killed > 0
        assert pc.Container.list(all=True, engine=own) == []
        assert network.containers == {}
        until(lambda: leaks.firewall_entries() <= before)
        with talking(own, network=network, ports=["80"]) as server:
            assert server.id[:12] in ask("STREAM", host_address(4), server.port(80))


def name_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def flush(engine: pc.Engine, network: pc.Network) -> None:
    for family in ("inet", "bridge"):
        subprocess.run(["nft", "delete", "table", family, "pycontainers"], check=True)


def delete_bridge(engine: pc.Engine, network: pc.Network) -> None:
    subprocess.run(["ip", "link", "del", network.attrs["bridge"]], check=True)


def both(engine: pc.Engine, network: pc.Network) -> None:
    flush(engine, network)
    delete_bridge(engine, network)


@pytest.mark.parametrize("damage", [flush, delete_bridge, both])
def test_what_others_destroy_is_made_again_with_the_next_start(
    damage: Callable[[pc.Engine, pc.Network], None], machine: OtherHost, own: pc.Engine
) -> None:
    with (
        pc.Network.create("one", ipv6=True, engine=own) as network,
        pc.Network.create("two", ipv6=True, engine=own) as other,
        talking(own, hostname="first", network=network, ports=["80"]) as first,
        talking(own, hostname="apart", network=other) as apart,
    ):
        port = first.port(80)
        damage(own, network)
        with talking(own, hostname="second", network=network, ports=["80"]) as second:
            assert answers(second, ("STREAM", str(first.ip), 80)) == [f"first {second.ip}"]
            assert answers(first, ("STREAM", str(second.ip), 80)) == [f"second {first.ip}"]
            for at, name in ((port, "first"), (second.port(80), "second")):
                found = answers(machine, ("STREAM", machine.gateway, at))
                assert found == [f"{name} {machine.address}"]
            assert answers(second, ("STREAM", str(apart.ip), 80)) == [SILENCE]


def test_rules_of_an_older_version_are_replaced_and_hold_for_all_that_they_held_for(
    machine: OtherHost, own: pc.Engine, tmp_path: Path
) -> None:
    with (
        pc.Engine(root=tmp_path / "other") as other,
        pc.Network.create("theirs", ipv6=True, engine=other) as theirs,
        talking(other, hostname="old", network=theirs, ports=["80"]) as old,
    ):
        subprocess.run("nft flush chain inet pycontainers forward".split(), check=True)
        subprocess.run(f"nft delete chain bridge pycontainers {RULES}".split(), check=True)

        with (
            pc.Network.create("ours", ipv6=True, engine=own) as network,
            talking(own, network=network) as new,
        ):
            assert answers(new, ("STREAM", str(old.ip), 80)) == [SILENCE]
            published = ("STREAM", machine.gateway, old.port(80))
            assert answers(machine, published) == [f"old {machine.address}"]
            assert answers(new, published)[0].startswith("old ")


def test_networks_work_again_after_a_reboot(machine: OtherHost, root: Path, busybox: Path) -> None:
    program = """
        network = pc.Network.create("one", ipv6=True, engine=engine)
        serve = ["busybox", "nc", "-ll", "-p", "80", "-e", "echo", "web here"]
        container = pc.Container.run(image, serve, name="web", network=network, ports=["80"],
                                     detach=True, engine=engine)
        say(container.id, container.ip, container.attrs["supervisor"][0], network.attrs["bridge"])
        time.sleep(60)
    """
    with Application(program, root, busybox) as application:
        container_id, ip, supervisor, bridge = application.line().split()
        application.kill()
    os.kill(int(supervisor), signal.SIGKILL)
    for family in ("inet", "bridge"):
        subprocess.run(["nft", "delete", "table", family, "pycontainers"], check=True)
    subprocess.run(["ip", "link", "del", bridge], check=True)
    Path("/run/pycontainers/supervisors", container_id).unlink()
    for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        Path("/proc/sys/net", name).write_text("0")

    with pc.Engine(root=root) as engine, pc.Network.get("one", engine=engine) as network:
        with pc.Container.get("web", engine=engine) as container:
            assert container.status == "exited"
            container.start()
            container.wait_for(port=80)
            assert container.ip == ip
            published = ("STREAM", machine.gateway, container.port(80))
            assert answers(machine, published) == ["web here\n"]
        assert network.containers == {}


def test_the_network_of_a_deleted_data_root_goes_with_the_next_that_is_made(
    machine: OtherHost, root: Path, tmp_path: Path, busybox: Path
) -> None:
    program = """
        network = pc.Network.create("lost", ipv6=True, engine=engine)
        say(network.attrs["bridge"], *network.subnets)
        time.sleep(60)
    """
    with Application(program, tmp_path / "gone", busybox) as application:
        bridge, *subnets = application.line().split()
    shutil.rmtree(tmp_path / "gone")

    with pc.Engine(root=root) as engine:
        pc.Network.create("next", subnet=subnets, engine=engine).remove()

    assert subprocess.run(["ip", "link", "show", bridge], check=False).returncode != 0
    assert leaks.firewall_entries() == set()


def test_a_data_root_may_have_a_long_name(tmp_path: Path) -> None:
    long = tmp_path.joinpath(*["d" * 60] * 4)
    with (
        pc.Engine(root=long) as engine,
        pc.Network.create("n" * 128, engine=engine) as network,
    ):
        assert pc.Network.list(engine=engine) == [network]


def until(condition: Callable[[], bool]) -> None:
    """Wait until it is so, and fail where it never is."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
