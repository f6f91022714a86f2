"""The append-only table of recorded acts: one after another, each bound to the one before.

What an act says and whether it is taken is decided by whoever makes the links; here they get their place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import orjson
from sqlalchemy import Connection, insert, select, text

from gateway.ledger.database import Database
from gateway.ledger.tables import act
from policies.sla.canonical import canonical
from policies.sla.chain import ORIGIN, Act, Break, Link


class ActRow(NamedTuple):
    """``seq`` counts from 1; ``at_s`` is the recorder's time; ``content`` is JSON, kept byte for byte."""

    seq: int
    at_s: int
    actor: str
    kind: str
    content: str
    previous: str
    hash: str


def extend(database: Database, make: Callable[[tuple[Link, ...], int | None], Sequence[Link]]) -> tuple[Link, ...]:
    """Add what ``make`` makes of the whole log and of the database server's time, in Unix seconds.

    That time is None for a file, which has no clock of its own. Nobody else adds anything meanwhile. Raises
    ``ValueError`` for a log that was altered, because whatever is added would vouch for it, and for links that do not
    continue it; ``StoreError``; and what ``make`` raises. Then nothing is added.
    """
    with database.writing(alone=True) as connection:
        rows = list(_rows(connection, 0))
        found = broken(rows)
        if found is not None:
            said = f"act {found.number}: {found.reason}"
            raise ValueError(f"the log is not as it was recorded: {said}; nothing is added")
        made = tuple(make(tuple(map(link_of, rows)), _server_time_s(connection)))
        _add(connection, rows[-1] if rows else None, [row_of(each) for each in made])
    return made


def acts(database: Database, after: int = 0) -> Iterator[ActRow]:
    """All acts in their order, from the one behind number ``after`` on."""
    with database.reading() as connection:
        yield from _rows(connection, after)


def links(database: Database) -> tuple[Link, ...]:
    """The whole log. Raises ``StoreError``, and ``ValueError`` for a row that no link was written as."""
    return tuple(map(link_of, acts(database)))


def broken(rows: Iterable[ActRow]) -> Break | None:
    """The first row that does not hold, None when all do: ``chain.verify`` of what is kept, without reading it.

    A hash is over canonical JSON, and that is what ``content`` is kept as. So its bytes are hashed as they stand, in a
    tenth of the time; a row that holds here alone was not written by ``row_of``.
    """
    last, at_s, number = ORIGIN, None, 0
    for number, row in enumerate(rows, 1):
        if row.seq != number:
            return Break(number=number, reason=f"number {row.seq} stands in place {number}")
        if row.previous != last:
            return Break(number=number, reason="it does not continue the link before it")
        if at_s is not None and row.at_s < at_s:
            return Break(number=number, reason="it is dated before a link before it")
        if _hash(row) != row.hash:
            return Break(number=number, reason="its content is not what was recorded")
        last, at_s = row.hash, row.at_s
    return None


def _hash(row: ActRow) -> str:
    actor, kind = canonical(row.actor), canonical(row.kind)
    act_ = b'{"actor":%b,"at":%d,"content":%b,"kind":%b}' % (actor, row.at_s, row.content.encode(), kind)
    return hashlib.sha256(b'{"act":%b,"previous":"%b"}' % (act_, row.previous.encode())).hexdigest()


def link_of(row: ActRow) -> Link:
    """The link of a row, its hash unchecked. Raises ``ValueError`` for content that is no JSON object."""
    try:
        content = orjson.loads(row.content)
    except orjson.JSONDecodeError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"act {row.seq} of the ledger is damaged: its content is no JSON object")
    act_ = Act(kind=row.kind, actor=row.actor, at_s=row.at_s, content=content)
    return Link(number=row.seq, act=act_, previous=row.previous, hash=row.hash)


def row_of(link: Link) -> ActRow:
    """The row that a link is kept as: its content in canonical form, over which its hash is."""
    return ActRow(
        seq=link.number, at_s=link.act.at_s, actor=link.act.actor, kind=link.act.kind,
        content=canonical(link.act.content).decode(), previous=link.previous, hash=link.hash,
    )  # fmt: skip


def _add(connection: Connection, last: ActRow | None, rows: Sequence[ActRow]) -> None:
    for row in rows:
        if row.seq != (1 if last is None else last.seq + 1) or (last is not None and row.previous != last.hash):
            raise ValueError(f"act {row.seq} does not continue the last one")
        last = row
    if rows:
        connection.execute(insert(act), [row._asdict() for row in rows])


def _rows(connection: Connection, after: int) -> Iterator[ActRow]:
    for found in connection.execute(select(act).where(act.c.seq > after).order_by(act.c.seq)):
        yield ActRow._make(found)


def _server_time_s(connection: Connection) -> int | None:
    """Of this moment: the transaction may have waited since it began."""
    if connection.dialect.name == "sqlite":
        return None
    return int(connection.execute(text("SELECT floor(extract(epoch FROM clock_timestamp()))")).scalar_one())
