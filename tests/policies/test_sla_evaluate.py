"""A month's figure: what the vectors do not say of its parts (T1-T11, P1-P5)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from policies.sla.evaluate import Account, Evidence, Figure, Window, evaluate, platform_bad_slots
from policies.sla.exclusions import Exclusion
from policies.sla.period import period
from policies.sla.spans import Spans
from policies.sla.status import current_run, status
from policies.sla.terms import terms_of
from policies.sla.traffic import Traffic

APRIL = period("2026-04")
NOON_S = APRIL.start_s + 14 * 86_400 + 43_200


def slots(start_s: int, count: int) -> range:
    return range(start_s, start_s + 60 * count, 60)


def failing(
    count: int, *, start_s: int = NOON_S, errors: int = 10, cause: str = "gateway"
) -> dict[str, dict[int, int]]:
    return {cause: dict.fromkeys(slots(start_s, count), errors)}


def judged(
    traffic: Traffic | None = None, *, platform: Traffic | None = None, dark: Spans = (),
    account: Account | None = None, **policy: Any,
) -> Figure:  # fmt: skip
    evidence = Evidence(traffic=traffic or Traffic(), platform=platform or Traffic(), dark=dark)
    return evaluate(evidence, (), terms_of(policy), APRIL, account or Account())


def test_nothing_known_is_idle_and_up() -> None:
    figure = judged()
    assert (figure.uptime, figure.downtime_seconds, figure.windows) == (100, 0, ())


def test_window_shows_causes_requests_and_darkness() -> None:
    failed = {
        **failing(5),
        **failing(2, cause="managed_upstream", errors=3),
        **failing(5, cause="third_party", errors=99),
    }
    good = dict.fromkeys(slots(NOON_S, 5), 4)
    figure = judged(Traffic(good=good, failed=failed), dark=((NOON_S + 300, NOON_S + 330),))
    assert figure.windows == (
        Window(
            from_s=NOON_S, to_s=NOON_S + 330, causes={"gateway": 50, "managed_upstream": 6}, errors=56, eligible=76,
            dark_seconds=30, inherited_seconds=0,
        ),
    )  # fmt: skip


def test_errors_of_a_slot_that_is_wholly_dark_are_no_evidence_beside_it() -> None:
    (window,) = judged(Traffic(failed=failing(6)), dark=((NOON_S, NOON_S + 120),)).windows
    assert (window.errors, window.dark_seconds) == (40, 120)


def test_slot_that_is_partly_dark_keeps_its_verdict_for_its_live_seconds() -> None:
    good = dict.fromkeys(slots(NOON_S, 1), 10)
    half_good = judged(Traffic(good=good, failed=failing(4, start_s=NOON_S + 60)), dark=((NOON_S, NOON_S + 40),))
    assert (half_good.gross_downtime_seconds, half_good.degraded_seconds) == (0, 280)  # 20 good seconds between
    half_bad = judged(Traffic(failed=failing(5)), dark=((NOON_S + 20, NOON_S + 40),))
    assert half_bad.gross_downtime_seconds == 300


@pytest.mark.parametrize(("own_good", "wanted"), [(0, 600), (1, 0)])
def test_idle_tenant_inherits_the_platforms_verdict_unless_it_has_good_traffic(own_good: int, wanted: int) -> None:
    own = Traffic(good=dict.fromkeys(slots(NOON_S, 10), own_good))
    figure = judged(own, platform=Traffic(failed=failing(10)))
    assert figure.gross_downtime_seconds == wanted
    assert [each.inherited_seconds for each in figure.windows] == ([600] if wanted else [])
    assert judged(own, platform=Traffic(failed=failing(10)), idle_inherits_platform=False).downtime_seconds == 0


def test_an_inherited_slot_is_evidence_enough() -> None:
    own = Traffic(failed=failing(4, errors=1))
    assert judged(own).downtime_seconds == 0
    assert judged(own, platform=Traffic(failed=failing(5))).downtime_seconds == 300


def test_platforms_verdict_that_is_given_is_the_one_worked_out() -> None:
    platform, terms = Traffic(failed=failing(10)), terms_of({})
    given = Evidence(platform_bad=platform_bad_slots(platform, terms, APRIL))
    assert evaluate(given, (), terms, APRIL, Account()) == judged(platform=platform)


def test_a_slot_without_requests_is_idle_even_when_none_are_needed() -> None:
    # 0 of 0 is not 5 %
    assert judged(Traffic(failed={"gateway": {NOON_S: 0}}), min_requests_per_slot=0).degraded_seconds == 0


def test_threshold_of_a_hundred_needs_every_request_to_fail() -> None:
    almost = Traffic(good=dict.fromkeys(slots(NOON_S, 5), 1), failed=failing(5, errors=999))
    assert judged(almost, threshold_percent="100").downtime_seconds == 0
    assert judged(Traffic(failed=failing(5)), threshold_percent="100").downtime_seconds == 300


def test_threshold_is_exact_where_binary_fractions_are_not() -> None:
    exactly = Traffic(good=dict.fromkeys(slots(NOON_S, 5), 999), failed=failing(5, errors=1))
    assert judged(exactly, threshold_percent="0.1").downtime_seconds == 300
    assert judged(exactly, threshold_percent="0.1000000000000000001").downtime_seconds == 0


def test_carved_in_cause_counts_in_numerator_and_denominator() -> None:
    traffic = Traffic(good=dict.fromkeys(slots(NOON_S, 5), 95), failed=failing(5, errors=5, cause="third_party"))
    assert judged(traffic).downtime_seconds == 0
    carved_in = {"counted_causes": ["gateway", "third_party"], "excluded_causes": ["customer"]}
    assert judged(traffic, **carved_in).downtime_seconds == 300


def test_run_over_both_ends_of_the_month_is_whole_before_it_is_clipped() -> None:
    before = failing(5, start_s=APRIL.start_s - 240)["gateway"]
    after = failing(5, start_s=APRIL.end_s - 60)["gateway"]
    assert judged(Traffic(failed={"gateway": {**before, **after}})).gross_downtime_seconds == 120


def test_what_lies_a_day_beyond_the_month_is_not_looked_at() -> None:
    # the evidence of a run that reaches the margin lies inside it too
    assert judged(Traffic(failed=failing(5, start_s=APRIL.end_s + 86_400))).degraded_seconds == 0


def test_no_target_gives_a_figure_and_no_verdict() -> None:
    figure = judged(Traffic(failed=failing(60 * 24 * 15, start_s=APRIL.start_s)), target=None)
    assert (figure.uptime_percent, figure.met, figure.budget_seconds) == ("50.0000", None, None)
    assert (figure.credit_percent, figure.termination_right) == (Decimal(0), False)


def test_figure_knows_its_budget_and_verdict() -> None:
    figure = judged(Traffic(failed=failing(44)))
    assert (figure.met, figure.budget_seconds) == (False, Fraction(2592))
    assert judged(Traffic(failed=failing(43))).met is True


def test_display_is_floored_and_never_decides() -> None:
    # 2,593 s are 99.89996...: shown with one decimal as 99.8, with none as 99, and a breach in each
    dark = ((NOON_S, NOON_S + 2_593),)
    assert [judged(dark=dark, display_decimals=n).uptime_percent for n in (0, 1, 4)] == ["99", "99.8", "99.8999"]
    assert {judged(dark=dark, display_decimals=n).credit_percent for n in (0, 1, 4)} == {Decimal(10)}


def test_contract_that_ends_and_begins_again_is_judged_by_its_seconds() -> None:
    contract = ((APRIL.start_s, NOON_S + 100), (NOON_S + 200, APRIL.end_s))
    figure = judged(dark=((NOON_S, NOON_S + 600),), account=Account(contract=contract))
    assert (figure.force_seconds, figure.gross_downtime_seconds) == (2_592_000 - 100, 500)
    assert len(figure.windows) == 2


def test_month_that_is_excluded_whole_under_the_reduced_denominator_has_no_figure() -> None:
    asked = Exclusion(
        id="x", type="suspension", window=(APRIL.start_s, APRIL.end_s), recorded_at_s=APRIL.end_s, approved=True
    )
    terms = terms_of({"denominator": "calendar_minus_excluded"})
    figure = evaluate(Evidence(), (asked,), terms, APRIL, Account())
    assert (figure.uptime, figure.uptime_percent, figure.judged_seconds) == (None, None, 0)
    assert figure.force_seconds == APRIL.seconds


def test_zone_whose_month_begins_inside_a_slot_splits_the_slots_seconds() -> None:
    kolkata = period("2026-04", "Asia/Kolkata")  # 18:30 UTC: the middle of an hour's slot
    terms = terms_of({"slot_seconds": 3600})
    traffic = Traffic(failed={"gateway": {kolkata.start_s - 1800: 9}})
    figure = evaluate(Evidence(traffic=traffic), (), terms, kolkata, Account())
    assert figure.gross_downtime_seconds == 1800


def test_inputs_are_left_as_they_were() -> None:
    failed = failing(5)
    traffic = Traffic(failed=failed)
    judged(traffic)
    assert failed == failing(5)
    assert replace(traffic) == traffic


@pytest.mark.parametrize(
    ("bad_slots", "minutes", "wanted"),
    [
        (0, 1, "up"),
        (4, 4, "degraded"),  # four bad slots closed
        (5, 5, "down"),  # the fifth closes: down, back-dated
        (5, 6, "up"),  # one good slot since
    ],
)
def test_status_is_degraded_until_the_run_is_downtime(bad_slots: int, minutes: int, wanted: str) -> None:
    now_s = NOON_S + 60 * minutes
    figure = judged(Traffic(failed=failing(bad_slots)), account=Account(contract=((APRIL.start_s, now_s),)))
    assert status(figure, now_s) == wanted
    run = (NOON_S, now_s) if wanted != "up" else None
    assert current_run(figure, now_s) == run


def test_status_without_evidence_stays_degraded() -> None:
    figure = judged(Traffic(failed=failing(5, errors=1)), min_run_errors=6)
    assert status(figure, NOON_S + 300) == "degraded"


@pytest.mark.parametrize(
    ("gap_s", "policy", "wanted"),
    [
        (120, {}, 620),  # an idle stretch of exactly the longest length is bridged
        (121, {}, 0),
        (60, {"max_bridge_seconds": 0}, 0),
        (60, {"max_bridge_seconds": 0, "merge_gap_seconds": 60}, 560),
        (61, {"max_bridge_seconds": 0, "merge_gap_seconds": 60}, 0),
    ],
)
def test_gap_of_exactly_the_longest_length_is_closed(gap_s: int, policy: dict[str, int], wanted: int) -> None:
    dark = ((NOON_S, NOON_S + 250), (NOON_S + 250 + gap_s, NOON_S + 500 + gap_s))
    assert judged(dark=dark, **policy).gross_downtime_seconds == wanted


def test_idle_and_good_seconds_together_are_not_bridged_though_each_is_short() -> None:
    good = {NOON_S + 240: 1}
    dark = ((NOON_S, NOON_S + 240), (NOON_S + 360, NOON_S + 600))  # one good minute, one idle
    assert judged(Traffic(good=good), dark=dark).gross_downtime_seconds == 0


def test_excluded_time_is_no_gap_in_the_run_that_it_lies_in() -> None:
    """X3: detect first, subtract second, so that three minutes on each side remain."""
    asked = Exclusion(
        id="x", type="force_majeure", window=(NOON_S + 180, NOON_S + 360), recorded_at_s=NOON_S, approved=True
    )
    evidence = Evidence(traffic=Traffic(failed=failing(9)))
    figure = evaluate(evidence, (asked,), terms_of({}), APRIL, Account())
    assert (figure.gross_downtime_seconds, figure.downtime_seconds) == (540, 360)


@pytest.mark.parametrize(("errors", "wanted"), [(4, 0), (5, 240)])
def test_run_needs_five_errors_or_a_second_that_is_bad_by_itself(errors: int, wanted: int) -> None:
    traffic = Traffic(failed={"gateway": {NOON_S: errors - 1, NOON_S + 180: 1}})  # two idle minutes between
    assert judged(traffic, min_run_seconds=240).gross_downtime_seconds == wanted
    assert judged(traffic, dark=((NOON_S + 60, NOON_S + 61),), min_run_seconds=240).gross_downtime_seconds == 240
