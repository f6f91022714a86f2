"""Amounts with units: what is read, exactly; what is refused, and what was meant."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.format.units import (
    LARGEST,
    RATE_PERIODS,
    Rate,
    ValueProblem,
    parse_business_time,
    parse_count,
    parse_duration,
    parse_percent,
    parse_rate,
    parse_rate_list,
    parse_size,
)
from policies.model import BusinessTime

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("250ms", 250_000),
        ("30s", 30 * SECOND),
        ("5m", 300 * SECOND),
        ("2h", 7_200 * SECOND),
        ("7d", 604_800 * SECOND),
        ("0s", 0),
        ("1_000 ms", SECOND),
    ],
)
def test_durations(text: str, us: int) -> None:
    assert parse_duration(text) == us


@pytest.mark.parametrize(("text", "size"), [("64KiB", 65_536), ("1MiB", 1_048_576), ("0B", 0), ("2GiB", 2 << 30)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_percentages_are_exact() -> None:
    assert parse_percent("99.9%") == Decimal("99.9")
    assert parse_percent("0%") == 0
    assert parse_percent("99.999999%") * 3 == Decimal("299.999997")


@pytest.mark.parametrize(("value", "number"), [(5, 5), ("5_000", 5_000), ("007", 7), (LARGEST, LARGEST)])
def test_counts(value: object, number: int) -> None:
    assert parse_count(value) == number


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("4bh", BusinessTime(unit="business_hours", amount=4)),
        ("1bd", BusinessTime(unit="business_days", amount=1)),
        ("30m", BusinessTime(unit="elapsed_us", amount=1_800 * SECOND)),
    ],
)
def test_response_times(text: str, time: BusinessTime) -> None:
    assert parse_business_time(text) == time


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("60/min", Rate(amount=60, times=1, unit="min", period_us=60 * SECOND)),
        ("10/30s", Rate(amount=10, times=30, unit="s", period_us=30 * SECOND)),
        ("5_000/day", Rate(amount=5_000, times=1, unit="day", period_us=86_400 * SECOND)),
        ("1_000_000/month", Rate(amount=1_000_000, times=1, unit="month", period_us=None)),
        ("100 per minute", Rate(amount=100, times=1, unit="min", period_us=60 * SECOND)),
        ("100 per 2 hours", Rate(amount=100, times=2, unit="h", period_us=7_200 * SECOND)),
        ("7 / second", Rate(amount=7, times=1, unit="s", period_us=SECOND)),
    ],
)
def test_rates(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


def test_several_limits_in_one_text_are_named_by_their_units() -> None:
    named = parse_rate_list("100 per minute; 1000/day, 10/30s")
    assert named == [("minute", "100 per minute"), ("day", "1000/day"), ("30s", "10/30s")]


@pytest.mark.parametrize(
    ("parse", "value", "code", "hint"),
    [
        (parse_duration, "5min", "TG111", "did you mean '5m'?"),
        (parse_duration, "5 sec", "TG111", "did you mean '5s'?"),
        (parse_duration, 30, "TG111", "did you mean '30s'?"),
        (parse_duration, "30", "TG111", "did you mean '30s'?"),
        (parse_duration, "1.5h", "TG111", "like '30s'"),
        (parse_duration, "-5s", "TG111", "like '30s'"),
        (parse_duration, "40000d", "TG111", "36500d"),
        (parse_duration, True, "TG111", "like '30s'"),
        (parse_size, "64KB", "TG112", "did you mean '64KiB'?"),
        (parse_size, "1M", "TG112", "did you mean '1MiB'?"),
        (parse_percent, "99,9%", "TG113", "did you mean '99.9%'?"),
        (parse_percent, Decimal("99.9"), "TG113", "did you mean '99.9%'?"),
        (parse_percent, "-1%", "TG113", "99.9%"),
        (parse_count, "5,000", "TG114", "did you mean '5000'?"),
        (parse_count, Decimal("1E+999999999"), "TG114", "5_000"),
        (parse_count, LARGEST + 1, "TG114", "1_000_000_000_000"),
        (parse_count, True, "TG114", "5_000"),
        (parse_count, -1, "TG114", "0"),
        (parse_business_time, "4bhs", "TG115", "did you mean '4bh'?"),
        (parse_business_time, "0bh", "TG115", "1m"),
        (parse_rate, "600/mim", "TG110", "did you mean '600/min'?"),
        (parse_rate, "60/m", "TG110", "did you mean '60/min'?"),
        (parse_rate, 60, "TG110", "did you mean '60/min'?"),
        (parse_rate, "1,000/day", "TG110", "did you mean '1000/day'?"),
        (parse_rate, "1.5/min", "TG110", "'3/2min'"),
        (parse_rate, "1.50/s", "TG110", "'3/2s'"),
        (parse_rate, "0.5/day", "TG110", "whole numbers"),
        (parse_rate, "1.500/min", "TG110", "did you mean '1500/min'?"),
        (parse_rate, "none", "TG110", "null"),
        (parse_rate, "60/year", "TG110", "units: s, min, h, day, month"),
        (parse_rate, "0/min", "TG110", "smallest amount is 1"),
        (parse_rate, "9" * 5_000 + "/min", "TG110", "largest amount"),
        (parse_rate, "10/100ms", "TG212", "did you mean '100/s'?"),
        (parse_rate, "", "TG110", "60/min"),
    ],
)
def test_what_is_refused_says_what_was_meant(parse, value, code, hint) -> None:
    with pytest.raises(ValueProblem) as caught:
        parse(value)
    assert caught.value.code == code
    assert hint in caught.value.hint
    assert len(caught.value.message) < 120


def test_two_limits_with_one_derived_name_are_refused() -> None:
    with pytest.raises(ValueProblem, match="'minute'"):
        parse_rate_list("100/min; 200 per minute")


@given(st.integers(1, LARGEST), st.sampled_from(sorted(RATE_PERIODS)), st.booleans())
def test_every_rate_comes_back_as_written(amount: int, unit: str, grouped: bool) -> None:
    written = f"{amount:_}/{unit}" if grouped else f"{amount}/{unit}"
    rate = parse_rate(written)
    assert (rate.amount, rate.period_us) == (amount, RATE_PERIODS[unit])


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_count, parse_duration, parse_size, parse_percent, parse_business_time, parse_rate):
        try:
            parse(text)
        except ValueProblem as problem:
            assert problem.message  # noqa: PT017 - the refusal itself is the subject
