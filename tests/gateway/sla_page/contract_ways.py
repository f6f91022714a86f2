"""Examples of money, versions and support (C, V, SC)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from policies.model import BusinessTime, Calendar, Support
from policies.sla.adverse import Promise
from policies.sla.claim import deadline, opened, state_at
from policies.sla.credit import CreditItem, capped, credit, monthly_fee
from policies.sla.escalation import ladders_of, role_at
from policies.sla.evidence import Head
from policies.sla.instants import read, written
from policies.sla.layers import Layer, resolve
from policies.sla.opening import reached_s
from policies.sla.period import period
from policies.sla.record import termination_reasons
from policies.sla.support import (
    Clocks,
    Objective,
    Severity,
    SeverityChange,
    SupportEvent,
    Ticket,
    attainment,
    clocks_of,
    due_s,
    postponed_late,
    promised,
    respond,
)
from policies.sla.terms import SlaTerms, terms_of
from policies.sla.traffic import Traffic
from policies.sla.versions import Pin, Version, governing, refusal_of_change
from tests.gateway.sla_page.month import APRIL, DAY, HOUR, NOON, figure
from tests.gateway.sla_page.ways import example, number


@example("C1", r"(\d+) % of ([\d,.]+) ([A-Z]{3})")
def _(percent: str, fee: str, currency: str) -> str:
    return f"{credit(Decimal(fee.replace(',', '')), Decimal(percent), currency)} {currency}"


@example("C1", r"(\d+) % of a fee of ([\d,.]+) ([A-Z]{3}) for (\d+) months")
def _(percent: str, fee: str, currency: str, months: str) -> str:
    month = monthly_fee(Decimal(fee.replace(",", "")), 100, 100, months=int(months))
    return f"{credit(month, Decimal(percent), currency)} {currency}"


@example("C2", r"credits of (\d+) % and (\d+) % of ([\d,.]+) ([A-Z]{3}) in one month")
def _(one: str, other: str, fee: str, currency: str) -> str:
    items = [CreditItem(month="2026-04", credit_percent=Decimal(each)) for each in (one, other)]
    return " and ".join(
        f"{each} {currency}" for each in capped(Decimal(fee.replace(",", "")), items, SlaTerms().cap, currency)
    )


@example("C3", r"April 2026 in UTC, published (at its end|\S+): claims are in time before")
def _(at: str) -> str:
    published = None if at == "at its end" else read(at)
    return written(deadline(APRIL.end_s, published, "UTC", SlaTerms().claim_days))


@example("C4", r"nobody claims within the window")
def _() -> str:
    until = deadline(APRIL.end_s, None, "UTC", 30)
    return state_at(opened("acme", "standard", "2026-04", until, auto_claim=False), until)


@example("C5", r"April 2026 (misses|is met), and (?:so did )?([\d\-, and]+?)(?: were missed)?")
def _(what: str, before: str) -> str:
    months = tuple(re.findall(r"\d{4}-\d\d", before))
    terms = terms_of({"chronic": {"misses": 3, "months": 12}})
    head = Head(tenant="acme", period=APRIL, terms=terms, known_until_s=APRIL.end_s, missed_before=months)
    downtime_s = 7_200 if what == "misses" else 60
    found = figure(Traffic(), dark=((NOON, NOON + downtime_s),), terms=terms)
    return "right to terminate" if termination_reasons(found, head) else "no right"


def version(number_: str, effective: str, text: str = "text") -> Version:
    from_s = read(effective)
    return Version(
        id="standard", number=number_, effective_from_s=from_s, text=text, policy={}, author="legal",
        published_at_s=from_s - 90 * DAY,
    )  # fmt: skip


def change(before: Mapping[str, Any], after: Mapping[str, Any], effective_s: int, notice_s: int) -> str:
    said = refusal_of_change(
        Promise(terms=terms_of(before)), Promise(terms=terms_of(after)), published_at_s=effective_s - notice_s,
        effective_from_s=effective_s,
    )  # fmt: skip
    return "accepted" if said is None else f"refused: {said}"


@example("V1", r"one letter of its text is another")
def _() -> str:
    one, other = version("1.0.0", "2026-05-01T00:00:00Z"), version("1.0.0", "2026-05-01T00:00:00Z", "taxt")
    return "another hash" if one.sha256 != other.sha256 else "the same hash"


@example("V2", r"effective from (\S+)")
def _(effective: str) -> str:
    return change({}, {}, read(effective), 90 * DAY)


@example("V3", r"target from ([\d.]+) % to ([\d.]+) %, published (\d+) d ([\d,]+) s before")
def _(before: str, after: str, days: str, s: str) -> str:
    return change({"target": before}, {"target": after}, APRIL.end_s, int(days) * DAY + number(s))


@example("V3", r"`99% under 500ms` is taken out, published (\d+) d (\d+) s before")
def _(days: str, s: str) -> str:
    quick = {"latency": [{"share_percent": "99", "under_ms": 500}]}
    return change(quick, {}, APRIL.end_s, int(days) * DAY + int(s))


@example("V4", r"target: (.+)")
def _(layers: str) -> str:
    said = (each.rpartition(" ") for each in layers.split(", "))
    found = resolve([Layer(name=name, fields={"target": value}) for name, _, value in said])
    return f"{found.fields['target']} from {found.provenance['target']}"


@example("V5", r"pinned to (\S+) until (\S+), (\S+) in force since (\S+): (June|July) is judged by")
def _(pinned: str, until: str, newer: str, since: str, month: str) -> str:
    versions = [version(pinned, "2026-01-01T00:00:00Z"), version(newer, f"{since}-01T00:00:00Z")]
    start = period({"June": "2026-06", "July": "2026-07"}[month]).start_s
    found = governing(versions, start, Pin(number=pinned, until_s=period(until).start_s))
    assert found is not None
    return found.number


@example("V6", r"`target: none` and the whole month down")
def _() -> str:
    found = figure(Traffic(), dark=((APRIL.start_s, APRIL.end_s),), terms=terms_of({"target": None}))
    return (
        f"{found.uptime_percent} %, {'no promise' if found.met is None else 'missed'}, {found.credit_percent} % credit"
    )


OFFICE = Calendar(name="office", zone="UTC", open=dict.fromkeys(range(5), ((540, 1020),)))
FRIDAY = read("2026-04-10T00:00:00Z")
UNITS = {"bh": "business_hours", "bd": "business_days"}
DAYS = ("Friday", "Saturday", "Sunday", "Monday")


def time_of(text: str) -> BusinessTime:
    found = re.fullmatch(r"(\d+) ?(bh|bd|h|min)", text)
    assert found is not None
    if found[2] in UNITS:
        unit: Any = UNITS[found[2]]
        return BusinessTime(unit=unit, amount=int(found[1]))
    return BusinessTime(unit="elapsed_us", amount=int(found[1]) * {"h": HOUR, "min": 60}[found[2]] * 1_000_000)


def clock(text: str) -> int:
    """On the Friday."""
    parts = [int(part) for part in text.split(":")]
    return FRIDAY + parts[0] * HOUR + parts[1] * 60 + (parts[2] if len(parts) > 2 else 0)


def hour(at_s: int) -> str:
    return written(at_s)[11:16]


@example("SC1", r"(\S+) from Friday (\d\d:\d\d), open Monday to Friday 09:00-17:00")
def _(target: str, at: str) -> str:
    due = reached_s(time_of(target), OFFICE, clock(at))
    return f"{DAYS[(due - FRIDAY) // DAY]} {hour(due)}"


def case(severity: str, received: str, *events: SupportEvent, changes: tuple[SeverityChange, ...] = ()) -> Ticket:
    named: Any = severity
    return Ticket(id="T-1", severity=named, received_s=clock(received), events=events, changes=changes)


def event(actor: str, at: str) -> SupportEvent:
    named: Any = actor
    return SupportEvent(at_s=clock(at), actor=named, kind="reply")


def within(**targets: str) -> Clocks:
    named: dict[Severity, BusinessTime | None] = {}
    for name, text in targets.items():
        severity: Any = name
        named[severity] = time_of(text)
    return Clocks(targets=named, calendar=OFFICE)


@example("SC2", r"due (\d\d:\d\d:\d\d), a person answers at (\d\d:\d\d:\d\d)")
def _(due: str, answered: str) -> str:
    return _in_time(due, event("staff", answered))


@example("SC2", r"due (\d\d:\d\d:\d\d), a machine answers at (\d\d:\d\d:\d\d) and a person at (\d\d:\d\d:\d\d)")
def _(due: str, machine: str, person: str) -> str:
    return _in_time(due, event("system", machine), event("staff", person))


def _in_time(due: str, *events: SupportEvent) -> str:
    ticket = case("S1", "09:00", *events)
    target = BusinessTime(unit="elapsed_us", amount=(clock(due) - ticket.received_s) * 1_000_000)
    return "in time" if respond(ticket, Clocks(targets={"S1": target})).met else "late"


@example("SC3", r"S3 received (\S+) and due (\S+), raised to S1 \((.+)\) at (\S+)")
def _(received: str, due: str, target: str, at: str) -> str:
    clocks = within(S1=target, S3="8h")
    assert due_s(case("S3", received), clocks) == clock(due)
    found = due_s(case("S3", received, changes=(SeverityChange(at_s=clock(at), to="S1"),)), clocks)
    assert found is not None
    return f"due {hour(found)}"


@example("SC3", r"S1 received (\S+) and due (\S+), lowered to S3 \((.+)\) at ([^ ,]+)(?:, answered at (\S+))?")
def _(received: str, due: str, target: str, at: str, answered: str | None) -> str:
    clocks, lowered = within(S1="30min", S3=target), SeverityChange(at_s=clock(at), to="S3")
    assert due_s(case("S1", received), clocks) == clock(due)
    ticket = case("S1", received, *([event("staff", answered)] if answered else []), changes=(lowered,))
    if answered is None:
        return f"due {hour(due_s(ticket, clocks) or 0)}"
    verdict = "in time" if respond(ticket, clocks).met else "late"
    return f"{verdict}, lowered late" if postponed_late(ticket, clocks) else verdict


@example("SC4", r"S1 \((.+)\), unanswered for (\d+) min")
def _(target: str, waited: str) -> str:
    ladders = ladders_of(("support", "on-call engineer", "engineering manager", "vice president"))
    return str(role_at(case("S1", "09:00"), ladders, within(S1=target), clock("09:00") + 60 * int(waited)))


@example("SC5", r"`(\d+)% within (\d+h)`, (\d+) of (\d+) cases answered in time")
def _(share: str, target: str, quick: str, all_: str) -> str:
    return _attained(Objective(severity="S1", within=time_of(target), share=Fraction(int(share), 100)), quick, all_)


@example("SC5", r"no objective, (\d+) of (\d+) cases answered in time")
def _(quick: str, all_: str) -> str:
    clocks = clocks_of(Support(name="x", hours="24x7", respond={"S1": time_of("6h")}), {})
    (objective,) = promised(clocks, ())
    return _attained(objective, quick, all_)


def _attained(objective: Objective, quick: str, all_: str) -> str:
    received = clock("09:00")
    due = received + objective.within.amount // 1_000_000
    tickets = [
        Ticket(id=str(at), severity="S1", received_s=received,
               events=(SupportEvent(at_s=due + int(at >= int(quick)), actor="staff", kind="ack"),))
        for at in range(int(all_))
    ]  # fmt: skip
    return "met" if attainment(tickets, objective, Clocks(targets={"S1": objective.within})).achieved else "missed"
