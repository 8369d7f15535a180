"""Version 2 cgroups, with and without systemd, as root and as a user, on two kernels.

Each test boots a guest (ten seconds) and runs the tests named in it there.
"""

from __future__ import annotations

from typing import Final

import pytest

from .guest import Kernel, Mode, run_in_guest

_PROMISES: Final = "tests/kernel/test_cgroups.py"


@pytest.mark.parametrize(
    ("mode", "kernel", "more"),
    [
        ("root", "6.12", "tests/guest/inside_systemd.py"),
        ("user", "6.1", "tests/guest/inside_systemd.py"),
        ("login", "6.12", "tests/guest/inside_systemd.py"),
        ("bare", "6.1", "tests/guest/inside_bare.py"),
    ],
)
def test_cgroups_keep_their_promises_in(mode: Mode, kernel: Kernel, more: str) -> None:
    # The suite's fixtures are about engines, and load much.  The promises come last: they make
    # pytest itself the launcher, which systemd then moves.
    options = ["--noconftest", "-p", "no:cacheprovider", "-q"]

    done = run_in_guest(
        ["python3", "-m", "pytest", *options, more, _PROMISES], mode=mode, kernel=kernel
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


def test_a_command_in_a_guest_passes_on_status_and_output() -> None:
    done = run_in_guest(["sh", "-c", "echo out; echo err >&2; exit 7"], mode="bare")

    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")


@pytest.mark.parametrize("mode", ["root", "bare"])
def test_a_detached_container_lives_in(mode: Mode) -> None:
    options = ["--noconftest", "-p", "no:cacheprovider", "-q"]

    done = run_in_guest(
        ["python3", "-m", "pytest", *options, "tests/guest/inside_detached.py"], mode=mode
    )

    assert done.returncode == 0, done.stdout + done.stderr
