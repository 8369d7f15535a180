"""The value behind a container's handle: its data root and id."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pycontainers.engine import Engine
from pycontainers.lifecycle.jails import Jail

if TYPE_CHECKING:
    from pycontainers.lifecycle.life import Life


@attrs.frozen(repr=False)
class Handle:
    """What every part of a container's face finds its container by."""

    root: str
    id: str

    def _engine(self) -> Engine:
        return Engine(root=self.root)

    def _life(self) -> Life:
        """Give the container; raises ContainerNotFound, NotSupported for one of `run`."""
        return self._engine().services().life(self.id)

    def _jail(self) -> Jail:
        return Jail(self._life())
