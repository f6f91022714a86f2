"""The instant that a text denotes, in microseconds since 1970: dates as HTTP, ISO 8601 and JavaScript write them.

Whether an instant is believed, and how far away it is, are ``amounts``' to say. Sources: RFC 9110 5.6.7 (HTTP-date),
RFC 3339 and ISO 8601, ECMA-262 21.4.4.41 (Date.prototype.toString).

The expressions are unambiguous: a repeated set never holds a character that may follow it, so a text is walked over
once and each try back ends at its first character. ``[0-9]``, not ``\\d``, which holds other scripts' digits (N2).
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from functools import lru_cache

SECOND_US = 1_000_000
_DAY_S = 86_400
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIFTY_YEARS_US = 50 * 31_556_952 * SECOND_US
_MONTHS = {
    "Jan": 1, "Feb": 2, "Mar": 3, "Apr": 4, "May": 5, "Jun": 6,
    "Jul": 7, "Aug": 8, "Sep": 9, "Oct": 10, "Nov": 11, "Dec": 12,
}  # fmt: skip

_MONTH = f"({'|'.join(_MONTHS)})"
_WEEKDAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_WEEKDAY = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_MINUTE = "([01][0-9]|2[0-3]):([0-5][0-9])"
_SECOND = "([0-5][0-9]|60)"  # 60 is a leap second, which is taken for the next minute's first
_OFFSET = "([+-])([01][0-9]|2[0-3])"

# `-0000` is what Internet messages write for GMT; RFC 9110 5.6.7 asks recipients to be robust about their forms.
_IMF_FIXDATE = re.compile(f"{_WEEKDAY}, ([0-9]{{1,2}}) {_MONTH} ([0-9]{{4}}) {_MINUTE}:{_SECOND} (?:GMT|UTC|[+-]0000)")
_RFC850 = re.compile(f"{_LONG_WEEKDAY}, ([0-9]{{2}})-{_MONTH}-([0-9]{{2}}) {_MINUTE}:{_SECOND} GMT")
_ASCTIME = re.compile(f"{_WEEKDAY} {_MONTH} {{1,2}}([0-9]{{1,2}}) {_MINUTE}:{_SECOND} ([0-9]{{4}})")
_ISO = re.compile(
    f"([0-9]{{4}})-([0-9]{{2}})-([0-9]{{2}})[Tt ]{_MINUTE}(?::{_SECOND}(?:[.]([0-9]+))?)?"
    f" ?(?:[Zz]|UTC|{_OFFSET}(?::?([0-5][0-9]))?)?"
)
_JS = re.compile(
    f"{_WEEKDAY} {_MONTH} ([0-9]{{2}}) ([0-9]{{4}}) {_MINUTE}:{_SECOND} GMT{_OFFSET}([0-5][0-9])(?: [(][^()]*[)])?"
)


@lru_cache(maxsize=64)
def _imf_fixdate(day: str, month: str, year: str, *time: str) -> int | None:
    """The form that everybody sends, and that is the same for all answers of a second."""
    return _instant_us(int(year), _MONTHS[month], int(day), *time)


def http_date(text: str, now_us: int) -> int | None:
    """The instant of an HTTP-date in any of its three forms.

    The weekday is not compared with the date. ``now_us`` finds the century of the form with two digits.
    """
    found = _IMF_FIXDATE.fullmatch(text)
    if found is not None:
        return _imf_fixdate(*found.groups())
    found = _ASCTIME.fullmatch(text)
    if found is not None:
        month, day, hour, minute, second, year = found.groups()
        return _instant_us(int(year), _MONTHS[month], int(day), hour, minute, second)
    found = _RFC850.fullmatch(text)
    return None if found is None else _in_some_century(found.groups(), now_us)


def _in_some_century(groups: tuple[str, ...], now_us: int) -> int | None:
    """An rfc850-date: what seems more than 50 years ahead lies in the past (RFC 9110 5.6.7)."""
    day, month, digits, *time = groups
    earliest = datetime.fromtimestamp(now_us // SECOND_US, UTC).year - 49
    year = earliest + (int(digits) - earliest) % 100
    at_us = _instant_us(year, _MONTHS[month], int(day), *time)
    if at_us is not None and at_us > now_us + _FIFTY_YEARS_US:
        return _instant_us(year - 100, _MONTHS[month], int(day), *time)
    return at_us


def iso_date_time(text: str) -> int | None:
    """The instant of an ISO 8601 date and time, with ``T`` or a blank, to the minute or finer, UTC without a zone.

    A fraction of any length is rounded up to a microsecond.
    """
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = found.groups()
    at_us = _instant_us(int(year), int(month), int(day), hour, minute, second or "0")
    if at_us is None:
        return None
    if fraction:
        at_us += -(-int(fraction) * SECOND_US // 10 ** len(fraction))
    return at_us if sign is None else at_us - _offset_us(sign, hours, minutes or "0")


def js_date(text: str) -> int | None:
    """The instant of what JavaScript's ``Date.toString()`` prints; the zone's name in brackets says nothing."""
    found = _JS.fullmatch(text)
    if found is None:
        return None
    month, day, year, hour, minute, second, sign, hours, minutes = found.groups()
    at_us = _instant_us(int(year), _MONTHS[month], int(day), hour, minute, second)
    return None if at_us is None else at_us - _offset_us(sign, hours, minutes)


def _instant_us(year: int, month: int, day: int, hour: str, minute: str, second: str) -> int | None:
    """None for a date that no calendar has. Integers alone: no year overflows, whatever the zone."""
    try:
        days = date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    return (days * _DAY_S + int(hour) * 3600 + int(minute) * 60 + int(second)) * SECOND_US


def _offset_us(sign: str, hours: str, minutes: str) -> int:
    offset_us = (int(hours) * 60 + int(minutes)) * 60 * SECOND_US
    return -offset_us if sign == "-" else offset_us
