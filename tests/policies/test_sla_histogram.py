"""Latency in fixed buckets: merged without loss, judged exactly, quantiles as estimates (spec K2)."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.sla.histogram import (
    BOUNDS_US,
    BUCKETS,
    Commitment,
    Estimate,
    Histogram,
    bucket_of,
    histogram_of,
    imported,
    judge,
    merge,
    quantile,
)

HALF_A_SECOND = Commitment(share=Fraction(99, 100), under_us=500_000)
LATENCIES = st.lists(st.integers(0, 40_000_000) | st.sampled_from(BOUNDS_US), max_size=60)


def test_there_are_thirteen_buckets() -> None:
    assert BUCKETS == 13
    assert [bound // 1_000 for bound in BOUNDS_US[:2]] == [5, 10]
    assert BOUNDS_US[-1] == 30_000_000


@pytest.mark.parametrize(
    ("elapsed_us", "bucket"),
    [(0, 0), (4_999, 0), (5_000, 1), (499_999, 6), (500_000, 7), (29_999_999, 11), (30_000_000, 12), (10**12, 12)],
)
def test_a_bound_belongs_to_the_bucket_above_it(elapsed_us: int, bucket: int) -> None:
    assert bucket_of(elapsed_us) == bucket


@pytest.mark.parametrize(
    ("fast", "slow", "met"),
    [
        (99, 1, True),  # exactly 99 % keeps it
        (989_999, 10_001, False),  # 98.9999 %, which rounds to 99
        (1, 0, True),
        (0, 1, False),
        (0, 0, None),  # no request: no verdict
    ],
)
def test_a_commitment_on_a_bound_is_judged_exactly(fast: int, slow: int, met: bool | None) -> None:
    counts = [0] * BUCKETS
    counts[bucket_of(499_999)], counts[bucket_of(500_000)] = fast, slow
    assert judge(Histogram(counts=tuple(counts)), HALF_A_SECOND).met is met


@given(LATENCIES, st.sampled_from(BOUNDS_US), st.integers(1, 100))
def test_the_judgement_is_that_of_the_requests_themselves(latencies: list[int], bound: int, percent: int) -> None:
    judged = judge(histogram_of(latencies), Commitment(share=Fraction(percent, 100), under_us=bound))
    under = sum(each < bound for each in latencies)
    assert (judged.total, judged.under) == (len(latencies), under)
    assert judged.met == (100 * under >= percent * len(latencies) if latencies else None)


@pytest.mark.parametrize("under_us", [0, 499_999, 501_000, 40_000_000, 500])
def test_a_commitment_off_the_bounds_is_refused(under_us: int) -> None:
    with pytest.raises(ValueError, match="is no bucket bound"):
        Commitment(share=Fraction(1), under_us=under_us)


@pytest.mark.parametrize("share", [Fraction(0), Fraction(101, 100), Fraction(-1)])
def test_a_share_that_is_none_is_refused(share: Fraction) -> None:
    with pytest.raises(ValueError, match="share"):
        Commitment(share=share, under_us=500_000)


@given(st.lists(LATENCIES, max_size=4))
def test_merging_is_as_if_all_had_been_counted_at_once(parts: list[list[int]]) -> None:
    together = histogram_of(each for part in parts for each in part)
    assert merge(histogram_of(part) for part in parts) == together
    assert merge(histogram_of(part) for part in reversed(parts)) == together


def test_buckets_with_other_bounds_are_refused() -> None:
    counts = (1,) * BUCKETS
    assert imported(BOUNDS_US, counts).total == BUCKETS
    for bounds in (BOUNDS_US[1:], (*BOUNDS_US[:-1], 60_000_000), (), (*BOUNDS_US, 10**9)):
        with pytest.raises(ValueError, match="are not"):
            imported(bounds, counts)


@pytest.mark.parametrize("counts", [(), (1,) * 12, (1,) * 14, (-1, *(1,) * 12)])
def test_malformed_counts_are_refused(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="are not 13 counts"):
        Histogram(counts=counts)


@pytest.mark.parametrize(
    ("latencies", "share", "expected"),
    [
        ([1_000] * 10, Fraction(1, 2), Estimate(us=Fraction(2_500))),  # the middle of the first bucket
        ([1_000] * 10, Fraction(1), Estimate(us=Fraction(5_000))),
        ([1_000] * 9 + [60_000], Fraction(9, 10), Estimate(us=Fraction(5_000))),
        ([1_000] * 9 + [60_000], Fraction(95, 100), Estimate(us=Fraction(75_000))),
        ([60_000] * 4, Fraction(0), Estimate(us=Fraction(50_000))),
        ([10**9], Fraction(99, 100), Estimate(us=Fraction(30_000_000), at_least=True)),  # no upper end to go by
    ],
)
def test_a_quantile_is_interpolated_and_says_when_it_is_only_a_lower_bound(latencies, share, expected) -> None:
    assert quantile(histogram_of(latencies), share) == expected


def test_no_request_has_no_quantile_and_no_share_lies_outside_of_one() -> None:
    assert quantile(Histogram(), Fraction(1, 2)) is None
    for share in (Fraction(-1, 100), Fraction(101, 100)):
        with pytest.raises(ValueError, match="share"):
            quantile(histogram_of([1]), share)


@given(LATENCIES.filter(bool), st.integers(1, 100))
def test_a_quantile_lies_in_the_bucket_of_the_request_that_it_estimates(latencies: list[int], percent: int) -> None:
    estimate = quantile(histogram_of(latencies), Fraction(percent, 100))
    assert estimate is not None
    true_us = sorted(latencies)[-(-percent * len(latencies) // 100) - 1]
    bucket = bucket_of(true_us)
    low = BOUNDS_US[bucket - 1] if bucket else 0
    assert low <= estimate.us <= (BOUNDS_US[bucket] if bucket < len(BOUNDS_US) else estimate.us)
    assert estimate.at_least == (bucket == BUCKETS - 1)
