"""Things with a `close` as context managers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self


class Closing:
    """A context manager that closes itself at the end of its block."""

    def close(self) -> None:
        """Let go of what it holds; closed already is fine."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
