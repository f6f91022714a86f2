"""What others saw, in the shared store: probes from outside, events of support cases (spec T9, SC5).

Each row has the number of the act by which it was imported, and gives way to a later one alone, so that an import may
be repeated and two may cross. What an edge counted stands among the counters (D4). Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from sqlalchemy import Connection, Table, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from gateway.ledger.tables import name, probe_result, support_event
from policies.sla.cases import ACTORS, KINDS, CaseEvent
from policies.sla.imports import Probe
from policies.sla.spans import Spans, spans
from policies.sla.support import Severity

MANY = 500
"""Values in one list of a query; SQLite has a limit."""


ENDS = (probe_result.c.to_s, support_event.c.at_s)
"""What ``forget`` goes by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """``points`` are all vantage points that found anything, good or bad; ``failing`` when each could not reach us."""

    points: tuple[str, ...]
    failing: Mapping[str, Spans]


def insert_into(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def upsert(connection: Connection, table: Table, rank: str) -> sqlite.Insert | postgresql.Insert:
    """Insert; a row that is there is replaced by one of a higher ``rank`` only."""
    put = insert_into(connection, table)
    keys = [column.name for column in table.primary_key]
    replaced = {column.name: put.excluded[column.name] for column in table.columns if column.name not in keys}
    return put.on_conflict_do_update(index_elements=keys, set_=replaced, where=put.excluded[rank] > table.c[rank])


def put_probes(connection: Connection, probes: Iterable[Probe], ids: Mapping[str, int], seq: int) -> None:
    """``ids``: the numbers of the points' names."""
    rows = [
        {"point": ids[each.point], "from_s": each.from_s, "to_s": each.to_s, "ok": int(each.ok), "seq": seq}
        for each in probes
    ]
    if rows:
        connection.execute(upsert(connection, probe_result, "seq"), rows)


def probes(connection: Connection, from_s: int, to_s: int) -> Probes:
    """Within ``[from_s, to_s)``."""
    result = probe_result.c
    query = (
        select(name.c.text, result.from_s, result.to_s, result.ok)
        .join_from(probe_result, name, result.point == name.c.id)
        .where(result.to_s > from_s, result.from_s < to_s)
    )
    failing: dict[str, list[tuple[int, int]]] = {}
    points: set[str] = set()
    for point, start_s, end_s, ok in connection.execute(query):
        points.add(point)
        if not ok:
            failing.setdefault(point, []).append((max(start_s, from_s), min(end_s, to_s)))
    return Probes(points=tuple(sorted(points)), failing={point: spans(failing[point]) for point in sorted(failing)})


def check_tenants(connection: Connection, events: Sequence[CaseEvent]) -> None:
    """Raises ``ValueError`` for a ticket that would be two tenants'."""
    known: dict[tuple[str, str], str] = {}
    for source, ticket, tenant in _tenants_of(connection, {(each.source, each.ticket) for each in events}):
        known[source, ticket] = tenant
    for each in events:
        tenant = known.setdefault((each.source, each.ticket), each.tenant)
        if tenant != each.tenant:
            raise ValueError(f"event {each.id!r}: ticket {each.ticket!r} belongs to {tenant!r}, not to {each.tenant!r}")


def _tenants_of(connection: Connection, of: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    column = support_event.c
    query = select(column.source, column.ticket, column.tenant).where(
        column.source == bindparam("of"), column.ticket.in_(bindparam("listed", expanding=True))
    )
    tickets: dict[str, list[str]] = {}
    for source, ticket in sorted(of):
        tickets.setdefault(source, []).append(ticket)
    for source, listed in tickets.items():
        for at in range(0, len(listed), MANY):
            rows = connection.execute(query, {"of": source, "listed": listed[at : at + MANY]})
            yield from ((row.source, row.ticket, row.tenant) for row in rows)


def put_events(connection: Connection, events: Sequence[CaseEvent], seq: int) -> None:
    """Raises ``ValueError`` as ``check_tenants`` does."""
    check_tenants(connection, events)
    rows = [
        {
            "source": each.source, "id": each.id, "ticket": each.ticket, "tenant": each.tenant, "at_s": each.at_s,
            "kind": each.kind, "actor": each.actor, "severity": each.severity or "", "seq": seq,
        }
        for each in events
    ]  # fmt: skip
    if rows:
        connection.execute(upsert(connection, support_event, "seq"), rows)


def support_events(connection: Connection, tenant: str, from_s: int, to_s: int) -> tuple[CaseEvent, ...]:
    """All events, of whenever, of the tenant's cases that were received in ``[from_s, to_s)``."""
    column, opened = support_event.c, support_event.alias("opened")
    received = select(opened.c.source, opened.c.ticket).where(
        opened.c.tenant == tenant, opened.c.kind == "opened", opened.c.at_s >= from_s, opened.c.at_s < to_s
    )
    before = select(opened.c.source, opened.c.ticket).where(
        opened.c.tenant == tenant, opened.c.kind == "opened", opened.c.at_s < from_s
    )
    listed = set(map(tuple, connection.execute(received))) - set(map(tuple, connection.execute(before)))
    found: list[CaseEvent] = []
    for source in sorted({source for source, _ in listed}):
        tickets = sorted(ticket for of, ticket in listed if of == source)
        for at in range(0, len(tickets), MANY):
            query = select(support_event).where(
                column.source == source, column.ticket.in_(tickets[at : at + MANY]), column.tenant == tenant
            )
            found += map(_event, connection.execute(query))
    return tuple(sorted(found, key=lambda each: (each.at_s, each.source, each.id)))


def _event(row: Any) -> CaseEvent:
    return CaseEvent(
        source=row.source, id=row.id, ticket=row.ticket, tenant=row.tenant, at_s=row.at_s,
        kind=next(each for each in KINDS if each == row.kind),
        actor=next(each for each in ACTORS if each == row.actor),
        severity=next((each for each in get_args(Severity) if each == row.severity), None),
    )  # fmt: skip


def forget(connection: Connection, before_s: int) -> None:
    """Delete what ended before ``before_s``."""
    connection.execute(delete(probe_result).where(probe_result.c.to_s < before_s))
    connection.execute(delete(support_event).where(support_event.c.at_s < before_s))
