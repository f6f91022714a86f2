"""Whether a run is said to add up exactly when every record of it says the same number."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtests.reconcile import Counts, total

FIVE = Counts(lines=5, metrics=5, outcomes=5, decisions=5, dropped=0)


def test_records_agree_when_each_is_the_number_of_requests() -> None:
    assert FIVE.equal(5)
    assert FIVE.agree(4, 6)
    assert not FIVE.agree(6, 8)
    assert (FIVE - replace(FIVE, lines=3)).lines == 2


@pytest.mark.parametrize("name", ["lines", "metrics", "outcomes", "decisions"])
def test_one_record_that_says_another_number_is_found(name: str) -> None:
    wrong = replace(FIVE, **{name: 4})
    assert not wrong.equal(5)
    assert not wrong.agree(1, 10)


def test_a_dropped_line_is_found_although_the_rest_adds_up() -> None:
    assert not replace(FIVE, dropped=1).equal(5)


def test_the_series_of_one_name_are_added_up_and_no_others() -> None:
    text = 'a_total{x="1"} 2.0\na_total{x="2"} 3.0\na_total_other 7.0\n# HELP a_total of a_total 9\na_total 1e+06\n'
    assert total(text, "a_total") == 1_000_005
    assert total(text, "b_total") == 0
