"""The file that keeps quota counters over a restart: SQLite in the state directory, guarded by a lock file.

Nothing here decides; a row is an account, a limit key and its packed state.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("tiergate.store")

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS quota (account BLOB, key BLOB, state BLOB, PRIMARY KEY (account, key)) WITHOUT ROWID"
)
DELETE = "DELETE FROM quota WHERE account = ? AND key = ?"
UPSERT = "INSERT INTO quota VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET state = max(state, excluded.state)"


class StateError(Exception):
    """The state directory cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaRow:
    """One counter; ``state`` None asks ``QuotaFile.write`` to delete the row."""

    account: str
    key: str
    state: bytes | None


class QuotaFile:
    """``<state_dir>/memory-store.lock`` and ``<state_dir>/quotas.sqlite``. Every method blocks: call it in a thread."""

    def __init__(self, state_dir: Path) -> None:
        self._dir = state_dir
        self._lock: int | None = None
        self._db: sqlite3.Connection | None = None
        self._failing = False
        self._using = threading.Lock()  # a connection that two threads use at once crashes the process

    def open(self) -> list[QuotaRow]:
        """Take the lock and read every row. Raises ``StateError``."""
        try:
            self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._take_lock()
            return self._read()
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise StateError(f"cannot use the state directory {self._dir}: {error}") from error
        except StateError:
            self.close()
            raise

    def write(self, rows: Sequence[QuotaRow]) -> bool:
        """Write ``rows`` in one transaction; False, logged once, when that fails."""
        with self._using:
            return self._written(rows)

    def close(self) -> None:
        """Close the file once nobody writes any more, and give up the lock. Idempotent."""
        with self._using:
            if self._db is not None:
                self._db.close()
                self._db = None
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _written(self, rows: Sequence[QuotaRow]) -> bool:
        if self._db is None:
            return False
        try:
            with self._db:
                kept = [(encoded(row.account), encoded(row.key), row.state) for row in rows if row.state is not None]
                gone = [(encoded(row.account), encoded(row.key)) for row in rows if row.state is None]
                self._db.execute("BEGIN")
                self._db.executemany(UPSERT, kept)
                self._db.executemany(DELETE, gone)
        except sqlite3.Error as error:
            if not self._failing:
                log.error("quota counters cannot be written to %s, trying on: %s", self._dir, error)
            self._failing = True
            return False
        if self._failing:
            log.warning("quota counters are written to %s again", self._dir)
        self._failing = False
        return True

    def _take_lock(self) -> None:
        lock = os.open(self._dir / "memory-store.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            raise StateError(
                f"another worker (process {holder}) already keeps memory:// state in {self._dir}. Two of them would "
                "each admit the full limit. Give this one its own TIERGATE_STATE_DIR if it serves other tenants, or "
                "run one worker; a store that several workers share is named by store.url"
            ) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self._lock = lock

    def _read(self) -> list[QuotaRow]:
        self._db = sqlite3.connect(self._dir / "quotas.sqlite", check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(SCHEMA)
        return [
            QuotaRow(account=decoded(account), key=decoded(key), state=state)
            for account, key, state in self._db.execute("SELECT account, key, state FROM quota")
        ]


def encoded(text: str) -> bytes:
    """SQLite text may hold no NUL, and accounts of anonymous callers begin with one; bytes may."""
    return text.encode()


def decoded(stored: bytes) -> str:
    return stored.decode("utf-8", "replace")
