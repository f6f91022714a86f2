"""What the ledger of minutes costs: an outcome on the request path, a flush of many cells, a row, a packed day.

    python -m loadtests.bench_ledger [--tenants 1000] [--calls 200000] [--rounds 9]

An outcome is recorded for a random tenant of those named, successes and failures mixed; a flush takes every cell that
changed. The best round counts, because anything else on the machine can only slow a round down; the median is printed
beside it. Rows and packed days are those of tenants that are busy in every minute, in SQLite files. Exits 1 when a goal
is missed.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from gateway.clock import SystemClock
from gateway.ledger import days
from gateway.ledger.cells import Row, packed
from gateway.ledger.database import Database, default_url
from gateway.ledger.minutes import Minutes
from gateway.ledger.store import Store
from gateway.ledger.tables import packed_day
from policies.exchange import Exchange, Outcome

GOAL_US = 1.5
GOAL_ROW = 70
GOAL_DAY = 25_000
BATCH = 2_000
TENANTS = 20
DAY = 20_720 * days.DAY_S
HOT = 2_000
"""Different outcomes: few enough to stay in the processor's cache, where an outcome that was just made is, too."""
ENDS: tuple[dict[str, Any], ...] = (
    {"status": 200, "upstream_status": 200},
    {"status": 200, "upstream_status": 200},
    {"status": 200, "upstream_status": 200},
    {"status": 404, "upstream_status": 404},
    {"status": 429, "origin": "gateway", "reason": "rate-limited", "over_limit": True, "upstream_status": None},
    {"status": 502, "origin": "gateway", "reason": "upstream-connect", "upstream_status": None},
)


def outcomes(tenants: int, calls: int) -> list[Outcome]:
    """``calls`` outcomes of this minute, the tenants in random order."""
    now_us = SystemClock().wall_us() // 60_000_000 * 60_000_000
    names = [f"tenant-{number}" for number in range(tenants)]
    facts: dict[str, Any] = {
        "known_wall_us": now_us, "tier": "basic", "group": "api", "route": "api", "origin": "upstream", "reason": None,
        "phase": None, "source": None, "over_limit": False, "internal": False, "truncated_by": None, "upstream": "api",
        "upstream_host": "127.0.0.1", "owner": "managed", "vendor": "example.com", "upstream_us": 4_000,
    }  # fmt: skip
    kinds = [
        Outcome(**{**facts, **random.choice(ENDS)}, tenant=name, elapsed_us=int(random.expovariate(1 / 20_000)))
        for name in names
        for _ in range(max(1, HOT // tenants))
    ]
    random.shuffle(kinds)
    return [kinds[at % len(kinds)] for at in range(calls)]


def recorded_us(ended: list[Outcome]) -> float:
    """Microseconds of CPU time for each of ``ended``, the loop itself taken off."""
    minutes, exchange = Minutes(SystemClock()), Exchange(0, 0, "bench")
    record = minutes.record
    began = time.thread_time_ns()
    for _ in ended:
        pass
    empty = time.thread_time_ns() - began
    began = time.thread_time_ns()
    for each in ended:
        record(exchange, each)
    spent = time.thread_time_ns() - began - empty
    assert minutes.recorded == len(ended) == sum(minutes.totals().values())
    return spent / len(ended) / 1_000


def taken_us(ended: list[Outcome]) -> tuple[float, int]:
    """Microseconds of the longest ``take`` after all of ``ended``, and how many cells there were."""
    minutes, exchange = Minutes(SystemClock()), Exchange(0, 0, "bench")
    for each in ended:
        minutes.record(exchange, each)
    longest, cells = 0, 0
    while True:
        began = time.thread_time_ns()
        batch = minutes.take(BATCH)
        longest, cells = max(longest, time.thread_time_ns() - began), cells + len(batch)
        if not batch:
            return longest / 1_000, cells


def busy_day(tenant: int) -> list[Row]:
    """A minute's cell for each minute of a day, some 600 requests in each."""
    found = []
    for minute in range(1_440):
        latency = [random.randrange(most + 1) for most in (120, 250, 160, 60, 25, 9, 4, 2, 2, 1, 0, 0, 0)]
        bad = random.randrange(3)
        ignored = (0, random.randrange(3), random.randrange(30), random.randrange(5), 0, 0, 0)
        counters = (max(0, sum(latency) - bad), bad, 0, *ignored, *latency)
        found.append(Row(DAY + 60 * minute, f"tenant-{tenant}", "api", "gw/1", "b", 15 * minute, packed(counters)))
    return found


def stored() -> tuple[float, float, float, float]:
    """Bytes of a row and of a packed day; seconds to read a tenant's month of either."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Database(default_url(Path(folder))))
        store.open()
        for tenant in range(TENANTS):
            store.receive(busy_day(tenant), [], DAY + days.DAY_S)
        store.close()
        row = (Path(folder) / "ledger.sqlite").stat().st_size / TENANTS / 1_440
        rows_s = month_s(store)
        store.pack(DAY + days.DAY_S)
        with store.database.reading() as connection:
            day = float(connection.execute(select(func.max(func.length(packed_day.c.cells)))).scalar_one())
        packed_s = month_s(store)
        store.close()
    return row, day, rows_s, packed_s


def month_s(store: Store) -> float:
    began = time.process_time()
    assert sum(1 for _ in store.cells("tenant-3", DAY, DAY + days.DAY_S)) == 1_440
    return (time.process_time() - began) * 30


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    random.seed(5)
    ended = outcomes(chosen.tenants, chosen.calls)
    gc.collect()
    gc.freeze()
    rounds = [recorded_us(ended) for _ in range(chosen.rounds)]
    best = min(rounds)
    print(f"recording an outcome: {best:.2f} us (median {statistics.median(rounds):.2f}; goal {GOAL_US})")
    takes = [taken_us(ended) for _ in range(3)]
    longest, cells = min(takes)
    print(f"taking {cells:,} cells in batches of {BATCH:,}: {longest:.0f} us for the longest batch")
    row, day, rows_s, packed_s = stored()
    print(f"a row in SQLite: {row:.0f} B (goal {GOAL_ROW}); a packed tenant-day: {day:,.0f} B (goal {GOAL_DAY:,})")
    print(f"reading a tenant's busy month: {rows_s:.2f} s of rows, {packed_s:.2f} s of packed days")
    return 0 if best <= GOAL_US and row <= GOAL_ROW and day <= GOAL_DAY else 1


if __name__ == "__main__":
    sys.exit(main())
