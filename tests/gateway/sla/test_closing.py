"""Closing a month: when it may be, what a second look finds, and who has to agree to it (spec P6, D6)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.sla import closing as closing_
from gateway.sla.closing import Closing, closing, refusal, too_early
from gateway.sla.exporting import FINAL_AFTER_S
from gateway.sla.ledger import Ledger, missed_before
from gateway.sla.recording import append
from policies.sla.closed import CLOSE
from policies.sla.evidence_form import input_sha256
from policies.sla.export import read, write
from policies.sla.record import monthly
from policies.sla.terms import Chronic
from policies.sla.verification import verification
from tests.gateway.sla.ledgers import (
    DAY,
    END,
    FINAL,
    HOUR,
    MINUTE,
    MONTH,
    START,
    act,
    ledger,
    minutes,
    recorded,
    reopened,
)

NOON = START + 10 * DAY + 12 * HOUR
OUTAGE = minutes(NOON, 50, ok=1, gateway=9)


def found(ledger_: Ledger, tenant: str | None = "acme", now_s: int = FINAL) -> Closing:
    basis = ledger_.current(tenant, MONTH.name, now_s)
    published = ledger_.register.closed(tenant, MONTH.name)
    if not published:
        basis = replace(basis, head=replace(basis.head, published_at_s=now_s))
    return closing(monthly(basis), published[-1] if published else None)


def closed(ledger_: Ledger, tenant: str | None = "acme", now_s: int = FINAL, by: str = "service-manager") -> Ledger:
    """Through the rules of real acts, on a clock of its own."""
    append(ledger_.store.database, [(CLOSE, found(ledger_, tenant, now_s).content)], by, lambda: now_s)
    return reopened(ledger_)


# --- when ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known_s", "now_s", "early", "said"),
    [
        (END, END + FINAL_AFTER_S, False, None),
        (END, END + FINAL_AFTER_S - 1, False, "is final at 2026-05-06T00:00:00Z"),
        (END, END + FINAL_AFTER_S - 1, True, None),  # on request
        (END, END + 1, True, None),
        (END - 60, END + 180, True, "knows 2026-04 only until 2026-04-30T23:59:00Z"),  # a spool may hold the rest
        (END - 60, END - 1, True, "nothing can be closed before"),
    ],
)
def test_a_month_is_closed_when_it_is_final(known_s: int, now_s: int, early: bool, said: str | None) -> None:
    why = too_early(MONTH, known_s, now_s, early=early)
    assert (why is None) if said is None else said in str(why)


# --- what ---------------------------------------------------------------------------------------------------------


def test_a_first_record_is_published_with_its_claim_window(url: str) -> None:
    first = found(ledger(url, OUTAGE))
    assert (first.step, refusal(first, "anybody", approved=False)) == ("first", None)
    assert first.record["period"]["published_at"] == "2026-05-07T00:00:00Z"
    assert first.record["credit"]["claim_before"] == "2026-06-06T00:00:00Z"  # from then on


def test_the_evidence_of_a_closed_month_is_that_of_its_record_whatever_is_recorded_later(url: str) -> None:
    once = closed(closed(ledger(url, OUTAGE)), None)
    later = recorded(once, act("note", 2**40, {"text": "later"}))
    for tenant in ("acme", None):
        published = later.register.closed(tenant, MONTH.name)[-1]
        evidence = later.as_published(published)
        assert input_sha256(evidence) == published.input_sha256
        assert verification(read(iter(write(evidence))), dict(published.record)).is_confirmed


def test_nothing_changed_is_no_revision(url: str) -> None:
    once = closed(ledger(url, OUTAGE))
    again = found(once, now_s=FINAL + DAY)
    assert (again.step, again.record["revision"]) == ("unchanged", 2)
    assert again.changes == ()


def test_late_failures_make_a_revision_that_applies_at_once(url: str) -> None:
    once = closed(ledger(url, OUTAGE))
    once.store.receive(minutes(NOON + 50 * MINUTE, 10, ok=1, gateway=9), [], FINAL)
    again = found(reopened(once), now_s=FINAL + DAY)
    assert (again.step, again.favour) == ("applies", "customer")
    assert refusal(again, "service-manager", approved=False) is None
    paths = {each.path: (each.old, each.new) for each in again.changes}
    assert paths["figure.downtime_seconds"] == (3_000, 3_600)
    assert paths["windows.0.to"] == ("2026-04-11T12:50:00Z", "2026-04-11T13:00:00Z")
    assert not any(path.startswith(("log", "revision", "input_sha256", "period")) for path in paths)
    twice = closed(reopened(once), now_s=FINAL + DAY)
    assert [each.revision for each in twice.register.closed("acme", MONTH.name)] == [1, 2]
    assert twice.register.closed("acme", MONTH.name)[-1].record["period"]["published_at"] == "2026-05-07T00:00:00Z"


def test_late_successes_wait_for_another_person(url: str) -> None:
    once = closed(ledger(url, OUTAGE))
    once.store.receive(minutes(NOON, 50, ok=500, replica="b"), [], FINAL)
    again = found(reopened(once), now_s=FINAL + DAY)
    assert (again.step, again.favour) == ("needs_approval", "provider")
    assert "--approve" in str(refusal(again, "lead", approved=False))
    assert "another person" in str(refusal(again, "service-manager", approved=True))
    assert refusal(again, "lead", approved=True) is None


def test_a_change_that_favours_nobody_waits_too(url: str) -> None:
    once = closed(ledger(url, OUTAGE))
    once.store.receive(minutes(NOON + DAY, 1, ok=5), [], FINAL)
    again = found(reopened(once))
    assert (again.step, again.favour) == ("needs_approval", "neither")
    assert {each.path.split(".")[0] for each in again.changes} == {"requests", "latency"}


def test_evidence_that_came_late_is_no_longer_that_of_the_record(url: str) -> None:
    once = closed(ledger(url, OUTAGE))
    once.store.receive(minutes(NOON + DAY, 1, ok=5), [], FINAL)
    published = once.register.closed("acme", MONTH.name)[-1]
    assert input_sha256(reopened(once).as_published(published)) != published.input_sha256


def test_earlier_misses_are_those_that_were_published(url: str) -> None:
    once = closed(ledger(url, OUTAGE))
    agreed = once.agreement("acme", "2026-05")
    chronic = replace(agreed, terms=replace(agreed.terms, chronic=Chronic(misses=2, months=2)))
    assert missed_before(once.register, chronic) == (MONTH.name,)
    long_ago = replace(chronic, terms=replace(agreed.terms, chronic=Chronic(misses=1, months=1)))
    assert missed_before(once.register, long_ago) == ()
    assert missed_before(once.register, agreed) == ()


def test_what_became_of_it_is_said_in_words(url: str) -> None:
    once = closed(ledger(url, OUTAGE))
    once.store.receive(minutes(NOON, 50, ok=500, replica="b"), [], FINAL)
    again = found(reopened(once))
    said = list(closing_.lines(again, "somebody else has to"))
    assert said[0].startswith("acme, 2026-04: revision 2 not published (100.0000 %, 0 s of downtime, met")
    assert said[1] == "  somebody else has to"
    assert "  figure.downtime_seconds: 3000 -> 0" in said
    assert closing_.as_value(again, "no")["published"] is False
