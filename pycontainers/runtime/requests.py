"""What can be asked of a supervisor, over its container's socket: a connection, a request.

The connection stays as the channel for what is answered later, as the end of a program.  Who can
connect may do all of it: the directory of the sockets is the user's alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, Final

from pycontainers.kernel import sockets
from pycontainers.kernel.cgroups import base
from pycontainers.runtime.answers import failure, tell
from pycontainers.runtime.program import ender
from pycontainers.runtime.streams import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontainers.runtime.supervisor import Supervisor

_BACKLOG: Final = 128
_DONE: Final = {"done": True}


class Requests:
    """The container's socket, and the acts behind what comes from it."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._path: str = supervisor.order["socket"]
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        self._listening.bind(self._path)
        self._listening.listen(_BACKLOG)
        self._listening.setblocking(False)
        supervisor.loop.add(self._listening.fileno(), self._accept)

    def close(self) -> None:
        """Take no more; who has connected meanwhile finds the connection closed."""
        self._supervisor.loop.remove(self._listening.fileno())
        self._listening.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def _accept(self, _events: int) -> None:
        try:
            channel, _ = self._listening.accept()
        except BlockingIOError:
            return
        self._supervisor.loop.add(channel.fileno(), lambda _: self._serve(channel))

    def _serve(self, channel: socket.socket) -> None:
        self._supervisor.loop.remove(channel.fileno())
        try:
            received = sockets.receive(channel)
        except (OSError, ValueError):
            received = None
        if received is None:
            channel.close()
            return
        request, fds = received
        act: Callable[[dict[str, Any], socket.socket, list[int]], bool] | None
        act = getattr(self, f"_do_{request.get('op')}", None)
        stays = False
        try:
            if act is None:
                unknown = f"the supervisor knows no {request.get('op')!r}"
                tell(channel, {"failed": unknown, "errno": 0})
            else:
                stays = act(request, channel, fds)
        except OSError as error:
            tell(channel, failure(None, error) | {"doing": f"{request['op']} the container"})
        except (LookupError, TypeError, ValueError) as error:  # of another version's client
            tell(channel, {"failed": f"{request['op']}: {error!r}", "errno": 0})
        finally:
            for fd in fds:
                os.close(fd)
            if not stays:
                channel.close()

    def _refuses(self, channel: socket.socket, *allowed: str) -> bool:
        """Tell a client that the container is not in a state for what it asks."""
        status = self._supervisor.state.status
        if status in allowed and (self._supervisor.program.runs or status == "restarting"):
            return False
        tell(channel, {"conflict": status if status != "created" else "not running"})
        return True

    # Each gives whether the channel stays open.

    def _do_exec(self, request: dict[str, Any], channel: socket.socket, fds: list[int]) -> bool:
        if self._refuses(channel, "running"):
            return False
        other = self._supervisor.program.execute(request, fds, ender(channel))
        tell(channel, {"started": other.pid}, (other.pidfd,))
        return True

    def _do_work(self, request: dict[str, Any], channel: socket.socket, fds: list[int]) -> bool:
        if self._refuses(channel, "running", "paused"):
            return False
        other = self._supervisor.program.work(request, fds, channel)
        tell(channel, {"started": other.pid}, (other.pidfd,))
        return True

    def _do_kill_tree(self, request: dict[str, Any], channel: socket.socket, _: list[int]) -> bool:
        cgroup = self._supervisor.program.cgroup
        if cgroup is not None:
            cgroup.subgroup(request["tree"]).kill()
        tell(channel, _DONE)
        return False

    def _do_signal(self, request: dict[str, Any], channel: socket.socket, _: list[int]) -> bool:
        if self._refuses(channel, "running", "paused"):
            return False
        supervisor, number = self._supervisor, request["number"]
        ends = number in (signal.SIGKILL, signal.SIGTERM, supervisor.order["stop_signal"])
        if ends:
            supervisor.stopped = True  # not to be started again by its restart policy
        supervisor.program.signal(number)
        if ends:
            supervisor.thaw()
        supervisor.tell_journal("kill", signal=str(number))
        tell(channel, _DONE)
        return False

    def _do_stop(self, request: dict[str, Any], channel: socket.socket, _: list[int]) -> bool:
        self._supervisor.stopped, self._supervisor.again = True, False
        self._keep(channel, self._supervisor.clients_of_end)
        self._supervisor.stop(request["number"], request["grace"])
        return True

    def _do_restart(self, request: dict[str, Any], channel: socket.socket, _: list[int]) -> bool:
        self._supervisor.stopped, self._supervisor.again = False, True
        self._keep(channel, self._supervisor.clients_of_start)
        self._supervisor.tell_journal("restart")
        self._supervisor.stop(request["number"], request["grace"])
        return True

    def _do_wait(self, _: dict[str, Any], channel: socket.socket, __: list[int]) -> bool:
        self._keep(channel, self._supervisor.clients_of_end)
        return True

    def _keep(self, channel: socket.socket, waiting: list[socket.socket]) -> None:
        """Keep the channel of a client that waits, until it goes."""

        def gone(_events: int) -> None:
            self._supervisor.loop.remove(channel.fileno())
            waiting.remove(channel)
            channel.close()

        waiting.append(channel)
        self._supervisor.loop.add(channel.fileno(), gone)

    def _do_pause(self, _: dict[str, Any], channel: socket.socket, __: list[int]) -> bool:
        if self._refuses(channel, "running"):
            return False
        cgroup = self._supervisor.program.cgroup
        if cgroup is None:
            tell(channel, {"failed": "this host has no cgroups to pause by", "errno": 0})
            return False
        cgroup.freeze()
        self._supervisor.note(status="paused")
        self._supervisor.tell_journal("pause")
        tell(channel, _DONE)
        return False

    def _do_unpause(self, _: dict[str, Any], channel: socket.socket, __: list[int]) -> bool:
        if self._refuses(channel, "paused"):
            return False
        self._supervisor.thaw()
        self._supervisor.tell_journal("unpause")
        tell(channel, _DONE)
        return False

    def _do_update(self, request: dict[str, Any], channel: socket.socket, _: list[int]) -> bool:
        """Change limits and restart policy, now and for the next starts."""
        supervisor = self._supervisor
        limits = base.Limits(**request["limits"])
        if supervisor.program.cgroup is not None:
            supervisor.program.cgroup.update(limits)
        supervisor.order["start"] = request["start"]
        supervisor.order["restart"] = request["restart"]
        supervisor.tell_journal("update")
        tell(channel, _DONE)
        return False

    def _do_rewire(self, request: dict[str, Any], channel: socket.socket, _: list[int]) -> bool:
        """Bring the container's network to what is asked, now and for the next starts."""
        supervisor = self._supervisor
        supervisor.program.rewire(request["wires"])
        if request["reached"]:
            supervisor.relay.lead_to(request["reached"])
        start = supervisor.order["start"]
        others = [step for step in start["beside"] if step[0] not in ("ConnectBridge", "Publish")]
        supervisor.order["start"] = {**start, "beside": [*others, *request["wires"]]}
        supervisor.change_uses(request["uses"])
        tell(channel, _DONE)
        return False

    def _do_rename(self, request: dict[str, Any], channel: socket.socket, _: list[int]) -> bool:
        self._supervisor.order["attributes"]["name"] = request["name"]
        tell(channel, _DONE)
        return False

    def _do_resize(self, request: dict[str, Any], channel: socket.socket, _: list[int]) -> bool:
        if self._refuses(channel, "running", "paused"):
            return False
        done = self._supervisor.streams.resize(request["rows"], request["columns"])
        tell(channel, _DONE if done else {"conflict": "without a terminal"})
        return False

    def _do_attach(self, request: dict[str, Any], channel: socket.socket, fds: list[int]) -> bool:
        if self._refuses(channel, "running", "paused"):
            return False
        program = self._supervisor.program
        self.attach(channel, request["streams"], fds)
        fds.clear()
        tell(channel, {"started": program.pid}, (program.pidfd,))
        self._supervisor.tell_journal("attach")
        return True

    def _do_report(self, _: dict[str, Any], channel: socket.socket, __: list[int]) -> bool:
        """Tell what this process has loaded and holds, for the tests of its promises."""
        fds = len(os.listdir("/proc/self/fd"))
        tell(channel, {"modules": sorted(sys.modules), "fds": fds})
        return False

    # A client that is attached.

    def attach(self, channel: socket.socket, names: list[str], fds: list[int]) -> None:
        """Give a client the program's streams: `names` and `fds` go together."""
        ends = dict(zip(names, fds, strict=True))
        stdin = ends.pop("stdin", -1)
        client = Client(channel, stdin, ends)
        channel.setblocking(False)
        self._supervisor.streams.attach(client)
        self._supervisor.loop.add(channel.fileno(), lambda _: self._hear(client))

    def _hear(self, client: Client) -> None:
        """Take in what an attached client says; its end, and "detach", let the program go on."""
        try:
            received = sockets.receive(client.channel)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            received = None
        message: dict[str, Any] = {"op": "detach"} if received is None else received[0]
        if message["op"] == "resize":
            self._supervisor.streams.resize(message["rows"], message["columns"])
        elif message["op"] == "detach":
            self._supervisor.part_from(client, None)
            self._supervisor.tell_journal("detach")
