"""The packed form of a cell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.cells import CLASSES, LATENCY, PLACES, WIDTH, added, packed, requests, unpacked

counts = st.lists(st.one_of(st.just(0), st.integers(0, 300), st.integers(0, 2**40)), min_size=WIDTH, max_size=WIDTH)


def test_every_class_of_the_closed_set_has_a_place_and_the_buckets_are_thirteen() -> None:
    """The causes of spec section 14; D1 names 13 buckets."""
    assert {cause for _, cause in CLASSES} == {
        "ok", "gateway", "managed_upstream", "third_party", "customer", "internal", "client_abort", "own_limit",
        "client_error", "upstream_throttle",
    }  # fmt: skip
    assert len(PLACES) == len(CLASSES) == LATENCY
    assert WIDTH - LATENCY == 13


@given(counts)
def test_what_is_packed_comes_back(numbers: list[int]) -> None:
    assert unpacked(packed(numbers)) == tuple(numbers)


def test_an_ordinary_minute_is_small() -> None:
    busy = (1_180, 3, 0, 0, 1, 12, 0, 0, 0, 0, 210, 700, 220, 40, 6, 3, 2, 1, 1, 0, 0, 0, 0)
    assert len(packed(busy)) <= 25
    assert requests(busy) == 1_196


@pytest.mark.parametrize(
    "data",
    [
        b"",
        packed([1] * WIDTH)[:-1],
        packed([1] * WIDTH) + b"\x00",
        b"\x80\x80\x80\x10\x01",  # a counter behind the last one
        b"\xff\xff",
    ],
)
def test_damaged_cells_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"cell|number"):
        unpacked(data)


def test_cells_add_counter_by_counter() -> None:
    assert added(tuple(range(WIDTH)), (1,) * WIDTH) == tuple(range(1, WIDTH + 1))
