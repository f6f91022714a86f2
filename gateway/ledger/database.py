"""The shared store as a database: its address, its transactions, its version (spec D2).

SQLite or PostgreSQL, through SQLAlchemy Core. What stands in the tables is ``store``'s business.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic, sleep

from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, inspect, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from gateway.ledger.tables import MIGRATIONS, Migration, schema_version
from gateway.stores.quota_file import StateError

BUSY_MS = 30_000
"""How long a writer of an SQLite file waits for another one."""
LOCK = 0x5447_4C45
"""The advisory lock of PostgreSQL under which tables are changed and days are packed."""

_POSTGRESQL = {
    "connect_timeout": 5,
    "application_name": "tiergate-ledger",
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""libpq's own words: a server that vanished without a word is noticed within half a minute."""


class StoreError(Exception):
    """The store cannot be used now. The text names it without its password."""


class Database:
    """Connects when first used. ``reading`` and ``writing`` are one transaction each; both raise ``StoreError``."""

    def __init__(self, url: str) -> None:
        """Raises ``StateError`` for an address that is neither SQLite's nor PostgreSQL's."""
        self.url = parsed(url)
        self.name = self.url.render_as_string(hide_password=True)
        self._engine = _engine(self.url)
        self._inode = 0

    def migrate(self, migrations: Mapping[int, Migration] = MIGRATIONS) -> None:
        """Bring the tables to this version, under a lock. Raises ``StoreError``; ``StateError`` for newer tables."""
        latest = max(migrations)
        self._engine.dispose()  # connections to a file that was moved away
        with self.writing(alone=True) as connection:
            found = _version(connection)
            if found > latest:
                raise StateError(
                    f"the ledger {self.name} was written by a newer Tiergate (version {found}, this one knows "
                    f"{latest}) and is left as it is; run that version, or name another ledger by TIERGATE_LEDGER_URL"
                )
            for number in range(found + 1, latest + 1):
                migrations[number](connection)
                connection.execute(update(schema_version).values(version=number))
        self._inode = self._found()

    def moved(self) -> bool:
        """Whether the file that was migrated is no longer the one at the path."""
        return self._inode != self._found()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """One view of everything, whatever is written meanwhile."""
        options = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with self._mapped(), self._engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[Connection]:
        """``alone``: nobody else is in such a transaction. In SQLite nobody ever is."""
        with self._mapped(), self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            if alone and not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            yield connection

    @property
    def is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    def close(self) -> None:
        self._engine.dispose()

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            self._engine.dispose()  # no connection of a server that went away is offered again
            cause = getattr(error, "orig", None) or error
            raise StoreError(f"{self.name}: {str(cause).strip().splitlines()[0]}") from error

    def _found(self) -> int:
        if not self.is_sqlite:
            return 0
        with contextlib.suppress(FileNotFoundError):
            return os.stat(self.url.database or "").st_ino
        return 0


def parsed(url: str) -> URL:
    """The address with its driver. Raises ``StateError``."""
    try:
        found = make_url(url)
    except ArgumentError as error:
        raise StateError(f"the ledger's address is no URL; {_LIKE}") from error
    if found.drivername in ("postgresql", "postgres"):
        found = found.set(drivername="postgresql+psycopg")
    if found.drivername == "sqlite" and not found.database:
        raise StateError(f"the ledger's address names no file; {_LIKE}")
    if found.drivername not in ("sqlite", "postgresql+psycopg"):
        raise StateError(f"a ledger is not kept in {found.drivername}; {_LIKE}")
    return found


_LIKE = "write TIERGATE_LEDGER_URL like sqlite:////var/lib/tiergate/ledger.sqlite or postgresql://user@host/database"


def default_file(state_dir: Path) -> Path:
    """Where the ledger is when nobody says."""
    return state_dir / "ledger.sqlite"


def default_url(state_dir: Path) -> str:
    """The same as an address."""
    return f"sqlite:///{default_file(state_dir)}"


def _engine(url: URL) -> Engine:
    if url.drivername != "sqlite":
        given = {name: value for name, value in _POSTGRESQL.items() if name not in url.query}
        return create_engine(url, connect_args=given, pool_size=1, max_overflow=2, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_MS / 1_000})
    event.listen(engine, "connect", _prepared)
    event.listen(engine, "begin", _begin)
    return engine


def _prepared(connection: sqlite3.Connection, _: object) -> None:
    """Commits are synced: what the store has confirmed is deleted from the spool."""
    connection.isolation_level = None  # transactions are begun by _begin, not by the driver's guesses
    _keep_a_log(connection)
    connection.execute("PRAGMA synchronous = FULL")


def _keep_a_log(connection: sqlite3.Connection) -> None:
    """So that readers and the writer do not hinder each other. SQLite does not wait here for whoever begins too."""
    until = monotonic() + BUSY_MS / 1_000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > until:
                raise
            sleep(0.01)
        else:
            return


def _begin(connection: Connection) -> None:
    """A writer takes the lock at once: one that began as a reader would fail where it should wait."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _version(connection: Connection) -> int:
    """Of the tables; 0 when there are none."""
    if not inspect(connection).has_table(schema_version.name):
        schema_version.create(connection)
        connection.execute(insert(schema_version).values(version=0))
    return int(connection.execute(select(schema_version.c.version)).scalar_one())
