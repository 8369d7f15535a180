"""The registry that a reference leads to, with what this engine knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycontainers.errors import InvalidArgument
from pycontainers.registry.credentials import Credentials, CredentialStore
from pycontainers.registry.repository import Repository

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from pycontainers.lifecycle.services import Services
    from pycontainers.oci.reference import Reference


def credentials(services: Services) -> CredentialStore:
    """Give the credentials that are kept for this data root, and other tools' files."""
    return CredentialStore(services.root.path / "auth.json")


def repository(
    services: Services,
    reference: Reference,
    auth: tuple[str, str] | None,
    insecure: bool | None,
    ca: str | os.PathLike[str] | None,
    mirrors: Sequence[str] = (),
) -> Repository:
    """Give a reference's repository, to be closed; raises InvalidArgument."""
    if auth is not None and (
        not isinstance(auth, tuple) or len(auth) != 2 or not all(isinstance(x, str) for x in auth)
    ):
        raise InvalidArgument("auth: expected a user and a password, as two texts")
    return Repository(
        reference.registry,
        reference.repository,
        credentials=credentials(services) if auth is None else Credentials(*auth),
        insecure=insecure,
        ca=ca,
        mirrors=mirrors,
    )
