"""A program that talks over the network, for containers and other hosts; also a module.

serve PORT…           answer over TCP and UDP, by IPv4 and IPv6: the own name, the caller's address
ask JSON              ask all [protocol, address, port] at the same time, print the answers as JSON
claim ADDRESS MAC     tell all neighbours that an IP address is this MAC address's
datagram MAC SOURCE DESTINATION PORT   send one of UDP over IPv4 to a MAC address
"""

from __future__ import annotations

import contextlib
import errno
import json
import select
import socket
import struct
import sys
import threading

PATIENCE = 0.5  # seconds for what should not come
SILENCE = "silence"
Question = tuple[str, str, int]


def serve(ports: list[int]) -> None:
    poll = select.poll()
    sockets: dict[int, socket.socket] = {}
    for port in ports:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            sock = socket.socket(socket.AF_INET6, kind)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM)
            sock.bind(("::", port))
            if kind == socket.SOCK_STREAM:
                sock.listen(128)
            sockets[sock.fileno()] = sock
            poll.register(sock, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            sock = sockets[fd]
            if sock.type == socket.SOCK_DGRAM:
                _, peer = sock.recvfrom(1000)
                sock.sendto(_answer(peer[0]), peer)
                continue
            connection, peer = sock.accept()
            with connection, contextlib.suppress(OSError):  # it may be gone again
                connection.sendall(_answer(peer[0]))


def _answer(peer: str) -> bytes:
    return f"{socket.gethostname()} {peer.removeprefix('::ffff:')}".encode()


def ask(kind: str, address: str, port: int, patience: float = PATIENCE) -> str:
    """Give what a server says, "silence", or the name of an error number, as ECONNREFUSED."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, getattr(socket, f"SOCK_{kind}")) as sock:
        sock.settimeout(patience)
        try:
            sock.connect((address, port))
            if kind == "DGRAM":
                sock.send(b"?")
            return sock.recv(1000).decode()
        except TimeoutError:
            return SILENCE
        except OSError as error:
            return errno.errorcode[error.errno or 0]


def ask_all(questions: list[Question]) -> list[str]:
    answers = [SILENCE] * len(questions)

    def answer(number: int) -> None:
        answers[number] = ask(*questions[number])

    threads = [threading.Thread(target=answer, args=(n,)) for n in range(len(questions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def claim(address: str, mac: str) -> None:
    """Have neighbours believe where an address is: gratuitous ARP, neighbour advertisements."""
    if ":" in address:
        with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
            advertisement = b"\x88\0\0\0" + b"\x20\0\0\0"  # of type 136, overriding
            option = b"\2\1" + _mac(mac)
            told = advertisement + socket.inet_pton(socket.AF_INET6, address) + option
            sock.sendto(told, ("ff02::1", 0, 0, socket.if_nametoindex("eth0")))
        return
    whole, own = b"\xff" * 6, socket.inet_aton(address)
    for operation, target in ((1, bytes(6)), (2, whole)):
        body = b"\0\1\x08\0\6\4" + struct.pack("!H", operation)
        _send(whole + _mac(mac) + b"\x08\6" + body + _mac(mac) + own + target + own)


def datagram(mac: str, source: str, destination: str, port: int) -> None:
    """Send a frame as no kernel would."""
    data = b"?"
    udp = struct.pack("!4H", 4000, port, 8 + len(data), 0) + data
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, socket.IPPROTO_UDP, 0)
    total = sum(struct.unpack("!10H", head + addresses))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("eth0", 0))
        own = sock.getsockname()[4]
    _send(_mac(mac) + own + b"\x08\0" + head + addresses + udp)


def _send(frame: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("eth0", 0))
        sock.send(frame)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    if verb == "serve":
        serve([int(word) for word in words])
    elif verb == "ask":
        print(json.dumps(ask_all(json.loads(words[0]))))
    elif verb == "claim":
        claim(*words)
    elif verb == "datagram":
        datagram(words[0], words[1], words[2], int(words[3]))
