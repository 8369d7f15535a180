"""JSON of this room's values: strict on what comes in, Go's habits on what goes out.

An absent member, null and an empty value are one and the same, and none of them is written.  What a
class does not know stays in its `unknown` and is written back at its place.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, get_args, get_origin

import attrs

from pycontainers.errors import InvalidArgument
from pycontainers.oci.fields import InvalidField, kind, shown

if TYPE_CHECKING:
    from cattrs import Converter

LIMIT: Final = 4 << 20
MAX_DEPTH: Final = 64

_LONGEST_NUMBER: Final = 400
# Both quantifiers are possessive and the closing quote is optional: time grows with the text only.
_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")

T = TypeVar("T")
_Hook = Callable[[Any, Any], Any]


def to_json(value: object) -> bytes:
    """Give a value of this room as compact JSON in UTF-8, its members in the class's order.

    Raises InvalidArgument when it holds what JSON or Unicode can't: NaN, a lone surrogate, an
    object of another library in `unknown`.

    >>> from pycontainers.oci.runtime import Mount
    >>> to_json(Mount("/proc", type="proc"))
    b'{"destination":"/proc","type":"proc"}'
    """
    try:
        plain = _converter().unstructure(value)
        text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except InvalidArgument:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        name = type(value).__name__
        raise InvalidArgument(f"cannot write the {name} as JSON: {error}") from error


def from_json(cls: type[T], data: bytes, *, limit: int = LIMIT) -> T:
    """Read a value of this room from JSON of at most `limit` bytes.

    Raises InvalidArgument for anything else than one well-formed value of the class, naming the
    place: nothing is guessed, a "3" is no 3.  Also refused: a name twice in one object, numbers
    that are none (NaN), text that is not Unicode, and nesting deeper than 64.

    >>> from pycontainers.oci.runtime import Mount
    >>> from_json(Mount, b'{"destination": "/proc", "type": "proc"}').type
    'proc'
    """
    if len(data) > limit:
        raise InvalidArgument(f"the JSON has {len(data)} bytes, more than {limit}")
    try:
        document = _parse(data.decode())
    except InvalidArgument:
        raise
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise InvalidArgument(f"the JSON is not Unicode text: {error.reason}") from error
    except ValueError as error:
        raise InvalidArgument(f"not JSON: {error}") from error
    read: T = _converter().structure(document, cls)
    return read


def _parse(text: str) -> object:
    # Before the parser sees it: the parser recurses, and its bound is the application's to change.
    depth = 0
    for character in _STRING.sub("", text):
        if character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidArgument(f"the JSON is nested deeper than {MAX_DEPTH}")
        elif character in "]}":
            depth -= 1
    document = json.loads(
        text,
        object_pairs_hook=_object,
        parse_int=_integer,
        parse_float=_fraction,
        parse_constant=_constant,
    )
    if _SURROGATE.search(text):  # half a pair, if it is one, fails to encode
        json.dumps(document, ensure_ascii=False).encode()
    return document


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise InvalidArgument(f"the name {shown(twice)} is twice in one object")
    return found


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise InvalidArgument(f"a number has {len(digits)} digits")
    return int(digits)


def _fraction(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise InvalidArgument(f"the number {shown(digits)} is too large")
    return number


def _constant(name: str) -> float:
    raise InvalidArgument(f"{name} is no JSON")


class _Member(NamedTuple):
    """Where an attribute stands in the JSON object, and how it is read."""

    attribute: str
    outer: str  # the object inside the object that holds it, or ""
    name: str
    always: bool
    keys: bool
    required: bool
    type: Any

    @property
    def path(self) -> str:
        return f"{self.outer}.{self.name}" if self.outer else self.name


def _members(cls: type[Any]) -> dict[str, _Member]:
    members = {}
    for field in attrs.fields(attrs.resolve_types(cls)):
        if field.name == "unknown":
            continue
        first, *others = field.name.split("_")
        camel = first + "".join(map(str.capitalize, others))
        outer, name = ["", *(field.metadata.get("path") or (camel,))][-2:]
        members[field.name] = _Member(
            field.name,
            outer,
            name,
            field.metadata.get("always", False) or field.default is attrs.NOTHING,
            field.metadata.get("keys", False),
            field.default is attrs.NOTHING,
            field.type,
        )
    return members


@functools.cache
def _converter() -> Converter:
    # cattrs takes 30 ms to load, and only those who read or write JSON need it.
    from cattrs import Converter

    converter = Converter(detailed_validation=False)
    for plain in (str, int, bool):
        converter.register_structure_hook(plain, _plain(plain))
    converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
    converter.register_structure_hook_factory(_is_mapping, _mapping_hook)
    converter.register_structure_hook_factory(attrs.has, _class_hook)
    converter.register_unstructure_hook_factory(attrs.has, _unstructure_hook)
    return converter


def _is_tuple(cls: Any) -> bool:
    return get_origin(cls) is tuple


def _is_mapping(cls: Any) -> bool:
    return get_origin(cls) is Mapping


def _plain(cls: type[object]) -> _Hook:
    expected = kind(cls())

    def hook(value: Any, _: Any) -> Any:
        if type(value) is not cls:
            raise _unexpected(expected, value)
        return value

    return hook


def _unexpected(expected: str, value: object) -> InvalidField:
    return InvalidField("", f"expected {expected}, found {kind(value)}")


def _tuple_hook(cls: Any, converter: Converter) -> _Hook:
    item_type = get_args(cls)[0]
    item_hook = converter.get_structure_hook(item_type)

    def hook(value: Any, _: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise _unexpected("a list", value)
        items = []
        for index, item in enumerate(value):
            try:
                items.append(item_hook(item, item_type))
            except InvalidField as error:
                raise error.within(f"[{index}]") from None
        return tuple(items)

    return hook


def _mapping_hook(cls: Any, converter: Converter) -> _Hook:
    item_type = get_args(cls)[1]
    if item_type is object:
        return _any_mapping
    item_hook = converter.get_structure_hook(item_type)

    def hook(value: Any, _: Any) -> dict[str, Any]:
        items = {}
        for key, item in _any_mapping(value, _).items():
            try:
                items[key] = item_hook(item, item_type)
            except InvalidField as error:
                raise error.within(f"[{shown(key)}]") from None
        return items

    return hook


def _any_mapping(value: Any, _: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise _unexpected("an object", value)
    return value


def _keys_hook(value: Any, _: Any) -> tuple[str, ...]:
    for key, item in _any_mapping(value, _).items():
        if item:
            raise _unexpected("an empty object", item).within(f"[{shown(key)}]")
    return tuple(value)


def _class_hook(cls: type[Any], converter: Converter) -> _Hook:
    members = _members(cls)
    outers = {member.outer for member in members.values() if member.outer}
    hooks = {
        (member.outer, member.name): (
            member,
            _keys_hook if member.keys else converter.get_structure_hook(member.type),
        )
        for member in members.values()
    }
    required = [member for member in members.values() if member.required]

    def hook(document: Any, _: Any) -> Any:
        values: dict[str, Any] = {}
        unknown: dict[str, Any] = {}
        for (outer, name), value in _flat(document, outers):
            known = hooks.get((outer, name))
            if known is None:
                (unknown.setdefault(outer, {}) if outer else unknown)[name] = value
            elif value is not None:
                member, read = known
                try:
                    values[member.attribute] = read(value, member.type)
                except InvalidField as error:
                    raise error.within(member.path) from None
        for member in required:
            if member.attribute not in values:
                raise InvalidField(member.path, "is missing")
        try:
            return cls(**values, unknown=unknown)
        except InvalidField as error:
            attribute, bracket, rest = error.path.partition("[")
            path = members[attribute].path + bracket + rest
            raise InvalidField(path, error.problem) from None

    return hook


def _flat(document: Any, outers: set[str]) -> Iterator[tuple[tuple[str, str], Any]]:
    """Give the members of an object, and those of the objects in it that are no class here."""
    for name, value in _any_mapping(document, None).items():
        if name not in outers:
            yield ("", name), value
        elif value is not None:
            try:
                inner = _any_mapping(value, None)
            except InvalidField as error:
                raise error.within(name) from None
            for inner_name, inner_value in inner.items():
                yield (name, inner_name), inner_value


def _unstructure_hook(cls: type[Any], converter: Converter) -> Callable[[Any], dict[str, Any]]:
    from cattrs.gen import make_dict_unstructure_fn, override

    members = _members(cls)
    options: dict[str, Any] = {
        member.attribute: override(
            omit_if_default=not member.always,
            unstruct_hook=_write_keys if member.keys else None,
        )
        for member in members.values()
    }
    by_attribute = make_dict_unstructure_fn(cls, converter, **options)
    places = {(member.outer, member.name) for member in members.values()}
    outers = {member.outer for member in members.values() if member.outer}

    def hook(value: Any) -> dict[str, Any]:
        attributes = by_attribute(value)
        written: dict[str, Any] = {}
        for attribute, member in members.items():
            target = written.setdefault(member.outer, {}) if member.outer else written
            if attribute in attributes:
                target[member.name] = attributes[attribute]
        for place, item in _flat(attributes["unknown"], outers):
            outer, name = place
            if place in places:
                raise InvalidField("unknown", f"{shown(name)} is a member of {cls.__name__}")
            (written[outer] if outer else written)[name] = item
        return written

    return hook


def _write_keys(value: tuple[str, ...]) -> dict[str, dict[str, object]]:
    return {key: {} for key in value}
