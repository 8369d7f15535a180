"""What `RUN --mount` says: a bind, cache, tmpfs, secret or ssh mount with its options."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import attrs

from pycontainers.build.flags import guess, truth
from pycontainers.errors import BuildError

_TYPES: Final = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARING: Final = ("shared", "private", "locked")
_SAME: Final = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly",
                "rw": "readwrite"}  # fmt: skip
_KEYS: Final = ("type", "from", "source", "target", "readonly", "readwrite", "required", "size",
                "id", "sharing", "mode", "uid", "gid", "env")  # fmt: skip
_SWITCHES: Final = ("readonly", "readwrite", "required")
_FIELDS: Final = {"from": "from_"}
# Options that not every type has, and which has them.
_SPECIAL: Final = ("required", "size", "sharing", "mode", "uid", "gid")
_ALLOWED: Final = {"cache": ("sharing", "mode", "uid", "gid"), "tmpfs": ("size",),
                   "secret": ("required", "mode", "uid", "gid"),
                   "ssh": ("required", "mode", "uid", "gid")}  # fmt: skip
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?|\.\d+) ?([kmgtp]?)(i?b)?", re.IGNORECASE | re.ASCII)
_FIELD: Final = re.compile(r'"((?:[^"]|"")*)"|([^",]*)')
_HIGHEST: Final = (1 << 32) - 1
_LARGEST: Final = 1 << 62


@attrs.frozen(kw_only=True)
class RunMount:
    """A mount that is there while one RUN runs.

    `source` is a path in the stage or image `from_`, or in the context, for bind and cache; `id`
    names a cache, secret or ssh agent.  `size` is bytes, 0 for the default; `mode`, `uid` and `gid`
    are None where nothing is said.  A secret is also the variable `env` of the command, unless that
    is None, and then needs no target.
    """

    type: str = "bind"
    source: str = ""
    target: str = ""
    from_: str = ""
    read_only: bool = True
    id: str = ""
    sharing: str = ""
    size: int = 0
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    required: bool = False
    env: str | None = None

    @classmethod
    def parse(cls, text: str, expand: Callable[[str], str]) -> RunMount:
        """Read a mount; `expand` puts the values of variables into each value.

        Raises BuildError, without a place.

        >>> RunMount.parse("type=cache,target=/root/.cache", str).sharing
        'shared'
        """
        options = [_option(field, expand) for field in fields(text)]
        types = [option for option in options if option.key == "type"]
        kind = _choice(types[-1].value.lower(), _TYPES, types[-1].field) if types else "bind"
        given: dict[str, Any] = {"read_only": kind not in ("cache", "tmpfs")}
        for key, value, field in options:
            if key not in _ALLOWED.get(kind, ()) and key in _SPECIAL:
                raise BuildError(f"a {kind} mount has no option {key!r}", near=field)
            if key in ("readonly", "readwrite"):
                given["read_only"] = truth(value, field) == (key == "readonly")
            elif key != "type":
                given[_FIELDS.get(key, key)] = _value(key, value, field)
        return _completed(cls(type=kind, **given), text)


class _Option(NamedTuple):
    """An option by its own name, its value, and the whole as written."""

    key: str
    value: str
    field: str


def source_stage(text: str) -> str:
    """Give the stage or image that a mount is `from`, empty without; raises BuildError.

    >>> source_stage("type=bind,from=builder,target=/x")
    'builder'
    """
    found = ""
    for field in fields(text):
        key, _, value = field.partition("=")
        if key.lower() == "from":
            _refuse_variable(value, field)
            found = value
    return found


def fields(text: str) -> list[str]:
    """Split a line of comma-separated values, in which quoted ones may have commas.

    Raises BuildError.

    >>> fields('a,"b,c"')
    ['a', 'b,c']
    """
    found: list[str] = []
    at = 0
    while True:
        match = _FIELD.match(text, at)
        end = match.end() if match else len(text)
        if match is None or text[end : end + 1] not in ("", ","):
            raise BuildError(f"a quote in {text[:80]!r} does not enclose a whole option", near=text)
        quoted = match[1]
        found.append(match[2] if quoted is None else quoted.replace('""', '"'))
        if end >= len(text):
            return found
        at = end + 1


def _option(field: str, expand: Callable[[str], str]) -> _Option:
    written, equals, value = field.partition("=")
    key = _SAME.get(written.lower(), written.lower())
    if key not in _KEYS:
        hint = guess(key, (*_KEYS, *_SAME))
        raise BuildError(f"--mount has no option {written[:80]!r}", near=field, hint=hint)
    if not equals and key not in _SWITCHES:
        raise BuildError(f"the option {key!r} of --mount needs a value", near=field)
    if key == "from":
        _refuse_variable(value, field)
    return _Option(key, expand(value) if equals else "true", field)


def _refuse_variable(value: str, field: str) -> None:
    if "$" in value[:-1]:
        raise BuildError(
            "the option 'from' of --mount can't have a variable",
            near=field,
            hint="begin a stage with FROM and the variable, and name that stage",
        )


def _choice(value: str, allowed: tuple[str, ...], field: str) -> str:
    if value not in allowed:
        hint = guess(value, allowed) or f"one of {', '.join(allowed)}"
        raise BuildError(f"{field[:80]!r} is unknown to --mount", near=field, hint=hint)
    return value


def _value(key: str, value: str, field: str) -> str | int:
    """Read an option's value as what it is."""
    if key == "required":
        return truth(value, field)
    if key == "sharing":
        return _choice(value.lower(), _SHARING, field)
    if key == "size":
        return _bytes(value, field)
    if key in ("mode", "uid", "gid"):
        digits = "[0-7]{1,16}" if key == "mode" else "[0-9]{1,16}"
        number = int(value, 8 if key == "mode" else 10) if re.fullmatch(digits, value) else -1
        if not 0 <= number <= _HIGHEST:
            raise BuildError(f"{value[:40]!r} is not a {key}", near=field)
        return number
    return value


def _bytes(value: str, field: str) -> int:
    match = _SIZE.fullmatch(value.strip())
    power = "kmgtp".find(match[2].lower()) + 1 if match and match[2] else 0
    number = float(match[1]) * 1024**power if match else _LARGEST
    if number >= _LARGEST:
        raise BuildError(f"{value[:40]!r} is not a size", near=field, hint="as 64m or 1g")
    return int(number)


def _completed(mount: RunMount, text: str) -> RunMount:
    """Put in what follows from the rest; refuse what does not go together."""
    if mount.type == "cache":
        where = posixpath.normpath(mount.target or ".")
        return attrs.evolve(mount, id=mount.id or where, sharing=mount.sharing or "shared")
    if mount.type == "ssh":
        if mount.source:
            raise BuildError("an ssh mount has no option 'source'", near=text)
        return attrs.evolve(mount, id=mount.id or "default")
    if mount.type != "secret":
        return mount
    if mount.from_:
        raise BuildError("a secret mount has no option 'from'", near=text)
    if mount.source and mount.id:
        raise BuildError("a secret mount has an id or a source, not both", near=text)
    name = mount.source or mount.id or posixpath.basename(mount.target.rstrip("/"))
    if not name:
        raise BuildError("a secret mount needs an id or a target", near=text)
    target = mount.target
    if not target and mount.env is None:
        target = f"/run/secrets/{posixpath.basename(name)}"
    return attrs.evolve(mount, id=name, source="", target=target)
