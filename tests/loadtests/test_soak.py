"""When a soak says that something grew, and what its plots and histograms are made of."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from loadtests import chart
from loadtests.soak import MIB, Sample, TooShort, judged, plot
from loadtests.terminal import buckets, histogram


def samples(
    rss_mib: Callable[[int], float], descriptors: Callable[[int], int] = lambda n: 60, count: int = 30
) -> list[Sample]:
    return [
        Sample(at_s=n, rss=int(rss_mib(n) * MIB), pss=90 * MIB, descriptors=descriptors(n), calls=n)
        for n in range(count)
    ]


@pytest.mark.parametrize(("rss", "flat"), [
    (lambda n: 100, True),
    (lambda n: 100 + n % 7, True),  # it breathes
    (lambda n: min(100 + 10 * n, 200), True),  # it has warmed up after the first third
    (lambda n: 200 if n == 29 else 100, True),  # one reading is no growth
    (lambda n: 100 + n, False),  # a leak
    (lambda n: 100 + max(0, n - 10), False),  # a leak that the warm-up hid
    (lambda n: 200 - n, True),
])  # fmt: skip
def test_memory_is_flat_when_the_last_third_is_at_most_five_percent_above_the_second(
    rss: Callable[[int], float], flat: bool
) -> None:
    memory, descriptors = judged(samples(rss))
    assert memory.flat is flat
    assert descriptors.flat


@pytest.mark.parametrize(("descriptors", "flat"), [
    (lambda n: 60, True),
    (lambda n: 60 + n % 9, True),  # a pool breathes
    (lambda n: 60 + n, False),
    (lambda n: 1000 + n, True),  # 1 % of many
])  # fmt: skip
def test_descriptors_may_breathe_and_not_grow(descriptors: Callable[[int], int], flat: bool) -> None:
    assert judged(samples(lambda n: 100, descriptors))[1].flat is flat


def test_a_run_that_is_too_short_is_not_judged() -> None:
    with pytest.raises(TooShort):
        judged(samples(lambda n: 100, count=8))


def test_plots_are_well_formed_whatever_is_in_them() -> None:
    one, two = chart.Line(name="a", points=[(0, 0)]), chart.Line(name="b", points=[(1, 5), (10, 0)])
    for text in (
        plot(samples(lambda n: 100 + n)),
        chart.svg("<&>", [chart.Panel(title="&", x="<", y=">", lines=[])]),
        chart.svg("one", [chart.Panel(title="t", x="x", y="y", lines=[one], log_x=True)]),
        chart.svg("bars", [chart.Panel(title="t", x="x", y="y", lines=[one, two], bars=True, log_x=True)]),
    ):
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "nan" not in text


@pytest.mark.parametrize(
    ("value", "top"), [(1, 1), (1.01, 2), (23, 25), (26, 50), (0.003, 0.005), (99, 100), (100.1, 200)]
)
def test_an_axis_ends_at_a_round_number(value: float, top: float) -> None:
    assert chart.nice(value) == pytest.approx(top)


def test_a_histogram_counts_every_call_once() -> None:
    latencies = [50, 100, 101, 4_000, 9_000_000]
    assert sum(count for _, count in buckets(latencies)) == 5
    assert buckets(latencies)[0] == (100, 2)
    assert "highest 9000.00 ms, of 5" in histogram(latencies)
    assert "of 0" in histogram([])
