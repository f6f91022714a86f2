"""What others counted, in the store: however often and in whatever order it was imported, the latest holds."""

from __future__ import annotations

import random

import pytest

from gateway.ledger.days import DAY_S
from gateway.ledger.imported import MANY, Probes
from gateway.ledger.store import RETENTION_S, Store
from policies.sla.cases import CaseEvent, Kind
from policies.sla.imports import Edge, Probe
from policies.sla.support import Severity
from tests.gateway.ledger.recording import NOON_S
from tests.gateway.ledger.test_store import EVER, good, row


def edge(failed: int, *, minute: int = 0, tenant: str = "acme") -> Edge:
    return Edge(slot_s=NOON_S + 60 * minute, tenant=tenant, group="crm", failed=failed)


def probe(point: str, first: int, last: int, *, ok: bool = False) -> Probe:
    return Probe(point=point, from_s=NOON_S + first, to_s=NOON_S + last, ok=ok)


def event(
    id: str, kind: Kind, *, ticket: str = "T1", at: int = 0, tenant: str = "acme", source: str = "desk",
    severity: Severity | None = None,
) -> CaseEvent:  # fmt: skip
    actor = "customer" if kind == "opened" else "staff"
    severity = severity or ("S2" if kind == "opened" else None)
    return CaseEvent(
        source=source, id=id, ticket=ticket, tenant=tenant, at_s=NOON_S + at, kind=kind, actor=actor, severity=severity
    )  # fmt: skip


def bad(store: Store, tenant: str = "acme") -> dict[int, int]:
    """Failures of the gateway by minute from noon."""
    return {(slot_s - NOON_S) // 60: each[1] for slot_s, _, each in store.cells(tenant, *EVER)}


def test_what_an_edge_counted_is_added_to_what_the_replicas_counted(store: Store) -> None:
    """D4."""
    store.receive([row(7, bad=1)], [], NOON_S)
    store.receive_edge("lb", [edge(5), edge(2, minute=1), edge(9, tenant="")], 1, NOON_S + 60)
    store.receive_edge("lb-us", [edge(3)], 2, NOON_S + 60)
    assert bad(store) == {0: 9, 1: 2}
    assert good(store) == {0: 7, 1: 0}
    assert [each[1] for _, _, each in store.platform(*EVER)] == [18, 2]
    assert store.alive(*EVER) == {}, "an edge that counts is no replica that lives"


@pytest.mark.parametrize("seed", range(4))
def test_imports_may_be_repeated_and_cross_and_be_packed(store: Store, seed: int) -> None:
    imports = [([edge(5), edge(2, minute=1)], 3), ([edge(0)], 8), ([edge(4, minute=1)], 12)]
    sent = imports * 3
    random.Random(seed).shuffle(sent)
    for counts, act in sent:
        store.receive_edge("lb", counts, act, NOON_S + 60)
        if random.Random(seed).random() < 0.5:
            store.pack(NOON_S + DAY_S)
    assert bad(store) == {0: 0, 1: 4}


def test_probes_say_which_points_there_are_and_when_each_failed(store: Store) -> None:
    """T9: a point that never failed counts in the majority."""
    store.receive_probes([
        probe("p/a", 0, 30), probe("p/a", 30, 60), probe("p/a", 90, 120, ok=True), probe("p/b", 10, 20),
        probe("p/c", 0, 300, ok=True), probe("p/d", 500, 600),
    ], 1)  # fmt: skip
    assert store.probes(NOON_S + 5, NOON_S + 300) == Probes(
        points=("p/a", "p/b", "p/c"),
        failing={"p/a": ((NOON_S + 5, NOON_S + 60),), "p/b": ((NOON_S + 10, NOON_S + 20),)},
    )
    assert store.probes(0, NOON_S) == Probes(points=(), failing={})
    assert store.probes(NOON_S + 600, NOON_S + 700) == Probes(points=(), failing={})


def test_of_two_results_of_one_probe_the_later_import_holds(store: Store) -> None:
    for act, ok in ((7, False), (9, True), (8, False)):
        store.receive_probes([probe("p/a", 0, 30 + act, ok=ok)], act)
    assert store.probes(*EVER) == Probes(points=("p/a",), failing={})


def test_a_case_belongs_to_the_month_in_which_it_was_received_with_all_that_came_after(store: Store) -> None:
    told = [
        event("e1", "opened"), event("e2", "ack", at=40 * DAY_S), event("e3", "opened", ticket="T2", at=DAY_S),
        event("e4", "opened", ticket="T3", tenant="globex"), event("e5", "ack", ticket="T9"),
        event("e1", "opened", source="mail", ticket="T1", at=5),
    ]  # fmt: skip
    store.receive_events(told, 1)
    ids = [(each.source, each.id) for each in store.support_events("acme", NOON_S, NOON_S + DAY_S)]
    assert ids == [("desk", "e1"), ("mail", "e1"), ("desk", "e2")]
    assert store.support_events("acme", NOON_S + DAY_S, NOON_S + 60 * DAY_S) == (told[2],)
    assert store.support_events("globex", *EVER) == (told[3],)


def test_a_case_that_was_opened_again_stays_in_the_month_of_its_first_receipt(store: Store) -> None:
    store.receive_events([event("e1", "opened"), event("e2", "opened", at=40 * DAY_S)], 1)
    assert len(store.support_events("acme", NOON_S, NOON_S + DAY_S)) == 2
    assert store.support_events("acme", NOON_S + DAY_S, NOON_S + 60 * DAY_S) == ()


def test_an_event_is_one_however_often_it_is_told_and_the_latest_word_holds(store: Store) -> None:
    for act, severity in ((5, "S3"), (7, "S1"), (6, "S4")):
        store.receive_events([event("e1", "opened", severity=severity)], act)  # type: ignore[arg-type]
    assert [each.severity for each in store.support_events("acme", *EVER)] == ["S1"]


def test_a_ticket_is_one_tenants(store: Store) -> None:
    twice = [event("e1", "opened"), event("e2", "ack", tenant="globex")]
    with pytest.raises(ValueError, match="event 'e2': ticket 'T1' belongs to 'acme', not to 'globex'"):
        store.receive_events(twice, 1)
    assert store.support_events("acme", *EVER) == (), "all or nothing"
    store.receive_events(twice[:1], 1)
    with pytest.raises(ValueError, match="belongs to"):
        store.check_events(twice[1:])
    with pytest.raises(ValueError, match="belongs to"):
        store.receive_events([event("e0", "ack", ticket="T7"), *twice[1:]], 2)
    assert [each.id for each in store.support_events("acme", *EVER)] == ["e1"]
    store.check_events([event("e1", "opened", source="mail", tenant="globex")])


def test_more_tickets_than_a_query_takes(store: Store) -> None:
    told = [event(f"e{n}", "opened", ticket=f"T{n}", at=n) for n in range(2 * MANY + 7)]
    store.receive_events(told, 1)
    store.receive_events(told, 2)
    assert store.support_events("acme", *EVER) == tuple(told)


def test_hostile_names_are_names(store: Store) -> None:
    name = "'; DROP TABLE act; --%s:of"
    store.receive_events([event(name, "opened", ticket=name, tenant=name)], 1)
    assert store.support_events(name, *EVER) == (event(name, "opened", ticket=name, tenant=name),)


def test_what_was_imported_is_forgotten_with_its_time(store: Store) -> None:
    store.receive_edge("lb", [edge(5)], 1, NOON_S)
    store.receive_probes([probe("p/a", 0, 30), probe("p/a", 3 * DAY_S, 3 * DAY_S + 9)], 2)
    store.receive_events([event("e1", "opened"), event("e2", "opened", ticket="T2", at=3 * DAY_S)], 3)
    store.forget(NOON_S + 2 * DAY_S, NOON_S + 2 * DAY_S + RETENTION_S)
    assert bad(store) == {}
    assert list(store.probes(*EVER).failing.values()) == [((NOON_S + 3 * DAY_S, NOON_S + 3 * DAY_S + 9),)]
    assert [each.id for each in store.support_events("acme", *EVER)] == ["e2"]
