"""A month with a fault in it: what the examples of the page are about."""

from __future__ import annotations

from collections.abc import Iterable

from policies.sla.evaluate import Account, Evidence, Figure, evaluate
from policies.sla.exclusions import Exclusion
from policies.sla.period import Period, period
from policies.sla.spans import ALWAYS, Spans
from policies.sla.terms import SlaTerms
from policies.sla.traffic import Traffic

APRIL = period("2026-04")
NOON = APRIL.start_s + 14 * 86_400 + 43_200
HOUR = 3_600
DAY = 86_400


def traffic(pattern: str, good: int = 100, failed: int = 100, at_s: int = NOON) -> Traffic:
    """A minute for each letter from ``at_s`` on, and ten good ones on both sides: B all fail, F one does, G, idle."""
    letters = f"{'G' * 10}{pattern}{'G' * 10}"
    slots = {at_s + (at - 10) * 60: letter for at, letter in enumerate(letters)}
    counts = {"B": failed, "F": 1}
    return Traffic(
        good={slot: good for slot, letter in slots.items() if letter == "G"},
        failed={"gateway": {slot: counts[letter] for slot, letter in slots.items() if letter in counts}},
    )


PLAIN = SlaTerms()


def figure(
    own: Traffic, *, platform: Traffic | None = None, dark: Spans = (), terms: SlaTerms = PLAIN,
    exclusions: Iterable[Exclusion] = (), month: Period = APRIL, force: Spans = ALWAYS,
) -> Figure:  # fmt: skip
    evidence = Evidence(traffic=own, platform=own if platform is None else platform, dark=dark)
    return evaluate(evidence, list(exclusions), terms, month, Account(tenant="acme", contract=force))


def counted(found: Figure) -> str:
    return f"{found.downtime_seconds:,} s"


def both(found: Figure) -> str:
    return f"{found.downtime_seconds:,} s count, {found.excluded_seconds:,} s excluded"
