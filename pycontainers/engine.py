"""Engine: one data root, one launcher, and the containers of this process."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from pathlib import Path

from pycontainers.errors import ContainerNotFound
from pycontainers.kernel.closing import Closing
from pycontainers.lifecycle.services import Services
from pycontainers.storage.root import DataRoot, default_path

_lock = threading.RLock()
_opened: dict[str, Services] = {}
_inherited: list[Services] = []


class Engine(Closing):
    """A container engine over one data root; engines of the same root are the same one.

    `root` is the directory of layers, containers and the database; by default PYCONTAINERS_ROOT,
    else /var/lib/pycontainers for root, else $XDG_DATA_HOME/pycontainers.  Nothing is made or
    started before it is needed.  A context manager that closes it; every function that takes
    `engine=` uses the engine of the default root where none is given.

    >>> with Engine(root="/tmp/data") as engine:            # doctest: +SKIP
    ...     pycontainers.run(["true"], engine=engine).ok
    True
    """

    def __init__(self, *, root: str | os.PathLike[str] | None = None) -> None:
        self.root = str(default_path() if root is None else Path(root).absolute())

    def services(self) -> Services:
        """Give what containers stand on, opened on first use.  For the rooms of this library.

        Opening takes away what crashed processes left behind.  Raises StoreError, KernelError.
        """
        services = _opened.get(self.root)
        if services is not None and services.process == os.getpid():
            return services
        with _lock:
            services = _opened.get(self.root)
            if services is not None and services.process == os.getpid():
                return services
            if services is not None:
                _forget(services)
            services = _opened[self.root] = Services(DataRoot(self.root))
            return services

    def close(self) -> None:
        """Kill and remove all containers of this process and end its helpers.

        Closed already is fine; the next use opens it again.
        """
        with _lock:
            services = _opened.pop(self.root, None)
        if services is None:
            return
        if services.process != os.getpid():
            _forget(services)
            return
        for attached in list(services.attached.values()):
            attached.end_now()
            attached.remove()
        for life in services.own_lives():
            with contextlib.suppress(ContainerNotFound):  # another thread was faster
                life.remove(force=True, volumes=True)
        services.close()

    def __repr__(self) -> str:
        return f"<Engine {self.root}>"

    def __reduce__(self) -> tuple[object, ...]:
        return _engine, (self.root,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Engine) and other.root == self.root

    def __hash__(self) -> int:
        return hash(self.root)


def _engine(root: str) -> Engine:
    return Engine(root=root)


def _forget(services: Services) -> None:
    """Let go of a parent's services in a forked child.

    The database's connection is kept, unused and unclosed: SQLite forbids a child to touch it.
    """
    services.abandon()
    _inherited.append(services)


def _after_fork() -> None:
    # Another thread of the parent may have held it at the fork.
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _close_all() -> None:
    for root in list(_opened):
        Engine(root=root).close()
