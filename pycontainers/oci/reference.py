"""References: `[registry/]repository[:tag][@digest]`, read as Docker reads them.

The grammar is that of the distribution project's reference; a name without a registry is one of
docker.io, and there a name of one part is one of `library/`.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from pycontainers.errors import InvalidArgument
from pycontainers.oci.digest import Digest
from pycontainers.oci.fields import shown

DEFAULT_REGISTRY: Final = "docker.io"
DEFAULT_TAG: Final = "latest"

_LONGEST_NAME: Final = 255
_LABEL: Final = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY: Final = re.compile(
    rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?", re.ASCII
)
_PART: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_IDENTIFIER: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


@attrs.frozen(order=True)
class Reference:
    """What names an image: a registry, a repository in it, and a tag, a digest or both.

    Raises InvalidArgument for parts against the grammar.

    >>> str(Reference.parse("debian"))
    'docker.io/library/debian:latest'
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    def __attrs_post_init__(self) -> None:
        if not _REGISTRY.fullmatch(self.registry):
            raise InvalidArgument(f"{shown(self.registry)} is not a registry as host[:port]")
        if len(self.repository) > _LONGEST_NAME:
            raise InvalidArgument(
                f"the repository {shown(self.repository)} has {len(self.repository)} characters, "
                f"more than {_LONGEST_NAME}"
            )
        if not all(map(_PART.fullmatch, self.repository.split("/"))):
            hint = None
            if self.repository != self.repository.lower():
                hint = f"repositories are lower-case: {self.repository.lower()[:80]}"
            raise InvalidArgument(f"{shown(self.repository)} is not a repository", hint=hint)
        if self.tag is not None and not _TAG.fullmatch(self.tag):
            raise InvalidArgument(
                f"{shown(self.tag)} is not a tag",
                hint="a tag has at most 128 letters, digits, '_', '.', '-', and begins with none "
                "of the last two",
            )

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference as people write it; `latest` where there is neither tag nor digest.

        Raises InvalidArgument.

        >>> Reference.parse("localhost:5000/app@sha256:" + 64 * "0").tag is None
        True
        """
        if not isinstance(text, str) or not text:
            raise InvalidArgument(f"expected a reference as 'debian:12', not {text!r:.60}")
        if _IDENTIFIER.fullmatch(text):
            raise InvalidArgument(f"{shown(text)} is an id, which can't be a reference")
        rest, at, digest_part = text.partition("@")
        digest = Digest.parse(digest_part) if at else None
        registry, rest = _split_registry(rest)
        repository, colon, tag_part = rest.partition(":")
        tag = tag_part if colon else None
        if registry == DEFAULT_REGISTRY and "/" not in repository:
            repository = f"library/{repository}"
        try:
            found = cls(registry, repository, tag, digest)
        except InvalidArgument as error:
            raise InvalidArgument(
                f"cannot read the reference {shown(text)}: {error.args[0]}", hint=error.hint
            ) from None
        if tag is None and digest is None:
            return attrs.evolve(found, tag=DEFAULT_TAG)
        return found

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar(self) -> str:
        """The shortest form that means the same, as Docker shows it.

        >>> Reference.parse("docker.io/library/debian:12").familiar
        'debian:12'
        """
        text = str(self)
        return (
            text.removeprefix(f"{DEFAULT_REGISTRY}/").removeprefix("library/")
            if (self.registry == DEFAULT_REGISTRY and _stays(self.repository))
            else text
        )

    def with_digest(self, digest: Digest) -> Reference:
        """Give the reference of the same repository by this digest alone."""
        return attrs.evolve(self, tag=None, digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag is not None else ""
        return f"{self.name}{tag}@{self.digest}" if self.digest else f"{self.name}{tag}"


def _split_registry(text: str) -> tuple[str, str]:
    """Split at the first slash where what is before it can only be a registry."""
    first, slash, rest = text.partition("/")
    named = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if not slash or not named:
        return DEFAULT_REGISTRY, text
    return (DEFAULT_REGISTRY if first == "index.docker.io" else first), rest


def _stays(repository: str) -> bool:
    """Tell whether a repository of docker.io is found again without the registry's name."""
    short = repository.removeprefix("library/")
    if "/" not in short:
        return not _IDENTIFIER.fullmatch(short)
    first = short.split("/")[0]
    return repository == short and "." not in first and first != "localhost"
