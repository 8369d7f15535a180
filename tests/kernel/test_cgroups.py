"""What a cgroup promises, whatever the version: run here, and in the guest on version 2."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontainers.errors import InvalidArgument, KernelError, NotSupported
from pycontainers.kernel.cgroups import files
from pycontainers.kernel.cgroups.base import Cgroup, Limits, Sample, Usage
from pycontainers.kernel.cgroups.host import Host, find_host
from pycontainers.kernel.cgroups.plain import from_plain
from tests.kernel.programs import Program, directory, running, within

MEBIBYTE = 1 << 20
FORK_BOMB = """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    found = find_host()
    found.adopt(os.getpid())  # the tests are their own launcher
    yield found
    found.tidy()


@pytest.fixture
def cgroup(host: Host) -> Iterator[Cgroup]:
    made = host.cgroup(f"test-{os.urandom(4).hex()}")
    yield made
    made.kill()
    made.remove()


def test_memory_limit_kills_and_counts(cgroup: Cgroup) -> None:
    cgroup.create(Limits(memory=32 * MEBIBYTE))

    ended = Program("exec dd if=/dev/zero of=/dev/null bs=100M count=1", cgroup).wait()

    usage = cgroup.usage()
    assert ended.signal == signal.SIGKILL
    assert usage.oom_kills == 1
    assert usage.memory_peak is not None
    assert 16 * MEBIBYTE < usage.memory_peak <= 32 * MEBIBYTE


def test_a_process_joins_by_writing(cgroup: Cgroup) -> None:
    cgroup.create(Limits(pids=1))

    program = Program("exec sleep 60", cgroup, born=False)

    assert cgroup.pids() == [program.pid]
    cgroup.kill()
    program.wait()


def test_memory_within_the_limit_is_no_kill(cgroup: Cgroup) -> None:
    cgroup.create(Limits(memory=128 * MEBIBYTE))

    ended = Program("exec dd if=/dev/zero of=/dev/null bs=10M count=1", cgroup).wait()

    assert ended == (0, 0, ended.cpu_user, ended.cpu_system)
    assert cgroup.usage().oom_kills == 0


def test_memory_limit_leaves_no_swap_beyond_it(cgroup: Cgroup) -> None:
    cgroup.create(Limits(memory=64 * MEBIBYTE))

    where = directory(cgroup, "memory")

    both = files.number(f"{where}/memory.memsw.limit_in_bytes")
    swap = files.number(f"{where}/memory.swap.max")
    assert both == 64 * MEBIBYTE or swap == 0


def test_memory_swap_includes_memory(cgroup: Cgroup) -> None:
    cgroup.create(Limits(memory=64 * MEBIBYTE, memory_swap=80 * MEBIBYTE))

    where = directory(cgroup, "memory")

    both = files.number(f"{where}/memory.memsw.limit_in_bytes")
    swap = files.number(f"{where}/memory.swap.max")
    assert both == 80 * MEBIBYTE or swap == 16 * MEBIBYTE


def test_pids_limit_holds_for_the_whole_tree(cgroup: Cgroup) -> None:
    cgroup.create(Limits(pids=5))

    program = Program("for i in 1 2 3 4 5 6 7 8; do sleep 60 & done; sleep 60", cgroup)
    said = program.line()

    assert "fork" in said.lower()
    assert len(cgroup.pids()) == 5 or cgroup.usage().pids_peak == 5
    cgroup.kill()
    program.wait()


def test_cpus_limit_throttles(cgroup: Cgroup, host: Host) -> None:
    if "cpu" not in host.controllers:
        with pytest.raises(NotSupported, match="cpus"):
            host.check(Limits(cpus=0.2))
        return
    cgroup.create(Limits(cpus=0.2))

    with running("while :; do :; done", cgroup):
        stat = f"{directory(cgroup, 'cpu')}/cpu.stat"
        throttled = within(20, lambda: files.fields(stat)["nr_throttled"] >= 3)

    assert throttled


def test_cpu_shares_are_a_weight(cgroup: Cgroup, host: Host) -> None:
    if "cpu" not in host.controllers:
        with pytest.raises(NotSupported, match="cpu_shares"):
            host.check(Limits(cpu_shares=512))
        return
    cgroup.create(Limits(cpu_shares=512))

    where = directory(cgroup, "cpu")

    assert files.number(f"{where}/cpu.shares") == 512 or files.number(f"{where}/cpu.weight") == 59


def test_cpuset_confines(cgroup: Cgroup, host: Host) -> None:
    if "cpuset" not in host.controllers:
        with pytest.raises(NotSupported, match="cpuset"):
            host.check(Limits(cpuset="1"))
        return
    cgroup.create(Limits(cpuset="1"))

    program = Program("exec grep Cpus_allowed_list /proc/self/status", cgroup)
    said = program.output()
    program.wait()

    assert said.split() == ["Cpus_allowed_list:", "1"]


def test_io_weight_is_set(cgroup: Cgroup, host: Host) -> None:
    if "io" not in host.controllers:
        with pytest.raises(NotSupported, match="io_weight"):
            host.check(Limits(io_weight=200))
        return
    host.check(Limits(io_weight=200))
    cgroup.create(Limits(io_weight=200))

    where = directory(cgroup, "io")

    names = ("blkio.bfq.weight", "blkio.weight", "io.bfq.weight", "io.weight")
    texts = [(files.read(f"{where}/{name}") or "").split() for name in names]
    assert [text[-1] for text in texts if text] in (["200"], ["200", "200"], ["1920"])


def test_devices_are_denied_but_for_those_allowed(cgroup: Cgroup, host: Host) -> None:
    rules = (("c", 1, 3, "rwm"), ("c", 1, 5, "r"), ("b", 7, -1, "m"))
    if "devices" not in host.controllers:
        with pytest.raises(NotSupported, match="devices"):
            host.check(Limits(devices=rules))
        return
    cgroup.create(Limits(devices=rules))

    attempts = {
        "null": "echo >/dev/null",
        "zero read": "head -c 1 /dev/zero",
        "zero write": "echo >/dev/zero",
        "full": "head -c 1 /dev/full",
        "block allowed": "mknod /tmp/test-allowed b 7 100 && rm /tmp/test-allowed",
        "block denied": "mknod /tmp/test-denied b 8 100 && rm /tmp/test-denied",
    }
    script = "".join(
        f"if ({act}) >/dev/null 2>&1; then echo '{name}: yes'; else echo '{name}: no'; fi\n"
        for name, act in attempts.items()
    )
    program = Program(f"exec 3>&1; {script}", cgroup)
    said = dict(line.split(": ") for line in program.output().splitlines())
    program.wait()

    # The shell itself opens /dev/null for each attempt, which the first rule allows.
    assert said == {
        "null": "yes",
        "zero read": "yes",
        "zero write": "no",
        "full": "no",
        "block allowed": "yes",
        "block denied": "no",
    }


def test_changed_device_rules_replace_the_former(cgroup: Cgroup, host: Host) -> None:
    if "devices" not in host.controllers:
        return
    cgroup.create(Limits(devices=(("c", 1, 5, "rwm"),)))

    said = []
    for rules in ((("c", 1, 3, "rwm"),), (("a", -1, -1, "rwm"), ("c", 1, 3, "r"))):
        cgroup.update(Limits(devices=rules))
        program = Program("(head -c 1 /dev/null && head -c 1 /dev/zero) 2>&1", cgroup)
        said.append(program.output())
        program.wait()

    assert "not permitted" in said[0]
    assert said[1] == "\0"


def test_a_frozen_cgroup_stands_still_until_thawed(cgroup: Cgroup) -> None:
    cgroup.create(Limits())

    with running("while :; do echo x; sleep 0.01; done", cgroup) as program:
        program.line()
        cgroup.freeze()
        os.set_blocking(program.output_fd, False)
        while _available(program.output_fd):
            pass
        time.sleep(0.3)
        while_frozen = _available(program.output_fd)
        cgroup.thaw()
        goes_on = within(10, lambda: _available(program.output_fd))

    assert while_frozen == b""
    assert goes_on


def _available(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return b""


def test_a_frozen_cgroup_can_be_killed(cgroup: Cgroup) -> None:
    cgroup.create(Limits())
    program = Program("sleep 60 & sleep 60", cgroup)
    assert within(10, lambda: len(cgroup.pids()) >= 2)
    cgroup.freeze()

    cgroup.kill()

    assert program.wait().signal == signal.SIGKILL
    assert cgroup.pids() == []


def test_kill_ends_a_fork_bomb(cgroup: Cgroup) -> None:
    cgroup.create(Limits(pids=150))
    program = Program(f'exec "{sys.executable}" -I -S -c "{FORK_BOMB}"', cgroup)
    assert within(30, lambda: len(cgroup.pids()) == 150)

    cgroup.kill()

    assert cgroup.pids() == []
    program.wait()
    cgroup.remove()


def test_a_subgroup_is_killed_alone_and_counts_in_its_cgroup(cgroup: Cgroup) -> None:
    cgroup.create(Limits(pids=20, memory=64 * MEBIBYTE))
    inner = cgroup.subgroup("exec-1")
    inner.create(Limits())
    first = Program("exec sleep 60", cgroup)
    second = Program("setsid sleep 60 & exec sleep 60", inner)
    assert within(10, lambda: len(inner.pids()) >= 2)
    everybody = cgroup.pids()

    inner.kill()

    second.wait()
    assert {first.pid, second.pid} <= set(everybody)
    assert cgroup.pids() == [first.pid]
    inner.remove()
    cgroup.kill()
    first.wait()


def test_memory_limit_counts_what_runs_in_a_subgroup(cgroup: Cgroup) -> None:
    cgroup.create(Limits(memory=32 * MEBIBYTE))
    inner = cgroup.subgroup("exec-1")
    inner.create(Limits())

    ended = Program("exec dd if=/dev/zero of=/dev/null bs=100M count=1", inner).wait()

    assert ended.signal == signal.SIGKILL
    assert cgroup.usage().oom_kills == 1


def test_kill_reaches_subgroups_and_remove_takes_them(cgroup: Cgroup, host: Host) -> None:
    cgroup.create(Limits())
    inner = cgroup.subgroup("exec-1")
    inner.create(Limits())
    program = Program("exec sleep 60", inner)

    cgroup.kill()

    program.wait()
    cgroup.remove()
    assert inner.pids() == []
    assert not directory(cgroup, "pids").exists()


def test_remove_refuses_where_something_lives(cgroup: Cgroup) -> None:
    cgroup.create(Limits())

    with running("exec sleep 60", cgroup), pytest.raises(KernelError) as caught:
        cgroup.remove()

    assert caught.value.errno == errno.EBUSY


def test_what_does_not_exist_is_removed_killed_thawed_and_read_in_peace(cgroup: Cgroup) -> None:
    cgroup.remove()
    cgroup.kill()
    cgroup.thaw()

    assert cgroup.pids() == []
    assert cgroup.usage() == Usage()
    assert cgroup.sample() == Sample()
    with pytest.raises(KernelError) as caught:
        cgroup.update(Limits(pids=10, cpus=0.5))
    assert caught.value.errno == errno.ENOENT
    assert not directory(cgroup, "pids").exists()
    assert not directory(cgroup, "memory").exists()


def reserved(cgroup: Cgroup) -> int | None:
    where = directory(cgroup, "memory")
    soft = files.number(f"{where}/memory.soft_limit_in_bytes")
    return files.number(f"{where}/memory.low") if soft is None else soft


def test_memory_is_reserved_and_given_back(cgroup: Cgroup) -> None:
    cgroup.create(Limits(memory_reservation=32 * MEBIBYTE))
    assert reserved(cgroup) == 32 * MEBIBYTE

    cgroup.update(Limits(memory_reservation=16 * MEBIBYTE, memory=64 * MEBIBYTE))
    assert reserved(cgroup) == 16 * MEBIBYTE

    cgroup.update(Limits(memory_reservation=-1))
    assert reserved(cgroup) in (0, (1 << 63) - os.sysconf("SC_PAGE_SIZE"))


def test_limits_change_while_it_runs(cgroup: Cgroup) -> None:
    cgroup.create(Limits(memory=32 * MEBIBYTE, pids=10))

    with running("read never; sleep 60", cgroup):
        cgroup.update(Limits(memory=64 * MEBIBYTE))
        cgroup.update(Limits(memory=48 * MEBIBYTE, memory_swap=60 * MEBIBYTE, pids=7))

        where = directory(cgroup, "memory")
        names = ("memory.limit_in_bytes", "memory.max")
        limits = {files.number(f"{where}/{name}") for name in names}
        assert 48 * MEBIBYTE in limits
        assert files.number(f"{directory(cgroup, 'pids')}/pids.max") == 7


def memory_limits(cgroup: Cgroup) -> tuple[int | None, int | None]:
    """Read the limit of memory, and that of memory and swap together; None where there is none."""
    where = directory(cgroup, "memory")
    if cgroup.plain()["version"] == 2:
        memory = files.number(f"{where}/memory.max")
        swap = files.number(f"{where}/memory.swap.max")
        return memory, None if memory is None or swap is None else memory + swap
    numbers = [
        files.number(f"{where}/memory.{name}")
        for name in ("limit_in_bytes", "memsw.limit_in_bytes")
    ]
    memory, both = (None if n is None or n > 1 << 60 else n for n in numbers)
    return memory, both


@pytest.mark.parametrize(
    ("memory", "both"), [(96, 128), (96, 96), (32, 48), (32, 96), (80, 70), (64, 200), (20, None)]
)
def test_memory_and_swap_are_raised_and_lowered(
    cgroup: Cgroup, memory: int, both: int | None
) -> None:
    cgroup.create(Limits(memory=64 * MEBIBYTE, memory_swap=80 * MEBIBYTE))
    both = max(both or memory, memory)

    with running("exec sleep 60", cgroup):
        cgroup.update(Limits(memory=memory * MEBIBYTE, memory_swap=both * MEBIBYTE))

        assert memory_limits(cgroup) == (memory * MEBIBYTE, both * MEBIBYTE)


def test_swap_alone_is_changed(cgroup: Cgroup) -> None:
    cgroup.create(Limits(memory=64 * MEBIBYTE, memory_swap=80 * MEBIBYTE))

    cgroup.update(Limits(memory_swap=100 * MEBIBYTE))

    assert memory_limits(cgroup) == (64 * MEBIBYTE, 100 * MEBIBYTE)


def test_swap_without_bound(cgroup: Cgroup) -> None:
    cgroup.create(Limits(memory=64 * MEBIBYTE, memory_swap=-1))

    assert memory_limits(cgroup) == (64 * MEBIBYTE, None)


def test_limits_are_taken_away(cgroup: Cgroup, host: Host) -> None:
    cgroup.create(Limits(memory=64 * MEBIBYTE, memory_swap=80 * MEBIBYTE, pids=10))
    optional = {
        "cpu": Limits(cpus=0.5, cpu_shares=512),
        "cpuset": Limits(cpuset="1"),
        "io": Limits(io_weight=200),
    }
    off = Limits(memory=-1, memory_swap=-1, pids=-1)
    removals: dict[str, dict[str, Any]] = {
        "cpu": {"cpus": 0, "cpu_shares": 0},
        "cpuset": {"cpuset": ""},
        "io": {"io_weight": 0},
    }
    for controller, limits in optional.items():
        if controller in host.controllers:
            cgroup.update(limits)
            off = off._replace(**removals[controller])

    with running("exec sleep 60", cgroup) as program:
        cgroup.update(off)

        assert memory_limits(cgroup) == (None, None)
        assert cgroup.sample().memory_limit is None
        assert cgroup.sample().pids_limit is None
        assert os.sched_getaffinity(program.pid) == os.sched_getaffinity(0)
    texts = {
        name: (files.read(f"{directory(cgroup, 'cpu')}/{name}") or "").strip()
        for name in ("cpu.max", "cpu.weight", "cpu.cfs_quota_us", "cpu.shares")
        if "cpu" in host.controllers
    }
    assert {name: text for name, text in texts.items() if text} in (
        {},
        {"cpu.max": "max 100000", "cpu.weight": "100"},
        {"cpu.cfs_quota_us": "-1", "cpu.shares": "1024"},
    )


def test_memory_below_what_is_in_use_is_refused_and_changes_nothing(cgroup: Cgroup) -> None:
    cgroup.create(Limits(memory=128 * MEBIBYTE))
    script = "import time; held = bytearray(b'x') * (48 << 20); print('held', flush=True)"
    hold = f'exec "{sys.executable}" -I -S -c "{script}; time.sleep(60)"'

    with running(hold, cgroup) as program:
        assert program.line() == "held"
        with pytest.raises(KernelError) as caught:
            cgroup.update(Limits(memory=16 * MEBIBYTE))

        assert caught.value.errno == errno.EBUSY
        assert "use more than that just now" in (caught.value.hint or "")
        assert memory_limits(cgroup) == (128 * MEBIBYTE, 128 * MEBIBYTE)
        assert cgroup.pids() == [program.pid]
        assert cgroup.sample().oom_kills == 0


def test_memory_in_use_by_droppable_files_is_no_obstacle(cgroup: Cgroup) -> None:
    cgroup.create(Limits(memory=128 * MEBIBYTE))
    path = f"/var/tmp/test-cache-{os.getpid()}"
    fill = f"dd if=/dev/zero of={path} bs=1M count=40 conv=fsync 2>/dev/null; echo done; sleep 60"

    with running(fill, cgroup) as program:
        assert program.line() == "done"
        before = cgroup.sample()
        cgroup.update(Limits(memory=16 * MEBIBYTE))
    os.unlink(path)

    assert before.memory_current is not None
    assert before.memory_cache is not None
    assert 32 * MEBIBYTE < before.memory_cache <= before.memory_current
    assert memory_limits(cgroup)[0] == 16 * MEBIBYTE


def test_a_sample_tells_what_is_in_use(cgroup: Cgroup, host: Host) -> None:
    cgroup.create(Limits(memory=64 * MEBIBYTE, pids=20, accounting=True))
    path = f"/var/tmp/test-sample-{os.getpid()}"
    script = f"""
        dd if=/dev/zero of={path} bs=1M count=4 oflag=direct 2>/dev/null
        n=0; while [ $n -lt 100000 ]; do n=$((n+1)); done
        sleep 60 & echo done; wait
    """

    with running(script, cgroup) as program:
        assert program.line() == "done"
        sample = cgroup.sample()
    os.unlink(path)

    assert sample.pids == 2
    assert sample.pids_limit == 20
    assert sample.memory_limit == 64 * MEBIBYTE
    assert 0 < (sample.memory_current or 0) < 64 * MEBIBYTE
    assert sample.memory_peak is None or sample.memory_peak >= (sample.memory_current or 0)
    assert sample.oom_kills == 0
    if "cpu" in host.controllers or "cpuacct" in host.controllers:
        assert sample.cpu_total is not None
        assert sample.cpu_user is not None
        assert sample.cpu_system is not None
        assert 0.02 < sample.cpu_total < 20
        assert abs(sample.cpu_total - sample.cpu_user - sample.cpu_system) < 0.05
    if "io" in host.controllers and cgroup.plain()["version"] == 2:
        assert 4 * MEBIBYTE <= (sample.io_write or 0) < 8 * MEBIBYTE
        assert 1 <= (sample.io_write_ops or 0) < 1000


def test_a_sample_tells_of_throttling(cgroup: Cgroup, host: Host) -> None:
    if "cpu" not in host.controllers:
        return
    cgroup.create(Limits(cpus=0.2))

    with running("while :; do :; done", cgroup):
        throttled = within(20, lambda: (cgroup.sample().cpu_throttled_periods or 0) >= 3)
        time_held = cgroup.sample().cpu_throttled_time

    assert throttled
    assert time_held is not None
    assert time_held > 0.1


def test_a_sample_counts_kills_and_what_runs_in_subgroups(cgroup: Cgroup) -> None:
    cgroup.create(Limits(memory=32 * MEBIBYTE, accounting=True))
    inner = cgroup.subgroup("exec-1")
    inner.create(Limits())

    Program("exec dd if=/dev/zero of=/dev/null bs=100M count=1", inner).wait()
    with running("exec sleep 60", inner):
        sample = cgroup.sample()

    assert sample.oom_kills == 1
    assert sample.pids == 1


def test_a_limit_that_comes_late_holds_for_subgroups_and_passes_by_zombies(
    cgroup: Cgroup, host: Host
) -> None:
    if "cpu" not in host.controllers:
        return
    cgroup.create(Limits())
    inner = cgroup.subgroup("exec-1")
    inner.create(Limits())

    zombie = "sleep 0.01 & exec sleep 60"  # its parent does not wait for it
    with running(zombie, cgroup), running("while :; do :; done", inner):
        assert within(10, lambda: "Z" in _states(cgroup))
        cgroup.update(Limits(cpus=0.1))
        stat = f"{directory(cgroup, 'cpu')}/cpu.stat"
        throttled = within(20, lambda: files.fields(stat)["nr_throttled"] >= 2)

    assert throttled


def _states(cgroup: Cgroup) -> set[str]:
    states = set()
    for pid in cgroup.pids():
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        states |= {Path(f"/proc/{n}/stat").read_text().split()[2] for n in children}
    return states


def test_an_update_that_failed_can_be_made_again(cgroup: Cgroup, host: Host) -> None:
    if "cpuset" not in host.controllers:
        return
    cgroup.create(Limits())

    with running("exec sleep 60", cgroup) as program:
        with pytest.raises(KernelError, match="cpuset"):
            cgroup.update(Limits(cpuset="4000"))
        cgroup.update(Limits(cpuset="1"))

        assert os.sched_getaffinity(program.pid) == {1}


def test_a_controller_can_be_joined_late(cgroup: Cgroup, host: Host) -> None:
    if "cpu" not in host.controllers:
        return
    cgroup.create(Limits())

    with running("while :; do :; done", cgroup):
        cgroup.update(Limits(cpus=0.1))
        stat = f"{directory(cgroup, 'cpu')}/cpu.stat"
        throttled = within(20, lambda: files.fields(stat)["nr_throttled"] >= 2)

    assert throttled


def test_a_create_that_fails_leaves_nothing(cgroup: Cgroup) -> None:
    with pytest.raises(KernelError, match=r"pids\.max"):
        cgroup.create(Limits(pids=-5))

    assert not directory(cgroup, "pids").exists()
    assert not directory(cgroup, "memory").exists()


def test_another_process_can_name_the_same_cgroup(cgroup: Cgroup, host: Host) -> None:
    cgroup.create(Limits(pids=10))

    with running("exec sleep 60", cgroup) as program:
        again = from_plain(json.loads(json.dumps(cgroup.plain())))
        assert again.pids() == [program.pid]
        again.kill()

    again.remove()
    assert not directory(cgroup, "pids").exists()


def test_the_listing_names_what_exists(cgroup: Cgroup, host: Host) -> None:
    cgroup.create(Limits())
    name = directory(cgroup, "pids").name

    before = host.listing()
    cgroup.remove()

    assert name in before
    assert name not in host.listing()


def test_a_tidied_place_is_made_again(cgroup: Cgroup, host: Host) -> None:
    host.tidy()

    cgroup.create(Limits(pids=10, memory=64 * MEBIBYTE))

    assert files.number(f"{directory(cgroup, 'pids')}/pids.max") == 10


def test_usage_counts(cgroup: Cgroup) -> None:
    cgroup.create(Limits(pids=50))

    Program("sleep 0.1 & sleep 0.1 & wait", cgroup).wait()

    usage = cgroup.usage()
    assert usage.memory_peak is not None
    assert 0 < usage.memory_peak < 64 * MEBIBYTE
    assert usage.pids_peak in (None, 3)  # kernels before 6.1 don't tell
    assert usage.oom_kills == 0


def test_a_cpuset_beyond_the_host_is_refused_before_anything_is_made(host: Host) -> None:
    if "cpuset" not in host.controllers:
        return
    with pytest.raises(NotSupported, match="4000"):
        host.check(Limits(cpuset="4000"))


@pytest.mark.parametrize("cpuset", ["", "a", "1-", "2-1", "0,,1", "9" * 5000, "-1", "٣"])
def test_a_malformed_cpuset_is_an_invalid_argument(host: Host, cpuset: str) -> None:
    expected = InvalidArgument if "cpuset" in host.controllers else NotSupported
    with pytest.raises(expected):
        host.check(Limits(cpuset=cpuset))
