"""The spool's SQLite file: rows that the shared store has not confirmed yet, of one worker and all its boots (spec D2).

A row stands here until it was shipped, newest sequence only, so an hour without the store costs one row per cell.
Every method blocks: call it in a thread, one thread per instance. Files of other programs are never written to.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from gateway.ledger.cells import Row
from gateway.ledger.pulse import Life
from gateway.stores.quota_file import StateError

VERSION: Final = 1
APPLICATION_ID: Final = 0x5447_5350
"""SQLite's field for whose file it is."""

BUSY_S = 5.0
_SCHEMA = (
    "CREATE TABLE cell (slot_s INTEGER, tenant TEXT, route_group TEXT, replica TEXT, boot TEXT, seq INTEGER,"
    " counters BLOB, PRIMARY KEY (slot_s, tenant, route_group, replica, boot)) WITHOUT ROWID",
    "CREATE TABLE life (replica TEXT, boot TEXT, from_s INTEGER, to_s INTEGER, step_ms INTEGER,"
    " PRIMARY KEY (replica, boot, from_s)) WITHOUT ROWID",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)
_PUT_CELL = (
    "INSERT INTO cell VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
    " SET seq = excluded.seq, counters = excluded.counters WHERE excluded.seq > seq"
)
_PUT_LIFE = "INSERT INTO life VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET to_s = max(to_s, excluded.to_s)"
_CELLS = "SELECT * FROM cell ORDER BY slot_s LIMIT ?"
_LIVES = "SELECT * FROM life LIMIT ?"
_DROP_CELL = (
    "DELETE FROM cell WHERE slot_s = ? AND tenant = ? AND route_group = ? AND replica = ? AND boot = ? AND seq = ?"
)
_DROP_LIFE = "DELETE FROM life WHERE replica = ? AND boot = ? AND from_s = ? AND to_s = ?"


class LifeRow(NamedTuple):
    """An interval on its way, with the replica and the boot that lived it."""

    replica: str
    boot: str
    from_s: int
    to_s: int
    step_ms: int

    @classmethod
    def of(cls, replica: str, boot: str, life: Life) -> LifeRow:
        return cls(replica, boot, *life)


class SpoolError(Exception):
    """The file cannot be used now; the text says why, ``remedy`` what would help. What was to be written is not."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.remedy = remedy


class SpoolFile:
    """Opened when first used and again after every failure. Raises ``SpoolError``, and ``StateError`` for a newer file.

    Commits are synced to the disk (``synchronous=FULL``): a power cut may then cost what was not flushed, as a kill
    may, but never a minute that was closed. With NORMAL it would cost all since the last checkpoint. One sync in
    several seconds, on a thread of its own, is nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._inode = 0

    def write(self, cells: Sequence[Row], lives: Sequence[LifeRow]) -> None:
        """All of them or none; a row already there gives way to a higher sequence or a later end only."""
        with self._using() as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_PUT_CELL, cells)
            db.executemany(_PUT_LIFE, lives)
            db.execute("COMMIT")

    def read(self, limit: int) -> tuple[list[Row], list[LifeRow]]:
        """At most ``limit`` of each, the oldest minutes first."""
        with self._using() as db:
            cells = [Row._make(found) for found in db.execute(_CELLS, (limit,))]
            return cells, [LifeRow._make(found) for found in db.execute(_LIVES, (limit,))]

    def forget(self, cells: Sequence[Row], lives: Sequence[LifeRow]) -> None:
        """Delete what is still as it was read; what was flushed again meanwhile stays."""
        with self._using() as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_DROP_CELL, [row[:6] for row in cells])
            db.executemany(_DROP_LIFE, [row[:4] for row in lives])
            db.execute("COMMIT")

    def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._opened()
        except (OSError, sqlite3.Error) as error:
            self.close()  # rolls back, and the next use sees what has been repaired meanwhile
            raise SpoolError(f"{self._path}: {error}", _remedy(error, self._path)) from error
        except (SpoolError, StateError):
            self.close()
            raise

    def _opened(self) -> sqlite3.Connection:
        """The connection; a new one when the file that it had open is no longer the one at the path."""
        if self._db is not None and self._inode != _inode(self._path):
            self.close()
        if self._db is None:
            self._db = sqlite3.connect(
                self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=16
            )
            self._prepare(self._db)
            self._inode = _inode(self._path)
        return self._db

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Look whose file it is before anything is written to it."""
        if not self._is_ours(db):
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("BEGIN IMMEDIATE")
            if not self._is_ours(db):  # another process may have been quicker
                for statement in _SCHEMA:
                    db.execute(statement)
            db.execute("COMMIT")
        db.execute("PRAGMA synchronous = FULL")

    def _is_ours(self, db: sqlite3.Connection) -> bool:
        """False for an empty file."""
        ((application,),) = db.execute("PRAGMA application_id")
        ((version,),) = db.execute("PRAGMA user_version")
        ((tables,),) = db.execute("SELECT count(*) FROM sqlite_schema")
        if application == APPLICATION_ID and version > VERSION:
            raise StateError(
                f"{self._path} was written by a newer Tiergate (format {version}, this one knows {VERSION}) and is "
                "left as it is; run that version, or give this one its own TIERGATE_STATE_DIR"
            )
        if application == APPLICATION_ID:
            return True
        if tables or application or version:
            raise SpoolError(f"{self._path} is another program's database", _AWAY.format(path=self._path))
        return False


_AWAY = "move {path} away, the next flush makes a new one; what the old one holds is not lost, keep it"
_REMEDIES = (
    ("SQLITE_FULL", "free space on its disk"),
    ("SQLITE_IOERR", "free space on its disk, or replace it"),
    ("SQLITE_READONLY", "make the file and its folder writable for this user"),
    ("SQLITE_PERM", "make the file and its folder writable for this user"),
    ("SQLITE_CANTOPEN", "make the file and its folder writable for this user"),
    ("SQLITE_CORRUPT", _AWAY),
    ("SQLITE_NOTADB", _AWAY),
    ("SQLITE_ERROR", _AWAY),  # a table that is not there
)


def _remedy(error: Exception, path: Path) -> str:
    name = getattr(error, "sqlite_errorname", "SQLITE_CANTOPEN")
    found = next((remedy for prefix, remedy in _REMEDIES if name.startswith(prefix)), "it is tried again")
    return found.format(path=path)


def _inode(path: Path) -> int:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0
