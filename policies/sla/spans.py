"""Sets of time as sorted half-open intervals ``[from, to)`` of integer Unix seconds (spec X1, X2).

Every result is in normal form: no interval is empty, none overlaps or touches the next. So equal sets are equal
tuples, overlaps count once, and windows that touch leave no gap.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import itemgetter

Span = tuple[int, int]
Spans = tuple[Span, ...]

ALWAYS: Spans = ((-(2**62), 2**62),)
"""All of time, for a contract without an end."""

_start, _end = itemgetter(0), itemgetter(1)


def spans(pairs: Iterable[Span]) -> Spans:
    """The set of the seconds in any of ``pairs``; a pair that ends before it begins holds none."""
    made: list[Span] = []
    for start, end in sorted(pairs):
        if end <= start:
            continue
        if made and start <= made[-1][1]:
            made[-1] = (made[-1][0], max(made[-1][1], end))
        else:
            made.append((start, end))
    return tuple(made)


def union(*sets: Spans) -> Spans:
    filled = [each for each in sets if each]
    return filled[0] if len(filled) == 1 else spans(chain.from_iterable(filled))


def of_blocks(starts: Sequence[int], seconds: int) -> Spans:
    """Blocks of equal length, at ascending starts that do not overlap."""
    if not starts:
        return ()
    made: list[Span] = []
    begun = end = starts[0]
    for start in starts:
        if start != end:
            made.append((begun, end))
            begun = start
        end = start + seconds
    return (*made, (begun, end))


def intersection(one: Spans, other: Spans) -> Spans:
    if len(one) > len(other):
        one, other = other, one
    return tuple(chain.from_iterable(_clipped(other, each) for each in one))


def _clipped(one: Spans, to: Span) -> Spans:
    """Its part within a single interval: found by bisection, so that a short one costs little in a long set."""
    first = bisect_right(one, to[0], key=_end)
    last = bisect_left(one, to[1], key=_start)
    if first >= last:
        return ()
    if one[first][0] >= to[0] and one[last - 1][1] <= to[1]:
        return one[first:last]
    inner = list(one[first:last])
    inner[0] = (max(inner[0][0], to[0]), inner[0][1])
    inner[-1] = (inner[-1][0], min(inner[-1][1], to[1]))
    return tuple(inner)


def difference(one: Spans, other: Spans) -> Spans:
    """The seconds of ``one`` that are not in ``other``."""
    return intersection(one, _complement(other)) if one else ()


def _complement(one: Spans) -> Spans:
    edges = [ALWAYS[0][0], *chain.from_iterable(one), ALWAYS[0][1]]
    return tuple(zip(edges[::2], edges[1::2], strict=True))


def length(one: Spans) -> int:
    """How many seconds it holds."""
    return sum(end - start for start, end in one)


def earliest(one: Spans, seconds: int) -> Spans:
    """Its first ``seconds`` seconds, in time order."""
    made: list[Span] = []
    for start, end in one:
        if seconds <= 0:
            break
        made.append((start, min(end, start + seconds)))
        seconds -= end - start
    return tuple(made)


def covered(sets: Sequence[Spans], at_least: int) -> Spans:
    """The seconds that lie in ``at_least`` of ``sets`` or more; for 0 that is all of time."""
    if at_least <= 0:
        return ALWAYS
    edges = sorted((at, step) for each in sets for start, end in each for at, step in ((start, 1), (end, -1)))
    made: list[Span] = []
    depth = begun = 0
    for at, step in edges:
        before, depth = depth, depth + step
        if before < at_least <= depth:
            begun = at
        elif depth < at_least <= before:
            made.append((begun, at))
    return spans(made)
