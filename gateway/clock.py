"""The real clock; the only place besides the ledger that asks the system for the time."""

from __future__ import annotations

from time import monotonic_ns, time_ns


class SystemClock:
    """``steady_us`` from the monotonic clock, ``wall_us`` from the system's idea of Unix time."""

    __slots__ = ()

    def steady_us(self) -> int:
        return monotonic_ns() // 1_000

    def wall_us(self) -> int:
        return time_ns() // 1_000


def now_s() -> int:
    """Unix seconds of the moment, for what runs once: a command, an act, an import."""
    return SystemClock().wall_us() // 1_000_000
