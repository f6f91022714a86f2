"""Every example on docs/sla.md, computed again by the functions that make the real figures.

A line ``> - words: **result**`` is an example. Its words are matched by exactly one pattern of ``sla_page``, which
works the result out of the numbers in them: to change a number on the page is to change what it must say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction

import pytest

from policies.sla.budget import downtime_budget, exact
from policies.sla.spans import Span
from policies.sla.traffic import Traffic
from tests.gateway.sla_page import contract_ways, count_ways, time_ways
from tests.gateway.sla_page.month import DAY, HOUR, NOON, figure
from tests.gateway.sla_page.ways import EXAMPLE, PAGE, RULE, RULES, WORKED, Example, examples

WAYS = (contract_ways, count_ways, time_ways)
"""Each lists its own in ``WORKED`` when it is imported."""


def test_every_rule_is_there_in_its_order_and_has_an_example() -> None:
    assert RULE.findall(PAGE) == RULES
    assert [rule for rule in RULES if rule not in {each.rule for each in examples()}] == []


def test_nothing_looks_like_an_example_and_is_none() -> None:
    quoted = [line for line in PAGE.splitlines() if line.startswith(">")]
    assert [line for line in quoted if EXAMPLE.fullmatch(line) is None] == []
    assert len(quoted) == len(examples())


@pytest.mark.parametrize("each", examples(), ids=lambda each: f"{each.rule}: {each.words}")
def test_an_example_comes_out_as_the_page_says(each: Example) -> None:
    fitting = [(work, found) for (rule, pattern), work in WORKED.items()
               if rule == each.rule and (found := pattern.fullmatch(each.words))]  # fmt: skip
    assert len(fitting) == 1, f"{len(fitting)} ways to work out {each.rule}: {each.words}"
    work, found = fitting[0]
    assert work(*found.groups()) == each.result


def test_no_way_to_work_something_out_is_left_over() -> None:
    listed = examples()
    unused = [
        (rule, pattern.pattern)
        for rule, pattern in WORKED
        if not any(each.rule == rule and pattern.fullmatch(each.words) for each in listed)
    ]
    assert unused == []


def table(heading: str) -> list[list[str]]:
    lines = PAGE.split(f"| {heading} |")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_downtime_that_months_allow_is_as_the_page_says() -> None:
    rows = table("target")
    assert [row[0] for row in rows] == ["99 %", "99.5 %", "99.9 %", "99.95 %", "99.99 %"]
    for target, *cells in rows:
        budgets = [downtime_budget(days * DAY, Decimal(target.rstrip(" %"))) for days in (28, 29, 30, 31, 365, 366)]
        assert cells == [exact(budget / 60) for budget in budgets if budget is not None], target


PER_SECOND = 100
"""Requests; enough that 4.9 % of a second's are whole ones over a minute."""
BLOCK = 300


def at_full(from_s: int, length: int) -> dict[int, Fraction]:
    return dict.fromkeys(range(from_s, from_s + length), Fraction(1))


FAULTS: dict[str, dict[int, Fraction]] = {
    "1 min at 100 %": at_full(600, 60),
    "5 min at exactly 5 %": dict.fromkeys(range(600, 900), Fraction(5, 100)),
    "5 min at 100 %, across the edge of a block": at_full(720, 300),
    "4 min 59 s at 100 %, from the half minute on, across the edge of a block": at_full(750, 299),
    "4 min 2 s at 100 %, from the full minute on": at_full(600, 242),
    "1 h of 4 bad minutes and 1 good one in turn":
        {s: Fraction(1) for s in range(600, 600 + HOUR) if (s - 600) // 60 % 5 < 4},
    "1 h at 4.9 %": dict.fromkeys(range(600, 600 + HOUR), Fraction(49, 1000)),
}  # fmt: skip
"""The share of each second's requests that fails, in seconds after a noon at which blocks begin."""


def ratio(fault: Mapping[int, Fraction], from_s: int, to_s: int) -> Fraction:
    return sum((fault.get(s, Fraction(0)) for s in range(from_s, to_s)), Fraction(0)) / (to_s - from_s)


def seconds_of(windows: Iterable[Span]) -> int:
    return len({s for from_s, to_s in windows for s in range(from_s, to_s)})


def by_every_minute(fault: Mapping[int, Fraction]) -> int:
    """Ours, by the function that makes the figures."""
    good, failed = {}, {}
    for minute in range(0, 2 * HOUR, 60):
        bad = sum((PER_SECOND * fault.get(minute + s, Fraction(0)) for s in range(60)), Fraction(0))
        assert bad.denominator == 1
        failed[NOON + minute], good[NOON + minute] = int(bad), 60 * PER_SECOND - int(bad)
    return figure(Traffic(good=good, failed={"gateway": failed})).downtime_seconds


def by_rolling_ratio(fault: Mapping[int, Fraction]) -> int:
    windows = [(s, s + BLOCK) for s in range(0, 2 * HOUR, 60) if 20 * ratio(fault, s, s + BLOCK) >= 1]
    return seconds_of(windows)


def by_blocks(fault: Mapping[int, Fraction]) -> int:
    return seconds_of((s, s + BLOCK) for s in range(0, 2 * HOUR, BLOCK) if 20 * ratio(fault, s, s + BLOCK) >= 1)


def by_any_minute(fault: Mapping[int, Fraction]) -> int:
    return seconds_of((s, s + 60) for s in range(0, 2 * HOUR, 60) if 20 * ratio(fault, s, s + 60) >= 1)


def by_average(fault: Mapping[int, Fraction]) -> int:
    return int(sum(fault.values(), Fraction(0)))


def test_what_other_readings_would_have_given_is_as_the_page_says() -> None:
    rows = table("fault")
    assert [row[0] for row in rows] == list(FAULTS)
    ways = (by_every_minute, by_rolling_ratio, by_blocks, by_any_minute, by_average)
    for name, *cells in rows:
        assert cells == [str(way(FAULTS[name])) for way in ways], name
