"""The made-up month: the same for a seed, marked wherever it is shown, and with something to say for every rule."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from gateway.ledger.cells import requests
from gateway.ledger.database import Database
from gateway.sla import mock_ledger, mock_month
from gateway.sla import report as formats
from gateway.sla.ledger import Ledger
from gateway.sla.mock_ledger import NotEmpty, NotPossible, made, month_of
from policies.sla.chain import Act
from policies.sla.export import read, write
from policies.sla.period import period
from policies.sla.quarter import quarterly
from policies.sla.record import SYNTHETIC, monthly
from policies.sla.register import complaint
from policies.sla.verification import verification
from tests.gateway.sla.ledgers import FINAL, START, WHOLE, act, counted, ledger, recorded

MONTH = period("2026-02")
"""The shortest one."""
HOURS = 40


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    url = f"sqlite:///{tmp_path_factory.mktemp('mock') / 'ledger.sqlite'}"
    shown: list[int] = []
    found = made(Database(url), MONTH, 7, 4, shown.append)
    assert shown == list(range(1, mock_ledger.steps(MONTH) + 1))
    yield found
    found.close()


def published(found: Ledger, tenant: str | None) -> dict[str, Any]:
    return dict(found.register.closed(tenant, MONTH.name)[-1].record)


def test_a_seed_makes_one_month_and_another_seed_another() -> None:
    def first(seed: int) -> list[Any]:
        return list(islice(mock_month.cells(MONTH, seed, 3), HOURS))

    assert first(7) == first(7)
    assert first(7) != first(8)


def test_nobody_counts_while_nobody_lives_or_nobody_gets_through(rehearsal: Ledger) -> None:
    told = mock_month.story(MONTH)
    for start, end in (told.dark, told.edge):
        around = rehearsal.store.platform(start - 3_600, end + 3_600)
        counted = {slot_s for slot_s, _, counters in around if requests(counters)}
        assert counted
        assert not any(slot_s >= start and slot_s + 60 <= end for slot_s in counted)


def test_every_record_says_that_it_is_made_up(rehearsal: Ledger) -> None:
    assert rehearsal.links[0].act.kind == SYNTHETIC
    for tenant in ("acme", "globex", "initech", "tenant-4", None):
        record = published(rehearsal, tenant)
        assert record["synthetic"]
        assert b"Synthetic data." in formats.as_html(record)
        assert b"\r\nsynthetic,,,yes\r\n" in formats.as_csv(record)


def test_a_record_of_a_real_ledger_does_not(url: str) -> None:
    found = ledger(url)
    record = monthly(found.current("acme", "2026-04", FINAL))
    assert not record["synthetic"]
    assert b"Synthetic" not in formats.as_html(record)


@pytest.mark.parametrize("tenant", ["acme", "globex", None])
def test_each_export_gives_the_published_record(rehearsal: Ledger, tenant: str | None) -> None:
    closed = rehearsal.register.closed(tenant, MONTH.name)[-1]
    export = read(write(rehearsal.as_published(closed)))
    assert verification(export, dict(closed.record)).findings == ()


def test_the_month_has_something_to_say_for_every_rule(rehearsal: Ledger) -> None:
    record = published(rehearsal, "acme")
    lengths = sorted(each["seconds"] for each in record["windows"])
    assert lengths == [360, 420, 480, 720, 840, 1_500, 7_140]  # edge, dark, storm, upstream, late, power, maintenance
    assert record["figure"]["downtime_seconds"] == 720 + 540 + 360 + 840 + 420 + 480
    assert record["figure"]["degraded_seconds"] >= 48 * 60  # an hour of four bad minutes in five (T5)
    assert {each["id"]: (each["verdict"], each["reason"]) for each in record["exclusions"]} == {
        "db-upgrade": ("partly", "not_worked_in"), "hotfix": ("rejected", "short_notice"),
        "power-failure": ("accepted", None), "storm": ("rejected", "not_approved"),
    }  # fmt: skip
    assert record["requests"]["ignored"]["third_party"] > 100
    assert (record["figure"]["verdict"], record["credit"]["percent"]) == ("missed", "10")
    assert record["sla"]["version"]["number"] == "1.0.0"
    assert any(each["of"].startswith("S2") or "S2" in each["of"] for each in record["violations"])


def test_the_three_tiers_come_to_three_verdicts(rehearsal: Ledger) -> None:
    verdicts = {name: published(rehearsal, name)["figure"]["verdict"] for name in ("acme", "globex", "initech")}
    assert verdicts == {"acme": "missed", "globex": "no_promise", "initech": "met"}


def test_one_credit_is_claimed(rehearsal: Ledger) -> None:
    claims = {whose: claim.state for whose, claim in rehearsal.register.claims.items()}
    assert claims == {("acme", MONTH.name): "claimed"}


def test_a_quarter_with_a_made_up_month_is_made_up(rehearsal: Ledger) -> None:
    record = published(rehearsal, "acme")
    others = [rehearsal_of(record, name) for name in ("2026-01", "2026-03")]
    whole = quarterly([record, *others])
    assert whole["synthetic"]
    assert b"Synthetic data." in formats.as_html(whole)


def rehearsal_of(record: dict[str, Any], name: str) -> dict[str, Any]:
    return {**record, "synthetic": False, "period": {**record["period"], "name": name}}


@pytest.mark.parametrize("what", ["minutes", "lives", "acts"])
def test_a_ledger_with_anything_in_it_is_left_alone(url: str, what: str) -> None:
    found = ledger(url, [counted(START, ok=1)] if what == "minutes" else (), [WHOLE] if what == "lives" else ())
    if what == "acts":
        recorded(found, act("note", START, {"text": "mine"}))
    before = (found.store.tenants(), found.store.began_s(), len(Ledger(found.store, found.plan).links))
    with pytest.raises(NotEmpty, match="has something in it"):
        made(Database(url), MONTH, 7, 3, lambda done: None)
    assert (found.store.tenants(), found.store.began_s(), len(Ledger(found.store, found.plan).links)) == before


def test_only_a_month_that_could_have_been_closed_and_claimed_is_made() -> None:
    late = MONTH.end_s + mock_ledger.CLAIMED_AFTER_S
    assert month_of(MONTH.name, late) == MONTH
    for name, now_s in ((MONTH.name, late - 1), ("2026-Q1", 2**33), ("2026", 2**33), ("2026-13", 2**33)):
        with pytest.raises(NotPossible):
            month_of(name, now_s)


def test_its_acts_are_such_as_the_log_takes(rehearsal: Ledger) -> None:
    """The register has read them; each must also be sound by itself, but for the mark."""
    acts: list[Act] = [link.act for link in rehearsal.links]
    assert [complaint(each) for each in acts] == [None] * len(acts)
    assert [each.at_s for each in acts] == sorted(each.at_s for each in acts)
