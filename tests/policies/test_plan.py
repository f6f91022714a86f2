"""Plans: precedence, sharing, and what is worked out ahead."""

from __future__ import annotations

import dataclasses

import pytest

from policies.model import (
    Bucket,
    Concurrent,
    Cost,
    Limit,
    PolicySet,
    Quota,
    Route,
    Tenant,
    Tier,
    Timeouts,
    Upstream,
    Window,
)
from policies.plan import Plan, compile_standing, merged
from policies.snapshot import Snapshot

MINUTE_US = 60_000_000


def window(name: str, amount: int, *, shadow: bool = False) -> Window:
    return Window(name=name, amount=amount, period_us=MINUTE_US, shadow=shadow)


def policy(*limits: Limit, cost: Cost | None = None, route_limits: tuple[Limit, ...] = ()) -> PolicySet:
    upstream = Upstream(
        name="u", scheme="http", host="u.test", port=80, base_path="", vendor="u",
        headers=((b"authorization", b"ours"), (b"x-app", b"tiergate")),
    )  # fmt: skip
    routes = (
        Route(name="r", path="/r", methods=None, upstream="u", group="r", cost=cost or Cost(), limits=route_limits),
        Route(name="vip", path="/vip", methods=None, upstream="u", group="r", tiers=frozenset({"other"})),
    )
    return PolicySet(
        version="v",
        tiers={"t": Tier(name="t", limits=limits), "other": Tier(name="other", limits=())},
        upstreams={"u": upstream},
        routes={route.name: route for route in routes},
    )


def plan(tenant: Tenant, found: PolicySet, route: str = "r") -> Plan:
    return Snapshot(found).plan(tenant, found.routes[route])


def test_limits_merge_by_name_in_place_none_removes_and_new_ones_follow() -> None:
    lower = (window("a", 1), window("b", 2), window("c", 3))
    result = merged(lower, {"b": window("b", 9), "c": None, "d": window("d", 4)})
    assert [(limit.name, limit.amount) for limit in result if isinstance(limit, Window)] == [
        ("a", 1),
        ("b", 9),
        ("d", 4),
    ]


def test_a_tenant_overrides_its_tier_and_its_routes_limits_and_both_apply() -> None:
    found = policy(window("minute", 10), window("hour", 20), route_limits=(window("writes", 5),))
    tenant = Tenant(
        id="a", tier="t", limits={"minute": window("minute", 99)}, route_limits={"r": {"writes": window("writes", 7)}}
    )
    assert plan(tenant, found).policy_line[1] == b'"minute";q=99;w=60, "hour";q=20;w=60, "writes";q=7;w=60'


def test_plain_tenants_share_a_plan_and_others_have_their_own() -> None:
    found = policy(window("minute", 10))
    snapshot, route = Snapshot(found), found.routes["r"]
    one, two = (snapshot.plan(Tenant(id=id, tier="t"), route) for id in "ab")
    own = snapshot.plan(Tenant(id="c", tier="t", limits={"minute": window("minute", 3)}), route)
    assert one is two
    assert own is not one
    assert snapshot.plan(Tenant(id="d", tier="t"), route) is one


def test_cost_is_charged_by_name_else_by_default_and_never_to_concurrency() -> None:
    cost = Cost(default=5, by_name={"minute": 2})
    found = policy(window("minute", 10), window("hour", 50), Concurrent(name="parallel", slots=2), cost=cost)
    demand = plan(Tenant(id="a", tier="t"), found).demand
    assert [charge.cost for charge in demand.charges] == [2, 5]
    assert [slot.size for slot in demand.slots] == [2]
    assert demand.too_dear == ()


@pytest.mark.parametrize(
    "limit",
    [
        window("x", 4),
        Bucket(name="x", amount=100, period_us=MINUTE_US, burst=4),
        Quota(name="x", amount=4, unit="day"),
    ],
)
def test_a_cost_that_can_never_fit_is_named_unless_the_limit_is_a_shadow(limit: Limit) -> None:
    assert plan(Tenant(id="a", tier="t"), policy(limit, cost=Cost(default=5))).demand.too_dear == ("x",)
    shadow = policy(window("x", 4, shadow=True), cost=Cost(default=5))
    assert plan(Tenant(id="a", tier="t"), shadow).demand.too_dear == ()


def test_a_tenants_upstream_headers_replace_the_upstreams_by_name() -> None:
    tenant = Tenant(id="a", tier="t", upstream_headers={"u": ((b"authorization", b"theirs"),)})
    assert plan(tenant, policy()).onward.headers == ((b"x-app", b"tiergate"), (b"authorization", b"theirs"))


def test_a_route_for_other_tiers_is_not_allowed() -> None:
    found = policy()
    assert not plan(Tenant(id="a", tier="t"), found, "vip").allowed
    assert plan(Tenant(id="a", tier="other"), found, "vip").allowed


def test_a_state_key_ignores_the_amount_and_knows_route_kind_and_window() -> None:
    def keys(*limits: Limit, route_limits: tuple[Limit, ...] = ()) -> list[str]:
        demand = plan(Tenant(id="a", tier="t"), policy(*limits, route_limits=route_limits)).demand
        return [charge.key for charge in demand.charges]

    (same,) = keys(window("x", 1))
    assert keys(window("x", 2)) == [same]
    different = [
        *keys(window("y", 1)),
        *keys(Window(name="x", amount=1, period_us=1_000_000)),
        *keys(Bucket(name="x", amount=1, period_us=MINUTE_US, burst=1)),
        *keys(Quota(name="x", amount=1, unit="day")),
        *keys(Quota(name="x", amount=1, unit="month")),
        *keys(Quota(name="x", amount=1, unit="day", zone="Europe/Berlin")),
        *keys(route_limits=(window("x", 1),)),
    ]
    assert len({same, *different}) == len(different) + 1


def test_a_slot_is_held_longer_than_any_silence_of_a_live_call() -> None:
    upstream = Upstream(
        name="u", scheme="http", host="u.test", port=80, base_path="", vendor="u",
        timeouts=Timeouts(total_us=10_000_000, idle_us=60_000_000),
    )  # fmt: skip
    found = dataclasses.replace(policy(Concurrent(name="parallel", slots=1)), upstreams={"u": upstream})
    lease_us = plan(Tenant(id="a", tier="t"), found).demand.lease_us
    assert lease_us // 3 >= 60_000_000, "an event stream that is silent for its idle deadline is renewed in time"
    assert lease_us > 10_000_000 + upstream.pool.wait_us


def test_a_tenants_standing_lists_every_enforced_limit_with_its_route() -> None:
    limits = (window("minute", 10), Concurrent(name="parallel", slots=2), window("s", 1, shadow=True))
    found = policy(*limits, route_limits=(window("writes", 5),))
    standing = compile_standing(found, Tenant(id="a", tier="t"))
    names = [c.limit.name for c in standing.demand.charges] + [s.limit.name for s in standing.demand.slots]
    assert list(zip(names, standing.scopes, strict=True)) == [("minute", None), ("writes", "r"), ("parallel", None)]
