"""The files by which containers find names, while others come, go and are connected."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pycontainers as pc
from tests.networks.test_crashes import until

MARK = "# Containers in the same networks:\n"
# Tells each time that a name is not found, until it is told to end.
LOOKING = """
until [ -e /tmp/end ]; do
    grep -q web /etc/hosts || echo web is missing
    grep -q "$(hostname)" /etc/hosts || echo "the own name is missing"
done
"""


def told(root: Path, container: pc.Container) -> str:
    """Give what the host's names.lock guards: what a container is told of others."""
    text = (root / "containers" / container.id / "hosts").read_text()
    return text.partition(MARK)[2]


def has_said(container: pc.Container, length: int) -> bool:
    return len(container.logs().read()) >= length


def test_names_that_stay_are_found_all_the_time(own: pc.Engine, busybox: Path) -> None:
    image = pc.Image.from_rootfs(busybox, engine=own)

    def come_and_go(number: int) -> None:
        for turn in range(5):
            name = f"{'long' * turn}-{number}"
            pc.Container.create(
                image, ["true"], name=f"c{name}", network="one", engine=own
            ).remove()

    with (
        pc.Network.create("one", ipv6=True, engine=own) as one,
        pc.Network.create("two", engine=own) as two,
        pc.Container.create(image, ["true"], name="web", network=one, engine=own),
        pc.Container.run(image, ["sh", "-c", LOOKING], name="looking", network=one,
                         engine=own) as looking,
    ):  # fmt: skip
        with ThreadPoolExecutor(4) as pool:
            going = pool.map(come_and_go, range(4))
            for _ in range(5):
                two.connect(looking)
                two.disconnect(looking)
            list(going)
        looking.exec(["touch", "/tmp/end"])

        assert looking.wait() == 0
        assert looking.logs().read() == ""


def test_all_are_told_the_same_of_the_others(own: pc.Engine, root: Path, busybox: Path) -> None:
    image = pc.Image.from_rootfs(busybox, engine=own)
    with pc.Network.create("one", engine=own) as one:

        def created(name: str) -> pc.Container:
            return pc.Container.create(image, ["true"], name=name, network=one, engine=own)

        first = [created(f"first{number}") for number in range(6)]
        for gone in first[::2]:
            gone.remove()
        members = [*first[1::2], *(created(f"a-longer-name{number}") for number in range(3))]
        members[0].rename("renamed")

        texts = {told(root, member) for member in members}
        assert len(texts) == 1
        lines = {line for line in texts.pop().splitlines() if line}
        assert lines == {f"{member.ip}\t{member.name}" for member in members}
        for member in members:
            member.remove()


def test_own_names_that_come_later_move_no_other(own: pc.Engine, root: Path, busybox: Path) -> None:
    image = pc.Image.from_rootfs(busybox, engine=own)
    with (
        pc.Network.create("one", engine=own) as one,
        pc.Network.create("two", engine=own) as two,
        pc.Container.create(image, ["true"], name="web", network=one, engine=own) as web,
        pc.Container.create(image, ["true"], name="mover", network=one, engine=own) as mover,
    ):
        path = root / "containers" / mover.id / "hosts"
        before = path.read_text()
        two.connect(mover)
        during = path.read_text()
        two.disconnect(mover)
        after = path.read_text()

        line = f"{web.ip}\tweb\n"
        assert before.index(line) == during.index(line) == after.index(line)
        assert f"\t{mover.id[:12]}\n" in during.partition(MARK)[0].partition(str(mover.ip))[2]
        own_lines = [
            text.partition(MARK)[0].count(mover.id[:12]) for text in (before, during, after)
        ]
        assert own_lines == [1, 2, 1]


def test_a_program_begins_with_the_networks_that_its_container_has_by_then(
    own: pc.Engine, busybox: Path
) -> None:
    image = pc.Image.from_rootfs(busybox, engine=own)
    program = ["sh", "-c", "ip -4 -o addr show | grep -c eth; exec sleep 60"]
    with (
        pc.Network.create("one", engine=own) as one,
        pc.Network.create("two", engine=own) as two,
        pc.Container.create(image, program, network=one, engine=own) as container,
    ):
        seen = ""
        for connect, disconnect, interfaces in (
            ((), (one,), 0),
            ((two,), (), 1),
            ((one,), (), 2),
            ((), (one, two), 0),
        ):
            for network in connect:
                network.connect(container)
            for network in disconnect:
                network.disconnect(container)
            container.restart(timeout=0)
            seen += f"{interfaces}\n"
            until(partial(has_said, container, len(seen)))
            assert container.logs().read() == seen
