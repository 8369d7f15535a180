"""The application's side of a home (runtime/home.py): what the starts of one container share."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

import attrs

from pycontainers.errors import EngineError
from pycontainers.lifecycle import compile as compiling
from pycontainers.lifecycle import request
from pycontainers.lifecycle.source import Source
from pycontainers.oci.config import ImageConfig
from pycontainers.runtime import plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pycontainers.lifecycle.launch import Running
    from pycontainers.lifecycle.options import Options
    from pycontainers.lifecycle.services import Services

_ANY: Final = ("any",)
_NO_FILES: Final = Source(image="", config=ImageConfig())
_COUNTS: Final = (  # what connections there are, those included that only wait for their end
    ("sockstat", b"TCP:", (b"inuse", b"tw")),
    ("sockstat6", b"TCP6:", (b"inuse",)),
)
_PAGE: Final = 4096


class Home:
    """Ids and a network for one start after the other; there from the first `come` to `leave`."""

    def __init__(self, services: Services, name: str) -> None:
        self._services = services
        self._name = name
        self._running: Running | None = None
        self._settled: tuple[plan.Plan, plan.Plan] | None = None  # a template, and that at home
        self.next_cgroup: str | None = None

    def template(
        self, options: Options, source: Source, args: Sequence[str]
    ) -> tuple[plan.Plan, list[int]]:
        """Give the plan of a program over the source's layers, and the descriptors it takes.

        Of the source's config only the variables count; the options say the rest.
        """
        alike = attrs.evolve(options, command=_ANY, env=())
        template, given = self._services.template(alike, _NO_FILES)
        if self._settled is None or self._settled[0] is not template:
            self._settled = template, compiling.at_home(template, self._name)
        env = request.environment(options, source.config)
        return compiling.with_program(self._settled[1], source.layers, args, env), given

    def cgroup_name(self) -> str:
        """Give the name of the cgroup of a start: that of the container that is spare for it."""
        name = self.next_cgroup or self._services.new_cgroup_name()
        self.next_cgroup = self._services.new_cgroup_name()
        return name

    def come(self, cables: Callable[[], Iterable[plan.Wire]]) -> None:
        """Have the home there, made anew where it has ended, or somebody else would be noticed."""
        if self._running is None or not self._is_empty():
            self.leave()
            packed = [plan.pack(step) for step in cables()]
            self._running = self._services.launcher().home(self._name, packed)
            self._running.wait_started()

    def _is_empty(self) -> bool:
        """Whether it is there, and no connection of the last program holds an address or a port."""
        pid = None if self._running is None else self._running.pid()
        if pid is None:
            return False
        for file, line, counts in _COUNTS:
            try:
                # Not kept open, which would keep the network there.
                fd = os.open(f"/proc/{pid}/net/{file}", os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # this kernel has no IPv6, or it has just ended
                continue
            except OSError:
                return False
            try:
                words = os.read(fd, _PAGE).partition(line)[2].partition(b"\n")[0].split()
            finally:
                os.close(fd)
            numbers = dict(zip(words[::2], words[1::2], strict=False))
            if any(numbers.get(count, b"0") != b"0" for count in counts):
                return False
        return True

    def leave(self) -> None:
        """End the home; nothing may run in it any more."""
        if self._running is not None:
            if self._running.news() is None:
                with contextlib.suppress(EngineError):  # it ends with the launcher
                    self._services.launcher().leave(self._name)
            self._running.wait()
            self._running.close()
            self._running = None

    def clear(self) -> None:
        """Take away what the spare container of a launcher that was killed has left."""
        spare = self._services.cgroup(self.next_cgroup) if self.next_cgroup else None
        if spare is not None:
            spare.kill()
            spare.remove()
