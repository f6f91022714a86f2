"""Versions of an SLA: immutable, from a month's beginning, with notice of what is for the worse (spec V1-V3, V5)."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.model import BusinessTime, Calendar
from policies.sla.adverse import RULES, Promise, adverse, changes
from policies.sla.evidence_form import PUBLISHED
from policies.sla.support import Clocks, Objective
from policies.sla.terms import SlaTerms, terms_of
from policies.sla.versions import Binding, Pin, Version, governing, refusal, refusal_of_change, tier_at

DAY_S = 86_400


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


MAY = at("2026-05-01T00:00:00Z")


def words(before: Promise, after: Promise) -> list[tuple[str, str | None]]:
    return [(change.field, change.adverse) for change in changes(before, after)]


def promise(**terms: object) -> Promise:
    return Promise(terms=terms_of(terms))


FLAT = ({"min": "99.9", "credit": "0"}, {"min": "0", "credit": "30"})
BANDS = (
    {"min": "99.9", "credit": "0"}, {"min": "99.0", "credit": "10"}, {"min": "95.0", "credit": "25"},
    {"min": "0", "credit": "50", "termination": True},
)  # fmt: skip


def bands(*changed: tuple[int, str, object]) -> tuple[dict[str, object], ...]:
    made: list[dict[str, object]] = [dict(band) for band in BANDS]
    for place, key, value in changed:
        made[place][key] = value
    return tuple(made)


QUICK = {"share_percent": "99", "under_ms": 500}
CHRONIC = {"misses": 3, "months": 12}
WORSE = [
    # field, from, to, what V3 calls it; the way back is no change for the worse
    ("threshold_percent", "5", "6", "higher threshold"),
    ("min_run_seconds", 300, 360, "longer run"),
    ("min_run_errors", 5, 6, "longer run"),
    ("min_requests_per_slot", 1, 20, "longer run"),
    ("max_bridge_seconds", 120, 60, "longer run"),
    ("merge_gap_seconds", 60, 0, "longer run"),
    ("alive_quorum", 2, 1, "longer run"),  # two replicas were needed, now one will do
    ("idle_inherits_platform", True, False, "longer run"),
    ("client_patience_ms", 30_000, 60_000, "wider exclusion"),
    ("counted_causes", ("gateway", "managed_upstream"), ("gateway",), "new excluded cause"),
    ("excluded_causes", ("customer",), ("third_party", "customer"), "new excluded cause"),
    ("maintenance_cap_seconds", 3_600, 7_200, "wider exclusion"),
    ("maintenance_cap_seconds", 3_600, None, "wider exclusion"),  # no cap at all
    ("exclusion_record_seconds", 432_000, 500_000, "wider exclusion"),
    ("maintenance_notice_seconds", 172_800, 172_799, "shorter notice"),
    ("sla_change_notice_days", 60, 59, "shorter notice"),
    ("claim_days", 30, 29, "shorter claim window"),
    ("auto_claim", True, False, "shorter claim window"),
    ("latency", (QUICK,), (), "lower target"),  # fewer
    ("latency", (QUICK,), ({**QUICK, "share_percent": "98.9"},), "lower target"),
    ("latency", (QUICK,), ({**QUICK, "under_ms": 1_000},), "lower target"),  # slower
    ("chronic", CHRONIC, None, "lower credit"),
    ("chronic", CHRONIC, {**CHRONIC, "misses": 4}, "lower credit"),
    ("chronic", CHRONIC, {**CHRONIC, "months": 11}, "lower credit"),
    ("denominator", "calendar_minus_excluded", "calendar", "wider exclusion"),
    ("bands", bands(), bands((2, "credit", "20")), "lower credit"),
    ("bands", bands(), bands((1, "min", "98.0"), (1, "credit", "10"), (2, "min", "95.0")), "lower credit"),
    ("bands", bands(), bands((3, "termination", False)), "lower credit"),
    ("cap", {"percent": "100"}, {"percent": "99"}, "lower cap"),
    ("cap", {"window": "month"}, {"window": "contract_year"}, "lower cap"),  # one fee a year instead of twelve
]


@pytest.mark.parametrize(("name", "good", "bad", "word"), WORSE)
def test_each_change_for_the_worse_is_named(name: str, good: object, bad: object, word: str) -> None:
    before, after = promise(**{name: good}), promise(**{name: bad})
    assert words(before, after) == [(name, word)]
    assert adverse(before, before) == ()


@pytest.mark.parametrize(("name", "good", "bad", "word"), WORSE)
def test_the_way_back_is_an_improvement_and_still_a_change(name: str, good: object, bad: object, word: str) -> None:
    assert words(promise(**{name: bad}), promise(**{name: good})) == [(name, None)]


def test_a_slower_time_for_more_requests_is_adverse_either_way() -> None:
    """Nobody can say which is more: 99 % under 500 ms, or all of them under a second."""
    one, other = promise(latency=(QUICK,)), promise(latency=({"share_percent": "100", "under_ms": 1_000},))
    assert words(one, other) == [("latency", "lower target")] == words(other, one)


def test_a_commitment_that_another_one_holds_already_may_go() -> None:
    both = promise(latency=(QUICK, {"share_percent": "95", "under_ms": 1_000}))
    assert words(both, promise(latency=(QUICK,))) == [("latency", None)]


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [("zone", "UTC", "Europe/Berlin"), ("scope", "tenant", "platform"), ("slot_seconds", 60, 1)],
)
def test_another_measure_is_adverse_either_way_because_nobody_can_show_otherwise(name, one, other) -> None:
    assert words(promise(**{name: one}), promise(**{name: other})) == [(name, "another measure")]
    assert words(promise(**{name: other}), promise(**{name: one})) == [(name, "another measure")]


def test_a_lower_target_is_adverse_and_so_is_the_credit_that_goes_with_it() -> None:
    assert words(promise(), promise(target="99.5")) == [("target", "lower target"), ("bands", "lower credit")]
    assert words(promise(), promise(target="99.95")) == [("target", None), ("bands", None)]
    assert words(promise(), promise(target=None)) == [("target", "lower target")]
    assert words(promise(target=None), promise()) == [("target", None)]


def test_without_a_target_there_was_no_credit_to_lower() -> None:
    before, after = promise(target=None), promise(target=None, bands=bands((2, "credit", "20")))
    assert words(before, after) == [("bands", None)]


def test_credit_is_compared_at_every_uptime() -> None:
    # 30% from the first miss on is more than 10 and 25, and less than 50: better for most, and still adverse
    assert words(promise(), promise(bands=FLAT)) == [("bands", "lower credit")]
    generous = ({"min": "99.9", "credit": "0"}, {"min": "0", "credit": "50", "termination": True})
    assert words(promise(), promise(bands=generous)) == [("bands", None)]


def test_the_internal_objective_is_no_part_of_what_is_published() -> None:
    assert changes(promise(internal={"target": "99.99"}), promise()) == ()


def test_display_is_no_material_change() -> None:
    assert words(promise(), promise(display_decimals=2)) == [("display_decimals", None)]


def test_every_term_has_a_rule() -> None:
    assert {*RULES, "bands", "cap"} == {*PUBLISHED}


def owned(**owners: str) -> Promise:
    return Promise(terms=SlaTerms(), owners=owners)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (owned(crm="managed"), owned(crm="third_party"), [("owners.crm", "new excluded cause")]),
        (owned(), owned(crm="third_party"), [("owners.crm", "new excluded cause")]),  # undeclared was ours (O9)
        (owned(crm="third_party"), owned(), [("owners.crm", None)]),
        (owned(crm="third_party"), owned(crm="customer"), [("owners.crm", None)]),  # ignored before and after
        (owned(), owned(crm="managed"), []),
        (owned(a="managed", b="customer"), owned(a="customer", b="managed"),
         [("owners.a", "new excluded cause"), ("owners.b", None)]),
    ],
)  # fmt: skip
def test_naming_a_third_party_is_a_new_carve_out(before: Promise, after: Promise, found: list[object]) -> None:
    assert words(before, after) == found


def test_an_owner_is_compared_by_what_the_contract_counts() -> None:
    counting = terms_of({"counted_causes": ("gateway", "third_party"), "excluded_causes": ("customer",)})
    before = Promise(terms=counting, owners={"crm": "third_party"})
    assert words(before, replace(before, owners={"crm": "customer"})) == [("owners.crm", "new excluded cause")]


OFFICE = Calendar(name="o", zone="UTC", open=dict.fromkeys(range(5), ((540, 1020),)))
LONGER = replace(OFFICE, open=dict.fromkeys(range(6), ((480, 1020),)))
SPLIT = replace(OFFICE, open=dict.fromkeys(range(5), ((540, 780), (780, 1020))))


def hours(number: int) -> BusinessTime:
    return BusinessTime(unit="business_hours", amount=number)


def days(number: int) -> BusinessTime:
    return BusinessTime(unit="business_days", amount=number)


def elapsed(number: int) -> BusinessTime:
    return BusinessTime(unit="elapsed_us", amount=number * 3_600_000_000)


@pytest.mark.parametrize(
    ("old", "new", "slower"),
    [
        (hours(4), hours(5), True),
        (hours(4), hours(3), False),
        (elapsed(1), elapsed(2), True),
        (elapsed(2), elapsed(1), False),
        (hours(8), elapsed(8), False),  # open time passes no faster than time
        (hours(8), elapsed(9), True),  # received in the morning it would come later
        (elapsed(8), hours(8), True),
        (elapsed(8), hours(1), True),  # received in the evening it would come later
        (days(1), hours(8), False),
        (days(1), hours(9), True),
        (hours(4), None, True),  # best effort
        (None, hours(4), False),
    ],
)
def test_a_slower_response_is_adverse(old: BusinessTime | None, new: BusinessTime | None, slower: bool) -> None:
    before = Promise(terms=SlaTerms(), clocks=Clocks(targets={"S2": old}, calendar=OFFICE))
    after = Promise(terms=SlaTerms(), clocks=Clocks(targets={"S2": new}, calendar=OFFICE))
    assert words(before, after) == [("support_targets.S2", "slower response" if slower else None)]


@pytest.mark.parametrize(
    ("old", "new", "slower"),
    [
        (OFFICE, LONGER, False),
        (LONGER, OFFICE, True),
        (OFFICE, SPLIT, False),  # the same hours in two parts
        (OFFICE, replace(OFFICE, zone="Europe/Berlin"), True),
        (OFFICE, replace(OFFICE, holidays=("2026-12-25",)), True),
        (replace(OFFICE, holidays=("2026-12-25",)), OFFICE, False),
        (OFFICE, replace(OFFICE, business_day_us=36_000_000_000), True),  # a business day of 10 hours
    ],
)
def test_shorter_opening_hours_are_a_slower_response(old: Calendar, new: Calendar, slower: bool) -> None:
    targets = {"S1": elapsed(1), "S3": days(1)}  # what runs round the clock is not touched
    before = Promise(terms=SlaTerms(), clocks=Clocks(targets=targets, calendar=old))
    after = Promise(terms=SlaTerms(), clocks=Clocks(targets=targets, calendar=new))
    assert words(before, after) == [("support_targets.S3", "slower response" if slower else None)]


COMBINED = [row for row in WORSE if row[0] not in ("bands", "min_run_seconds")]


@given(st.lists(st.sampled_from(COMBINED), unique_by=lambda row: row[0], max_size=5))
def test_one_change_for_the_worse_is_not_made_up_for_by_others(rows) -> None:
    before = promise(**{name: good for name, good, _, _ in rows}, min_run_seconds=300)
    after = promise(**{name: bad for name, _, bad, _ in rows}, min_run_seconds=301, target="99.99")
    assert {change.field for change in adverse(before, after)} == {row[0] for row in rows} | {"min_run_seconds"}


def refused(published: str, effective: str, *, worse: bool = True, notice: int = 60, zone: str = "UTC") -> str | None:
    return refusal(
        published_at_s=at(published), effective_from_s=at(effective), material_adverse=worse, notice_days=notice,
        zone=zone,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (refused("2026-03-02T00:00:00Z", "2026-05-01T00:00:00Z"), None),
        (refused("2026-03-02T00:00:01Z", "2026-05-01T00:00:00Z"), "notice_too_short"),  # one second short
        # 60 days of 24 hours, not of the calendar: summer time began in between
        (refused("2026-03-02T00:00:00-05:00", "2026-05-01T00:00:00-04:00", zone="America/New_York"),
         "notice_too_short"),
        (refused("2026-01-01T00:00:00Z", "2026-05-01T00:00:00Z", zone="America/New_York"),
         "effective_from_not_period_start"),
        (refused("2026-01-01T00:00:00Z", "2026-05-15T00:00:00Z"), "effective_from_not_period_start"),
        (refused("2026-01-01T00:00:00Z", "2026-05-01T00:00:01Z"), "effective_from_not_period_start"),
        (refused("2026-05-14T00:00:00Z", "2026-05-15T00:00:00Z"), "effective_from_not_period_start"),  # both wrong
        (refused("2026-05-01T00:00:00Z", "2026-05-01T00:00:00Z", worse=False), None),
        # an improvement in arrears would judge a month by terms that nobody had seen when it began
        (refused("2026-05-01T00:00:01Z", "2026-05-01T00:00:00Z", worse=False), "notice_too_short"),
        # 1 October 2023 began at 01:00 in Asuncion, with summer time
        (refused("2023-01-01T00:00:00Z", "2023-10-01T01:00:00-03:00", zone="America/Asuncion"), None),
    ],
)  # fmt: skip
def test_a_version_begins_with_a_month_and_is_announced_in_time(found: str | None, expected: str | None) -> None:
    assert found == expected


def change_refused(before: Promise | None, after: Promise, published: str) -> str | None:
    return refusal_of_change(before, after, published_at_s=at(published), effective_from_s=MAY)


def test_the_notice_is_that_of_the_terms_in_force() -> None:
    before, after = promise(sla_change_notice_days=90), promise(sla_change_notice_days=10)
    assert change_refused(before, after, "2026-03-02T00:00:00Z") == "notice_too_short"
    assert change_refused(before, after, "2026-01-31T00:00:00Z") is None  # 90 days
    assert change_refused(after, before, "2026-04-30T00:00:00Z") is None  # an improvement


def test_a_first_version_takes_nothing_away() -> None:
    assert change_refused(None, promise(target="99.5"), "2026-04-30T23:59:59Z") is None


def test_a_change_of_zone_must_begin_a_month_in_both() -> None:
    berlin, utc = promise(zone="Europe/Berlin"), promise()
    assert change_refused(utc, berlin, "2025-01-01T00:00:00Z") == "effective_from_not_period_start"
    assert change_refused(berlin, utc, "2025-01-01T00:00:00Z") == "effective_from_not_period_start"
    assert change_refused(utc, promise(zone="Africa/Abidjan"), "2025-01-01T00:00:00Z") is None


def version(number: str, effective: str = "2026-05-01T00:00:00Z", published: str = "2026-01-01T00:00:00Z") -> Version:
    policy = MappingProxyType({"service": {"target": Decimal("99.9")}, "owners": {"crm": "third_party"}})
    return Version(
        id="standard", number=number, effective_from_s=at(effective), text="We promise.", policy=policy,
        author="legal", published_at_s=at(published),
    )  # fmt: skip


JANUARY, APRIL, MAY_ONE = (
    version("1.0.0", "2026-01-01T00:00:00Z"), version("1.1.0", "2026-04-01T00:00:00Z"), version("2.0.0"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        ("2025-12-01T00:00:00Z", None),
        ("2026-01-01T00:00:00Z", JANUARY),
        ("2026-03-01T00:00:00Z", JANUARY),
        ("2026-04-01T00:00:00Z", APRIL),
        ("2026-05-01T00:00:00Z", MAY_ONE),
        ("2030-01-01T00:00:00Z", MAY_ONE),
    ],
)
def test_the_version_in_force_at_its_beginning_governs_a_month(period: str, expected: Version | None) -> None:
    for order in ([JANUARY, APRIL, MAY_ONE], [MAY_ONE, JANUARY, APRIL]):
        assert governing(order, at(period)) == expected


def test_of_two_for_one_month_the_later_published_has_replaced_the_other() -> None:
    later = version("2.0.1", published="2026-01-02T00:00:00Z")
    assert governing([later, MAY_ONE], MAY) is later
    assert governing([version("2.10.0"), version("2.9.0")], MAY).number == "2.10.0"  # type: ignore[union-attr]


def test_a_pinned_customer_keeps_a_version_until_the_renewal() -> None:
    pin = Pin(number="1.0.0", until_s=at("2026-06-01T00:00:00Z"))
    versions = [JANUARY, APRIL, MAY_ONE]
    assert governing(versions, MAY, pin) is JANUARY
    assert governing(versions, pin.until_s, pin) is MAY_ONE  # the month that begins with the renewal


@pytest.mark.parametrize("number", ["2.0.0", "9.9.9"])  # not yet in force; unknown
def test_a_pin_on_what_has_not_taken_effect_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match="has not taken effect"):
        governing([JANUARY, MAY_ONE], at("2026-03-01T00:00:00Z"), Pin(number=number, until_s=10**10))


def test_a_change_of_tier_takes_effect_with_the_next_month() -> None:
    bindings = [Binding(tier="premium", from_s=MAY + 10 * DAY_S), Binding(tier="standard", from_s=MAY - 40 * DAY_S)]
    assert tier_at(bindings, MAY) == "standard"
    assert tier_at(bindings, at("2026-06-01T00:00:00Z")) == "premium"
    assert tier_at(bindings, MAY - 60 * DAY_S) is None


def test_a_version_cannot_be_altered() -> None:
    with pytest.raises(FrozenInstanceError):
        MAY_ONE.text = "We promise less."  # type: ignore[misc]


@pytest.mark.parametrize(
    "altered",
    [
        {"text": "We promise."[:-1]}, {"number": "2.0.1"}, {"effective_from_s": MAY + 1}, {"id": "premium"},
        {"policy": {"service": {"target": Decimal("99.8")}, "owners": {"crm": "third_party"}}},
        {"policy": {"service": {"target": Decimal("99.9")}, "owners": {"crm": "managed"}}},
    ],
)  # fmt: skip
def test_the_hash_covers_all_that_is_promised(altered: dict[str, object]) -> None:
    assert replace(MAY_ONE, **altered).sha256 != MAY_ONE.sha256  # type: ignore[arg-type]


def test_the_hash_is_of_the_promise_and_not_of_its_spelling_or_its_publication() -> None:
    spelt = {"owners": {"crm": "third_party"}, "service": {"target": Decimal("99.90")}}
    assert replace(MAY_ONE, policy=spelt, author="somebody", published_at_s=0).sha256 == MAY_ONE.sha256


@pytest.mark.parametrize("number", ["", "1", "1.0", "v1.0.0", "1.0.0-rc1", "01.0.0", "1.0.0\n", "1.0.0.0"])
def test_a_version_is_numbered_as_semver_has_it(number: str) -> None:
    with pytest.raises(ValueError, match="no version"):
        version(number)


def answering(target: BusinessTime | None, *objectives: Objective) -> Promise:
    return Promise(
        terms=SlaTerms(), clocks=Clocks(targets={"S2": target}, calendar=OFFICE), objectives=tuple(objectives)
    )


def of_cases(percent: int, within: BusinessTime) -> Objective:
    return Objective(severity="S2", within=within, share=Fraction(percent, 100))


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        (answering(hours(4), of_cases(90, hours(6))), answering(hours(4), of_cases(89, hours(6))), "slower response"),
        (answering(hours(4), of_cases(90, hours(6))), answering(hours(4), of_cases(90, hours(7))), "slower response"),
        (answering(hours(4), of_cases(90, hours(6))), answering(hours(4), of_cases(91, elapsed(6))), None),
        (answering(hours(4), of_cases(90, hours(6))), answering(hours(4), of_cases(90, elapsed(6))), None),
        # until now every case was promised within the target
        (answering(hours(4)), answering(hours(4), of_cases(90, hours(4))), "slower response"),
        (answering(hours(4), of_cases(90, hours(4))), answering(hours(4)), None),
        (answering(None, of_cases(90, hours(4))), answering(None), "slower response"),
    ],
)
def test_an_objective_of_support_is_compared_with_what_was_promised(
    before: Promise, after: Promise, word: str | None
) -> None:
    assert words(before, after) == [("support_objectives.S2", word)]
