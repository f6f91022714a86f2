"""Worlds to evaluate: plain values as ``naive_sla`` takes them, the same for the product, and random ones."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from policies.sla.evaluate import MARGIN_S, Account, Evidence, Figure, evaluate
from policies.sla.exclusions import Announcement, Exclusion
from policies.sla.period import Period
from policies.sla.spans import spans
from policies.sla.terms import FIELDS, terms_of
from policies.sla.traffic import Traffic

World = dict[str, Any]
NOON_S = 1_776_254_400
"""2026-04-15T12:00:00Z, on every slot grid below."""
HOURS_S = 3 * 3600
POLICY: Mapping[str, Any] = {
    "slot_seconds": 60, "threshold_percent": "5", "min_run_seconds": 300, "min_run_errors": 5,
    "min_requests_per_slot": 1, "max_bridge_seconds": 120, "merge_gap_seconds": 0, "scope": "tenant",
    "idle_inherits_platform": True, "counted_causes": ["gateway", "managed_upstream"],
    "excluded_causes": ["third_party", "customer"], "maintenance_notice_seconds": 172_800,
    "maintenance_cap_seconds": None, "exclusion_record_seconds": 432_000, "denominator": "calendar",
    "display_decimals": 4, "target": "99.9",
    "bands": [
        {"min": "99.9", "credit": "0"}, {"min": "99.0", "credit": "10"}, {"min": "95.0", "credit": "25"},
        {"min": "0", "credit": "50", "termination": True},
    ],
}  # fmt: skip


def period_of(world: World) -> Period:
    return Period(name="random", zone="UTC", start_s=world["start"], end_s=world["end"])


def evaluated(world: World) -> Figure:
    """By the product."""
    terms = terms_of({name: value for name, value in world["policy"].items() if name in FIELDS})
    evidence = Evidence(
        traffic=_traffic(world, ""), platform=_traffic(world, "platform_"), dark=spans(map(tuple, world["dark"]))
    )
    exclusions = [_exclusion(str(at), each) for at, each in enumerate(world["exclusions"])]
    contract = spans(map(tuple, world["contract"]))
    return evaluate(evidence, exclusions, terms, period_of(world), Account(tenant=world["tenant"], contract=contract))


def observed(figure: Figure) -> dict[str, Any]:
    """In the words of the naive evaluator."""
    return {
        "gross_downtime_seconds": figure.gross_downtime_seconds,
        "excluded_seconds": figure.excluded_seconds,
        "downtime_seconds": figure.downtime_seconds,
        "degraded_seconds": figure.degraded_seconds,
        "exclusion_window_seconds": figure.exclusion_window_seconds,
        "period_seconds": figure.force_seconds,
        "windows": [[each.from_s, each.to_s] for each in figure.windows],
        "uptime_percent": figure.uptime_percent,
        "credit_percent": str(figure.credit_percent),
        "termination_right": figure.termination_right,
    }


def _traffic(world: World, whose: str) -> Traffic:
    size, background = world["policy"]["slot_seconds"], world[whose + "background"]
    first = (world["start"] - MARGIN_S) // size * size
    slots = range(first, world["end"] + MARGIN_S, size)
    good = dict.fromkeys(slots, background["good"])
    failed = {cause: dict.fromkeys(slots, count) for cause, count in background["failed"].items()}
    for slot, content in world[whose + "slots"].items():
        good[slot] = content["good"]
        for cause in {*failed, *content["failed"]}:
            failed.setdefault(cause, {})[slot] = content["failed"].get(cause, 0)
    return Traffic(good=good, failed=failed)


def _exclusion(id: str, given: Mapping[str, Any]) -> Exclusion:
    actual = given.get("actual")
    told = (
        Announcement(at_s=each["at"], from_s=each["from"], to_s=each["to"], cancelled=each.get("cancelled", False))
        for each in given.get("announcements", ())
    )
    return Exclusion(
        id=id, type=given["type"], announcements=tuple(told), actual=actual and (actual["from"], actual["to"]),
        window=(given.get("from", 0), given.get("to", 0)), recorded_at_s=given.get("recorded_at"),
        approved=given.get("approved", False), tenant=given.get("tenant"),
    )  # fmt: skip


CAUSES = ("gateway", "managed_upstream", "third_party", "customer", "own_limit")
IDLE: Mapping[str, Any] = {"good": 0, "failed": {}}
CONTENTS = st.one_of(
    st.sampled_from([IDLE, {"good": 100, "failed": {}}]),
    st.sampled_from([{"good": 0, "failed": {"gateway": 1}}, {"good": 0, "failed": {"managed_upstream": 3}}]),
    st.sampled_from(
        [{"good": 95, "failed": {"gateway": 5}}, {"good": 950, "failed": {"gateway": 49}}]
    ),  # at 5 %, below
    st.builds(
        lambda good, failed: {"good": good, "failed": failed},
        st.integers(0, 30),
        st.dictionaries(st.sampled_from(CAUSES), st.integers(0, 4), max_size=3),
    ),
)
MOMENTS = st.integers(-1200, HOURS_S + 1200).map(lambda offset: NOON_S + offset)


def _slots(size: int) -> st.SearchStrategy[dict[int, Any]]:
    """Stretches of equal slots with gaps as short as those that may be closed, some over the period's edges."""
    stretch = st.tuples(st.sampled_from([0, 1, 1, 2, 2, 3, 30]), st.integers(1, 6), CONTENTS)
    return st.builds(
        _laid_out, st.just(size), st.integers(-8, HOURS_S // size - 4), st.lists(stretch, min_size=2, max_size=12)
    )


def _laid_out(size: int, start_s: int, stretches: list[tuple[int, int, Any]]) -> dict[int, Any]:
    made: dict[int, Any] = {}
    for gap, many, content in stretches:
        start_s += gap * size
        made.update({start_s + ahead * size: content for ahead in range(many)})
        start_s += many * size
    return made


def _pairs(longest: int) -> st.SearchStrategy[tuple[int, int]]:
    lengths = st.one_of(st.integers(-5, longest), st.integers(longest // 4, longest))
    return st.tuples(MOMENTS, lengths).map(lambda pair: (pair[0], pair[0] + pair[1]))


POLICIES = st.fixed_dictionaries(
    {
        "slot_seconds": st.sampled_from([60, 60, 60, 60, 30, 300]),
        "threshold_percent": st.sampled_from(["5", "5", "4.9", "0.1", "33.3", "100"]),
        "min_run_seconds": st.sampled_from([300, 300, 60, 301, 1]),
        "min_run_errors": st.sampled_from([5, 5, 5, 0, 1, 30]),
        "min_requests_per_slot": st.sampled_from([1, 1, 1, 1, 0, 5, 20]),
        "max_bridge_seconds": st.sampled_from([120, 120, 120, 60, 0, 600]),
        "merge_gap_seconds": st.sampled_from([0, 0, 60, 119]),
        "scope": st.sampled_from(["tenant", "tenant", "tenant", "platform"]),
        "idle_inherits_platform": st.booleans(),
        "counted_causes": st.sampled_from([["gateway", "managed_upstream"], ["gateway"], list(CAUSES[:3])]),
        "excluded_causes": st.sampled_from([["third_party", "customer"], ["customer"], ["managed_upstream"]]),
        "maintenance_cap_seconds": st.sampled_from([None, None, 0, 600]),
        "denominator": st.sampled_from(["calendar", "calendar", "calendar_minus_excluded"]),
        "display_decimals": st.sampled_from([4, 4, 0, 2]),
    }
).map(lambda made: {**POLICY, **made})  # fmt: skip

NOTICES = st.sampled_from([172_799, 172_800, 172_800, 172_801, 172_860, 260_000, 300, -300])
ANNOUNCEMENTS = st.builds(
    lambda window, notice, cancelled: {
        "at": window[0] - notice, "from": window[0], "to": window[1], "cancelled": cancelled,
    },
    _pairs(HOURS_S), NOTICES, st.sampled_from([False, False, False, True]),
)  # fmt: skip
ACTUALS = st.none() | st.none() | _pairs(HOURS_S).map(lambda pair: {"from": pair[0], "to": pair[1]})
MAINTENANCE = st.builds(
    lambda told, actual, tenant: {
        "type": "scheduled_maintenance", "announcements": told, "actual": actual, "tenant": tenant,
    },
    # two announcements in one second stand in the order of their log, which a list of worlds does not shuffle
    st.lists(ANNOUNCEMENTS, max_size=3, unique_by=lambda each: each["at"]),
    ACTUALS,
    st.sampled_from([None, None, "acme", "acme", "globex"]),
)  # fmt: skip
RECORDED = st.builds(
    lambda type, window, recorded, approved, tenant: {
        "type": type, "from": window[0], "to": window[1], "approved": approved, "tenant": tenant,
        "recorded_at": None if recorded is None else NOON_S + HOURS_S + recorded,
    },
    st.sampled_from(["force_majeure", "customer_caused", "third_party", "suspension"]),
    _pairs(HOURS_S), st.sampled_from([0, 432_000, 432_000, 432_001, None]), st.sampled_from([True, True, True, False]),
    st.sampled_from([None, None, "acme", "acme", "globex"]),
)  # fmt: skip
EXCLUSIONS = st.one_of(MAINTENANCE, RECORDED)
WHOLE = st.just([(NOON_S - 10**6, NOON_S + 10**6)])
CONTRACTS = st.one_of(WHOLE, WHOLE, WHOLE, st.lists(_pairs(HOURS_S), max_size=2).map(spans).map(list))


@st.composite
def worlds(draw: st.DrawFn, policies: st.SearchStrategy[dict[str, Any]] = POLICIES) -> World:
    """Three hours, so that every rule has a chance to meet every other in each."""
    policy = draw(policies)
    return {
        "start": NOON_S,
        "end": NOON_S + HOURS_S,
        "policy": policy,
        "contract": draw(CONTRACTS),
        "background": draw(st.sampled_from([IDLE, {"good": 100, "failed": {}}])),
        "slots": draw(_slots(policy["slot_seconds"])),
        "platform_background": draw(st.sampled_from([IDLE, {"good": 5000, "failed": {"gateway": 3}}])),
        "platform_slots": draw(_slots(policy["slot_seconds"])),
        "dark": draw(st.lists(_pairs(700), max_size=4)),
        "exclusions": draw(st.lists(EXCLUSIONS, max_size=5)),
        "tenant": "acme",
    }


def random_month(of: Period, seed: int) -> World:
    """Hundreds of stretches close together, darkness and exclusions: one month meets more than many short worlds."""
    chance = random.Random(f"{of.name} {of.zone} {seed}")
    policy = {**POLICY, **_random_policy(chance)}
    return {
        "start": of.start_s,
        "end": of.end_s,
        "policy": policy,
        "contract": [(of.start_s + chance.choice([-(10**6), 10**5]), of.end_s + chance.choice([10**6, -(10**5)]))],
        "background": chance.choice([IDLE, {"good": 100, "failed": {"gateway": 1}}]),
        "slots": _clusters(chance, of, policy["slot_seconds"], 150),
        "platform_background": {"good": 5000, "failed": {"gateway": 3}},
        "platform_slots": _clusters(chance, of, policy["slot_seconds"], 60),
        "dark": [_random_pair(chance, of, 700) for _ in range(60)],
        "exclusions": [_random_exclusion(chance, of) for _ in range(40)],
        "tenant": "acme",
    }


def _random_policy(chance: random.Random) -> dict[str, Any]:
    """Half of the knobs at their defaults, or all of them are seldom seen at once."""
    knobs = {
        "slot_seconds": [30, 300], "threshold_percent": ["4.9", "33.3", "100"], "min_run_seconds": [240, 301],
        "min_run_errors": [0, 12], "min_requests_per_slot": [0, 20], "max_bridge_seconds": [60, 180],
        "merge_gap_seconds": [60, 119], "idle_inherits_platform": [False], "maintenance_cap_seconds": [7200, 40_000],
        "denominator": ["calendar_minus_excluded"], "counted_causes": [["gateway"], list(CAUSES[:3])],
        "excluded_causes": [["customer"], ["managed_upstream"]], "scope": ["platform"],
    }  # fmt: skip
    return {name: chance.choice(values) for name, values in knobs.items() if chance.random() < 0.25}


CONTENTS_OF_MONTHS = (
    IDLE, {"good": 0, "failed": {"gateway": 1}}, {"good": 0, "failed": {"gateway": 2, "third_party": 4}},
    {"good": 100, "failed": {}}, {"good": 95, "failed": {"gateway": 5}}, {"good": 950, "failed": {"gateway": 49}},
    {"good": 3, "failed": {"managed_upstream": 2, "customer": 1}}, {"good": 1, "failed": {"own_limit": 50}},
)  # fmt: skip


def _clusters(chance: random.Random, of: Period, size: int, many: int) -> dict[int, Any]:
    starts = [
        of.start_s - 5 * size,
        of.end_s - 5 * size,
        *(chance.randrange(of.start_s, of.end_s) for _ in range(many)),
    ]
    made: dict[int, Any] = {}
    for start_s in starts:
        stretches = [
            (chance.choice([0, 0, 1, 2, 2, 3]), chance.randrange(1, 7), chance.choice(CONTENTS_OF_MONTHS))
            for _ in range(chance.randrange(2, 9))
        ]
        made.update(_laid_out(size, start_s // size * size, stretches))
    return made


def _random_pair(chance: random.Random, of: Period, longest: int) -> tuple[int, int]:
    start_s = chance.randrange(of.start_s - 3600, of.end_s)
    return start_s, start_s + chance.randrange(-5, longest)


def _random_exclusion(chance: random.Random, of: Period) -> dict[str, Any]:
    start_s, end_s = _random_pair(chance, of, 40_000)
    tenant = chance.choice([None, None, "acme", "globex"])
    if chance.random() < 0.4:
        recorded_at = chance.choice([of.end_s + 432_000, of.end_s + 432_001, None])
        return {
            "type": "force_majeure", "from": start_s, "to": end_s, "recorded_at": recorded_at, "tenant": tenant,
            "approved": chance.random() < 0.8,
        }  # fmt: skip
    told = [
        {
            "at": start_s - notice - number, "from": start_s + chance.randrange(-3600, 3600), "to": end_s,
            "cancelled": chance.random() < 0.1,
        }
        for number, notice in enumerate(chance.choices([176_400, 180_000, 172_800, 3600], k=chance.randrange(1, 4)))
    ]  # fmt: skip
    told[0]["from"], told[0]["at"] = start_s, start_s - chance.choice([172_799, 172_800, 200_000])
    actual = {"from": start_s + 600, "to": end_s + 600} if chance.random() < 0.3 else None
    return {"type": "scheduled_maintenance", "announcements": told, "actual": actual, "tenant": tenant}
