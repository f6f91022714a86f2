"""From the ledger to the evidence: what is merged, how far it is known, and what a tenant is shown of others."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from gateway.sla.exporting import FINAL_AFTER_S, Publication, shown_platform
from gateway.sla.ledger import Broken, Ledger, NoSuch, links
from policies.sla.acts import EXCLUDE
from policies.sla.chain import Withheld
from policies.sla.counters import Counts
from policies.sla.evidence import Alive, Basis, Head, Row, dark_time, figure
from policies.sla.export import read, write
from policies.sla.histogram import BUCKETS
from policies.sla.imports import Probe
from policies.sla.instants import written
from policies.sla.record import monthly
from policies.sla.terms import SlaTerms
from policies.sla.verification import verification
from tests.gateway.sla.ledgers import (
    DAY,
    END,
    FINAL,
    HOUR,
    MINUTE,
    MONTH,
    PLAN,
    START,
    WHOLE,
    act,
    counted,
    ledger,
    life,
    minutes,
    recorded,
)

NOON = START + 10 * DAY + 12 * HOUR
HOSTILE = 'o"ther</script>\n{{7*7}}\u2028'


def basis(found: Ledger, tenant: str | None = "acme", now_s: int = FINAL) -> Basis:
    return found.current(tenant, MONTH.name, now_s)


def own(evidence: Basis) -> list[Row]:
    return [row for row in evidence.rows if row.tenant is not None]


# --- counters -----------------------------------------------------------------------------------------------------


def test_replicas_and_boots_add_and_the_highest_sequence_wins(url: str) -> None:
    rows = [
        counted(NOON, ok=5, seq=1), counted(NOON, ok=9, gateway=1, seq=2), counted(NOON, ok=7, replica="b"),
        counted(NOON, ok=2, boot="b2"), counted(NOON, group="code", third_party=4),
    ]  # fmt: skip
    crm, code = sorted(own(basis(ledger(url, rows))), key=lambda row: row.group, reverse=True)
    assert (crm.counts.good, dict(crm.counts.failed)) == (18, {"gateway": 1})
    assert (code.counts.good, dict(code.counts.failed)) == (0, {"third_party": 4})
    assert sum(crm.counts.latency) == 19
    assert len(crm.counts.latency) == BUCKETS


def test_packed_days_are_the_same_evidence(url: str) -> None:
    rows = [*minutes(NOON, 30, ok=19, gateway=1), *minutes(NOON, 30, "globex", ok=3), *minutes(END, 5, ok=1)]
    found = ledger(url, rows)
    before = [*write(basis(found)), *write(basis(found, None))]
    assert found.store.pack(FINAL)
    again = Ledger(found.store, found.plan)
    assert [*write(basis(again)), *write(basis(again, None))] == before


def test_the_month_and_a_day_on_both_sides_are_exported_and_nothing_else(url: str) -> None:
    slots = [START - DAY - MINUTE, START - DAY, END + DAY - MINUTE, END + DAY]
    found = ledger(url, [counted(slot, ok=1) for slot in slots])
    assert [row.slot_s for row in own(basis(found))] == slots[1:3]


def test_an_export_is_confirmed_and_gives_the_record(url: str) -> None:
    evidence = basis(ledger(url, [*minutes(NOON, 20, ok=2, gateway=3), *minutes(NOON, 90, "globex", ok=1, gateway=1)]))
    export = read(iter(write(evidence)))
    assert verification(export, monthly(evidence)).is_confirmed
    assert monthly(evidence)["figure"]["downtime_seconds"] == 90 * MINUTE  # 20 of its own, 70 inherited


# --- life ---------------------------------------------------------------------------------------------------------


def test_it_is_dark_where_no_replica_lived(url: str) -> None:
    lives = [
        life(START - DAY, NOON), life(NOON + 420, END + DAY, boot="b2"),
        life(START - DAY, NOON + 60, "b"), life(NOON + 400, END + DAY, "b", "b2"),
    ]  # fmt: skip
    evidence = basis(ledger(url, (), lives))
    assert dark_time(evidence) == ((NOON + 60, NOON + 400),)
    assert figure(evidence).downtime_seconds == 340


def test_intervals_that_overlap_after_a_clock_was_set_back_are_one(url: str) -> None:
    lives = [life(START - 3 * DAY, START + HOUR), life(START - 2 * DAY, END + DAY), life(START + 1, START + 2)]
    evidence = basis(ledger(url, (), lives))
    assert [(each.from_s, each.to_s) for each in evidence.alive] == [(START - DAY, END + DAY)]
    assert read(iter(write(evidence))).basis.alive == evidence.alive


def test_an_edge_that_most_vantage_points_could_not_reach_is_dark(url: str) -> None:
    found = ledger(url)
    points = ("eu", "us", "ap")
    probes = [Probe(point=each, from_s=NOON, to_s=NOON + 360, ok=each == "ap") for each in points]
    found.store.receive_probes(probes, 1)
    evidence = basis(Ledger(found.store, found.plan))
    assert evidence.head.vantage_points == tuple(sorted(points))
    assert figure(evidence).downtime_seconds == 360
    assert verification(read(iter(write(evidence)))).is_confirmed


# --- how far it is known ------------------------------------------------------------------------------------------


def test_the_last_open_minutes_are_not_dark(url: str) -> None:
    found = ledger(url, (), [life(START - DAY, NOON)])
    evidence = basis(found, now_s=NOON + 90)
    assert evidence.head.known_until_s == NOON - MINUTE  # now less the grace, in whole minutes
    assert figure(evidence).uptime_percent == "100.0000"


def test_silence_is_not_judged_while_it_may_be_a_store_that_is_away(url: str) -> None:
    found = ledger(url, (), [life(START - DAY, NOON + 42)])
    evidence = basis(found, now_s=NOON + 2 * DAY)
    assert evidence.head.known_until_s == NOON
    assert figure(evidence).downtime_seconds == 0


def test_once_the_month_is_final_no_data_is_never_up(url: str) -> None:
    found = ledger(url, (), [life(START - DAY, NOON)])
    assert figure(basis(found, now_s=END + FINAL_AFTER_S - 1)).downtime_seconds == 0
    assert figure(basis(found, now_s=END + FINAL_AFTER_S)).downtime_seconds == END - NOON


def test_before_the_service_began_there_is_no_data(url: str) -> None:
    found = ledger(url, (), [life(NOON, END + DAY)])
    evidence = basis(found)
    assert evidence.head.contract == (NOON, None)
    assert (figure(evidence).downtime_seconds, figure(evidence).force_seconds) == (0, END - NOON)


def test_a_contract_that_says_when_it_begins_is_judged_from_then_on(url: str) -> None:
    found = ledger(url, (), [life(NOON, END + DAY)])
    bind = {"tenant": "acme", "tier": "premium", "from": written(START), "begins": True}
    evidence = basis(recorded(found, act("bind", START - DAY, bind)))
    assert figure(evidence).downtime_seconds == NOON - START


def test_an_empty_ledger_has_no_data_and_no_uptime(url: str) -> None:
    found = ledger(url, (), ())
    for tenant in ("acme", None):
        record = monthly(basis(found, tenant))
        assert (record["figure"]["uptime_percent"], record["figure"]["verdict"]) == (None, "no_data")


def test_evidence_of_a_moment_stays_what_it_was_while_the_replicas_live_on(url: str) -> None:
    rows = minutes(END - HOUR, 60, ok=1)
    then = basis(ledger(url, rows, [life(START - DAY, END + HOUR)]), now_s=END + HOUR)
    found = ledger(url, [*rows, *minutes(END + HOUR, 60, ok=1)], [life(START - DAY, END + DAY)])
    agreed = found.agreement("acme", MONTH.name)
    assert found.basis(agreed, Publication(known_until_s=then.head.known_until_s)) == then


# --- what a tenant is shown ---------------------------------------------------------------------------------------


def test_an_export_shows_nothing_of_another_tenant(url: str) -> None:
    plan_names = {"acme": "premium", HOSTILE: "premium"}
    rows = [
        *minutes(NOON, 10, ok=1), *minutes(NOON, 15, HOSTILE, "secret-group", ok=987_654),
        *minutes(NOON + 20 * MINUTE, 8, HOSTILE, "secret-group", ok=876_543, gateway=765_432, own_limit=654_321),
    ]  # fmt: skip
    found = ledger(url, rows, plan=replace(PLAN, tiers=plan_names))
    content = {
        "id": "theirs", "type": "force_majeure", "from": written(NOON), "to": written(NOON + HOUR),
        "reason": "private", "evidence": "secret", "tenant": HOSTILE,
    }  # fmt: skip
    found = recorded(found, act(EXCLUDE, END, content))
    text = "".join(write(basis(found)))
    for secret in ("ther</script", "secret", "private", "theirs", "987654", "654321"):
        assert secret not in text
    assert isinstance(basis(found).acts[0], Withheld)
    theirs = "".join(write(basis(found, HOSTILE)))
    assert "private" in theirs
    assert verification(read(iter(write(basis(found, HOSTILE))))).is_confirmed
    assert figure(basis(found)).downtime_seconds == 8 * MINUTE  # it was idle while the platform was down


@pytest.mark.parametrize("seed", range(25))
def test_what_is_left_out_of_the_platform_decides_nothing(seed: int) -> None:
    chance = random.Random(seed)
    slot_s = chance.choice([60, 300])
    terms = SlaTerms(slot_seconds=slot_s, min_requests_per_slot=chance.choice([1, 1, 30]), min_run_seconds=300)
    platform = [_drawn(chance, None, START + at * MINUTE, group) for at in range(120) for group in ("", "crm", "code")]
    mine = [_drawn(chance, "acme", START + at * MINUTE, "crm") for at in range(120) if chance.random() < 0.3]
    head = Head(tenant="acme", period=MONTH, terms=terms, known_until_s=FINAL)
    alive = (Alive(replica="a", boot="b", from_s=START - DAY, to_s=END + DAY),)
    whole = Basis(head=head, rows=(*mine, *platform), alive=alive)
    shown = Basis(head=head, rows=(*mine, *shown_platform(platform, terms, ())), alive=alive)
    assert len(shown.rows) < len(whole.rows)
    assert figure(shown) == figure(whole)


def test_a_slot_of_several_minutes_is_shown_whole() -> None:
    """Ten failures beside four hundred good requests are no bad slot; alone they would be."""
    terms = SlaTerms(slot_seconds=300)
    rows = [Row(slot_s=NOON, tenant=None, group="crm", counts=Counts(failed={"gateway": 10}))]
    good = Counts(good=100)
    rows += [Row(slot_s=NOON + at * MINUTE, tenant=None, group="crm", counts=good) for at in range(1, 5)]
    shown = shown_platform(rows, terms, ())
    assert [(row.slot_s, row.counts.good) for row in shown] == [(row.slot_s, row.counts.good) for row in rows]


def _drawn(chance: random.Random, tenant: str | None, slot_s: int, group: str) -> Row:
    storm = START + 1_200 <= slot_s < START + 5_400 and chance.random() < 0.9
    failed = {"gateway": chance.randrange(20, 90)} if storm else {"own_limit": 1} if chance.random() < 0.3 else {}
    return Row(slot_s=slot_s, tenant=tenant, group=group, counts=Counts(good=chance.randrange(0, 40), failed=failed))


def test_a_group_that_an_exclusion_names_is_told_apart(url: str) -> None:
    rows = [
        *minutes(NOON, 10, "globex", "crm", ok=100, gateway=90),
        *minutes(NOON, 10, "globex", "code", ok=100, gateway=1),
    ]
    content = {
        "id": "x", "type": "third_party", "from": written(NOON), "to": written(NOON + HOUR), "reason": "r",
        "evidence": "e", "group": "crm",
    }  # fmt: skip
    approval = act("approve", END + 1, {"id": "x"}, "lead")
    assert figure(basis(ledger(url, rows))).downtime_seconds == 10 * MINUTE
    found = recorded(ledger(url), act(EXCLUDE, END, content), approval)
    assert {row.group for row in basis(found).rows} == {"crm", ""}
    assert figure(basis(found)).downtime_seconds == 0


def test_terms_of_platform_scope_are_judged_by_all_of_it() -> None:
    rows = [Row(slot_s=NOON, tenant=None, group="crm", counts=Counts(good=3))]
    assert shown_platform(rows, SlaTerms(scope="platform"), ()) == tuple(rows)
    assert shown_platform(rows, SlaTerms(idle_inherits_platform=False), ()) == ()


# --- what is not there --------------------------------------------------------------------------------------------


def test_an_unknown_tenant_is_answered_with_the_nearest_name(url: str) -> None:
    found = ledger(url, [counted(NOON, "wayne", ok=1)])
    with pytest.raises(NoSuch, match="did you mean 'acme'"):
        basis(found, "acmee")
    with pytest.raises(NoSuch, match="'wayne' has minutes in the ledger, but no tier"):
        basis(found, "wayne")


def test_a_month_that_has_not_begun_is_no_month_to_be_judged(url: str) -> None:
    with pytest.raises(NoSuch, match="2026-04 has not begun"):
        basis(ledger(url), now_s=START)
    assert basis(ledger(url), now_s=START + 1).head.known_until_s == START - 2 * MINUTE


def test_a_damaged_day_is_named_and_no_figure_made_of_it(url: str) -> None:
    found = ledger(url, minutes(NOON, 3, ok=1))
    found.store.pack(FINAL)
    with found.store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE packed_day SET cells = substr(cells, 1, 20)")
    with pytest.raises(Broken, match="damaged"):
        basis(Ledger(found.store, found.plan))


def test_a_log_that_was_altered_is_refused(url: str) -> None:
    found = recorded(ledger(url), act("note", START, {"text": "as it was"}), act("note", START, {"text": "later"}))
    with found.store.database.writing() as connection:
        connection.exec_driver_sql("""UPDATE act SET content = '{"text":"as it suits"}' WHERE seq = 1""")
    with pytest.raises(Broken, match="act 1"):
        links(found.store.database)


def test_a_replica_that_lived_all_the_time_makes_a_clean_month(url: str) -> None:
    evidence = basis(ledger(url, (), [WHOLE]))
    assert figure(evidence).uptime_percent == "100.0000"
