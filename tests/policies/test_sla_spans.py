"""Sets of seconds against sets of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.sla.spans import (
    ALWAYS,
    Span,
    Spans,
    covered,
    difference,
    earliest,
    intersection,
    length,
    of_blocks,
    spans,
    union,
)

PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)


def numbers(pairs: list[Span] | Spans) -> set[int]:
    return {at for start, end in pairs for at in range(start, end)}


def is_normal(one: Spans) -> bool:
    edges = [edge for each in one for edge in each]
    return edges == sorted(set(edges)) and len(edges) == 2 * len(one)


@given(one=PAIRS, other=PAIRS)
def test_algebra_is_that_of_sets_and_every_result_is_normal(one: list[Span], other: list[Span]) -> None:
    a, b, x, y = spans(one), spans(other), numbers(one), numbers(other)
    for made, wanted in (
        (a, x), (union(a, b), x | y), (intersection(a, b), x & y), (difference(a, b), x - y), (union(), set()),
    ):  # fmt: skip
        assert numbers(made) == wanted
        assert is_normal(made)
        assert length(made) == len(wanted)


@given(many=st.lists(PAIRS, max_size=5), least=st.integers(1, 5))
def test_covered_counts_the_sets_that_hold_a_second(many: list[list[Span]], least: int) -> None:
    made = covered([spans(each) for each in many], least)
    assert numbers(made) == {at for at in range(60) if sum(at in numbers(each) for each in many) >= least}
    assert is_normal(made)


@given(pairs=PAIRS, seconds=st.integers(0, 70))
def test_earliest_takes_seconds_in_time_order(pairs: list[Span], seconds: int) -> None:
    assert numbers(earliest(spans(pairs), seconds)) == set(sorted(numbers(pairs))[:seconds])


@given(starts=st.sets(st.integers(0, 20)), seconds=st.integers(1, 7))
def test_blocks_join_where_they_touch(starts: set[int], seconds: int) -> None:
    ascending = [start * seconds for start in sorted(starts)]
    assert of_blocks(ascending, seconds) == spans((start, start + seconds) for start in ascending)


@pytest.mark.parametrize(
    ("pairs", "wanted"),
    [
        ([(5, 5)], ()),  # of no length
        ([(9, 3)], ()),  # inverted: empty, not swapped
        ([(0, 5), (5, 9)], ((0, 9),)),  # touching
        ([(4, 9), (0, 20), (6, 7)], ((0, 20),)),
    ],
)
def test_odd_windows(pairs: list[Span], wanted: Spans) -> None:
    assert spans(pairs) == wanted


def test_covered_by_at_least_none_is_all_of_time() -> None:
    assert covered([], 0) == ALWAYS
