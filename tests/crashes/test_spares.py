"""The supervisor that a nursery keeps spare: used where it fits, never missed, never left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import pycontainers as pc
from pycontainers.kernel import mounts
from tests.crashes.application import children, ended

Start = Callable[..., pc.Container]


def _eventually(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _supervisor(container: pc.Container) -> int:
    number: int = container.attrs["supervisor"][0]
    return number


def _nursery(container: pc.Container) -> int:
    stat = Path(f"/proc/{_supervisor(container)}/stat").read_bytes()
    return int(stat.rpartition(b")")[2].split()[1])


def _spares(nursery: int) -> list[int]:
    """Name the spare supervisors of a nursery that have all that they can have in advance."""
    named = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in children(nursery)}
    found = [pid for pid, name in named.items() if name == "spare" and children(pid)]
    return [pid for pid in found if Path(f"/proc/{pid}/wchan").read_text() == _WAITS]


_WAITS = "__skb_wait_for_more_packets"


@pytest.fixture
def start(own: pc.Engine, own_image: pc.Image) -> Start:
    def start(*command: str, image: pc.Image = own_image, **options: object) -> pc.Container:
        argv = command or ("sleep", "600")
        return pc.Container.run(image, argv, engine=own, **options)  # type: ignore[arg-type]

    return start


@pytest.fixture
def nursery(start: Start) -> int:
    """The nursery of the data root, once it has a spare."""
    with start() as container:
        number = _nursery(container)
        _eventually(lambda: _spares(number))
    return number


def test_a_spare_becomes_the_supervisor_of_the_next_container(start: Start, nursery: int) -> None:
    [spare] = _spares(nursery)
    [init] = children(spare)

    with start("sh", "-c", "hostname; exec sleep 600", hostname="next") as container:
        container.wait_for(log="next")

        assert (_supervisor(container), container.pid) == (spare, init)
        _eventually(lambda: _spares(nursery))


@pytest.mark.parametrize(
    "options", [{"network": "bridge"}, {"network": "bridge", "read_only": True}], ids=str
)
def test_the_init_of_a_spare_becomes_that_of_a_like_container(
    options: dict[str, object], start: Start, nursery: int
) -> None:
    script = "cat /proc/mounts; touch /file; exec sleep 600"
    with start("sh", "-c", script, **options):
        _eventually(lambda: _spares(nursery))
    [spare] = _spares(nursery)
    [init] = children(spare)

    with start("sh", "-c", script, **options) as container:
        container.wait_for(log="/etc/hosts")

        assert container.pid == init
        changed = {change.path for change in container.diff()}
        assert ("/file" in changed) is ("read_only" not in options)


def test_its_container_has_cgroup_changes_and_network_of_its_own(
    start: Start, nursery: int, root: Path
) -> None:
    [spare] = _spares(nursery)
    script = "echo kept >/file; cat /proc/self/cgroup; ip addr; exec sleep 600"

    with start("sh", "-c", script, network="bridge", memory="64m", ephemeral=False) as container:
        container.wait_for(log="eth0")

        assert container.id not in container.logs().read()
        assert container.stats().memory_limit == 64 << 20
        assert (root / "containers" / container.id / "upper/file").read_text() == "kept\n"
        container.restart(timeout=0)
        assert container.path("/file").read_text() == "kept\n"
        assert _supervisor(container) != spare or container.status == "running"


@pytest.mark.parametrize("how", ["written", "restarted"])
def test_changes_from_before_a_start_are_there(how: str, start: Start, nursery: int) -> None:
    assert _spares(nursery)
    with start("sh", "-c", "cat /file; sleep 600") as container:
        if how == "restarted":
            container.stop(timeout=0)
        container.path("/file").write_text("before\n")
        container.stop(timeout=0)
        _eventually(lambda: _spares(nursery))

        container.start()

        container.wait_for(log="before")


def test_a_container_that_was_written_to_before_its_first_start(
    own: pc.Engine, own_image: pc.Image, nursery: int
) -> None:
    with pc.Container.create(own_image, ["cat", "/file"], engine=own) as container:
        container.path("/file").write_text("before\n")
        assert _spares(nursery)

        container.start()

        assert container.wait() == 0
        assert container.logs().read() == "before\n"


@pytest.mark.parametrize(
    "options",
    [{"memory": "64m"}, {"user": "app"}, {"read_only": True}, {"userns": "host"},
     {"privileged": True}, {"ephemeral": True}, {"network": "host"}, {"tty": True}],
    ids=str,
)  # fmt: skip
def test_a_container_that_differs_from_the_one_before(
    options: dict[str, object], start: Start, nursery: int
) -> None:
    assert _spares(nursery)
    with start("sh", "-c", "id -u; exec sleep 600", **options) as container:
        container.wait_for(log="1000" if "user" in options else "0")
        _eventually(lambda: not [one for one in children(nursery) if one != _supervisor(container)]
                    or options.get("ephemeral") or _spares(nursery))  # fmt: skip
    with start("echo", "after", read_only=options.get("read_only", False)) as container:
        container.wait()
        assert container.logs().read() == "after\n"


def test_another_image(start: Start, own: pc.Engine, nursery: int, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "bin").mkdir(parents=True)
    (other / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (other / "bin/busybox").chmod(0o755)
    image = pc.Image.from_rootfs(other, engine=own)
    assert _spares(nursery)

    with start("/bin/busybox", "ls", "/", image=image) as container:
        container.wait()

        assert "home" not in container.logs().read()


def test_what_the_host_mounts_meanwhile_is_seen(start: Start, nursery: int, tmp_path: Path) -> None:
    [spare] = _spares(nursery)
    place = tmp_path / "late"
    place.mkdir()
    mounts.mount("late", str(place), "tmpfs", 0, None)
    try:
        (place / "file").write_text("late\n")
        volumes = {str(place): {"bind": "/late", "mode": "ro"}}

        with start("sh", "-c", "cat /late/file; exec sleep 600", volumes=volumes) as container:
            container.wait_for(log="late")

            assert _supervisor(container) != spare
        _eventually(lambda: ended(spare))
    finally:
        mounts.umount(str(place), detach=True)


def test_what_the_host_has_unmounted_again_does_not_matter(
    start: Start, nursery: int, tmp_path: Path
) -> None:
    [spare] = _spares(nursery)
    place = tmp_path / "short"
    place.mkdir()
    mounts.mount("short", str(place), "tmpfs", 0, None)
    mounts.umount(str(place))

    with start() as container:
        assert _supervisor(container) == spare


@pytest.mark.parametrize("pause", [0, 0.01, 0.1])
def test_a_killed_spare_is_not_missed(pause: float, start: Start, nursery: int) -> None:
    [spare] = _spares(nursery)
    os.kill(spare, signal.SIGKILL)
    _eventually(lambda: ended(spare))
    time.sleep(pause)

    with start("echo", "here") as container:
        assert container.wait() == 0
        assert container.logs().read() == "here\n"


def test_a_killed_init_of_a_spare_is_not_missed(start: Start, nursery: int) -> None:
    [spare] = _spares(nursery)
    [init] = children(spare)
    os.kill(init, signal.SIGKILL)
    _eventually(lambda: ended(init))

    with start("echo", "here") as container:
        assert container.wait() == 0
        assert container.logs().read() == "here\n"


def test_a_spare_ends_with_its_nursery(start: Start, nursery: int) -> None:
    [spare] = _spares(nursery)
    os.kill(nursery, signal.SIGKILL)

    _eventually(lambda: ended(spare))
    with start("echo", "here") as container:
        assert container.wait() == 0


def test_a_spare_ends_with_the_last_application(
    own: pc.Engine, start: Start, nursery: int, root: Path
) -> None:
    [spare] = _spares(nursery)
    container = start(detach=True, ephemeral=False)
    _eventually(lambda: _spares(nursery))
    [spare] = _spares(nursery)
    assert [name for name in os.listdir(root / "layers") if name.endswith("-changes")]

    own.close()

    _eventually(lambda: ended(spare))
    _eventually(lambda: not [n for n in os.listdir(root / "layers") if n.startswith(".making")])
    with pc.Engine(root=root) as engine:
        found = pc.Container.get(container.id, engine=engine)
        assert found.status == "running"
        found.remove(force=True)


def test_what_a_killed_spare_has_kept_is_removed_by_the_next_use(
    own: pc.Engine, start: Start, nursery: int, root: Path
) -> None:
    [spare] = _spares(nursery)
    os.kill(spare, signal.SIGKILL)
    _eventually(lambda: ended(spare))
    own.close()

    with pc.Engine(root=root) as engine:
        engine.services()
        assert not [n for n in os.listdir(root / "layers") if n.startswith(".making")]
