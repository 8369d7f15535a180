"""Commands of one stage: the same network one after the other, and nothing of each other in it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from pycontainers.build.progress import BuildProgress
from tests.build.conftest import Builder

HEAD = "FROM bb:1\n"
_NETWORK = "RUN readlink /proc/self/ns/net\n"


def test_commands_of_a_stage_have_one_network_and_one_address(fresh: Builder) -> None:
    built = fresh(
        f"{HEAD}{_NETWORK}RUN ip -o -4 addr show dev eth0\n"
        f"RUN true\n{_NETWORK[:-1]} # again\nRUN ip -o -4 addr show dev eth0 # again\n",
        network="bridge",
    )

    network, address, *again = built.output.splitlines()[:4]
    assert [network, address] == again
    assert network != os.readlink("/proc/self/ns/net")


def test_a_command_finds_no_process_and_nothing_in_memory_of_the_one_before(
    build: Builder,
) -> None:
    built = build(
        f"{HEAD}RUN sleep 1000 & echo left > /dev/shm/left; echo left > /dev/left\n"
        "RUN ps -o comm | grep -c sleep; ls -A /dev/shm | wc -l; ls /dev | grep -c left || true\n"
    )

    assert built.output.splitlines()[:3] == ["0", "0", "0"]


def test_connections_that_wait_for_their_end_hold_no_port_of_the_next_command(
    build: Builder,
) -> None:
    command = (
        "(echo served | nc -l -p 7777 >/dev/null) & "
        "until nc 127.0.0.1 7777 </dev/null 2>/dev/null; do usleep 1000; done; "
        "until netstat -tn | grep -c TIME_WAIT; do usleep 1000; done"
    )

    built = build(f"{HEAD}RUN {command}\nRUN netstat -tn | grep -c :7777 || true\n")

    assert built.output.splitlines()[0] == "served"
    assert built.output.splitlines()[-3:-1] == ["1", "0"]


def test_a_privileged_command_has_a_network_that_no_other_one_has(fresh: Builder) -> None:
    built = fresh(
        f"{HEAD}{_NETWORK}RUN --security=insecure readlink /proc/self/ns/net\n"
        f"{_NETWORK[:-1]} # again\n",
        insecure=True,
    )

    first, insecure, again = built.output.splitlines()[:3]
    assert first == again != insecure


def test_a_command_may_open_low_ports_in_the_network_that_it_finds(build: Builder) -> None:
    built = build(
        f"{HEAD}RUN true\nRUN (nc -l -p 80 </dev/null &) ; "
        "until netstat -tln | grep -q :80; do usleep 1000; done; echo bound\n"
    )

    assert built.output.startswith("bound\n")


def test_the_variables_and_the_user_of_each_command_are_its_own(build: Builder) -> None:
    built = build(
        f"{HEAD}ENV A=1\nRUN echo $A $B; id -u; pwd\nENV A=2 B=3\nUSER 1000\nWORKDIR /w\n"
        "RUN echo $A $B; id -u; pwd\n"
    )

    assert built.output.splitlines()[:6] == ["1", "0", "/", "2 3", "1000", "/w"]


def test_a_launcher_that_is_killed_between_commands_takes_no_step_along(fresh: Builder) -> None:
    killed = []

    def told(event: BuildProgress) -> None:
        if event.name == "RUN echo second" and event.action == "start":
            guard = fresh.engine.services().launcher().pid
            [launcher] = _children(guard)
            os.kill(launcher, signal.SIGKILL)
            while Path(f"/proc/{guard}/root").exists():  # it ends after the launcher
                time.sleep(0.001)
            killed.append(event)

    text = f"{HEAD}RUN echo first > /first\nRUN echo second\nRUN cat /first > /third\n"
    for network in ("none", "bridge"):
        built = fresh(text + f"LABEL n={network}\n", network=network, progress=told, cache=False)
        assert built.sh("cat /third") == "first\n"

    assert len(killed) == 2


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def test_stages_side_by_side_each_have_their_spare_container(fresh: Builder) -> None:
    steps = "".join(f"RUN echo {number} >> /made\n" for number in range(6))
    stages = "".join(f"FROM bb:1 AS s{stage}\nENV S={stage}\n{steps}" for stage in range(4))
    copies = "".join(f"COPY --from=s{stage} /made /made{stage}\n" for stage in range(4))

    built = fresh(f"{stages}FROM bb:1\n{copies}")

    wanted = "".join(f"{number}\n" for number in range(6))
    assert built.sh("cat /made0 /made1 /made2 /made3") == wanted * 4
    assert fresh.engine.services().attached == {}
