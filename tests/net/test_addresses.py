"""Subnets for networks, chosen so that nothing on the host has them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainers.errors import Conflict
from pycontainers.net import addresses

_BASES = ("172.16.0.0", "192.168.0.0", "10.0.0.0")
_USED = st.lists(
    st.builds(
        lambda base, more, prefix: ipaddress.ip_network(
            (int(ipaddress.ip_address(base)) + more, prefix), strict=False
        ),
        st.sampled_from(_BASES),
        st.integers(0, 1 << 24),
        st.integers(1, 32),
    ),
    max_size=40,
)


@given(_USED)
def test_a_subnet_that_is_chosen_overlaps_none_in_use(used: list[addresses.Subnet]) -> None:
    try:
        chosen = addresses.free_subnet(used)
    except Conflict:
        assert any(subnet.prefixlen < 16 for subnet in used)
        return

    assert chosen.is_private
    assert not [subnet for subnet in used if addresses.overlaps(chosen, subnet)]


def test_the_large_subnets_come_first_and_all_are_used() -> None:
    used: list[addresses.Subnet] = [ipaddress.ip_network("0.0.0.0/0")]  # a default route
    for _ in range(14 + 16 + 2048):
        used.append(addresses.free_subnet(used))

    assert [str(subnet) for subnet in used[1:3]] == ["172.18.0.0/16", "172.19.0.0/16"]
    assert [str(used[14]), str(used[15])] == ["172.31.0.0/16", "192.168.0.0/20"]
    assert [str(used[31]), str(used[-1])] == ["10.128.0.0/20", "10.255.240.0/20"]
    with pytest.raises(Conflict, match="no subnet is left"):
        addresses.free_subnet(used)
