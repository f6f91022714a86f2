"""The bad time of a timeline and its runs: what is downtime, what is merely degraded (spec T2-T8, T10).

Interval-wise: only bad slots, dark intervals and the short gaps between them are looked at, so hours of good or of no
traffic cost nothing. The timeline is continuous; periods and exclusions come later (T11).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from policies.sla.spans import Span, Spans, intersection, spans, union
from policies.sla.terms import SlaTerms
from policies.sla.traffic import Column, Traffic, bad_slots, errors_of, least_requests


@dataclass(frozen=True, slots=True, kw_only=True)
class BadTime:
    """``bad``: maximal stretches of bad seconds, bridged and merged. ``downtime``: those of them that count.

    ``slots``: starts of the bad slots that are evidence, ascending. ``dark`` and ``inherited`` are bad on their own.
    """

    bad: Spans
    downtime: Spans
    slots: tuple[int, ...]
    dark: Spans
    inherited: Spans

    def slots_in(self, span: Span, slot_seconds: int) -> tuple[int, ...]:
        """The evidence that touches ``span``."""
        first = bisect_right(self.slots, span[0] - slot_seconds)
        return self.slots[first : bisect_left(self.slots, span[1])]


def bad_time(traffic: Traffic, platform_bad: Iterable[int], dark: Spans, terms: SlaTerms, seen: Span) -> BadTime:
    """Bad time and downtime within ``seen``; ``platform_bad`` are the slots that idle ones inherit (T10)."""
    errors = errors_of(traffic, terms)
    slots = bad_slots(traffic, terms, seen)
    inherited = _of_slots((each for each in platform_bad if _is_idle(each, traffic.good, errors, terms)), terms)
    dark, inherited = intersection(dark, (seen,)), intersection(inherited, (seen,))
    painted = intersection(union(_of_slots(slots, terms), inherited, dark), (seen,))
    bad = _merged(_bridged(painted, traffic.good, errors, terms), terms.merge_gap_seconds)
    found = BadTime(bad=bad, downtime=(), slots=_lit(slots, dark, terms), dark=dark, inherited=inherited)
    downtime = tuple(
        each for each in bad if each[1] - each[0] >= terms.min_run_seconds and _proven(each, found, errors, terms)
    )
    return BadTime(bad=bad, downtime=downtime, slots=found.slots, dark=dark, inherited=inherited)


def _of_slots(starts: Iterable[int], terms: SlaTerms) -> Spans:
    return spans((start, start + terms.slot_seconds) for start in starts)


def _is_idle(slot: int, good: Column, errors: Column, terms: SlaTerms) -> bool:
    return good.get(slot, 0) + errors.get(slot, 0) < least_requests(terms)


def _bridged(bad: Spans, good: Column, errors: Column, terms: SlaTerms) -> Spans:
    """Short idle stretches between bad ones are bad too: clients back off in an outage (T7)."""
    slot = terms.slot_seconds
    idle: list[Span] = []
    for (_, start), (end, _) in pairwise(bad):
        if end - start <= terms.max_bridge_seconds and all(
            _is_idle(each, good, errors, terms) for each in range(start - start % slot, end, slot)
        ):
            idle.append((start, end))
    return union(bad, tuple(idle))


def _merged(bad: Spans, gap_seconds: int) -> Spans:
    """Gaps up to the knob's length are absorbed, whatever is in them (T5)."""
    gaps = tuple((start, end) for (_, start), (end, _) in pairwise(bad) if end - start <= gap_seconds)
    return union(bad, gaps)


def _lit(slots: tuple[int, ...], dark: Spans, terms: SlaTerms) -> tuple[int, ...]:
    """Without the slots that are wholly dark: darkness is evidence already."""
    for start, end in dark:
        first = bisect_left(slots, start)
        slots = slots[:first] + slots[max(first, bisect_right(slots, end - terms.slot_seconds)) :]
    return slots


def _proven(run: Span, found: BadTime, errors: Column, terms: SlaTerms) -> bool:
    """Enough counted errors, or any second that is bad by itself (T6)."""
    if intersection((run,), found.dark) or intersection((run,), found.inherited):
        return True
    counted = 0
    for slot in found.slots_in(run, terms.slot_seconds):
        counted += errors[slot]
        if counted >= terms.min_run_errors:
            return True
    return counted >= terms.min_run_errors
