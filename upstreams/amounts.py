"""What the numbers and times in fields mean: counts, percentages, and whole seconds from now.

Which field holds what, and in which unit, is a profile's to say. Source: spec throttling.md N2-N7 and N11. Integers
from end to end; a text longer than ``LONGEST`` is no amount. As for linear time see ``instants``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from policies.throttling import MAX_WAIT_S, Unit
from upstreams.instants import SECOND_US, http_date, iso_date_time, js_date

LONGEST: Final = 256
_MAX_DIGITS = 15
_BLANKS = " \t"
_EPOCH_S = 10**9
_EPOCH_MS = 10**12
_CLOCKS_AGREE_US = 3600 * SECOND_US
_FARTHEST_US = MAX_WAIT_S * SECOND_US

_NUMBER = re.compile("([0-9]{1,15})(?:[.]([0-9]+))?")
_SIGNED = re.compile("(-?)([0-9]{1,15})(?:[.]([0-9]+))?")
_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,  # the micro sign
    "\u03bcs": 1_000,  # the Greek letter
    "\u00c2\u00b5s": 1_000,  # the micro sign's two octets of UTF-8, which Go prints, each read as latin-1
    "\u00ce\u00bcs": 1_000,  # the letter's
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_DURATION_PART = re.compile(f"([0-9]{{1,15}})(?:[.]([0-9]+))?({'|'.join(sorted(_UNITS_NS, key=len, reverse=True))})")


def count(text: str) -> int | None:
    """A count, rounded down (N2, N5). Negative after a ``-``, which callers take for a sentinel (N11)."""
    if text.isascii() and text.isdigit():
        return int(text) if len(text) <= _MAX_DIGITS else None
    return _rounded(text, up=False)


def percent(text: str) -> int | None:
    """A share that is used up, rounded up, so that an almost exhausted limit shows nothing left."""
    return _rounded(text, up=True)


def _rounded(text: str, *, up: bool) -> int | None:
    found = _SIGNED.fullmatch(text.strip(_BLANKS)) if len(text) <= LONGEST else None
    if found is None:
        return None
    sign, whole, fraction = found.groups()
    number = int(sign + whole)
    if not fraction or not fraction.strip("0") or up == bool(sign):
        return number
    return number + 1 if up else number - bool(sign)


class Received:
    """When an answer came, for all the times in it.

    ``now_us`` is the receiver's wall clock in microseconds since 1970, ``date`` the answer's ``Date`` field.
    """

    __slots__ = ("_clock_us", "_date", "now_us")

    def __init__(self, now_us: int, date: str | None = None) -> None:
        self.now_us = now_us
        self._date = date
        self._clock_us: int | None = None

    @property
    def clock_us(self) -> int:
        """What instants are taken against: the sender's own clock if it is within an hour of ours (N3)."""
        if self._clock_us is None:
            self._clock_us = self._compared()
        return self._clock_us

    def _compared(self) -> int:
        if self._date is None or len(self._date) > LONGEST:
            return self.now_us
        sent_us = http_date(self._date.strip(_BLANKS), self.now_us)
        if sent_us is None or abs(sent_us - self.now_us) > _CLOCKS_AGREE_US:
            return self.now_us
        return sent_us


def seconds(text: str, unit: Unit, received: Received) -> int | None:
    """Whole seconds from reception to the time in ``text``: rounded up (N5), 0 for a past instant (N7).

    None where nothing can be read, the number has a sign, or the wait is not to be believed (N6).
    """
    return _READERS[unit](text.strip(_BLANKS), received) if len(text) <= LONGEST else None


def _wait_s(wait_us: int | None) -> int | None:
    return None if wait_us is None or wait_us > _FARTHEST_US else -(-wait_us // SECOND_US)


def _until_s(at_us: int | None, received: Received) -> int | None:
    return None if at_us is None else _wait_s(max(0, at_us - received.clock_us))


def _scaled_us(text: str, unit_us: int) -> int | None:
    """So many units, rounded up to a microsecond; to round that up again loses nothing."""
    if text.isascii() and text.isdigit():
        return int(text) * unit_us if len(text) <= _MAX_DIGITS else None
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    whole_us = int(found[1]) * unit_us
    fraction = found[2]
    return whole_us - (-int(fraction) * unit_us // 10 ** len(fraction)) if fraction else whole_us


def _delta(unit_us: int) -> Callable[[str, Received], int | None]:
    return lambda text, received: _wait_s(_scaled_us(text, unit_us))


def _epoch(unit_us: int) -> Callable[[str, Received], int | None]:
    return lambda text, received: _until_s(_scaled_us(text, unit_us), received)


def _auto(text: str, received: Received) -> int | None:
    """A number by its size (N4), or any of the forms that no number has."""
    if text.isascii() and text.isdigit() and len(text) < 10:  # below _EPOCH_S
        number = int(text)
        return number if number <= MAX_WAIT_S else None
    found = _NUMBER.fullmatch(text)
    if found is None:
        at_us = _date_us(text, received)
        return _in_words(text) if at_us is None else _until_s(at_us, received)
    whole = int(found[1])
    if whole < _EPOCH_S:
        return _wait_s(_scaled_us(text, SECOND_US))
    return _until_s(_scaled_us(text, SECOND_US if whole < _EPOCH_MS else 1000), received)


def _date_us(text: str, received: Received) -> int | None:
    at_us = iso_date_time(text)
    return http_date(text, received.now_us) if at_us is None else at_us


def _date(text: str, received: Received) -> int | None:
    return _until_s(_date_us(text, received), received)


def _js_date(text: str, received: Received) -> int | None:
    return _until_s(js_date(text), received)


def _duration(text: str, received: Received) -> int | None:
    plain_us = _scaled_us(text, SECOND_US)
    return _in_words(text) if plain_us is None else _wait_s(plain_us)


def _in_words(text: str) -> int | None:
    """A duration as Go prints it: ``1h23m31s``, ``2m59.56s``, ``850ms``. Parts are rounded up to a nanosecond."""
    wait_ns = at = 0
    while at < len(text):
        found = _DURATION_PART.match(text, at)
        if found is None:
            return None
        whole, fraction, unit = found.groups()
        unit_ns = _UNITS_NS[unit]
        wait_ns += int(whole) * unit_ns
        if fraction:
            wait_ns -= -int(fraction) * unit_ns // 10 ** len(fraction)
        at = found.end()
    return _wait_s(-(-wait_ns // 1000)) if text else None


def _per_second(text: str, received: Received) -> int | None:
    """The seconds that one unit takes at this rate; None where it never comes."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    whole, fraction = found[1], found[2] or ""
    rate = int(whole + fraction)
    wait_s = -(-(10 ** len(fraction)) // rate) if rate else MAX_WAIT_S + 1
    return wait_s if wait_s <= MAX_WAIT_S else None


_READERS: dict[Unit, Callable[[str, Received], int | None]] = {
    "auto": _auto,
    "delta-seconds": _delta(SECOND_US),
    "delta-milliseconds": _delta(1000),
    "delta-minutes": _delta(60 * SECOND_US),
    "epoch-seconds": _epoch(SECOND_US),
    "epoch-milliseconds": _epoch(1000),
    "date": _date,
    "js-date": _js_date,
    "duration": _duration,
    "per-second": _per_second,
}
