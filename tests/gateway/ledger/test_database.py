"""Opening the shared store while others do."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from gateway.ledger.database import Database


def test_a_file_that_somebody_else_begins_is_opened_once_they_are_done(tmp_path: Path) -> None:
    """Going over to a write-ahead log is where SQLite itself does not wait, as when several replicas start at once."""
    path = tmp_path / "ledger.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE found (a)")
    other.execute("BEGIN IMMEDIATE")
    leaving = threading.Timer(0.2, other.close)
    leaving.start()
    database = Database(f"sqlite:///{path}")
    database.migrate()
    database.close()
    leaving.join()
    assert not leaving.is_alive()
