"""A month, quarter or year between local midnights of a zone, in elapsed seconds (spec P1, P7).

Leap seconds are not counted (POSIX time). Evaluated are months; longer periods are sums of theirs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_NAME = re.compile(r"(\d{4})(?:-(?:(\d\d)|Q([1-4])))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """``[start_s, end_s)`` of Unix seconds; ``name`` is ``2026-04``, ``2026-Q2`` or ``2026``."""

    name: str
    zone: str
    start_s: int
    end_s: int

    @property
    def seconds(self) -> int:
        return self.end_s - self.start_s


@lru_cache(maxsize=1024)
def period(name: str, zone: str = "UTC") -> Period:
    """The period called ``name`` in ``zone``. Raises ``ValueError`` for a name or a zone that is none."""
    first, months = _parts(name)
    try:
        ends = _midnight(_later(first, months), zone)
    except (OverflowError, ZoneInfoNotFoundError) as error:
        raise ValueError(f"{name} in {zone} is no period: {error}") from error
    return Period(name=name, zone=zone, start_s=_midnight(first, zone), end_s=ends)


def month(name: str, zone: str = "UTC") -> Period:
    """The same, and of a month alone."""
    if len(name) != len("2026-04") or "Q" in name:
        raise ValueError(f"{name!r} is no month, such as 2026-04")
    return period(name, zone)


def months_of(whole: Period) -> tuple[Period, ...]:
    """The months that ``whole`` consists of, in order."""
    first, months = _parts(whole.name)
    days = (_later(first, number) for number in range(months))
    return tuple(period(f"{day.year:04}-{day.month:02}", whole.zone) for day in days)


def month_at(instant_s: int, zone: str) -> Period:
    """The month that holds an instant."""
    local = _local(instant_s, zone)
    return period(f"{local.year:04}-{local.month:02}", zone)


def months_before(name: str, months: int) -> str:
    """The name of the month that many before the month ``name``; none is before the year 1."""
    first, _ = _parts(name)
    back = max(12, first.year * 12 + first.month - 1 - months)
    return f"{back // 12:04}-{back % 12 + 1:02}"


def contract_year(name: str, began_s: int | None, zone: str) -> str:
    """The first month of the contract year that the month ``name`` lies in; of the calendar's without a beginning."""
    begins = f"{name[:4]}-01" if began_s is None else month_at(began_s, zone).name
    (first, _), (this, _) = _parts(begins), _parts(name)
    return months_before(name, ((this.year - first.year) * 12 + this.month - first.month) % 12)


def begins_month(instant_s: int, zone: str) -> bool:
    """Whether the instant is a month's first (V2)."""
    return month_at(instant_s, zone).start_s == instant_s


def midnight_from(instant_s: int, zone: str, *, days: int = 0) -> int:
    """The first local midnight at or after the instant, and from there ``days`` calendar days on (C3)."""
    day = _local(instant_s, zone).date()
    if _midnight(day, zone) < instant_s:
        day += timedelta(days=1)
    return _midnight(day + timedelta(days=days), zone)


def _parts(name: str) -> tuple[date, int]:
    """Its first day and its length in months."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name!r} is no month, quarter or year")
    year, month, quarter = found.groups()
    if quarter is not None:
        return date(int(year), 3 * int(quarter) - 2, 1), 3
    return (date(int(year), 1, 1), 12) if month is None else (date(int(year), int(month), 1), 1)


def _later(first: date, months: int) -> date:
    ahead = first.year * 12 + first.month - 1 + months
    return date(ahead // 12, ahead % 12 + 1, 1)


def _midnight(day: date, zone: str) -> int:
    """Of two midnights the first; one that the zone skips is the instant of the change."""
    return int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).timestamp())


def _local(instant_s: int, zone: str) -> datetime:
    return datetime.fromtimestamp(instant_s, UTC).astimezone(ZoneInfo(zone))
