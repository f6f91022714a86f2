"""What is said of an upstream's limits, by E1-E7 and RULINGS 2, 11, 13 and 14: one row a rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.announcement import DAY_S, LARGEST, MEMBERS_KEPT, Announcement, announce, recalled
from policies.model import Upstream
from policies.throttling import MAX_WAIT_S, Profile, Throttle, UpstreamLimit, slug

CRM = Upstream(name="crm", scheme="http", host="u.test", port=80, base_path="", vendor="u")
INLINE = Profile(name="ledger")
DAILY = UpstreamLimit(name="daily", q=1000, w=86_400, r=0, t=300)
ROOMY = UpstreamLimit(name="daily", q=1000, w=86_400, r=7, t=300)
GENUINE = UpstreamLimit(name="burst", q=100, w=60, r=0, t=47, genuine_ietf=True)


def throttle(**more: Any) -> Throttle:
    given: dict[str, Any] = {"throttled": True, "kind": "quota", "nothing_executed": True, **more}
    if given.get("selected") is not None:
        given.setdefault("members", (given["selected"],))
    return Throttle(**given)


def said(status: int = 429, chance: float = 0.0, upstream: Upstream = CRM, **more: Any) -> Announcement:
    taken = more.pop("taken", ())
    return announce(throttle(**more), upstream=upstream, status=status, chance=chance, taken=taken)


@pytest.mark.parametrize(
    ("rule", "given", "wait_s", "estimated"),
    [
        ("what was stated", {"retry_after_seconds": 47}, 47, False),
        ("a stated zero is one", {"retry_after_seconds": 0}, 1, False),
        ("stated before the reset", {"retry_after_seconds": 5, "selected": DAILY}, 5, False),
        ("the known reset", {"selected": DAILY}, 300, False),
        ("not that of a limit with room", {"selected": ROOMY}, 60, True),
        ("the profile's default", {"default_wait_s": 30}, 30, True),
        ("the default before the window", {"default_wait_s": 30, "selected": replace(DAILY, w=10, t=None)}, 30, True),
        ("a short window", {"selected": replace(DAILY, w=10, t=None)}, 10, True),
        ("a window of a minute", {"selected": replace(DAILY, w=60, t=None)}, 60, True),
        ("no longer window", {"selected": replace(DAILY, w=61, t=None)}, 60, True),
        ("not the window of a limit with room", {"selected": replace(ROOMY, w=10)}, 60, True),
        ("quota", {}, 60, True),
        ("concurrency", {"kind": "concurrency"}, 2, True),
        ("lock", {"kind": "lock"}, 1, True),
        ("billing", {"kind": "billing"}, DAY_S, True),
        ("billing, never short", {"kind": "billing", "retry_after_seconds": 20, "default_wait_s": 5}, DAY_S, True),
        ("billing, stated long", {"kind": "billing", "retry_after_seconds": 90_000}, 90_000, False),
        ("billing, known reset", {"kind": "billing", "selected": DAILY}, 300, False),
        ("billing, reset of a limit with room", {"kind": "billing", "selected": ROOMY}, DAY_S, True),
        ("never beyond 31 days", {"retry_after_seconds": MAX_WAIT_S + 1}, MAX_WAIT_S, False),
    ],
)
def test_the_wait_is_what_is_known_best(rule: str, given: dict[str, Any], wait_s: int, estimated: bool) -> None:
    found = said(**given)
    assert (found.wait_s, found.wait_ms, found.estimated) == (wait_s, wait_s * 1000, estimated), rule
    assert found.should_retry == (given.get("kind") != "billing")


def test_estimates_alone_are_jittered_upwards_by_at_most_a_fifth() -> None:
    assert (said(chance=0.5).wait_s, said(chance=0.5).wait_ms, said(chance=0.5).unjittered_s) == (66, 66_000, 60)
    latest = said(chance=0.999999)
    assert (latest.wait_s, latest.wait_ms) == (72, 71_999)
    assert latest.members[0].t == 72
    assert said(chance=0.9, retry_after_seconds=10).wait_ms == 10_000
    assert said(chance=0.9, default_wait_s=MAX_WAIT_S).wait_s == MAX_WAIT_S


@pytest.mark.parametrize(
    ("status", "nothing_executed", "map_status", "body", "sent", "replaced"),
    [
        (429, True, True, "normalised", 429, True),
        (403, True, True, "normalised", 429, True),
        (403, True, True, "native", 429, False),
        (403, True, False, "normalised", 403, False),
        (200, False, True, "normalised", 200, False),  # RULINGS 13: part of it may have been executed
        (429, False, True, "normalised", 429, False),
        (429, True, False, "normalised", 429, True),
    ],
)
def test_a_status_becomes_429_where_nothing_was_executed(
    status: int, nothing_executed: bool, map_status: bool, body: Any, sent: int, replaced: bool
) -> None:
    upstream = replace(CRM, map_status=map_status, throttled_body=body)
    found = said(status, upstream=upstream, nothing_executed=nothing_executed)
    assert (found.received, found.status, found.replaces_body) == (status, sent, replaced)
    assert found.wait_s == 60


def test_the_violated_member_is_the_selected_one_when_nothing_is_left_of_it() -> None:
    found = said(selected=DAILY, retry_after_seconds=10)
    assert found.violated == "crm-daily"
    assert found.members == (replace(DAILY, name="crm-daily", t=10),)
    assert found.triple == found.members[0]
    unknown = said(selected=replace(DAILY, r=None))
    assert (unknown.members[0].r, unknown.members[0].t) == (0, 300)
    policy_alone = replace(DAILY, r=None, t=None, genuine_ietf=True)
    granted = said(selected=policy_alone, retry_after_seconds=30)
    assert (granted.members[0].q, granted.members[0].r, granted.members[0].t) == (DAILY.q, 0, 30)


def test_another_policy_was_violated_when_the_selected_one_has_room() -> None:
    found = said(selected=ROOMY, retry_after_seconds=10)
    assert found.violated == "crm-throttle"
    assert [each.name for each in found.members] == ["crm-throttle", "crm-daily"]
    assert found.triple == UpstreamLimit(name="crm-throttle", r=0, t=10)
    assert (found.members[1].r, found.members[1].t) == (7, 300)
    assert said(kind="concurrency", selected=ROOMY).violated == "crm-concurrency"
    assert said().members == (UpstreamLimit(name="crm-throttle", r=0, t=60),)


@pytest.mark.parametrize("stated", [5, 47, 90, None])
def test_a_genuine_field_stays_as_it_came_whatever_the_wait(stated: int | None) -> None:
    found = said(selected=GENUINE, retry_after_seconds=stated)
    assert found.members == (replace(GENUINE, name="crm-burst"),)
    assert found.wait_s == (47 if stated is None else stated)
    assert found.triple == found.members[0]


def test_a_genuine_field_without_t_is_given_none_and_the_triple_says_the_wait() -> None:
    found = said(selected=replace(GENUINE, t=None), retry_after_seconds=9)
    assert found.members[0].t is None
    assert found.triple is not None
    assert found.triple.t == 9


@pytest.mark.parametrize(("stated", "lasts"), [(10, 300), (400, 400), (None, 300)])
def test_a_genuine_reset_without_a_count_is_never_shortened(stated: int | None, lasts: int) -> None:
    found = said(selected=replace(GENUINE, r=None, t=300), retry_after_seconds=stated)
    assert (found.members[0].r, found.members[0].t) == (0, lasts)
    assert found.wait_s == (stated or 300)


def test_what_a_quota_counts_goes_on_with_it() -> None:
    octets = replace(GENUINE, qu="content-bytes")
    assert said(selected=octets).members[0].qu == "content-bytes"
    assert said(200, throttled=False, members=(octets,)).members[0].qu == "content-bytes"


def test_a_success_says_what_came_and_nothing_more() -> None:
    found = said(200, throttled=False, kind="none", selected=ROOMY, retry_after_seconds=5, nothing_executed=False)
    assert (found.status, found.wait_s, found.violated, found.triple) == (200, None, None, None)
    assert found.members == (replace(ROOMY, name="crm-daily"),)
    nothing = said(200, throttled=False, kind="none", selected=UpstreamLimit(name="daily", t=5))
    assert nothing.members == ()


def test_the_provider_is_the_profile_and_without_one_the_upstream() -> None:
    assert said().provider == "crm"
    assert said(upstream=replace(CRM, profile=INLINE)).provider == "ledger"


def test_names_begin_with_the_upstreams_and_are_apart_from_each_other_and_from_our_own() -> None:
    limits = tuple(UpstreamLimit(name=name, r=number) for number, name in enumerate(("hour", "hour", "daily", "daily")))
    names = [each.name for each in said(200, throttled=False, members=limits, taken=["crm-daily"]).members]
    assert names == ["crm-hour", "crm-hour-2", "crm-daily-2", "crm-daily-3"]
    assert said(taken=["crm-throttle"]).violated == "crm-throttle-2"


def test_an_upstreams_name_is_made_fit_for_a_structured_field() -> None:
    assert said(upstream=replace(CRM, name='we "ird" ü')).violated == "we-ird--throttle"
    assert said(upstream=replace(CRM, name="x" * 1000)).violated == "x" * 64 + "-throttle"


def test_numbers_fit_a_structured_field() -> None:
    absurd = UpstreamLimit(name="a", q=10**30, w=0, r=10**30, t=MAX_WAIT_S + 1)
    found = said(200, throttled=False, selected=absurd).members[0]
    assert (found.q, found.w, found.r, found.t) == (LARGEST, None, LARGEST, None)


def test_a_list_without_end_is_cut_and_keeps_the_selected_one() -> None:
    many = tuple(UpstreamLimit(name=f"n{number}", r=number) for number in range(100))
    found = said(200, throttled=False, members=many, selected=many[99])
    assert len(found.members) == MEMBERS_KEPT
    assert found.members[0].name == "crm-n99"


def test_contention_and_guesses_about_money_do_not_last() -> None:
    assert [said(kind=kind).lasting for kind in ("quota", "concurrency", "lock", "billing")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert said(kind="billing", selected=DAILY).lasting


def test_what_is_recalled_has_the_time_that_is_left() -> None:
    first = said(selected=DAILY, members=(DAILY, replace(ROOMY, name="hour", t=20), GENUINE), retry_after_seconds=100)
    later = recalled(first, left_us=69_500_001, chance=0.9, wall_us=7)
    assert (later.wait_s, later.wait_ms, later.remembered, later.wall_us) == (70, 69_501, True, 7)
    assert later.triple == replace(DAILY, name="crm-daily", t=70)
    assert [each.name for each in later.members] == ["crm-daily", "crm-burst"]  # the hour has passed its reset
    assert later.members[1].t == 17  # 30.5 of its 47 seconds have passed, and it must not end early
    assert recalled(first, left_us=1, chance=0.9, wall_us=0).wait_s == 1
    assert recalled(first, left_us=1, chance=0.9, wall_us=0, taken=["crm-daily"]).violated == "crm-daily-2"
    assert recalled(said(), left_us=50_000_000, chance=0.5, wall_us=0).wait_ms == 55_000


numbers = st.none() | st.integers(-10, 10**18)
limits = st.builds(
    UpstreamLimit,
    name=st.text(max_size=6).map(slug),
    q=numbers,
    w=numbers,
    r=numbers,
    t=numbers,
    genuine_ietf=st.booleans(),
)


@given(
    kind=st.sampled_from(["quota", "concurrency", "billing", "lock"]),
    members=st.lists(limits, max_size=5),
    wait=st.none() | st.integers(0, 10**9),
    default=st.none() | st.integers(0, 10**9),
    chance=st.floats(0, 1, exclude_max=True),
    status=st.sampled_from([200, 403, 429, 503]),
)
def test_nothing_negative_huge_or_ambiguous_is_ever_said(
    kind: Any, members: list[UpstreamLimit], wait: int | None, default: int | None, chance: float, status: int
) -> None:
    selected = members[0] if members else None
    more = {"members": tuple(members), "selected": selected, "default_wait_s": default}
    found = said(status, chance, kind=kind, retry_after_seconds=wait, **more)
    assert found.wait_s is not None
    assert found.wait_ms is not None
    assert 1 <= found.wait_s <= MAX_WAIT_S
    assert found.wait_ms <= found.wait_s * 1000 < found.wait_ms + 1000
    assert found.triple is not None
    assert found.members[0].name == found.violated
    names = [each.name for each in found.members]
    assert len(set(names)) == len(names)
    for each in (*found.members, found.triple):
        assert each.name.isascii()
        assert each.name.isprintable()
        assert all(number is None or 0 <= number <= LARGEST for number in (each.q, each.w, each.r, each.t))
        assert each.t is None or each.t <= MAX_WAIT_S
        assert each.w != 0
    if not found.members[0].genuine_ietf:
        assert found.members[0].t == found.wait_s
