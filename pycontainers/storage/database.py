"""The database: one SQLite file a data root, shared by all processes that use it.

A container's row is made before anything of the container is, and removed after everything, so
that recovery finds what a crash left (lifecycle/recovery.py).  An image's and a layer's row is made
after all that they are made of, so that what has a row is whole (images.py).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pycontainers.errors import Conflict, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PATIENCE: Final = 30.0  # seconds that other processes may hold the database
# Each entry leads from one format to the next; what has been released is never changed.
_MIGRATIONS: Final = (
    """
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
""",
    """
CREATE TABLE images (
    manifest    TEXT PRIMARY KEY,
    config      TEXT NOT NULL,
    media_type  TEXT NOT NULL,
    length      INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    added       REAL NOT NULL,
    platform    TEXT NOT NULL,
    blobs       TEXT NOT NULL,
    diff_ids    TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX images_config ON images (config);
CREATE TABLE tags (
    reference   TEXT PRIMARY KEY,
    manifest    TEXT NOT NULL REFERENCES images (manifest)
) WITHOUT ROWID;
CREATE INDEX tags_manifest ON tags (manifest);
CREATE TABLE layers (
    diff_id     TEXT PRIMARY KEY,
    directory   TEXT NOT NULL,
    size        INTEGER NOT NULL
) WITHOUT ROWID;
""",
    # What changes in a container's life is its supervisor's to write (runtime/state.py).
    """
ALTER TABLE containers DROP COLUMN pid;
ALTER TABLE containers DROP COLUMN start;
ALTER TABLE containers DROP COLUMN status;
ALTER TABLE containers DROP COLUMN exit_code;
""",
    """
CREATE TABLE networks (
    id        TEXT PRIMARY KEY,
    name      TEXT NOT NULL UNIQUE,
    created   REAL NOT NULL,
    subnet4   TEXT,
    gateway4  TEXT,
    range4    TEXT,
    subnet6   TEXT,
    gateway6  TEXT,
    range6    TEXT,
    cursor    INTEGER NOT NULL,
    options   TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE endpoints (
    container  TEXT NOT NULL,
    network    TEXT NOT NULL REFERENCES networks (id),
    number     INTEGER NOT NULL,
    mac        TEXT NOT NULL,
    address4   TEXT,
    address6   TEXT,
    aliases    TEXT NOT NULL,
    PRIMARY KEY (container, network)
) WITHOUT ROWID;
CREATE UNIQUE INDEX endpoints_address4 ON endpoints (network, address4);
CREATE UNIQUE INDEX endpoints_address6 ON endpoints (network, address6);
""",
    """
CREATE TABLE volumes (
    name       TEXT PRIMARY KEY,
    created    REAL NOT NULL,
    labels     TEXT NOT NULL,
    size       INTEGER,
    anonymous  INTEGER NOT NULL,
    filled     INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE uses (
    container  TEXT NOT NULL,
    volume     TEXT NOT NULL REFERENCES volumes (name),
    PRIMARY KEY (container, volume)
) WITHOUT ROWID;
CREATE INDEX uses_volume ON uses (volume);
""",
    """
CREATE TABLE build_layers (
    directory  TEXT PRIMARY KEY,
    created    REAL NOT NULL,
    used       REAL NOT NULL,
    size       INTEGER NOT NULL,
    title      TEXT NOT NULL,
    diff_id    TEXT,
    blob       TEXT,
    length     INTEGER
) WITHOUT ROWID;
CREATE TABLE build_keys (
    key        TEXT PRIMARY KEY,
    directory  TEXT NOT NULL REFERENCES build_layers (directory)
) WITHOUT ROWID;
CREATE INDEX build_keys_directory ON build_keys (directory);
""",
    # Archives are by the latest time of what is in them: a layer's own times, or SOURCE_DATE_EPOCH.
    """
CREATE TABLE build_archives (
    directory  TEXT NOT NULL REFERENCES build_layers (directory),
    latest     INTEGER NOT NULL,
    diff_id    TEXT NOT NULL,
    blob       TEXT NOT NULL,
    length     INTEGER NOT NULL,
    PRIMARY KEY (directory, latest)
) WITHOUT ROWID;
ALTER TABLE build_layers DROP COLUMN diff_id;
ALTER TABLE build_layers DROP COLUMN blob;
ALTER TABLE build_layers DROP COLUMN length;
ALTER TABLE build_keys ADD COLUMN identity TEXT NOT NULL DEFAULT '';
CREATE TABLE indexes (
    digest     TEXT PRIMARY KEY,
    added      REAL NOT NULL,
    manifests  TEXT NOT NULL
) WITHOUT ROWID;
""",
)


class ContainerRow(NamedTuple):
    """What the database knows of a container; `cgroup` and `options` are JSON.

    The owner is the process that an attached container ends with; 0 where there is none.
    """

    id: str
    name: str | None
    owner_pid: int
    owner_start: int
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
                path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            os.chmod(path, 0o600)  # noqa: PTH101
            # NORMAL: a crash of the machine may lose the last rows, which tell of processes that
            # ended with it; a crash of ours loses nothing.
            self._connection.execute("PRAGMA synchronous = NORMAL")
            with self._closed_on_error():
                self._use_log()
                self._migrate()
        except sqlite3.Error as error:
            raise StoreError(f"cannot open the database {path}: {error}") from error

    def _use_log(self) -> None:
        """Turn the write-ahead log on; SQLite waits for no other process that does so (BUSY)."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run statements as one change that other processes see whole or not at all.

        A transaction within another one is a part of that.
        """
        with self._lock, self._errors():
            if self._connection.in_transaction:
                yield self._connection
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def change(self, statement: str, *values: object) -> None:
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
        self.change(f"INSERT INTO containers VALUES ({', '.join('?' * len(row))})", *row)

    def rename_container(self, container_id: str, name: str) -> None:
        """Give a container another name; Conflict where that is in use."""
        self.change("UPDATE containers SET name = ? WHERE id = ?", name, container_id)

    def change_options(self, container_id: str, options: str) -> None:
        """Give a container other options."""
        self.change("UPDATE containers SET options = ? WHERE id = ?", options, container_id)

    def remove_container(self, container_id: str) -> None:
        """Forget a container, its places in networks and its uses of volumes; gone is fine."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM endpoints WHERE container = ?", (container_id,))
            connection.execute("DELETE FROM uses WHERE container = ?", (container_id,))
            connection.execute("DELETE FROM containers WHERE id = ?", (container_id,))

    def containers(self) -> list[ContainerRow]:
        """Give all containers, oldest first."""
        return self._query("ORDER BY created, id")

    def container(self, key: str) -> list[ContainerRow]:
        """Give the container with that name or id, or all whose id begins with `key`."""
        exact = self._query("WHERE name = ? OR id = ?", key, key)
        if exact or not key:
            return exact
        return self._query("WHERE substr(id, 1, ?) = ?", len(key), key)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Give all rows of a query."""
        with self._lock, self._errors():
            return self._connection.execute(query, values).fetchall()

    def _query(self, condition: str, *values: object) -> list[ContainerRow]:
        rows = self.rows(f"SELECT * FROM containers {condition}", *values)
        return [ContainerRow(*row) for row in rows]

    def _migrate(self) -> None:
        newest = len(_MIGRATIONS)
        if self._version() == newest:
            return
        with self.transaction() as connection:
            version = self._version()
            if version > newest:
                raise StoreError(
                    f"the database {self._path} has format {version}, newer than {newest}",
                    hint="use a newer pycontainers, or another data root",
                )
            for script in _MIGRATIONS[version:]:
                for statement in script.split(";"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {newest}")

    def _version(self) -> int:
        version: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
        return version
