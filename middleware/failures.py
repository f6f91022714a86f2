"""How many credentials of one client address may be wrong: a small bounded table of GCRA states.

Knows no clock (time is passed in) and no credential. Only failures are charged, so callers with a valid
credential never spend anything; but whether a credential is valid is not known before it was checked, and a
blocked address is refused before anything expensive, hence also with a valid one (RULINGS 9).
"""

from __future__ import annotations


class Failures:
    """``burst`` failures at once, then one every ``every_us``; the ``kept`` addresses that failed last are known."""

    __slots__ = ("_burst_us", "_due", "_every_us", "_kept")

    def __init__(self, *, burst: int = 20, every_us: int = 6_000_000, kept: int = 50_000) -> None:
        self._every_us = every_us
        self._burst_us = burst * every_us
        self._kept = kept
        self._due: dict[str, int] = {}  # address -> theoretical arrival time, the least recent failure first

    def wait_us(self, address: str, now_us: int) -> int:
        """Microseconds until ``address`` may try again; 0 when it may now. Changes nothing."""
        due = self._due.get(address)
        return 0 if due is None else max(0, due + self._every_us - self._burst_us - now_us)

    def charge(self, address: str, now_us: int) -> None:
        """One more failure of ``address``. Never longer than ``every_us`` away from the next try."""
        due = max(self._due.pop(address, now_us), now_us) + self._every_us
        self._due[address] = min(due, now_us + self._burst_us)
        if len(self._due) > self._kept:
            del self._due[next(iter(self._due))]

    def __len__(self) -> int:
        return len(self._due)
