"""Finished requests handed to the sinks several at a time.

The sinks' code is run for a whole batch in one go instead of between the steps of a request, which halves what it
costs: a processor that has just done the same work does it again with everything at hand. A request waits for its
record, and only its record, ``DELAY_S`` at most. Decides nothing; knows no sink.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from policies.exchange import Exchange, Outcome
from policies.ports import OutcomeLog

log = logging.getLogger("tiergate.outcomes")

DELAY_S = 0.01
SIZE = 32
"""Records at most: what the request that fills a batch has to wait for."""


class Batched:
    """An ``OutcomeLog`` before others. ``flush`` hands on what is held; whoever ends the sinks calls it first."""

    def __init__(self, sinks: Sequence[OutcomeLog]) -> None:
        self._sinks = tuple(sinks)
        self._held: list[tuple[Exchange, Outcome]] = []
        self._timer: asyncio.TimerHandle | None = None

    def record(self, exchange: Exchange, outcome: Outcome) -> None:
        held = self._held
        held.append((exchange, outcome))
        if len(held) >= SIZE:
            self._hand_on()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DELAY_S, self.flush)

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._hand_on()

    def _hand_on(self) -> None:
        held, self._held = self._held, []
        for sink in self._sinks:
            record = sink.record
            for exchange, outcome in held:
                try:
                    record(exchange, outcome)
                except Exception:
                    log.exception("an outcome was not recorded by %s", type(sink).__name__)
