"""What those who run a service hold themselves to: an objective stricter than the published one.

It decides no verdict, no credit and no violation, and nothing that a customer is handed may be made from it. The
published figure is ``evaluate``.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from policies.sla.evaluate import Figure
from policies.sla.histogram import Histogram, Judgement, judge
from policies.sla.terms import SlaTerms
from policies.sla.uptime import meets


@dataclass(frozen=True, slots=True, kw_only=True)
class Internal:
    """``met`` is against ``target``, both None without one, ``met`` also without data (P3).

    ``latency`` are the commitments that are kept to oneself.
    """

    target: Decimal | None
    met: bool | None
    latency: tuple[Judgement, ...]


def internal(found: Figure, terms: SlaTerms, histogram: Histogram | None = None) -> Internal | None:
    """The same month against the internal objective; None where there is none."""
    target = terms.internal_target
    if target is None and not terms.internal_latency:
        return None
    return Internal(
        target=target,
        met=meets(found.uptime, target),
        latency=tuple(judge(histogram or Histogram(), each) for each in terms.internal_latency),
    )
