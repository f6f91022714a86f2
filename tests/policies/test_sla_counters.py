"""Counters and heartbeats as they arrive: twice, late, out of order, from several lives (D1-D6, O10, T8, T9)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.sla.counters import (
    Counts,
    Flush,
    Key,
    changed_slots,
    is_acceptable,
    newest,
    total,
    traffic_of,
)
from policies.sla.egress import FailedHost, is_egress_fault
from policies.sla.heartbeats import alive, dark, unreachable
from policies.sla.spans import Spans

NOON_S = 1_776_254_400


def flush(
    sequence: int, good: int, errors: int = 0, *, slot_s: int = NOON_S, replica: str = "r1", boot: str = "1",
    tenant: str = "acme", group: str = "items", cause: str = "gateway", received_at_s: int = NOON_S + 61,
) -> Flush:  # fmt: skip
    return Flush(
        key=Key(slot_s=slot_s, tenant=tenant, group=group, replica=replica, boot=boot),
        sequence=sequence,
        received_at_s=received_at_s,
        counts=Counts(good=good, failed={cause: errors}, latency=(good, errors)),
    )


@given(
    lives=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("12"), st.integers(1, 5)), max_size=6),
    seed=st.integers(0, 99),
)
def test_resends_and_reordering_change_nothing(lives: list[tuple[str, str, int]], seed: int) -> None:
    sent = [
        flush(number, number * 10, number, replica=replica, boot=boot)
        for replica, boot, last in lives
        for number in range(1, last + 1)
    ]
    arrived = [*sent, *random.Random(seed).choices(sent, k=5)] if sent else []
    random.Random(seed).shuffle(arrived)
    best = {(replica, boot): 0 for replica, boot, _ in lives}
    for replica, boot, last in lives:
        best[replica, boot] = max(best[replica, boot], last)
    summed = total(newest(arrived).values())
    assert summed.good == sum(best.values()) * 10
    assert sum(summed.failed.values()) == sum(best.values())


def test_two_flushes_that_share_a_sequence_never_lose_failures() -> None:
    one, other = flush(1, 10, 0), flush(1, 4, 2)
    assert newest([one, other]) == newest([other, one]) == {one.key: other.counts}


@pytest.mark.parametrize(("ahead_s", "wanted"), [(300, True), (301, False), (-86_400, True)])
def test_slot_that_lies_ahead_is_refused(ahead_s: int, wanted: bool) -> None:
    made = flush(1, 1, slot_s=NOON_S + ahead_s, received_at_s=NOON_S)
    assert is_acceptable(made) is wanted
    assert bool(newest([made])) is wanted


@pytest.mark.parametrize(
    ("late", "wanted"),
    [
        ([], ()),
        ([flush(2, 10, 1, received_at_s=NOON_S + 501)], (NOON_S,)),
        ([flush(1, 10, 0, received_at_s=NOON_S + 501)], ()),  # a resend
        ([flush(2, 10, 0, received_at_s=NOON_S + 501)], ()),  # newer and equal
        ([flush(1, 0, 0, replica="r9", received_at_s=NOON_S + 501)], ()),  # a replica that counted nothing
        ([flush(2, 10, 1, received_at_s=NOON_S + 500)], ()),  # at the finalisation: in it
        ([flush(1, 3, 0, slot_s=NOON_S + 60, received_at_s=NOON_S + 501)], (NOON_S + 60,)),
    ],
)
def test_only_a_change_after_finalisation_makes_a_revision(late: list[Flush], wanted: tuple[int, ...]) -> None:
    assert changed_slots([flush(1, 10, 0), *late], NOON_S + 500) == wanted


def test_total_adds_buckets_of_any_number() -> None:
    assert total([Counts(latency=(1, 2)), Counts(latency=(1, 2, 3))]).latency == (2, 4, 3)


COUNTED = newest(
    [
        flush(1, 10, 2),
        flush(1, 5, 1, replica="r2"),
        flush(1, 7, 3, group="search", cause="third_party"),
        flush(1, 1, 1, tenant="globex"),
        flush(1, 0, 4, tenant=""),
    ]
)


def test_tenant_has_its_own_traffic_and_the_platform_everybodys() -> None:
    own = traffic_of(COUNTED, 60, tenant="acme")
    assert (own.good, own.failed) == ({NOON_S: 22}, {"gateway": {NOON_S: 3}, "third_party": {NOON_S: 3}})
    everybody = traffic_of(COUNTED, 60)
    # also the calls of nobody in particular, which a dead key store makes
    assert (everybody.good, everybody.failed["gateway"]) == ({NOON_S: 23}, {NOON_S: 8})


@pytest.mark.parametrize(
    ("times", "wanted"),
    [
        (((NOON_S + 59, NOON_S + 61),), {}),  # touched in its last second
        (((NOON_S + 60, NOON_S + 61),), {NOON_S: 3}),
        (((NOON_S - 9, NOON_S),), {NOON_S: 3}),
    ],
)
def test_excused_group_keeps_its_good_requests_and_loses_its_failures(times: Spans, wanted: dict[int, int]) -> None:
    own = traffic_of(COUNTED, 60, tenant="acme", excused={"items": times})
    assert own.good == {NOON_S: 22}
    assert own.failed.get("gateway", {}) == wanted


def failed(*hosts: str) -> list[FailedHost]:
    return [FailedHost(host=host, vendor=host[0]) for host in hosts]


@pytest.mark.parametrize(
    ("active", "hosts", "wanted"),
    [
        (6, ["a1", "a2", "b1"], True),  # half is enough
        (7, ["a1", "a2", "b1"], False),
        (3, ["a1", "a2", "a3"], False),  # one vendor
        (2, ["a1", "b1"], False),  # two hosts
        (3, ["a1", "a1", "b1"], False),  # two hosts, one of them named twice
        (0, [], False),
    ],
)
def test_egress_fault_needs_hosts_vendors_and_half(active: int, hosts: list[str], wanted: bool) -> None:
    assert is_egress_fault(active, failed(*hosts)) is wanted


@pytest.mark.parametrize(
    ("ticks", "wanted"),
    [
        ([], ()),
        ([100], ((100, 105),)),
        ([100, 105, 110], ((100, 115),)),
        ([100, 115], ((100, 120),)),  # three ticks apart
        ([100, 116], ((100, 105), (116, 121))),  # more: it ended 5 s after the last
        ([110, 100, 105, 105], ((100, 115),)),
    ],
)
def test_alive_as_long_as_ticks_vouch_for_it(ticks: list[int], wanted: Spans) -> None:
    assert alive(ticks) == wanted


@pytest.mark.parametrize(
    ("lives", "quorum", "wanted"),
    [
        ({}, 1, ((0, 100),)),  # no replica at all
        ({"a": [((0, 60),)], "b": [((40, 100),)]}, 1, ()),
        ({"a": [((0, 60),)], "b": [((40, 100),)]}, 2, ((0, 40), (60, 100))),
        # two boots of one replica that overlap are one life
        ({"a": [((0, 60),), ((50, 100),)], "b": [((0, 50),)]}, 2, ((50, 100),)),
        ({"a": [((0, 100),)]}, 3, ((0, 100),)),
    ],
)
def test_dark_is_where_the_quorum_is_not_alive(lives: dict[str, list[Spans]], quorum: int, wanted: Spans) -> None:
    assert dark(lives, quorum, (0, 100)) == wanted


def test_most_of_three_vantage_points_make_a_second_unreachable() -> None:
    failing: dict[str, Spans] = {"a": ((0, 10),), "b": ((5, 20),), "c": ()}
    assert unreachable(failing) == ((5, 10),)
    assert unreachable({**failing, "d": ()}) == ()  # two of four are no majority
    assert unreachable({"a": ((0, 10),), "b": ((0, 10),)}) == ()  # two are no evidence
