"""The bucket kind: GCRA, the generic cell rate algorithm, one number of state.

The state is the theoretical arrival time (TAT): the moment at which the bucket will be full again. A call of
cost c moves it on by c times the emission interval; it fits while the TAT stays within ``burst`` intervals
from now. Bound: units admitted in any interval of length L <= burst + rate * L (I1).

The TAT is kept in nanoseconds, so that rounding the emission interval up (the strict side) costs at most one
part in a thousand at a million units a second. Times in and out are microseconds.
"""

from __future__ import annotations

from policies.admission.decision import Reading, State, Taken
from policies.model import Bucket

SECOND_NS = 1_000_000_000


class BucketCharge:
    """``cost`` units of a bucket. See ``decision.Charge`` for the contract of the methods."""

    __slots__ = (
        "cost", "interval_ns", "key", "left_of_full", "limit", "next_of_full_s", "price_ns", "q", "room_ns", "slow",
    )  # fmt: skip

    def __init__(self, limit: Bucket, key: str, cost: int) -> None:
        self.limit = limit
        self.key = key
        self.cost = cost
        self.q = limit.burst
        self.interval_ns = -(-limit.period_us * 1000 // limit.amount)
        self.price_ns = cost * self.interval_ns
        self.room_ns = limit.burst * self.interval_ns - self.price_ns
        self.slow = self.interval_ns > SECOND_NS  # else the next unit is at most a second away
        self.left_of_full = self.room_ns // self.interval_ns
        self.next_of_full_s = self._next_unit_s(self.room_ns)

    def take(self, state: State | None, now_us: int, wall_us: int) -> Taken | None:
        now_ns = now_us * 1000
        if state is None or state <= now_ns:  # type: ignore[operator]
            if self.room_ns < 0:
                return None
            return now_ns + self.price_ns, self.left_of_full, self.next_of_full_s
        free_ns = self.room_ns - (state - now_ns)  # type: ignore[operator]
        if free_ns < 0:
            return None
        next_s = self._next_unit_s(free_ns) if self.slow else 1
        return state + self.price_ns, free_ns // self.interval_ns, next_s  # type: ignore[operator]

    def read(self, state: State | None, now_us: int, wall_us: int) -> tuple[Reading, int]:
        debt_ns = max(0, (state or 0) - now_us * 1000)  # type: ignore[operator]
        free_ns = self.room_ns + self.price_ns - debt_ns
        left = max(0, free_ns // self.interval_ns)
        reading = (state, left, 1 if left >= self.q else self._next_unit_s(free_ns))
        over_ns = debt_ns - self.room_ns
        return reading, -(-over_ns // 1000) if over_ns > 0 else 0

    def _next_unit_s(self, free_ns: int) -> int:
        """Whole seconds, at least 1, until ``free_ns`` holds one interval more."""
        if free_ns < 0:
            return max(1, -(-(self.interval_ns - free_ns) // SECOND_NS))
        return max(1, -(-(self.interval_ns - free_ns % self.interval_ns) // SECOND_NS))
