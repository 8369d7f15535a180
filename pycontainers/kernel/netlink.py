"""Netlink: messages to the kernel's network, and its answers (netlink(7)).

A message is a header, a family's own fixed part and attributes, each with a length and a kind; an
attribute may hold attributes.  What the kernel answers to each of our messages is an error number,
0 for done.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from pycontainers.errors import KernelError
from pycontainers.kernel.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Iterator

NETLINK_ROUTE: Final = 0
NETLINK_NETFILTER: Final = 12

NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
NLM_F_APPEND: Final = 0x800

_NLM_F_REQUEST: Final = 0x1
_NLM_F_ACK: Final = 0x4
_NLM_F_DUMP_INTR: Final = 0x10
_NLM_F_ACK_TLVS: Final = 0x200
_NLM_F_DUMP: Final = 0x300
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_NLA_F_NESTED: Final = 0x8000
_NLA_TYPE_MASK: Final = 0x3FFF
_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port (struct nlmsghdr)
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type (struct nlattr)
_ERROR: Final = struct.Struct("=i")
_REASON_AT: Final = 20  # after the number and the header of the message that failed
_NLMSGERR_ATTR_MSG: Final = 1
_ROOM: Final = 1 << 16  # the kernel fills at most half of it at a time
_AT_ONCE: Final = 100  # so many answers fit into the socket's queue, where they wait for us
_ATTEMPTS: Final = 20
_SO_SNDBUFFORCE: Final = 32
_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10
_NETLINK_EXT_ACK: Final = 11


class Message(NamedTuple):
    """One request: its type, flags beyond those of every request, and body; `what` is for errors.

    Of error numbers in `fine` the message counts as done, unless it is part of a change.
    """

    kind: int
    flags: int
    body: bytes
    what: str
    fine: tuple[int, ...] = ()


class Answer(NamedTuple):
    """One message of the kernel's."""

    kind: int
    flags: int
    sequence: int
    body: bytes


def attribute(kind: int, data: bytes | str | int) -> bytes:
    r"""Give an attribute: bytes as they are, a text with its end, a number of four bytes.

    >>> attribute(3, "lo")
    b'\x07\x00\x03\x00lo\x00\x00'
    """
    if isinstance(data, str):
        data = data.encode() + b"\0"
    elif isinstance(data, int):
        data = struct.pack("=I", data)
    length = 4 + len(data)
    return _ATTRIBUTE.pack(length, kind) + data + b"\0" * (-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """Give an attribute that holds attributes."""
    return attribute(kind | _NLA_F_NESTED, b"".join(attributes))


def attributes(body: bytes) -> dict[int, bytes]:
    """Take attributes apart; of several of a kind the last one counts."""
    return dict(each_attribute(body))


def each_attribute(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Give each attribute's kind and data, in their order; a cut one ends it."""
    at = 0
    while at + 4 <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < 4:
            return
        yield kind & _NLA_TYPE_MASK, body[at + 4 : at + length]
        at += -(-length // 4) * 4


class Netlink(Closing):
    """A netlink socket; it stays in the network namespace in which it was made.

    One thread at a time may use it.  A context manager that closes it.

    >>> with Netlink(NETLINK_ROUTE) as netlink:                 # doctest: +SKIP
    ...     netlink.ask([links.add_bridge("pc0", "02:00:00:00:00:01", 1500)])
    """

    def __init__(self, family: int) -> None:
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family
            )
        except OSError as error:
            raise KernelError(error.errno or 0, f"socket(AF_NETLINK, {family})") from None
        self._sequence = 0
        # Errors come with the kernel's words and without a copy of the message, so that they fit.
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)

    def fileno(self) -> int:
        """Give the socket's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def ask(self, messages: list[Message]) -> None:
        """Send requests in one go, and return when all are done; each stands for itself.

        Raises KernelError for the first that failed; those after it have been tried too.
        """
        failed: KernelError | None = None
        for start in range(0, len(messages), _AT_ONCE):
            part = messages[start : start + _AT_ONCE]
            # Errors come unasked, and all before the answer to the last one.
            asked = [(message, 0) for message in part[:-1]]
            first = self._send([*asked, (part[-1], _NLM_F_ACK)])
            for answer in self._answers(first, first + len(part) - 1, part[0].what):
                message = part[answer.sequence - first]
                if failed is None and _code(answer) not in (0, *message.fine):
                    failed = _error(answer, message.what)
        if failed is not None:
            raise failed

    def change(self, begin: Message, messages: list[Message], end: Message) -> None:
        """Send requests as one change, all of it done or nothing (nfnetlink's batches).

        Raises KernelError for the first that the kernel refused.
        """
        if not messages:
            return
        *others, last = messages
        # Errors come unasked, and in order.  The end itself is only answered by kernels >= 6.10.
        packed = [(begin, 0), *((other, 0) for other in others), (last, _NLM_F_ACK), (end, 0)]
        first = self._send(packed)
        failed: KernelError | None = None
        for answer in self._answers(first, first + len(messages), last.what):
            if failed is None and _code(answer):
                of = max(answer.sequence - first - 1, 0)  # an error of the begin is one of all
                failed = _error(answer, messages[of].what)
            if answer.sequence == first:
                break
        if failed is not None:
            raise failed

    def get(self, message: Message) -> bytes | None:
        """Ask for one thing: its body, or None for an error that is fine; raises KernelError."""
        first = self._send([(message, 0)])
        for answer in self._received(message.what):
            if answer.sequence != first:
                continue
            if answer.kind != _NLMSG_ERROR:
                return answer.body
            if _code(answer) in message.fine:
                return None
            raise _error(answer, message.what)
        raise KernelError(errno.ENOBUFS, message.what)

    def dump(self, kind: int, body: bytes, what: str) -> list[bytes]:
        """Ask for a list, as of all links: the bodies of its entries; raises KernelError.

        Entries that come or go meanwhile make the kernel say so, and then it is asked again.
        """
        for _ in range(_ATTEMPTS):
            found, torn = self._dump(kind, body, what)
            if not torn:
                return found
        raise KernelError(errno.EINTR, what)

    def _dump(self, kind: int, body: bytes, what: str) -> tuple[list[bytes], bool]:
        first = self._send([(Message(kind, _NLM_F_DUMP, body, what), 0)])
        found: list[bytes] = []
        torn = False
        while True:
            for answer in self._received(what):
                if answer.sequence != first:
                    continue
                torn = torn or bool(answer.flags & _NLM_F_DUMP_INTR)
                if answer.kind == _NLMSG_ERROR:
                    raise _error(answer, what)
                if answer.kind == _NLMSG_DONE:
                    return found, torn
                found.append(answer.body)

    def _send(self, messages: list[tuple[Message, int]]) -> int:
        """Send messages with further flags, and give the first one's sequence number."""
        first = self._sequence + 1
        packed = []
        for message, more in messages:
            self._sequence += 1
            length = _HEADER.size + len(message.body)
            flags = message.flags | more | _NLM_F_REQUEST
            packed.append(_HEADER.pack(length, message.kind, flags, self._sequence, 0))
            packed.append(message.body + b"\0" * (-length % 4))
        data = b"".join(packed)
        try:
            if len(data) > _ROOM:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, len(data))
            self._socket.send(data)
        except OSError as error:
            raise KernelError(error.errno or 0, messages[0][0].what) from None
        return first

    def _answers(self, first: int, last: int, what: str) -> Iterator[Answer]:
        """Give the errors, of which 0 is one, from that of message `first` to that of `last`."""
        while True:
            for answer in self._received(what):
                if answer.kind == _NLMSG_ERROR and answer.sequence >= first:
                    yield answer
                    if answer.sequence == last:
                        return

    def _received(self, what: str) -> list[Answer]:
        """Give the messages that have come.

        The kernel works while it is being sent to, so an answer that isn't there has been lost.
        """
        try:
            data = self._socket.recv(_ROOM, socket.MSG_DONTWAIT)
        except BlockingIOError:
            raise KernelError(errno.ENOBUFS, what) from None
        except OSError as error:
            raise KernelError(error.errno or 0, what) from None
        found = []
        at = 0
        while at + _HEADER.size <= len(data):
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data, at)
            found.append(Answer(kind, flags, sequence, data[at + _HEADER.size : at + length]))
            at += -(-length // 4) * 4
        return found


def _code(answer: Answer) -> int:
    number: int = _ERROR.unpack_from(answer.body)[0]
    return -number


def _error(answer: Answer, what: str) -> KernelError:
    """Make an error of the kernel's answer, with its reason in words where it gives one."""
    reason = b""
    if answer.flags & _NLM_F_ACK_TLVS:
        reason = attributes(answer.body[_REASON_AT:]).get(_NLMSGERR_ATTR_MSG, b"")
    return KernelError(_code(answer), what, hint=reason.rstrip(b"\0").decode() or None)
