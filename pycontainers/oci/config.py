"""Placeholder."""
from __future__ import annotations
import attrs
from collections.abc import Sequence
@attrs.frozen(kw_only=True)
class ImageConfig:
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str = ""
    def command(self, entrypoint: Sequence[str] | None, command: Sequence[str] | None) -> list[str]:
        if entrypoint is not None: return [*entrypoint, *(command or ())]
        return [*self.entrypoint, *(command if command is not None else self.cmd)]
