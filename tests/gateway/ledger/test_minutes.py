"""Counting on the request path: which cell, when it is taken, when it closes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from gateway.ledger.cells import LATENCY, PLACES, Cell, requests
from gateway.ledger.minutes import AHEAD_US, MINUTE_US, Minutes
from policies.sla.histogram import BOUNDS_US
from tests.gateway.facts import finished, outcome
from tests.middleware.harness import VirtualClock

SECOND = 1_000_000
NOON_US = 29_838_000 * MINUTE_US
ALL = 1_000


def begun(wall_us: int = NOON_US) -> tuple[VirtualClock, Minutes]:
    clock = VirtualClock(wall_us=wall_us)
    return clock, Minutes(clock)


def count(minutes: Minutes, known_us: int, **facts: object) -> None:
    minutes.record(finished(), outcome(known_wall_us=known_us, **facts))


def stored(flushes: Iterable[Cell]) -> Counter[tuple[int, str]]:
    """What a store holds after them: by minute and tenant, the highest sequence of each generation, added (D1)."""
    highest: dict[tuple[int, str, str, int], Cell] = {}
    for cell in flushes:
        key = (cell.slot_s, cell.tenant, cell.group, cell.generation)
        if key not in highest or cell.seq > highest[key].seq:
            highest[key] = cell
    total: Counter[tuple[int, str]] = Counter()
    for cell in highest.values():
        total[cell.slot_s, cell.tenant] += requests(cell.counters)
    return total


def test_a_request_counts_in_the_minute_in_which_its_outcome_became_known() -> None:
    """T1."""
    _, minutes = begun()
    for known_us in (NOON_US - 1, NOON_US, NOON_US + MINUTE_US - 1, NOON_US + MINUTE_US, NOON_US - 1):
        count(minutes, known_us)
    assert stored(minutes.take(ALL)) == {
        (NOON_US // SECOND - 60, "acme"): 2, (NOON_US // SECOND, "acme"): 2, (NOON_US // SECOND + 60, "acme"): 1,
    }  # fmt: skip
    assert minutes.recorded == 5


def test_class_and_latency_have_their_counters() -> None:
    _, minutes = begun()
    count(minutes, NOON_US, elapsed_us=BOUNDS_US[0] - 1)
    count(minutes, NOON_US, elapsed_us=BOUNDS_US[0])  # "under 5 ms" does not hold for 5 ms
    count(minutes, NOON_US, elapsed_us=60 * SECOND, status=502, upstream_status=502)
    (cell,) = minutes.take(ALL)
    assert cell.counters[: len(PLACES)] == (2, 0, 1, 0, 0, 0, 0, 0, 0, 0)
    assert cell.counters[LATENCY:] == (1, 1, *(0,) * 10, 1)


def test_the_latency_of_ignored_requests_is_not_counted() -> None:
    _, minutes = begun()
    count(minutes, NOON_US, status=429, origin="gateway", reason="rate-limited", over_limit=True, elapsed_us=90)
    (cell,) = minutes.take(ALL)
    assert cell.counters[PLACES["ignored", "own_limit"]] == 1
    assert sum(cell.counters[LATENCY:]) == 0


def test_a_call_without_group_or_tenant_has_a_cell_of_its_own() -> None:
    """The platform alone counts what came before a tenant was known."""
    _, minutes = begun()
    count(minutes, NOON_US, tenant="", group=None, origin="gateway", reason="auth-unavailable", status=503)
    count(minutes, NOON_US)
    assert {(cell.tenant, cell.group) for cell in minutes.take(ALL)} == {("", ""), ("acme", "crm")}


def test_only_what_changed_is_taken_and_it_is_cumulative() -> None:
    _, minutes = begun()
    count(minutes, NOON_US)
    count(minutes, NOON_US, tenant="other")
    first = minutes.take(ALL)
    assert minutes.take(ALL) == []
    count(minutes, NOON_US + 1)
    (again,) = minutes.take(ALL)
    assert (again.tenant, requests(again.counters)) == ("acme", 2)
    assert again.seq > max(cell.seq for cell in first)


def test_a_take_is_bounded_and_the_oldest_minute_comes_first() -> None:
    _, minutes = begun()
    for number in range(5):
        count(minutes, NOON_US + MINUTE_US, tenant=f"t{number}")
    for number in range(5):
        count(minutes, NOON_US, tenant=f"t{number}")
    taken = [minutes.take(4), minutes.take(4), minutes.take(4)]
    assert [len(cells) for cells in taken] == [4, 4, 2]
    assert [cell.slot_s for cell in taken[0]] == [NOON_US // SECOND] * 4
    assert sum(stored(cell for cells in taken for cell in cells).values()) == 10


def test_a_minute_leaves_memory_two_seconds_after_its_end_and_not_before_it_was_taken() -> None:
    _, minutes = begun()
    count(minutes, NOON_US)
    assert not minutes.closable(NOON_US + MINUTE_US + 2 * SECOND - 1)
    minutes.take(ALL)
    count(minutes, NOON_US + MINUTE_US - 1)
    over_us = NOON_US + MINUTE_US + 2 * SECOND
    assert minutes.closable(over_us)
    minutes.close(over_us)
    assert sum(minutes.totals().values()) == 2, "what was not taken yet stays"
    assert sum(stored(minutes.take(ALL)).values()) == 2
    minutes.close(over_us)
    assert minutes.totals() == {}
    assert not minutes.closable(over_us)
    assert minutes.recorded == 2


@pytest.mark.parametrize("back_s", [1, 3, 61, 299, 3_600, 400 * 86_400])
def test_what_comes_late_for_a_closed_minute_is_added_and_replaces_nothing(back_s: int) -> None:
    clock, minutes = begun()
    flushed: list[Cell] = []
    for _ in range(3):
        count(minutes, clock.wall)
        clock.advance(MINUTE_US + 2 * SECOND)
        flushed += minutes.take(ALL)
        minutes.close(clock.wall)
    clock.wall -= back_s * SECOND
    for _ in range(4):
        count(minutes, clock.wall)
        flushed += minutes.take(ALL)
        minutes.close(clock.wall)
        clock.advance(MINUTE_US)
    assert sum(stored(flushed).values()) == minutes.recorded == 7
    assert max(cell.generation for cell in flushed) <= 2, "one step back costs a name or two, not one a minute"


def test_a_minute_more_than_five_minutes_ahead_is_refused_and_counted() -> None:
    """D5: the clock was ahead when the outcome became known, and is right now."""
    clock, minutes = begun()
    count(minutes, clock.wall + AHEAD_US)
    count(minutes, clock.wall + AHEAD_US + MINUTE_US)
    assert (minutes.recorded, minutes.refused) == (1, 1)


def test_a_minute_that_a_clock_set_back_leaves_ahead_is_sent_and_never_continued() -> None:
    """Whoever receives it has a clock of its own to refuse it by."""
    clock, minutes = begun()
    count(minutes, clock.wall)
    clock.wall += 86_400 * SECOND
    count(minutes, clock.wall)
    clock.wall -= 86_400 * SECOND
    flushed = minutes.take(ALL)
    minutes.close(clock.wall)
    assert sum(minutes.totals().values()) == 1
    clock.wall += 86_400 * SECOND
    count(minutes, clock.wall)
    flushed += minutes.take(ALL)
    assert stored(flushed) == {(NOON_US // SECOND, "acme"): 1, (NOON_US // SECOND + 86_400, "acme"): 2}


def test_totals_name_what_they_count() -> None:
    _, minutes = begun()
    count(minutes, NOON_US)
    count(minutes, NOON_US, status=500, upstream_status=500)
    assert minutes.totals() == {("acme", "crm", "good", "ok"): 1, ("acme", "crm", "bad", "managed_upstream"): 1}
