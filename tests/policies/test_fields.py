"""Fields from a decision, by RULINGS 1-3: one row a rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies.admission import Book
from policies.announcement import Announcement
from policies.fields import render, retry_after_ms, retry_after_s, waiting
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
from policies.throttling import UpstreamLimit

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
    odd = replace(MINUTE, name='a"b\\c%d')
    assert fields_after(plan_of(odd), 1)[b"ratelimit"].startswith(b'"a\\"b\\\\c%d";r=59')


def test_a_shadow_limit_never_appears() -> None:
    found = fields_after(plan_of(MINUTE, SHADOW), 3)
    assert b"shadow" not in found[b"ratelimit-policy"] + found[b"ratelimit"]


def test_no_limit_means_no_field() -> None:
    assert fields_after(plan_of(SHADOW), 1) == {}


def test_the_triple_describes_the_lowest_share_left_and_ties_go_to_the_longest_reset() -> None:
    assert fields_after(plan_of(DAY, MINUTE), 30)[b"ratelimit-limit"] == b"60"
    same = replace(MINUTE, name="hour", period_us=3600 * SECOND)
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
    plan, book = plan_of(replace(MINUTE, amount=1), SLOW), Book()
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


# Beside an upstream's limits

LEFT = UpstreamLimit(name="crm-daily", q=1000, w=86_400, r=10, t=300)
SPENT = UpstreamLimit(name="crm-throttle", r=0, t=47)


def said(*members: UpstreamLimit, **more: Any) -> Announcement:
    given: dict[str, Any] = {"provider": "crm", "kind": "quota", "throttled": False, "received": 200, "status": 200}
    return Announcement(**{**given, "members": members, **more})


def beside(plan: Plan, announcement: Announcement, calls: int = 1) -> dict[bytes, bytes]:
    book = Book()
    for _ in range(calls):
        decision = book.admit("a", plan.demand, 0, NOON)
    rendered = render(plan, decision, announcement)
    assert len({name for name, _ in rendered}) == len(rendered), "two lines of one field"
    return dict(rendered)


def test_an_upstreams_members_stand_behind_ours_in_the_same_lines() -> None:
    found = beside(plan_of(MINUTE, PARALLEL), said(LEFT))
    assert found[b"ratelimit-policy"].endswith(b'"concurrent-requests", "crm-daily";q=1000;w=86400')
    assert found[b"ratelimit"] == b'"minute";r=59;t=60, "parallel";r=1, "crm-daily";r=10;t=300'


def test_what_is_no_request_is_said_to_be_none_and_stays_out_of_the_triple() -> None:
    found = beside(plan_of(MINUTE), said(replace(LEFT, qu="content-bytes"), replace(LEFT, name="b", w=None, qu="x")))
    policies = b', "crm-daily";q=1000;w=86400;qu="content-bytes", "b";q=1000;qu="x"'
    assert found[b"ratelimit-policy"].endswith(policies)
    assert found[b"ratelimit-remaining"] == b"59"


def test_what_is_not_known_is_not_said_e6() -> None:
    odd = said(replace(LEFT, q=None, w=None), replace(LEFT, name="b", r=None), replace(LEFT, name="c", t=None, w=None))
    found = beside(plan_of(), odd)
    assert found == {
        b"ratelimit-policy": b'"b";q=1000;w=86400, "c";q=1000',
        b"ratelimit": b'"crm-daily";r=10;t=300, "c";r=10',
    }
    assert beside(plan_of(), said(replace(LEFT, r=None))) == {b"ratelimit-policy": b'"crm-daily";q=1000;w=86400'}
    assert beside(plan_of(), said()) == {}


@pytest.mark.parametrize(
    ("member", "limit", "remaining", "reset"),
    [
        (LEFT, b"1000", b"10", b"300"),  # the lowest share of both
        (replace(LEFT, r=999), b"60", b"59", b"60"),
        (replace(LEFT, q=60, r=59), b"60", b"59", b"300"),  # ties go to the longest reset
        (replace(LEFT, q=60, r=59, t=60), b"60", b"59", b"60"),
        (replace(LEFT, t=None), b"60", b"59", b"60"),  # without a reset it does not count
        (replace(LEFT, q=None), b"60", b"59", b"60"),  # nor without a quota: there is no share
        (replace(LEFT, q=0, r=0), b"0", b"0", b"300"),
    ],
)
def test_the_triple_describes_the_tightest_of_ours_and_theirs(
    member: UpstreamLimit, limit: bytes, remaining: bytes, reset: bytes
) -> None:
    found = beside(plan_of(MINUTE), said(member))
    triple = (found[b"ratelimit-limit"], found[b"ratelimit-remaining"], found[b"ratelimit-reset"])
    assert triple == (limit, remaining, reset)


def test_nothing_left_is_the_lowest_share_of_any_limit() -> None:
    nothing = replace(LEFT, q=None, r=0, t=5)
    for members in ((nothing, LEFT), (LEFT, nothing), (replace(nothing, q=0), LEFT), (LEFT, replace(nothing, q=0))):
        found = beside(plan_of(MINUTE), said(*members))
        assert (found[b"ratelimit-remaining"], found[b"ratelimit-reset"]) == (b"0", b"5")
    assert b"ratelimit-limit" not in beside(plan_of(MINUTE), said(nothing))


@pytest.mark.parametrize("headers", [HeaderChoice(structured=False), HeaderChoice(triple=False)])
def test_the_policy_picks_the_dialects_of_both(headers: HeaderChoice) -> None:
    found = beside(plan_of(MINUTE, headers=headers), said(LEFT))
    assert (b"ratelimit" in found, b"ratelimit-reset" in found) == (headers.structured, headers.triple)


def test_on_a_throttle_the_triple_is_what_was_violated_whatever_is_left_of_ours() -> None:
    more = {"throttled": True, "received": 403, "status": 429, "wait_s": 47, "wait_ms": 46_210, "triple": SPENT}
    found = beside(plan_of(MINUTE), said(SPENT, LEFT, **more), calls=60)
    assert b"ratelimit-limit" not in found
    assert (found[b"ratelimit-remaining"], found[b"ratelimit-reset"]) == (b"0", b"47")
    assert found[b"ratelimit"] == b'"minute";r=0;t=60, "crm-throttle";r=0;t=47, "crm-daily";r=10;t=300'
    assert b"crm-throttle" not in found[b"ratelimit-policy"]


def test_unix_seconds_count_from_when_the_upstream_answered() -> None:
    more = {"throttled": True, "wait_s": 47, "wait_ms": 47_000, "triple": SPENT, "wall_us": NOON + 30 * SECOND}
    found = beside(plan_of(MINUTE, tenant_reset=ResetAs.UNIX_SECONDS), said(SPENT, **more))
    assert found[b"ratelimit-reset"] == b"%d" % (NOON // SECOND + 77)
    assert b"t=47" in found[b"ratelimit"]


def test_a_throttle_says_when_to_come_back_and_what_it_came_as() -> None:
    more = {"throttled": True, "received": 403, "status": 429, "wait_s": 47, "wait_ms": 46_210, "triple": SPENT}
    assert waiting(said(SPENT, **more)) == [
        (b"proxy-status", b"tiergate; received-status=403"),
        (b"retry-after", b"47"),
        (b"retry-after-ms", b"46210"),
        (b"cache-control", b"no-store"),
    ]
    billed = dict(waiting(said(SPENT, **more, should_retry=False, remembered=True)))
    assert billed[b"x-should-retry"] == b"false"
    assert billed[b"proxy-status"] == b'tiergate; received-status=403; details="remembered"'
    assert b"cache-control" not in dict(waiting(said(SPENT, **{**more, "status": 403})))
    assert waiting(said(LEFT)) == []
    assert [name for name, _ in waiting(said(SPENT, **{**more, "status": 200}))] == [b"proxy-status"]
