"""A recorder on a virtual clock, and what a spool file holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from gateway.ledger.cells import Cell, Row, requests, unpacked
from gateway.ledger.minutes import Minutes
from gateway.ledger.recorder import Recorder
from gateway.ledger.spool import Spool
from gateway.ledger.spool_file import LifeRow, SpoolFile
from tests.gateway.facts import finished, outcome
from tests.middleware.harness import VirtualClock

SECOND = 1_000_000
MINUTE = 60 * SECOND
NOON_S = 29_838_000 * 60
WAIT_S = 20.0
"""For what a thread does at once; a loaded machine may take its time."""


@dataclass
class Recording:
    """One process' ledger up to its spool."""

    clock: VirtualClock
    minutes: Minutes
    spool: Spool
    recorder: Recorder

    def count(self, calls: int = 1, **facts: object) -> None:
        for _ in range(calls):
            self.minutes.record(finished(), outcome(known_wall_us=self.clock.wall, **facts))

    def run(self, seconds: float, *, calls_a_second: int = 1, **facts: object) -> None:
        """Traffic on the virtual clock, in steps of a quarter of a second."""
        for quarter in range(round(seconds * 4)):
            if quarter % 4 == 0:
                self.count(calls_a_second, **facts)
            while self.recorder.step():
                pass
            self.clock.advance(SECOND // 4)

    def end(self) -> bool:
        self.recorder.flush()
        return self.spool.close(WAIT_S)


def recording(
    path: Path, *, boot: str = "b1", replica: str = "gw/0", wall_s: int = NOON_S, most: int = 100_000
) -> Recording:
    clock = VirtualClock(wall_us=wall_s * SECOND)
    minutes, spool = Minutes(clock), Spool(SpoolFile(path), replica, boot, most=most)
    spool.start()
    return Recording(clock, minutes, spool, Recorder(clock, minutes, spool))


def spooled(path: Path) -> tuple[list[Row], list[LifeRow]]:
    file = SpoolFile(path)
    try:
        return file.read(1_000_000)
    finally:
        file.close()


def by_minute(rows: list[Row]) -> dict[int, int]:
    """Requests by minute, counted from noon."""
    total = Counter[int]()
    for row in rows:
        total[(row.slot_s - NOON_S) // 60] += requests(unpacked(row.counters))
    return dict(total)


def cell(number: int = 0, *, seq: int = 1, good: int = 1, slot_s: int = NOON_S) -> Cell:
    """A cell of tenant ``number``."""
    return Cell(slot_s, f"t{number}", "api", 0, seq, (good, *(0,) * 22))
