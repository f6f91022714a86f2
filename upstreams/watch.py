"""When a call has become slow enough to ask whether anyone still waits for its answer.

One coarse timer for all calls instead of one each (DESIGN §13): it runs while there are calls, finds those that
are slow, and lets each begin to listen for its caller's disconnect.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from policies.ports import Clock

SLOW_AFTER_US = 1_000_000
SWEEP_S = 0.5


class Watched(Protocol):
    """A call under watch. ``began_us`` is when it began, steady."""

    began_us: int

    def check(self, now_us: int) -> None:
        """Called about twice a second once the call is slow. Must not raise."""


class Watches:
    """All calls in flight; ``add`` and ``discard`` cost one dictionary operation each."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: dict[Watched, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: Watched) -> None:
        self._calls[call] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def discard(self, call: Watched) -> None:
        self._calls.pop(call, None)

    def _sweep(self) -> None:
        now_us = self._clock.steady_us()
        for call in list(self._calls):
            if now_us - call.began_us < SLOW_AFTER_US:
                break  # insertion order is order of beginning
            call.check(now_us)
        self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep) if self._calls else None
