"""Docker's filters: one value or several of each kind, of which one has to fit, for labels all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycontainers.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


def checked(
    filters: Mapping[str, str | bool | Sequence[str]] | None, known: Iterable[str]
) -> dict[str, list[str]]:
    """Give the values of each filter as a list; raises InvalidArgument for one that is not known.

    >>> checked({"name": "web"}, ["id", "name"])
    {'name': ['web']}
    """
    wanted: dict[str, list[str]] = {}
    for key, value in (filters or {}).items():
        if key not in known:
            raise InvalidArgument(f"filters: {key!r} is none of {', '.join(known)}")
        found = [value] if isinstance(value, str | int) else list(value)
        wanted[key] = [str(one).lower() if isinstance(one, bool) else str(one) for one in found]
    return wanted


def fit(wanted: Mapping[str, Sequence[str]], test: Callable[[str, str], bool]) -> bool:
    """Whether all filters let pass what `test` tells of a filter and one of its values."""
    return all(
        (all if key == "label" else any)(test(key, value) for value in values)
        for key, values in wanted.items()
    )


def truth(value: str) -> bool:
    """Read the value of a filter that is on or off; raises InvalidArgument.

    >>> truth("1")
    True
    """
    if value not in ("true", "false", "1", "0"):
        raise InvalidArgument(f"filters: {value!r} is neither true nor false")
    return value in ("true", "1")


def has_label(labels: Mapping[str, str], wanted: str) -> bool:
    """Whether a label is there, and where `wanted` is `key=value` has that value.

    >>> has_label({"a": "1"}, "a"), has_label({"a": "1"}, "a=2")
    (True, False)
    """
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)
