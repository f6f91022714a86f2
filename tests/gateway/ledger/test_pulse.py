"""When a process says that it lived: ticks, gaps, and clocks that are set."""

from __future__ import annotations

import pytest

from gateway.ledger.pulse import Life, Pulse

SECOND = 1_000_000
WALL_S = 1_790_000_000


def lived(*ticks: tuple[float, float]) -> list[Life]:
    """The intervals after ticks at these seconds of the monotonic and of the wall clock, as a store keeps them."""
    pulse, kept = Pulse(), dict[int, Life]()
    for steady_s, wall_s in ticks:
        for life in pulse.beat(round(steady_s * SECOND), round((WALL_S + wall_s) * SECOND)):
            kept[life.from_s] = life
    return [Life(life.from_s - WALL_S, life.to_s - WALL_S, life.step_ms) for life in kept.values()]


@pytest.mark.parametrize(
    ("ticks", "expected"),
    [
        ([(0, 0)], [(0, 5, 0)]),
        ([(0, 0.9)], [(1, 5, 0)]),  # a second that it lived in part is not vouched for at either end
        ([(0, 0), (5, 5), (10, 10)], [(0, 15, 0)]),
        ([(0, 0), (15, 15)], [(0, 20, 0)]),  # three ticks are tolerated
        ([(0, 0), (15.001, 15.001)], [(0, 5, 0), (16, 20, 0)]),  # more is a gap, and ends at the last tick + 5 s
        ([(0, 0), (5, 5.9)], [(0, 10, 0)]),  # a clock that is slewed
        ([(0, 0), (5, 3_605)], [(0, 5, 0), (3_605, 3_610, 3_600_000)]),  # asleep, or set: nobody vouches for the hour
        ([(0, 0), (5, 13)], [(0, 18, 0), (13, 18, 8_000)]),  # a small step leaves no hole
        ([(0, 0), (5, -3_595)], [(0, 5, 0), (-3_595, -3_590, -3_600_000)]),  # back: both are true
        ([(0, 0), (5, 2)], [(0, 5, 0), (2, 7, -3_000)]),
        ([(0, 0), (5, 4.5)], [(0, 9, 0)]),
        ([(0, 0), (3_600, 5)], [(0, 5, 0), (5, 10, -3_595_000)]),  # the monotonic clock knows of the gap
    ],
)
def test_intervals(ticks: list[tuple[float, float]], expected: list[tuple[int, int, int]]) -> None:
    assert lived(*ticks) == [Life(*life) for life in expected]


def test_an_interval_that_goes_on_keeps_its_beginning() -> None:
    pulse = Pulse()
    for tick in range(20):
        (life,) = pulse.beat(tick * 5 * SECOND, (WALL_S + tick * 5) * SECOND)
        assert (life.from_s, life.to_s) == (WALL_S, WALL_S + tick * 5 + 5)
