"""Run in the guest as root: a detached container under version 2, from another process too."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pycontainers as pc
from pycontainers.kernel.cgroups import layout

ELSEWHERE = """
import pycontainers as pc
c = pc.Container.get("far")
print(c.exec(["echo", "hi"]).stdout.strip())
c.pause()
print(c.status)
c.unpause()
c.update(memory="48m", pids=30)
"""


def test_a_detached_container_under_version_2(tmp_path: Path) -> None:
    script = "echo begun; exec sleep 600"
    with pc.Container.run(
        command=["sh", "-c", script], name="far", memory="64m", detach=True
    ) as container:
        container.wait_for(log="begun", timeout=120)

        told = subprocess.run(
            [sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, check=False
        )

        assert told.returncode == 0, told.stderr
        assert told.stdout.split() == ["hi", "paused"]
        stats = container.stats()
        assert (stats.memory_limit, stats.pids_limit) == (48 << 20, 30)
        assert stats.cpu_total is not None
        supervisor = container.attrs["supervisor"][0]
        inside = layout.path_of(container.pid or 0) or ""
        assert inside.endswith(f"/pycontainers/{container.id}")
        assert not (layout.path_of(supervisor) or "").startswith(inside)
        container.restart(timeout=0)
        container.stop(timeout=0)
        assert container.exit_code == 137

    deadline = time.monotonic() + 60
    while Path(f"/proc/{supervisor}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/sys/fs/cgroup{inside}").exists()
