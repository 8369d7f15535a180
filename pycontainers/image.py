"""Image: what a container starts from; this machine's own programs, or a root file system."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from pycontainers.engine import Engine
from pycontainers.errors import ImageError, ImageNotFound, InvalidArgument
from pycontainers.lifecycle import output
from pycontainers.lifecycle.completion import encoded
from pycontainers.lifecycle.oneshot import run_once
from pycontainers.lifecycle.options import Options
from pycontainers.lifecycle.source import Source
from pycontainers.lifecycle.streams import PIPE
from pycontainers.lifecycle.unpack import unpack_tar
from pycontainers.oci.config import ImageConfig
from pycontainers.storage import host

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pycontainers.lifecycle.options import Command, RunOptions
    from pycontainers.lifecycle.result import CompletedRun


@attrs.frozen(repr=False)
class Image:
    """An image of one data root, as a plain value; `id` names its content.

    `layers` are directories, topmost first, that are never written to; `trees` are (source, target)
    of the host's own directories, for `Image.host()`.
    """

    root: str
    id: str
    config: ImageConfig = attrs.field(eq=False)
    layers: tuple[str, ...] = attrs.field(eq=False)
    trees: tuple[tuple[str, str], ...] = attrs.field(eq=False, default=())

    @classmethod
    def host(cls, *, engine: Engine | None = None) -> Image:
        r"""Give this machine's own programs as an image: /usr and the running Python, read-only.

        Nothing of /home, /root, /var, /run and /tmp is in it but the Python prefix, and its /etc
        has no secrets.  Raises StoreError.

        >>> Image.host().run(["python3", "-c", "print(6 * 7)"]).stdout      # doctest: +SKIP
        '42\n'
        """
        engine = engine or Engine()
        made = engine.services().images
        if "host" not in made:
            layer = host.make_layer(engine.services().root.layers)
            config = ImageConfig(
                env=(f"PATH={host.search_path()}", "LANG=C.UTF-8"), cmd=("/bin/sh",)
            )
            made["host"] = cls(engine.root, layer.name, config, (str(layer),), host.trees())
        image: Image = made["host"]
        return image

    @classmethod
    def from_rootfs(
        cls,
        source: str | os.PathLike[str],
        *,
        config: ImageConfig | None = None,
        engine: Engine | None = None,
    ) -> Image:
        """Give an image of a root file system: a directory, used where it is, or a tar archive.

        An archive (plain, gzip, bzip2 or xz) is unpacked once by a process jailed in the target
        directory; the same archive again takes no time.  Nothing is ever written to a directory
        given; it must not change while containers use it.  Raises ImageError.

        >>> Image.from_rootfs("/srv/busybox").run(["/bin/true"]).ok           # doctest: +SKIP
        True
        """
        engine = engine or Engine()
        path = Path(source).absolute()
        if path.is_dir():
            try:
                os.listdir(path)  # noqa: PTH208
            except OSError as error:
                raise ImageError(f"cannot read the directory {path}: {error.strerror}") from error
            layer, name = str(path), hashlib.sha256(os.fsencode(path)).hexdigest()
        elif path.is_file():
            services = engine.services()
            unpacked = unpack_tar(services, path)
            layer, name = str(unpacked), unpacked.name
        else:
            raise ImageError(f"cannot use {path} as an image: no such directory or file")
        return cls(engine.root, name, config or ImageConfig(), (layer,))

    @classmethod
    def get(cls, reference: str, *, engine: Engine | None = None) -> Image:
        """Give the image with this reference; raises ImageNotFound."""
        engine = engine or Engine()
        raise ImageNotFound(
            f"no image {reference!r} in {engine.root}",
            hint="images come from Image.host() and Image.from_rootfs(…) in this version",
        )

    @classmethod
    def resolve(cls, image: Image | str | None, engine: Engine) -> Image:
        """Give the image that an `image=` option means: None is the host's own programs."""
        if image is None:
            return cls.host(engine=engine)
        if isinstance(image, str):
            return cls.get(image, engine=engine)
        if not isinstance(image, Image):
            raise InvalidArgument(f"image: expected an Image, a reference or None, not {image!r}")
        return image

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
            Options.of(command, **options),
            feed=encoded(input),
            text=True,
            stderr=PIPE,
            limit=output.DEFAULT_LIMIT,
        )
        if check:
            result.check_returncode()
        return result

    def source(self) -> Source:
        """Give what a container starts from.  For the rooms of this library."""
        return Source(image=self.id, config=self.config, layers=self.layers, trees=self.trees)

    def __repr__(self) -> str:
        return f"<Image {self.id[:17]}>"
