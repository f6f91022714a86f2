"""Which alerts are due: on the budget of failed requests, and on the clock of the SLA (spec B1-B3).

The two budgets measure different things and never share a name. Burn rules watch ``request_budget``, which does not
protect the contract: five minutes at 5% cost little of it and much of ``downtime_budget``, which the rest here watches.
Ratios are exact. Who is called, and through what, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

SLO_WINDOW_S: Final = 30 * 86_400
"""The rolling window of the request SLO."""
MIN_ERRORS: Final = 5
"""Fewer errors than this in the long window fire nothing, whatever their share is (B1, B4)."""
NOTICE_PERCENTS: Final = (50, 75, 100)
WARN_RUN_S: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnRule:
    """Fires when the budget burns ``factor`` times too fast over both the long and the short window."""

    name: str
    long_s: int
    short_s: int
    factor: Fraction

    @property
    def budget_share(self) -> Fraction:
        """The part of the SLO window's budget that is gone when the rule fires after its long window."""
        return self.factor * self.long_s / SLO_WINDOW_S


BURN_RULES: Final = (
    # The Site Reliability Workbook's, "Alerting on SLOs", with a day at 3 put between its second and its last
    BurnRule(name="page_fast", long_s=3_600, short_s=300, factor=Fraction("14.4")),
    BurnRule(name="page_slow", long_s=21_600, short_s=1_800, factor=Fraction(6)),
    BurnRule(name="ticket_fast", long_s=86_400, short_s=7_200, factor=Fraction(3)),
    BurnRule(name="ticket_slow", long_s=259_200, short_s=21_600, factor=Fraction(1)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Eligible requests of ``[from_s, to_s)`` and how many failed; taken as even over that time."""

    from_s: int
    to_s: int
    total: int | Fraction
    errors: int | Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Requests and errors of one window."""

    total: Fraction
    errors: Fraction

    def burns(self, objective: Fraction, factor: Fraction) -> bool:
        """Whether the budget burns ``factor`` times too fast, or faster. No errors burn nothing."""
        return self.errors > 0 and self.errors >= factor * (1 - objective) * self.total

    def burn(self, objective: Fraction) -> Fraction | None:
        """Error ratio over what is allowed; None without requests, and where none may fail."""
        allowed = (1 - objective) * self.total
        return self.errors / allowed if allowed else None


def load(traffic: Iterable[Traffic], from_s: int, to_s: int) -> Load:
    """What of ``traffic`` falls into ``[from_s, to_s)``; a piece that is cut counts by the share of its time."""
    total = errors = Fraction(0)
    for piece in traffic:
        inside = min(piece.to_s, to_s) - max(piece.from_s, from_s)
        if inside > 0:
            share = Fraction(inside, piece.to_s - piece.from_s)
            total, errors = total + share * piece.total, errors + share * piece.errors
    return Load(total=total, errors=errors)


def fires(
    rule: BurnRule, traffic: Sequence[Traffic], objective: Fraction | None, at_s: int, min_errors: int = MIN_ERRORS
) -> bool:
    """Whether ``rule`` fires at ``at_s`` for ``objective``, a share such as 999/1000; None is best effort."""
    if objective is None:
        return False
    long = load(traffic, at_s - rule.long_s, at_s)
    short = load(traffic, at_s - rule.short_s, at_s)
    both = long.burns(objective, rule.factor) and short.burns(objective, rule.factor)
    return both and long.errors >= min_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBudget:
    """Failed requests that the objective allows over the SLO window, and those there were."""

    allowed: Fraction
    spent: Fraction


def request_budget(traffic: Iterable[Traffic], objective: Fraction, at_s: int) -> RequestBudget:
    rolling = load(traffic, at_s - SLO_WINDOW_S, at_s)
    return RequestBudget(allowed=(1 - objective) * rolling.total, spent=rolling.errors)


RunAlert = Literal["warn", "page"]


def run_alert(bad_run_s: int, *, min_run_s: int, warn_s: int = WARN_RUN_S) -> RunAlert | None:
    """What a bad run that is still going on calls for: a page once it is long enough to be downtime (T3)."""
    if bad_run_s >= min_run_s:
        return "page"
    return "warn" if bad_run_s >= warn_s else None


def budget_notices(downtime_s: int, downtime_budget_s: Fraction) -> tuple[int, ...]:
    """Which percentages of the month's ``downtime_budget`` are used up, of those that are told."""
    if downtime_s == 0:
        return ()
    return tuple(percent for percent in NOTICE_PERCENTS if 100 * downtime_s >= percent * downtime_budget_s)


def breaching_incident_s(downtime_s: int, downtime_budget_s: Fraction, *, min_run_s: int) -> int:
    """The shortest further incident that breaches the target; 0 when it is breached already.

    A shorter one than ``min_run_s`` is no downtime. Downtime of exactly the budget still meets the target (P5).
    """
    left_s = downtime_budget_s - downtime_s
    return max(min_run_s, left_s // 1 + 1) if left_s >= 0 else 0
