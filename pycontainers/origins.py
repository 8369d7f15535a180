"""Where images come from: registries, archives, directories, Dockerfiles, and this machine.

The public methods are Image's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

import attrs

from pycontainers.distribution import bars, catalog, rootfs
from pycontainers.distribution.layers import Limits
from pycontainers.distribution.load import load
from pycontainers.engine import Engine
from pycontainers.errors import ImageError, ImageNotFound, InvalidArgument
from pycontainers.lifecycle.source import Source
from pycontainers.oci.config import ImageConfig
from pycontainers.oci.platform import Platform
from pycontainers.oci.reference import Reference
from pycontainers.storage import host

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pycontainers.build.contexts import Given
    from pycontainers.build.progress import Listener as BuildListener
    from pycontainers.distribution.progress import Listener
    from pycontainers.lifecycle.options import Size
    from pycontainers.storage.images import ImageRow


@attrs.frozen(repr=False)
class Origins:
    """The value behind an image's handle, and all ways to one."""

    root: str
    id: str
    _given: Source | None = attrs.field(default=None, eq=False)

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
    ) -> Self:
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
    def host(cls, *, engine: Engine | None = None) -> Self:
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
    ) -> Self:
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
    def _directory(cls, path: Path, config: ImageConfig, engine: Engine) -> Self:
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
    ) -> Self:
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
    ) -> list[Self]:
        """Load all images of an archive, as `load` does with one."""
        engine = engine or Engine()
        reporter = bars.reporter(progress, "loading images")
        limits = Limits.of(max_size, max_entries)
        rows = load(engine.services(), source, limits, reporter)
        return [cls(engine.root, row.config) for row in rows]

    @classmethod
    def build(
        cls,
        context: str | os.PathLike[str] | bytes | BinaryIO = ".",
        *,
        dockerfile: str | os.PathLike[str] | None = None,
        contexts: Mapping[str, str | os.PathLike[str] | Origins] | None = None,
        tag: str | Sequence[str] | None = None,
        target: str | None = None,
        build_args: Mapping[str, str] | None = None,
        secrets: Mapping[str, str | bytes | os.PathLike[str]] | None = None,
        ssh: Mapping[str, str | os.PathLike[str]] | None = None,
        labels: Mapping[str, str] | None = None,
        platform: str | Sequence[str] | None = None,
        network: str = "bridge",
        insecure: bool = False,
        cache: bool = True,
        cache_from: Sequence[str | os.PathLike[str]] = (),
        cache_to: str | os.PathLike[str] | None = None,
        pull: bool = False,
        progress: BuildListener | bool | None = None,
        engine: Engine | None = None,
    ) -> Self:
        """Build an image from a Dockerfile and the files beside it.

        `context` is a directory; a repository of Git (`https://….git#ref:directory`); or a tar
        archive or a Dockerfile alone, as a URL, bytes or an open file.  `dockerfile` names another
        file in it, or is an absolute path.  `contexts` are more of them, or images
        (`docker-image://reference`), by names that FROM, COPY --from and RUN --mount=from know:
        they take the place of stages and images of these names.  `secrets` are values, or
        paths of files, for `RUN --mount=type=secret`, `ssh` sockets of agents by id.  Commands run
        in containers on `network`; `insecure` allows `RUN --security=insecure`.  For several
        values of `platform` several images are built, with an index: this gives the one for this
        machine, whose `variants` are all.  What was built before of the same is taken from the
        cache, unless `cache=False`; `cache_to` writes this build's to a directory (a path) or a
        registry, and `cache_from` are such ones of others: what can't be used of them is a warning.
        Base images that are here are used as they are, unless `pull` has their registries asked.
        `progress`: None draws the steps in a terminal or notebook, True prints lines to standard
        error, False nothing, a callable gets each `BuildProgress`.  Raises BuildError, which shows
        the line, InvalidArgument, FileMissing for the context, ImageError and RegistryError for
        base images, StoreError and RegistryError for `cache_to`.

        >>> Image.build("context/", tag="app:1").tags                        # doctest: +SKIP
        ('app:1',)
        """
        from pycontainers.build import drawing, front  # they take a while to load
        from pycontainers.build.contexts import ImageSource

        engine = engine or Engine()
        given: dict[str, Given] = {}
        for name, place in (contexts or {}).items():
            if isinstance(place, Origins) and place._given is not None:
                raise InvalidArgument(f"contexts: {name}: this image is not in the store")
            given[name] = ImageSource(id=place.id) if isinstance(place, Origins) else place
        request = front.Request.of(
            dockerfile=dockerfile, contexts=given, tag=tag, target=target,
            build_args=build_args or {}, secrets=secrets or {}, ssh=ssh or {},
            labels=labels or {}, platform=platform,
            network=network, insecure=insecure, cache=cache, cache_from=cache_from,
            cache_to=cache_to,
        )  # fmt: skip

        def fetch(reference: str, wanted: Platform, listener: Listener | None) -> str:
            return cls._suiting(reference, wanted, listener, engine, pull=pull).id

        with drawing.reporter(progress) as told:
            row = front.build(engine.services(), context, request, fetch, told)
        return cls(engine.root, row.config)

    @classmethod
    def _suiting(
        cls,
        reference: str,
        platform: Platform,
        listener: Listener | None,
        engine: Engine,
        *,
        pull: bool,
    ) -> Self:
        """Give an image for a platform: the one that is here, or else pulled.

        A reference that means an image for another platform goes on to do so.
        """
        services = engine.services()
        other: ImageRow | None = None
        with contextlib.suppress(ImageNotFound):
            image_id = catalog.find(services, reference)
            row = catalog.row(services, image_id)
            if Platform.parse(row.platform).rank(platform) is None:
                other = row
            elif not pull:
                return cls(engine.root, image_id)
        pulled = cls.pull(
            reference, platform=str(platform), progress=listener or False, engine=engine
        )
        if other is not None:
            services.image_store.tag(other.manifest, str(Reference.parse(reference)))
        return pulled

    @classmethod
    def get(cls, reference: str, *, engine: Engine | None = None) -> Self:
        """Give the image that a reference, an id or the beginning of an id means.

        Raises ImageNotFound, InvalidArgument, and Conflict where a beginning means several.
        """
        engine = engine or Engine()
        return cls(engine.root, catalog.find(engine.services(), reference))
