"""Fields from a decision, by RULINGS 1-3: one row a rule."""

from __future__ import annotations

import dataclasses

import pytest

from policies.admission import Book
from policies.fields import render, retry_after_ms, retry_after_s
from policies.model import (
    Bucket,
    Concurrent,
    HeaderChoice,
    Limit,
    PolicySet,
    Quota,
    ResetAs,
    Route,
    Tenant,
    Tier,
    Upstream,
    Window,
)
from policies.plan import Plan, compile_plan

SECOND = 1_000_000
NOON = 1_795_046_400 * SECOND + 12 * 3600 * SECOND  # noon UTC
MINUTE = Window(name="minute", amount=60, period_us=60 * SECOND)
DAY = Quota(name="day", amount=1000, unit="day")
MONTH = Quota(name="month", amount=9, unit="month")
SURGE = Bucket(name="surge", amount=3000, period_us=60 * SECOND, burst=500)
SLOW = Bucket(name="slow", amount=1, period_us=10 * SECOND, burst=2)
PARALLEL = Concurrent(name="parallel", slots=2)
SHADOW = Window(name="shadow", amount=1, period_us=SECOND, shadow=True)
UPSTREAM = Upstream(name="u", scheme="http", host="u.test", port=80, base_path="", vendor="u")


def plan_of(*limits: Limit, headers: HeaderChoice | None = None, tenant_reset: ResetAs | None = None) -> Plan:
    policy = PolicySet(
        version="v",
        headers=headers or HeaderChoice(),
        tiers={"t": Tier(name="t", limits=limits)},
        upstreams={"u": UPSTREAM},
        routes={"r": Route(name="r", path="/{x:path}", methods=None, upstream="u", group="r")},
    )
    return compile_plan(policy, Tenant(id="a", tier="t", reset_as=tenant_reset), policy.routes["r"])


def fields_after(plan: Plan, calls: int, gap_us: int = 0) -> dict[bytes, bytes]:
    book = Book()
    for n in range(calls):
        decision = book.admit("a", plan.demand, n * gap_us, NOON)
    rendered = render(plan, decision)
    assert len({name for name, _ in rendered}) == len(rendered), "two lines of one field"
    return dict(rendered)


@pytest.mark.parametrize(
    ("limit", "policy", "current"),
    [
        (MINUTE, b'"minute";q=60;w=60', b'"minute";r=59;t=60'),
        (DAY, b'"day";q=1000;w=86400', b'"day";r=999;t=43200'),
        (MONTH, b'"month";q=9', None),  # a month has no fixed length: w is absent
        (SURGE, b'"surge";q=500;w=10', b'"surge";r=499;t=1'),
        (SLOW, b'"slow";q=2;w=20', b'"slow";r=1;t=10'),
        (PARALLEL, b'"parallel";q=2;qu="concurrent-requests"', b'"parallel";r=1'),
    ],
)
def test_each_kind_says_its_own_q_w_r_t(limit: Limit, policy: bytes, current: bytes | None) -> None:
    found = fields_after(plan_of(limit), 1)
    assert found[b"ratelimit-policy"] == policy
    assert current is None or found[b"ratelimit"] == current


def test_names_are_escaped_as_structured_field_strings() -> None:
    odd = dataclasses.replace(MINUTE, name='a"b\\c%d')
    assert fields_after(plan_of(odd), 1)[b"ratelimit"].startswith(b'"a\\"b\\\\c%d";r=59')


def test_a_shadow_limit_never_appears() -> None:
    found = fields_after(plan_of(MINUTE, SHADOW), 3)
    assert b"shadow" not in found[b"ratelimit-policy"] + found[b"ratelimit"]


def test_no_limit_means_no_field() -> None:
    assert fields_after(plan_of(SHADOW), 1) == {}


def test_the_triple_describes_the_lowest_share_left_and_ties_go_to_the_longest_reset() -> None:
    assert fields_after(plan_of(DAY, MINUTE), 30)[b"ratelimit-limit"] == b"60"
    same = dataclasses.replace(MINUTE, name="hour", period_us=3600 * SECOND)
    assert fields_after(plan_of(MINUTE, same), 5)[b"ratelimit-reset"] == b"3600"


def test_a_refusal_describes_the_refusing_limit_with_the_longest_wait() -> None:
    plan = plan_of(MINUTE, SLOW)
    found = fields_after(plan, 3)
    assert (found[b"ratelimit-limit"], found[b"ratelimit-remaining"], found[b"ratelimit-reset"]) == (b"2", b"0", b"10")


def test_a_refusal_by_concurrency_alone_has_no_triple_and_one_second() -> None:
    plan, book = plan_of(MINUTE, PARALLEL), Book()
    decisions = [book.admit("a", plan.demand, 0, NOON) for _ in range(3)]
    found = dict(render(plan, decisions[-1]))
    assert b"ratelimit-limit" not in found
    assert found[b"ratelimit"] == b'"minute";r=58;t=60, "parallel";r=0'
    assert (retry_after_s(decisions[-1]), retry_after_ms(decisions[-1])) == (1, 1000)


def test_retry_after_is_the_longest_wait_rounded_up_and_never_before_t() -> None:
    plan, book = plan_of(dataclasses.replace(MINUTE, amount=1), SLOW), Book()
    book.admit("a", plan.demand, 0, NOON)
    refused = book.admit("a", plan.demand, 300_001, NOON)
    assert refused.refused_by == ("minute",)
    assert (retry_after_s(refused), retry_after_ms(refused)) == (60, 59_700)
    assert b'"minute";r=0;t=60' in dict(render(plan, refused))[b"ratelimit"]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (HeaderChoice(structured=True, triple=False), {b"ratelimit", b"ratelimit-policy"}),
        (HeaderChoice(structured=False, triple=True), {b"ratelimit-limit", b"ratelimit-remaining", b"ratelimit-reset"}),
        (HeaderChoice(structured=False, triple=False), set()),
    ],
)
def test_the_policy_picks_the_dialects(headers: HeaderChoice, expected: set[bytes]) -> None:
    assert set(fields_after(plan_of(MINUTE, headers=headers), 1)) == expected


def test_unix_seconds_turn_the_triples_reset_alone() -> None:
    found = fields_after(plan_of(MINUTE, tenant_reset=ResetAs.UNIX_SECONDS), 1)
    assert found[b"ratelimit-reset"] == b"%d" % (NOON // SECOND + 60)
    assert found[b"ratelimit"] == b'"minute";r=59;t=60'
