"""Where workers work on a container's files: inside it while it lives, else in its mounted root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pycontainers.errors import Conflict, NotSupported
from pycontainers.lifecycle import placing, volumes
from pycontainers.runtime import plan

if TYPE_CHECKING:
    from pycontainers.lifecycle.launch import Running
    from pycontainers.lifecycle.life import Life
    from pycontainers.runtime.mounting import Tree


class Jail:
    """The file system of one container, as jailed workers see it; no path leads out of it."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def work(self, work: dict[str, Any], fds: list[int]) -> Running:
        """Have a worker started; raises NotSupported where there are no files any more."""
        life = self._life
        if life.state().lives:
            kinds = {entry.type for entry in life.spec.linux.namespaces}
            names = ["user", "mnt"] if "user" in kinds else ["mnt"]
            asked = {**work, "jail": "container", "namespaces": names}
            try:
                running = life.control.begin({"op": "work", "work": asked}, fds)
                running.is_work = True
                return running
            except Conflict:
                pass  # it has just ended
        if life.options.ephemeral:
            raise NotSupported(
                f"the files of {life.label} were in its memory and went with it",
                hint="create it with ephemeral=False to keep them",
            )
        with life.held("worked on") as (lock_fd, _):
            life.services.snapshots.prepare(life.id)
            volumes.fill(life.services, life.options, life.source, life.volumes)
            asked = {
                **work,
                "jail": "root",
                "lower": list(life.source.layers),
                "upper": str(life.directory),
                "trees": [plan.pack(step) for step in self._trees()],
                "read_only": life.options.read_only,
            }
            # The worker has the lock with it, and so nothing starts before it has done.
            return life.services.launcher().work(asked, [*fds, lock_fd])

    def _trees(self) -> list[Tree]:
        life = self._life
        places = volumes.places(life.services, life.volumes)
        return placing.trees(life.spec.mounts, places, str(life.directory))
