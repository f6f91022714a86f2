"""Connection failures that are our own network's, whoever's hosts they were to (spec O10)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.cells import CLASSES, ELIGIBLE, LATENCY, Cell, Counters, Row, added, packed, unpacked
from gateway.ledger.days import DAY_S
from gateway.ledger.minutes import MINUTE_US, Minutes
from gateway.ledger.store import Store
from tests.gateway.facts import finished, outcome
from tests.gateway.ledger.recording import NOON_S, SECOND, recording, spooled
from tests.middleware.harness import VirtualClock

NOON_US = NOON_S * SECOND
OVER_US = NOON_US + MINUTE_US + 2 * SECOND
ALL = 1_000
UNCONNECTED: dict[str, Any] = {
    "status": 502, "origin": "gateway", "reason": "upstream-connect", "phase": "upstream_connect",
    "upstream_status": None,
}  # fmt: skip
THINKING = {"status": 504, "reason": "upstream-timeout", "phase": "upstream_wait"}
OTHERS = (("a", "one.example"), ("b", "one.example"), ("c", "two.example"))
"""Three hosts of two vendors: as few as can be our own fault."""


def host(name: str, vendor: str = "one.example", owner: str = "third_party") -> dict[str, Any]:
    return {"upstream_host": name, "vendor": vendor, "owner": owner}


def begun() -> Minutes:
    return Minutes(VirtualClock(wall_us=NOON_US))


def record(minutes: Minutes, *, at_us: int = NOON_US, sent: bool = True, **facts: Any) -> None:
    minutes.record(finished(upstream_started_us=1 if sent else None), outcome(known_wall_us=at_us, **facts))


def fail(minutes: Minutes, hosts: Iterable[tuple[str, str]] = OTHERS, **facts: Any) -> None:
    for name, vendor in hosts:
        record(minutes, **{**UNCONNECTED, **host(name, vendor), **facts})


def counted(cells: Iterable[Cell]) -> dict[str, int]:
    """By cause, the requests of cells that replaced none of one another."""
    total: Counters = (0,) * (LATENCY + 13)
    for each in cells:
        total = added(total, each.counters)
    return {cause: count for (_, cause), count in zip(CLASSES, total, strict=False) if count}


def judged(minutes: Minutes) -> dict[str, int]:
    minutes.reattribute(OVER_US)
    return counted(minutes.take(ALL))


@pytest.mark.parametrize(("owner", "cause"), [("third_party", "third_party"), ("managed", "managed_upstream")])
def test_failures_of_an_egress_fault_become_ours_when_the_minute_is_over(owner: str, cause: str) -> None:
    minutes = begun()
    fail(minutes, owner=owner, elapsed_us=7_000)
    record(minutes, **host("d"), elapsed_us=7_000)
    minutes.reattribute(OVER_US - 1)
    assert counted(minutes.take(ALL)) == {"ok": 1, cause: 3}, "nobody knows yet what the rest of the minute brings"
    minutes.reattribute(OVER_US)
    (cell,) = minutes.take(ALL)
    assert counted([cell]) == {"ok": 1, "gateway": 3}
    assert cell.counters[LATENCY:][1] == sum(cell.counters[LATENCY:]) == 4, "they count, and so does their time"


@pytest.mark.parametrize(
    ("failing", "fine"),
    [
        (OTHERS[1:], 0),  # two hosts
        ((("a", "one.example"), ("b", "one.example"), ("c", "one.example")), 0),  # one vendor: it is down
        (OTHERS, 4),  # three of seven
    ],
)
def test_too_few_hosts_or_vendors_or_less_than_half_of_the_hosts_stay_the_vendors(
    failing: Sequence[tuple[str, str]], fine: int
) -> None:
    minutes = begun()
    fail(minutes, failing)
    for number in range(fine):
        record(minutes, **host(f"fine-{number}"))
    assert judged(minutes)["third_party"] == len(failing)


def test_half_of_the_active_hosts_is_enough() -> None:
    minutes = begun()
    fail(minutes)
    for name in ("d", "e", "f", "a"):  # "a" answered once, too
        record(minutes, **host(name))
    assert judged(minutes) == {"ok": 4, "gateway": 3}


@pytest.mark.parametrize(
    "facts",
    [
        THINKING,  # it was connected
        {"status": 499, "origin": "client", "reason": None, "elapsed_us": 31 * SECOND},
        {"origin": "upstream", "reason": None, "upstream_status": 502, "phase": None},
        {"reason": "upstream-throttled", "status": 429},
    ],
)
def test_what_is_no_connection_failure_proves_nothing_and_stays(facts: dict[str, Any]) -> None:
    minutes = begun()
    fail(minutes, **facts)
    assert judged(minutes) == {"third_party": 3}
    fail(minutes, OTHERS[:2])
    assert judged(minutes) == {"third_party": 5}


@pytest.mark.parametrize("reason", ["upstream-connect", "upstream-tls", "upstream-timeout", "upstream-protocol"])
def test_every_way_not_to_be_connected_counts(reason: str) -> None:
    minutes = begun()
    fail(minutes, reason=reason)
    assert judged(minutes) == {"gateway": 3}


def test_a_host_to_which_nothing_was_sent_is_not_active() -> None:
    minutes = begun()
    fail(minutes)
    for number in range(9):
        record(minutes, sent=False, status=429, origin="upstream", reason="upstream-throttled",
               upstream_status=None, **host(f"resting-{number}"))  # fmt: skip
        record(minutes, upstream_host=None, vendor=None, owner=None)
    assert judged(minutes)["gateway"] == 3


def test_only_the_failures_to_connect_are_moved_each_in_its_own_cell() -> None:
    minutes = begun()
    fail(minutes, OTHERS[:2], tenant="acme")
    fail(minutes, OTHERS[2:], tenant="globex", group=None)
    fail(minutes, tenant="acme", **THINKING)
    minutes.reattribute(OVER_US)
    found = {cell.tenant: counted([cell]) for cell in minutes.take(ALL)}
    assert found == {"acme": {"gateway": 2, "third_party": 3}, "globex": {"gateway": 1}}


def test_a_verdict_that_was_too_early_is_taken_back_and_one_that_holds_takes_in_the_rest() -> None:
    """Between two batches of one flush more may come for a minute that is over."""
    minutes = begun()
    fail(minutes)
    assert judged(minutes) == {"gateway": 3}
    fail(minutes, OTHERS[:1])
    assert judged(minutes) == {"gateway": 4}
    for number in range(4):
        record(minutes, **host(f"fine-{number}"))
    assert judged(minutes) == {"ok": 4, "third_party": 4}
    minutes.reattribute(OVER_US)
    assert minutes.take(ALL) == [], "to ask again changes nothing"


def test_each_minute_is_judged_by_its_own_failures() -> None:
    minutes = begun()
    fail(minutes, OTHERS[:2])
    fail(minutes, OTHERS[2:], at_us=NOON_US + MINUTE_US)
    minutes.reattribute(OVER_US + MINUTE_US)
    assert counted(minutes.take(ALL)) == {"third_party": 3}


def test_what_comes_after_the_minute_was_let_go_is_judged_by_itself() -> None:
    minutes = begun()
    fail(minutes)
    minutes.reattribute(OVER_US)
    closed = minutes.take(ALL)
    minutes.close(OVER_US)
    fail(minutes, OTHERS[:2])
    minutes.reattribute(OVER_US)
    late = minutes.take(ALL)
    assert [cell.generation for cell in (*closed, *late)] == [0, 1]
    assert counted([*closed, *late]) == {"gateway": 3, "third_party": 2}


@pytest.mark.parametrize("seed", range(6))
def test_corrected_cells_come_out_right_however_they_arrive(store: Store, seed: int) -> None:
    """Flushed in parts, corrected at the end, resent, reordered, packed in between."""
    order, minutes, sent = random.Random(seed), begun(), []
    for second in range(60):
        at_us = NOON_US + second * SECOND
        record(minutes, at_us=at_us, elapsed_us=order.randrange(SECOND))
        fail(
            minutes, order.sample(OTHERS, 2) if second else OTHERS, at_us=at_us, tenant=order.choice(("acme", "globex"))
        )
        if second % 4 == 0:
            sent += minutes.take(ALL)
    minutes.reattribute(OVER_US)
    sent += minutes.take(ALL)
    rows = [Row(each.slot_s, each.tenant, each.group, "gw/0", "b", each.seq, packed(each.counters)) for each in sent]
    rows = [*rows, *order.choices(rows, k=20)]
    order.shuffle(rows)
    for at in range(0, len(rows), 5):
        store.receive(rows[at : at + 5], [], NOON_S)
        if order.random() < 0.3:
            store.pack(NOON_S + 2 * DAY_S)
    found = [counters for tenant in ("acme", "globex") for _, _, counters in store.cells(tenant, 0, NOON_S * 2)]
    total = [sum(column) for column in zip(*found, strict=True)]
    assert total[:LATENCY] == [60, 3 + 59 * 2, *(0,) * 8]
    assert sum(total[LATENCY:]) == sum(total[:ELIGIBLE])


def kept(path: Path) -> dict[str, int]:
    return counted(
        Cell(row.slot_s, row.tenant, row.group, 0, row.seq, unpacked(row.counters)) for row in spooled(path)[0]
    )


def test_the_forced_flush_of_a_minute_corrects_it(tmp_path: Path) -> None:
    ledger = recording(tmp_path / "spool-0.sqlite")
    for name, vendor in OTHERS:
        ledger.count(**{**UNCONNECTED, **host(name, vendor)})
    ledger.run(59)
    assert ledger.spool.settle(20)
    assert kept(tmp_path / "spool-0.sqlite") == {"ok": 57, "third_party": 3}, "a crash now leaves it so"
    ledger.run(4)
    assert ledger.spool.settle(20)
    assert kept(tmp_path / "spool-0.sqlite")["gateway"] == 3
    ledger.end()


def test_the_end_of_the_process_judges_the_minute_that_is_open(tmp_path: Path) -> None:
    ledger = recording(tmp_path / "spool-0.sqlite")
    for name, vendor in OTHERS:
        ledger.count(**{**UNCONNECTED, **host(name, vendor)})
    ledger.run(9)
    assert ledger.end()
    assert kept(tmp_path / "spool-0.sqlite") == {"ok": 9, "gateway": 3}
