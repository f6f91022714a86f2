"""Alerts on the two budgets (spec B1-B3)."""

from __future__ import annotations

from fractions import Fraction

import pytest

from policies.sla.burn import (
    BURN_RULES,
    BurnRule,
    Load,
    Traffic,
    breaching_incident_s,
    budget_notices,
    fires,
    load,
    request_budget,
    run_alert,
)

OBJECTIVE = Fraction(999, 1000)
PAGE, SLOW, TICKET, LEAK = BURN_RULES
APRIL_BUDGET_S = Fraction(2_592)  # 30 days at 99.9
MINUTE = 60


def minutes(*counts: tuple[int, int, int]) -> list[Traffic]:
    """``(how many minutes, requests, errors of each)`` one after the other, from 0."""
    made, at_s = [], 0
    for number, total, errors in counts:
        for _ in range(number):
            made.append(Traffic(from_s=at_s, to_s=at_s + MINUTE, total=total, errors=errors))
            at_s += MINUTE
    return made


@pytest.mark.parametrize(
    ("errors_of_last_hour", "expected"),
    [
        (144, True),  # 1.44% for an hour is 14.4 times 0.1%: the factor is inclusive
        (143, False),
    ],
)
def test_a_rule_fires_at_its_factor(errors_of_last_hour: int, expected: bool) -> None:
    traffic = minutes((600, 10_000, 0), (60, 10_000, errors_of_last_hour))
    assert fires(PAGE, traffic, OBJECTIVE, 660 * MINUTE) is expected


def test_both_windows_must_burn() -> None:
    over = minutes((60, 1_000, 50), (5, 1_000, 0))
    assert not fires(PAGE, over, OBJECTIVE, 65 * MINUTE)  # the short window is clean: it is over
    begun = minutes((600, 1_000, 0), (5, 1_000, 20))
    assert not fires(PAGE, begun, OBJECTIVE, 605 * MINUTE)  # the long window is not yet hurt


@pytest.mark.parametrize(("errors", "expected"), [(4, False), (5, True)])
def test_fewer_than_five_errors_wake_nobody(errors: int, expected: bool) -> None:
    traffic = minutes((errors, 1, 1))
    assert fires(PAGE, traffic, OBJECTIVE, errors * MINUTE) is expected


def test_no_traffic_fires_nothing() -> None:
    assert not any(fires(rule, [], OBJECTIVE, 10**9, 0) for rule in BURN_RULES)
    assert not any(fires(rule, minutes((100, 1_000, 0)), OBJECTIVE, 100 * MINUTE, 0) for rule in BURN_RULES)


def test_an_objective_of_a_hundred_percent_burns_at_any_error_and_at_none_without() -> None:
    whole = Fraction(1)
    assert fires(PAGE, minutes((60, 10_000, 1)), whole, 60 * MINUTE)
    assert not fires(PAGE, minutes((60, 10_000, 0)), whole, 60 * MINUTE, 0)
    assert Load(total=Fraction(5), errors=Fraction(1)).burn(whole) is None


def test_best_effort_has_no_burn() -> None:
    assert not fires(PAGE, minutes((60, 10, 10)), None, 60 * MINUTE)


def test_a_window_is_half_open_and_cuts_what_it_crosses() -> None:
    piece = [Traffic(from_s=0, to_s=600, total=100, errors=10)]
    assert load(piece, 600, 900) == Load(total=Fraction(0), errors=Fraction(0))
    assert load(piece, -100, 1) == Load(total=Fraction(1, 6), errors=Fraction(1, 60))
    assert load(piece, 150, 300) == Load(total=Fraction(25), errors=Fraction(5, 2))


def test_burn_is_the_error_ratio_over_what_is_allowed() -> None:
    assert Load(total=Fraction(1_000), errors=Fraction(5)).burn(OBJECTIVE) == 5
    assert Load(total=Fraction(0), errors=Fraction(0)).burn(OBJECTIVE) is None


def test_the_rules_stand_for_the_shares_of_the_budget_that_the_page_prints() -> None:
    shares = [rule.budget_share for rule in BURN_RULES]
    assert shares == [Fraction(2, 100), Fraction(5, 100), Fraction(10, 100), Fraction(10, 100)]
    assert BurnRule(name="x", long_s=2_592_000, short_s=1, factor=Fraction(1)).budget_share == 1


def test_request_budget_is_of_the_last_thirty_days() -> None:
    day = 86_400
    traffic = [Traffic(from_s=at * day, to_s=(at + 1) * day, total=1_000, errors=1) for at in range(40)]
    budget = request_budget(traffic, OBJECTIVE, 40 * day)
    assert (budget.allowed, budget.spent) == (30, 30)


@pytest.mark.parametrize(
    ("run_s", "alert"), [(0, None), (119, None), (120, "warn"), (299, "warn"), (300, "page"), (9_000, "page")]
)
def test_a_bad_run_warns_and_pages_once_it_is_downtime(run_s: int, alert: str | None) -> None:
    assert run_alert(run_s, min_run_s=300) == alert


def test_a_contract_with_a_shorter_run_pages_sooner() -> None:
    assert run_alert(60, min_run_s=60) == "page"


@pytest.mark.parametrize(
    ("downtime_s", "told"),
    [(0, ()), (1_295, ()), (1_296, (50,)), (1_944, (50, 75)), (2_591, (50, 75)), (2_592, (50, 75, 100))],
)
def test_the_use_of_the_downtime_budget_is_told(downtime_s: int, told: tuple[int, ...]) -> None:
    assert budget_notices(downtime_s, APRIL_BUDGET_S) == told


def test_without_a_budget_the_first_second_uses_it_up() -> None:
    assert budget_notices(0, Fraction(0)) == ()
    assert budget_notices(1, Fraction(0)) == (50, 75, 100)


@pytest.mark.parametrize(
    ("downtime_s", "budget_s", "incident_s"),
    [
        (0, APRIL_BUDGET_S, 2_593),  # downtime of exactly the budget still meets the target
        (2_592, APRIL_BUDGET_S, 300),
        (2_593, APRIL_BUDGET_S, 0),  # breached already
        (2_400, APRIL_BUDGET_S, 300),  # the 193 s that would do are too short to be downtime
        (0, Fraction("259.2"), 300),  # 99.99: any counted incident breaches
        (0, Fraction("2592.5"), 2_593),
    ],
)
def test_the_incident_that_would_breach_is_forecast(downtime_s: int, budget_s: Fraction, incident_s: int) -> None:
    assert breaching_incident_s(downtime_s, budget_s, min_run_s=300) == incident_s
