"""One command in a container of its own, from its row to its result, with nothing left over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pycontainers.errors import InvalidArgument
from pycontainers.lifecycle import netoptions
from pycontainers.lifecycle.attached import Attached, new_id
from pycontainers.lifecycle.completion import completed
from pycontainers.lifecycle.options import Options
from pycontainers.lifecycle.streams import Streams, run_to_end

if TYPE_CHECKING:
    from pycontainers.lifecycle.result import CompletedRun
    from pycontainers.lifecycle.services import Services
    from pycontainers.lifecycle.source import Source


def run_once(
    services: Services,
    source: Source,
    options: Options,
    *,
    feed: bytes | None,
    text: bool,
    stderr: int,
    limit: int,
) -> CompletedRun[str] | CompletedRun[bytes]:
    """Run the program of `options` to its end; whatever happens, the container is gone then.

    Raises what `Attached.create` raises before anything is made, and LaunchError.
    """
    _check(options)
    attached = Attached(services, new_id(), options, source)
    try:
        attached.create()
        while True:
            streams = Streams(stdin=feed is not None, stderr=stderr, tty=options.tty)
            try:
                running = attached.start(streams.theirs)
                streams.started()
                out, err = run_to_end(
                    running,
                    streams,
                    feed=feed,
                    limit=limit,
                    timeout=options.timeout,
                    late=attached.expire,
                )
            finally:
                streams.close()
            if not attached.start_again():
                break
        timed_out = attached.timed_out
        return completed(attached.argv(), running, out, err, text=text, timed_out=timed_out)
    finally:
        attached.end_now()
        attached.remove()


_DEFAULTS: Final = Options()


def _check(options: Options) -> None:
    """Refuse what has no meaning for a container that is gone when the call returns."""
    if netoptions.shared(options.network) is not None:
        raise InvalidArgument(
            f"network: run() can't be given {options.network[0]}",
            hint="Container.run(image, command, network=…) can",
        )
    for name in ("detach", "auto_remove", "restart", "healthcheck", "ports", "publish_all"):
        if getattr(options, name) != getattr(_DEFAULTS, name):
            raise InvalidArgument(
                f"{name}: run() waits for the program's end and removes the container",
                hint="Container.run(image, command, …) starts one that goes on",
            )
