"""The counters behind the SLA: what they say of how much they have seen."""

from __future__ import annotations

from gateway.ledger import MINUTE_US, MINUTES_KEPT, MinuteCounters
from tests.gateway.facts import WALL_US, finished, outcome


def test_every_request_is_counted_as_recorded_also_when_its_minute_is_no_longer_kept() -> None:
    counters = MinuteCounters()
    for minute in range(MINUTES_KEPT + 5):
        counters.record(finished(), outcome(known_wall_us=WALL_US + minute * MINUTE_US))
        counters.record(finished(), outcome(known_wall_us=WALL_US + minute * MINUTE_US, tenant="other", status=500))
    assert counters.recorded == 2 * (MINUTES_KEPT + 5)
    assert sum(counters.totals().values()) == 2 * MINUTES_KEPT
