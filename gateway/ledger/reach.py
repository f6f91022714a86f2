"""What one minute saw of the ways out: hosts that were called, hosts that no connection came about to (spec O10).

Decides which of its failures are ours; that needs the whole minute, so nothing is moved before it is over. What is
moved, and where the counters are, is ``minutes``'s business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from policies.exchange import Outcome
from policies.sla.egress import FailedHost, is_egress_fault

Names = tuple[str, str | None]
"""A tenant and a route group."""

Booking = tuple[Names, int, int]
"""Whose counters, the place of the class that the failure was booked to, and its latency bucket."""


class Reach:
    """``called`` is added to by whoever counts an answered call: None, for a call without an upstream, is no host."""

    __slots__ = ("_booked", "_failed", "_moved", "called")

    def __init__(self) -> None:
        self.called: set[str | None] = set()
        self._failed: dict[str, FailedHost] = {}
        self._booked: Counter[Booking] = Counter()
        self._moved: Counter[Booking] = Counter()

    def fail(self, outcome: Outcome, place: int, bucket: int) -> None:
        """No connection came about: ``outcome`` was booked to ``place``."""
        host = outcome.upstream_host or ""
        self.called.add(host)
        if host not in self._failed:
            self._failed[host] = FailedHost(host=host, vendor=outcome.vendor or host)
        self._booked[(outcome.tenant, outcome.group), place, bucket] += 1

    def moves(self) -> Iterator[tuple[Booking, int]]:
        """How many of each booking become ours now, less than none when some no longer are.

        The verdict is on all that was seen so far, so that it may be asked for again after more has come.
        """
        ours = is_egress_fault(len(self.called - {None}), self._failed.values())
        for booking, count in self._booked.items():
            change = (count if ours else 0) - self._moved[booking]
            if change:
                self._moved[booking] += change
                yield booking, change
