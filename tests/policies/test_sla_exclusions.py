"""What is excluded, what is not, and the reason that is given for it (X1-X9)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policies.sla.exclusions import Announcement, Exclusion, Ruling, excluded, excused, rulings, with_seconds
from policies.sla.spans import ALWAYS, Spans, length
from policies.sla.terms import terms_of

H = 3600
END_S = 1_000 * H
NOTICE_S = 172_800
FORCE: Spans = ((0, END_S),)


def told(start: int, end: int, *, notice: int = NOTICE_S, cancelled: bool = False) -> Announcement:
    return Announcement(at_s=start - notice, from_s=start, to_s=end, cancelled=cancelled)


def maintenance(*announcements: Announcement, **more: Any) -> Exclusion:
    return Exclusion(id=more.pop("id", "m"), type="scheduled_maintenance", announcements=announcements, **more)


def recorded(**more: Any) -> Exclusion:
    plain = Exclusion(id="r", type="force_majeure", window=(10 * H, 12 * H), recorded_at_s=END_S, approved=True)
    return replace(plain, **more)


def ruled(*asked: Exclusion, force: Spans = FORCE, **policy: Any) -> tuple[Ruling, ...]:
    return rulings(asked, terms_of(policy), "acme", force, END_S)


IN_TIME = told(100 * H, 104 * H)
CASES: list[tuple[str, Exclusion, str, str | None, Spans]] = [
    ("with its notice", maintenance(IN_TIME), "accepted", None, ((100 * H, 104 * H),)),
    ("never announced", maintenance(), "rejected", "not_announced", ()),
    ("a second short", maintenance(told(100 * H, 104 * H, notice=NOTICE_S - 1)), "rejected", "short_notice", ()),
    ("told afterwards", maintenance(told(100 * H, 104 * H, notice=-5 * H)), "rejected", "short_notice", ()),
    ("of no length", maintenance(told(100 * H, 100 * H)), "rejected", "empty_window", ()),
    ("inverted", maintenance(told(104 * H, 100 * H)), "rejected", "empty_window", ()),
    ("extended late", maintenance(IN_TIME, told(100 * H, 105 * H, notice=H)), "partly", "changed_late",
     ((100 * H, 104 * H),)),
    ("shrunk while at work", maintenance(IN_TIME, told(100 * H, 102 * H, notice=-H)), "accepted", None,
     ((100 * H, 102 * H),)),
    ("moved late, elsewhere", maintenance(IN_TIME, told(104 * H, 108 * H, notice=H)), "rejected", "changed_late", ()),
    # the union of what was announced in time, each on its own
    ("moved twice, in time", maintenance(told(98 * H, 101 * H, notice=90 * H), told(100 * H, 104 * H, notice=80 * H),
     told(99 * H, 103 * H, notice=H)), "accepted", None, ((99 * H, 103 * H),)),
    ("cancelled", maintenance(IN_TIME, told(100 * H, 104 * H, notice=H, cancelled=True)), "rejected", "cancelled", ()),
    ("cancelled, and again late", maintenance(
        told(100 * H, 104 * H, notice=90 * H), told(100 * H, 104 * H, notice=60 * H, cancelled=True),
        told(100 * H, 104 * H, notice=H)), "rejected", "short_notice", ()),
    ("cancelled, and again in time", maintenance(
        told(100 * H, 104 * H, notice=90 * H), told(100 * H, 104 * H, notice=80 * H, cancelled=True),
        told(100 * H, 104 * H, notice=60 * H)), "accepted", None, ((100 * H, 104 * H),)),
    ("half used", maintenance(IN_TIME, actual=(101 * H, 102 * H)), "partly", "not_worked_in", ((101 * H, 102 * H),)),
    ("overrun", maintenance(IN_TIME, actual=(100 * H, 109 * H)), "accepted", None, ((100 * H, 104 * H),)),
    ("worked at another time", maintenance(IN_TIME, actual=(105 * H, 106 * H)), "rejected", "not_worked_in", ()),
    ("of another tenant", maintenance(IN_TIME, tenant="globex"), "rejected", "other_tenant", ()),
    ("of this tenant", maintenance(IN_TIME, tenant="acme"), "accepted", None, ((100 * H, 104 * H),)),
    ("approved and in time", recorded(recorded_at_s=END_S + 432_000), "accepted", None, ((10 * H, 12 * H),)),
    ("recorded a second late", recorded(recorded_at_s=END_S + 432_001), "rejected", "recorded_late", ()),
    ("not recorded", recorded(recorded_at_s=None), "rejected", "not_recorded", ()),
    ("pending", recorded(approved=False), "rejected", "not_approved", ()),
    ("inverted too", recorded(window=(12 * H, 10 * H)), "rejected", "empty_window", ()),
    # announcements are for maintenance: force majeure needs its record
    ("announced force majeure", recorded(announcements=(IN_TIME,), approved=False), "rejected", "not_approved", ()),
]  # fmt: skip


@pytest.mark.parametrize(("_", "asked", "verdict", "reason", "spans"), CASES, ids=[case[0] for case in CASES])
def test_ruling(_: str, asked: Exclusion, verdict: str, reason: str | None, spans: Spans) -> None:
    (made,) = ruled(asked)
    assert (made.verdict, made.reason, made.spans) == (verdict, reason, spans)


@pytest.mark.parametrize("swapped", [False, True])
def test_announcements_count_in_the_order_of_their_time(swapped: bool) -> None:
    later = told(100 * H, 102 * H, notice=H)
    made = ruled(maintenance(*((later, IN_TIME) if swapped else (IN_TIME, later))))
    assert made[0].spans == ((100 * H, 102 * H),)


def test_only_time_within_the_contract_is_excluded() -> None:
    (made,) = ruled(recorded(), force=((11 * H, END_S),))
    assert made.spans == ((11 * H, 12 * H),)


def test_cap_takes_the_first_seconds_of_maintenance_and_leaves_other_types_alone() -> None:
    first, second = told(100 * H, 104 * H), told(200 * H, 204 * H)
    made = ruled(
        maintenance(second, id="late"), maintenance(first, id="early"), recorded(), maintenance_cap_seconds=5 * H
    )
    assert [(each.exclusion.id, each.verdict, each.reason, length(each.spans)) for each in made] == [
        ("r", "accepted", None, 2 * H), ("early", "accepted", None, 4 * H), ("late", "partly", "over_the_cap", H),
    ]  # fmt: skip


def test_cap_counts_an_overlap_once() -> None:
    made = ruled(
        maintenance(told(100 * H, 104 * H)), maintenance(told(102 * H, 106 * H), id="n"), maintenance_cap_seconds=6 * H
    )
    assert excluded(made) == ((100 * H, 106 * H),)


def test_nothing_is_excluded_under_a_cap_of_nothing() -> None:
    (made,) = ruled(maintenance(IN_TIME), maintenance_cap_seconds=0)
    assert (made.verdict, made.reason, made.spans) == ("rejected", "over_the_cap", ())


def test_seconds_of_overlapping_exclusions_add_up() -> None:
    made = ruled(maintenance(told(100 * H, 104 * H)), recorded(window=(103 * H, 106 * H)))
    counted = with_seconds(made, ((99 * H, 105 * H),))
    assert [each.seconds for each in counted] == [4 * H, H]


def test_exclusion_of_a_group_excuses_failures_and_subtracts_no_time() -> None:
    made = ruled(recorded(group="search"), recorded(id="s", group="search", window=(12 * H, 13 * H)))
    assert excluded(made) == ()
    assert excused(made) == {"search": ((10 * H, 13 * H),)}
    assert [each.seconds for each in with_seconds(made, ALWAYS)] == [0, 0]


def test_rejected_exclusion_of_a_group_excuses_nothing() -> None:
    assert excused(ruled(recorded(group="search", approved=False))) == {}
