"""What happened to containers and what they use: the journal of events, read and followed.

Whoever does something appends it (runtime/journal.py), so that events come from all processes that
use the data root.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import attrs

from pycontainers.errors import InvalidArgument
from pycontainers.lifecycle.feed import Feed
from pycontainers.lifecycle.moments import Moment, moment
from pycontainers.runtime import journal

Filters: TypeAlias = Mapping[str, str | Sequence[str]]

_NAMED: Final = ("container", "network", "volume")  # filters that name an object of that type
_FILTERS: Final = (*_NAMED, "event", "image", "label", "type")
_SHORTEST: Final = 4  # characters of an id's beginning that name a container


@attrs.frozen(repr=False)
class Event:
    """One thing that happened: when (seconds since the epoch), to what, and what it was.

    `type` is "container", "network" or "volume", `action` Docker's word, `id` the object's,
    which is a volume's name; `attributes` hold a container's name, image and labels, and
    what belongs to the action, as "exitCode" of "die" and "container" of "connect" and "mount".
    """

    time: float
    type: str
    action: str
    id: str
    attributes: dict[str, str] = attrs.field(hash=False)

    def __repr__(self) -> str:
        name = self.attributes.get("name")
        shown = f"{name} " if name else ""
        clock = time.strftime("%H:%M:%S", time.localtime(self.time))
        key = self.id if self.type == "volume" else self.id[:12]
        return f"<Event {self.action} {shown}{key} {clock}>"


class Events(Feed[Event]):
    """The events of a data root, in the order written; pycontainers.events() makes it.

    An iterator that waits for events to come, until `until` or `close`; with `follow=False` it ends
    with what there is.  It can be closed from any thread, and is a context manager that closes it.
    """

    def __init__(
        self,
        directory: str,
        *,
        since: Moment | None = None,
        until: Moment | None = None,
        filters: Filters | None = None,
        follow: bool = True,
    ) -> None:
        """Open the journal; from here on no event is missed.

        Raises InvalidArgument before anything is opened.
        """
        self._since = moment("since", since)
        self._until = moment("until", until)
        self._filters = _checked(filters or {})
        self._directory = directory
        super().__init__(directory, journal.file_name, follow=follow, deadline=self._until)
        if self._since is not None:
            self._trail.skip_before(self._since)
        elif follow:
            self._trail.go(self._trail.end())

    def _more(self) -> list[Event] | None:
        block = self._block()
        if not block:
            return None
        lines = block.splitlines()
        last = parse(lines[-1])
        # Processes may write a little later than they look at the clock.
        if self._since is not None and last is not None and last.time < self._since - 1:
            return []
        events = map(parse, lines)
        return [event for event in events if event is not None and self._wanted(event)]

    def _wanted(self, event: Event) -> bool:
        return (
            (self._since is None or event.time >= self._since)
            and (self._until is None or event.time <= self._until)
            and all(
                any(_matches(event, key, value) for value in values)
                for key, values in self._filters.items()
            )
        )

    def __repr__(self) -> str:
        return f"<Events {self._directory}>"


def parse(line: bytes) -> Event | None:
    """Give the event that a line of the journal tells of; None for a broken line.

    >>> parse(b'{"time":1,"type":"image","action":"pull","id":"4ee3","attributes":{}}').action
    'pull'
    """
    try:
        known = json.loads(line)
        return Event(
            float(known["time"]),
            str(known["type"]),
            str(known["action"]),
            str(known["id"]),
            {str(key): str(value) for key, value in known["attributes"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _checked(filters: Filters) -> dict[str, tuple[str, ...]]:
    if not isinstance(filters, Mapping):
        raise InvalidArgument(f"filters: expected a mapping, not {filters!r}")
    checked = {}
    for key, value in filters.items():
        if key not in _FILTERS:
            raise InvalidArgument(
                f"filters: {key!r} is no filter of events", hint=f"known are {', '.join(_FILTERS)}"
            )
        values = (value,) if isinstance(value, str) else value
        if not isinstance(values, Sequence) or isinstance(values, bytes):
            raise InvalidArgument(f"filters: {key}: expected a text or a list, not {value!r}")
        if not values or not all(isinstance(one, str) and one for one in values):
            raise InvalidArgument(f"filters: {key}: expected texts, not {value!r}")
        checked[key] = tuple(values)
    return checked


def _matches(event: Event, key: str, value: str) -> bool:
    """Whether an event passes one value of a filter."""
    attributes = event.attributes
    if key == "type":
        return event.type == value
    if key == "event":
        # Docker writes "health_status: healthy", and finds it by its first word.
        return value in (event.action, event.action.partition(":")[0])
    if key == "label":
        name, equals, wanted = value.partition("=")
        return name in attributes and (not equals or attributes[name] == wanted)
    if key in _NAMED:
        if event.type != key:
            return False
        if key == "volume":
            return event.id == value
        begins = len(value) >= _SHORTEST and event.id.startswith(value)
        return begins or value == attributes.get("name")
    if event.type == "image":
        return value in (event.id, attributes.get("name"))
    return value == attributes.get("image")
