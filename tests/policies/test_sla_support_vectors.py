"""The runner of the support, escalation, notice, resolve and burn vectors: what it refuses, and that it can fail."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.policies import sla_support_vectors, sla_vectors
from tests.vector_files import cases

SHIPPED = Path("tests/vectors")
MINE = [case for case in cases(SHIPPED, sla_vectors.FILE) if case.get("kind") in sla_support_vectors.KINDS]
DEFAULTS = sla_vectors.defaults(SHIPPED)
CALENDAR = {"tz": "Europe/Berlin", "week": {"mon": [["09:00", "24:00"]]}, "holidays": ["2026-12-25"]}


def case(kind: str, **given: Any) -> dict[str, Any]:
    """A sound case of ``kind``, the first of the shipped ones, with some of its input replaced."""
    sound = deepcopy(next(dict(each) for each in MINE if each["kind"] == kind))
    sound["input"].update(given)
    return sound


def wrong(value: Any) -> Any:
    """Another value of the same kind."""
    match value:
        case bool():
            return not value
        case None:
            return "vp_engineering"
        case dict():
            return {key: wrong(each) for key, each in value.items()}
        case _:
            others = {"vp_engineering": "on_call_engineer", "notice_too_short": "effective_from_not_period_start"}
            return others.get(value, "2020-01-01T00:00:00Z" if "T" in value else "vp_engineering")


@pytest.mark.parametrize("case", MINE, ids=lambda case: case["name"])
def test_every_expectation_can_fail(case: Any) -> None:
    assert sla_vectors.complaints(case) == []
    for key in case["expect"]:
        altered = {**case, "expect": {**case["expect"], key: wrong(case["expect"][key])}}
        assert sla_vectors.differences(altered, DEFAULTS) != []


@pytest.mark.parametrize(
    "faulty",
    [
        case("support", tier="gold"),
        case("support", severity="S5"),
        case("support", created="2026-04-15T10:00:00"),  # without an offset
        case("support", paused=True),
        case("support", severity_changes=[{"at": "2026-04-15T10:00:00Z", "to": "S0"}]),
        case("support", events=[{"at": "2026-04-15T10:00:00Z", "actor": "robot", "kind": "ack"}]),
        case("support", events=[{"at": "2026-04-15T10:00:00Z", "actor": "staff", "kind": "wave"}]),
        case("support", calendar={**CALENDAR, "zone": "UTC"}),
        case("support", calendar={**CALENDAR, "tz": "Europe/Nowhere"}),
        case("support", calendar={**CALENDAR, "week": {"monday": []}}),
        case("support", calendar={**CALENDAR, "week": {"mon": [["09:00", "25:00"]]}}),
        case("support", calendar={**CALENDAR, "holidays": ["2026-02-31"]}),
        case("escalation", acked="2026-04-15T10:00:00Z"),
        {**case("escalation"), "expect": {"role": "ceo"}},
        case("notice", notice_days="60"),
        case("notice", tz="Mars/Olympus"),
        {**case("notice"), "expect": {"error": "too_late"}},
        case("resolve", layers=[["service"]]),
        case("burn", objective=99.9),
        case("burn", segments=[{"from": "2026-04-15T10:00:00Z"}]),
        {**case("burn"), "expect": {"page_now": True}},
        {**case("burn"), "expect": {}},
    ],
)
def test_what_no_case_may_hold_is_refused(faulty: dict[str, Any]) -> None:
    assert sla_vectors.complaints(faulty) != []


def test_a_calendar_of_a_case_changes_only_what_it_names() -> None:
    sound = case("support", severity="S3", tier="standard", created="2026-04-15T10:00:00Z", calendar=CALENDAR)
    # Wednesday; the calendar opens on Mondays only, from 07:00 UTC, and keeps the default length of a business day
    sound["expect"] = {"due": "2026-04-20T17:00:00+02:00"}
    assert sla_vectors.complaints(sound) == []
    assert sla_vectors.differences(sound, DEFAULTS) == []


def test_an_unanswered_case_is_not_met() -> None:
    unanswered = case("support", events=[])
    unanswered["expect"] = {"met": False, "responded_at": None}
    assert sla_vectors.differences(unanswered, DEFAULTS) == []


@pytest.mark.parametrize(
    ("severity", "at", "acked", "role"),
    [
        ("S2", "2026-04-15T02:59:59Z", None, "l1_support"),  # half of two hours is not over
        ("S2", "2026-04-15T03:00:00Z", None, "on_call_engineer"),
        ("S2", "2026-04-15T03:00:00Z", "2026-04-15T03:00:00Z", None),
        ("S2", "2026-04-15T03:00:00Z", "2026-04-15T03:00:01Z", "on_call_engineer"),
        ("S2", "2026-04-15T01:59:59Z", None, None),  # not yet received
    ],
)
def test_the_first_role_is_known_by_the_name_of_the_specification(severity, at, acked, role) -> None:
    sound = case("escalation", tier="premium", severity=severity, created="2026-04-15T02:00:00Z", at=at, acked_at=acked)
    sound["expect"] = {"role": role}
    assert sla_vectors.complaints(sound) == []
    assert sla_vectors.differences(sound, DEFAULTS) == []


def test_all_five_kinds_have_shipped_cases() -> None:
    assert {each["kind"] for each in MINE} == {"support", "escalation", "notice", "resolve", "burn"}
