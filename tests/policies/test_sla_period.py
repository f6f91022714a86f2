"""Months, quarters and years of zones, and the midnights that claims are counted from (P1, P7, C3)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.sla.period import begins_month, midnight_from, month_at, months_of, period
from tests.policies.vector_shapes import seconds


@pytest.mark.parametrize(
    ("name", "zone", "wanted"),
    [
        ("2026-04", "UTC", 2_592_000),
        ("2026-03", "America/New_York", 2_674_800),  # an hour is skipped
        ("2026-11", "America/New_York", 2_595_600),  # one comes twice
        ("2028-02", "UTC", 2_505_600),
        ("2026-Q1", "Europe/Berlin", 90 * 86_400 - 3_600),
        ("2028", "UTC", 366 * 86_400),
        ("2026-12", "Asia/Kathmandu", 31 * 86_400),  # over the year's end, 5:45 h ahead
        ("2026-11", "America/Havana", 30 * 86_400 + 3_600),  # midnight comes twice on the 1st: from the first
    ],
)
def test_length_is_elapsed_seconds_between_local_midnights(name: str, zone: str, wanted: int) -> None:
    assert period(name, zone).seconds == wanted


def test_a_midnight_that_the_zone_skips_is_the_instant_of_the_change() -> None:
    # 1 March 2026 is plain in Beirut; 29 March starts at 01:00, because 00:00 to 01:00 is skipped
    assert midnight_from(seconds("2026-03-28T12:00:00+02:00"), "Asia/Beirut") == seconds("2026-03-29T01:00:00+03:00")


@pytest.mark.parametrize(
    "name", ["2026-13", "2026-00", "2026-4", "2026-Q5", "26-04", "", "2026-04-31", "٢٠٢٦-04", "0000"]
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - two messages, of the name and of datetime
        period(name)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../UTC", ""])
def test_a_zone_that_is_none_is_refused(zone: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        period("2026-04", zone)


@given(year=st.integers(1990, 2090), zone=st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Apia"]))
def test_the_months_of_a_year_and_its_quarters_are_the_year(year: int, zone: str) -> None:
    whole = period(str(year), zone)
    months = months_of(whole)
    quarters = [each for number in range(1, 5) for each in months_of(period(f"{year}-Q{number}", zone))]
    assert list(months) == quarters
    assert (months[0].start_s, months[-1].end_s, len(months)) == (whole.start_s, whole.end_s, 12)
    assert all(one.end_s == next_.start_s for one, next_ in pairwise(months))


@given(at=st.integers(0, 4 * 10**9), zone=st.sampled_from(["UTC", "America/New_York", "Australia/Lord_Howe"]))
def test_an_instant_lies_in_its_month(at: int, zone: str) -> None:
    month = month_at(at, zone)
    assert month.start_s <= at < month.end_s
    assert begins_month(at, zone) == (at == month.start_s)


@pytest.mark.parametrize(
    ("at", "zone", "days", "wanted"),
    [
        ("2026-05-01T00:00:00Z", "UTC", 0, "2026-05-01T00:00:00Z"),  # a midnight is its own
        ("2026-05-01T00:00:01Z", "UTC", 0, "2026-05-02T00:00:00Z"),
        ("2026-11-01T04:00:00Z", "America/New_York", 30, "2026-12-01T05:00:00Z"),
        ("2026-02-27T23:00:00-05:00", "America/New_York", 1, "2026-03-01T05:00:00Z"),  # 28 days
    ],
)
def test_midnight_from(at: str, zone: str, days: int, wanted: str) -> None:
    assert midnight_from(seconds(at), zone, days=days) == seconds(wanted)
