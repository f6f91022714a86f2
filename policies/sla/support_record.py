"""The part of a monthly record that is about support: each case, attainment by severity, verdicts (spec SC5, R1).

Only cases received while the contract was in force are judged, by what was known of them when the evidence ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

from policies.sla.canonical import percent
from policies.sla.escalation import ladders_of, role_at
from policies.sla.evidence import Basis
from policies.sla.instants import written as instant
from policies.sla.support import (
    SEVERITIES,
    Attainment,
    Clocks,
    Response,
    Severity,
    SupportTerms,
    Ticket,
    as_known,
    attainment,
    in_words,
    postponed_late,
    promised,
    respond,
)
from policies.sla.support_form import time_value
from policies.sla.uptime import written

Record = dict[str, Any]

BEST_EFFORT: Final = SupportTerms(clocks=Clocks(targets={}))
SHARE_DECIMALS: Final = 4
"""Of shares that are shown; cut and never rounded, as uptime is."""


def support_record(basis: Basis) -> Record | None:
    """None where support was neither promised nor used. Raises ``ValueError`` for a calendar that hardly opens."""
    head = basis.head
    if head.support is None and not basis.tickets:
        return None
    support, cases = head.support or BEST_EFFORT, received(basis)
    until_s, clocks = head.known_until_s, support.clocks
    responses = [respond(case, clocks, until_s) for case in cases]
    judged = [attainment(cases, each, clocks, until_s) for each in promised(clocks, support.objectives)]
    return {
        "channels": list(support.channels),
        "escalation": list(support.escalation),
        "calendar": None if clocks.calendar is None else {"name": clocks.calendar.name, "zone": clocks.calendar.zone},
        "severities": [_severity(each, clocks, responses) for each in SEVERITIES],
        "objectives": [_attained(each) for each in judged],
        "cases": [_case(*each, support, until_s) for each in zip(cases, responses, strict=True)],
    }


def received(basis: Basis) -> list[Ticket]:
    """The cases that came in while the contract was in force, as far as they were known, in the order of receipt."""
    head = basis.head
    inside = (each for each in basis.tickets if any(start <= each.received_s < end for start, end in head.judged))
    return [as_known(each, head.known_until_s) for each in sorted(inside, key=lambda each: (each.received_s, each.id))]


def broken(record: Record) -> list[Record]:
    """The objectives that were missed, as violations of the month."""
    return [
        {
            "of": f"{each['severity']} cases answered within {each['within']['words']}",
            "promised_percent": each["promised_percent"], "reached_percent": each["share_percent"],
        }
        for each in record["objectives"] if each["met"] is False
    ]  # fmt: skip


def _severity(severity: Severity, clocks: Clocks, responses: Sequence[Response]) -> Record:
    met = [each.met for each in responses if each.severity == severity]
    open_still = [each.met is None and each.due_s is not None for each in responses if each.severity == severity]
    in_time, late = met.count(True), met.count(False)
    target = clocks.targets.get(severity)
    return {
        "severity": severity,
        "target": None if target is None else {**time_value(target), "words": in_words(target)},
        "cases": len(met),
        "in_time": in_time,
        "late": late,
        "pending": sum(open_still),
        "share_percent": _share(in_time, in_time + late),
    }


def _attained(found: Attainment) -> Record:
    objective = found.objective
    return {
        "severity": objective.severity,
        "promised_percent": percent(objective.share),
        "within": {**time_value(objective.within), "words": in_words(objective.within)},
        "cases": found.judged,
        "in_time": found.met,
        "pending": found.pending,
        "share_percent": _share(found.met, found.judged),
        "met": found.achieved,
    }


def _share(part: int, whole: int) -> str | None:
    return written(Fraction(100 * part, whole) if whole else None, SHARE_DECIMALS)


def _case(case: Ticket, response: Response, support: SupportTerms, known_until_s: int) -> Record:
    answered = response.responded_s
    last_s = known_until_s if answered is None else answered - 1  # an answer ends the climb in its own second
    return {
        "ticket": case.id,
        "received_as": case.severity,
        "severity": response.severity,
        "received": instant(case.received_s),
        "due": None if response.due_s is None else instant(response.due_s),
        "answered": None if answered is None else instant(answered),
        "met": response.met,
        "lowered_late": postponed_late(case, support.clocks),
        "escalated_to": role_at(case, ladders_of(support.escalation), support.clocks, last_s),
        "changes": [{"at": instant(each.at_s), "to": each.to} for each in case.changes],
    }
