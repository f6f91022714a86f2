"""What was requested and failed in each slot, and which slots are bad (spec T2, T6, T7).

Sparse: a slot without requests is not there and costs nothing. Failures are held by cause, so that a slot is judged
by walking the failures of the counted causes alone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import repeat
from types import MappingProxyType

from policies.sla.spans import Span
from policies.sla.terms import SlaTerms

Column = Mapping[int, int]
"""Start of a slot, Unix seconds on the slot grid -> how many requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """``good`` requests by slot; ``failed`` by cause and slot, of all causes, those of ignored requests included.

    Whether a cause counts is for the terms to say: a cause that they do not count is in neither numerator nor
    denominator.
    """

    good: Column = field(default_factory=lambda: MappingProxyType({}))
    failed: Mapping[str, Column] = field(default_factory=lambda: MappingProxyType({}))


NO_TRAFFIC = Traffic()


def errors_of(traffic: Traffic, terms: SlaTerms) -> Column:
    """Failures that count, by slot."""
    columns = [column for cause in terms.causes if (column := traffic.failed.get(cause))]
    if len(columns) == 1:
        return columns[0]
    summed: dict[int, int] = {}
    for column in sorted(columns, key=len, reverse=True):
        if not summed:
            summed = dict(column)
            continue
        for slot, count in column.items():
            summed[slot] = summed.get(slot, 0) + count
    return summed


def bad_slots(traffic: Traffic, terms: SlaTerms, seen: Span) -> tuple[int, ...]:
    """Starts of the bad slots that touch ``seen``, ascending: ``100 * errors >= threshold * eligible`` (T2).

    In integers, with eligible = good + errors: ``errors * (100 d - n) >= n * good`` for a threshold of n/d percent.
    """
    return bad_among(errors_of(traffic, terms), traffic.good, terms, seen)


def bad_among(errors: Column, served: Column, terms: SlaTerms, seen: Span) -> tuple[int, ...]:
    """The same where ``errors`` are summed already; ``served`` are the good requests."""
    good, threshold = served.get, Fraction(terms.threshold_percent)
    n, least = threshold.numerator, least_requests(terms)
    share = 100 * threshold.denominator - n
    bad = [slot for slot, count in errors.items() if count * share >= n * good(slot, 0) and count]
    if least > 1:
        bad = [slot for slot in bad if errors[slot] + good(slot, 0) >= least]
    bad.sort()
    return tuple(bad[bisect_right(bad, seen[0] - terms.slot_seconds) : bisect_left(bad, seen[1])])


def least_requests(terms: SlaTerms) -> int:
    """Below it a slot is idle. A slot without any request always is (T7)."""
    return max(1, terms.min_requests_per_slot)


def requests_in(slots: tuple[int, ...], column: Column) -> int:
    """Sum over ``slots``."""
    return sum(map(column.get, slots, repeat(0)))
