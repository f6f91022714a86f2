"""A process that records on a virtual clock until somebody kills it; says beforehand what it is about to record.

``python doomed.py SPOOL`` prints lines of ``virtual microseconds, requests so far``. Minutes pass in a second.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.gateway.ledger.recording import SECOND, WAIT_S, recording


def main() -> None:
    ledger = recording(Path(sys.argv[1]), boot=f"b{os.getpid()}")
    total = 0
    while True:
        calls = 1 + total % 7
        total += calls
        os.write(1, b"%d %d\n" % (ledger.clock.wall, total))
        ledger.count(calls, tenant=f"t{total % 3}")
        while ledger.recorder.step():
            pass
        assert ledger.spool.settle(WAIT_S)  # virtual time would leave the disk behind
        ledger.clock.advance(SECOND // 4)


if __name__ == "__main__":
    main()
