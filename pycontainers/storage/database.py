"""The database: one SQLite file a data root, shared by all processes that use it.

It knows containers.  A container's row is made before anything of the container is, and
removed after everything, so that recovery finds what a crash left (lifecycle/recovery.py).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from pycontainers.errors import Conflict, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE containers (
    id           TEXT PRIMARY KEY,
    name         TEXT UNIQUE,
    owner_pid    INTEGER NOT NULL,
    owner_start  INTEGER NOT NULL,
    pid          INTEGER,
    start        INTEGER,
    status       TEXT NOT NULL,
    exit_code    INTEGER,
    created      REAL NOT NULL,
    cgroup       TEXT NOT NULL,
    options      TEXT NOT NULL
) WITHOUT ROWID;
"""


class ContainerRow(NamedTuple):
    """What the database knows of a container; `cgroup` and `options` are JSON."""

    id: str
    name: str | None
    owner_pid: int
    owner_start: int
    pid: int | None
    start: int | None
    status: str
    exit_code: int | None
    created: float
    cgroup: str
    options: str


class Database:
    """The tables of one data root; usable from all threads of a process, not across a fork."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(
                path, timeout=30, isolation_level=None, check_same_thread=False
            )
            os.chmod(path, 0o600)  # noqa: PTH101
            # NORMAL: a crash of the machine may lose the last rows, which tell of processes that
            # ended with it; a crash of ours loses nothing.
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._migrate()
        except sqlite3.Error as error:
            raise StoreError(f"cannot open the database {path}: {error}") from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run statements as one change that other processes see whole or not at all."""
        with self._lock, self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _change(self, statement: str, *values: object) -> None:
        """Run one statement, which is a transaction of its own."""
        with self._lock, self._errors():
            self._connection.execute(statement, values)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise Conflict(f"the name or id is in use: {error}") from error
        except sqlite3.Error as error:
            raise StoreError(
                f"the database {self._path} can't be used: {error}",
                hint="is the disk full?" if "full" in str(error) else None,
            ) from error

    def close(self) -> None:
        """Close the connection; the last one folds the log back into the file."""
        with self._lock:
            self._connection.close()

    def add_container(self, row: ContainerRow) -> None:
        """Add a container; Conflict where its name is in use."""
        self._change(f"INSERT INTO containers VALUES ({', '.join('?' * len(row))})", *row)

    def update_container(
        self,
        container_id: str,
        *,
        status: str,
        pid: int | None = None,
        start: int | None = None,
        exit_code: int | None = None,
    ) -> None:
        """Set what changes in a container's life."""
        self._change(
            "UPDATE containers SET status = ?, pid = ?, start = ?, exit_code = ? WHERE id = ?",
            status,
            pid,
            start,
            exit_code,
            container_id,
        )

    def remove_container(self, container_id: str) -> None:
        """Forget a container; one that is not there is fine."""
        self._change("DELETE FROM containers WHERE id = ?", container_id)

    def containers(self) -> list[ContainerRow]:
        """Give all containers, oldest first."""
        return self._query("ORDER BY created, id")

    def container(self, key: str) -> list[ContainerRow]:
        """Give the container with that name or id, or all whose id begins with `key`."""
        exact = self._query("WHERE name = ? OR id = ?", key, key)
        if exact or not key:
            return exact
        return self._query("WHERE substr(id, 1, ?) = ?", len(key), key)

    def _query(self, condition: str, *values: object) -> list[ContainerRow]:
        with self._lock, self._errors():
            cursor = self._connection.execute(f"SELECT * FROM containers {condition}", values)
            return [ContainerRow(*row) for row in cursor.fetchall()]

    def _migrate(self) -> None:
        if self._version() == _VERSION:
            return
        with self.transaction() as connection:
            version = self._version()
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise StoreError(
                    f"the database {self._path} has format {version}, not {_VERSION}",
                    hint="use a newer pycontainers, or another data root",
                )

    def _version(self) -> int:
        version: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
        return version
