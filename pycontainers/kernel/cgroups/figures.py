"""What a cgroup's files tell of a moment, put into a Sample.

Reading a file costs some ten microseconds, so that no more of them are read than needed.  The
kernel's cgroup-v2.rst, and memory.rst, cpuacct.rst and blkio-controller.rst of cgroup-v1/.
"""

from __future__ import annotations

import os
from typing import Final

from pycontainers.kernel.cgroups import base, files

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_NANOSECONDS: Final = 1e9
_MICROSECONDS: Final = 1e6
_UNLIMITED: Final = 1 << 62  # version 1 writes the largest number of whole pages


def version_1(directories: dict[str, str]) -> base.Sample:
    """Read the directories, by controller, of a version 1 cgroup; those not joined are missing.

    >>> version_1({}) == base.Sample()
    True
    """
    cpu_total = None
    cpu: dict[str, int] = {}
    memory: dict[str, int] = {}
    current = peak = kills = pids = pids_limit = None
    moved: tuple[int | None, ...] = (None, None, None, None)
    if (where := directories.get("cpuacct")) is not None:
        cpu_total = files.number(f"{where}/cpuacct.usage")
        # In ticks, but the kernel makes the two add up to the whole.
        cpu = {} if cpu_total is None else files.fields(f"{where}/cpuacct.stat")
    if (where := directories.get("cpu")) is not None:
        cpu |= files.fields(f"{where}/cpu.stat")
    if (where := directories.get("memory")) is not None:
        memory = files.fields(f"{where}/memory.stat")
    if where is not None and memory:
        current = files.number(f"{where}/memory.usage_in_bytes")
        peak = files.number(f"{where}/memory.max_usage_in_bytes")
        kills = files.total(where, "memory.oom_control", "oom_kill")
    if (where := directories.get("pids")) is not None:
        pids, pids_limit = files.number(f"{where}/pids.current"), files.number(f"{where}/pids.max")
    if (where := directories.get("io")) is not None:
        moved = transferred(where)
        moved += (None, None) if moved[0] is None else transferred(where, "io_serviced")
    limit = memory.get("hierarchical_memory_limit", _UNLIMITED)
    return base.Sample(
        _scaled(cpu_total, _NANOSECONDS),
        _scaled(cpu.get("user"), _TICKS),
        _scaled(cpu.get("system"), _TICKS),
        cpu.get("nr_throttled"),
        _scaled(cpu.get("throttled_time"), _NANOSECONDS),
        current,
        memory.get("total_inactive_file"),
        None if limit >= _UNLIMITED else limit,
        peak,
        memory.get("total_swap"),
        kills,
        pids,
        pids_limit,
        *moved,
    )


def version_2(directory: str) -> base.Sample:
    """Read the directory of a version 2 cgroup; the files of controllers not enabled are missing.

    >>> version_2("/nowhere").pids is None
    True
    """
    cpu = files.fields(f"{directory}/cpu.stat")
    io = files.read(f"{directory}/io.stat")
    return base.Sample(
        _scaled(cpu.get("usage_usec"), _MICROSECONDS),
        _scaled(cpu.get("user_usec"), _MICROSECONDS),
        _scaled(cpu.get("system_usec"), _MICROSECONDS),
        cpu.get("nr_throttled"),
        _scaled(cpu.get("throttled_usec"), _MICROSECONDS),
        files.number(f"{directory}/memory.current"),
        files.fields(f"{directory}/memory.stat").get("inactive_file"),
        files.number(f"{directory}/memory.max"),
        files.number(f"{directory}/memory.peak"),
        files.number(f"{directory}/memory.swap.current"),
        files.fields(f"{directory}/memory.events").get("oom_kill"),
        files.number(f"{directory}/pids.current"),
        files.number(f"{directory}/pids.max"),
        *((None,) * 4 if io is None else io_sums(io)),
    )


def transferred(
    directory: str, kind: str = "io_service_bytes"
) -> tuple[int, int] | tuple[None, None]:
    """Sum what version 1 tells was read from and written to all disks: bytes, or `io_serviced`.

    Nones where no disk is named: since Linux 6.10 it counts only for disks that are throttled.
    """
    text = files.read(f"{directory}/blkio.throttle.{kind}_recursive") or ""
    lines = [words for words in map(str.split, text.splitlines()) if len(words) == 3]
    if not lines:
        return None, None
    sums = {"Read": 0, "Write": 0}
    for _, operation, number in lines:
        if operation in sums:
            sums[operation] += int(number)
    return sums["Read"], sums["Write"]


def io_sums(text: str) -> tuple[int, int, int, int]:
    """Sum an io.stat over all disks: bytes read and written, operations of reading and writing.

    >>> io_sums("8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0")
    (10, 20, 1, 2)
    """
    sums = {"rbytes": 0, "wbytes": 0, "rios": 0, "wios": 0}
    for word in text.split():
        key, _, value = word.partition("=")
        if key in sums and value.isdigit():
            sums[key] += int(value)
    return sums["rbytes"], sums["wbytes"], sums["rios"], sums["wios"]


def _scaled(number: int | None, unit: float) -> float | None:
    return None if number is None else number / unit
