"""A packed day: every cell as it was, and damage is never taken for numbers."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger import days
from gateway.ledger.cells import WIDTH
from gateway.ledger.days import DAY_S, Entry

DAY = 20_720 * DAY_S
counts = st.lists(st.one_of(st.just(0), st.integers(0, 70_000), st.integers(0, 2**62)), min_size=WIDTH, max_size=WIDTH)
entries = st.builds(
    Entry,
    slot_s=st.integers(0, 1_439).map(lambda minute: DAY + 60 * minute),
    route_group=st.integers(1, 3),
    replica=st.integers(1, 2),
    boot=st.integers(1, 400),
    seq=st.integers(1, 2**40),
    counters=counts.map(tuple),
)


@given(st.lists(entries, max_size=30))
def test_what_is_packed_comes_back_cell_by_cell(found: list[Entry]) -> None:
    kept = days.newest(found)
    assert sorted(days.unpacked(days.packed(kept.values(), DAY), DAY)) == sorted(kept.values())


@pytest.mark.parametrize("slot_s", [DAY - 60, DAY + DAY_S, DAY + 1])
def test_what_is_not_of_the_day_is_refused(slot_s: int) -> None:
    with pytest.raises(ValueError, match="no minute of the day"):
        days.packed([Entry(slot_s, 1, 1, 1, 1, (1,) * WIDTH)], DAY)


WHOLE = days.packed([Entry(DAY + 60 * at, 1, 1, 1, at, (at,) * WIDTH) for at in range(1, 300)], DAY)
BODY = zlib.decompress(WHOLE[1:])


@pytest.mark.parametrize(
    "data",
    [b"", WHOLE[:-9], b"\x02" + WHOLE[1:], b"\x01" + zlib.compress(BODY[:-1]), b"\x01" + zlib.compress(BODY[:7])],
)
def test_damage_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"packed day|number"):
        list(days.unpacked(data, DAY))
