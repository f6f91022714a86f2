"""A gateway on a virtual clock in a process of its own, with a spool and an access log, until somebody kills it.

``python -m tests.gateway.sla.hour HOME WALL_US BOOT`` prints its port. Each number on a line of its input advances the
clock by as many microseconds, and it answers with how many calls it has recorded so far, all of them in the spool by
then. At the end of its input it drains.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from gateway.access_log import AccessLog
from gateway.app import create_app
from gateway.batched import Batched
from gateway.credentials import Credentials
from gateway.gate import Gate
from gateway.stores.memory import MemoryStore
from gateway.telemetry import NoSpans
from tests.gateway.assembly import Reloadable
from tests.gateway.ledger.recording import SECOND, WAIT_S, Recording, recording
from tests.wire.harness import serve_app
from upstreams.http1 import Http1Transport
from upstreams.pool import Transports

TICK_US = 4 * SECOND
"""How far the clock goes between two looks at what is due."""


@dataclass
class Served:
    """What has to be on the disk before the clock goes on."""

    ledger: Recording
    records: Batched

    def settle(self) -> int:
        self.records.flush()
        self.ledger.recorder.flush()
        assert self.ledger.spool.settle(WAIT_S)
        return self.ledger.minutes.recorded

    def advance(self, microseconds: int) -> None:
        """As the ledger would live through it: never further at once than its own flushes are apart."""
        while microseconds > 0:
            step_us = min(TICK_US, microseconds)
            self.ledger.clock.advance(step_us)
            microseconds -= step_us
            while self.ledger.recorder.step():
                pass


async def main(home: Path, wall_us: int, boot: str) -> None:
    ledger = recording(home / "spool-0.sqlite", boot=boot, replica="gw/0", wall_s=wall_us // SECOND)
    clock = ledger.clock
    source = Reloadable(home / "policy", {})
    store = MemoryStore(clock, home / "state")
    await store.start()
    transports, credentials = Transports(Http1Transport), Credentials(clock=clock)
    access_log = AccessLog(str(home / "access.log"))
    records = Batched((ledger.minutes, access_log))
    app = create_app(
        source=source, store=store, clock=clock, transports=transports, authenticator=credentials,
        sinks=(records,), spans=NoSpans(), instance="hour",
    )  # fmt: skip
    served = Served(ledger, records)
    async with serve_app(Gate(app)) as port:
        print(port, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            served.settle()
            served.advance(int(line))
            print(served.settle(), flush=True)
    served.settle()
    assert ledger.end()
    access_log.close()
    await transports.aclose()
    await store.aclose()
    await credentials.aclose()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
