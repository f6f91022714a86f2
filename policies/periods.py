"""Calendar periods of a named zone as UTC instants, worked out ahead (RULINGS 5, spec P1).

A day or month runs from one local midnight to the next, so a day may last 23 or 25 hours.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

FIRST_YEAR = 2024
LAST_YEAR = 2056
SECOND_US = 1_000_000


@lru_cache(maxsize=256)
def bounds(unit: Literal["day", "month"], zone: str) -> tuple[int, ...]:
    """Starts of every ``unit`` from ``FIRST_YEAR`` to the end of ``LAST_YEAR``, Unix microseconds, ascending.

    A midnight that the zone skips starts the day at the instant of the change.
    """
    zoneinfo = ZoneInfo(zone)
    return tuple(
        int(datetime(day.year, day.month, day.day, tzinfo=zoneinfo).timestamp()) * SECOND_US for day in _starts(unit)
    )


def period(unit: Literal["day", "month"], zone: str, wall_us: int) -> tuple[int, int]:
    """``(start, end)`` of the period that holds ``wall_us``; clamped to the years above."""
    starts = bounds(unit, zone)
    index = min(max(bisect_right(starts, wall_us) - 1, 0), len(starts) - 2)
    return starts[index], starts[index + 1]


def _starts(unit: Literal["day", "month"]) -> list[date]:
    if unit == "month":
        return [date(year, month, 1) for year in range(FIRST_YEAR, LAST_YEAR + 1) for month in range(1, 13)]
    days = (date(LAST_YEAR + 1, 1, 1) - date(FIRST_YEAR, 1, 1)).days
    return [date(FIRST_YEAR, 1, 1) + timedelta(days=n) for n in range(days + 1)]
