"""What the suite of SLA vectors refuses, so that a case that says more than is understood cannot pass."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.policies import sla_vectors as vectors

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = json.loads((ROOT / "tests/vectors/sla.json").read_text())
READ_RIGHT: dict[str, Any] = {
    "name": "plain",
    "input": {
        "runs": [{"from": "2026-04-15T12:00:00Z", "slots": 5, "total": 9, "err": {"gateway": 9}}],
        "dark": [["2026-04-16T12:00:00Z", "2026-04-16T12:05:00Z"]],
    },
    "exclusions": [
        {
            "type": "scheduled_maintenance",
            "announcements": [
                {"at": "2026-04-01T00:00:00Z", "from": "2026-04-16T12:00:00Z", "to": "2026-04-16T13:00:00Z"}
            ],
        }
    ],
    "period": {"month": "2026-04"},
    "expect": {"downtime_seconds": 300},
    "why": "Five bad minutes; the dark ones are excluded.",
}  # fmt: skip


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    case = copy.deepcopy(READ_RIGHT)
    change(case)
    return case


def run_of(case: dict[str, Any]) -> dict[str, Any]:
    run: dict[str, Any] = case["input"]["runs"][0]
    return run


MALFORMED: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("unknown kind availabilty", lambda case: case.update(kind="availabilty")),
    ("the case has an unknown key exclusion", lambda case: case.update(exclusion=[])),
    ("the case has no why", lambda case: case.pop("why")),
    ("the case has no expect", lambda case: case.pop("expect")),
    ("expect has an unknown key downtime", lambda case: case["expect"].update(downtime=1)),
    ("expect lists nothing", lambda case: case.update(expect={})),
    ("expect lists nothing", lambda case: case.update(expect={"wrong_mean": 1})),
    ("downtime_seconds is '300', not a count", lambda case: case["expect"].update(downtime_seconds="300")),
    ("input has an unknown key idle", lambda case: case["input"].update(idle=[])),
    ("runs[0] has an unknown key errors", lambda case: run_of(case).update(errors=1)),
    ("err has an unknown key gatway", lambda case: run_of(case).update(err={"gatway": 1})),
    ("total is 1.5, not a count", lambda case: run_of(case).update(total=1.5)),
    ("total is True, not a count", lambda case: run_of(case).update(total=True)),
    (
        "from is '2026-04-15T12:00:00', not an instant",
        lambda case: run_of(case).update({"from": "2026-04-15T12:00:00"}),
    ),
    ("dark[0] is no list of 2", lambda case: case["input"].update(dark=[["2026-04-15T12:00:00Z"]])),
    ("policy has an unknown key min_run", lambda case: case.update(policy={"min_run": 1})),
    ("type is 'holiday', not one of", lambda case: case["exclusions"][0].update(type="holiday")),
    ("exclusions[0] has an unknown key window", lambda case: case["exclusions"][0].update(window=[])),
    ("announcements[0] has no at", lambda case: case["exclusions"][0]["announcements"][0].pop("at")),
    ("month is '2026-4', not a month", lambda case: case["period"].update(month="2026-4")),
    ("name is 7, not text", lambda case: case.update(name=7)),
]


@pytest.mark.parametrize(("said", "change"), MALFORMED, ids=[said for said, _ in MALFORMED])
def test_case_of_unknown_form_is_a_finding(said: str, change: Callable[[dict[str, Any]], Any]) -> None:
    assert said in "\n".join(vectors.complaints(changed(change)))


def test_case_of_known_form_is_none_and_passes() -> None:
    assert vectors.complaints(READ_RIGHT) == []
    assert vectors.differences(READ_RIGHT, SHIPPED["defaults"]) == []


def test_every_kind_has_a_case_and_every_case_a_kind() -> None:
    assert {case.get("kind", vectors.PLAIN) for case in SHIPPED["cases"]} == set(vectors.KINDS)


def test_instants_are_equal_at_any_offset() -> None:
    windows = [["2026-04-15T14:00:00+02:00", "2026-04-15T12:05:00Z"], ["2026-04-16T12:00:00Z", "2026-04-16T12:05:00Z"]]
    assert (
        vectors.differences(changed(lambda case: case.update(expect={"windows": windows})), SHIPPED["defaults"]) == []
    )


def test_answer_of_a_common_mistake_must_not_be_ours() -> None:
    case = next(each for each in SHIPPED["cases"] if each.get("kind") == "quarter")
    wrong = {**case, "expect": {**case["expect"], "wrong_mean_of_percentages": case["expect"]["uptime_percent"]}}
    assert vectors.differences(wrong, SHIPPED["defaults"]) == [
        "the answer is 99.9626, the mistake wrong_mean_of_percentages"
    ]


def test_name_that_comes_twice_is_a_finding(tmp_path: Path) -> None:
    assert vectors.findings(written(tmp_path, [READ_RIGHT, READ_RIGHT])) == ["plain: the name comes twice"]


@pytest.mark.parametrize("text", ['{"cases": []}', "{}", "[]", "[1]", "[", "null", '{"cases": {}}'])
def test_file_without_cases_is_a_finding(text: str, tmp_path: Path) -> None:
    (tmp_path / vectors.FILE).write_text(text)
    assert len(vectors.findings(tmp_path)) == 1
    assert vectors.well_formed(tmp_path) == []


@pytest.mark.parametrize("change", [{"note": ""}, {"defaults": {"min_run": 1}}, {"about": "text"}])
def test_file_with_unknown_keys_is_a_finding(change: dict[str, Any], tmp_path: Path) -> None:
    whole = {"about": [], "defaults": SHIPPED["defaults"], "cases": [READ_RIGHT], **change}
    (tmp_path / vectors.FILE).write_text(json.dumps(whole))
    assert len(vectors.findings(tmp_path)) == 1


def written(directory: Path, cases: list[dict[str, Any]]) -> Path:
    whole = {"about": [], "defaults": SHIPPED["defaults"], "cases": cases}
    (directory / vectors.FILE).write_text(json.dumps(whole))
    return directory


def test_run_of_another_directory_says_which_case_failed_in_which_fields(tmp_path: Path) -> None:
    wrong = changed(lambda case: (case.update(name="off"), case["expect"].update(downtime_seconds=299)))
    written(tmp_path, [READ_RIGHT, wrong])
    suite = "tests/policies/test_sla_vectors.py"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--vectors", str(tmp_path), suite]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "FAILED off: downtime_seconds is 300, not 299" in ended.stdout
    assert "2 cases: 1 passed, 1 failed" in ended.stdout
