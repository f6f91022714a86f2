"""How many decisions a second the memory book makes on one core, and what a live tenant costs.

    python -m loadtests.bench_admit [--tenants 50000] [--calls 50000] [--rounds 40]

Uniform tenants in random order, time advancing with every call, readings (r and t) computed in each decision.
The best round counts, because anything else on the machine can only slow a round down, and rounds are short, so
that some fall between such moments; the median is printed beside it.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
import time
import tracemalloc

from policies.admission import Book, Charge, Demand, charge, state_key
from policies.model import Bucket, Limit, Window

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
STEP_US = 7


def demand(*limits: Limit) -> Demand:
    charges: tuple[Charge, ...] = tuple(charge(limit, state_key(limit, None), 1) for limit in limits)  # type: ignore[arg-type]
    return Demand(charges)


THREE_BUCKETS = demand(
    Bucket(name="second", amount=100, period_us=1_000_000, burst=200),
    Bucket(name="minute", amount=3_000, period_us=MINUTE_US, burst=500),
    Bucket(name="hour", amount=1_000_000, period_us=HOUR_US, burst=10_000),
)
TWO_WINDOWS_AND_BUCKET = demand(
    Window(name="minute", amount=600, period_us=MINUTE_US),
    Window(name="hour", amount=1_000_000, period_us=HOUR_US),
    Bucket(name="surge", amount=6_000, period_us=MINUTE_US, burst=500),
)
SMALL_WINDOWS = demand(
    Window(name="minute", amount=60, period_us=MINUTE_US),
    Window(name="hour", amount=1_000, period_us=HOUR_US),
    Bucket(name="surge", amount=6_000, period_us=MINUTE_US, burst=500),
)
FULL_WINDOWS = demand(
    Window(name="minute", amount=128, period_us=MINUTE_US),
    Window(name="hour", amount=128, period_us=HOUR_US),
    Bucket(name="surge", amount=6_000, period_us=MINUTE_US, burst=500),
)


class Trial:
    """One book under uniform load; ``round`` returns decisions a second of CPU time."""

    def __init__(self, asked: Demand, tenants: int, calls: int) -> None:
        self._asked = asked
        self._book = Book()
        self._now_us = 1_000_000_000
        names = [f"tenant-{n}" for n in range(tenants)]
        for name in names:
            self._book.admit(name, asked, self._now_us, 0)
        self._order = [random.choice(names) for _ in range(calls)]
        gc.collect()
        gc.freeze()

    def round(self) -> float:
        admit, asked, now_us = self._book.admit, self._asked, self._now_us
        started = time.process_time()
        for name in self._order:
            now_us += STEP_US
            admit(name, asked, now_us, 0)
        self._now_us = now_us
        return len(self._order) / (time.process_time() - started)


def bytes_per_tenant(asked: Demand, tenants: int, calls_each: int, step_us: int) -> float:
    """Bytes of state for each live tenant after ``calls_each`` calls ``step_us`` apart (names not counted)."""
    names = [f"tenant-{n}" for n in range(tenants)]
    book = Book()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    now_us = 1_000_000_000
    for _ in range(calls_each):
        now_us += step_us
        for name in names:
            book.admit(name, asked, now_us, 0)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used / tenants


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--tenants", type=int, default=50_000)
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=40)
    chosen = parser.parse_args()
    missed = 0
    for label, asked, target in (
        ("three buckets", THREE_BUCKETS, 300_000),
        ("two windows (600/min, 1000000/h) and a bucket", TWO_WINDOWS_AND_BUCKET, 150_000),
        ("two windows (60/min, 1000/h) and a bucket", SMALL_WINDOWS, 150_000),
    ):
        trial = Trial(asked, chosen.tenants, chosen.calls)
        rounds = [trial.round() for _ in range(chosen.rounds)]
        missed += max(rounds) < target
        median = statistics.median(rounds)
        print(f"admit, {label}: {max(rounds):,.0f}/s (target {target:,}; median {median:,.0f})", flush=True)
    for label, asked, calls_each, step_us in (
        ("600/min and 1000000/h and a bucket, busy", TWO_WINDOWS_AND_BUCKET, 600, 100_000),
        ("60/min and 1000/h and a bucket, busy", SMALL_WINDOWS, 70, 1_000_000),
        ("the worst case: both windows hold 128 separate times", FULL_WINDOWS, 128, 400_000),
    ):
        size = bytes_per_tenant(asked, 2_000, calls_each, step_us)
        print(f"state, {label}: {size:,.0f} bytes a tenant (target 1,024)", flush=True)
        missed += size > 1024 and "worst" not in label
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
