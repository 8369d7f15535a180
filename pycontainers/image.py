"""Image: what a container starts from, and all that can be asked of it and done with it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pycontainers.distribution import bars, catalog
from pycontainers.distribution.save import save
from pycontainers.engine import Engine
from pycontainers.errors import ImageNotFound, InvalidArgument, NotSupported
from pycontainers.lifecycle import output, values
from pycontainers.lifecycle.completion import encoded
from pycontainers.lifecycle.imagemounts import with_images
from pycontainers.lifecycle.moments import moment
from pycontainers.lifecycle.oneshot import run_once
from pycontainers.lifecycle.options import Options
from pycontainers.lifecycle.source import Source
from pycontainers.lifecycle.streams import PIPE
from pycontainers.oci.config import History, ImageConfig
from pycontainers.oci.platform import Platform
from pycontainers.oci.reference import Reference
from pycontainers.origins import Origins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from pycontainers.build.pruning import BuildRecord
    from pycontainers.distribution.progress import Listener
    from pycontainers.lifecycle.moments import Moment
    from pycontainers.lifecycle.options import Command, RunOptions, Size
    from pycontainers.lifecycle.result import CompletedRun
    from pycontainers.lifecycle.services import Services
    from pycontainers.storage.images import Collected, ImageRow

_List = list  # the class has a method of that name


class Image(Origins):
    """An image of one data root, as a plain value; `id` names its content.

    Attributes are live: `tags`, `digest` and `size` tell what the store says now, and raise
    ImageNotFound once the image has been removed.
    """

    @classmethod
    def list(cls, *, engine: Engine | None = None) -> list[Image]:
        """Give all images of the store, newest first."""
        engine = engine or Engine()
        rows = engine.services().image_store.all()
        return [cls(engine.root, name) for name in dict.fromkeys(row.config for row, _ in rows)]

    @classmethod
    def prune(cls, *, all: bool = False, engine: Engine | None = None) -> Collected:
        """Remove the images without a tag, or `all` that no container uses; tell what it freed.

        Waits for pulls and loads that are running.  Raises StoreError.
        """
        engine = engine or Engine()
        return catalog.prune(engine.services(), all=all)

    @classmethod
    def build_cache(cls, *, engine: Engine | None = None) -> _List[BuildRecord]:
        """Give what builds keep for the builds to come, the longest unused first.

        Raises StoreError.
        """
        from pycontainers.build import pruning

        return pruning.records((engine or Engine()).services())

    @classmethod
    def prune_builds(
        cls,
        *,
        all: bool = False,
        keep: Size | None = None,
        unused_since: Moment | None = None,
        engine: Engine | None = None,
    ) -> _List[BuildRecord]:
        """Remove what builds keep, the longest unused first, and give what was removed.

        Without `all`, what images have stays known.  No more is removed when `keep` bytes or less
        are left, and with `unused_since` nothing that was used after that moment.  Waits for builds
        and pulls that are running.  Raises InvalidArgument, StoreError.

        >>> sum(one.reclaimable for one in Image.prune_builds(keep="10g"))   # doctest: +SKIP
        1234567
        """
        from pycontainers.build import pruning

        return pruning.prune(
            (engine or Engine()).services(),
            all=values.flag("all", all),
            keep=None if keep is None else values.size("keep", keep),
            before=moment("unused_since", unused_since),
        )

    @classmethod
    def resolve(cls, image: Image | str | None, engine: Engine) -> Image:
        """Give the image that an `image=` option means: None is the host's own programs.

        A reference that means nothing here is pulled.
        """
        if image is None:
            return cls.host(engine=engine)
        if isinstance(image, str):
            try:
                return cls.get(image, engine=engine)
            except ImageNotFound:
                return cls.pull(image, engine=engine)
        if not isinstance(image, Image):
            raise InvalidArgument(f"image: expected an Image, a reference or None, not {image!r}")
        return image

    @classmethod
    def showing(cls, options: Options, engine: Engine) -> Options:
        """Give options with the images found that are mounted.  For the rooms of this library."""
        return with_images(options, lambda reference: cls.resolve(reference, engine))

    def run(
        self,
        command: Command | None = None,
        *,
        input: str | bytes | None = None,
        check: bool = False,
        **options: Unpack[RunOptions],
    ) -> CompletedRun[str]:
        """Run a command in a container of this image, as `pycontainers.run` does with its defaults.

        Raises what `pycontainers.run` raises.
        """
        options.setdefault("ephemeral", True)
        result: CompletedRun[str] = run_once(  # type: ignore[assignment]  # text=True gives texts
            Engine(root=self.root).services(),
            self.source(),
            self.showing(Options.of(command, **options), Engine(root=self.root)),
            feed=encoded(input),
            text=True,
            stderr=PIPE,
            limit=output.DEFAULT_LIMIT,
        )
        if check:
            result.check_returncode()
        return result

    # What it is.

    @property
    def config(self) -> ImageConfig:
        """What its programs start with: entrypoint, cmd, env, user and others."""
        return self._given.config if self._given else catalog.config(self._services(), self.id)

    @property
    def layers(self) -> tuple[str, ...]:
        """The directories of its layers, topmost first, which are never written to."""
        return self.source().layers

    @property
    def tags(self) -> tuple[str, ...]:
        """The references that mean it, as `debian:12`."""
        return tuple(Reference.parse(name).familiar for name in self._names() if "@" not in name)

    @property
    def digests(self) -> tuple[str, ...]:
        """The references by digest that it was pulled from or pushed to."""
        return tuple(Reference.parse(name).familiar for name in self._names() if "@" in name)

    @property
    def digest(self) -> str | None:
        """The digest of its manifest; None for the host's programs and directories."""
        return None if self._given else self._row().manifest

    @property
    def size(self) -> int:
        """The bytes of its blobs, compressed as they are; 0 where there are none."""
        return 0 if self._given else self._row().size

    @property
    def platform(self) -> Platform:
        """What its programs were made for."""
        return Platform.parse(self._row().platform) if not self._given else Platform.host()

    @property
    def variants(self) -> tuple[Image, ...]:
        """It and the images for other platforms that were built with it, in the order asked for."""
        if self._given:
            return (self,)
        rows = self._services().image_store.variants(self._row().manifest)
        return tuple(Image(self.root, row.config) for row in rows)

    def history(self) -> tuple[History, ...]:
        """Give how it was made, the oldest step first, as its config tells."""
        return self.config.history

    # What can be done with it.

    def tag(self, reference: str) -> None:
        """Let a reference mean this image from now on, whatever it meant before.

        Raises InvalidArgument, and NotSupported for what is not in the store.
        """
        wanted = Reference.parse(reference)
        if wanted.digest is not None:
            raise InvalidArgument(f"cannot tag {reference!r}: a digest can't be chosen")
        self._services().image_store.tag(self._row().manifest, str(wanted))

    def untag(self, reference: str) -> None:
        """Let a reference mean nothing; the image stays.  Raises ImageNotFound."""
        wanted = str(Reference.parse(reference))
        if wanted not in self._names() or not self._services().image_store.untag(wanted):
            raise ImageNotFound(f"{reference!r} does not mean the image {self.id}")

    def push(
        self,
        reference: str,
        *,
        auth: tuple[str, str] | None = None,
        insecure: bool | None = None,
        ca: str | os.PathLike[str] | None = None,
        variants: bool = False,
        progress: Listener | bool | None = None,
    ) -> str:
        """Send the image to a registry under a reference; give its manifest's digest.

        Only what the registry lacks is sent.  With `variants` those for other platforms are sent
        too, and an index of all.  The other options are those of `pull`.  Raises
        RegistryError, StoreError, and NotSupported for what is not in the store.

        >>> Image.get("app:1").push("localhost:5000/app:1")                  # doctest: +SKIP
        'sha256:…'
        """
        from pycontainers.distribution import remote
        from pycontainers.distribution.push import Push

        wanted = Reference.parse(reference)
        if wanted.digest is not None:
            raise InvalidArgument(f"cannot push to {reference!r}: a digest can't be chosen")
        row, services = self._row(), self._services()
        reporter = bars.reporter(progress, f"pushing {wanted.familiar}")
        with remote.repository(services, wanted, auth, insecure, ca) as repository:
            push = Push(services, repository, wanted, row, reporter)
            if variants:
                return push.run_all(services.image_store.variants(row.manifest))
            return push.run()

    def remove(self, *, force: bool = False) -> None:
        """Remove the image with all its tags, and what no other image shares with it.

        Conflict where containers use it; `force` then takes the tags, and `prune` the rest later.
        Gone already is fine.
        """
        if self._given:
            raise NotSupported(f"{self!r} is not in the store and can't be removed from it")
        catalog.remove(self._services(), self.id, force=force)

    def save(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        *,
        format: str = "oci",
        progress: Listener | bool | None = None,
    ) -> None:
        """Write the image with its tags as an archive, "oci" or "docker", that others load.

        A file appears when it is whole.  Raises ImageNotFound, StoreError.

        >>> Image.get("app:1").save("app.tar", format="docker")              # doctest: +SKIP
        """
        self.save_all([self], target, format=format, progress=progress)

    @classmethod
    def save_all(
        cls,
        images: Sequence[Image],
        target: str | os.PathLike[str] | BinaryIO,
        *,
        format: str = "oci",
        progress: Listener | bool | None = None,
    ) -> None:
        """Write several images of one data root as one archive, as `save` does with one."""
        if not images or len({image.root for image in images}) != 1:
            raise InvalidArgument("images: expected one or more of one data root")
        rows = [image._row() for image in images]
        services = images[0]._services()
        reporter = bars.reporter(progress, "saving images")
        if not isinstance(target, (str, os.PathLike)):
            save(services, rows, target, format, reporter)
            return
        with catalog.appearing(Path(target)) as file:
            save(services, rows, file, format, reporter)

    def source(self) -> Source:
        """Give what a container starts from.  For the rooms of this library."""
        if self._given:
            return self._given
        row = self._row()
        layers = self._services().image_store.stack(json.loads(row.diff_ids))
        return Source(image=self.id, config=self.config, layers=layers)

    def _services(self) -> Services:
        return Engine(root=self.root).services()

    def _row(self) -> ImageRow:
        if self._given:
            raise NotSupported(
                f"{self!r} is not in the store, and so has no manifest",
                hint="Image.from_rootfs(archive) makes an image that can be saved and pushed",
            )
        return catalog.row(self._services(), self.id)

    def _names(self) -> tuple[str, ...]:
        return () if self._given else catalog.names(self._services(), self.id)

    def __repr__(self) -> str:
        short = self.id.removeprefix("sha256:")[:12]
        if self._given:
            return f"<Image {self.id[:17]}>"
        try:
            return " ".join(["<Image", *self.tags, short]) + ">"
        except ImageNotFound:
            return f"<Image {short} removed>"
