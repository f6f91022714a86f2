"""Support in a month's record and in its evidence: due, answered, attained, and what was altered (spec SC1-SC5, R2)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from policies.model import BusinessTime, Calendar
from policies.sla.evidence import Basis
from policies.sla.export import Unreadable, read, write
from policies.sla.instants import read as instant
from policies.sla.record import Record, monthly
from policies.sla.revision import favours
from policies.sla.support import (
    Clocks,
    Objective,
    Severity,
    SeverityChange,
    SupportEvent,
    SupportTerms,
    Ticket,
    in_words,
)
from policies.sla.verification import verification
from tests.policies.sla_bases import altered, basis_of, case_named

HOUR_US = 3_600_000_000
OFFICE = Calendar(name="office", zone="Europe/Berlin", open=dict.fromkeys(range(5), ((540, 1020),)))
CLOCKS = Clocks(
    targets={
        "S1": BusinessTime(unit="elapsed_us", amount=HOUR_US // 2),
        "S2": BusinessTime(unit="elapsed_us", amount=2 * HOUR_US),
        "S3": BusinessTime(unit="business_hours", amount=4),
    },
    calendar=OFFICE,
)
NINETY = Objective(severity="S2", within=BusinessTime(unit="elapsed_us", amount=6 * HOUR_US), share=Fraction(9, 10))
PREMIUM = SupportTerms(
    clocks=CLOCKS, objectives=(NINETY,), channels=("email", "chat"),
    escalation=("support", "on-call engineer", "engineering manager", "vice president"),
)  # fmt: skip


def case(id: str, severity: Severity, received: str, answered: str | None = None, **more: Any) -> Ticket:
    events = () if answered is None else (SupportEvent(at_s=instant(answered), actor="staff", kind="reply"),)
    return Ticket(id=id, severity=severity, received_s=instant(received), events=events, **more)


def quick_and_slow(slow: int) -> tuple[Ticket, ...]:
    """Ten cases of S2, ``slow`` of them answered a second after six hours, the others exactly at six hours."""
    return tuple(
        case(f"T-{at}", "S2", "2026-04-07T08:00:00Z", f"2026-04-07T14:00:0{int(at < slow)}Z") for at in range(10)
    )


@pytest.fixture(scope="module")
def month() -> Basis:
    made = basis_of(case_named("late_extension_not_excluded"))
    return replace(made, head=replace(made.head, support=PREMIUM))


def support_of(month: Basis, *tickets: Ticket) -> Record:
    found = monthly(replace(month, tickets=tickets))["support"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("slow", "share", "met"),
    [
        (0, "100.0000", True),
        (1, "90.0000", True),  # exactly the promised share keeps it
        (2, "80.0000", False),
    ],
)
def test_ninety_percent_within_six_hours_is_a_verdict(month: Basis, slow: int, share: str, met: bool) -> None:
    (found,) = [each for each in support_of(month, *quick_and_slow(slow))["objectives"] if each["severity"] == "S2"]
    assert (found["within"]["words"], found["promised_percent"]) == ("6 h", "90")
    assert (found["cases"], found["share_percent"], found["met"]) == (10, share, met)


def test_a_missed_objective_is_a_violation_of_the_month(month: Basis) -> None:
    record = monthly(replace(month, tickets=quick_and_slow(2)))
    assert record["violations"][-1] == {
        "of": "S2 cases answered within 6 h", "promised_percent": "90", "reached_percent": "80.0000",
    }  # fmt: skip


def test_a_target_without_an_objective_is_promised_for_every_case(month: Basis) -> None:
    late = case("T-1", "S1", "2026-04-07T08:00:00Z", "2026-04-07T08:30:01Z")
    found = support_of(month, late)
    assert [(each["severity"], each["promised_percent"], each["met"]) for each in found["objectives"]] == [
        ("S1", "100", False), ("S2", "90", None), ("S3", "100", None),
    ]  # fmt: skip


def test_each_case_has_its_due_time_in_business_hours(month: Basis) -> None:
    # received on a Friday at 15:00 in Berlin: two hours are left of it, and two are of Monday
    on_time = case("T-1", "S3", "2026-04-10T13:00:00Z", "2026-04-13T09:00:00Z")
    (found,) = support_of(month, on_time)["cases"]
    assert (found["due"], found["answered"], found["met"]) == ("2026-04-13T09:00:00Z", "2026-04-13T09:00:00Z", True)


def test_an_open_case_is_pending_until_it_is_due_and_missed_after(month: Basis) -> None:
    at_the_end = case("T-1", "S1", "2026-04-30T23:59:00Z")
    until = instant("2026-05-01T00:29:00Z")
    for known_until_s, met in ((until, None), (until + 1, False)):
        head = replace(month.head, known_until_s=known_until_s)
        found = monthly(replace(month, head=head, tickets=(at_the_end,)))["support"]
        assert [each["met"] for each in found["cases"]] == [met]
        assert found["severities"][0]["pending"] == int(met is None)


def test_an_answer_that_came_after_the_evidence_ends_is_not_known(month: Basis) -> None:
    answered = case("T-1", "S1", "2026-04-30T23:59:00Z", "2026-05-01T00:28:00Z")
    head = replace(month.head, known_until_s=instant("2026-05-01T00:27:00Z"))
    (found,) = monthly(replace(month, head=head, tickets=(answered,)))["support"]["cases"]
    assert (found["answered"], found["met"]) == (None, None)


def test_a_severity_that_was_lowered_too_late_is_met_by_the_letter_and_says_so(month: Basis) -> None:
    """SC3: the later of both due times stands, also when the first had passed; so that at least it is seen."""
    lowered = SeverityChange(at_s=instant("2026-04-07T09:00:00Z"), to="S3")
    for answered, late in (("2026-04-07T10:00:00Z", True), ("2026-04-07T08:20:00Z", False)):
        (found,) = support_of(month, case("T-1", "S1", "2026-04-07T08:00:00Z", answered, changes=(lowered,)))["cases"]
        assert (found["met"], found["lowered_late"]) == (True, late)


def test_lowering_in_time_is_no_late_lowering(month: Basis) -> None:
    lowered = SeverityChange(at_s=instant("2026-04-07T08:30:00Z"), to="S3")
    (found,) = support_of(month, case("T-1", "S1", "2026-04-07T08:00:00Z", changes=(lowered,)))["cases"]
    assert not found["lowered_late"]


@pytest.mark.parametrize(
    ("answered", "role"),
    [
        ("2026-04-07T08:00:01Z", "on-call engineer"),  # S1 calls the first two at once
        ("2026-04-07T08:30:00Z", "on-call engineer"),  # answered in the second in which the next is called
        ("2026-04-07T08:45:00Z", "engineering manager"),
        ("2026-04-07T09:30:00Z", "vice president"),
    ],
)
def test_how_far_a_case_climbed_before_it_was_answered(month: Basis, answered: str, role: str) -> None:
    (found,) = support_of(month, case("T-1", "S1", "2026-04-07T08:00:00Z", answered))["cases"]
    assert found["escalated_to"] == role


def test_a_case_from_before_the_contract_is_not_judged(month: Basis) -> None:
    head = replace(month.head, contract=(instant("2026-04-07T08:00:01Z"), None))
    tickets = (case("T-1", "S1", "2026-04-07T08:00:00Z"), case("T-2", "S1", "2026-04-07T08:00:01Z"))
    found = monthly(replace(month, head=head, tickets=tickets))["support"]
    assert [each["ticket"] for each in found["cases"]] == ["T-2"]


def test_without_a_support_contract_cases_are_listed_and_nothing_is_judged(month: Basis) -> None:
    bare = replace(month, head=replace(month.head, support=None))
    assert monthly(bare)["support"] is None
    found = support_of(bare, case("T-1", "S1", "2026-04-07T08:00:00Z"))
    assert (found["objectives"], found["cases"][0]["due"], found["cases"][0]["met"]) == ([], None, None)


def test_a_missed_objective_more_favours_the_customer(month: Basis) -> None:
    before, after = (monthly(replace(month, tickets=quick_and_slow(slow))) for slow in (1, 2))
    assert (favours(before, after), favours(after, before)) == ("customer", "provider")


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (BusinessTime(unit="elapsed_us", amount=HOUR_US // 2), "30 min"),
        (BusinessTime(unit="elapsed_us", amount=24 * HOUR_US), "24 h"),
        (BusinessTime(unit="elapsed_us", amount=48 * HOUR_US), "2 d"),
        (BusinessTime(unit="elapsed_us", amount=90_000_000), "90 s"),
        (BusinessTime(unit="elapsed_us", amount=1), "1 us"),
        (BusinessTime(unit="business_hours", amount=1), "1 business hour"),
        (BusinessTime(unit="business_days", amount=3), "3 business days"),
    ],
)
def test_a_target_in_words(time: BusinessTime, words: str) -> None:
    assert in_words(time) == words


# --- in the evidence ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_cases(month: Basis) -> Basis:
    changed = SeverityChange(at_s=instant("2026-04-07T09:00:00Z"), to="S2")
    tickets = (case("T-2", "S3", "2026-04-10T13:00:00Z", "2026-04-13T09:00:00Z", changes=(changed,)),
               case("T-1", "S1", "2026-04-07T08:00:00Z", "2026-04-07T08:30:00Z"))  # fmt: skip
    return replace(month, head=replace(month.head, missed_before=("2025-12", "2026-02")), tickets=tickets)


@pytest.fixture(scope="module")
def lines(with_cases: Basis) -> list[str]:
    return list(write(with_cases))


def test_cases_are_read_back_as_they_were_written(lines: list[str], with_cases: Basis) -> None:
    export = read(lines)
    assert list(write(export.basis)) == lines
    assert export.basis.head.support == replace(PREMIUM, clocks=replace(CLOCKS, targets={**CLOCKS.targets, "S4": None}))
    assert verification(export, monthly(with_cases)).is_confirmed


def at_of(lines: list[str], ticket: str) -> int:
    return next(at for at, line in enumerate(lines) if json.loads(line).get("ticket") == ticket)


def answer_earlier(value: dict[str, Any]) -> None:
    value["events"][0]["at"] = "2026-04-07T08:10:00Z"


def test_a_case_that_was_altered_is_named(lines: list[str], with_cases: Basis) -> None:
    at = at_of(lines, "T-1")
    found = verification(read(altered(lines, at, answer_earlier)), monthly(with_cases)).findings
    named = next(each for each in found if each.what == "ticket")
    assert (named.line, named.name) == (at + 1, "the support case T-1 of 2026-04-07T08:00:00Z")


def test_a_case_that_was_sealed_anew_does_not_fit_the_header(lines: list[str], with_cases: Basis) -> None:
    changed = altered(lines, at_of(lines, "T-1"), answer_earlier, seal=True)
    names = [each.name for each in verification(read(changed), monthly(with_cases)).findings]
    assert {"rows_sha256", "support.cases.0.answered"} <= set(names)


def test_a_case_that_was_left_out_is_missed(lines: list[str]) -> None:
    at = at_of(lines, "T-1")
    with pytest.raises(Unreadable, match="ends here with 1 lines of ticket, and its header says 2"):
        read([*lines[:at], *lines[at + 1 :]])


def _set(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda line: line.__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("severity", "S5"), "severity 'S5' is none of"),
        (_set("severity", ["S1"]), "is none of"),
        (_set("received", "2026-03-31T23:59:59Z"), "was not received in 2026-04"),
        (_set("received", "2026-04-31T00:00:00Z"), "does not exist"),
        (_set("ticket", ""), "has no name"),
        (_set("ticket", "x" * 8_193), "at most 8192"),
        (_set("events", [{"at": "2026-04-07T08:00:00Z", "actor": "robot", "event": "ack"}]), "actor 'robot'"),
        (_set("events", [{"at": "2026-04-07T08:00:00+02:00", "actor": "staff", "event": "ack"}]), "no instant in UTC"),
        (_set("events", {}), "not a list"),
        (_set("changes", [{"at": "2026-04-07T08:00:00Z", "to": "S1", "by": "x"}]), "has no key 'by'"),
        (_set("tenant", "globex"), "has no key 'tenant'"),
    ],
)
def test_a_case_of_wrong_form_is_refused_by_line(
    lines: list[str], change: Callable[[dict[str, Any]], object], said: str
) -> None:
    at = at_of(lines, "T-1")
    with pytest.raises(Unreadable) as refused:
        read(altered(lines, at, change))
    assert (refused.value.line, said in refused.value.reason) == (at + 1, True), refused.value.reason


def _calendar(**changed: object) -> Callable[[dict[str, Any]], object]:
    return lambda head: head["support"]["calendar"].update(changed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_calendar(open={}), "never opens"),
        (_calendar(open={"7": [[0, 60]]}), "no weekday"),
        (_calendar(open={"1": [[60, 60]]}), "not a whole number from 61"),
        (_calendar(open={"1": [[0, 1441]]}), "to 1440"),
        (_calendar(open={"1": [[0, 60], [30, 90]]}), "overlap"),
        (_calendar(open={"1": [[0]]}), "no hours"),
        (_calendar(zone="Mars/Olympus"), "is not known"),
        (_calendar(zone="../../etc/passwd"), "is not known"),
        (_calendar(holidays=["2026-02-31"]), "is no day"),
        (_calendar(holidays=["20260401"]), "is no day"),
        (_calendar(business_day_us=0), "not a whole number from 1000000"),
        (lambda head: head["support"].update(calendar=None), "names no calendar"),
        (lambda head: head["support"]["targets"].update(S1={"unit": "weeks", "amount": 1}), "unit 'weeks'"),
        (lambda head: head["support"]["targets"].update(S1={"unit": "business_days", "amount": 10**9}), "to 10000"),
        (lambda head: head["support"]["objectives"][0].update(share_percent="101"), "is none"),
        (lambda head: head["support"]["objectives"][0].update(share_percent="0"), "is none"),
        (lambda head: head.update(support={}), "support lacks targets"),
    ],
)
def test_a_contract_of_wrong_form_is_refused_on_line_1(
    lines: list[str], change: Callable[[dict[str, Any]], object], said: str
) -> None:
    with pytest.raises(Unreadable) as refused:
        read(altered(lines, 0, change))
    assert (refused.value.line, said in refused.value.reason) == (1, True), refused.value.reason


def test_a_calendar_that_hardly_opens_ends_and_says_so(lines: list[str]) -> None:
    """A minute a week and ten thousand business days would not come before the calendar of the machine ends."""

    def change(head: dict[str, Any]) -> None:
        head["support"]["calendar"]["open"] = {"0": [[0, 1]]}
        head["support"]["targets"]["S3"] = {"unit": "business_days", "amount": 10_000}

    found = verification(read(altered(lines, 0, change)))
    assert "does not open often enough within a century" in found.findings[-1].said
