"""How long requests took, in buckets that can be added up over replicas and minutes (spec K2).

The bounds are fixed, so histograms merge without loss and a commitment that names a bound is judged exactly. Times are
integer microseconds. A bucket holds what took less than its bound and not less than the one below it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Final

BOUNDS_US: Final = tuple(
    milliseconds * 1_000 for milliseconds in (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000)
)
BUCKETS: Final = len(BOUNDS_US) + 1
"""One for each bound, and the last for whatever took longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """``counts`` by bucket, ``BUCKETS`` of them. Raises ``ValueError`` for another number or a negative one."""

    counts: tuple[int, ...] = (0,) * BUCKETS

    def __post_init__(self) -> None:
        if len(self.counts) != BUCKETS or min(self.counts) < 0:
            raise ValueError(f"{self.counts} are not {BUCKETS} counts")

    @property
    def total(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """``share`` of the requests take less than ``under_us``, which is a bucket bound: "99 % under 500 ms".

    Raises ``ValueError`` for any other time: no verdict on it would be exact.
    """

    share: Fraction
    under_us: int

    def __post_init__(self) -> None:
        if self.under_us not in BOUNDS_US:
            offered = ", ".join(str(bound // 1_000) for bound in BOUNDS_US)
            raise ValueError(f"{self.under_us} us is no bucket bound; those are {offered} ms")
        if not 0 < self.share <= 1:
            raise ValueError(f"a share of {self.share} is none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """``share`` and ``met`` are None when there was no request."""

    commitment: Commitment
    total: int
    under: int
    share: Fraction | None
    met: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A quantile by interpolation: no measurement. ``at_least``: it lies in the last bucket, at ``us`` or above."""

    us: Fraction
    at_least: bool = False


def bucket_of(elapsed_us: int) -> int:
    return bisect_right(BOUNDS_US, elapsed_us)


def histogram_of(elapsed_us: Iterable[int]) -> Histogram:
    counts = [0] * BUCKETS
    for each in elapsed_us:
        counts[bucket_of(each)] += 1
    return Histogram(counts=tuple(counts))


def merge(histograms: Iterable[Histogram]) -> Histogram:
    """All of them as one, in any order."""
    columns = zip(*(each.counts for each in histograms), strict=True)
    return Histogram(counts=tuple(map(sum, columns)) or (0,) * BUCKETS)


def imported(bounds_us: Sequence[int], counts: Sequence[int]) -> Histogram:
    """A histogram from elsewhere. Raises ``ValueError`` for other bounds: to split a bucket is to guess."""
    if tuple(bounds_us) != BOUNDS_US:
        raise ValueError(f"bounds {tuple(bounds_us)} are not {BOUNDS_US}")
    return Histogram(counts=tuple(counts))


def judge(histogram: Histogram, commitment: Commitment) -> Judgement:
    """Whether the commitment was kept, exactly; a share of exactly the promised one keeps it."""
    total = histogram.total
    under = sum(histogram.counts[: BOUNDS_US.index(commitment.under_us) + 1])
    share = Fraction(under, total) if total else None
    met = None if share is None else share >= commitment.share
    return Judgement(commitment=commitment, total=total, under=under, share=share, met=met)


def quantile(histogram: Histogram, share: Fraction) -> Estimate | None:
    """Below which time ``share`` of the requests are likely to lie, taking each bucket as evenly filled; None for none.

    Raises ``ValueError`` for a share outside of 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share of {share} is none")
    if not histogram.total:
        return None
    rank = share * histogram.total
    reached = list(accumulate(histogram.counts))
    bucket = next(at for at, sum_ in enumerate(reached) if histogram.counts[at] and sum_ >= rank)
    if bucket == len(BOUNDS_US):
        return Estimate(us=Fraction(BOUNDS_US[-1]), at_least=True)
    low, high = BOUNDS_US[bucket - 1] if bucket else 0, BOUNDS_US[bucket]
    inside = (rank - (reached[bucket] - histogram.counts[bucket])) / histogram.counts[bucket]
    return Estimate(us=low + (high - low) * inside)
