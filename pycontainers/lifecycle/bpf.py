"""Seccomp programs: tables of system calls and what is done with them become classic BPF.

The kernel converts, compiles and tries out a filter each time one is loaded, so a container's
start pays for every instruction.  Numbers that share an outcome become one interval, and the
intervals one balanced tree: a quarter of the instructions of one test per call, and a fifth of the
load time.

seccomp(2), linux/bpf_common.h, linux/seccomp.h.  Little-endian machines only, as all of ours are.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KILL_PROCESS: Final = 0x80000000
KILL_THREAD: Final = 0x00000000
TRAP: Final = 0x00030000
ERRNO: Final = 0x00050000
TRACE: Final = 0x7FF00000
LOG: Final = 0x7FFC0000
ALLOW: Final = 0x7FFF0000
_ACTION: Final = 0xFFFF0000

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP: Final = 0x05  # BPF_JMP | BPF_JA
_EQ: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_GT: Final = 0x25
_GE: Final = 0x35
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_FAR: Final = 255  # what a conditional jump can skip
_NUMBER_AT: Final = 0  # places in struct seccomp_data
_ARCH_AT: Final = 4
_ARGUMENTS_AT: Final = 16
_WORD: Final = 0xFFFFFFFF
# ARM's private calls begin here, far above all others; the highest call of the rest lies below.
_PRIVATE: Final = 0xF0000


class Condition(NamedTuple):
    """A comparison of argument number `argument` with `value`, both of 64 bits.

    `op` is eq, ne, lt, le, gt, ge, or masked_eq: the argument's bits of mask `value` are `second`.
    `narrow` compares the lower 32 bits only, as the kernel takes an argument of type int.
    """

    # Not `index`: a tuple has a method of that name.
    argument: int
    op: str
    value: int
    second: int = 0
    narrow: bool = False


class Clause(NamedTuple):
    """An action, a SECCOMP_RET_… value with its data, for calls that meet all conditions."""

    action: int
    conditions: tuple[Condition, ...] = ()


Outcome: TypeAlias = tuple[Clause, ...]


class Abi(NamedTuple):
    """The calls of one numbering, which begins at `base` (x32's at 0x40000000, others' at 0)."""

    base: int
    calls: Mapping[int, Sequence[Clause]]


class _Code:
    """Instructions, written from the last to the first, so that each jump's distance is known.

    A label is the count of instructions from its own to the end.
    """

    def __init__(self) -> None:
        self.reversed: list[bytes] = []
        self._returns: dict[int, int] = {}

    def emit(self, code: int, value: int, yes: int = 0, no: int = 0) -> int:
        self.reversed.append(struct.pack("=HBBI", code, yes, no, value))
        return len(self.reversed)

    def branch(self, code: int, value: int, yes: int, no: int) -> int:
        if yes == no:
            return yes
        # Each of the two may take an instruction of its own, which moves the other away.
        if len(self.reversed) - yes >= _FAR:
            yes = self.emit(_JUMP, len(self.reversed) - yes)
        if len(self.reversed) - no > _FAR:
            no = self.emit(_JUMP, len(self.reversed) - no)
        here = len(self.reversed)
        return self.emit(code, value, here - yes, here - no)

    def load(self, at: int, following: int) -> int:
        if following != len(self.reversed):
            self.emit(_JUMP, len(self.reversed) - following)
        return self.emit(_LOAD, at)

    def result(self, action: int) -> int:
        label = self._returns.get(action)
        if label is None or len(self.reversed) - label >= _FAR:
            label = self._returns[action] = self.emit(_RETURN, action)
        return label

    def compare(self, condition: Condition, yes: int, no: int) -> int:
        """Compare a 64-bit argument in two halves, the low one only where the high one is equal."""
        if yes == no:
            return yes
        argument, op, value, second, narrow = condition
        if op in ("ne", "lt", "le"):
            op = {"ne": "eq", "lt": "ge", "le": "gt"}[op]
            yes, no = no, yes
        low_at = _ARGUMENTS_AT + 8 * argument
        high, low = value >> 32, value & _WORD
        if op == "masked_eq":
            label = self._masked(low_at, low, second & _WORD, yes, no)
            return self._masked(low_at + 4, high, second >> 32, label, no)
        label = self.branch({"eq": _EQ, "gt": _GT, "ge": _GE}[op], low, yes, no)
        if narrow:
            return self.load(low_at, label)
        label = self.branch(_EQ, high, self.load(low_at, label), no)
        if op != "eq":
            label = self.branch(_GT, high, yes, label)
        return self.load(low_at + 4, label)

    def _masked(self, at: int, mask: int, value: int, yes: int, no: int) -> int:
        if not mask:
            return yes
        label = self.branch(_EQ, value & mask, yes, no)
        if mask != _WORD:
            label = self.emit(_AND, mask)
        return self.load(at, label)


def settle(clauses: Sequence[Clause], default: int) -> Outcome:
    """Order a call's clauses so that the first that holds decides; the last always holds.

    Of several that hold the most restrictive counts, as the kernel has it between filters, however
    the profile orders them.

    >>> settle([Clause(ALLOW), Clause(ERRNO | 1, (Condition(0, "eq", 2),))], KILL_PROCESS)[-1]
    Clause(action=2147418112, conditions=())
    """
    # The kernel compares actions as signed numbers: KILL_PROCESS is the lowest.
    ordered = sorted(clauses, key=lambda clause: ((clause.action & _ACTION) + (1 << 31)) & _WORD)
    result: list[Clause] = []
    for clause in ordered:
        result.append(clause)
        if not clause.conditions:
            break
    else:
        result.append(Clause(default))
    while len(result) > 1 and result[-2].action == result[-1].action:
        del result[-2]
    return tuple(result)


def assemble(
    machines: Mapping[int, Sequence[Abi]], default: int, missing: int, foreign: int
) -> bytes:
    """Give the program for some machines, by their AUDIT_ARCH_… number.

    Calls that are not in a table get `default`, those above the highest one in it `missing`, and
    those of other machines `foreign`.

    >>> len(assemble({0xC000003E: [Abi(0, {39: [Clause(ALLOW)]})]}, ERRNO | 1, ERRNO | 38, TRAP))
    72
    """
    code = _Code()
    label = code.result(foreign)
    for audit, abis in reversed(list(machines.items())):
        intervals = _intervals(abis, default, missing)
        labels: dict[Outcome, int] = {}
        block = code.load(_NUMBER_AT, _search(code, intervals, 0, len(intervals), labels))
        label = code.branch(_EQ, audit, block, label)
    code.load(_ARCH_AT, label)
    return b"".join(reversed(code.reversed))


def _intervals(abis: Sequence[Abi], default: int, missing: int) -> list[tuple[int, Outcome]]:
    """Give (first number, outcome) of each run of numbers that share one, from number 0 on."""
    result: list[tuple[int, Outcome]] = []

    def add(first: int, outcome: Outcome) -> None:
        if not result or result[-1][1] != outcome:
            result.append((first, outcome))

    beyond, gap = (Clause(missing),), (Clause(default),)
    for base, calls in sorted(abis, key=lambda abi: abi.base):
        end = max((n + 1 for n in calls if n - base < _PRIVATE), default=base)
        following = base
        for number in sorted(calls):
            if number > following:
                add(following, gap if following < end else beyond)
            add(number, settle(calls[number], default))
            following = number + 1
        add(following, beyond)
    return result


def _search(
    code: _Code,
    intervals: Sequence[tuple[int, Outcome]],
    low: int,
    high: int,
    labels: dict[Outcome, int],
) -> int:
    """Find the interval of the number that is loaded, among those from `low` to before `high`."""
    if high - low == 1:
        outcome = intervals[low][1]
        if len(outcome) > 1 and outcome in labels:
            return labels[outcome]
        label = code.result(outcome[-1].action)
        for clause in reversed(outcome[:-1]):
            otherwise, label = label, code.result(clause.action)
            for condition in clause.conditions:
                label = code.compare(condition, label, otherwise)
        labels[outcome] = label
        return label
    if high - low == 3 and intervals[low][1] == intervals[low + 2][1]:
        first = intervals[low + 1][0]
        if intervals[low + 2][0] == first + 1:
            yes = _search(code, intervals, low + 1, low + 2, labels)
            return code.branch(_EQ, first, yes, _search(code, intervals, low, low + 1, labels))
    middle = (low + high) // 2
    yes = _search(code, intervals, middle, high, labels)
    return code.branch(
        _GE, intervals[middle][0], yes, _search(code, intervals, low, middle, labels)
    )
