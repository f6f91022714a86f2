"""Sets of time as sorted half-open intervals ``[from, to)`` of integer Unix seconds (spec X1, X2).

Every result is in normal form: no interval is empty, none overlaps or touches the next. So equal sets are equal
tuples, overlaps count once, and windows that touch leave no gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

Span = tuple[int, int]
Spans = tuple[Span, ...]

ALWAYS: Spans = ((-(2**62), 2**62),)
"""All of time, for a contract without an end."""


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


def intersection(one: Spans, other: Spans) -> Spans:
    made: list[Span] = []
    at = 0
    for start, end in one:
        while at < len(other) and other[at][1] <= start:
            at += 1
        ahead = at
        while ahead < len(other) and other[ahead][0] < end:
            made.append((max(start, other[ahead][0]), min(end, other[ahead][1])))
            ahead += 1
    return tuple(made)


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
