"""What is said of how cost grows: the policies that are compared, the arithmetic, and one tiny run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from gateway.policy_files import load
from loadtests import growth
from loadtests.growth import AXES, Point, Round
from loadtests.measure import Load
from loadtests.peers.peer import Place
from loadtests.peers.tiergate import serving
from policies.model import Bucket, PolicySet, Window


def one(cost_us: float, *, requests: int = 1_000, generator_us: int = 0, not_2xx: int = 0) -> Round:
    seen = Load(
        requests=requests, duration_us=1_000_000, p50_us=1, p99_us=1, failed=0, not_2xx=not_2xx,
        generator_us=generator_us,
    )  # fmt: skip
    return Round(load=seen, cpu_us=round(cost_us * requests))


def points(costs: dict[int, Sequence[float]], **changes: Any) -> list[Point]:
    return [
        Point(number=number, pid=0, port=0, first=one(own[0]), rounds=[one(cost, **changes) for cost in own])
        for number, own in costs.items()
    ]


def compiled(axis: str, number: int, tmp_path: Path) -> PolicySet:
    place = Place(folder=tmp_path, port=1, admin=2, upstream=3, ca=None)
    serving(place, *AXES[axis].policy(number, place))
    made = load(tmp_path / "policies", env={}, secrets_dir=None)
    assert made.policy is not None, made.findings
    return made.policy


@pytest.mark.parametrize("number", AXES["limits"].points)
def test_so_many_limits_a_call_windows_and_buckets_in_turn_and_none_alike(number: int, tmp_path: Path) -> None:
    limits = compiled("limits", number, tmp_path).tiers["bench"].limits
    assert [type(limit) for limit in limits] == ([Window, Bucket] * 4)[:number]
    assert len({repr(limit).replace(limit.name, "") for limit in limits}) == number


def test_every_tenant_of_the_file_has_the_key_that_is_called_with(tmp_path: Path) -> None:
    policy = compiled("tenants", 50, tmp_path)
    assert len(policy.tenants) == 50
    assert {bytes.fromhex(growth.digest(growth.tenant_key(number + 1))) for number in range(50)} == set(policy.keys)


def test_many_connections_meet_the_pool_that_everybody_has(tmp_path: Path) -> None:
    (upstream,) = compiled("connections", 50, tmp_path).upstreams.values()
    assert (upstream.pool.connections, upstream.pool.wait_us) == (100, 10_000_000)


def test_the_slope_is_the_median_of_the_rounds_own_lines() -> None:
    # the second round was slow throughout, which is no growth; the third one grew twice as much
    measured = points({1: [100, 300, 100], 2: [101, 301, 102], 3: [102, 302, 104]})
    assert growth.slope(measured) == pytest.approx(1.0)
    # one disturbed round of one point: the lowest rounds do not know of it
    assert growth.slope_of_lowest(points({1: [100, 100], 2: [150, 102], 3: [104, 190]})) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("axis", "costs", "met"),
    [
        ("limits", {1: [100.0], 8: [110.5]}, True),  # 1.5 us each
        ("limits", {1: [100.0], 8: [111.2]}, False),
        ("tenants", {1: [100.0], 100: [109.0], 10_000: [95.0]}, True),
        ("tenants", {1: [100.0], 100: [111.0], 10_000: [95.0]}, False),  # the worst point counts, not the last
        ("connections", {50: [100.0], 2_000: [130.0]}, True),
        ("connections", {50: [100.0], 2_000: [130.5]}, False),
    ],
)
def test_a_goal_is_met_or_missed_by_its_worst_point(axis: str, costs: dict[int, list[float]], met: bool) -> None:
    measured = points(costs)
    (goal,) = growth.goals(axis, growth.summed_up(measured), measured)
    assert goal["met"] is met


@pytest.mark.parametrize(
    ("changes", "said"), [({"not_2xx": 3}, "WRONG: limits 2: 3 wrong"), ({"generator_us": 950_000}, "busy: limits 2")]
)
def test_what_spoils_a_run_is_said(changes: dict[str, int], said: str) -> None:
    rows = growth.summed_up([*points({1: [100]}), *points({2: [100]}, **changes)])
    assert said in growth.text({"axes": {"limits": {"points": rows, "goals": []}}})


def test_a_tiny_run_measures_every_point_through_a_real_gateway() -> None:
    found = growth.grow(growth.parsed(["--quick", "--axes", "tenants"]))
    rows = found["axes"]["tenants"]["points"]
    assert [row["point"] for row in rows] == list(AXES["tenants"].quick)
    assert all(row["cpu_us_per_request"] > 0 and row["first_calls_us"] > 0 for row in rows)
    assert [row["wrong_answers"] for row in rows] == [0, 0]
    assert rows[0]["ratio"] == 1
    assert json.loads(json.dumps(found))["axes"]["tenants"]["goals"][0]["found"] == max(row["ratio"] for row in rows)
    assert "| tenants |" in growth.text(found)
    assert ElementTree.fromstring(growth.plot(found)).tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize("given", ["", "tenant", "limits,size"])
def test_an_axis_that_is_none_is_refused(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        growth.parsed(["--axes", given])
    assert "is none of tenants, limits, connections" in capsys.readouterr().err
