"""Small ledgers for the commands that read them: counters, lives and acts put in as a gateway would have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.ledger import acts as table
from gateway.ledger.cells import LATENCY, PLACES, WIDTH, Row, packed
from gateway.ledger.database import Database
from gateway.ledger.spool_file import LifeRow
from gateway.ledger.store import Store
from gateway.sla.ledger import Ledger
from policies.sla.agreement import Plan
from policies.sla.chain import Act, Link, append
from policies.sla.period import period
from policies.sla.promises import Promises

MONTH = period("2026-04")
START, END = MONTH.start_s, MONTH.end_s
MINUTE, HOUR, DAY = 60, 3_600, 86_400
FINAL = END + 6 * DAY
"""A moment at which the month is final."""

PLAN = Plan(
    promises=Promises(
        service={"target": "99.9"}, tiers={"premium": {"target": "99.9"}, "basic": {"target": None}},
        owners={"crm": "managed"}, groups={"crm": ("crm",)},
    ),
    tiers={"acme": "premium", "globex": "basic", "initech": "premium"},
)  # fmt: skip
_CAUSES = {cause: place for (_, cause), place in PLACES.items()}


def counted(
    slot_s: int, tenant: str = "acme", group: str = "crm", *, replica: str = "a", boot: str = "b1", seq: int = 1,
    **causes: int,
) -> Row:  # fmt: skip
    """``ok=19, gateway=1``: a cell with so many of each, all of them answered within 25 ms."""
    counters = [0] * WIDTH
    for cause, number in causes.items():
        counters[_CAUSES[cause]] = number
    counters[LATENCY + 2] = sum(counters[:3])
    return Row(slot_s, tenant, group, replica, boot, seq, packed(counters))


def minutes(first_s: int, number: int, tenant: str = "acme", group: str = "crm", **facts: Any) -> list[Row]:
    return [counted(first_s + at * MINUTE, tenant, group, **facts) for at in range(number)]


def life(from_s: int, to_s: int, replica: str = "a", boot: str = "b1") -> LifeRow:
    return LifeRow(replica, boot, from_s, to_s, 0)


WHOLE = life(START - 2 * DAY, END + 2 * DAY)
"""One replica that lived all the time."""


OPENED: list[Store] = []
"""Closed by the fixture of ``conftest`` when a test ends."""


def store(url: str, rows: Iterable[Row] = (), lives: Iterable[LifeRow] = (WHOLE,)) -> Store:
    made = Store(Database(url))
    OPENED.append(made)
    made.open()
    made.receive(list(rows), list(lives), 2**40)
    return made


def ledger(url: str, rows: Iterable[Row] = (), lives: Iterable[LifeRow] = (WHOLE,), plan: Plan = PLAN) -> Ledger:
    return Ledger(store(url, rows, lives), plan)


def reopened(found: Ledger) -> Ledger:
    """The same with what was recorded since."""
    return Ledger(found.store, found.plan)


def recorded(found: Ledger, *acts: Act) -> Ledger:
    """The ledger with acts of any time, as its log took them then."""

    def linked(log: tuple[Link, ...], _: int | None) -> list[Link]:
        links = list(log)
        for act in acts:
            links.append(append(links[-1] if links else None, act))
        return links[len(log) :]

    table.extend(found.store.database, linked)
    return reopened(found)


def act(kind: str, at_s: int, content: Mapping[str, object], actor: str = "on-call") -> Act:
    return Act(kind=kind, actor=actor, at_s=at_s, content=content)
