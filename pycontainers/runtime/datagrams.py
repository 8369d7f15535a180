"""Datagrams of UDP, relayed with a socket of its own for each client."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pycontainers.runtime.relay import Relay

_LONGEST: Final = 1 << 16  # bytes of a datagram
_ANCILLARY: Final = 64  # bytes of what is told of it
_IP_PKTINFO: Final = 8  # linux/in.h


class Sender:
    """A client of UDP: `own` is our socket to the container, for it alone."""

    def __init__(self, port: Datagrams, key: tuple[Any, ...], own: socket.socket) -> None:
        self._port = port
        self._key = key
        self.own = own
        self.used = 0.0

    def use(self) -> None:
        """Make this the client that was used last."""
        self.used = time.monotonic()
        senders = self._port.relay.senders
        senders.pop(self._key, None)
        senders[self._key] = self

    def send(self, data: bytes) -> None:
        """Send a datagram to the container; as in any network, it may get lost."""
        for _ in range(2):
            try:
                self.own.send(data)
            except ConnectionRefusedError:  # which an earlier datagram was
                continue
            except OSError:
                pass
            return

    def reply(self, _events: int) -> None:
        """Send on to the client what the container answers."""
        self.use()
        try:
            data = self.own.recv(_LONGEST)
        except OSError:  # an earlier datagram was refused, or there is none
            return
        self._port.answer(data, self._key)

    def close(self) -> None:
        """Forget the client."""
        relay = self._port.relay
        relay.senders.pop(self._key, None)
        relay.loop.remove(self.own.fileno())
        self.own.close()


class Datagrams:
    """A port of UDP.

    A client is known by its address and by the host's that it has sent to, from which the answer
    has to come; the socket tells it (IP_PKTINFO).
    """

    def __init__(self, relay: Relay, sock: socket.socket, target: tuple[str, int]) -> None:
        self.relay = relay
        self._sock = sock
        self._target = target
        self._number = sock.fileno()
        self._level, self._info = socket.IPPROTO_IP, _IP_PKTINFO
        if sock.family == socket.AF_INET6:
            self._level, self._info = socket.IPPROTO_IPV6, socket.IPV6_PKTINFO
        relay.loop.add(self._number, self._hear)

    def _hear(self, _events: int) -> None:
        try:
            data, ancillary, _, address = self._sock.recvmsg(_LONGEST, _ANCILLARY)
        except OSError:  # none is there any more
            return
        info = next((one[2] for one in ancillary if one[:2] == (self._level, self._info)), b"")
        key = (self._number, address, info)
        sender = self.relay.senders.get(key) or self._meet(key)
        if sender is not None:
            sender.use()
            sender.send(data)

    def _meet(self, key: tuple[Any, ...]) -> Sender | None:
        self.relay.make_room()
        family = socket.AF_INET6 if ":" in self._target[0] else socket.AF_INET
        try:
            own = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError:
            return None
        try:
            own.connect(self._target)
        except OSError:
            own.close()
            return None
        sender = Sender(self, key, own)
        self.relay.loop.add(own.fileno(), sender.reply)
        return sender

    def answer(self, data: bytes, key: tuple[Any, ...]) -> None:
        """Send a datagram to a client from the address that it has sent to."""
        _, address, info = key
        if self._info == _IP_PKTINFO:
            info = bytes(4) + info[4:]  # by whichever interface leads there
        with contextlib.suppress(OSError):
            self._sock.sendmsg([data], [(self._level, self._info, info)], 0, address)
