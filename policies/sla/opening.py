"""When a calendar is open, as instants, and how far a span of open time reaches (spec SC1).

A calendar is open while a clock on the wall of its zone reads a time within its hours, on a date that is no holiday.
So an hour that the zone skips is never open, one that it repeats is open twice, and 00:00-24:00 is 23 or 25 hours
on the two odd days. Instants are Unix seconds; spans are half-open. Nothing here knows tickets or targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from policies.model import BusinessTime, Calendar

Span = tuple[int, int]

HOUR_S: Final = 3_600
DAY_S: Final = 86_400
SECOND_US: Final = 1_000_000
FARTHEST_OFFSET_S: Final = 16 * HOUR_S
"""No zone's clock is further than this from UTC."""
LONGEST_CLOSURE_DAYS: Final = 3_660
"""A calendar that does not open for ten years has a mistake in it."""

LONGEST_DAYS: Final = 36_600
"""A target that is further away than a century is none, and to look for it would take for ever."""
LONGEST: Final[Mapping[str, int]] = {
    "elapsed_us": 36_500 * DAY_S * SECOND_US, "business_hours": 100_000, "business_days": 10_000,
}  # fmt: skip
"""How much of each unit a target may promise."""

_EPOCH: Final = date(1970, 1, 1).toordinal()


def open_on(calendar: Calendar, day: date) -> tuple[Span, ...]:
    """The open spans of one local date, ascending; none on a holiday."""
    if day.isoformat() in calendar.holidays:
        return ()
    hours = calendar.open.get(day.weekday(), ())
    return tuple(sorted(span for opens, closes in hours for span in _read(calendar.zone, day, opens, closes)))


def _read(zone: str, day: date, opens_min: int, closes_min: int) -> list[Span]:
    """The instants of ``day`` at which the zone's clock reads ``[opens_min, closes_min)`` minutes after midnight."""
    midnight_s = (day.toordinal() - _EPOCH) * DAY_S
    opens_s, closes_s = midnight_s + opens_min * 60, midnight_s + closes_min * 60
    before_s, after_s, change_s = _offsets(zone, day.toordinal())
    under_old = (opens_s - before_s, min(closes_s - before_s, change_s))
    under_new = (max(opens_s - after_s, change_s), closes_s - after_s)
    return [span for span in (under_old, under_new) if span[0] < span[1]]


@lru_cache(maxsize=4096)
def _offsets(zone: str, ordinal: int) -> tuple[int, int, int]:
    """``(before, after, change)``: the zone's offsets around a local date, and the instant at which they change.

    Without a change the instant lies behind the date. No zone changes its clock twice in the 56 hours looked at.
    """
    midnight_s = (ordinal - _EPOCH) * DAY_S
    low, high = midnight_s - FARTHEST_OFFSET_S, midnight_s + DAY_S + FARTHEST_OFFSET_S
    before, after = _offset(zone, low), _offset(zone, high)
    if before == after:
        return before, after, high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
    return before, after, high


def _offset(zone: str, at_s: int) -> int:
    offset = datetime.fromtimestamp(at_s, ZoneInfo(zone)).utcoffset() or timedelta()
    return offset // timedelta(seconds=1)


def local_date(zone: str, at_s: int) -> date:
    return datetime.fromtimestamp(at_s, ZoneInfo(zone)).date()


def advance(calendar: Calendar, from_s: int, open_s: int) -> int:
    """The first instant by which ``open_s`` seconds of open time have passed since ``from_s``.

    That is the close of business and not the next opening, when both would do. Raises ``ValueError`` for a
    calendar that stays closed for ten years, and for an instant that is more than a century away.
    """
    if open_s <= 0:
        return from_s
    day, closed_days = local_date(calendar.zone, from_s), 0
    last = day + timedelta(days=LONGEST_DAYS)
    while closed_days <= LONGEST_CLOSURE_DAYS and day < last:
        closed_days += 1
        for opens, closes in open_on(calendar, day):
            begin = max(opens, from_s)
            if begin >= closes:
                continue
            if open_s <= closes - begin:
                return begin + open_s
            open_s, closed_days = open_s - (closes - begin), 0
        day += timedelta(days=1)
    far = "for ten years" if day < last else "often enough within a century"
    raise ValueError(f"calendar {calendar.name} does not open {far}")


def open_seconds(calendar: Calendar, from_s: int, to_s: int) -> int:
    """Seconds within ``[from_s, to_s)`` in which the calendar is open."""
    total, day, last = 0, local_date(calendar.zone, from_s), local_date(calendar.zone, max(from_s, to_s))
    while day <= last:
        total += sum(max(min(closes, to_s) - max(opens, from_s), 0) for opens, closes in open_on(calendar, day))
        day += timedelta(days=1)
    return total


def length_s(target: BusinessTime, calendar: Calendar | None) -> int:
    """Seconds of elapsed or of open time that ``target`` asks for.

    A part of a second is dropped: instants are whole seconds, and one within the target is within what is left.
    Raises ``ValueError`` when business time has no calendar.
    """
    if target.unit == "elapsed_us":
        return target.amount // SECOND_US
    if calendar is None:
        raise ValueError("business time needs a calendar")
    day_s = calendar.business_day_us // SECOND_US
    return target.amount * (HOUR_S if target.unit == "business_hours" else day_s)


def reached_s(target: BusinessTime, calendar: Calendar | None, from_s: int, percent: int = 100) -> int:
    """When ``percent`` of ``target`` has passed since ``from_s``: elapsed time round the clock, or open time."""
    share_s = -(-length_s(target, calendar) * percent // 100)
    if target.unit == "elapsed_us" or calendar is None:
        return from_s + share_s
    return advance(calendar, from_s, share_s)
