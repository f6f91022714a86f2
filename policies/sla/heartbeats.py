"""When the gateway was alive, and so when it was dark: derived from absence (spec D3, D4, T8, T9).

The dead process need not cooperate. A counter flush is a tick too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

from policies.sla.spans import Span, Spans, covered, difference, spans, union

TICK_S = 5
LONGEST_GAP_S = 3 * TICK_S
MIN_VANTAGE_POINTS = 3


def alive(ticks: Iterable[int]) -> Spans:
    """The time that one boot's ticks vouch for: a gap of more than three ends it at the last tick + 5 s (D3)."""
    ordered = sorted(ticks)
    known = [(tick, tick + TICK_S) for tick in ordered]
    bridged = [(one, other) for one, other in pairwise(ordered) if other - one <= LONGEST_GAP_S]
    return spans(known + bridged)


def dark(alive_by_replica: Mapping[str, Iterable[Spans]], quorum: int, within: Span) -> Spans:
    """When fewer than ``quorum`` replicas lived; the boots of a replica are one life (D3, D4)."""
    lives = [union(*boots) for boots in alive_by_replica.values()]
    return difference((within,), covered(lives, quorum))


def unreachable(failing_by_vantage_point: Mapping[str, Spans]) -> Spans:
    """When most vantage points of a probe failed; fewer than three are no evidence (T9)."""
    points = len(failing_by_vantage_point)
    if points < MIN_VANTAGE_POINTS:
        return ()
    return covered(list(failing_by_vantage_point.values()), points // 2 + 1)
