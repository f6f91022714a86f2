"""What ``tiergate check``, ``schema`` and ``explain`` print, and how they exit."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

import policies.format
from gateway.check import INVALID, OK, OUTPUTS, UNREADABLE, USAGE, explain_code, run_check, run_schema, sections
from policies.format.kinds import KINDS

JWT = "auth: {jwt: {issuer: 'https://id', audience: a, algorithms: [ES256], jwks: 'https://id/keys'}}\n"
GOOD = JWT + "tiers: {basic: {limits: {minute: 60/min}}}\ntenants: {acme: {tier: basic}}\n"
BAD = "tiers:\n  basic:\n    limit: {minute: 60/min}\ntenants: {acme: {tier: basik}}\n" + JWT


def check(directory: Path, output: str = "text") -> tuple[int, str]:
    out = io.StringIO()
    return run_check(directory, output, out, {}), out.getvalue()


def test_a_good_set_exits_0_and_says_what_was_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    code, text = check(tmp_path)
    assert code == OK
    assert text.startswith("0 errors, 0 warnings in 1 file · 1 tenant, policy ")


def test_warnings_alone_exit_0(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD + "upstreams: {idle: {url: http://h}}\n")
    code, text = check(tmp_path)
    assert code == OK
    assert "0 errors, 1 warning in 1 file" in text


def test_an_error_exits_1_with_all_findings_and_a_summary(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(BAD)
    code, text = check(tmp_path)
    assert code == INVALID
    assert f"{tmp_path}/a.yaml:3:5: error[TG103 unknown-key]: tiers.basic.limit: 'limit' is not a setting\n" in text
    assert "       |     ^^^^^ did you mean 'limits'?\n" in text
    assert f"{tmp_path}/a.yaml:4:24: error[TG201 unknown-name]: " in text
    assert text.endswith("2 errors, 0 warnings in 1 file · tiergate explain TG103\n")


def test_a_missing_directory_exits_3(tmp_path: Path) -> None:
    code, text = check(tmp_path / "nowhere")
    assert code == UNREADABLE
    assert text == f"{tmp_path / 'nowhere'}: this directory cannot be read: No such file or directory\n"


def test_json_output_is_one_document_with_a_schema_number(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(BAD)
    code, text = check(tmp_path, "json")
    made = json.loads(text)
    assert code == INVALID
    assert (made["schema"], made["ok"], made["errors"], made["warnings"], made["policy"]) == (1, False, 2, 0, None)
    assert made["findings"][0] == {
        "file": f"{tmp_path}/a.yaml", "line": 3, "column": 5, "code": "TG103", "slug": "unknown-key",
        "severity": "error", "message": "'limit' is not a setting", "hint": "did you mean 'limits'?",
        "path": "tiers.basic.limit", "span": 5,
    }  # fmt: skip


def test_annotations_are_workflow_commands(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(BAD)
    _, text = check(tmp_path, OUTPUTS[2])
    assert text.splitlines()[0].startswith("::error file=")


def test_an_unknown_output_is_a_usage_error(tmp_path: Path) -> None:
    code, text = check(tmp_path, "jsn")
    assert code == USAGE
    assert "did you mean 'json'?" in text


def test_the_schema_is_printed_as_json() -> None:
    out = io.StringIO()
    assert run_schema(out) == OK
    assert json.loads(out.getvalue())["$schema"] == "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize("code", sorted(KINDS))
def test_every_code_is_explained(code: str) -> None:
    text = explain_code(code)
    assert text is not None
    assert KINDS[code].slug in text


def test_a_code_that_does_not_exist_is_none() -> None:
    assert explain_code("TG999") is None
    assert explain_code("tg103") == explain_code("103") == explain_code("TG103")


def test_every_section_of_the_findings_page_is_a_code_with_its_slug() -> None:
    page = (Path(next(iter(policies.format.__path__))) / "findings.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", page, flags=re.MULTILINE)
    assert headings == [f"{code} {kind.slug}" for code, kind in sorted(KINDS.items())]
    assert all(len(text) > 80 for text in sections().values())


def test_an_explanation_shows_wrong_and_right() -> None:
    text = explain_code("TG103") or ""
    assert "wrong:" in text
    assert "right:" in text
    assert "TG104" not in text


def test_the_summary_counts_the_files_that_were_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(BAD)
    (tmp_path / "b.yaml").write_text("version: 1\n")
    assert check(tmp_path)[1].endswith("2 errors, 0 warnings in 2 files · tiergate explain TG103\n")
