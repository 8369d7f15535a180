"""What lies in an archive: docker-archive, OCI archive or OCI layout, from a file or a stream.

An archive is read once from its beginning to its end, as from a pipe.  Its large members go into
the content store as they come, its small ones are kept; what they mean is looked at afterwards.
No name in it ever becomes a path of this machine.
"""

from __future__ import annotations

import json
import os
import posixpath
import stat
import tarfile
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

from pycontainers.distribution.compression import CHUNK, Chunks, Reader, decompressed
from pycontainers.distribution.record import MAX_DOCUMENT
from pycontainers.errors import ImageError, InvalidArgument
from pycontainers.oci import manifest as oci
from pycontainers.oci.digest import Digest
from pycontainers.oci.fields import shown
from pycontainers.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pycontainers.distribution.layers import Limits
    from pycontainers.storage.content import ContentStore

_SMALL: Final = 1 << 20
_ALL_SMALL: Final = 64 << 20
_MEMBERS: Final = 100_000


class Members(Protocol):
    """The files of an archive or layout, by their names in it."""

    def has(self, name: str) -> bool:
        """Tell whether there is such a file."""

    def read(self, name: str) -> bytes:
        """Give a small file's bytes; raises ImageError."""

    def blob(self, name: str) -> Digest:
        """Have a file in the content store; give its digest."""


class Spooled:
    """The members of a tar stream, small ones in memory and large ones in the content store."""

    def __init__(self, content: ContentStore, stream: Reader, limits: Limits) -> None:
        self._content = content
        self._limits = limits
        self._small: dict[str, bytes] = {}
        self._large: dict[str, Digest] = {}
        self._links: dict[str, str] = {}
        source: Any = decompressed(stream)
        try:
            with tarfile.open(fileobj=source, mode="r|", bufsize=CHUNK) as archive:
                for number, member in enumerate(archive):
                    if number >= _MEMBERS:
                        raise ImageError(f"an archive of images has more than {_MEMBERS} members")
                    self._keep(archive, member)
        except (tarfile.TarError, EOFError) as error:
            raise ImageError(f"not an archive of images: {error}") from error

    def _keep(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        name = posixpath.normpath(f"/{member.name}")[1:]
        if member.issym() or member.islnk():  # docker save has links for layers that are alike
            inside = posixpath.dirname(name) if member.issym() else ""
            target = posixpath.normpath(posixpath.join("/", inside, member.linkname))
            self._links[name] = target.lstrip("/")
            return
        file = archive.extractfile(member) if member.isfile() else None
        if file is None:
            return
        if member.size > self._limits.size:
            raise ImageError(
                f"the archive's member {shown(name)} has {member.size} bytes, more than "
                f"{self._limits.size}",
                hint="max_size= allows more",
            )
        if member.size <= _SMALL and self._kept() + member.size <= _ALL_SMALL:
            self._small[name] = file.read()
            return
        with self._content.write() as ingest:
            while data := file.read(CHUNK):
                ingest.write(data)
            self._large[name] = ingest.commit()

    def _kept(self) -> int:
        return sum(map(len, self._small.values()))

    def has(self, name: str) -> bool:
        """Tell whether there is such a file, by its name or a link's."""
        name = self._resolved(name)
        return name in self._small or name in self._large

    def read(self, name: str) -> bytes:
        """Give a small file's bytes; raises ImageError."""
        name = self._resolved(name)
        if name in self._small:
            return self._small[name]
        if name in self._large:
            return self._content.read(self._large[name], MAX_DOCUMENT)
        raise ImageError(f"the archive has no {shown(name)}")

    def blob(self, name: str) -> Digest:
        """Have a file in the content store; give its digest."""
        name = self._resolved(name)
        if name in self._large:
            return self._large[name]
        return self._content.put(self.read(name))

    def _resolved(self, name: str) -> str:
        name = posixpath.normpath(f"/{name}")[1:]
        for _ in range(8):
            if name not in self._links:
                return name
            name = self._links[name]
        raise ImageError(f"the archive's member {shown(name)} is a link that leads in circles")


class Folder:
    """An OCI layout on disk."""

    def __init__(self, content: ContentStore, directory: Path) -> None:
        self._content = content
        self._directory = directory

    def has(self, name: str) -> bool:
        """Tell whether there is such a file."""
        return (self._directory / name).is_file()

    def read(self, name: str) -> bytes:
        """Give a small file's bytes; raises ImageError."""
        data = b"".join(self._pieces(name, MAX_DOCUMENT))
        if len(data) > MAX_DOCUMENT:
            raise ImageError(f"{self._directory / name} has more than {MAX_DOCUMENT} bytes")
        return data

    def blob(self, name: str) -> Digest:
        """Copy a file into the content store; give its digest."""
        with self._content.write() as ingest:
            for data in self._pieces(name):
                ingest.write(data)
            return ingest.commit()

    def _pieces(self, name: str, enough: int | None = None) -> Iterator[bytes]:
        path = self._directory / name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise ImageError(f"cannot read {path}: {error.strerror}") from error
        with open(fd, "rb", buffering=0) as file:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ImageError(f"cannot read {path}: it is no file")
            read = 0
            while (enough is None or read <= enough) and (data := file.read(CHUNK)):
                read += len(data)
                yield data


@attrs.frozen(kw_only=True)
class Found:
    """One image of an archive: its parts, and what it is called there.

    `manifest` is None in a docker-archive, which has none; `layers` are digests of blobs that are
    in the store, unpacked or not.
    """

    config: bytes
    layers: tuple[Digest, ...]
    references: tuple[str, ...]
    manifest: bytes | None = None


def images(members: Members) -> Iterator[Found]:
    """Give the images of an archive, their blobs taken into the store; raises ImageError."""
    if members.has("oci-layout") and members.has("index.json"):
        yield from _oci(members)
    elif members.has("manifest.json"):
        yield from _docker(members)
    else:
        raise ImageError(
            "not an archive of images: it has neither index.json nor manifest.json",
            hint="Image.from_rootfs(…) makes an image of a root file system's archive",
        )


def _oci(members: Members) -> Iterator[Found]:
    document = oci.parse(members.read("index.json"))
    if not isinstance(document, oci.Index):
        raise ImageError("the archive's index.json is no index")
    entries = [(entry, _called(entry)) for entry in document.manifests]
    grouped: dict[str, tuple[oci.Descriptor, list[str]]] = {}
    for entry, names in entries:
        grouped.setdefault(entry.digest, (entry, []))[1].extend(names)
    for entry, names in grouped.values():
        data, manifest = _manifest(members, entry)
        yield Found(
            manifest=data,
            config=_document(members, manifest.config),
            layers=tuple(_layer(members, layer) for layer in manifest.layers),
            references=tuple(dict.fromkeys(names)),
        )


def _manifest(members: Members, entry: oci.Descriptor) -> tuple[bytes, oci.Manifest]:
    """Follow indexes to the manifest that suits this machine."""
    from pycontainers.oci.platform import Platform

    for _ in range(4):
        data = _document(members, entry)
        document = oci.parse(data, entry.media_type)
        if isinstance(document, oci.Manifest):
            return data, oci.check_image(document)
        entry = oci.choose(document, Platform.host())
    raise ImageError("the archive's indexes are nested deeper than 4")


def _document(members: Members, entry: oci.Descriptor) -> bytes:
    digest = Digest.parse(entry.digest)
    data = members.read(_blob_name(digest))
    hasher = digest.hasher()
    hasher.update(data)
    if hasher.hexdigest() != digest.hex or len(data) != entry.size:
        raise ImageError(f"the archive's content of {digest} is another than its name says")
    return data


def _layer(members: Members, entry: oci.Descriptor) -> Digest:
    digest = Digest.parse(entry.digest)
    found = members.blob(_blob_name(digest))
    if digest.algorithm == "sha256" and found != digest:
        raise ImageError(f"the archive's content of {digest} is another: it is {found}")
    return found


def _blob_name(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _called(entry: oci.Descriptor) -> list[str]:
    """Give the references of an index's entry; a bare tag names no repository, and so no image."""
    name = entry.annotations.get(oci.CONTAINERD_NAME) or entry.annotations.get(oci.REF_NAME, "")
    if "/" not in name and ":" not in name:
        return []
    return _references([name])


def _references(names: list[Any]) -> list[str]:
    found = []
    for name in names:
        try:
            found.append(str(Reference.parse(name)))
        except InvalidArgument as error:
            raise ImageError(f"the archive names an image {name!r:.80}: {error}") from error
    return found


def _docker(members: Members) -> Iterator[Found]:
    try:
        entries = json.loads(members.read("manifest.json"))
    except (ValueError, RecursionError) as error:
        raise ImageError(f"the archive's manifest.json can't be read: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ImageError("the archive's manifest.json is no list of images")
    for entry in entries:
        config, layers, tags = entry.get("Config"), entry.get("Layers"), entry.get("RepoTags")
        if not isinstance(config, str) or not _texts(layers or []) or not _texts(tags or []):
            raise ImageError("the archive's manifest.json has an image without Config or Layers")
        if len(layers or []) > oci.MAX_LAYERS:
            raise ImageError(f"an image has {len(layers)} layers, more than {oci.MAX_LAYERS}")
        yield Found(
            config=members.read(config),
            layers=tuple(members.blob(layer) for layer in layers or []),
            references=tuple(_references(tags or [])),
        )


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def opened(content: ContentStore, stream: Iterator[bytes], limits: Limits) -> Members:
    """Read an archive's stream to its end."""
    return Spooled(content, Chunks(stream), limits)
