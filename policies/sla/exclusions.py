"""Which time is taken out of the downtime, and why the rest of what was asked for is not (spec X1-X9).

An announcement's time is the server's, its log append-only; both are the ledger's to keep. A dark gateway is excluded
by nothing but these windows (X9).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from policies.sla.spans import Span, Spans, difference, earliest, intersection, length, spans, union
from policies.sla.terms import SlaTerms

ExclusionType = Literal["scheduled_maintenance", "force_majeure", "customer_caused", "third_party", "suspension"]

Reason = Literal[
    "other_tenant",  # scoped to somebody else
    "empty_window",  # ends when or before it begins
    "not_announced",
    "cancelled",
    "short_notice",  # no announcement met the notice on its own (X4)
    "changed_late",  # (part of) the latest window was not announced in time (X5)
    "not_worked_in",  # (part of) the announced window was not used for the work (X6)
    "over_the_cap",  # maintenance of the month beyond the knob (X7)
    "not_recorded",
    "recorded_late",  # after the month was finalised (X8)
    "not_approved",  # no second person's approval yet (X8)
]
Verdict = Literal["accepted", "partly", "rejected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A window as customers were told of it at ``at_s``, when it was sent."""

    at_s: int
    from_s: int
    to_s: int
    cancelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """What somebody asks to leave out.

    Scheduled maintenance has ``announcements``, in the order of their log where two share a second, and ``actual``
    once work was recorded. Other types have a ``window``, ``recorded_at_s`` None while nothing is recorded, and
    ``approved`` when a second person did so. ``tenant`` None is the whole platform. ``group`` names a route group
    whose failures are ignored in the touched slots instead of time being subtracted (X1); None subtracts.
    """

    id: str
    type: ExclusionType
    announcements: tuple[Announcement, ...] = ()
    actual: Span | None = None
    window: Span = (0, 0)
    recorded_at_s: int | None = None
    approved: bool = False
    tenant: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What became of an exclusion. ``spans`` is the excludable time, empty when rejected.

    ``reason`` is None only when all that was asked for is excludable. ``seconds`` is how much downtime it took out;
    seconds under several exclusions belong to the first of them, so that they add up.
    """

    exclusion: Exclusion
    verdict: Verdict
    reason: Reason | None
    spans: Spans
    seconds: int = 0


def rulings(
    asked: Iterable[Exclusion], terms: SlaTerms, tenant: str | None, force: Spans, period_end_s: int
) -> tuple[Ruling, ...]:
    """One for each exclusion, in time order, within the time ``force``; ``tenant`` is the judged one."""
    made = [_ruling(each, terms, tenant, period_end_s + terms.exclusion_record_seconds) for each in asked]
    clipped = [replace(each, spans=intersection(each.spans, force)) for each in made]
    return _capped(sorted(clipped, key=_time_order), terms.maintenance_cap_seconds)


def excluded(ruled: Iterable[Ruling]) -> Spans:
    """The time that they exclude together (X2)."""
    return union(*(each.spans for each in ruled if each.exclusion.group is None))


def with_seconds(ruled: Iterable[Ruling], gross: Spans) -> tuple[Ruling, ...]:
    """The same rulings, each with the seconds of ``gross`` downtime that it took out."""
    made: list[Ruling] = []
    left = gross
    for each in ruled:
        taken = intersection(each.spans, left) if each.exclusion.group is None else ()
        left = difference(left, taken)
        made.append(replace(each, seconds=length(taken)))
    return tuple(made)


def excused(ruled: Iterable[Ruling]) -> Mapping[str, Spans]:
    """By route group, the time in which its failures are ignored (X1)."""
    made: dict[str, Spans] = {}
    for each in ruled:
        if each.exclusion.group is not None and each.spans:
            made[each.exclusion.group] = union(made.get(each.exclusion.group, ()), each.spans)
    return made


def _time_order(ruling: Ruling) -> tuple[int, str]:
    asked = ruling.exclusion
    windows = [(each.from_s, each.to_s) for each in asked.announcements] or [asked.window]
    return (ruling.spans[0][0] if ruling.spans else min(windows)[0], asked.id)


def _ruling(asked: Exclusion, terms: SlaTerms, tenant: str | None, final_at_s: int) -> Ruling:
    if asked.tenant is not None and asked.tenant != tenant:
        return _rejected(asked, "other_tenant")
    if asked.type == "scheduled_maintenance":
        return _of_maintenance(asked, terms.maintenance_notice_seconds)
    return _of_record(asked, final_at_s)


def _of_maintenance(asked: Exclusion, notice_seconds: int) -> Ruling:
    told = _since_cancellation(asked.announcements)
    if not told:
        return _rejected(asked, "cancelled" if asked.announcements else "not_announced")
    latest = spans([(told[-1].from_s, told[-1].to_s)])
    if not latest:
        return _rejected(asked, "empty_window")
    in_time = [(each.from_s, each.to_s) for each in told if each.from_s - each.at_s >= notice_seconds]  # X4
    if not in_time:
        return _rejected(asked, "short_notice")
    announced = intersection(latest, spans(in_time))  # X5
    worked = announced if asked.actual is None else intersection(announced, spans([asked.actual]))  # X6
    return _granted(asked, worked, latest, "changed_late" if announced != latest else "not_worked_in")


def _since_cancellation(announcements: Sequence[Announcement]) -> list[Announcement]:
    """Those that still stand, latest last. Announcing again what was cancelled needs its own notice (X5)."""
    ordered = sorted(announcements, key=lambda each: each.at_s)
    ends = [at for at, each in enumerate(ordered, 1) if each.cancelled]
    return ordered[ends[-1] if ends else 0 :]


def _of_record(asked: Exclusion, final_at_s: int) -> Ruling:
    """X8."""
    window = spans([asked.window])
    if not window:
        return _rejected(asked, "empty_window")
    if asked.recorded_at_s is None:
        return _rejected(asked, "not_recorded")
    if asked.recorded_at_s > final_at_s:
        return _rejected(asked, "recorded_late")
    if not asked.approved:
        return _rejected(asked, "not_approved")
    return _granted(asked, window, window, "not_approved")


def _granted(asked: Exclusion, given: Spans, whole: Spans, reason: Reason) -> Ruling:
    if not given:
        return _rejected(asked, reason)
    if given != whole:
        return Ruling(exclusion=asked, verdict="partly", reason=reason, spans=given)
    return Ruling(exclusion=asked, verdict="accepted", reason=None, spans=given)


def _rejected(asked: Exclusion, reason: Reason) -> Ruling:
    return Ruling(exclusion=asked, verdict="rejected", reason=reason, spans=())


def _capped(ruled: Sequence[Ruling], cap_seconds: int | None) -> tuple[Ruling, ...]:
    """Only the month's first ``cap_seconds`` of scheduled maintenance are excludable (X7)."""
    if cap_seconds is None:
        return tuple(ruled)
    under_it = earliest(union(*(each.spans for each in ruled if _is_capped(each))), cap_seconds)
    return tuple(_within(each, under_it) if _is_capped(each) else each for each in ruled)


def _is_capped(ruling: Ruling) -> bool:
    return ruling.exclusion.type == "scheduled_maintenance" and ruling.exclusion.group is None


def _within(ruling: Ruling, under_it: Spans) -> Ruling:
    left = intersection(ruling.spans, under_it)
    if left == ruling.spans:
        return ruling
    return _granted(ruling.exclusion, left, ruling.spans, "over_the_cap")
