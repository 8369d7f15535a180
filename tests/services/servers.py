"""Debian's PostgreSQL and Redis as containers, with their files in a volume, and their clients."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import pycontainers as pc

PACKAGES = ("postgresql", "redis-server", "python3", "curl", "iputils-ping")
_PASSWORD = "s3cret"
_POSTGRESQL = """\
set -e
cd /var/lib/postgresql
bin=/usr/lib/postgresql/15/bin
if ! [ -e data ]; then
    echo "$PGPASSWORD" >/tmp/password
    $bin/initdb --no-sync --auth=scram-sha-256 --pwfile=/tmp/password -D making
    echo 'host all all all scram-sha-256' >>making/pg_hba.conf
    mv making data
fi
exec $bin/postgres -D data -c listen_addresses='*' -c unix_socket_directories=''
"""


class Server(NamedTuple):
    """What runs, as whom, where its files are, and how its clients write and read.

    `create`, `add` and `read` are commands without the words that tell where the server is;
    """

    command: tuple[str, ...]
    user: str
    directory: str
    port: int
    client: tuple[str, ...]
    ready: tuple[str, ...]
    create: tuple[str, ...]
    add: tuple[str, ...]
    read: tuple[str, ...]
    greeting: bytes
    answer: bytes

    def run(
        self, image: pc.Image, volume: str | pc.Volume, engine: pc.Engine, **options: Any
    ) -> pc.Container:
        """Start a container with the server, its files in a volume."""
        check = {"test": self.ask(*self.ready), "start_period": 60, "start_interval": 0.1}
        return pc.Container.run(
            image,
            self.command,
            user=self.user,
            env={"PGPASSWORD": _PASSWORD},
            volumes={volume: self.directory},
            healthcheck=check,
            engine=engine,
            **options,
        )

    def wait(self, container: pc.Container) -> None:
        """Wait until it answers its clients."""
        container.wait_for(port=self.port, healthy=True, timeout=60)

    def ask(self, *words: str, host: str = "127.0.0.1", port: int | None = None) -> list[str]:
        """Give the command of a client, in a container of the same image."""
        where = ["-h", host, "-p", str(port or self.port)]
        return ["env", f"PGPASSWORD={_PASSWORD}", self.client[0], *where, *self.client[1:], *words]

    def added(self, number: int) -> list[str]:
        """Give the words that add a number."""
        return [word.format(number=number) for word in self.add]


POSTGRESQL = Server(
    command=("sh", "-c", _POSTGRESQL),
    user="postgres",
    directory="/var/lib/postgresql",
    port=5432,
    client=("psql", "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-qAtc"),
    ready=("SELECT 1",),
    create=("CREATE TABLE numbers (n integer)",),
    add=("INSERT INTO numbers VALUES ({number})",),
    read=("SELECT n FROM numbers ORDER BY n",),
    greeting=struct.pack("!II", 8, 80877103),  # SSLRequest
    answer=b"N",
)
REDIS = Server(
    command=("redis-server", "--dir", "/var/lib/redis", "--bind", "*", "--protected-mode", "no",
             "--appendonly", "yes", "--save", ""),
    user="redis",
    directory="/var/lib/redis",
    port=6379,
    client=("redis-cli", "-e"),
    ready=("PING",),
    create=("DEL", "numbers"),
    add=("RPUSH", "numbers", "{number}"),
    read=("LRANGE", "numbers", "0", "-1"),
    greeting=b"PING\r\n",
    answer=b"+PONG\r\n",
)  # fmt: skip
BY_NAME = {"postgresql": POSTGRESQL, "redis": REDIS}
