"""Credits, caps, claims and budgets (P4, P5, C1-C5)."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.sla.budget import downtime_budget, exact, used_percent, whole_seconds
from policies.sla.claim import NEXT, Claim, State, deadline, may_terminate, moved, opened, state_at
from policies.sla.credit import CreditItem, band_of, capped, credit, monthly_fee
from policies.sla.terms import Cap, SlaTerms, terms_of
from policies.sla.uptime import meets, uptime, uptime_of_all, written

TERMS = SlaTerms()


@pytest.mark.parametrize(
    ("figure", "wanted"),
    [
        (Fraction(100), "0"),
        (Fraction("99.9"), "0"),  # the lower bound belongs to the band
        (Fraction("99.9") - Fraction(1, 10**30), "10"),
        (Fraction("99.0"), "10"),
        (Fraction("98.9999"), "25"),
        (Fraction("95"), "25"),
        (Fraction("94.9999"), "50"),
        (Fraction(0), "50"),
    ],
)
def test_bands_are_half_open_and_leave_no_gap(figure: Fraction, wanted: str) -> None:
    band = band_of(figure, TERMS)
    assert band is not None
    assert (band.credit, band.termination) == (Decimal(wanted), wanted == "50")


def test_no_figure_and_no_promise_have_no_band() -> None:
    assert band_of(None, TERMS) is None
    assert band_of(Fraction(0), terms_of({"target": None})) is None


@given(downtime=st.integers(0, 2_592_000), decimals=st.integers(1, 6))
def test_shown_figure_lies_in_the_band_of_the_exact_one(downtime: int, decimals: int) -> None:
    """P4: for edges of at most as many decimals as are shown."""
    figure = uptime(downtime, 2_592_000)
    shown = written(figure, decimals)
    assert figure is not None
    assert shown is not None
    assert 0 <= figure - Fraction(shown) < Fraction(1, 10**decimals)
    assert band_of(Fraction(shown), TERMS) == band_of(figure, TERMS)


@pytest.mark.parametrize(
    ("fee", "percent", "currency", "wanted"),
    [
        ("4999.00", "10", "USD", "499.90"),
        ("999", "25", "JPY", "250"),  # 249.75
        ("1001", "50", "JPY", "501"),  # a half goes up
        ("100.015", "10", "BHD", "10.002"),
        ("0.00", "50", "EUR", "0.00"),
        ("99999999999999999999999999999999.99", "50", "USD", "50000000000000000000000000000000.00"),
        ("12.345", "33.3", "CLF", "4.1109"),
    ],
)
def test_credit_is_in_minor_units_and_halves_go_up(fee: str, percent: str, currency: str, wanted: str) -> None:
    assert str(credit(Decimal(fee), Decimal(percent), currency)) == wanted


@pytest.mark.parametrize("currency", ["usd", "US", "USDT", "", "U$D", "\u0395UR"])
def test_what_is_no_currency_is_refused(currency: str) -> None:
    with pytest.raises(ValueError, match="is no currency"):
        credit(Decimal(1), Decimal(1), currency)


def test_fee_of_a_part_of_a_prepaid_year_stays_exact() -> None:
    fee = monthly_fee(Decimal(1000), 10, 30, months=12)
    assert fee == Fraction(1000, 36)
    assert credit(fee, Decimal(10), "USD") == Decimal("2.78")


def items(*rows: tuple[str, str, int | None]) -> list[CreditItem]:
    return [CreditItem(month=month, credit_percent=Decimal(p), contract_year=year) for month, p, year in rows]


def test_cap_by_month_binds_where_credits_of_a_month_stack() -> None:
    given_ = items(("2026-04", "50", None), ("2026-04", "60", None), ("2026-05", "60", None))
    assert capped(Decimal(100), given_, Cap(), "EUR") == (Decimal(50), Decimal(50), Decimal(60))


def test_cap_is_used_up_in_the_order_of_months_not_of_the_list() -> None:
    given_ = items(("2026-06", "50", 1), ("2026-04", "80", 1))
    assert capped(Decimal(100), given_, Cap(window="contract_year"), "EUR") == (Decimal(20), Decimal(80))


def test_cap_by_contract_year_needs_the_year() -> None:
    with pytest.raises(ValueError, match="names no contract year"):
        capped(Decimal(100), items(("2026-06", "50", None)), Cap(window="contract_year"), "EUR")


@given(percents=st.lists(st.integers(0, 100), max_size=6), cap=st.integers(0, 100), fee=st.decimals(0, 10**6, places=2))
def test_credits_never_exceed_the_cap(percents: list[int], cap: int, fee: Decimal) -> None:
    listed = items(*((f"2026-{at:02}", str(percent), 1) for at, percent in enumerate(percents, 1)))
    amounts = capped(fee, listed, Cap(percent=Decimal(cap), window="contract_year"), "USD")
    assert sum(amounts) <= credit(fee, Decimal(cap), "USD")
    assert all(amount >= 0 for amount in amounts)


def test_deadline_is_thirty_local_days_after_the_later_of_end_and_publication() -> None:
    end = 1_777_593_600  # 2026-05-01T00:00:00Z
    assert deadline(end, None, "UTC", 30) == end + 30 * 86_400
    assert deadline(end, end - 5, "UTC", 30) == end + 30 * 86_400  # published early
    assert deadline(end, end + 1, "UTC", 30) == end + 31 * 86_400


CLAIM = Claim(tenant="acme", sla="standard", period="2026-04", deadline_s=1000)


def test_claim_goes_its_way() -> None:
    claimed = moved(CLAIM, "claimed", 999)
    assert moved(moved(claimed, "approved", 5000), "applied", 6000).state == "applied"


@pytest.mark.parametrize(("to", "at_s"), [("claimed", 1000), ("expired", 999), ("approved", 0), ("eligible", 0)])
def test_step_that_is_none_is_refused(to: State, at_s: int) -> None:
    with pytest.raises(ValueError, match="claim"):
        moved(CLAIM, to, at_s)


@pytest.mark.parametrize("state", ["rejected", "applied", "expired"])
def test_end_states_stay(state: State) -> None:
    assert NEXT[state] == ()


def test_unclaimed_credit_expires_at_its_deadline_without_a_timer() -> None:
    assert [state_at(CLAIM, at) for at in (999, 1000)] == ["eligible", "expired"]
    assert state_at(moved(CLAIM, "claimed", 0), 10**9) == "claimed"


def test_auto_claim_claims_at_once() -> None:
    assert opened("acme", "standard", "2026-04", 1000, auto_claim=True).state == "claimed"


def test_right_to_terminate_ends_with_the_claim_window() -> None:
    assert [may_terminate(True, 1000, at) for at in (999, 1000)] == [True, False]
    assert not may_terminate(False, 1000, 0)


def test_quarter_without_a_second_has_no_figure() -> None:
    assert uptime_of_all([]) is None
    assert uptime_of_all([(0, 0), (0, 0)]) is None
    assert uptime_of_all([(0, 0), (1, 4)]) == 75  # a month before the contract weighs nothing


def test_figure_without_a_promise_meets_nothing() -> None:
    assert meets(Fraction(100), None) is None
    assert meets(None, Decimal(99)) is None


@given(judged=st.integers(1, 10**7), target=st.decimals(0, 100, places=3))
def test_budget_is_the_longest_downtime_that_meets_the_target(judged: int, target: Decimal) -> None:
    budget = downtime_budget(judged, target)
    assert budget is not None
    longest = whole_seconds(budget)
    assert meets(uptime(longest, judged), target)
    assert longest == judged or not meets(uptime(longest + 1, judged), target)


def test_use_of_the_budget() -> None:
    assert used_percent(1296, Fraction(2592)) == 50
    assert used_percent(1, None) is None
    assert [used_percent(seconds, Fraction(0)) for seconds in (0, 1)] == [0, None]


@pytest.mark.parametrize(("seconds", "wanted"), [("2592", "2592"), ("2678.4", "2678.4"), ("0.05", "0.05"), ("0", "0")])
def test_exact_seconds(seconds: str, wanted: str) -> None:
    assert exact(Fraction(seconds)) == wanted


def test_a_third_has_no_decimal_form() -> None:
    with pytest.raises(ValueError, match="has no decimal form"):
        exact(Fraction(1, 3))
