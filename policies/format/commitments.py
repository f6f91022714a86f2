"""Promises that name a share and a time, as they are written: ``99% under 500ms``, ``90% within 6h``.

How they are judged is ``policies.sla.histogram`` and ``policies.sla.support``.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from policies.format.units import ValueProblem, parse_business_time, parse_duration, parse_percent, short
from policies.model import Attain
from policies.sla.histogram import BOUNDS_US, Commitment

_LATENCY: Final = re.compile(r"\s*(\S+\s?%)\s+(?:under|below|<)\s+(\S.*?)\s*", re.IGNORECASE)
_SUPPORT: Final = re.compile(r"\s*(\S+\s?%)\s+(?:within|in)\s+(\S.*?)\s*", re.IGNORECASE)
_WORDED: Final = tuple(f"{us // 1_000}ms" if us % 1_000_000 else f"{us // 1_000_000}s" for us in BOUNDS_US)


def parse_commitment(value: object) -> Commitment:
    """``99% under 500ms``, of a time that the histograms have a bound at. Raises ``ValueProblem`` (TG143, TG113,
    TG111)."""
    found = _LATENCY.fullmatch(str(value))
    if found is None:
        raise ValueProblem("TG143", f"{short(value)} is no commitment", "write '99% under 500ms'")
    return Commitment(share=_share(found[1]), under_us=_bound(found[2]))


def _share(text: str) -> Fraction:
    number = parse_percent(text)
    if not number:
        raise ValueProblem("TG143", f"{short(text)} promises nothing", "write a share above 0%")
    return Fraction(number) / 100


def _bound(text: str) -> int:
    """A time between two bounds could only be judged by a guess (spec K2)."""
    under_us = parse_duration(text)
    if under_us in BOUNDS_US:
        return under_us
    near = min(BOUNDS_US, key=lambda bound: (abs(bound - under_us), bound))
    hint = f"did you mean '{_WORDED[BOUNDS_US.index(near)]}'? bounds: {', '.join(_WORDED)}"
    raise ValueProblem("TG143", f"{short(text)} is no bound at which requests are counted", hint)


def parse_objective(value: object) -> Attain:
    """``90% within 6h``. Raises ``ValueProblem`` (TG143, TG113, TG115)."""
    found = _SUPPORT.fullmatch(str(value))
    if found is None:
        raise ValueProblem("TG143", f"{short(value)} is no objective", "write '90% within 6h'")
    return Attain(share=_share(found[1]), within=parse_business_time(found[2]))
