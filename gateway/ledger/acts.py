"""The append-only table of recorded acts: one after another, each naming the hash of the one before (RULINGS 26).

What an act says, and what its hash is over, is decided by whoever makes the row; here it gets its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from sqlalchemy import Connection, insert, select

from gateway.ledger.database import Database
from gateway.ledger.tables import act


class ActRow(NamedTuple):
    """``seq`` counts from 1; ``at_s`` is the recorder's time; ``content`` is JSON, kept byte for byte."""

    seq: int
    at_s: int
    actor: str
    kind: str
    content: str
    previous: str
    hash: str


def append(database: Database, make: Callable[[ActRow | None], ActRow]) -> ActRow:
    """Add what ``make`` makes of the last row (None for the first); nobody else appends meanwhile.

    Raises ``ValueError`` for a row that does not continue the last one, ``StoreError``, and what ``make`` raises;
    then nothing is added.
    """
    with database.writing(alone=True) as connection:
        last = _last(connection)
        row = make(last)
        if row.seq != (1 if last is None else last.seq + 1) or (last is not None and row.previous != last.hash):
            raise ValueError(f"act {row.seq} does not continue the last one")
        connection.execute(insert(act).values(row._asdict()))
    return row


def acts(database: Database, after: int = 0) -> Iterator[ActRow]:
    """All acts in their order, from the one behind number ``after`` on."""
    with database.reading() as connection:
        for found in connection.execute(select(act).where(act.c.seq > after).order_by(act.c.seq)):
            yield ActRow._make(found)


def _last(connection: Connection) -> ActRow | None:
    found = connection.execute(select(act).order_by(act.c.seq.desc()).limit(1)).one_or_none()
    return None if found is None else ActRow._make(found)
