"""Opening hours, response clocks, attainment and escalation (spec SC1-SC5)."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.model import BusinessTime, Calendar, Support
from policies.sla.escalation import ladders_of, role_at
from policies.sla.opening import advance, length_s, open_seconds, reached_s
from policies.sla.support import (
    Attainment,
    Clocks,
    Objective,
    SeverityChange,
    SupportEvent,
    Ticket,
    attainment,
    clocks_of,
    due_s,
    resolution_seconds,
    respond,
)

HOUR = 3_600
NINE_TO_FIVE = ((540, 1020),)
WEEKDAYS = dict.fromkeys(range(5), NINE_TO_FIVE)
ROUND_THE_CLOCK = dict.fromkeys(range(7), ((0, 1440),))


def calendar(zone="America/New_York", week=WEEKDAYS, holidays=(), day_s=28_800):
    return Calendar(name="c", zone=zone, open=week, holidays=holidays, business_day_us=day_s * 1_000_000)


NEW_YORK = calendar()
STANDARD = Clocks(
    calendar=NEW_YORK,
    targets={
        "S1": BusinessTime(unit="business_hours", amount=4), "S2": BusinessTime(unit="business_hours", amount=8),
        "S3": BusinessTime(unit="business_days", amount=1), "S4": BusinessTime(unit="business_days", amount=3),
    },
)  # fmt: skip
PREMIUM = Clocks(
    calendar=NEW_YORK,
    targets={
        "S1": BusinessTime(unit="elapsed_us", amount=1_800_000_000),
        "S2": BusinessTime(unit="elapsed_us", amount=7_200_000_000),
        "S3": BusinessTime(unit="business_hours", amount=4), "S4": None,
    },
)  # fmt: skip
LADDERS = ladders_of(("support", "on-call", "manager", "vice president"))


def at(text: str, zone: str = "America/New_York") -> int:
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).timestamp())


def test_an_hour_that_the_zone_skips_is_never_open() -> None:
    night = calendar("Europe/Berlin", {6: ((60, 240),)})  # 01:00-04:00 on a Sunday
    assert open_seconds(night, at("2026-03-29T00:00Z") - HOUR, at("2026-03-29T12:00Z")) == 2 * HOUR


def test_an_hour_that_the_zone_repeats_is_open_twice() -> None:
    night = calendar("Europe/Berlin", {6: ((60, 240),)})
    assert open_seconds(night, at("2026-10-24T22:00Z"), at("2026-10-25T12:00Z")) == 4 * HOUR


def test_hours_that_end_within_the_repeated_hour_are_open_whenever_the_clock_reads_them() -> None:
    night = calendar("Europe/Berlin", {6: ((60, 150),)})  # 01:00-02:30; 02:00-03:00 comes twice
    first, second = at("2026-10-24T23:00Z"), at("2026-10-25T01:00Z")
    assert open_seconds(night, first, first + 90 * 60) == 90 * 60
    assert open_seconds(night, first + 90 * 60, second) == 0
    assert open_seconds(night, second, second + HOUR) == 30 * 60


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-06-01", 24), ("2026-10-25", 25)])
def test_a_day_round_the_clock_has_its_own_length(day: str, hours: int) -> None:
    berlin = calendar("Europe/Berlin", ROUND_THE_CLOCK)
    begin = at(f"{day}T00:00", "Europe/Berlin")
    assert open_seconds(berlin, begin, begin + 48 * HOUR) == 48 * HOUR
    assert advance(berlin, begin, hours * HOUR) == at(f"{day}T23:59:59", "Europe/Berlin") + 1


@pytest.mark.parametrize(
    ("from_", "hours", "due"),
    [
        ("2026-04-15T09:00", 8, "2026-04-15T17:00"),  # the close of business, not the next opening
        ("2026-04-15T17:00", 8, "2026-04-16T17:00"),  # received at the close: nothing of that day is left
        ("2026-04-15T08:59:59", 1, "2026-04-15T10:00"),
        ("2026-04-17T16:59:59", 1, "2026-04-20T09:59:59"),  # one second of Friday counts
        ("2026-03-06T16:00", 8, "2026-03-09T16:00"),  # over the weekend of the change to summer time: wall hours
        ("2026-04-15T12:00", 0, "2026-04-15T12:00"),
    ],
)
def test_open_time_is_counted_only_while_open(from_: str, hours: int, due: str) -> None:
    assert advance(NEW_YORK, at(from_), hours * HOUR) == at(due)


def test_a_holiday_is_that_date_in_the_calendars_zone() -> None:
    auckland = calendar("Pacific/Auckland", holidays=("2026-04-27",))
    # 26 April 22:00 UTC is 10:00 of the holiday in Auckland
    assert advance(auckland, at("2026-04-26T22:00Z"), HOUR) == at("2026-04-28T10:00", "Pacific/Auckland")


def test_a_calendar_that_never_opens_is_refused_and_not_searched_for_ever() -> None:
    closed = calendar(week={5: ()})
    with pytest.raises(ValueError, match="does not open"):
        advance(closed, 0, 1)


def test_business_time_without_a_calendar_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a calendar"):
        length_s(BusinessTime(unit="business_hours", amount=1), None)


def test_a_business_day_is_open_time_and_not_the_same_hour_next_day() -> None:
    long_days = calendar(week=dict.fromkeys(range(5), ((480, 1080),)))  # 10 open hours, a business day of 8
    target = BusinessTime(unit="business_days", amount=2)
    assert reached_s(target, long_days, at("2026-04-15T08:00")) == at("2026-04-16T14:00")


@given(
    begin=st.integers(1_767_225_600, 1_798_761_600),
    open_s=st.integers(1, 40 * HOUR),
    zone=st.sampled_from(["UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_advancing_passes_exactly_that_much_open_time_and_no_second_more(begin: int, open_s: int, zone: str) -> None:
    odd = calendar(zone, {0: ((0, 95), (601, 1440)), 2: ((90, 150),), 6: ((60, 180),)})
    due = advance(odd, begin, open_s)
    assert open_seconds(odd, begin, due) == open_s
    assert open_seconds(odd, begin, due - 1) == open_s - 1


@given(minute=st.integers(-3_000, 3_000), zone=st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe"]))
def test_open_is_what_the_clock_on_the_wall_reads(minute: int, zone: str) -> None:
    change = {"Europe/Berlin": "2026-10-25T01:00Z", "Australia/Lord_Howe": "2026-10-03T15:30Z"}[zone]
    week = dict.fromkeys(range(7), ((0, 105), (130, 170), (180, 1440)))
    moment = at(change) + minute * 60
    read = datetime.fromtimestamp(moment, ZoneInfo(zone))
    reads = read.hour * 60 + read.minute
    expected = any(opens <= reads < closes for opens, closes in week[0])
    assert open_seconds(calendar(zone, week), moment, moment + 60) == 60 * expected


def changed(*changes: tuple[str, str]) -> tuple[SeverityChange, ...]:
    return tuple(SeverityChange(at_s=at(moment), to=to) for moment, to in changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("clocks", "severity", "changes", "due"),
    [
        (STANDARD, "S3", [("2026-04-15T11:00", "S1")], "2026-04-15T15:00"),
        (STANDARD, "S1", [("2026-04-15T13:30", "S3")], "2026-04-16T10:00"),
        # a raise close to the old due time may not put it off
        (STANDARD, "S2", [("2026-04-15T16:00", "S1")], "2026-04-16T10:00"),
        (STANDARD, "S2", [("2026-04-15T11:00", "S2")], "2026-04-16T10:00"),  # no change at all
        (STANDARD, "S1", [("2026-04-15T10:30", "S4"), ("2026-04-15T11:00", "S1")], "2026-04-15T15:00"),
        (STANDARD, "S1", [("2026-04-15T11:00", "S1"), ("2026-04-15T10:30", "S4")], "2026-04-15T15:00"),  # any order
        (STANDARD, "S2", [("2026-04-15T09:00", "S1")], "2026-04-15T14:00"),  # dated before the receipt: from it
        (PREMIUM, "S1", [("2026-04-15T10:10", "S4")], None),  # lowered to best effort
        (PREMIUM, "S4", [("2026-04-15T10:10", "S1")], "2026-04-15T10:40"),
    ],
)
def test_a_raise_brings_the_due_time_forward_and_a_lowering_puts_it_off(clocks, severity, changes, due) -> None:
    ticket = Ticket(severity=severity, received_s=at("2026-04-15T10:00"), changes=changed(*changes))
    assert due_s(ticket, clocks) == (None if due is None else at(due))


def events(*given: tuple[str, str, str]) -> tuple[SupportEvent, ...]:
    return tuple(SupportEvent(at_s=at(moment), actor=actor, kind=kind) for moment, actor, kind in given)  # type: ignore[arg-type]


def test_a_lowering_after_the_answer_does_not_cure_a_missed_response() -> None:
    late = Ticket(
        severity="S1", received_s=at("2026-04-15T10:00"), changes=changed(("2026-04-15T11:30", "S2")),
        events=events(("2026-04-15T11:00", "staff", "reply")),
    )  # fmt: skip
    verdict = respond(late, PREMIUM)
    assert (verdict.met, verdict.due_s, verdict.severity) == (False, at("2026-04-15T10:30"), "S1")


@pytest.mark.parametrize(
    ("given", "now", "met", "responded"),
    [
        ([("10:30", "staff", "ack")], None, True, "10:30"),  # the due second counts
        ([("10:30:01", "staff", "ack")], None, False, "10:30:01"),
        ([("10:40", "staff", "ack"), ("10:20", "staff", "reply")], None, True, "10:20"),  # the first, in any order
        ([("10:01", "system", "ack"), ("10:02", "customer", "reply")], None, False, None),
        ([("09:59:59", "staff", "ack")], None, False, None),  # before the receipt
        ([], "10:30", None, None),  # still in time
        ([], "10:30:01", False, None),
    ],
)
def test_the_clock_stops_at_the_first_answer_of_a_person(given, now, met, responded) -> None:
    told = events(*((f"2026-04-15T{moment}", actor, kind) for moment, actor, kind in given))
    ticket = Ticket(severity="S1", received_s=at("2026-04-15T10:00"), events=told)
    verdict = respond(ticket, PREMIUM, None if now is None else at(f"2026-04-15T{now}"))
    assert verdict.met is met
    assert verdict.responded_s == (None if responded is None else at(f"2026-04-15T{responded}"))


def test_best_effort_has_no_due_time_and_no_verdict() -> None:
    verdict = respond(Ticket(severity="S4", received_s=0, events=()), PREMIUM)
    assert (verdict.due_s, verdict.met) == (None, None)


def answered_after(seconds: int | None, severity="S1") -> Ticket:
    told = () if seconds is None else (SupportEvent(at_s=seconds, actor="staff", kind="ack"),)
    return Ticket(severity=severity, received_s=0, events=told)


NINE_OF_TEN = Objective(
    severity="S1", within=BusinessTime(unit="elapsed_us", amount=6 * HOUR * 1_000_000), share=Fraction(9, 10)
)


@pytest.mark.parametrize(
    ("waits", "now", "met", "pending", "achieved"),
    [
        ([HOUR] * 9 + [7 * HOUR], None, 9, 0, True),  # exactly 90 %
        ([HOUR] * 8 + [6 * HOUR, 6 * HOUR + 1], None, 9, 0, True),  # the sixth hour's last second counts
        ([HOUR] * 17 + [7 * HOUR] * 2, None, 17, 0, False),  # 89.47 %, which rounds to 89 and never to 90
        ([], None, 0, 0, None),
        ([HOUR, None], 2 * HOUR, 1, 1, True),  # not yet due: neither met nor missed
        ([HOUR, None], 6 * HOUR + 1, 1, 0, False),
    ],
)
def test_ninety_percent_within_six_hours_is_a_verdict(waits, now, met, pending, achieved) -> None:
    tickets = [answered_after(wait) for wait in waits]
    result = attainment([*tickets, answered_after(9 * HOUR, "S2")], NINE_OF_TEN, PREMIUM, now)
    assert (result.met, result.pending, result.achieved) == (met, pending, achieved)
    assert result.judged == len(waits) - pending


def test_a_month_without_tickets_achieves_nothing_and_misses_nothing() -> None:
    expected = Attainment(objective=NINE_OF_TEN, judged=0, met=0, pending=0, share=None, achieved=None)
    assert attainment([], NINE_OF_TEN, PREMIUM) == expected


def test_resolution_pauses_while_the_customer_is_asked() -> None:
    begin, end = at("2026-04-15T10:00"), at("2026-04-16T11:00")
    asked = [(at("2026-04-15T11:00"), at("2026-04-15T13:00")), (at("2026-04-15T12:00"), at("2026-04-15T14:00"))]
    assert resolution_seconds(begin, end, asked, NEW_YORK) == (7 - 3 + 2) * HOUR
    assert resolution_seconds(begin, end, asked, None) == 22 * HOUR
    assert resolution_seconds(begin, end, [(end - HOUR, end + HOUR)], None) == 24 * HOUR  # resolved while waiting
    assert resolution_seconds(begin, end, [(begin - HOUR, end + HOUR)], None) == 0


CONTRACT = Support(name="s", hours="24x7", respond={"S1": BusinessTime(unit="elapsed_us", amount=60_000_000)})


def test_a_contract_round_the_clock_counts_business_time_in_the_calendar_named_business_or_the_only_one() -> None:
    business, other = calendar(), calendar("UTC")
    assert clocks_of(CONTRACT, {"business": business, "other": other}).calendar is business
    assert clocks_of(CONTRACT, {"other": other}).calendar is other
    assert clocks_of(CONTRACT, {"a": business, "b": other}).calendar is None
    assert clocks_of(CONTRACT, {"a": business, "b": other}, calendar="b").calendar is other  # the customer's choice
    assert clocks_of(CONTRACT, {}).targets["S2"] is None


def test_a_policy_that_lists_roles_gets_the_ladders_of_the_specification() -> None:
    percents = {name: [rung.at_percent_of_target for rung in ladder] for name, ladder in LADDERS.items()}
    assert percents == {"S1": [0, 0, 100, 200], "other": [0, 50, 100, 200]}
    assert [rung.role for rung in LADDERS["S1"]] == ["support", "on-call", "manager", "vice president"]
    assert [len(ladders_of("abcdef"[:number])["other"]) for number in range(7)] == list(range(7))
    assert ladders_of("abcdef")["other"][-1].at_percent_of_target == 400


S2_STANDARD = [
    ("2026-04-15T10:00", "support"),
    ("2026-04-15T13:59:59", "support"),
    ("2026-04-15T14:00", "on-call"),  # half of 8 business hours
    ("2026-04-15T23:00", "on-call"),  # the night is no business time
    ("2026-04-16T10:00", "manager"),
    ("2026-04-17T10:00", "vice president"),
    ("2027-04-17T10:00", "vice president"),
    ("2026-04-15T09:59:59", None),  # before the receipt
]


@pytest.mark.parametrize(("moment", "role"), S2_STANDARD)
def test_the_ladder_is_climbed_on_the_clock_of_the_target(moment: str, role: str | None) -> None:
    ticket = Ticket(severity="S2", received_s=at("2026-04-15T10:00"))
    assert role_at(ticket, LADDERS, STANDARD, at(moment)) == role


def test_the_most_severe_case_pages_at_once_also_outside_business_hours() -> None:
    saturday = at("2026-04-18T03:00")
    assert role_at(Ticket(severity="S1", received_s=saturday), LADDERS, STANDARD, saturday) == "on-call"


def test_an_answer_stops_the_climb_at_its_second() -> None:
    ticket = Ticket(severity="S1", received_s=0, events=(SupportEvent(at_s=2_000, actor="staff", kind="ack"),))
    assert [role_at(ticket, LADDERS, PREMIUM, moment) for moment in (1_999, 2_000)] == ["manager", None]


def test_a_machines_reply_does_not_stop_the_climb() -> None:
    ticket = Ticket(severity="S1", received_s=0, events=(SupportEvent(at_s=5, actor="system", kind="reply"),))
    assert role_at(ticket, LADDERS, PREMIUM, 1_800) == "manager"


def test_a_raise_starts_a_new_clock_and_never_steps_down() -> None:
    ticket = Ticket(severity="S2", received_s=0, changes=(SeverityChange(at_s=7_200, to="S1"),))
    steps = [role_at(ticket, LADDERS, PREMIUM, moment) for moment in (7_199, 7_200, 8_999, 9_000, 10_800)]
    assert steps == ["on-call", "manager", "manager", "manager", "vice president"]
    early = Ticket(severity="S2", received_s=0, changes=(SeverityChange(at_s=60, to="S1"),))
    assert [role_at(early, LADDERS, PREMIUM, moment) for moment in (60, 1_859, 1_860)] == [
        "on-call", "on-call", "manager",
    ]  # fmt: skip


def test_a_lowering_counts_from_the_receipt() -> None:
    ticket = Ticket(severity="S1", received_s=0, changes=(SeverityChange(at_s=1_900, to="S2"),))
    assert [role_at(ticket, LADDERS, PREMIUM, moment) for moment in (1_899, 1_900, 3_600)] == [
        "manager", "support", "on-call",
    ]  # fmt: skip


def test_a_lowering_after_a_raise_forgets_the_raise() -> None:
    up_and_down = (SeverityChange(at_s=3_500, to="S1"), SeverityChange(at_s=3_600, to="S2"))
    ticket = Ticket(severity="S3", received_s=0, changes=up_and_down)
    assert [role_at(ticket, LADDERS, PREMIUM, moment) for moment in (3_500, 3_600)] == ["on-call", "on-call"]
    late = (SeverityChange(at_s=7_200, to="S1"), SeverityChange(at_s=7_300, to="S3"))
    ticket = Ticket(severity="S2", received_s=0, changes=late)
    assert [role_at(ticket, LADDERS, PREMIUM, moment) for moment in (7_299, 7_300)] == ["manager", "support"]


def test_best_effort_is_escalated_no_further_than_what_is_called_at_once() -> None:
    assert role_at(Ticket(severity="S4", received_s=0), LADDERS, PREMIUM, 10**9) == "support"
    assert role_at(Ticket(severity="S4", received_s=0), {}, PREMIUM, 10**9) is None
