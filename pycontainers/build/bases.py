"""The images that stages begin from, or copy from; each fetched once, several at the same time."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.build.making import Layer, key_of
from pycontainers.build.scope import DEFAULT_PATH
from pycontainers.build.stage import Result
from pycontainers.distribution import catalog
from pycontainers.oci import manifest as oci
from pycontainers.oci.config import History, ImageConfig
from pycontainers.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontainers.distribution.progress import Listener
    from pycontainers.lifecycle.services import Services
    from pycontainers.oci.platform import Platform

    Fetch = Callable[[str, Platform, Listener | None], str]

_SCRATCH: Final = "scratch"
_UNTOLD: Final = "a layer of the base image, whose history does not tell of it"


class Bases:
    """The images of one build; `fetch` gives the id of one, and tells what comes of it."""

    def __init__(self, services: Services, fetch: Fetch) -> None:
        self._services = services
        self._fetch = fetch
        self._known: dict[tuple[str, str], Future[Result]] = {}
        self._lock = threading.Lock()

    def get(self, reference: str, platform: Platform, listener: Listener | None = None) -> Result:
        """Give an image for a platform, fetched by whoever asks first; raises what that raises."""
        if reference == _SCRATCH:
            return _scratch(platform)
        key = reference, str(platform)
        with self._lock:
            future = self._known.get(key)
            first = future is None
            if future is None:
                future = self._known[key] = Future()
        if first:
            try:
                future.set_result(
                    _begin(self._services, self._fetch(reference, platform, listener))
                )
            except BaseException as error:
                future.set_exception(error)
        return future.result()


def _scratch(platform: Platform) -> Result:
    config = ImageConfig(
        os=platform.os,
        architecture=platform.architecture,
        variant=platform.variant,
        env=(f"PATH={DEFAULT_PATH}",),
        working_dir="/",
    )
    return Result(key_of(_SCRATCH), config)


def _begin(services: Services, image_id: str) -> Result:
    """Give an image of the store as the beginning of a stage."""
    row = catalog.row(services, image_id)
    config = catalog.config(services, image_id)
    document = oci.parse(services.content.read(Digest.parse(row.manifest), row.length))
    assert isinstance(document, oci.Manifest)
    diff_ids = json.loads(row.diff_ids)
    services.image_store.stack(diff_ids)  # all of them are here, or that is told
    layers = tuple(
        Layer(str(services.image_store.layer(diff_id)), None, diff_id, descriptor)
        for diff_id, descriptor in zip(diff_ids, document.layers, strict=True)
    )
    if "PATH" not in config.environment():
        config = attrs.evolve(config, env=(*config.env, f"PATH={DEFAULT_PATH}"))
    return Result(key_of("image", diff_ids), config, layers, _history(config, len(layers)))


def _history(config: ImageConfig, layers: int) -> tuple[History, ...]:
    """Give the history of a base image; of steps that it does not tell of, at least the layers."""
    told = sum(not step.empty_layer for step in config.history)
    untold = History(created=config.created, comment=_UNTOLD)
    return (*config.history, *[untold] * (layers - told))
