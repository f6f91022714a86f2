"""Counters of the minutes that are open, behind the ``OutcomeLog`` port (spec T1, O10, D1, D5).

Runs on the request path, on one thread. Every count is cumulative within its minute, so that what is taken out may be
sent again and in any order. Knows no file and no store.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from sys import intern

from gateway.ledger.cells import CLASSES, ELIGIBLE, LATENCY, PLACES, WIDTH, Cell
from gateway.ledger.reach import Reach
from policies.exchange import Exchange, Outcome
from policies.ports import Clock
from policies.sla.egress import is_connection_failure
from policies.sla.histogram import BOUNDS_US
from policies.sla.judging import Judging
from policies.sla.outcome import Class, classify

MINUTE_US = 60_000_000
CLOSES_AFTER_US = 2_000_000
"""A minute is closed by the flush this long after its end; the last records are then here."""
AHEAD_US = 300_000_000
"""A minute that begins further ahead than this is some clock's mistake (D5)."""

_OURS = PLACES["bad", "gateway"]

_Open = dict[tuple[str, str | None], list[int]]
"""Counters by tenant and route group."""


class Minutes:
    """An ``OutcomeLog``. A request belongs to the UTC minute in which its outcome became known (T1).

    ``judging`` classifies what went wrong, by the version in force; another thread may put another in its place.
    ``recorded`` counts the requests taken in, ``refused`` those that came from too far ahead. A minute that has
    left memory is never continued, because a cumulative count that began at zero again must not replace the one that
    was sent. What comes late, after a clock was set back by however much, begins a new generation, and the store adds
    generations as it adds boots; so nothing has to be kept of a minute that was closed.

    Connection failures are booked to their upstream's owner until their minute is over and ``reattribute`` knows
    whether they were ours (O10); a flush before that says what was known then, and a crash before that leaves it so.
    Each worker, and each generation of a minute, judges what it saw itself.
    """

    __slots__ = (
        "_called", "_changed", "_clock", "_from_us", "_generation", "_generations", "_hot", "_left", "_open",
        "_reaches", "_seq", "_until_us", "judging", "recorded", "refused",
    )  # fmt: skip

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[int, _Open] = {}
        self._changed: dict[int, _Open] = {}  # since the last take; the same lists as in ``_open``
        self._generations: dict[int, int] = {}
        self._reaches: dict[int, Reach] = {}
        self._called: set[str | None] = set()  # of the hot minute's reach
        self._hot: _Open = {}  # of ``_changed``: the minute between the two bounds
        self._from_us = self._until_us = 0
        self._generation = 0
        self._left = -1  # the latest minute of this generation that has left memory
        self._seq = 0
        self.judging = Judging()
        self.recorded = 0
        self.refused = 0

    def record(self, exchange: Exchange, outcome: Outcome) -> None:
        if not self._from_us <= outcome.known_wall_us < self._until_us and not self._turned(outcome.known_wall_us):
            self.refused += 1
            return
        counters = self._hot.get((outcome.tenant, outcome.group))
        if counters is None:
            counters = self._warmed(outcome)
        place = PLACES[classify(outcome)]
        if place:
            place = self._failed(exchange, outcome, place)
        else:
            self._called.add(outcome.upstream_host)
        counters[place] += 1
        if place < ELIGIBLE:
            counters[LATENCY + bisect_right(BOUNDS_US, outcome.elapsed_us)] += 1
        self.recorded += 1

    def judged(self, exchange: Exchange, outcome: Outcome) -> Class:
        """The class of an outcome by the version in force, as it is counted until its minute's end (O10)."""
        found = classify(outcome)
        return self._revised(exchange, outcome) or found if PLACES[found] else found

    def _revised(self, exchange: Exchange, outcome: Outcome) -> Class | None:
        snapshot = exchange.snapshot
        return self.judging.revised(outcome, None if snapshot is None else snapshot.policy)

    def _failed(self, exchange: Exchange, outcome: Outcome, place: int) -> int:
        """The place of an outcome that is not good: as the version in force judges it.

        For O10 a call that failed was a call to its host too, unless nothing was sent to it.
        """
        host, revised = outcome.upstream_host, self._revised(exchange, outcome)
        if revised is not None:
            place = PLACES[revised]
        if host is None or exchange.upstream_started_us is None:
            return place
        if is_connection_failure(outcome):
            bucket = bisect_right(BOUNDS_US, outcome.elapsed_us)
            self._reaches[self._from_us // MINUTE_US].fail(outcome, place, bucket)
        else:
            self._called.add(host)
        return place

    def _turned(self, known_us: int) -> bool:
        """Whether the minute of ``known_us`` is now the hot one; False when it lies too far ahead."""
        minute = known_us // MINUTE_US
        if minute not in self._open:
            if _is_ahead(minute, self._clock.wall_us()):
                return False
            self._begin(minute)
        self._hot, self._called = self._changed[minute], self._reaches[minute].called
        self._from_us = minute * MINUTE_US
        self._until_us = self._from_us + MINUTE_US
        return True

    def _begin(self, minute: int) -> None:
        if minute <= self._left:
            self._generation += 1
            self._left = minute - 1
        self._open[minute], self._changed[minute], self._generations[minute] = {}, {}, self._generation
        self._reaches[minute] = Reach()

    def _warmed(self, outcome: Outcome) -> list[int]:
        """The counters of a tenant and group that had not changed since the last take."""
        names = (intern(outcome.tenant), outcome.group)
        known = self._open[self._from_us // MINUTE_US]
        counters = known.get(names)
        if counters is None:
            counters = known[names] = [0] * WIDTH
        self._hot[names] = counters
        return counters

    def take(self, limit: int) -> list[Cell]:
        """At most ``limit`` cells that changed since they were last taken, the oldest minutes first.

        One sequence number is theirs; it is higher than any before, so the last one taken is the one that counts.
        """
        self._seq += 1
        taken: list[Cell] = []
        for minute in sorted(self._changed):
            changed, generation = self._changed[minute], self._generations[minute]
            while changed and len(taken) < limit:
                (tenant, group), counters = changed.popitem()
                taken.append(Cell(minute * 60, tenant, group or "", generation, self._seq, tuple(counters)))
        return taken

    def closable(self, wall_us: int) -> bool:
        """Whether a minute's forced flush is due."""
        return any(_is_over(minute, wall_us) for minute in self._open)

    def reattribute(self, wall_us: int, *, ending: bool = False) -> None:
        """Make the connection failures of an egress fault ours in the minutes that are over, or ``ending`` in all.

        Counts go down by that, under a higher sequence. Safe to repeat.
        """
        for minute, reach in self._reaches.items():
            if ending or _is_leaving(minute, wall_us):
                self._correct(minute, reach)

    def _correct(self, minute: int, reach: Reach) -> None:
        for (names, place, bucket), count in reach.moves():
            counters = self._changed[minute][names] = self._open[minute][names]
            counters[place] -= count
            counters[_OURS] += count
            if place >= ELIGIBLE:  # what was ignored had no latency
                counters[LATENCY + bucket] += count

    def close(self, wall_us: int) -> None:
        """Let go of the minutes that are over and taken.

        Those that a clock set back has put too far ahead go too: when they come, they are others.
        """
        for minute in list(self._open):
            if not self._changed[minute] and _is_leaving(minute, wall_us):
                self._drop(minute)

    def _drop(self, minute: int) -> None:
        self._left = max(self._left, minute)
        del self._open[minute], self._changed[minute], self._generations[minute], self._reaches[minute]
        if minute == self._from_us // MINUTE_US:
            self._hot, self._called, self._from_us, self._until_us = {}, set(), 0, 0

    def totals(self) -> Mapping[tuple[str, str, str, str], int]:
        """By tenant, group, verdict and cause: the requests of the minutes in memory."""
        total: Counter[tuple[str, str, str, str]] = Counter()
        for cells in self._open.values():
            for (tenant, group), counters in cells.items():
                for each, count in zip(CLASSES, counters, strict=False):
                    total[tenant, group or "", *each] += count
        return dict(+total)


def _is_over(minute: int, wall_us: int) -> bool:
    return (minute + 1) * MINUTE_US + CLOSES_AFTER_US <= wall_us


def _is_ahead(minute: int, wall_us: int) -> bool:
    return minute * MINUTE_US - wall_us > AHEAD_US


def _is_leaving(minute: int, wall_us: int) -> bool:
    return _is_over(minute, wall_us) or _is_ahead(minute, wall_us)
