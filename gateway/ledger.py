"""Per-minute counters behind the ``OutcomeLog`` port, in memory: tenant, route group and cause (spec D1).

The durable ledger takes these over; until then the last ``MINUTES_KEPT`` minutes stay here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from policies.exchange import Exchange, Outcome
from policies.sla.outcome import classify

MINUTE_US = 60_000_000
MINUTES_KEPT = 180

Cell = tuple[str, str, str, str]
"""``(tenant, route group, verdict, cause)``."""


class MinuteCounters:
    """An ``OutcomeLog``. A request belongs to the UTC minute in which its outcome became known (spec T1).

    ``recorded`` counts all requests, those of minutes no longer kept included: adding up the cells of a hundred
    thousand tenants for every report would cost more than counting.
    """

    def __init__(self) -> None:
        self._minutes: dict[int, dict[Cell, int]] = {}
        self.recorded = 0

    def record(self, exchange: Exchange, outcome: Outcome) -> None:
        verdict, cause = classify(outcome)
        cells = self._minutes.get(outcome.known_wall_us // MINUTE_US)
        if cells is None:
            cells = self._begun(outcome.known_wall_us // MINUTE_US)
        cell = (outcome.tenant, outcome.group or "", verdict, cause)
        cells[cell] = cells.get(cell, 0) + 1
        self.recorded += 1

    def _begun(self, minute: int) -> dict[Cell, int]:
        cells = self._minutes[minute] = {}
        if len(self._minutes) > MINUTES_KEPT:
            del self._minutes[min(self._minutes)]
        return cells

    def minute(self, number: int) -> Mapping[Cell, int]:
        """The counters of the minute ``number`` since the epoch."""
        return dict(self._minutes.get(number, {}))

    def totals(self) -> Mapping[Cell, int]:
        """The counters of all minutes kept, added up."""
        total: Counter[Cell] = Counter()
        for cells in self._minutes.values():
            total.update(cells)
        return dict(total)
