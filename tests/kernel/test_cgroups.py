"""What a cgroup promises, whatever the version: run here, and in the guest on version 2."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from pycontainers.errors import InvalidArgument, KernelError, NotSupported
from pycontainers.kernel.cgroups import files
from pycontainers.kernel.cgroups.base import Cgroup, Limits, Usage
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
