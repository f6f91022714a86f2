"""What the open-loop checker proves, and that it proves nothing that did not happen."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.arrivals.bounds import BucketHistory, SlotHistory, Span, WindowHistory, replay
from loadtests.arrivals.limits import BucketLimit, SlotLimit, WindowLimit

S = 1_000_000
WINDOW = WindowLimit(name="short", amount=3, period_us=2 * S)
BUCKET = BucketLimit(name="steady", amount=10, period_us=S, burst=5)
SLOTS = SlotLimit(name="parallel", amount=2)


def at(*times_us: int, width_us: int = 1) -> list[Span]:
    return [Span(time, time + width_us, time + width_us) for time in times_us]


@pytest.mark.parametrize(
    ("spans", "proven"),
    [
        (at(0, 1, 2), False),
        (at(0, 1, 2, 3), True),
        (at(0, 1, 2, 2 * S), False),  # exactly a period later the first one has left
        (at(0, 1, 2, 2 * S - 10_000), True),
        (at(0, 1, 2, 2 * S - 1_000), False),  # within what two clocks may drift apart
        (at(0, 1, 2, S, width_us=1_500_000), False),  # the last may have been decided after the first had left
        ([*at(1, 2, 3, 4), Span(0, 9 * S)], True),  # one slow answer hides no violation beside it
        ([], False),
    ],
)
def test_a_window_is_proven_broken_only_when_every_reading_of_the_clocks_breaks_it(
    spans: list[Span], proven: bool
) -> None:
    assert (WindowHistory(WINDOW, spans).excess() is not None) is proven


@pytest.mark.parametrize(
    ("spans", "proven"),
    [
        (at(*range(5)), False),
        (at(*range(6)), True),
        (at(*range(5), *range(S, S + 5)), False),  # refilled
        (at(*range(0, 3 * S, 90_000)), False),  # 34 in 2.97 s, where 34.7 may be
        (at(*range(0, 6 * S, 90_000)), True),  # 67 in 5.94 s, where 64.4 may be
        (at(*range(0, 3 * S, 100_000)), False),
        (at(*range(6), width_us=200_000), False),
    ],
)
def test_a_bucket_is_proven_broken_only_when_every_reading_of_the_clocks_breaks_it(
    spans: list[Span], proven: bool
) -> None:
    assert (BucketHistory(BUCKET, spans).excess() is not None) is proven


def test_slots_are_proven_broken_by_calls_that_the_origin_had_at_once() -> None:
    assert SlotHistory(SLOTS, [], [(0, 10), (0, 10), (10, 20)]).excess() is None
    excess = SlotHistory(SLOTS, [], [(0, 10), (0, 11), (10, 20), (10, 20)]).excess()
    assert excess is not None
    assert excess.admitted == 3


def test_the_evidence_names_the_interval() -> None:
    excess = BucketHistory(BUCKET, at(*range(50), 9 * S)).excess()
    assert excess is not None
    assert (excess.from_us, excess.until_us, excess.admitted) == (0, 50, 50)
    assert str(excess) == "50 admitted between 0.000 s and 0.000 s, where at most 5.0 may be"


@given(st.lists(st.tuples(st.integers(0, 5 * S), st.integers(1, 300_000)), max_size=40))
def test_the_bucket_finds_what_trying_every_interval_finds(drawn: list[tuple[int, int]]) -> None:
    spans = [Span(start, start + width) for start, width in drawn]
    broken = any(
        sum(one.earliest_us >= first.earliest_us and one.latest_us <= last.latest_us for one in spans)
        > BUCKET.burst + 1.001 * BUCKET.amount * (last.latest_us - first.earliest_us) / BUCKET.period_us
        for first in spans
        for last in spans
        if last.latest_us >= first.earliest_us
    )
    assert (BucketHistory(BUCKET, spans).excess() is not None) is broken


def limited(limit: WindowLimit | BucketLimit, times: Iterable[int]) -> tuple[list[int], list[int]]:
    """A limiter by the definition: admitted and refused times."""
    admitted: list[int] = []
    refused: list[int] = []
    for now in times:
        if replay((limit,), [*admitted, now]) == len(admitted) + 1:
            admitted.append(now)
        else:
            refused.append(now)
    return admitted, refused


@pytest.mark.parametrize("limit", [WINDOW, BUCKET])
@pytest.mark.parametrize("seed", range(5))
def test_a_true_limiter_seen_through_a_slow_network_is_never_accused(
    limit: WindowLimit | BucketLimit, seed: int
) -> None:
    chance = random.Random(seed)
    admitted, refused = limited(limit, sorted(chance.randrange(20 * S) for _ in range(250)))
    assert len(refused) > 20
    seen = [Span(time - chance.randrange(400_000), time + 1 + chance.randrange(400_000)) for time in admitted]
    history = WindowHistory(limit, seen) if isinstance(limit, WindowLimit) else BucketHistory(limit, seen)
    assert history.excess() is None
    for time in refused:
        span = Span(time - chance.randrange(400_000), time + 1 + chance.randrange(400_000))
        assert history.needed(span)
        least, most = history.remaining(span, admitted=False)
        assert least == 0 <= most
    for number, span in enumerate(seen):
        before = admitted[: number + 1]
        left = _left(limit, before)
        least, most = history.remaining(span, admitted=True)
        assert least <= left <= most


def _left(limit: WindowLimit | BucketLimit, admitted: list[int]) -> int:
    """How many more calls at the moment of the last one would pass."""
    more = 0
    while replay((limit,), [*admitted, *[admitted[-1]] * (more + 1)]) == len(admitted) + more + 1:
        more += 1
    return more


@pytest.mark.parametrize(("history", "free"), [
    (WindowHistory(WINDOW, at(0, 1)), Span(2, 3)),
    (WindowHistory(WINDOW, at(0, 1, 2)), Span(2 * S + 10_000, 2 * S + 10_001)),
    (BucketHistory(BUCKET, at(0, 1, 2, 3)), Span(1_000, 1_001)),
    (BucketHistory(BUCKET, at(0, 1, 2, 3, 4)), Span(150_000, 150_001)),
    (SlotHistory(SLOTS, at(0), []), Span(1, 2)),
    (SlotHistory(SLOTS, at(0, 0), []), Span(S, S + 1)),  # both were over long ago: a lost slot
])  # fmt: skip
def test_a_refusal_while_there_was_room_is_found(
    history: WindowHistory | BucketHistory | SlotHistory, free: Span
) -> None:
    assert not history.needed(free)


def test_remaining_is_exact_when_calls_do_not_overlap() -> None:
    window, bucket = WindowHistory(WINDOW, at(0, 10, 20)), BucketHistory(BUCKET, at(0, 10, 10_000))
    assert window.remaining(Span(20, 21), admitted=True) == (0, 0)
    assert window.remaining(Span(10, 11), admitted=True) == (1, 1)
    assert window.remaining(Span(S, S + 1), admitted=False) == (0, 0)
    assert bucket.remaining(Span(10_000, 10_001), admitted=True) == (2, 2)
    assert bucket.remaining(Span(S, S + 1), admitted=False)[1] == 5


def test_a_replay_admits_what_the_definitions_allow() -> None:
    assert replay((WINDOW,), range(0, 4 * S, 1000)) == 6
    assert replay((BUCKET,), range(0, S, 1000)) == 5 + 9
    assert replay((WINDOW, BUCKET), range(0, 4 * S, 1000)) == 6
    assert replay((SLOTS,), range(10)) == 10
