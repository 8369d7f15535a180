"""The text of /etc/hosts, and how it is changed under the eyes of programs that read it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pycontainers.net import hosts

_TEXTS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 60)), unique_by=lambda line: line[0], max_size=30
).map(lambda lines: "".join(f"10.0.0.{at}\t{'x' * length}{at}\n" for at, length in lines))


def _places(text: str) -> dict[str, int]:
    places, at = {}, 0
    for line in text.splitlines(keepends=True):
        if line != "\n":
            places[line] = at
        at += len(line)
    return places


@given(first=_TEXTS, others=st.lists(_TEXTS, max_size=4))
def test_lines_that_stay_are_where_they_were(first: str, others: list[str]) -> None:
    head = hosts.hosts([])
    text = head + first
    for other in others:
        before, text = text, hosts.revised(text, head + other)

        old, new = _places(before), _places(text)
        assert new.keys() == _places(head + other).keys()
        assert all(old[line] == new[line] for line in old.keys() & new.keys())


def test_a_file_does_not_grow_as_others_come_and_go() -> None:
    head = hosts.hosts([])
    text = head
    for number in range(100):
        text = hosts.revised(text, head + hosts.lines([("10.0.0.1", [f"name{number:03}"])]))

    assert len(text) <= len(head) + 4 * len("10.0.0.1\tname000\n")


def test_no_line_is_longer_than_musl_reads() -> None:
    names = [f"{number}{'x' * 200}" for number in range(20)]

    lines = hosts.lines([("fd00::1", names)]).splitlines()

    assert max(map(len, lines)) < 512
    assert [name for line in lines for name in line.split()[1:]] == names
