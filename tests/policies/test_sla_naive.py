"""``evaluate`` against the naive evaluator, and the properties that hold of every world (spec D8)."""

from __future__ import annotations

import ast
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.sla.period import period
from tests.policies import naive_sla
from tests.policies.sla_figure_vectors import GOOD, named_slots, span_of
from tests.policies.sla_vectors import PLAIN, complete, defaults, normal
from tests.policies.sla_worlds import CAUSES, EXCLUSIONS, POLICY, World, evaluated, observed, random_month, worlds
from tests.policies.vector_shapes import seconds
from tests.vector_files import Vector, cases

VECTORS = Path("tests/vectors")
SLOW = {"slot_of_one_second_4m59s"}
"""Two million slots are too many for one byte and one verdict each."""


def test_the_naive_evaluator_imports_nothing_of_the_product() -> None:
    tree = ast.parse(Path(naive_sla.__file__ or "").read_text())
    imported = {each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"__future__", "decimal", "fractions", "re", "typing"}


@settings(max_examples=100)
@given(world=worlds())
def test_both_evaluators_agree_on_three_random_hours(world: World) -> None:
    assert observed(evaluated(world)) == naive_sla.figure(world)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("month", "zone"),
    [
        ("2026-02", "UTC"),
        ("2026-03", "America/New_York"),
        ("2026-11", "America/New_York"),
        ("2028-02", "Asia/Kolkata"),
    ],
)
def test_both_evaluators_agree_on_a_random_month(month: str, zone: str, seed: int) -> None:
    world = random_month(period(month, zone), seed)
    assert observed(evaluated(world)) == naive_sla.figure(world)


@pytest.mark.parametrize(
    "case",
    [each for each in cases(VECTORS, "sla.json") if each.get("kind", PLAIN) == PLAIN and each["name"] not in SLOW],
    ids=lambda case: case["name"],
)
def test_the_naive_evaluator_reaches_the_vectors_too(case: Vector) -> None:
    found = naive_sla.figure(world_of(complete(case, defaults(VECTORS))))
    assert {key: normal(found[key]) for key in case["expect"]} == normal_all(case["expect"])


def normal_all(expect: dict[str, Any]) -> dict[str, Any]:
    return {key: normal(value) for key, value in expect.items()}


def world_of(case: Any) -> World:
    """The naive evaluator's reading of an ``availability`` case."""
    given, of = case["input"], period(case["period"]["month"], case["period"].get("tz", "UTC"))
    above, ends = given.get("platform", given), given.get("contract", {})
    size = case["policy"]["slot_seconds"]
    return {
        "start": of.start_s, "end": of.end_s, "policy": case["policy"], "tenant": case["tenant"],
        "contract": [(seconds(ends["from"]) if "from" in ends else 0, seconds(ends["to"]) if "to" in ends else 2**40)],
        "background": content(given.get("background", GOOD)),
        "slots": {at: content(each) for at, each in named_slots(given, size).items()},
        "platform_background": content(above.get("background", GOOD)),
        "platform_slots": {at: content(each) for at, each in named_slots(above, size).items()},
        "dark": [*map(span_of, given.get("dark", ())), *dark_second_by_second(given, case["policy"])],
        "exclusions": in_seconds(case["exclusions"]),
    }  # fmt: skip


def content(given: Any) -> dict[str, Any]:
    errors = given.get("err", {})
    return {"good": given.get("total", 0) - sum(errors.values()), "failed": errors}


def dark_second_by_second(given: Any, policy: Any) -> list[tuple[int, int]]:
    replicas = [[span_of(each) for each in pairs] for pairs in given.get("dark_by_replica", {}).values()]
    moments = [at for pairs in replicas for pair in pairs for at in pair]
    return [
        (at, at + 1)
        for at in range(min(moments, default=0), max(moments, default=0))
        if len(replicas) - sum(any(a <= at < b for a, b in pairs) for pairs in replicas) < policy["alive_quorum"]
    ]


def in_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: in_seconds(each) for key, each in value.items()}
    return [in_seconds(each) for each in value] if isinstance(value, list) else normal(value)


PLAIN_POLICIES = st.just({**POLICY})
"""Under the knobs for a reduced denominator or a cap the properties below do not hold, and are not meant to."""


@given(world=worlds(PLAIN_POLICIES), more=EXCLUSIONS)
def test_adding_an_exclusion_never_lowers_uptime(world: World, more: dict[str, Any]) -> None:
    before, after = evaluated(world), evaluated({**world, "exclusions": [*world["exclusions"], more]})
    assert before.uptime is None or (after.uptime is not None and after.uptime >= before.uptime)


@given(world=worlds(PLAIN_POLICIES), at=st.integers(-5, 185), cause=st.sampled_from(CAUSES))
def test_turning_a_good_request_into_an_error_never_raises_uptime(world: World, at: int, cause: str) -> None:
    slot = world["start"] + at * 60
    old = world["slots"].get(slot, world["background"])
    if old["good"] == 0:
        return
    failed = {**old["failed"], "gateway": old["failed"].get("gateway", 0) + 1}
    worse = {**world, "slots": {**world["slots"], slot: {"good": old["good"] - 1, "failed": failed}}}
    before, after = evaluated(world), evaluated(worse)
    assert before.uptime is None or (after.uptime is not None and after.uptime <= before.uptime)


@given(world=worlds(st.just({**POLICY, "idle_inherits_platform": False})), at=st.integers(-5, 185))
def test_an_error_more_never_raises_uptime(world: World, at: int) -> None:
    """Also in a slot that was idle before. One that inherited gives up evidence for its own; hence without that."""
    slot = world["start"] + at * 60
    old = world["slots"].get(slot, world["background"])
    failed = {**old["failed"], "gateway": old["failed"].get("gateway", 0) + 1}
    worse = {**world, "slots": {**world["slots"], slot: {**old, "failed": failed}}}
    before, after = evaluated(world), evaluated(worse)
    assert before.uptime is None or (after.uptime is not None and after.uptime <= before.uptime)


@given(world=worlds(PLAIN_POLICIES), at=st.integers(1, 3 * 3600 - 1))
def test_splitting_a_period_conserves_downtime(world: World, at: int) -> None:
    parts = [{**world, "end": world["start"] + at}, {**world, "start": world["start"] + at}]
    # what was recorded must be in time for the earlier finalisation too
    for each in world["exclusions"]:
        if each.get("recorded_at") is not None:
            each["recorded_at"] = 0
    whole = evaluated(world)
    figures = [evaluated(each) for each in parts]
    for name in ("downtime_seconds", "gross_downtime_seconds", "excluded_seconds", "degraded_seconds", "force_seconds"):
        assert getattr(whole, name) == sum(getattr(each, name) for each in figures), name


@given(world=worlds(), seed=st.integers(0, 2**16))
def test_the_order_of_the_input_is_irrelevant(world: World, seed: int) -> None:
    shuffled = {
        **world,
        **{key: shuffle(world[key], seed) for key in ("slots", "platform_slots", "dark", "exclusions")},
    }
    shuffled["exclusions"] = [
        {**each, "announcements": shuffle(each["announcements"], seed)} if "announcements" in each else each
        for each in shuffled["exclusions"]
    ]
    assert observed(evaluated(shuffled)) == observed(evaluated(world))


def shuffle(value: Any, seed: int) -> Any:
    listed = list(value.items() if isinstance(value, dict) else value)
    random.Random(seed).shuffle(listed)
    return dict(listed) if isinstance(value, dict) else listed
