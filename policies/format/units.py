"""How amounts with units are written: durations, sizes, percentages, counts, business time, rates.

Text in, exact numbers out (integers and ``Decimal``, never floats); anything else is a ``ValueProblem`` that says
what was probably meant. Which key takes which unit is not decided here. Source: spec policy.md, Rules, Kinds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from fractions import Fraction
from functools import lru_cache
from typing import Final, Literal

from policies.model import BusinessTime
from policies.sla.opening import LONGEST

LARGEST: Final = 10**12
"""No amount in a policy file may be beyond this."""

SECOND_US: Final = 1_000_000
DURATIONS: Final[Mapping[str, int]] = {
    "ms": 1_000,
    "s": SECOND_US,
    "m": 60 * SECOND_US,
    "h": 3_600 * SECOND_US,
    "d": 86_400 * SECOND_US,
}
SIZES: Final[Mapping[str, int]] = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
CANONICAL_RATE_UNITS: Final = ("s", "min", "h", "day", "month")
RATE_UNITS: Final[Mapping[str, str]] = {
    "s": "s", "sec": "s", "second": "s", "seconds": "s",
    "min": "min", "minute": "min", "minutes": "min",
    "h": "h", "hour": "h", "hours": "h",
    "day": "day", "days": "day",
    "month": "month", "months": "month",
}  # fmt: skip
RATE_PERIODS: Final[Mapping[str, int]] = {
    "s": SECOND_US,
    "min": 60 * SECOND_US,
    "h": 3_600 * SECOND_US,
    "day": 86_400 * SECOND_US,
}
UNIT_NAMES: Final[Mapping[str, str]] = {"s": "second", "min": "minute", "h": "hour", "day": "day", "month": "month"}
"""The limit's name when the notation of several limits in one string gives it none."""

_MEANT: Final[Mapping[str, str]] = {
    "min": "m", "mins": "m", "minute": "m", "minutes": "m", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "hr": "h", "hrs": "h", "hour": "h", "hours": "h", "day": "d", "days": "d", "msec": "ms", "millis": "ms",
    "kb": "KiB", "k": "KiB", "kib": "KiB", "mb": "MiB", "m": "MiB", "mib": "MiB", "gb": "GiB", "g": "GiB",
    "gib": "GiB", "b": "B", "bytes": "B",
}  # fmt: skip
_RATE_MEANT: Final[Mapping[str, str]] = {
    "m": "min", "mim": "min", "mins": "min", "hr": "h", "hrs": "h", "d": "day", "mo": "month", "mon": "month",
    "secs": "s",
}  # fmt: skip

_COUNT = re.compile(r"[0-9]+(?:_[0-9]+)*")
_AMOUNT = re.compile(r"([0-9]+(?:_[0-9]+)*)\s*([^\W\d_]+)")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,12})?)\s*%")
_RATE = re.compile(r"([0-9]+(?:_[0-9]+)*)\s*(?:/|\s(?:per)\s)\s*(?:([0-9]+(?:_[0-9]+)*)\s*)?([^\W\d_]+)")


class ValueProblem(ValueError):
    """A value that cannot be read. ``code`` is a row of ``findings``; ``hint`` what was probably meant."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """``amount`` units in every ``times`` x ``unit``; ``period_us`` is None for a month, whose length varies."""

    amount: int
    times: int
    unit: Literal["s", "min", "h", "day", "month"]
    period_us: int | None


def closest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """``did you mean 'x'?`` for the nearest of ``known``, or an empty string."""
    found = get_close_matches(word, list(known)[:5_000], n=1, cutoff=cutoff) if len(word) <= 200 else []
    return f"did you mean '{found[0]}'?" if found else ""


def short(value: object) -> str:
    """A value as an error may quote it: one line, at most 40 characters."""
    text = str(value)
    return repr(text if len(text) <= 40 else text[:37] + "...")


def parse_count(value: object, *, least: int = 0) -> int:
    """``5000`` or ``5_000``. Raises ``ValueProblem`` (TG114)."""
    number = _as_int(value, "TG114", "a whole number")
    return _bounded(number, "TG114", least)


def parse_duration(value: object) -> int:
    """``250ms 30s 5m 2h 7d`` in microseconds. Raises ``ValueProblem`` (TG111)."""
    amount, unit = _amount_of(value, "TG111", "a duration", "s")
    scale = DURATIONS.get(unit)
    if scale is None:
        raise _unknown_unit("TG111", "duration", amount, unit, DURATIONS)
    total = amount * scale
    if total > 36_500 * DURATIONS["d"]:
        raise ValueProblem("TG111", f"{short(value)} is longer than 36500d", "the longest duration is 36500d")
    return total


def parse_size(value: object) -> int:
    """``64KiB 1MiB`` in bytes. Raises ``ValueProblem`` (TG112)."""
    amount, unit = _amount_of(value, "TG112", "a size", "KiB")
    scale = SIZES.get(unit)
    if scale is None:
        raise _unknown_unit("TG112", "size", amount, unit, SIZES)
    return _bounded(amount * scale, "TG112", 0)


def parse_percent(value: object) -> Decimal:
    """``99.9%`` as a ``Decimal`` of 0 to 100. Raises ``ValueProblem`` (TG113)."""
    text = str(value).strip()
    found = _PERCENT.fullmatch(text)
    if found is None:
        plain = text.replace(",", ".").replace(" ", "").rstrip("%")
        hint = f"did you mean '{plain}%'?" if _PERCENT.fullmatch(plain + "%") else "percentages are written '99.9%'"
        raise ValueProblem("TG113", f"{short(value)} is not a percentage", hint)
    number = Decimal(found[1])
    if number > 100:
        raise ValueProblem("TG113", f"{short(value)} is more than 100%", "percentages run from 0% to 100%")
    return number


def parse_business_time(value: object) -> BusinessTime:
    """``4bh``, ``1bd`` or an elapsed duration such as ``30m``. Raises ``ValueProblem`` (TG115)."""
    amount, unit = _amount_of(value, "TG115", "a response time", "m")
    if amount == 0:
        raise ValueProblem("TG115", f"{short(value)} is no time at all", "name at least 1m")
    match unit:
        case "bh":
            return _business_time("business_hours", amount, value)
        case "bd":
            return _business_time("business_days", amount, value)
        case _ if unit in DURATIONS:
            return BusinessTime(unit="elapsed_us", amount=parse_duration(value))
    raise _unknown_unit("TG115", "time", amount, unit, ("bh", "bd", *DURATIONS))


def _business_time(unit: Literal["business_hours", "business_days"], amount: int, value: object) -> BusinessTime:
    if amount > LONGEST[unit]:
        raise ValueProblem("TG115", f"{short(value)} is no time to wait for", "at most 100_000bh or 10_000bd")
    return BusinessTime(unit=unit, amount=amount)


@lru_cache(maxsize=4096)
def _rate_of_text(text: str) -> Rate:
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise ValueProblem("TG110", f"{short(text)} is not a rate", _rate_hint(text))
    amount = _bounded(_int_of(found[1], "TG110"), "TG110", 1)
    times = _bounded(_int_of(found[2] or "1", "TG110"), "TG110", 1)
    unit = RATE_UNITS.get(found[3].lower())
    if found[3] in ("ms", "us"):
        hint = f"did you mean '{max(1, amount * (1_000 if found[3] == 'ms' else 1_000_000) // times)}/s'?"
        raise ValueProblem("TG212", "a window is at least 1 s long", hint)
    if unit is None:
        raise _unknown_rate_unit(found[1], found[2] or "", found[3])
    period = RATE_PERIODS.get(unit)
    return Rate(amount=amount, times=times, unit=unit, period_us=None if period is None else period * times)  # type: ignore[arg-type]


def parse_rate(value: object) -> Rate:
    """``60/min``, ``10/30s``, ``5_000/day``, ``100 per minute``. Raises ``ValueProblem`` (TG110)."""
    if isinstance(value, bool) or not isinstance(value, str):
        hint = f"did you mean '{value}/min'?" if isinstance(value, int) and not isinstance(value, bool) else ""
        raise ValueProblem("TG110", f"{short(value)} is not a rate", hint or "rates are written '60/min'")
    return _rate_of_text(str(value))


def parse_rate_list(text: str) -> list[tuple[str, str]]:
    """``100 per minute; 1000/day`` as pairs of a name made from the unit and the rate's own text.

    Raises ``ValueProblem`` (TG110), also when two rates would get the same name.
    """
    pairs: dict[str, str] = {}
    for part in re.split(r"[;,]", text):
        rate = parse_rate(part.strip())
        name = UNIT_NAMES[rate.unit] if rate.times == 1 else f"{rate.times}{rate.unit}"
        if name in pairs:
            raise ValueProblem("TG110", f"two limits would be named '{name}'", "name them: {burst: 10/s, calm: 5/s}")
        pairs[name] = part.strip()
    return list(pairs.items())


def _as_int(value: object, code: str, what: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value).strip()
    if isinstance(value, str) and _COUNT.fullmatch(text):
        return _int_of(text, code)
    digits = re.sub(r"[,' ]", "", text)
    meant = f"did you mean '{digits}'?" if isinstance(value, str) and digits.isdecimal() and len(digits) < 16 else ""
    raise ValueProblem(code, f"{short(value)} is not {what}", meant or "counts are written 5000 or 5_000")


def _int_of(digits: str, code: str) -> int:
    if len(digits) > 40:
        raise ValueProblem(code, f"{short(digits)} is too large", f"the largest amount is {LARGEST:_}")
    return int(digits.replace("_", ""))


def _bounded(number: int, code: str, least: int) -> int:
    if number > LARGEST:
        raise ValueProblem(code, f"{short(number)} is too large", f"the largest amount is {LARGEST:_}")
    if number < least:
        raise ValueProblem(code, f"{number} is too small", f"the smallest amount is {least}")
    return number


def _amount_of(value: object, code: str, what: str, unit: str) -> tuple[int, str]:
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueProblem(code, f"{short(value)} has no unit", f"did you mean '{short(value)[1:-1]}{unit}'?")
    text = str(value).strip()
    found = _AMOUNT.fullmatch(text) if isinstance(value, str) else None
    if found is None:
        bare = f"did you mean '{text}{unit}'?" if _COUNT.fullmatch(text) else f"write {what} like '30{unit}'"
        raise ValueProblem(code, f"{short(value)} is not {what}", bare)
    return _bounded(_int_of(found[1], code), code, 0), found[2]


def _unknown_unit(code: str, what: str, amount: int, unit: str, known: Iterable[str]) -> ValueProblem:
    names = list(known)
    meant = unit if unit in names else _MEANT.get(unit.lower(), "")
    if meant not in names:
        meant = next(iter(get_close_matches(unit, names, n=1, cutoff=0.4)), "")
    said = f"did you mean '{amount}{meant}'? " if meant else ""
    return ValueProblem(code, f"unknown {what} unit {short(unit)}", f"{said}units: {', '.join(names)}")


def _unknown_rate_unit(amount: str, times: str, unit: str) -> ValueProblem:
    meant = _RATE_MEANT.get(unit.lower(), "")
    if not meant:
        near = get_close_matches(unit.lower(), list(RATE_UNITS), n=1, cutoff=0.5)
        meant = RATE_UNITS[near[0]] if near else ""
    said = f"did you mean '{amount}/{times}{meant}'? " if meant else ""
    return ValueProblem("TG110", f"unknown time unit {short(unit)}", f"{said}units: {', '.join(CANONICAL_RATE_UNITS)}")


def _whole_hint(amount: Fraction, unit: str | None) -> str:
    """A fraction of a call as whole calls in a longer window, where windows can be longer."""
    if unit in ("s", "min", "h") and amount > 0:
        return f"amounts are whole; the same over a longer window is '{amount.numerator}/{amount.denominator}{unit}'"
    return "amounts are whole numbers: 5_000/day"


def _rate_hint(text: str) -> str:
    plain = text.strip()
    if _COUNT.fullmatch(plain):
        return f"did you mean '{plain}/min'?"
    if plain.lower() in ("none", "off", "no", "null", "unlimited", "infinite", "disabled"):
        return "to remove an inherited limit write null; to have none, leave it out"
    cut = re.fullmatch(r"([0-9][0-9_,.']*)\s*/\s*(\w+)", plain)
    if cut and re.fullmatch(r"[0-9_]{1,3}([,.'][0-9]{3})+", cut[1]):
        digits = re.sub(r"[,.']", "", cut[1])
        return f"did you mean '{digits}/{cut[2]}'?"
    if cut and re.fullmatch(r"[0-9]{1,9}[.,][0-9]{1,4}", cut[1]):
        return _whole_hint(Fraction(cut[1].replace(",", ".")), RATE_UNITS.get(cut[2].lower()))
    return "rates are written '60/min', '10/30s' or '5_000/day'"
