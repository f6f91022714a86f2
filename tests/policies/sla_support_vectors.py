"""The kinds of case about versions, layers, alerts and support: their shapes, and how each runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from fractions import Fraction
from typing import Any, get_args
from zoneinfo import ZoneInfo

from policies.model import BusinessTime, Calendar
from policies.sla.burn import BurnRule, Traffic, fires
from policies.sla.escalation import Rung, role_at
from policies.sla.layers import Layer, resolve
from policies.sla.support import SEVERITIES, Clocks, SeverityChange, SupportEvent, Ticket, respond
from policies.sla.versions import Refusal, refusal
from tests.policies.vector_shapes import (
    Case,
    Kind,
    Shape,
    anything,
    array,
    count,
    decimal,
    expecting,
    flag,
    instant,
    nullable,
    one_of,
    record,
    row,
    seconds,
    table,
    text,
)

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
UNITS = {"minutes": 60_000_000, "business_hours": None, "business_days": None}
ROLES = ("l1_support", "on_call_engineer", "engineering_manager", "vp_engineering")
RUNG_WORDS = {"support_l1": "l1_support"}
"""The ladder of the file's defaults calls the first role otherwise than the expectations do; it is the same one."""


def _instant(at_s: int | None, written: object) -> object:
    """``at_s`` as the case writes it, if that is the same instant; its seconds otherwise."""
    return written if isinstance(written, str) and seconds(written) == at_s else at_s


def _target(given: Mapping[str, Any] | None) -> BusinessTime | None:
    if given is None:
        return None
    elapsed_us = UNITS[given["unit"]]
    if elapsed_us is not None:
        return BusinessTime(unit="elapsed_us", amount=given["n"] * elapsed_us)
    return BusinessTime(unit=given["unit"], amount=given["n"])


def _calendar(given: Mapping[str, Any]) -> Calendar:
    week = {
        DAYS.index(day): tuple((_minutes(a), _minutes(b)) for a, b in hours) for day, hours in given["week"].items()
    }
    return Calendar(
        name="vector", zone=given["tz"], open=week, holidays=tuple(given["holidays"]),
        business_day_us=given["business_day_seconds"] * 1_000_000,
    )  # fmt: skip


def _minutes(written: str) -> int:
    hours, minutes = written.split(":")
    return int(hours) * 60 + int(minutes)


def _clocks(case: Case) -> Clocks:
    given, policy = case["input"], case["policy"]
    targets = policy["support_targets"][given["tier"]]
    calendar = {**policy["calendar"], **given.get("calendar", {})}
    return Clocks(
        targets={severity: _target(targets.get(severity)) for severity in SEVERITIES}, calendar=_calendar(calendar)
    )


def _support(case: Case) -> Mapping[str, object]:
    given, expect = case["input"], case["expect"]
    ticket = Ticket(
        severity=given["severity"],
        received_s=seconds(given["created"]),
        changes=tuple(SeverityChange(at_s=seconds(c["at"]), to=c["to"]) for c in given.get("severity_changes", ())),
        events=tuple(
            SupportEvent(at_s=seconds(e["at"]), actor=e["actor"], kind=e["kind"]) for e in given.get("events", ())
        ),
    )
    found = respond(ticket, _clocks(case))
    return {
        "due": _instant(found.due_s, expect.get("due")),
        "met": found.met,
        "responded_at": _instant(found.responded_s, expect.get("responded_at")),
    }


def _escalation(case: Case) -> Mapping[str, object]:
    given = case["input"]
    acked = given.get("acked_at")
    answer = () if acked is None else (SupportEvent(at_s=seconds(acked), actor="staff", kind="ack"),)
    ticket = Ticket(severity=given["severity"], received_s=seconds(given["created"]), events=answer)
    ladders = {
        severity: tuple(Rung(role=_role(r["role"]), at_percent_of_target=r["at_percent_of_target"]) for r in rungs)
        for severity, rungs in case["policy"]["escalation"].items()
    }
    role = role_at(ticket, ladders, _clocks(case), seconds(given["at"]))
    written = case["expect"].get("role")
    return {"role": written if written is not None and _role(written) == role else role}


def _role(written: str) -> str:
    return RUNG_WORDS.get(written, written)


def _resolve(case: Case) -> Mapping[str, object]:
    """Of all terms, those that the case is about."""
    found = resolve(Layer(name=name, fields=fields) for name, fields in case["input"]["layers"])
    expect = case["expect"]
    return {
        "effective": {key: found.fields[key] for key in expect.get("effective", {}) if key in found.fields},
        "provenance": {key: found.origin_of(key) for key in expect.get("provenance", {})},
    }


def _notice(case: Case) -> Mapping[str, object]:
    given = case["input"]
    error = refusal(
        published_at_s=seconds(given["published_at"]),
        effective_from_s=seconds(given["effective_from"]),
        material_adverse=given["material_adverse"],
        notice_days=given.get("notice_days", case["policy"]["sla_change_notice_days"]),
        zone=given.get("tz", "UTC"),
    )
    return {"accepted": error is None, "error": error}


def _burn(case: Case) -> Mapping[str, object]:
    given, policy = case["input"], case["policy"]
    objective = None if given["objective"] is None else Fraction(given["objective"]) / 100
    traffic = [_traffic(segment) for segment in given["segments"]]
    rules = (
        BurnRule(name=r["name"], long_s=r["long"], short_s=r["short"], factor=Fraction(r["factor"]))
        for r in policy["burn_rules"]
    )
    at_s, floor = seconds(given["at"]), policy["burn_min_errors"]
    return {rule.name: fires(rule, traffic, objective, at_s, floor) for rule in rules}


def _traffic(segment: Mapping[str, Any]) -> Traffic:
    from_s, to_s = seconds(segment["from"]), seconds(segment["to"])
    total = Fraction(segment["per_minute"]) * (to_s - from_s) / 60
    return Traffic(from_s=from_s, to_s=to_s, total=total, errors=total * Fraction(segment["error_ratio"]))


TIER, SEVERITY = one_of("standard", "premium"), one_of(*SEVERITIES)


def _is_of_day(where: str, value: Any) -> list[str]:
    good = isinstance(value, str) and re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d|24:00", value)
    return [] if good else [f"{where} is {value!r}, not a time of day"]


def _is_date(where: str, value: Any) -> list[str]:
    try:
        date.fromisoformat(value)
    except (TypeError, ValueError):
        return [f"{where} is {value!r}, not a date"]
    return []


def _is_zone(where: str, value: Any) -> list[str]:
    try:
        ZoneInfo(value)
    except (KeyError, OSError, TypeError, ValueError):
        return [f"{where} is {value!r}, not a zone"]
    return []


WEEK = record({}, {day: array(row(_is_of_day, _is_of_day)) for day in DAYS})
CALENDAR = record({}, {"tz": _is_zone, "week": WEEK, "holidays": array(_is_date), "business_day_seconds": count})
EVENT: Mapping[str, Shape] = {
    "at": instant, "actor": one_of("customer", "staff", "system"), "kind": one_of("ack", "reply"),
}  # fmt: skip
SEGMENT: Mapping[str, Shape] = {"from": instant, "to": instant, "per_minute": count, "error_ratio": decimal}

KINDS: Mapping[str, Kind] = {
    "support": Kind(
        input=record(
            {"tier": TIER, "severity": SEVERITY, "created": instant},
            {
                "calendar": CALENDAR,
                "severity_changes": array(record({"at": instant, "to": SEVERITY})),
                "events": array(record(EVENT)),
            },
        ),
        expect=expecting({"due": nullable(instant), "met": nullable(flag), "responded_at": nullable(instant)}),
        run=_support,
    ),
    "escalation": Kind(
        input=record(
            {"tier": TIER, "severity": SEVERITY, "created": instant, "at": instant},
            {"acked_at": nullable(instant), "calendar": CALENDAR},
        ),
        expect=expecting({"role": nullable(one_of(*ROLES, *RUNG_WORDS))}),
        run=_escalation,
    ),
    "notice": Kind(
        input=record(
            {"published_at": instant, "effective_from": instant, "material_adverse": flag},
            {"notice_days": count, "tz": _is_zone},
        ),
        expect=expecting({"accepted": flag, "error": nullable(one_of(*get_args(Refusal)))}),
        run=_notice,
    ),
    "resolve": Kind(
        input=record({"layers": array(row(text, table(anything)))}),
        expect=expecting({"effective": table(anything), "provenance": table(text)}),
        run=_resolve,
    ),
    "burn": Kind(
        input=record({"objective": nullable(decimal), "at": instant, "segments": array(record(SEGMENT))}),
        expect=expecting(dict.fromkeys(("page_fast", "page_slow", "ticket_fast", "ticket_slow"), flag)),
        run=_burn,
    ),
}
