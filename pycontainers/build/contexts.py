"""Contexts beside the main one, by the names that FROM, COPY --from and mounts know them by."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.build.context import Context
from pycontainers.build.gitrefs import GitSource, is_download, redacted
from pycontainers.build.gittrees import GitTree
from pycontainers.build.once import Once
from pycontainers.errors import BuildError, InvalidArgument
from pycontainers.kernel.closing import Closing
from pycontainers.lifecycle import values
from pycontainers.oci.reference import Reference
from pycontainers.storage.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pycontainers.build.gitrun import Access
    from pycontainers.distribution.layers import Limits
    from pycontainers.lifecycle.services import Services

_IMAGE: Final = "docker-image://"
_SCRATCH: Final = "scratch"
_RESERVED: Final = (_SCRATCH, "context")
_LATEST: Final = ":latest"


@attrs.frozen
class UrlSource:
    """An archive, or a Dockerfile alone, to be downloaded."""

    url: str

    def __str__(self) -> str:
        return redacted(self.url)


@attrs.frozen
class ImageSource:
    """An image, by a reference, or by its id in the store."""

    reference: str = ""
    id: str = ""


Place = Path | GitSource | UrlSource | ImageSource
Given = str | os.PathLike[str] | ImageSource


def place(given: Given, *, name: str = "context") -> Place:
    """Tell what a user calls a context's place; raises InvalidArgument, BuildError.

    A directory that is there is never taken for anything else.
    """
    if isinstance(given, ImageSource):
        return given
    if not isinstance(given, (str, os.PathLike)):
        raise InvalidArgument(f"contexts: {name}: {given!r} is no directory, image or URL")
    text = values.text("contexts", os.fspath(given))
    if not isinstance(given, str) or Path(text).is_dir():
        return Path(text)
    if text.startswith(_IMAGE):
        reference = text.removeprefix(_IMAGE)
        return ImageSource(reference if reference == _SCRATCH else str(Reference.parse(reference)))
    return elsewhere(text) or Path(text)


def elsewhere(text: str) -> GitSource | UrlSource | None:
    """Tell what a URL of a context means; None for what is none.  Raises BuildError."""
    source = GitSource.parse(text, context=True)
    if source is None and is_download(text):
        return UrlSource(text)
    return source


@contextlib.contextmanager
def opened(
    found: Path | GitSource | UrlSource,
    services: Services,
    access: Access,
    limits: Limits,
    *,
    named: bool = False,
) -> Iterator[Context]:
    """Open a context wherever it is; raises BuildError, and what Context's ways raise."""
    with contextlib.ExitStack() as stack:
        if isinstance(found, Path):
            yield stack.enter_context(Context.directory(found, services))
        elif isinstance(found, GitSource):
            tree = stack.enter_context(GitTree(found, services, access, limits))
            yield stack.enter_context(tree.context())
        else:
            from pycontainers.build import fetching  # TLS and HTTP take 20 ms to load

            with scratch(services.root.layers, 0o700) as folder:
                name = fetching.fetch(found.url, folder, "", access.cancellation)
                with (folder / name).open("rb") as file:
                    context = Context.stream(file, services, limits, named=named)
            context.name = str(found)
            yield stack.enter_context(context)


class Contexts(Closing):
    """The named contexts of one build, each opened by whoever needs it first; they go with it."""

    def __init__(
        self, given: Mapping[str, Place], services: Services, access: Access, limits: Limits
    ) -> None:
        self._given = given
        self._services = services
        self._access = access
        self._limits = limits
        self._known = Once[Context]()
        self._lock = threading.Lock()
        self._open = contextlib.ExitStack()

    def close(self) -> None:
        """Let go of all that were opened; what was fetched is removed."""
        self._open.close()

    def find(self, name: str) -> str:
        """Give the name that a stage's or image's name stands for here; empty for none."""
        if name.lower() in _RESERVED or not self._given:
            return ""
        try:
            known = key(name)
        except InvalidArgument:
            return ""
        return known if known in self._given else ""

    def image(self, name: str) -> ImageSource | None:
        """Give the image that a name of here means; None for files."""
        found = self._given[name]
        return found if isinstance(found, ImageSource) else None

    def files(self, name: str) -> Context:
        """Give the files that a name of here means; raises what `opened` raises."""
        return self._known.get(name, lambda: self._opened(name))

    def _opened(self, name: str) -> Context:
        found = self._given[name]
        assert not isinstance(found, ImageSource)
        with contextlib.ExitStack() as stack:
            context = stack.enter_context(
                opened(found, self._services, self._access, self._limits, named=True)
            )
            if context.is_directory:
                context.use_rules(None)
            with self._lock:
                self._open.push(stack.pop_all())
        return context


def key(name: str) -> str:
    """Give the one form of a context's name, which is that of a reference; raises InvalidArgument.

    >>> key("docker.io/library/debian:latest")
    'debian'
    """
    return Reference.parse(name).familiar.removesuffix(_LATEST)


def named(given: Mapping[str, Given]) -> dict[str, Place]:
    """Check what a user calls contexts, by their names; raises InvalidArgument."""
    found: dict[str, Place] = {}
    for name, where in given.items():
        known = key(name)
        if known.lower() in _RESERVED:
            raise InvalidArgument(f"contexts: {name!r} means something else")
        try:
            means = found[known] = place(where, name=name)
        except BuildError as error:
            raise InvalidArgument(f"contexts: {name}: {error.problem}", hint=error.hint) from None
        if isinstance(means, Path) and not means.is_dir():
            raise InvalidArgument(
                f"contexts: {name}: there is no directory {means}",
                hint="a context is a directory, an Image, docker-image://REFERENCE, or a URL",
            )
    return found
