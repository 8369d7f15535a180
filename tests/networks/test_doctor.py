"""doctor() about networks: whether they can be used here, and whether others drop their packets."""

from __future__ import annotations

import subprocess
import sys

import pytest

TELL = "import pycontainers as pc; print(pc.doctor())"
DROPS = (
    "nft 'add table ip filter; add chain ip filter FORWARD "
    "{ type filter hook forward priority 0; policy drop; }'"
)


def told(script: str) -> str:
    """Give what a shell's script prints, whose network is a new one."""
    done = subprocess.run(
        ["unshare", "--net", "sh", "-ec", script, sys.executable, TELL],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


def test_the_doctor_finds_that_networks_can_be_used_and_leaves_this_one_alone() -> None:
    look = "ip -br link; nft list ruleset; cat /proc/sys/net/ipv4/ip_forward"

    shown = told(f'before=$({look}); "$0" -c "$1"; [ "$before" = "$({look})" ]')

    lines = [line for line in shown.splitlines() if line.split()[1] in ("networks", "forwarding")]
    assert [line.split()[0] for line in lines] == ["ok", "ok"], shown


@pytest.mark.parametrize("accepts", [False, True])
def test_the_doctor_finds_a_firewall_that_drops_what_containers_send(accepts: bool) -> None:
    rule = "nft add rule ip filter FORWARD iifname 'pc*' accept" if accepts else ":"

    shown = told(f'{DROPS}; {rule}; exec "$0" -c "$1"')

    [line] = [line for line in shown.splitlines() if line.split()[1] == "forwarding"]
    assert line.startswith("ok" if accepts else "absent")
    assert ("table ip filter, chain FORWARD" in line) is not accepts
    assert ("iptables -I DOCKER-USER -i pc+ -j ACCEPT" in shown) is not accepts


def test_the_doctor_finds_that_networks_can_not_be_used() -> None:
    drop = "from pycontainers.kernel import capabilities; capabilities.drop_bounding(0);"
    program = f"{drop} capabilities.apply(0, 0, 0, 0); {TELL}"

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    lines = done.stdout.splitlines()
    [at] = [n for n, line in enumerate(lines) if line.split()[1] == "networks"]
    assert lines[at].startswith("absent")
    assert "may not change its network" in lines[at]
    assert "CAP_NET_ADMIN" in lines[at + 1]
    assert not any("forwarding" in line for line in lines)
