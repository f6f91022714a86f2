"""When this process lived, as intervals that its own ticks vouch for (spec D3, D5).

Darkness is not recorded: it is where no interval is. No clock, no file.
"""

from __future__ import annotations

from typing import NamedTuple

TICK_US = 5_000_000
"""What one tick vouches for, from its moment on (D3)."""
LONGEST_GAP_US = 3 * TICK_US
STEP_US = 1_000_000
"""By how much the wall clock may drift from the monotonic one between two ticks before it counts as set."""


class Life(NamedTuple):
    """``[from_s, to_s)``, whole Unix seconds.

    ``step_ms`` is by how much the wall clock had been set when the interval began, 0 when it had not: the evidence
    that D5 asks for.
    """

    from_s: int
    to_s: int
    step_ms: int


class Pulse:
    """One boot's intervals. ``beat`` at least every ``TICK_US``, from the thread whose life is meant."""

    def __init__(self) -> None:
        self._current: Life | None = None
        self._steady_us = 0
        self._wall_us = 0

    def beat(self, steady_us: int, wall_us: int) -> tuple[Life, ...]:
        """The intervals that this tick began or made longer; each replaces what has the same ``from_s``.

        The gap since the last tick is the longer of what the two clocks say. A machine that was asleep sees it on the
        wall clock alone, and a wall clock set back on the monotonic one alone; neither time was served.
        """
        last, steady_gap_us, wall_gap_us = self._current, steady_us - self._steady_us, wall_us - self._wall_us
        self._steady_us, self._wall_us = steady_us, wall_us
        if last is None:
            self._current = _begun(wall_us, 0)
            return (self._current,)
        step_us = wall_gap_us - steady_gap_us
        if max(steady_gap_us, wall_gap_us) > LONGEST_GAP_US:
            self._current = _begun(wall_us, step_us if abs(step_us) > STEP_US else 0)
            return (self._current,)
        longer = last._replace(to_s=max(last.to_s, _vouched(wall_us)))
        if abs(step_us) <= STEP_US:
            self._current = longer
            return (longer,)
        self._current = _begun(wall_us, step_us)
        return (longer, self._current) if step_us > 0 else (self._current,)


def _begun(wall_us: int, step_us: int) -> Life:
    return Life(from_s=-(-wall_us // 1_000_000), to_s=_vouched(wall_us), step_ms=step_us // 1_000)


def _vouched(wall_us: int) -> int:
    return (wall_us + TICK_US) // 1_000_000
