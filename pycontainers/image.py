"""Image: what a container starts from; of a registry, an archive, a directory or this machine."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import attrs

from pycontainers.distribution import bars, catalog, rootfs
from pycontainers.distribution.layers import Limits
from pycontainers.distribution.load import load
from pycontainers.distribution.save import save
from pycontainers.engine import Engine
from pycontainers.errors import (
    ImageError,
    ImageNotFound,
    InvalidArgument,
    NotSupported,
)
from pycontainers.lifecycle import output
from pycontainers.lifecycle.completion import encoded
from pycontainers.lifecycle.imagemounts import with_images
from pycontainers.lifecycle.oneshot import run_once
from pycontainers.lifecycle.options import Options
from pycontainers.lifecycle.source import Source
from pycontainers.lifecycle.streams import PIPE
from pycontainers.oci.config import History, ImageConfig
from pycontainers.oci.platform import Platform
from pycontainers.oci.reference import Reference
from pycontainers.storage import host

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Unpack

    from pycontainers.build.progress import Listener as BuildListener
    from pycontainers.distribution.progress import Listener
    from pycontainers.lifecycle.options import Command, RunOptions, Size
    from pycontainers.lifecycle.result import CompletedRun
    from pycontainers.lifecycle.services import Services
    from pycontainers.storage.images import Collected, ImageRow


@attrs.frozen(repr=False)
class Image:
    """An image of one data root, as a plain value; `id` names its content.

    Attributes are live: `tags`, `digest` and `size` tell what the store says now, and raise
    ImageNotFound once the image has been removed.
    """

    root: str
    id: str
    _given: Source | None = attrs.field(default=None, eq=False)

    # Where images come from.

    @classmethod
    def pull(
        cls,
        reference: str,
        *,
        platform: str | None = None,
        auth: tuple[str, str] | None = None,
        insecure: bool | None = None,
        ca: str | os.PathLike[str] | None = None,
        mirrors: Sequence[str] = (),
        max_size: Size | None = None,
        max_entries: int | None = None,
        progress: Listener | bool | None = None,
        engine: Engine | None = None,
    ) -> Image:
        """Fetch an image from its registry, docker.io where the reference names none.

        `platform` is this machine's unless given, as "linux/arm64"; `auth` a user and a password,
        else those of `Registry.login`, ~/.docker/config.json or containers/auth.json.  `insecure`
        allows plain http and any certificate (None: plain http on loopback), `ca` is a file of
        certificates to trust, `mirrors` are asked first.  `max_size` and `max_entries` bound what a
        layer is unpacked to.  `progress`: None draws bars in a terminal or notebook, False nothing,
        a callable gets each `Progress`.  What is here already is not fetched again, and a pull that
        was interrupted goes on.  Raises ImageNotFound, ImageError, RegistryError, StoreError.

        >>> Image.pull("debian:12").tags                                     # doctest: +SKIP
        ('debian:12',)
        """
        from pycontainers.distribution import remote  # TLS and HTTP take 20 ms to load
        from pycontainers.distribution.pull import Pull

        engine = engine or Engine()
        wanted = Reference.parse(reference)
        suits = None if platform is None else Platform.parse(platform)
        limits = Limits.of(max_size, max_entries)
        reporter = bars.reporter(progress, f"pulling {wanted.familiar}")
        services = engine.services()
        with remote.repository(services, wanted, auth, insecure, ca, mirrors) as repository:
            row = Pull(services, repository, wanted, suits, limits, reporter).run()
        return cls(engine.root, row.config)

    @classmethod
    def host(cls, *, engine: Engine | None = None) -> Image:
        r"""Give this machine's own programs as an image: /usr and the running Python, read-only.

        Nothing of /home, /root, /var, /run and /tmp is in it but the Python prefix, and its /etc
        has no secrets.  Raises StoreError.

        >>> Image.host().run(["python3", "-c", "print(6 * 7)"]).stdout      # doctest: +SKIP
        '42\n'
        """
        engine = engine or Engine()
        services = engine.services()
        if services.host_image is None:
            layer = host.make_layer(services.root.layers)
            config = ImageConfig(
                env=(f"PATH={host.search_path()}", "LANG=C.UTF-8"), cmd=("/bin/sh",)
            )
            services.host_image = Source(
                image=layer.name, config=config, layers=(str(layer),), trees=host.trees()
            )
        return cls(engine.root, services.host_image.image, services.host_image)

    @classmethod
    def from_rootfs(
        cls,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        config: ImageConfig | None = None,
        max_size: Size | None = None,
        max_entries: int | None = None,
        progress: Listener | bool | None = None,
        engine: Engine | None = None,
    ) -> Image:
        """Give an image of a root file system: a directory, used where it is, or a tar archive.

        An archive (a path or an open file; plain, gzip, zstd, bzip2 or xz) becomes an image of one
        layer in the store, unpacked by a jailed process; the same archive again takes little time.
        Nothing is ever written to a directory given; it must not change while containers use it,
        and can't be tagged or pushed.  `max_size` (bytes) and `max_entries` bound what is unpacked.
        Raises ImageError, StoreError.

        >>> Image.from_rootfs("/srv/busybox").run(["/bin/true"]).ok           # doctest: +SKIP
        True
        """
        engine = engine or Engine()
        limits = Limits.of(max_size, max_entries)
        known = config or ImageConfig()
        if not isinstance(source, (str, os.PathLike)):
            with bars.reporter(progress, "reading a root file system") as reporter:
                row = rootfs.from_tar(engine.services(), source, known, limits, reporter)
            return cls(engine.root, row.config)
        path = Path(source).absolute()
        if path.is_dir():
            return cls._directory(path, known, engine)
        if not path.exists():
            raise ImageError(f"cannot use {path} as an image: no such directory or file")
        reporter = bars.reporter(progress, f"reading {path}")
        return cls(
            engine.root, rootfs.from_tar(engine.services(), path, known, limits, reporter).config
        )

    @classmethod
    def _directory(cls, path: Path, config: ImageConfig, engine: Engine) -> Image:
        try:
            os.listdir(path)  # noqa: PTH208
        except OSError as error:
            raise ImageError(f"cannot read the directory {path}: {error.strerror}") from error
        name = hashlib.sha256(os.fsencode(path)).hexdigest()
        source = Source(image=name, config=config, layers=(str(path),))
        return cls(engine.root, name, source)

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        max_size: Size | None = None,
        max_entries: int | None = None,
        progress: Listener | bool | None = None,
        engine: Engine | None = None,
    ) -> Image:
        """Load the image of an archive: docker-archive or OCI, a file, a stream or a layout.

        Compressed archives are read as they are.  An archive of several images gives an
        ImageError, after all have been loaded: `load_all` gives them.  Raises ImageError,
        StoreError.

        >>> Image.load("app.tar").tags                                       # doctest: +SKIP
        ('app:1',)
        """
        loaded = cls.load_all(
            source, max_size=max_size, max_entries=max_entries, progress=progress, engine=engine
        )
        if len(loaded) > 1:
            raise ImageError(
                f"the archive has {len(loaded)} images", hint="Image.load_all(…) gives all of them"
            )
        return loaded[0]

    @classmethod
    def load_all(
        cls,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        max_size: Size | None = None,
        max_entries: int | None = None,
        progress: Listener | bool | None = None,
        engine: Engine | None = None,
    ) -> list[Image]:
        """Load all images of an archive, as `load` does with one."""
        engine = engine or Engine()
        reporter = bars.reporter(progress, "loading images")
        limits = Limits.of(max_size, max_entries)
        rows = load(engine.services(), source, limits, reporter)
        return [cls(engine.root, row.config) for row in rows]

    # Which there are.

    @classmethod
    def get(cls, reference: str, *, engine: Engine | None = None) -> Image:
        """Give the image that a reference, an id or the beginning of an id means.

        Raises ImageNotFound, InvalidArgument, and Conflict where a beginning means several.
        """
        engine = engine or Engine()
        return cls(engine.root, catalog.find(engine.services(), reference))

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
    def build(
        cls,
        context: str | os.PathLike[str] | bytes | BinaryIO = ".",
        *,
        dockerfile: str | os.PathLike[str] | None = None,
        tag: str | Sequence[str] | None = None,
        target: str | None = None,
        build_args: Mapping[str, str] | None = None,
        secrets: Mapping[str, str | bytes | os.PathLike[str]] | None = None,
        ssh: Mapping[str, str | os.PathLike[str]] | None = None,
        labels: Mapping[str, str] | None = None,
        platform: str | None = None,
        network: str = "bridge",
        insecure: bool = False,
        cache: bool = True,
        progress: BuildListener | bool | None = None,
        engine: Engine | None = None,
    ) -> Image:
        """Build an image from a Dockerfile and the files beside it.

        `context` is a directory, a tar archive, or a Dockerfile alone, as bytes or an open file.
        `dockerfile` names another file in it, or is an absolute path.  `secrets` are values, or
        paths of files, for `RUN --mount=type=secret`, `ssh` sockets of agents by id.  Commands run
        in containers on `network`; `insecure` allows `RUN --security=insecure`.  What was built
        before of the same is taken from the cache, unless `cache=False`.  `progress`: None prints
        steps to standard error if that is a terminal, True always, False nothing, a callable gets
        each `BuildProgress`.  Raises BuildError, which shows the line, InvalidArgument, FileMissing
        for the context, ImageError and RegistryError for base images.

        >>> Image.build("context/", tag="app:1").tags                        # doctest: +SKIP
        ('app:1',)
        """
        from pycontainers.build import front  # builds take a while to load, and other uses none

        engine = engine or Engine()
        request = front.Request.of(
            dockerfile=dockerfile, tag=tag, target=target, build_args=build_args or {},
            secrets=secrets or {}, ssh=ssh or {}, labels=labels or {}, platform=platform,
            network=network, insecure=insecure, cache=cache,
        )  # fmt: skip

        def pull(reference: str, wanted: Platform) -> str:
            return cls._suiting(reference, wanted, engine).id

        row = front.build(engine.services(), context, request, pull, front.listener(progress))
        return cls(engine.root, row.config)

    @classmethod
    def _suiting(cls, reference: str, platform: Platform, engine: Engine) -> Image:
        """Give an image for a platform: the one that is here, or else pulled."""
        try:
            found = cls.get(reference, engine=engine)
            if found._given is None and found.platform.rank(platform) is not None:
                return found
        except ImageNotFound:
            pass
        return cls.pull(reference, platform=str(platform), engine=engine)

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
        progress: Listener | bool | None = None,
    ) -> str:
        """Send the image to a registry under a reference; give its manifest's digest.

        Only what the registry lacks is sent.  The options are those of `pull`.  Raises
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
            return Push(services, repository, wanted, row, reporter).run()

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
