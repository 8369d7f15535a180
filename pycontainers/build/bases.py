"""What stages begin from, or copy from: images and named contexts.

Each is fetched once, several at the same time.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.build import copying
from pycontainers.build.config import timestamp
from pycontainers.build.making import Layer, key_of
from pycontainers.build.once import Once
from pycontainers.build.scope import DEFAULT_PATH
from pycontainers.build.stage import Result
from pycontainers.distribution import catalog
from pycontainers.errors import BuildError
from pycontainers.oci import manifest as oci
from pycontainers.oci.config import History, ImageConfig
from pycontainers.oci.digest import Digest
from pycontainers.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pycontainers.build.contexts import Contexts
    from pycontainers.build.making import Maker
    from pycontainers.distribution.progress import Listener
    from pycontainers.lifecycle.services import Services

    Fetch = Callable[[str, Platform, Listener | None], str]

_SCRATCH: Final = "scratch"
_UNTOLD: Final = "a layer of the base image, whose history does not tell of it"


class Bases:
    """The images of one build; `fetch` gives the id of one, and tells what comes of it.

    A named context takes an image's place.
    """

    def __init__(
        self, services: Services, fetch: Fetch, contexts: Contexts, maker: Maker, epoch: int | None
    ) -> None:
        self._services = services
        self._fetch = fetch
        self._contexts = contexts
        self._maker = maker
        self._epoch = epoch
        self._known = Once[Result]()

    def get(self, reference: str, platform: Platform, listener: Listener | None = None) -> Result:
        """Give an image for a platform, fetched by whoever asks first; raises what that raises."""
        if reference == _SCRATCH:
            return _scratch(platform)
        key = reference, str(platform)
        return self._known.get(key, lambda: self._got(reference, platform, listener))

    def _got(self, reference: str, platform: Platform, listener: Listener | None) -> Result:
        name = self._contexts.find(reference)
        if name:
            image = self._contexts.image(name)
            if image is None:
                return self._layer(name, platform)
            if image.reference == _SCRATCH:
                return _scratch(platform)
            if image.id:
                return self._stored(name, image.id, platform)
            reference = image.reference
        return _begin(self._services, self._fetch(reference, platform, listener))

    def _stored(self, name: str, image_id: str, platform: Platform) -> Result:
        has = Platform.parse(catalog.row(self._services, image_id).platform)
        if has.rank(platform) is None:
            raise BuildError(f"the image given as the context {name} is for {has}, not {platform}")
        return _begin(self._services, image_id)

    def _layer(self, name: str, platform: Platform) -> Result:
        """Give a context's files as what a stage of nothing but them is."""
        context = self._contexts.files(name)
        selection = context.select(["."])
        key = key_of("context", selection.digest, self._epoch)
        said = f"the context {name}"

        def fill(changes: Path) -> None:
            target = copying.Target("/", changes)
            wishes = copying.Wishes(time=self._epoch)
            copying.copy(self._services, selection, context.root_fd, target, wishes)

        layer = self._maker.find(key) or self._maker.make([key], said, fill)
        made = layer.built.created if layer.built is not None else 0
        seconds = made if self._epoch is None else self._epoch // 10**9
        return attrs.evolve(
            _scratch(platform),
            key=key_of("context", layer.identity),
            layers=(layer,),
            history=(History(created=timestamp(seconds), created_by=said),),
        )


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
