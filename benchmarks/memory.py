"""What an idle container costs in memory beyond its workload: run as a process of its own.

`python -m benchmarks.memory ROOTFS DATA_ROOT COUNT` prints, as JSON, the proportional set size in
KiB of this process and all that belongs to the engine, before and with COUNT idle containers.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pycontainers as pc
from benchmarks.peers import IDLE, TRUE

_SETTLING_TIME = 1.0  # seconds


class Memory(NamedTuple):
    """A proportional set size in KiB, and the part of it that maps no file.

    The rest depends on strangers: it falls when any other process maps the same files.
    """

    pss: int
    own: int


def main() -> None:
    """Measure and print."""
    rootfs, data_root, count = sys.argv[1:]
    engine = pc.Engine(root=data_root)
    with contextlib.ExitStack() as stack:
        stack.callback(engine.close)
        image = pc.Image.from_rootfs(rootfs, engine=engine)
        # What the first use loads is no container's cost.
        pc.run(TRUE, image=image, engine=engine)
        with pc.Container.run(image, IDLE, engine=engine) as container:
            container.exec(TRUE)
            status = Path(f"/proc/{container.attrs['supervisor'][0]}/status").read_text()
        # The supervisors' parent, which is nobody's child.
        nursery = int(status.partition("PPid:")[2].split()[0])
        before = _engine_memory(nursery, set())
        workloads: set[int] = set()
        for _ in range(int(count)):
            started = stack.enter_context(pc.Container.run(image, IDLE, engine=engine))
            assert started.pid is not None
            workloads.add(started.pid)
        after = _engine_memory(nursery, workloads)
    sizes = {"before": before.pss, "own_before": before.own, "after": after.pss}
    print(json.dumps({**sizes, "own_after": after.own, "containers": int(count)}))


def _engine_memory(nursery: int, workloads: set[int]) -> Memory:
    """Add up the memory of this process, the nursery and their descendants but for workloads."""
    gc.collect()
    time.sleep(_SETTLING_TIME)
    roots = (os.getpid(), nursery)
    parts = [_pss(pid) for root in roots for pid in _family(root, without=workloads)]
    return Memory(sum(part.pss for part in parts), sum(part.own for part in parts))


def _family(root: int, *, without: set[int]) -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # The name in parentheses may hold anything; the parent is the second field after it.
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    family, found = [], [root]
    while found:
        pid = found.pop()
        if pid not in without:
            family.append(pid)
            found += children.get(pid, [])
    return family


def _pss(pid: int) -> Memory:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines if "Pss" in line}
        return Memory(sizes["Pss"], sizes["Pss_Anon"] + sizes["Pss_Shmem"])
    return Memory(0, 0)


if __name__ == "__main__":
    main()
