"""The real clock; the only place besides the ledger that asks the system for the time."""

from __future__ import annotations

import time


class SystemClock:
    """``steady_us`` from the monotonic clock, ``wall_us`` from the system's idea of Unix time."""

    __slots__ = ()

    def steady_us(self) -> int:
        return time.monotonic_ns() // 1_000

    def wall_us(self) -> int:
        return time.time_ns() // 1_000
