"""The bad time of a timeline and its runs: what is downtime, what is merely degraded (spec T2-T8, T10).

Interval-wise: only bad slots, dark intervals and the short gaps between them are looked at, so hours of good or of no
traffic cost nothing. The timeline is continuous; periods and exclusions come later (T11).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from policies.sla.spans import Span, Spans, intersection, of_blocks, union
from policies.sla.terms import SlaTerms
from policies.sla.traffic import Column, Traffic, bad_among, errors_of, least_requests


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
    slots = bad_among(errors, traffic.good, terms, seen)
    idle = [each for each in platform_bad if _is_idle(each, traffic.good, errors, terms)]
    inherited = of_blocks(idle, terms.slot_seconds)
    dark, inherited = intersection(dark, (seen,)), intersection(inherited, (seen,))
    painted = intersection(union(of_blocks(slots, terms.slot_seconds), inherited, dark), (seen,))
    bridged = _bridged(painted, traffic.good, errors, terms)
    bad = _closed(bridged, terms.merge_gap_seconds, lambda start, end: True)  # whatever is in the gap (T5)
    found = BadTime(bad=bad, downtime=(), slots=_lit(slots, dark, terms), dark=dark, inherited=inherited)
    downtime = tuple(
        each for each in bad if each[1] - each[0] >= terms.min_run_seconds and _proven(each, found, errors, terms)
    )
    return BadTime(bad=bad, downtime=downtime, slots=found.slots, dark=dark, inherited=inherited)


def _is_idle(slot: int, good: Column, errors: Column, terms: SlaTerms) -> bool:
    return good.get(slot, 0) + errors.get(slot, 0) < least_requests(terms)


def _bridged(bad: Spans, good: Column, errors: Column, terms: SlaTerms) -> Spans:
    """Short idle stretches between bad ones are bad too: clients back off in an outage (T7)."""
    slot, least = terms.slot_seconds, least_requests(terms)

    def is_idle(start: int, end: int) -> bool:
        touched = range(start - start % slot, end, slot)
        return all(good.get(each, 0) + errors.get(each, 0) < least for each in touched)

    return _closed(bad, terms.max_bridge_seconds, is_idle)


def _closed(bad: Spans, longest: int, closes: Callable[[int, int], bool]) -> Spans:
    """Without the gaps of up to ``longest`` seconds for which ``closes`` holds."""
    if longest == 0 or not bad:
        return bad
    made: list[Span] = []
    begun, ended = bad[0]
    for start, end in bad[1:]:
        if start - ended > longest or not closes(ended, start):
            made.append((begun, ended))
            begun = start
        ended = end
    return (*made, (begun, ended))


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
