"""The checks and JSON places of fields that the values of this room share.

A check is an attrs validator: it costs a tenth of a microsecond, as a spec is made for each start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from pycontainers.errors import InvalidArgument

if TYPE_CHECKING:
    import attrs

Check = Callable[[Any, "attrs.Attribute[Any]", Any], None]

INT64_MAX: Final = (1 << 63) - 1
UINT16_MAX: Final = (1 << 16) - 1
UINT32_MAX: Final = (1 << 32) - 1
UINT64_MAX: Final = (1 << 64) - 1

_SHOWN: Final = 60
_KINDS: Final = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number with a fraction",
    list: "a list",
    tuple: "a tuple",
    dict: "an object",
    type(None): "null",
}


class InvalidField(InvalidArgument):
    """A field has a value that can't be used; `path` leads to it, `problem` says why.

    >>> str(InvalidField("limit", "expected an integer, found a string").within("memory"))
    'memory.limit: expected an integer, found a string'
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem

    def within(self, outer: str) -> InvalidField:
        """Give the same error as seen from what holds the value as `outer`."""
        joint = "." if self.path and not self.path.startswith("[") else ""
        return InvalidField(f"{outer}{joint}{self.path}", self.problem)


def place(*path: str, always: bool = False, keys: bool = False) -> dict[str, object]:
    """Give the metadata of a field that the codec can't place by its Python name alone.

    `path` is where it stands in the JSON object; `always` fields are written when empty too; `keys`
    are the keys of an object with empty values, as Go writes a set.

    >>> place("config", "Env")["path"]
    ('config', 'Env')
    """
    return {"path": path, "always": always, "keys": keys}


def tupled(value: Any) -> Any:
    """Give a list, which people write by hand, as a tuple; all else is for the check to refuse."""
    return tuple(value) if type(value) is list else value


def kind(value: object) -> str:
    """Name the kind of a value in JSON's words.

    >>> kind("3")
    'a string'
    """
    return _KINDS.get(type(value), f"a {type(value).__name__}")


def shown(value: str) -> str:
    """Quote a text for a message, cut to a length that can be read."""
    return repr(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r}…"


def wrong(field: attrs.Attribute[Any], expected: str, value: object) -> InvalidField:
    """Give the error for a value of another kind than the field's."""
    return InvalidField(field.name, f"expected {expected}, found {kind(value)}")


def text(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Check a string, which may be empty but holds no NUL: the kernel would end it there."""
    if type(value) is not str:
        raise wrong(field, "a string", value)
    if "\0" in value:
        raise InvalidField(field.name, f"{shown(value)} holds a NUL character")


def some_text(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Check a string that says something."""
    text(_, field, value)
    if not value:
        raise InvalidField(field.name, "is empty")


def absolute(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Check an absolute path."""
    text(_, field, value)
    if not str(value).startswith("/"):
        raise InvalidField(field.name, f"{shown(str(value))} is not an absolute path")


def absolute_or_empty(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Check an absolute path, or the empty string where there is none."""
    if value != "":
        absolute(_, field, value)


def texts(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Check a tuple of strings without NUL."""
    if type(value) is not tuple:
        raise wrong(field, "a tuple of strings", value)
    try:
        if "\0" not in "".join(value):
            return
    except TypeError:
        pass
    for index, item in enumerate(value):
        if type(item) is not str:
            raise InvalidField(f"{field.name}[{index}]", f"expected a string, found {kind(item)}")
        if "\0" in item:
            raise InvalidField(f"{field.name}[{index}]", f"{shown(item)} holds a NUL character")


def absolutes(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    """Check a tuple of absolute paths."""
    texts(_, field, value)
    for index, item in enumerate(value):
        if not item.startswith("/"):
            raise InvalidField(f"{field.name}[{index}]", f"{shown(item)} is not an absolute path")


def text_map(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Check a mapping of strings to strings."""
    if not isinstance(value, Mapping):
        raise wrong(field, "a mapping of strings", value)
    for key, item in value.items():
        for part in (key, item):
            if type(part) is not str or "\0" in part:
                problem = f"expected strings without NUL, found {key!r:.60}: {item!r:.60}"
                raise InvalidField(field.name, problem)


def plain_map(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Check a mapping whose content is not this room's matter."""
    if type(value) is not dict and not isinstance(value, Mapping):  # the abstract test is slow
        raise wrong(field, "a mapping", value)


def flag(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Check a boolean."""
    if value is not True and value is not False:
        raise wrong(field, "a boolean", value)


def whole(low: int, high: int) -> Check:
    """Give the check of an integer between two bounds, both included."""

    def check(_: object, field: attrs.Attribute[Any], value: Any) -> None:
        if type(value) is not int:
            raise wrong(field, "an integer", value)
        if not low <= value <= high:
            # Its digits may be thousands; Python refuses to print the longest.
            given = str(value) if value.bit_length() <= 128 else "a far larger number"
            raise InvalidField(field.name, f"{given} is not between {low} and {high}")

    return check


def optional(inner: Check) -> Check:
    """Give the check of a value that may be None."""

    def check(instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is not None:
            inner(instance, field, value)

    return check


def wholes(low: int, high: int) -> Check:
    """Give the check of a tuple of integers between two bounds, both included."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if type(value) is not tuple:
            raise wrong(field, "a tuple of integers", value)
        for index, item in enumerate(value):
            if type(item) is not int or not low <= item <= high:
                problem = f"expected an integer between {low} and {high}"
                raise InvalidField(f"{field.name}[{index}]", problem)

    return check


def one_of(words: Iterable[str]) -> Check:
    """Give the check of a string that is one of a few words."""
    known = frozenset(words)

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if type(value) is not str:
            raise wrong(field, "a string", value)
        if value not in known:
            choices = ", ".join(sorted(filter(None, known)))
            raise InvalidField(field.name, f"{shown(value)} is not one of {choices}")

    return check


def a(cls: type[object]) -> Check:
    """Give the check of a value of one class of this room."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if type(value) is not cls:
            raise wrong(field, f"a {cls.__name__}", value)

    return check


def several(cls: type[object]) -> Check:
    """Give the check of a tuple of values of one class of this room."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if type(value) is not tuple:
            raise wrong(field, f"a tuple of {cls.__name__}", value)
        for index, item in enumerate(value):
            if type(item) is not cls:
                problem = f"expected a {cls.__name__}, found {kind(item)}"
                raise InvalidField(f"{field.name}[{index}]", problem)

    return check
