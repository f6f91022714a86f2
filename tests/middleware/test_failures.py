"""The budget of failed credentials: its burst, its pace, its bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from middleware.failures import Failures

S = 1_000_000


def failures(**kwargs: int) -> Failures:
    return Failures(**({"burst": 3, "every_us": 6 * S, "kept": 4} | kwargs))


def test_burst_fits_and_the_next_waits_exactly_one_interval() -> None:
    table = failures()
    for _ in range(3):
        assert table.wait_us("a", 0) == 0
        table.charge("a", 0)
    assert table.wait_us("a", 0) == 6 * S
    assert table.wait_us("a", 6 * S - 1) == 1
    assert table.wait_us("a", 6 * S) == 0


def test_budget_refills_one_by_one_up_to_the_burst() -> None:
    table = failures()
    for _ in range(3):
        table.charge("a", 0)
    assert tries(table, "a", 12 * S) == 2
    assert tries(table, "a", 1_000 * S) == 3


def tries(table: Failures, address: str, now_us: int) -> int:
    count = 0
    while table.wait_us(address, now_us) == 0:
        table.charge(address, now_us)
        count += 1
    return count


def test_asking_charges_nothing_and_other_addresses_are_not_touched() -> None:
    table = failures()
    assert [table.wait_us("a", 0) for _ in range(9)] == [0] * 9
    for _ in range(3):
        table.charge("a", 0)
    assert table.wait_us("b", 0) == 0
    assert len(table) == 1


def test_failures_that_race_past_the_check_do_not_lock_an_address_out_for_long() -> None:
    table = failures()
    for _ in range(1_000):
        table.charge("a", 0)
    assert table.wait_us("a", 0) == 6 * S


def test_table_is_bounded_and_forgets_the_address_that_failed_longest_ago() -> None:
    table = failures(burst=1)
    for at, address in enumerate("abcda"):
        table.charge(address, at)
    table.charge("e", 5)
    assert len(table) == 4
    assert table.wait_us("b", 6) == 0  # forgotten
    assert table.wait_us("a", 6) > 0  # failed again since, hence kept


@given(st.lists(st.integers(0, 20 * S), max_size=60))
def test_no_interval_admits_more_than_burst_and_pace(gaps: list[int]) -> None:
    table, now_us, admitted = failures(), 0, []
    for gap in gaps:
        now_us += gap
        if table.wait_us("a", now_us) == 0:
            table.charge("a", now_us)
            admitted.append(now_us)
    for first, start in enumerate(admitted):
        for last in range(first, len(admitted)):
            assert last - first + 1 <= 3 + (admitted[last] - start) // (6 * S)
