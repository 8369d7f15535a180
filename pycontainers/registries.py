"""Registry: log in and out, and look at what a registry has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pycontainers.distribution import remote
from pycontainers.engine import Engine
from pycontainers.errors import InvalidArgument
from pycontainers.oci.reference import DEFAULT_REGISTRY, Reference
from pycontainers.registry.credentials import Credentials
from pycontainers.registry.endpoint import Endpoint
from pycontainers.registry.repository import Fetched, Repository

if TYPE_CHECKING:
    import os


@attrs.frozen(repr=False)
class Registry:
    """A registry, as a plain value: host[:port], docker.io unless given.

    `insecure` allows plain http and any certificate (None: plain http on loopback), `ca` is a file
    of certificates to trust beside the system's.

    >>> Registry("localhost:5000").tags("app")                            # doctest: +SKIP
    ['1', '2']
    """

    host: str = DEFAULT_REGISTRY
    insecure: bool | None = attrs.field(default=None, kw_only=True)
    ca: str | os.PathLike[str] | None = attrs.field(default=None, kw_only=True)
    engine: Engine = attrs.field(factory=Engine, kw_only=True)

    def __attrs_post_init__(self) -> None:
        Reference(self.host, "any")

    def login(self, user: str, password: str) -> None:
        """Keep credentials for this registry, once it has accepted them.

        They go to the credential helper that ~/.docker/config.json names for it, else to a file of
        the data root that only its owner may read.  Raises AuthenticationError, RegistryError.
        """
        credentials = Credentials(user, password)
        endpoint = Endpoint(self.host, lambda: credentials, insecure=self.insecure, ca=self.ca)
        try:
            endpoint.ping()
        finally:
            endpoint.close()
        remote.credentials(self.engine.services()).store(self.host, credentials)

    def logout(self) -> None:
        """Forget the credentials that `login` kept; none is fine.  Raises StoreError."""
        remote.credentials(self.engine.services()).erase(self.host)

    def tags(self, repository: str) -> list[str]:
        """Give the tags of a repository; raises ImageNotFound, RegistryError."""
        with self._repository(Reference(self.host, self._full(repository))) as opened:
            return opened.tags()

    def manifest(self, reference: str) -> Fetched:
        """Give the manifest or index of `repository[:tag][@digest]` as its bytes are.

        Raises ImageNotFound, RegistryError, ImageError where they are not those of the digest.

        >>> Registry("localhost:5000").manifest("app:1").media_type       # doctest: +SKIP
        'application/vnd.oci.image.manifest.v1+json'
        """
        found = Reference.parse(reference)
        if found.registry != self.host:
            found = Reference.parse(f"{self.host}/{reference}")
        if found.registry != self.host:
            raise InvalidArgument(f"{reference!r} is not of the registry {self.host}")
        with self._repository(found) as opened:
            return opened.manifest(str(found.digest or found.tag))

    def _full(self, repository: str) -> str:
        official = self.host == DEFAULT_REGISTRY and "/" not in repository
        return f"library/{repository}" if official else repository

    def _repository(self, reference: Reference) -> Repository:
        services = self.engine.services()
        return remote.repository(services, reference, None, self.insecure, self.ca)

    def __repr__(self) -> str:
        return f"<Registry {self.host}>"
