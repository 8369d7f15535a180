"""events: what happens to containers, networks and volumes, in whatever process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycontainers.engine import Engine
from pycontainers.lifecycle.events import Events

if TYPE_CHECKING:
    from pycontainers.lifecycle.events import Filters
    from pycontainers.lifecycle.moments import Moment


def events(
    since: Moment | None = None,
    until: Moment | None = None,
    *,
    filters: Filters | None = None,
    follow: bool = True,
    engine: Engine | None = None,
) -> Events:
    """Give the events of a data root as they come, of every process that uses it.

    From now on, or from `since` on as far as they are kept (16 to 32 MiB of them), until `until` or
    `close`; with `follow=False` what there is, all of it without `since`.  A moment is seconds
    since the epoch, a datetime (UTC unless it has a zone) or a timedelta, that long ago.  `filters`
    are `container` and `network` (a name, id or beginning of an id), `volume`, `event`, `type`,
    `image` and `label` ("key" or "key=value"), each a text or a list of which one must fit.  Raises
    InvalidArgument, StoreError.

    >>> with pycontainers.events(filters={"event": "die"}) as events:     # doctest: +SKIP
    ...     for event in events:
    ...         print(event, event.attributes["exitCode"])
    <Event die web 3f2a8c01d7e4 12:03:01> 0
    """
    engine = engine or Engine()
    directory = str(engine.services().root.events)
    return Events(directory, since=since, until=until, filters=filters, follow=follow)
