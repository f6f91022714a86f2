"""``tiergate mock ledger``: a made-up month in an empty ledger, with its acts, closed, and marked as made up.

What happens in the month is ``mock_month``'s. Its acts are dated as if they had been recorded then, which the commands
for real acts never do; hence the mark in the log, which every record that is made from it repeats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from gateway.demo import POLICIES
from gateway.ledger import acts as table
from gateway.ledger.database import Database
from gateway.ledger.store import Store
from gateway.policy_files import load
from gateway.progress import Show
from gateway.sla import mock_month
from gateway.sla.closing import closing
from gateway.sla.ledger import Ledger, fee_from
from gateway.sla.mock_month import DAY_S, HOUR_S, MINUTE_S, Story, Trouble
from policies.sla.acts import ANNOUNCE, APPROVE, EXCLUDE, WORK
from policies.sla.agreement import Plan, plan_of
from policies.sla.canonical import digest
from policies.sla.chain import Act, Link, append
from policies.sla.claims import CLAIM
from policies.sla.closed import CLOSE
from policies.sla.contract import BIND
from policies.sla.instants import written
from policies.sla.period import Period, month
from policies.sla.promises import common_value
from policies.sla.publication import VERSION
from policies.sla.record import SYNTHETIC, monthly
from policies.sla.register import IMPORT

CLOSED_AFTER_S: Final = 6 * DAY_S
CLAIMED_AFTER_S: Final = 9 * DAY_S
AT_ONCE: Final = 10_000
"""Rows of one transaction."""
TEXT: Final = "Service level agreement of a service that does not exist. The policy of this version is the whole of it."
CLAIMANT: Final = "acme"
FEES: Final = {"acme": "4800.00 EUR", "initech": "900.00 EUR"}


class NotEmpty(Exception):
    """The ledger has something in it already; the text says what to do."""


class NotPossible(Exception):
    """No such month can be made."""


def month_of(name: str, now_s: int) -> Period:
    """Raises ``NotPossible`` for a month that is none, and for one that could not have been closed yet."""
    try:
        found = month(name)
    except ValueError as error:
        raise NotPossible(str(error)) from error
    if found.end_s + CLAIMED_AFTER_S > now_s:
        raise NotPossible(f"{name} is not long enough over to be closed and claimed: name an earlier month")
    return found


def steps(month: Period) -> int:
    """Of ``made``, for a bar."""
    return (month.seconds + 2 * mock_month.AROUND_S) // HOUR_S


def made(database: Database, month: Period, seed: int, tenants: int, show: Show) -> Ledger:
    """Make the month. Raises ``NotEmpty``, ``StoreError`` and ``StateError``; what it raises leaves the rest unmade."""
    store = Store(database)
    try:
        store.open()
        _check_empty(store)
        plan = demo_plan()
        _recorded(database, before(month, seed, tenants, plan))
        _counted(store, month, seed, tenants, show)
        _recorded(database, during(month))
        _imported(store, month)
        _closed(store, plan, month)
        return Ledger(store, plan)
    except BaseException:
        store.close()
        raise


def _check_empty(store: Store) -> None:
    if store.tenants() or store.began_s() is not None or table.links(store.database):
        raise NotEmpty(
            f"the ledger {store.database.name} has something in it, and made-up evidence is never mixed with real: "
            "name an empty --state-dir or --ledger"
        )


def demo_plan() -> Plan:
    """The promises of the demo's policy files."""
    loaded = load(POLICIES, env={}, secrets_dir=None)
    if loaded.policy is None:
        raise NotPossible(f"the demo's policy {POLICIES} cannot be read")
    return plan_of(loaded.policy)


def _counted(store: Store, month: Period, seed: int, tenants: int, show: Show) -> None:
    at_s = month.end_s + CLOSED_AFTER_S
    store.receive((), mock_month.lives(month), at_s)
    held: list[Any] = []
    for hour, rows in enumerate(mock_month.cells(month, seed, tenants), 1):
        held += rows
        if len(held) >= AT_ONCE:
            store.receive(held, (), at_s)
            held = []
        show(hour)
    store.receive(held, (), at_s)


def _imported(store: Store, month: Period) -> None:
    """As if a prober and a help desk had sent it after the month's end: each with the act that says so."""
    found, told = mock_month.probes(month), mock_month.cases(month)
    sources = (("probes", "prober", found), ("support", mock_month.HELPDESK, told))
    acts = (
        _act(
            month.end_s + DAY_S, "on-call", IMPORT, what=what, source=source, lines=len(lines),
            sha256=digest([str(each) for each in lines]), **_whole(month),
        )
        for what, source, lines in sources
    )  # fmt: skip
    links = _recorded(store.database, acts)
    store.receive_probes(found, links[0].number)
    store.receive_events(told, links[1].number)


def _whole(month: Period) -> dict[str, str]:
    return {"from": written(month.start_s), "to": written(month.end_s)}


def _recorded(database: Database, acts: Iterable[Act]) -> tuple[Link, ...]:
    """With the times that they are made with, not the clock's."""

    def linked(log: tuple[Link, ...], _: int | None) -> list[Link]:
        links = list(log)
        for act in acts:
            links.append(append(links[-1] if links else None, act))
        return links[len(log) :]

    return table.extend(database, linked)


# --- acts ---------------------------------------------------------------------------------------------------------


def before(month: Period, seed: int, tenants: int, plan: Plan) -> Iterator[Act]:
    """What was recorded before the month began."""
    start = month.start_s
    note = "made up by tiergate mock ledger: no service, no customer and no incident of it is real"
    yield _act(start - 40 * DAY_S, "tiergate mock ledger", SYNTHETIC, month=month.name, seed=seed, note=note)
    yield _act(
        start - 30 * DAY_S, "release-manager", VERSION,
        id="demo", version="1.0.0", effective_from=written(start), text=TEXT, policy=common_value(plan.promises),
    )  # fmt: skip
    for name in mock_month.names(tenants):
        if name not in plan.tiers:
            yield _act(
                start - 29 * DAY_S,
                "account-manager",
                BIND,
                tenant=name,
                tier="basic",
                begins=True,
                **{"from": written(start)},
            )


def during(month: Period) -> list[Act]:
    """What was announced and excluded, in the order of time."""
    told = mock_month.story(month)
    return sorted([*_maintenance(told), *_others(told)], key=lambda act: act.at_s)


def _maintenance(told: Story) -> Iterator[Act]:
    """One that was announced in time and overran by nine minutes, one that was announced too late."""
    window = {
        "from": written(told.maintenance.from_s - 10 * MINUTE_S),
        "to": written(told.maintenance.to_s - 9 * MINUTE_S),
    }
    announced = told.maintenance.from_s - 6 * DAY_S
    yield _act(announced, "on-call", ANNOUNCE, id="db-upgrade", **window, note="upgrade of the database")
    yield _act(told.maintenance.to_s + 5 * MINUTE_S, "on-call", WORK, id="db-upgrade", **_window(told.maintenance))
    late = told.unannounced
    window = {"from": written(late.from_s - 5 * MINUTE_S), "to": written(late.to_s + 21 * MINUTE_S)}
    yield _act(late.from_s - 30 * HOUR_S, "on-call", ANNOUNCE, id="hotfix", **window, note="urgent security update")


def _others(told: Story) -> Iterator[Act]:
    """One that a second person approved, one that nobody did."""
    yield _excluded(told.power, "power-failure", "the region lost power", "report 25-1 of the operator of the region")
    yield _act(
        told.power.to_s + 30 * HOUR_S, "service-manager", APPROVE, id="power-failure", note="the operator's report read"
    )
    yield _excluded(told.storm, "storm", "a storm cut a line", "photograph of the line")


def _excluded(trouble: Trouble, id: str, reason: str, evidence: str) -> Act:
    return _act(
        trouble.to_s + 4 * HOUR_S, "on-call", EXCLUDE,
        id=id, type="force_majeure", **_window(trouble), reason=reason, evidence=evidence,
    )  # fmt: skip


def _window(trouble: Trouble) -> dict[str, str]:
    return {"from": written(trouble.from_s), "to": written(trouble.to_s)}


def _act(at_s: int, actor: str, kind: str, **content: object) -> Act:
    return Act(kind=kind, actor=actor, at_s=at_s, content=content)


# --- the end ------------------------------------------------------------------------------------------------------


def _closed(store: Store, plan: Plan, month: Period) -> None:
    """Records of all, published; one credit is claimed."""
    at_s = month.end_s + CLOSED_AFTER_S
    ledger = Ledger(store, plan)
    closes = []
    for tenant in (*(name for name in ledger.tenants() if ledger.has_terms(name)), None):
        basis = ledger.current(tenant, month.name, at_s, fee=fee_from(FEES[tenant]) if tenant in FEES else None)
        record = monthly(replace(basis, head=replace(basis.head, published_at_s=at_s)))
        closes.append(_act(at_s, "service-manager", CLOSE, **closing(record, None).content))
    _recorded(store.database, closes)
    if any(_is_claimed(act) for act in closes):
        claimed = {"tenant": CLAIMANT, "period": month.name, "to": "claimed"}
        _recorded(store.database, [_act(month.end_s + CLAIMED_AFTER_S, "account-manager", CLAIM, **claimed)])


def _is_claimed(act: Act) -> bool:
    record: Any = act.content["record"]
    return act.content["tenant"] == CLAIMANT and record["credit"]["percent"] != "0"
