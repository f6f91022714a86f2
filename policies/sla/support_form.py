"""What is promised of support, and its cases, as JSON values and back (spec SC1-SC5, R2).

Reading is strict: an unknown word, a calendar that never opens or a holiday that does not exist is an error, said as a
``ValueError``. What the values decide is ``support``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

from policies.model import BusinessTime, Calendar
from policies.sla import instants
from policies.sla.canonical import percent
from policies.sla.cases import ACTORS
from policies.sla.opening import LONGEST
from policies.sla.reading import array, count, decimal, keys, mapping, one_of, or_none, shown, text
from policies.sla.support import (
    SEVERITIES,
    Clocks,
    Objective,
    Severity,
    SeverityChange,
    SupportEvent,
    SupportTerms,
    Ticket,
)

Value = dict[str, Any]
T = TypeVar("T")

LONGEST_NAME: Final = 8_192
EVENTS: Final = ("ack", "reply")
DAY_MIN: Final = 1_440
DAY_US: Final = 86_400_000_000


def support_value(support: SupportTerms) -> Value:
    clocks = support.clocks
    return {
        "targets": {name: _time_or_none(clocks.targets.get(name)) for name in SEVERITIES},
        "calendar": None if clocks.calendar is None else calendar_value(clocks.calendar),
        "objectives": [_objective_value(each) for each in support.objectives],
        "channels": list(support.channels),
        "escalation": list(support.escalation),
    }


def time_value(time: BusinessTime) -> Value:
    return {"unit": time.unit, "amount": time.amount}


def _time_or_none(time: BusinessTime | None) -> Value | None:
    return None if time is None else time_value(time)


def _objective_value(objective: Objective) -> Value:
    return {
        "severity": objective.severity, "share_percent": percent(objective.share),
        "within": time_value(objective.within),
    }  # fmt: skip


def calendar_value(calendar: Calendar) -> Value:
    """Weekdays by number from 0, Monday; hours as minutes after midnight."""
    return {
        "name": calendar.name,
        "zone": calendar.zone,
        "open": {str(day): [list(span) for span in sorted(calendar.open[day])] for day in sorted(calendar.open)},
        "holidays": sorted(calendar.holidays),
        "business_day_us": calendar.business_day_us,
    }


def ticket_value(ticket: Ticket) -> Value:
    """A case; what happened in it is in the order of time."""
    events = sorted(ticket.events, key=lambda each: (each.at_s, each.actor, each.kind))
    changes = sorted(ticket.changes, key=lambda each: (each.at_s, each.to))
    return {
        "kind": "ticket",
        "ticket": ticket.id,
        "severity": ticket.severity,
        "received": instants.written(ticket.received_s),
        "changes": [{"at": instants.written(each.at_s), "to": each.to} for each in changes],
        "events": [{"at": instants.written(each.at_s), "actor": each.actor, "event": each.kind} for each in events],
    }


# --- and back -----------------------------------------------------------------------------------------------------


def support_of(value: object) -> SupportTerms:
    found = keys(value, "support", "targets", "calendar", "objectives", "channels", "escalation")
    targets = keys(found["targets"], "support.targets", *SEVERITIES)
    calendar = or_none(found["calendar"], calendar_of)
    made = SupportTerms(
        clocks=Clocks(targets={name: or_none(targets[name], time_of) for name in SEVERITIES}, calendar=calendar),
        objectives=tuple(_objective(each) for each in array(found["objectives"], "objectives")),
        channels=_texts(found["channels"], "channels"),
        escalation=_texts(found["escalation"], "escalation"),
    )
    times = [*made.clocks.targets.values(), *(each.within for each in made.objectives)]
    if calendar is None and any(time is not None and time.unit != "elapsed_us" for time in times):
        raise ValueError("support counts business time and names no calendar")
    return made


def time_of(value: object) -> BusinessTime:
    found = keys(value, "a time", "unit", "amount")
    unit = one_of(found["unit"], "unit", tuple(LONGEST))
    return BusinessTime(unit=unit, amount=count(found["amount"], "amount", least=1, most=LONGEST[unit]))


def _objective(value: object) -> Objective:
    found = keys(value, "an objective", "severity", "share_percent", "within")
    share = Fraction(decimal(found["share_percent"], "share_percent")) / 100
    if not 0 < share <= 1:
        raise ValueError(f"a share of {shown(found['share_percent'])} % is none")
    return Objective(severity=_severity(found["severity"]), within=time_of(found["within"]), share=share)


def calendar_of(value: object) -> Calendar:
    found = keys(value, "calendar", "name", "zone", "open", "holidays", "business_day_us")
    week = mapping(found["open"], "calendar.open")
    opened = {_weekday(day): _hours(spans) for day, spans in week.items()}
    if not any(opened.values()):
        raise ValueError("the calendar never opens")
    return Calendar(
        name=text(found["name"], "calendar.name"),
        zone=_zone(found["zone"]),
        open=opened,
        holidays=_list(found["holidays"], "holidays", _day),
        business_day_us=count(found["business_day_us"], "business_day_us", least=1_000_000, most=DAY_US),
    )


def _zone(value: object) -> str:
    name = text(value, "calendar.zone")
    try:
        return ZoneInfo(name).key
    except (OSError, LookupError, ValueError):
        raise ValueError(f"zone {shown(name)} is not known") from None


def _weekday(value: str) -> int:
    if value not in {str(day) for day in range(7)}:
        raise ValueError(f"{shown(value)} is no weekday from 0 to 6")
    return int(value)


def _hours(value: object) -> tuple[tuple[int, int], ...]:
    spans = _list(value, "hours", _span)
    if any(after[0] < before[1] for before, after in pairwise(spans)):
        raise ValueError("hours overlap, or are not in the order of the day")
    return spans


def _span(value: object) -> tuple[int, int]:
    ends = array(value, "hours")
    if len(ends) != 2:
        raise ValueError(f"{shown(value)} are no hours")
    opens = count(ends[0], "hours", most=DAY_MIN)
    return opens, count(ends[1], "hours", least=opens + 1, most=DAY_MIN)


def _day(value: object) -> str:
    name = text(value, "a holiday")
    try:
        if date.fromisoformat(name).isoformat() == name:
            return name
    except ValueError:
        pass
    raise ValueError(f"{shown(name)} is no day such as 2026-12-25")


def ticket_of(value: Mapping[str, Any]) -> Ticket:
    found = keys(value, "a support case", "kind", "ticket", "severity", "received", "changes", "events")
    name = text(found["ticket"], "ticket", most=LONGEST_NAME)
    if not name:
        raise ValueError("a support case has no name")
    return Ticket(
        id=name,
        severity=_severity(found["severity"]),
        received_s=instants.read(found["received"]),
        changes=_list(found["changes"], "changes", _change),
        events=_list(found["events"], "events", _event),
    )


def _change(value: object) -> SeverityChange:
    found = keys(value, "a change of severity", "at", "to")
    return SeverityChange(at_s=instants.read(found["at"]), to=_severity(found["to"]))


def _event(value: object) -> SupportEvent:
    found = keys(value, "a support event", "at", "actor", "event")
    actor, kind = one_of(found["actor"], "actor", ACTORS), one_of(found["event"], "event", EVENTS)
    return SupportEvent(at_s=instants.read(found["at"]), actor=actor, kind=kind)


def _severity(value: object) -> Severity:
    severity: Severity = one_of(value, "severity", SEVERITIES)
    return severity


def _texts(value: object, what: str) -> tuple[str, ...]:
    return _list(value, what, lambda each: text(each, what))


def _list(value: object, what: str, read: Callable[[object], T]) -> tuple[T, ...]:
    return tuple(read(each) for each in array(value, what))
