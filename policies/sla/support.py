"""Whether a support case was answered in time, from the log of its events alone (spec SC1-SC3, SC5).

The clock of the first response starts at receipt, or at the next opening when it counts business time, never pauses,
and stops at the first answer of a person on the staff. Everything is computed when read; no timer is stored, and no
ticket system is known here. Instants are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from types import MappingProxyType
from typing import Final, Literal, get_args

from policies.model import BusinessTime, Calendar, Support
from policies.sla.opening import open_seconds, reached_s

Severity = Literal["S1", "S2", "S3", "S4"]
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
"""Most severe first."""

ROUND_THE_CLOCK: Final = "24x7"
BUSINESS: Final = "business"
"""The calendar in which a contract round the clock counts its business time, where there are several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeverityChange:
    at_s: int
    to: Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportEvent:
    """``staff`` is a named person; ``system`` is whatever answers by itself."""

    at_s: int
    actor: Literal["customer", "staff", "system"]
    kind: Literal["ack", "reply"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One case: ``severity`` as received; changes and events in any order."""

    id: str = ""
    severity: Severity
    received_s: int
    changes: tuple[SeverityChange, ...] = ()
    events: tuple[SupportEvent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """How soon each severity is to be answered; a target of None, or none, is best effort (V6).

    ``calendar`` None: no target counts business time.
    """

    targets: Mapping[Severity, BusinessTime | None]
    calendar: Calendar | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """``due_s`` None: best effort. ``met`` None: best effort, or neither answered nor due yet."""

    severity: Severity
    due_s: int | None
    responded_s: int | None
    met: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """``share`` of the tickets of a severity answered ``within`` a target: "90 % within 6 h"."""

    severity: Severity
    within: BusinessTime
    share: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attainment:
    """``share`` and ``achieved`` are None when no ticket could be judged; ``pending`` ones are not yet due."""

    objective: Objective
    judged: int
    met: int
    pending: int
    share: Fraction | None
    achieved: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportTerms:
    """What is promised of support: ``channels`` and ``escalation`` (roles, in order) are shown and judge nothing."""

    clocks: Clocks
    objectives: tuple[Objective, ...] = ()
    channels: tuple[str, ...] = ()
    escalation: tuple[str, ...] = ()


def clocks_of(support: Support, calendars: Mapping[str, Calendar], calendar: str | None = None) -> Clocks:
    """The clocks of a support contract; ``calendar`` is the customer's choice among those offered (SC1).

    Raises ``KeyError`` for a calendar that is not among ``calendars``.
    """
    targets = MappingProxyType({severity: support.respond.get(severity) for severity in SEVERITIES})
    return Clocks(targets=targets, calendar=_calendar_of(calendar or support.hours, calendars))


def objectives_of(support: Support) -> tuple[Objective, ...]:
    """The objectives that a support contract names, most severe first."""
    named = ((severity, support.objectives.get(severity)) for severity in SEVERITIES)
    return tuple(
        Objective(severity=severity, within=each.within, share=each.share)
        for severity, each in named
        if each is not None
    )


def promised(clocks: Clocks, named: Sequence[Objective]) -> Iterator[Objective]:
    """What is judged: a target without an objective of its own is promised for every case."""
    for severity in SEVERITIES:
        own = [each for each in named if each.severity == severity]
        target = clocks.targets.get(severity)
        yield from own
        if target is not None and not own:
            yield Objective(severity=severity, within=target)


def _calendar_of(name: str, calendars: Mapping[str, Calendar]) -> Calendar | None:
    if name != ROUND_THE_CLOCK:
        return calendars[name]
    return calendars.get(BUSINESS) or (next(iter(calendars.values())) if len(calendars) == 1 else None)


def responded_s(ticket: Ticket) -> int | None:
    """The first acknowledgement or reply by a person on the staff; what came before the receipt answers nothing."""
    by_staff = (event.at_s for event in ticket.events if event.actor == "staff")
    return min((at_s for at_s in by_staff if at_s >= ticket.received_s), default=None)


def due_s(ticket: Ticket, clocks: Clocks) -> int | None:
    """By when the first response is due (SC3): a raise may only bring it forward, a lowering only put it off.

    A change after the first response moves nothing: the clock has stopped, and what was missed stays missed.
    """
    *_, (_, due) = _dues(ticket, clocks)
    return due


def _dues(ticket: Ticket, clocks: Clocks) -> Iterator[tuple[int, int | None]]:
    """From when on which due time stood: first at the receipt, then at each change."""
    severity, due = ticket.severity, _due(clocks, ticket.severity, ticket.received_s)
    yield ticket.received_s, due
    for change in changes_until(ticket, responded_s(ticket)):
        if raises(severity, change.to):
            due = _earlier(due, _due(clocks, change.to, change.at_s))
        elif change.to != severity:
            due = _later(due, _due(clocks, change.to, ticket.received_s))
        severity = change.to
        yield change.at_s, due


def changes_until(ticket: Ticket, at_s: int | None) -> list[SeverityChange]:
    """The changes up to ``at_s`` in order of time; one dated before the receipt counts from the receipt."""
    dated = [replace(change, at_s=max(change.at_s, ticket.received_s)) for change in ticket.changes]
    return sorted((each for each in dated if at_s is None or each.at_s <= at_s), key=lambda each: each.at_s)


def severity_at(ticket: Ticket, at_s: int | None) -> Severity:
    changes = changes_until(ticket, at_s)
    return changes[-1].to if changes else ticket.severity


def raises(old: Severity, new: Severity) -> bool:
    return SEVERITIES.index(new) < SEVERITIES.index(old)


def as_known(ticket: Ticket, at_s: int) -> Ticket:
    """The case without what came later than ``at_s``, and what is left in the order of time."""
    events = sorted((each for each in ticket.events if each.at_s <= at_s), key=lambda each: each.at_s)
    return replace(ticket, changes=tuple(changes_until(ticket, at_s)), events=tuple(events))


def postponed_late(ticket: Ticket, clocks: Clocks) -> bool:
    """Whether a lowering put off a due time that had passed already: SC3 lets it, so that it is at least shown."""
    return any(
        before is not None and before < at_s and (after is None or after > before)
        for (_, before), (at_s, after) in pairwise(_dues(ticket, clocks))
    )


def _due(clocks: Clocks, severity: Severity, from_s: int) -> int | None:
    target = clocks.targets.get(severity)
    return None if target is None else reached_s(target, clocks.calendar, from_s)


def _earlier(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)


def _later(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def respond(ticket: Ticket, clocks: Clocks, at_s: int | None = None) -> Response:
    """The verdict on the first response: met when it came by the due time, that second included (SC2).

    ``at_s`` is now, for a ticket that is still open; None says that the log is complete and no answer will come.
    """
    due, responded = due_s(ticket, clocks), responded_s(ticket)
    open_still = responded is None and at_s is not None and due is not None and at_s <= due
    met = None if due is None or open_still else responded is not None and responded <= due
    return Response(severity=severity_at(ticket, responded), due_s=due, responded_s=responded, met=met)


def attainment(tickets: Iterable[Ticket], objective: Objective, clocks: Clocks, at_s: int | None = None) -> Attainment:
    """How many tickets of the objective's severity were answered within its target, as a verdict (SC5).

    A ticket belongs to the severity that it had when it was answered.
    """
    judged_by = replace(clocks, targets={**clocks.targets, objective.severity: objective.within})
    responses = [respond(ticket, judged_by, at_s) for ticket in tickets]
    verdicts = [response.met for response in responses if response.severity == objective.severity]
    return _attained(objective, verdicts)


def _attained(objective: Objective, verdicts: Sequence[bool | None]) -> Attainment:
    met, judged = verdicts.count(True), len(verdicts) - verdicts.count(None)
    share = Fraction(met, judged) if judged else None
    achieved = None if share is None else share >= objective.share
    return Attainment(
        objective=objective, judged=judged, met=met, pending=len(verdicts) - judged, share=share, achieved=achieved
    )


_IN_WORDS: Final = (("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1_000))
_COUNTED: Final = {"business_hours": "business hour", "business_days": "business day"}


def in_words(time: BusinessTime) -> str:
    """``30 min``, ``4 business hours``: in the largest unit that is exact, days only from two on."""
    if time.unit != "elapsed_us":
        return f"{time.amount} {_COUNTED[time.unit]}{'' if time.amount == 1 else 's'}"
    amounts = [(time.amount // us, name) for name, us in _IN_WORDS if not time.amount % us]
    fitting = (f"{number} {name}" for number, name in amounts if (number, name) != (1, "d"))
    return next(fitting, f"{time.amount} us")


def resolution_seconds(
    received_s: int, resolved_s: int, waiting: Iterable[tuple[int, int]], calendar: Calendar | None
) -> int:
    """Time taken to resolve, without the spans of waiting for the customer (SC2); elapsed when ``calendar`` is None."""
    counted, begin = 0, received_s
    for from_s, to_s in sorted(waiting):
        counted += _passed(begin, min(from_s, resolved_s), calendar)
        begin = max(begin, to_s)
    return counted + _passed(begin, resolved_s, calendar)


def _passed(from_s: int, to_s: int, calendar: Calendar | None) -> int:
    if to_s <= from_s:
        return 0
    return to_s - from_s if calendar is None else open_seconds(calendar, from_s, to_s)
