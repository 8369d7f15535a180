"""Which files of a build context are left out: .dockerignore."""

from __future__ import annotations

from typing import Final

from pycontainers.runtime.patterns import SPACE, clean

_BOM: Final = b"\xef\xbb\xbf"


def file_names(dockerfile: str) -> tuple[str, str]:
    """Give where the rules for a Dockerfile are looked for; the first file there is counts.

    The first name is relative to the Dockerfile's directory, the second to the context.

    >>> file_names("deploy/web.Dockerfile")
    ('deploy/web.Dockerfile.dockerignore', '.dockerignore')
    """
    return f"{dockerfile}.dockerignore", ".dockerignore"


def parse(data: bytes) -> tuple[str, ...]:
    r"""Give the patterns in an ignore file, for `runtime.patterns.Patterns`.

    A line that begins with `#` is a comment; a leading slash means nothing.

    >>> parse(b"# logs\n/var/*.log/\n! keep.log\n")
    ('var/*.log', '!keep.log')
    """
    text = data.removeprefix(_BOM).decode("utf-8", "surrogateescape")
    found = []
    for line in text.split("\n"):
        pattern = line.strip(SPACE)
        if line.startswith("#") or not pattern:
            continue
        mark = "!" if pattern.startswith("!") else ""
        pattern = pattern.removeprefix("!").strip(SPACE)
        if pattern:
            pattern = clean(pattern)
            pattern = pattern[1:] if len(pattern) > 1 and pattern.startswith("/") else pattern
        found.append(mark + pattern)
    return tuple(found)
