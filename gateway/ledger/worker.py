"""One worker's whole ledger, put together: counters, heartbeat, spool and shipping (spec D1 to D3).

Decides nothing. ``minutes`` is the sink of the request path; everything else goes on behind it.
"""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from gateway.ledger.database import Database, default_url
from gateway.ledger.housekeeping import Housekeeper
from gateway.ledger.in_force import InForce
from gateway.ledger.minutes import Minutes
from gateway.ledger.recorder import Recorder
from gateway.ledger.shipping import Shipper, shipper
from gateway.ledger.spool import Spool
from gateway.ledger.spool_file import SpoolFile
from policies.ports import Clock
from policies.sla.judging import Judging

WRITE_S = 2.0
"""How long the last flush may take; the supervisor kills a worker that was hurried after four seconds."""
SHIP_S = 1.0
TIDIES = 1
"""The number of the worker that packs and forgets; every gateway has it."""


class WorkerLedger:
    """Start it inside the loop with ``await start()``; ``aclose`` is the last thing that a worker does."""

    def __init__(self, clock: Clock, state_dir: Path, *, replica: str, index: int, url: str = "") -> None:
        """``index`` is the worker's number, ``url`` the shared store's address, empty for a file in ``state_dir``.

        Raises ``StateError`` for an address that is no ledger's.
        """
        path = state_dir / f"spool-{index}.sqlite"
        self.minutes = Minutes(clock)
        self._spool = Spool(SpoolFile(path), replica, boot=secrets.token_hex(6))
        in_force = InForce(state_dir / f"in-force-{index}.json", self._judge_by)
        self._shipper: Shipper = shipper(path, url or default_url(state_dir), clock, in_force)
        self._recorder = Recorder(clock, self.minutes, self._spool)
        self._housekeeper = (
            Housekeeper(lambda: Database(url or default_url(state_dir)), clock) if index == TIDIES else None
        )

    async def start(self) -> None:
        """Begin to keep minutes. Raises ``StateError`` for files or tables of a newer version, and for nothing else."""
        await asyncio.to_thread(self._spool.start)
        await asyncio.to_thread(self._shipper.start)
        self._recorder.start()
        if self._housekeeper is not None:
            self._housekeeper.start()

    async def aclose(self) -> None:
        """Have everything that was recorded on the disk, and in the store if that takes a moment only."""
        await self._recorder.aclose(WRITE_S)
        if self._housekeeper is not None:
            await asyncio.to_thread(self._housekeeper.close, 0)
        await asyncio.to_thread(self._shipper.close, SHIP_S)

    def _judge_by(self, judging: Judging) -> None:
        self.minutes.judging = judging

    @property
    def behind_s(self) -> int:
        """How long ago the oldest minute ended that is over and not in the store yet; 0 for none."""
        return self._shipper.behind_s

    @property
    def lost(self) -> int:
        """Requests whose outcome will not be in the ledger: a clock was wrong, or the disk full for too long."""
        return self.minutes.refused + self._spool.lost + self._shipper.refused
