"""The month's figure from what was counted, what was dark, what is excluded and the terms (spec section 15, D8).

Pure and exact: no clock, no I/O, no floats. Everything else feeds or prints it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from policies.sla.budget import downtime_budget
from policies.sla.credit import band_of
from policies.sla.exclusions import Exclusion, Ruling, excluded, rulings, with_seconds
from policies.sla.period import Period
from policies.sla.runs import BadTime, bad_time
from policies.sla.spans import ALWAYS, Span, Spans, intersection, length
from policies.sla.terms import SlaTerms
from policies.sla.traffic import NO_TRAFFIC, Traffic, bad_slots, requests_in
from policies.sla.uptime import meets, uptime, written

MARGIN_S = 86_400
"""What is looked at before and after the period, so that a run over its edge is whole (T11)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of the time around a period: at least ``MARGIN_S`` more on both sides, where there is any.

    ``traffic`` is the tenant's, ``platform`` that of all tenants, ``dark`` when the gateway was not alive (T8, T9).
    ``platform_bad`` are the platform's bad slots where the caller has them for many tenants of the same terms
    (``platform_bad_slots``); None has them worked out here.
    """

    traffic: Traffic = NO_TRAFFIC
    platform: Traffic = NO_TRAFFIC
    dark: Spans = ()
    platform_bad: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of gross downtime within the period, and its evidence from the bad slots that it touches."""

    from_s: int
    to_s: int
    causes: Mapping[str, int]
    errors: int
    eligible: int
    dark_seconds: int
    inherited_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """The result of a period.

    ``judged_seconds`` is what uptime is a share of (P2); with the calendar as the denominator it equals
    ``force_seconds``. ``bad`` is all bad time in force, of which the ``windows`` are downtime. ``uptime`` None: no
    second to judge (P3). ``met`` and ``budget_seconds`` None: nothing was promised (V6).
    """

    period: Period
    force_seconds: int
    judged_seconds: int
    gross_downtime_seconds: int
    excluded_seconds: int
    downtime_seconds: int
    degraded_seconds: int
    exclusion_window_seconds: int
    bad: Spans
    windows: tuple[Window, ...]
    exclusions: tuple[Ruling, ...]
    uptime: Fraction | None
    uptime_percent: str | None
    budget_seconds: Fraction | None
    met: bool | None
    credit_percent: Decimal
    termination_right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whose figure it is: ``tenant`` None for the platform's. ``contract`` is when the terms were in force."""

    tenant: str | None = None
    contract: Spans = field(default=ALWAYS)


def evaluate(
    evidence: Evidence, exclusions: Iterable[Exclusion], terms: SlaTerms, period: Period, account: Account
) -> Figure:
    """The figure of one month."""
    force = intersection(((period.start_s, period.end_s),), account.contract)
    found = _found(evidence, terms, period)
    gross = intersection(found.downtime, force)
    ruled = rulings(exclusions, terms, account.tenant, force, period.end_s)
    valid = excluded(ruled)
    bad = intersection(found.bad, force)
    taken_s, force_s, gross_s = length(intersection(gross, valid)), length(force), length(gross)
    judged_s = force_s - (length(valid) if terms.denominator == "calendar_minus_excluded" else 0)
    figure = uptime(gross_s - taken_s, judged_s)
    band = band_of(figure, terms)
    return Figure(
        period=period,
        force_seconds=force_s,
        judged_seconds=judged_s,
        gross_downtime_seconds=gross_s,
        excluded_seconds=taken_s,
        downtime_seconds=gross_s - taken_s,
        degraded_seconds=length(bad) - gross_s,
        exclusion_window_seconds=length(valid),
        bad=bad,
        windows=tuple(_window(each, found, _judged(evidence, terms), terms) for each in gross),
        exclusions=with_seconds(ruled, gross),
        uptime=figure,
        uptime_percent=written(figure, terms.display_decimals),
        budget_seconds=downtime_budget(judged_s, terms.target),
        met=meets(figure, terms.target),
        credit_percent=Decimal(0) if band is None else band.credit,
        termination_right=band is not None and band.termination,
    )


def platform_bad_slots(platform: Traffic, terms: SlaTerms, period: Period) -> tuple[int, ...]:
    """What idle tenants inherit around ``period``: one answer for all tenants of the same detector."""
    return bad_slots(platform, terms, _seen(period))


def _found(evidence: Evidence, terms: SlaTerms, period: Period) -> BadTime:
    inherited: tuple[int, ...] = ()
    if terms.scope == "tenant" and terms.idle_inherits_platform:
        known = evidence.platform_bad
        inherited = platform_bad_slots(evidence.platform, terms, period) if known is None else known
    return bad_time(_judged(evidence, terms), inherited, evidence.dark, terms, _seen(period))


def _judged(evidence: Evidence, terms: SlaTerms) -> Traffic:
    return evidence.traffic if terms.scope == "tenant" else evidence.platform


def _seen(period: Period) -> Span:
    return period.start_s - MARGIN_S, period.end_s + MARGIN_S


def _window(span: Span, found: BadTime, traffic: Traffic, terms: SlaTerms) -> Window:
    slots = found.slots_in(span, terms.slot_seconds)
    counts = {cause: requests_in(slots, traffic.failed[cause]) for cause in terms.causes if cause in traffic.failed}
    errors = sum(counts.values())
    return Window(
        from_s=span[0],
        to_s=span[1],
        causes={cause: count for cause, count in counts.items() if count},
        errors=errors,
        eligible=errors + requests_in(slots, traffic.good),
        dark_seconds=length(intersection((span,), found.dark)),
        inherited_seconds=length(intersection((span,), found.inherited)),
    )
