"""Directories in the data root that are filled, used and gone again, whatever happens."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from pycontainers.kernel import paths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pycontainers.lifecycle.services import Services


@contextlib.contextmanager
def scratch(services: Services, mode: int = 0o755) -> Iterator[Path]:
    """Give an empty directory beside the layers, whose name is this process's.

    What is left of it is removed at the end, or by recovery, which can judge by its name.
    """
    mark = f"{services.process}-{services.process_start}-{threading.get_ident()}"
    path = services.root.layers / f".making-{mark}-{os.urandom(4).hex()}"
    path.mkdir(mode=mode)
    try:
        path.chmod(mode)  # whatever the application's umask is
        yield path
    finally:
        with paths.directory(path.parent) as parent_fd:
            paths.remove_tree(path.name, parent_fd)
