"""The quota kind: at most N units in each calendar day or month of a zone, because it must match an invoice.

The state is the start of the period it counts in and the units used. A period never goes back: when the wall
clock is stepped to before the stored period, the stored one goes on (I8).
"""

from __future__ import annotations

from struct import Struct

from policies.admission.decision import Reading, State, Taken
from policies.model import Quota
from policies.periods import period

SECOND_US = 1_000_000
RECORD = Struct(">qQ")
"""``(period start in Unix microseconds, units used)``: big-endian, so that a later state is the greater bytes."""


class QuotaCharge:
    """``cost`` units of a quota. See ``decision.Charge`` for the contract of the methods."""

    __slots__ = ("_end_us", "_start_us", "amount", "cost", "key", "limit", "q")

    def __init__(self, limit: Quota, key: str, cost: int) -> None:
        self.limit = limit
        self.key = key
        self.cost = cost
        self.q = self.amount = limit.amount
        self._start_us = self._end_us = 0  # the period looked up last: nearly always the right one

    def take(self, state: State | None, now_us: int, wall_us: int) -> Taken | None:
        start, used = self._usage(state, wall_us)
        used += self.cost
        if used > self.amount:
            return None
        return RECORD.pack(start, used), self.amount - used, self._reset_s(start, wall_us)

    def read(self, state: State | None, now_us: int, wall_us: int) -> tuple[Reading, int]:
        start, used = self._usage(state, wall_us)
        reading = (state, max(0, self.amount - used), self._reset_s(start, wall_us))
        return reading, self._period(start)[1] - wall_us if used + self.cost > self.amount else 0

    def _usage(self, state: State | None, wall_us: int) -> tuple[int, int]:
        """``(start of the period to count in, units used in it)``."""
        start = self._period(wall_us)[0]
        if state is None:
            return start, 0
        stored, used = RECORD.unpack(state)  # type: ignore[arg-type]
        return (stored, used) if stored >= start else (start, 0)

    def _reset_s(self, start_us: int, wall_us: int) -> int:
        return -((wall_us - self._period(start_us)[1]) // SECOND_US)

    def _period(self, wall_us: int) -> tuple[int, int]:
        if not self._start_us <= wall_us < self._end_us:
            self._start_us, self._end_us = period(self.limit.unit, self.limit.zone, wall_us)
        return self._start_us, self._end_us


def used_in(state: bytes) -> tuple[int, int]:
    """``(period start, units used)`` of a stored state."""
    start, used = RECORD.unpack(state)
    return start, used


def state_of(start_us: int, used: int) -> bytes:
    """The state that says ``used`` units since ``start_us``."""
    return RECORD.pack(start_us, used)
