"""What the suite of vectors refuses, and that ``--vectors DIR`` says so with its exit code (RULINGS 28)."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.upstreams import throttle_vectors as vectors

ROOT = Path(__file__).resolve().parents[2]
SUITE = "tests/upstreams/test_throttle_vectors.py"
READ_RIGHT: dict[str, Any] = {
    "id": "plain",
    "provider": "generic",
    "request_host": "api.example.com",
    "response": {"status": 429, "headers": [["Retry-After", "7"]], "body": None},
    "now_unix": 1790000000,
    "expect": {
        "throttled": True, "limit": None, "remaining": None, "reset_seconds": None, "retry_after_seconds": 7,
        "window_seconds": None,
    },
    "class": "quota",
}  # fmt: skip


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    case = copy.deepcopy(READ_RIGHT)
    change(case)
    return case


MALFORMED: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("unknown class quotas", lambda case: case.update({"class": "quotas"})),
    ("the case has an unknown key clas", lambda case: case.update(clas="quota")),
    ("the case has no now_unix", lambda case: case.pop("now_unix")),
    ("response has an unknown key trailers", lambda case: case["response"].update(trailers=[])),
    ("response has no status", lambda case: case.update(response=[])),
    ("expect has an unknown key wait", lambda case: case["expect"].update(wait=7)),
    ("expect has no limit", lambda case: case["expect"].pop("limit")),
    ("limit is neither a count nor null", lambda case: case["expect"].update(limit=-1)),
    ("limit is neither a count nor null", lambda case: case["expect"].update(limit=True)),
    ("throttled is neither true nor false", lambda case: case["expect"].update(throttled=None)),
    ("headers are not pairs of text", lambda case: case["response"].update(headers=[["a", 1]])),
    ("headers are not pairs of text", lambda case: case["response"].update(headers={"a": "1"})),
    ("status is no integer", lambda case: case["response"].update(status="429")),
    ("id is no text", lambda case: case.update(id=1)),
]


@pytest.mark.parametrize(("said", "change"), MALFORMED, ids=[said for said, _ in MALFORMED])
def test_case_of_unknown_form_is_a_finding(said: str, change: Callable[[dict[str, Any]], Any]) -> None:
    assert said in "\n".join(vectors.complaints(changed(change)))


def test_case_of_known_form_is_none(tmp_path: Path) -> None:
    assert vectors.findings(written(tmp_path, [READ_RIGHT])) == []


def test_id_that_comes_twice_is_a_finding(tmp_path: Path) -> None:
    assert vectors.findings(written(tmp_path, [READ_RIGHT, READ_RIGHT])) == ["plain: the id comes twice"]


@pytest.mark.parametrize("text", ["[]", "{}", "[1]", "[", "null"])
def test_file_without_cases_is_a_finding(text: str, tmp_path: Path) -> None:
    (tmp_path / vectors.FILE).write_text(text)
    assert len(vectors.findings(tmp_path)) == 1
    assert vectors.well_formed(tmp_path) == []


def test_directory_without_a_known_file_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "others.json").write_text(json.dumps([READ_RIGHT]))
    assert vectors.findings(tmp_path) == [f"{tmp_path} holds none of throttle.json, sla.json"]


def written(directory: Path, cases: list[dict[str, Any]]) -> Path:
    (directory / vectors.FILE).write_text(json.dumps(cases))
    return directory


def run(directory: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--vectors", str(directory), SUITE]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stdout


def test_run_of_another_directory_says_which_case_failed_in_which_fields(tmp_path: Path) -> None:
    wrong = changed(lambda case: (case.update(id="off"), case["expect"].update(retry_after_seconds=8, limit=1)))
    code, said = run(written(tmp_path, [READ_RIGHT, wrong]))
    assert code == 1
    assert "FAILED off: limit is None, not 1; retry_after_seconds is 7, not 8" in said
    assert "2 cases: 1 passed, 1 failed" in said


def test_run_of_a_directory_without_vectors_fails(tmp_path: Path) -> None:
    code, said = run(tmp_path)
    assert code == 1
    assert "holds none of throttle.json, sla.json" in said


def test_run_in_which_every_case_passes_succeeds(tmp_path: Path) -> None:
    code, said = run(written(tmp_path, [READ_RIGHT]))
    assert (code, "1 cases: 1 passed, 0 failed" in said) == (0, True)
