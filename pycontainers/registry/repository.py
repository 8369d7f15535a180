"""One repository of a registry: its manifests, blobs and tags (OCI distribution spec 1.1)."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

import attrs

from pycontainers.errors import (
    AuthenticationError,
    ImageError,
    ImageNotFound,
    InvalidArgument,
    NotFound,
    RegistryError,
    RegistryUnreachable,
)
from pycontainers.kernel.closing import Closing
from pycontainers.oci.digest import Digest
from pycontainers.oci.manifest import INDEXES, MANIFESTS
from pycontainers.oci.reference import Reference
from pycontainers.registry.addresses import followed, origin, place
from pycontainers.registry.credentials import Credentials, CredentialStore
from pycontainers.registry.download import download
from pycontainers.registry.endpoint import Endpoint, refusal
from pycontainers.registry.upload import Upload, mount

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from pycontainers.registry.transport import Answer

_LARGEST_MANIFEST: Final = 4 << 20
_LARGEST_PAGE: Final = 4 << 20
_MOST_PAGES: Final = 2000
_PAGE: Final = 1000
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_NEXT = re.compile(r"<([^<>]{1,4096})>\s*;[^,<>]*\brel=\"?next\"?")
_ACCEPT: Final = {"Accept": ", ".join((*MANIFESTS, *INDEXES))}

T = TypeVar("T")


@attrs.frozen
class Fetched:
    """A manifest or index as it came: its bytes, their digest, and what media type it was given."""

    data: bytes = attrs.field(repr=False)
    media_type: str
    digest: str


class Repository(Closing):
    """One repository of a registry; any number of threads may use it at once.

    `registry` is host[:port][/path], or the same with http:// or https:// before it.
    `credentials` are for that registry; a CredentialStore is asked for those of each mirror too,
    which gets no others.  `insecure` allows plain http and any certificate (None: plain http on
    loopback), `ca` is a file of certificates to trust beside the system's.  `mirrors` are asked
    for manifests and blobs first, in this order.  Setting `cancelled`, or `cancel`, ends all that
    is under way with RegistryError.

    Requests are retried when a connection breaks and on 429 and 5xx, for some seconds at most;
    then they raise RegistryUnreachable or RateLimited.  All raise RegistryError for answers that
    are against the specification, and AuthenticationError.

    >>> with Repository("docker.io", "library/debian") as repository:     # doctest: +SKIP
    ...     repository.manifest("12").media_type
    'application/vnd.oci.image.index.v1+json'
    """

    def __init__(
        self,
        registry: str,
        name: str,
        *,
        credentials: Credentials | CredentialStore | None = None,
        insecure: bool | None = None,
        ca: str | os.PathLike[str] | None = None,
        mirrors: Iterable[str] = (),
        cancelled: threading.Event | None = None,
    ) -> None:
        self.registry = registry
        self.name = _checked(name)
        self.cancelled = cancelled or threading.Event()

        def credentials_of(host: str) -> Credentials | None:
            if isinstance(credentials, CredentialStore):
                return credentials.find(host, name)
            return credentials if host == registry else None

        self._registry = Endpoint(
            registry,
            lambda: credentials_of(registry),
            insecure=insecure,
            ca=ca,
            cancelled=self.cancelled,
        )
        self._mirrors = [
            Endpoint(
                mirror,
                lambda mirror=mirror: credentials_of(mirror),  # type: ignore[misc]
                ca=ca,
                cancelled=self.cancelled,
                attempts=1,
            )
            for mirror in mirrors
        ]
        self._pull = (f"repository:{name}:pull",)
        self._push = (f"repository:{name}:pull,push",)

    def __repr__(self) -> str:
        return f"<Repository {self.registry}/{self.name}>"

    def close(self) -> None:
        """Close the connections that no thread is using."""
        for endpoint in (self._registry, *self._mirrors):
            endpoint.close()

    def cancel(self) -> None:
        """End all that other threads are doing with this repository, for good and at once."""
        for endpoint in (self._registry, *self._mirrors):
            endpoint.transport.cancel()

    def manifest(self, reference: str) -> Fetched:
        """Give the manifest or index that has a tag or digest; asked by digest, it is verified.

        Raises ImageNotFound, and ImageError where the bytes are not those of the digest.
        """
        path = self._manifest_path(reference)
        return self._first(lambda endpoint: self._fetch(endpoint, path, reference))

    def blob(self, digest: str, size: int, offset: int = 0) -> Iterator[bytes]:
        """Give a blob piece by piece from byte `offset` on; broken transfers are gone on with.

        The number of bytes is verified, their digest is not.  Closing the iterator ends the
        transfer.  Raises ImageError where the blob has another size than `size` bytes.
        """
        path = f"{self.name}/blobs/{Digest.parse(digest)}"
        if not 0 <= offset <= size:
            raise InvalidArgument(f"cannot get a blob of {size} bytes from byte {offset} on")
        return self._pieces(path, size, offset)

    def has_blob(self, digest: str) -> bool:
        """Tell whether the registry (not a mirror) has a blob in this repository."""
        path = f"{self.name}/blobs/{Digest.parse(digest)}"
        answer = self._registry.request("HEAD", path, self._pull)
        if answer.status not in (200, 404):
            raise refusal(f"look for {path}", answer)
        return answer.status == 200

    def mount_blob(self, digest: str, from_repository: str) -> bool:
        """Have the registry take over a blob from another of its repositories.

        False where it will not, or where the other may not be read.
        """
        source = _checked(from_repository)
        scopes = (*self._push, f"repository:{source}:pull")
        try:
            return mount(self._registry, self.name, scopes, str(Digest.parse(digest)), source)
        except AuthenticationError:  # of the other repository, or the upload will tell
            return False

    def upload_blob(
        self, digest: str, size: int | None, open_stream: Callable[[], BinaryIO]
    ) -> None:
        """Send a blob of `size` bytes; None: they are sent in chunks until the stream ends.

        `open_stream` gives the bytes from the first on, anew for each attempt; it is closed here.
        After it returns, the registry has the blob and has verified its digest.  Raises ImageError
        where the stream has another size.
        """
        checked = str(Digest.parse(digest))
        Upload(self._registry, self.name, self._push, checked, size, open_stream).run()

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> str:
        """Send a manifest or index under a tag or its digest; gives its digest.

        Raises ImageError where `reference` is the digest of other bytes.
        """
        path = self._manifest_path(reference)
        digest = _digest_of(data, reference)
        answer = self._registry.request(
            "PUT", path, self._push, headers={"Content-Type": media_type}, body=data
        )
        if answer.status not in (200, 201, 202):
            raise refusal(f"put the manifest {self.name}:{reference}", answer)
        stored = answer.headers.get("docker-content-digest", digest)
        if stored != digest and stored.startswith("sha256:"):
            raise RegistryError(f"{place(answer.url)} stored {stored[:80]!r}, not {digest}")
        return digest

    def tags(self) -> list[str]:
        """Give all tags, in the order in which the registry lists them.

        Raises ImageNotFound where the registry knows no such repository.
        """
        found: dict[str, None] = {}
        url = self._registry.url(f"{self.name}/tags/list?n={_PAGE}")
        base = origin(url)
        for _ in range(_MOST_PAGES):
            answer = self._registry.request("GET", url, self._pull, limit=_LARGEST_PAGE)
            if answer.status == 404:
                raise ImageNotFound(f"{self.registry} knows no repository {self.name!r}")
            if answer.status != 200:
                raise refusal(f"list the tags of {self.name}", answer)
            before = len(found)
            found.update(dict.fromkeys(_page(answer)))
            link = _NEXT.search(answer.headers.get("link", ""))
            if link is None:
                return list(found)
            url = followed(answer.url, link[1], insecure=self._registry.transport.insecure)
            if origin(url) != base or len(found) == before:
                break
        raise RegistryError(f"{place(answer.url)} lists tags without an end")

    def _first(self, ask: Callable[[Endpoint], T]) -> T:
        """Give what the first mirror answers that can, or else the registry."""
        for mirror in list(self._mirrors):
            try:
                return ask(mirror)
            except (RegistryError, ImageError, NotFound) as error:
                self._disappointed(mirror, error)
        return ask(self._registry)

    def _pieces(self, path: str, size: int, offset: int) -> Iterator[bytes]:
        at = offset
        for endpoint in (*self._mirrors, self._registry):
            pieces = download(endpoint, path, self._pull, size, at)
            try:
                for piece in pieces:
                    at += len(piece)
                    yield piece
                return
            except (RegistryError, ImageError) as error:
                if endpoint is self._registry:
                    raise
                self._disappointed(endpoint, error)

    def _disappointed(self, mirror: Endpoint, error: Exception) -> None:
        """Ask a mirror no more that does not answer at all."""
        if isinstance(error, RegistryUnreachable):
            self._mirrors = [one for one in self._mirrors if one is not mirror]

    def _fetch(self, endpoint: Endpoint, path: str, reference: str) -> Fetched:
        answer = endpoint.request("GET", path, self._pull, headers=_ACCEPT, limit=_LARGEST_MANIFEST)
        if answer.status == 404:
            raise ImageNotFound(
                f"{endpoint.registry} has no {self.name}{_mark(reference)}{reference}"
            )
        if answer.status != 200:
            raise refusal(f"get the manifest {self.name}{_mark(reference)}{reference}", answer)
        told = answer.headers.get("docker-content-digest", "")
        digest = _digest_of(answer.data, reference if ":" in reference else told)
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
        return Fetched(answer.data, media_type, digest)

    def _manifest_path(self, reference: str) -> str:
        if ":" in reference:
            Digest.parse(reference)
        elif not _TAG.fullmatch(reference):
            raise InvalidArgument(f"{reference[:200]!r} is neither a tag nor a digest")
        return f"{self.name}/manifests/{reference}"


def _checked(name: str) -> str:
    return Reference("localhost", name).repository


def _mark(reference: str) -> str:
    return "@" if ":" in reference else ":"


def _digest_of(data: bytes, wanted: str) -> str:
    """Give the digest of bytes: `wanted`, where that is one, and sha256 otherwise."""
    algorithm = wanted.partition(":")[0] if ":" in wanted else "sha256"
    if algorithm not in ("sha256", "sha384", "sha512"):
        raise ImageError(f"{wanted[:80]!r} is not a digest that is known here")
    digest = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    if ":" in wanted and digest != wanted:
        raise ImageError(f"a manifest has the digest {digest}, not {wanted[:200]}")
    return digest


def _page(answer: Answer) -> list[str]:
    try:
        listed = json.loads(answer.data)["tags"]
        if listed is None:  # some say so that there are none
            return []
    except (ValueError, RecursionError, LookupError, TypeError):
        listed = None
    if not isinstance(listed, list) or not all(
        isinstance(tag, str) and _TAG.fullmatch(tag) for tag in listed
    ):
        raise RegistryError(f"{place(answer.url)} answered with no list of tags")
    return listed
