"""When the ledger is flushed: every few seconds, two seconds after each minute's end, and at the end of the process.

Runs on the event loop, because the ticks are to say that the loop lives (spec D3). Writes nothing itself.
"""

from __future__ import annotations

import asyncio
import logging

from gateway.ledger.minutes import Minutes
from gateway.ledger.pulse import Pulse
from gateway.ledger.spool import Spool
from policies.ports import Clock

log = logging.getLogger("tiergate.ledger")

FLUSH_US = 4_000_000
"""D2 lets a crash cost 5 s: looking whether a flush is due and writing it take their part of that."""
LOOK_S = 0.25
BATCH = 500
"""Cells of one step: about half a millisecond of the loop."""


class Recorder:
    """Drives ``minutes`` and the heartbeat into ``spool``. ``step`` decides; ``start`` has it called."""

    def __init__(self, clock: Clock, minutes: Minutes, spool: Spool) -> None:
        self._clock, self._minutes, self._spool = clock, minutes, spool
        self._pulse = Pulse()
        self._flushed_us: int | None = None
        self._under_way = False
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def start(self) -> None:
        """Begin to flush. A task of the caller's loop."""
        self._task = asyncio.create_task(self._run(), name="ledger")

    async def aclose(self, timeout_s: float) -> None:
        """Flush everything and have it written: nothing that was recorded before is lost (D2)."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        self.flush()
        await asyncio.to_thread(self._spool.close, timeout_s)

    def step(self) -> bool:
        """Flush if it is due, a bounded part of it; True when the rest should follow at once."""
        steady_us, wall_us = self._clock.steady_us(), self._clock.wall_us()
        if not self._under_way:
            if not self._is_due(steady_us, wall_us):
                return False
            self._flushed_us = steady_us
        self._minutes.reattribute(wall_us)
        cells = self._minutes.take(BATCH)
        self._under_way = len(cells) == BATCH
        self._spool.put(cells, self._pulse.beat(steady_us, wall_us))
        if not self._under_way:
            self._minutes.close(wall_us)
        return self._under_way

    def flush(self) -> None:
        """All of it now, due or not; the open minutes are judged by what they have, for this may be the end (O10)."""
        self._minutes.reattribute(self._clock.wall_us(), ending=True)
        self._under_way = True
        while self.step():
            pass

    def _is_due(self, steady_us: int, wall_us: int) -> bool:
        waited_us = FLUSH_US if self._flushed_us is None else steady_us - self._flushed_us
        return waited_us >= FLUSH_US or self._minutes.closable(wall_us)

    async def _run(self) -> None:
        while True:
            try:
                more = self.step()
            except Exception:
                if not self._failing:
                    log.exception("the ledger was not flushed")  # no heartbeat is darkness: try on
                self._failing, more = True, False
            await asyncio.sleep(0 if more else LOOK_S)
