"""What can be proven of a limit from a client's clock: too many admitted, refused without need, remaining untrue.

A client does not know when the gateway decided; it knows that this was after it sent the call and before it had the
answer (or before the origin had the call). Every statement here holds for *any* moment between the two, so that
what is reported happened, whatever the clocks and the network did. Pure; shares no code with ``policies``
(RULINGS 7). Source: DESIGN §6 for the bounds I1 and I2, RULINGS 1 for ``r``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from loadtests.arrivals.limits import BucketLimit, Limit, SlotLimit, WindowLimit

DRIFT = 1_000
"""One part in so many is how far two clocks that are being slewed may run apart in an interval (500 ppm each)."""
RELEASE_US = 100_000
"""How long after the last byte a slot may still be counted: it is given back behind the answer."""
NEVER = -(1 << 100)


@dataclass(frozen=True, slots=True)
class Span:
    """A decision was made at some moment of it; an admitted call was over for the caller at ``ended_us``."""

    earliest_us: int
    latest_us: int
    ended_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """``admitted`` calls certainly fell between two moments in which a limit allows ``allowed``."""

    from_us: int
    until_us: int
    admitted: int
    allowed: float

    def __str__(self) -> str:
        return (
            f"{self.admitted} admitted between {self.from_us / 1e6:.3f} s and {self.until_us / 1e6:.3f} s, "
            f"where at most {self.allowed:.1f} may be"
        )


class History(Protocol):
    """The calls that were admitted under one limit."""

    def excess(self) -> Excess | None:
        """The interval with the most calls above the bound; None when nothing is proven."""

    def needed(self, refusal: Span) -> bool:
        """Whether the limit may have been exhausted when ``refusal`` was decided."""

    def remaining(self, span: Span, *, admitted: bool) -> tuple[int, int]:
        """The least and the most that ``r`` may truthfully say in the answer to ``span``."""


def history(limit: Limit, admitted: Sequence[Span], holds: Sequence[tuple[int, int]] = ()) -> History:
    """``holds``: from when until when calls were certainly running, as the origin saw them; only slots need it."""
    match limit:
        case WindowLimit():
            return WindowHistory(limit, admitted)
        case BucketLimit():
            return BucketHistory(limit, admitted)
        case SlotLimit():
            return SlotHistory(limit, admitted, holds)


class WindowHistory:
    def __init__(self, limit: WindowLimit, admitted: Sequence[Span]) -> None:
        self._limit = limit
        self._admitted = admitted
        self._earliest = sorted(span.earliest_us for span in admitted)
        self._latest = sorted(span.latest_us for span in admitted)
        drift = limit.period_us // DRIFT
        self._short_us, self._long_us = limit.period_us - drift, limit.period_us + drift

    def excess(self) -> Excess | None:
        """For every call as the first one: how many later ones were certainly decided less than a period after."""
        latest: list[int] = []
        worst: Excess | None = None
        for span in sorted(self._admitted, key=lambda span: span.earliest_us, reverse=True):
            insort(latest, span.latest_us)
            count = bisect_left(latest, span.earliest_us + self._short_us)
            if count > (worst.admitted if worst else self._limit.amount):
                worst = Excess(
                    from_us=span.earliest_us,
                    until_us=latest[count - 1],
                    admitted=count,
                    allowed=self._limit.amount,
                )
        return worst

    def needed(self, refusal: Span) -> bool:
        return self._most(refusal) > self._limit.amount - self._limit.grain

    def remaining(self, span: Span, *, admitted: bool) -> tuple[int, int]:
        lowest = self._limit.amount - (self._limit.grain - 1) - self._most(span)
        return max(0, lowest), self._limit.amount - self._least(span) - admitted

    def _most(self, span: Span) -> int:
        """Admitted calls that may lie in the window at the decision; ``span`` itself when it was admitted."""
        gone = bisect_right(self._latest, span.earliest_us - self._long_us)
        return bisect_left(self._earliest, span.latest_us) - gone

    def _least(self, span: Span) -> int:
        """Other admitted calls that certainly do."""
        before = bisect_right(self._latest, span.earliest_us)
        return max(0, before - bisect_right(self._earliest, span.latest_us - self._short_us))


class BucketHistory:
    """Times are multiplied by the rate's amount, so that one unit is exactly the rate's period."""

    def __init__(self, limit: BucketLimit, admitted: Sequence[Span]) -> None:
        self._limit = limit
        self._admitted = sorted(admitted, key=lambda span: span.latest_us)
        self._earliest = sorted(span.earliest_us for span in admitted)
        self._latest = [span.latest_us for span in self._admitted]
        backwards = accumulate((span.earliest_us for span in reversed(self._admitted)), min)
        self._full_high = self._full(self._latest)
        self._full_low = self._full(reversed(list(backwards)))
        self._slack = limit.burst / DRIFT

    def _full(self, charged: Iterable[int]) -> list[int]:
        """When the bucket is full again after each charge; ``charged`` ascends."""
        full = [0]
        for at in charged:
            full.append(max(full[-1], at * self._limit.amount) + self._limit.period_us)
        return full

    def excess(self) -> Excess | None:
        """The most that ``calls - rate * L`` reaches over every pair of a first and a last call."""
        amount, period = self._limit.amount * (DRIFT + 1), self._limit.period_us * DRIFT
        peak = _Peak(len(self._admitted))
        worst, over_at_worst = None, self._limit.burst * period
        for place in sorted(range(len(self._admitted)), key=lambda at: self._admitted[at].earliest_us, reverse=True):
            first = self._admitted[place].earliest_us
            peak.add(place, period, -amount * self._admitted[place].latest_us)
            if peak.best + amount * first > over_at_worst:
                worst, over_at_worst = first, peak.best + amount * first
        return None if worst is None else self._evidence(worst)

    def _evidence(self, first: int) -> Excess:
        """The worst interval that begins at ``first``."""
        latest = [span.latest_us for span in self._admitted if span.earliest_us >= first]
        over = [(count - self._per_us * (until - first), count) for count, until in enumerate(latest, 1)]
        count = max(over)[1]
        until = latest[count - 1]
        allowed = self._limit.burst + self._per_us * (until - first)
        return Excess(from_us=first, until_us=until, admitted=count, allowed=allowed)

    @property
    def _per_us(self) -> float:
        return self._limit.amount / self._limit.period_us

    def needed(self, refusal: Span) -> bool:
        return self._most(refusal) > self._limit.burst - 1 - self._slack

    def remaining(self, span: Span, *, admitted: bool) -> tuple[int, int]:
        lowest = int(max(0, self._limit.burst - self._most(span) - self._slack))
        return lowest, int(self._limit.burst - admitted - self._least(span) + self._slack)

    def _most(self, span: Span) -> float:
        """Units that may be out of the bucket at the decision: charged as late as possible, looked at early."""
        before = bisect_right(self._latest, span.earliest_us)
        around = bisect_left(self._earliest, span.latest_us) - before
        return self._debt(self._full_high[before], span.earliest_us) + around

    def _least(self, span: Span) -> float:
        """Units of other calls that certainly are: charged as early as possible, looked at late."""
        before = bisect_right(self._latest, span.earliest_us)
        return self._debt(self._full_low[before], span.latest_us)

    def _debt(self, full: int, at_us: int) -> float:
        return max(0, full - at_us * self._limit.amount) / self._limit.period_us


class _Peak:
    """The highest of the sums up to each place, each with an offset, while places are filled in any order."""

    def __init__(self, places: int) -> None:
        self._size = 1 << max(places - 1, 1).bit_length()
        self._sums = [0] * (2 * self._size)
        self._bests = [NEVER] * (2 * self._size)

    @property
    def best(self) -> int:
        return self._bests[1]

    def add(self, place: int, value: int, offset: int) -> None:
        at = self._size + place
        self._sums[at], self._bests[at] = value, value + offset
        while at > 1:
            at //= 2
            left, right = 2 * at, 2 * at + 1
            self._sums[at] = self._sums[left] + self._sums[right]
            self._bests[at] = max(self._bests[left], self._sums[left] + self._bests[right])


class SlotHistory:
    def __init__(self, limit: SlotLimit, admitted: Sequence[Span], holds: Sequence[tuple[int, int]]) -> None:
        self._limit = limit
        self._holds = holds
        self._begun = sorted(span.earliest_us for span in admitted)
        self._over = sorted(span.ended_us + RELEASE_US for span in admitted)

    def excess(self) -> Excess | None:
        """A moment at which the origin had more calls in hand than there are slots."""
        ends = ((until, -1, begun) for begun, until in self._holds)
        begins = ((begun, 1, begun) for begun, _ in self._holds)
        running, worst = 0, None
        for at, step, _ in sorted((*ends, *begins)):
            running += step
            if running > (worst.admitted if worst else self._limit.amount):
                worst = Excess(from_us=at, until_us=at, admitted=running, allowed=self._limit.amount)
        return worst

    def needed(self, refusal: Span) -> bool:
        may_run = bisect_left(self._begun, refusal.latest_us) - bisect_right(self._over, refusal.earliest_us)
        return may_run >= self._limit.amount

    def remaining(self, span: Span, *, admitted: bool) -> tuple[int, int]:
        return 0, self._limit.amount - admitted


def replay(limits: Sequence[Limit], times_us: Iterable[int]) -> int:
    """How many of the calls at these moments the windows and buckets admit: every charge kept, the definition asked."""
    windows = [(limit, deque[int]()) for limit in limits if isinstance(limit, WindowLimit)]
    buckets = [_Tokens(limit) for limit in limits if isinstance(limit, BucketLimit)]
    admitted = 0
    for now in sorted(times_us):
        for window, log in windows:
            while log and log[0] + window.period_us <= now:
                log.popleft()
        room = all(len(log) <= window.amount - window.grain for window, log in windows)
        if room and all(bucket.units(now) >= 1 for bucket in buckets):
            admitted += 1
            for _, log in windows:
                log.append(now)
            for bucket in buckets:
                bucket.left -= 1
    return admitted


class _Tokens:
    def __init__(self, limit: BucketLimit) -> None:
        self._limit = limit
        self.left = float(limit.burst)
        self._at: int | None = None

    def units(self, now: int) -> float:
        passed = 0 if self._at is None else now - self._at
        self.left = min(self._limit.burst, self.left + passed * self._limit.amount / self._limit.period_us)
        self._at = now
        return self.left + 1e-9
