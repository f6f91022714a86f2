"""The shared store: counters of all replicas, and what an evaluation reads of them (spec D1, D3, D7).

Receiving is idempotent and takes any order: a row gives way to a higher sequence alone, an interval to a later end.
Every method blocks and raises ``StoreError``; one thread per instance. Nothing is judged here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from heapq import merge
from itertools import groupby
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, bindparam, delete, func, select

from gateway.ledger import days, imported
from gateway.ledger.cells import ELIGIBLE, LATENCY, PLACES, WIDTH, Counters, Row, added, packed, requests, unpacked
from gateway.ledger.database import Database, StoreError
from gateway.ledger.days import DAY_S, Entry
from gateway.ledger.imported import MANY, Probes, insert_into, upsert
from gateway.ledger.spool_file import LifeRow
from gateway.ledger.tables import alive_interval, name, packed_day, slot_counter
from policies.sla.cases import CaseEvent
from policies.sla.counters import AHEAD_S
from policies.sla.imports import Edge, Probe

log = logging.getLogger("tiergate.ledger")

RETENTION_S = 403 * DAY_S
"""Thirteen of the longest months: twelve of history and the open one (D7)."""
EDGE = "edge:"
"""How the replicas are called whose counters were imported from a source at the edge (D4)."""


class Store:
    """``refused`` counts the requests of slots too far ahead."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._ids: dict[str, int] = {}
        self.refused = 0

    def open(self) -> None:
        """Make or migrate the tables. Also after every failure. Raises ``StateError`` for those of a newer version."""
        self._ids.clear()
        self.database.migrate()

    def close(self) -> None:
        self.database.close()

    # --- writing ----------------------------------------------------------------------------------------------------

    def receive(self, cells: Sequence[Row], lives: Sequence[LifeRow], now_s: int) -> None:
        """Take what a replica sends, all or nothing; ``now_s`` is the receiver's own time."""
        timely = [row for row in cells if row.slot_s - now_s <= AHEAD_S]
        lived = [life for life in lives if life.from_s - now_s <= AHEAD_S]
        values = [value for row in timely if (value := _value(row)) is not None]
        refused = sum(_requests(row) for row in cells if row.slot_s - now_s > AHEAD_S)
        ids = self._numbered({*_names(timely), *(text for life in lived for text in life[:2])})
        with self.database.writing() as connection:
            if values:
                connection.execute(
                    upsert(connection, slot_counter, "seq"), [_with_ids(value, ids, _NAMED) for value in values]
                )
            if lived:
                connection.execute(
                    upsert(connection, alive_interval, "to_s"),
                    [_with_ids(life._asdict(), ids, ("replica", "boot")) for life in lived],
                )
        if refused:
            log.warning("%d requests of minutes more than %d s ahead were refused: a clock is wrong", refused, AHEAD_S)
        self.refused += refused

    def receive_edge(self, source: str, counts: Iterable[Edge], seq: int, now_s: int) -> None:
        """Take what an edge counted: as failures of ours, of a replica of its own. Later imports replace earlier."""
        self.receive([_edge_row(EDGE + source, each, seq) for each in counts], [], now_s)

    def receive_probes(self, found: Sequence[Probe], seq: int) -> None:
        """Take what vantage points found. Later imports replace earlier."""
        ids = self._numbered({each.point for each in found})
        with self.database.writing() as connection:
            imported.put_probes(connection, found, ids, seq)

    def receive_events(self, events: Sequence[CaseEvent], seq: int) -> None:
        """Take events of support cases. Raises ``ValueError`` for a ticket that would be two tenants'."""
        with self.database.writing(alone=True) as connection:
            imported.put_events(connection, events, seq)

    def check_events(self, events: Sequence[CaseEvent]) -> None:
        """Raises ``ValueError`` as ``receive_events`` would."""
        with self.database.reading() as connection:
            imported.check_tenants(connection, events)

    def _numbered(self, texts: Collection[str]) -> Mapping[str, int]:
        """The numbers of ``texts``, given out where there are none yet: in order, so that two writers never lock up."""
        missing = sorted(text for text in texts if text not in self._ids)
        if missing:
            with self.database.writing() as connection:
                connection.execute(
                    insert_into(connection, name).on_conflict_do_nothing(), [{"text": text} for text in missing]
                )
                found = _ids_of(connection, missing)
            self._ids |= found  # once they are committed
        return self._ids

    def pack(self, before_s: int, until: Callable[[], bool] = lambda: False) -> int:
        """Pack every UTC day that ends at ``before_s`` or earlier and has rows; how many tenant-days that were.

        For days that are finalised. Safe at any time and to repeat: rows that come later are read beside the packed
        ones, and the next call packs them in. ``until`` is asked between two days whether to leave the rest.
        """
        limit_s, count = before_s // DAY_S * DAY_S, 0
        for tenant in self._tenant_ids(slot_counter):
            while not until() and (day_s := self._first_day(tenant, limit_s)) is not None:
                self._pack(tenant, day_s)
                count += 1
        return count

    def _first_day(self, tenant: int, limit_s: int) -> int | None:
        first = select(func.min(slot_counter.c.slot_s)).where(
            slot_counter.c.tenant == tenant, slot_counter.c.slot_s < limit_s
        )
        with self.database.reading() as connection:
            slot_s = connection.execute(first).scalar()
        return None if slot_s is None else slot_s // DAY_S * DAY_S

    def _pack(self, tenant: int, day_s: int) -> None:
        """Rows leave and the packed day comes in one transaction; of two who pack, one waits."""
        counter, packed = slot_counter.c, packed_day.c
        with self.database.writing(alone=True) as connection:
            rows = connection.execute(
                delete(slot_counter)
                .where(counter.tenant == tenant, *_during(counter.slot_s, day_s, day_s + DAY_S))
                .returning(counter.tenant, *_ENTRY)
            ).all()
            known = connection.execute(
                select(packed.cells).where(packed.tenant == tenant, packed.day_s == day_s)
            ).scalar()
            entries = [*(_entry(row)[1] for row in rows), *(days.unpacked(known, day_s) if known is not None else ())]
            data = days.packed(days.newest(entries).values(), day_s)
            put = insert_into(connection, packed_day).values(tenant=tenant, day_s=day_s, cells=data)
            connection.execute(
                put.on_conflict_do_update(index_elements=["tenant", "day_s"], set_={"cells": put.excluded.cells})
            )

    def has_before(self, before_s: int) -> bool:
        """Whether ``forget`` would find anything."""
        limit_s = before_s // DAY_S * DAY_S
        ends = (slot_counter.c.slot_s, packed_day.c.day_s, alive_interval.c.to_s, *imported.ENDS)
        with self.database.reading() as connection:
            return any(
                connection.execute(select(column).where(column < limit_s).limit(1)).first() is not None
                for column in ends
            )

    def forget(self, before_s: int, now_s: int) -> None:
        """Delete what ended before ``before_s``. Raises ``ValueError`` within the retention (D7)."""
        if now_s - before_s < RETENTION_S:
            raise ValueError(f"minutes are kept for {RETENTION_S // DAY_S} days")
        limit_s = before_s // DAY_S * DAY_S
        with self.database.writing(alone=True) as connection:
            connection.execute(delete(slot_counter).where(slot_counter.c.slot_s < limit_s))
            connection.execute(delete(packed_day).where(packed_day.c.day_s < limit_s))
            connection.execute(delete(alive_interval).where(alive_interval.c.to_s < limit_s))
            imported.forget(connection, limit_s)

    # --- reading ----------------------------------------------------------------------------------------------------

    def cells(self, tenant: str, from_s: int, to_s: int) -> Iterator[tuple[int, str, Counters]]:
        """``(slot, route group, counters)`` of the minutes that begin in ``[from_s, to_s)``, in order of time.

        Added up over replicas and boots. One view of the store from the first to the last.
        """
        with self.database.reading() as connection:
            texts: dict[int, str] = {}
            numbers = _ids_of(connection, [tenant]).values()
            with closing(_slots(connection, list(numbers), from_s, to_s)) as slots:
                for slot_s, summed in slots:
                    _learn(connection, texts, summed.keys())
                    yield from sorted((slot_s, texts[number], counters) for number, counters in summed.items())

    def platform(self, from_s: int, to_s: int) -> Iterator[tuple[int, str, Counters]]:
        """The same, added up over all tenants, calls without a tenant included (T10)."""
        numbers = self._tenant_ids(slot_counter, packed_day)
        total: dict[tuple[int, int], Counters] = {}
        texts: dict[int, str] = {}
        with self.database.reading() as connection:
            for at in range(0, len(numbers), MANY):
                with closing(_slots(connection, numbers[at : at + MANY], from_s, to_s)) as slots:
                    for slot_s, summed in slots:
                        for group, counters in summed.items():
                            _add(total, (slot_s, group), counters)
            _learn(connection, texts, {group for _, group in total})
        yield from sorted((slot_s, texts[group], counters) for (slot_s, group), counters in total.items())

    def tenants(self) -> list[str]:
        """Whoever has minutes in the store."""
        texts: dict[int, str] = {}
        numbers = self._tenant_ids(slot_counter, packed_day)
        with self.database.reading() as connection:
            _learn(connection, texts, numbers)
        return sorted(texts.values())

    def _tenant_ids(self, *where: Table) -> list[int]:
        """One look-up per tenant in the primary key, where DISTINCT would read every row."""
        found: set[int] = set()
        with self.database.reading() as connection:
            for table in where:
                query = select(func.min(table.c.tenant)).where(table.c.tenant > bindparam("last"))
                last = -1
                while (tenant := connection.execute(query, {"last": last}).scalar()) is not None:
                    found.add(tenant)
                    last = tenant
        return sorted(found)

    def alive(self, from_s: int, to_s: int) -> dict[tuple[str, str], list[tuple[int, int]]]:
        """When each boot of each replica lived, within ``[from_s, to_s)`` (D3)."""
        interval, replica, boot = alive_interval.c, name.alias("replica"), name.alias("boot")
        query = (
            select(replica.c.text, boot.c.text, interval.from_s, interval.to_s)
            .join_from(alive_interval, replica, interval.replica == replica.c.id)
            .join(boot, interval.boot == boot.c.id)
            .where(interval.to_s > from_s, interval.from_s < to_s)
            .order_by(replica.c.text, boot.c.text, interval.from_s)
        )
        lives: dict[tuple[str, str], list[tuple[int, int]]] = {}
        with self.database.reading() as connection:
            for replica_name, boot_name, start_s, end_s in connection.execute(query):
                lives.setdefault((replica_name, boot_name), []).append((max(start_s, from_s), min(end_s, to_s)))
        return lives

    def probes(self, from_s: int, to_s: int) -> Probes:
        """What was found from outside within ``[from_s, to_s)`` (T9)."""
        with self.database.reading() as connection:
            return imported.probes(connection, from_s, to_s)

    def support_events(self, tenant: str, from_s: int, to_s: int) -> tuple[CaseEvent, ...]:
        """All events of the tenant's cases that were received in ``[from_s, to_s)``, whenever they came (SC5)."""
        with self.database.reading() as connection:
            return imported.support_events(connection, tenant, from_s, to_s)

    def began_s(self) -> int | None:
        """When the first replica of all that the store knows began to live."""
        return self._of_lives(func.min(alive_interval.c.from_s))

    def shipped_s(self) -> int | None:
        """Until when the latest heartbeat vouches."""
        return self._of_lives(func.max(alive_interval.c.to_s))

    def _of_lives(self, what: ColumnElement[int]) -> int | None:
        with self.database.reading() as connection:
            return connection.execute(select(what)).scalar()


_Key = TypeVar("_Key")
_NAMED = ("tenant", "route_group", "replica", "boot")
_SUMS = ("good", "bad", "ignored")
_ENTRY = tuple(
    slot_counter.c[column] for column in ("slot_s", "route_group", "replica", "boot", "seq", "counters", *_SUMS)
)


def _names(rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        yield from (row.tenant, row.group, row.replica, row.boot)


def _value(row: Row) -> dict[str, Any] | None:
    """What is inserted, names still as text; None, logged, for a row that was damaged on the disk."""
    try:
        counters = unpacked(row.counters)
    except ValueError as error:
        log.error("minute %d of tenant %r is damaged in the spool and lost: %s", row.slot_s, row.tenant, error)
        return None
    return {
        "tenant": row.tenant, "slot_s": row.slot_s, "route_group": row.group, "replica": row.replica, "boot": row.boot,
        "seq": row.seq, "counters": row.counters, **dict(zip(_SUMS, _sums(counters), strict=True)),
    }  # fmt: skip


def _sums(counters: Counters) -> tuple[int, int, int]:
    return counters[0], sum(counters[1:ELIGIBLE]), sum(counters[ELIGIBLE:LATENCY])


def _edge_row(replica: str, each: Edge, seq: int) -> Row:
    counters = [0] * WIDTH
    counters[PLACES["bad", "gateway"]] = each.failed
    return Row(each.slot_s, each.tenant, each.group, replica, "import", seq, packed(counters))


def _requests(row: Row) -> int:
    try:
        return requests(unpacked(row.counters))
    except ValueError:
        return 0


def _with_ids(value: dict[str, Any], ids: Mapping[str, int], named: Iterable[str]) -> dict[str, Any]:
    return value | {column: ids[value[column]] for column in named}


def _ids_of(connection: Connection, texts: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for at in range(0, len(texts), MANY):
        rows = connection.execute(select(name.c.text, name.c.id).where(name.c.text.in_(texts[at : at + MANY])))
        found |= {row.text: row.id for row in rows}
    return found


def _learn(connection: Connection, texts: dict[int, str], numbers: Collection[int]) -> None:
    """Have the texts of ``numbers`` in ``texts``."""
    missing = sorted(set(numbers) - texts.keys())
    for at in range(0, len(missing), MANY):
        rows = connection.execute(select(name.c.id, name.c.text).where(name.c.id.in_(missing[at : at + MANY])))
        texts |= {row.id: row.text for row in rows}


def _during(column: ColumnElement[int], from_s: int, to_s: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return column >= from_s, column < to_s


def _entry(row: Sequence[Any]) -> tuple[int, Entry]:
    """Raises ``ValueError`` for a row that its sums say is damaged: SQLite has no checksums that would."""
    tenant, slot_s, route_group, replica, boot, seq, packed_, *sums = row
    counters = unpacked(packed_)
    if _sums(counters) != tuple(sums):
        raise ValueError(f"a row of minute {slot_s} is damaged: its counters are not what they add up to beside them")
    return tenant, Entry(slot_s, route_group, replica, boot, seq, counters)


def _slots(
    connection: Connection, tenants: Sequence[int], from_s: int, to_s: int
) -> Generator[tuple[int, dict[int, Counters]], None, None]:
    """``(slot, counters by route group)`` of each tenant in turn, in order of time, of packed days and of rows."""
    counter, packed = slot_counter.c, packed_day.c
    kept = (
        select(packed.tenant, packed.day_s, packed.cells)
        .where(packed.tenant.in_(tenants), *_during(packed.day_s, from_s - DAY_S + 1, to_s))
        .order_by(packed.tenant, packed.day_s)
    )
    rows = (
        select(counter.tenant, *_ENTRY)
        .where(counter.tenant.in_(tenants), *_during(counter.slot_s, from_s, to_s))
        .order_by(counter.tenant, counter.slot_s)
    )
    with (
        connection.execute(kept, execution_options={"yield_per": 50}) as packs,
        connection.execute(rows, execution_options={"yield_per": 5_000}) as single,
    ):
        entries = merge(_of_days(packs, from_s, to_s), map(_entry, single), key=_tenant_and_slot)
        for (_, slot_s), found in groupby(entries, key=_tenant_and_slot):
            yield slot_s, _by_group(entry for _, entry in found)


def _tenant_and_slot(each: tuple[int, Entry]) -> tuple[int, int]:
    return each[0], each[1].slot_s


def _of_days(packs: Iterable[Any], from_s: int, to_s: int) -> Iterator[tuple[int, Entry]]:
    for tenant, day_s, data in packs:
        for entry in sorted(days.unpacked(data, day_s)):
            if from_s <= entry.slot_s < to_s:
                yield tenant, entry


def _by_group(entries: Iterable[Entry]) -> dict[int, Counters]:
    """One slot's cells: the highest sequence of each key, replicas and boots added (D1)."""
    found = list(entries)
    summed: dict[int, Counters] = {}
    for entry in found if len(found) == 1 else days.newest(found).values():
        _add(summed, entry.route_group, entry.counters)
    return summed


def _add(total: dict[_Key, Counters], key: _Key, counters: Counters) -> None:
    known = total.get(key)
    total[key] = counters if known is None else added(known, counters)


__all__ = ["RETENTION_S", "Store", "StoreError"]
