"""``tiergate sla`` as its users meet it: files in, an exit code and words out, and nothing needed besides."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.sla import verify
from policies.sla.canonical import canonical
from policies.sla.evidence import Basis
from policies.sla.export import write
from policies.sla.instants import written
from policies.sla.record import monthly
from tests.gateway.processes import ROOT
from tests.policies.sla_bases import STATUSES, basis_of, calls_of, case_named

MONTH = "late_extension_not_excluded"


@pytest.fixture(scope="module")
def basis() -> Basis:
    return basis_of(case_named(MONTH))


@pytest.fixture
def export(tmp_path: Path, basis: Basis) -> Path:
    return written_to(tmp_path / "acme.jsonl", basis)


@pytest.fixture
def record(tmp_path: Path, basis: Basis) -> Path:
    path = tmp_path / "acme.json"
    path.write_bytes(canonical(monthly(basis)))
    return path


def written_to(path: Path, basis: Basis) -> Path:
    path.write_text("".join(write(basis)), encoding="utf-8")
    return path


def tiergate(*arguments: object) -> subprocess.CompletedProcess[str]:
    """In an empty environment, and in a directory where nothing is."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); from gateway.cli import main; main()",
         "sla", *map(str, arguments)],
        env={}, cwd="/", capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def changed(path: Path, fits: Callable[[dict[str, Any]], bool], change: Callable[[dict[str, Any]], object]) -> int:
    """The line that was changed."""
    lines = path.read_text().splitlines(keepends=True)
    at = next(at for at, line in enumerate(lines) if fits(json.loads(line)))
    value = json.loads(lines[at])
    change(value)
    lines[at] = json.dumps(value) + "\n"
    path.write_text("".join(lines))
    return at + 1


def failing(line: dict[str, Any]) -> bool:
    return line["kind"] == "counters" and line["tenant"] == "acme" and "gateway" in line["failed"]


def test_an_export_confirms_its_record_in_an_empty_environment(export: Path, record: Path) -> None:
    done = tiergate("verify", export, "--record", record)
    assert done.returncode == 0, done.stderr
    assert "acme, 2026-04: 99.8611 %, 3600 s of downtime, missed" in done.stdout
    assert "confirmed: the export holds together and gives the record" in done.stdout
    assert done.stderr == ""


def test_the_counter_that_was_altered_is_named_by_a_process_that_ends_with_1(export: Path, record: Path) -> None:
    before: dict[str, Any] = {}
    line = changed(
        export, failing, lambda row: (before.update(json.loads(json.dumps(row))), row["failed"].update(gateway=7))
    )
    done = tiergate("verify", export, "--record", record)
    assert done.returncode == 1
    assert f"line {line}: the counters of acme, group crm, minute {before['slot']}" in done.stdout
    assert f"gateway is 7 and was {before['failed']['gateway']}" in done.stdout
    assert before["sha256"] in done.stdout
    assert "requests.bad.gateway" in done.stdout


def test_findings_speak_json(export: Path, record: Path) -> None:
    line = changed(export, failing, lambda row: row.update(good=row["good"] + 1))
    done = tiergate("verify", export, "--record", record, "--output", "json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["schema"], found["confirmed"]) == (1, 1, False)
    assert (found["findings"][0]["what"], found["findings"][0]["line"]) == ("row", line)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda text: "", "the file is empty"),
        (lambda text: text[: len(text) // 2], "line "),
        (lambda text: text[:-1], "cut off"),
        (lambda text: "".join(text.splitlines(keepends=True)[:-1]), "header says"),
        (lambda text: text.replace('"slot":"2026-04-15', '"slot":"2026-02-31', 1), "does not exist"),
        (lambda text: "hello\n", "line 1: it is no JSON"),
        (lambda text: "x" * (2 << 20), "line 1: it is longer than"),
    ],
)
def test_what_is_no_export_is_3_with_line_and_reason(export: Path, break_it: Callable[[str], str], said: str) -> None:
    export.write_text(break_it(export.read_text()))
    with pytest.raises(verify.NotReadable, match=said):
        verify.verify(export, None, None)


def test_exit_codes_of_a_file_that_cannot_be_read(tmp_path: Path, export: Path, record: Path) -> None:
    nowhere = tmp_path / "nowhere"
    export.write_bytes(b"\xff\xfe\x00")
    for arguments in ((nowhere,), (export,), (tmp_path,)):
        done = tiergate("verify", *arguments)
        assert done.returncode == 3, done.stderr
        assert str(arguments[0]) in done.stderr
        assert "Traceback" not in done.stderr
    assert tiergate("verify").returncode == 64


@pytest.mark.parametrize("content", ["", "[]", '{"kind":"quarterly"}', '{"kind":"monthly","a":1.5}', "nonsense"])
def test_what_is_no_record_is_refused(export: Path, record: Path, content: str) -> None:
    record.write_text(content)
    with pytest.raises(verify.NotReadable, match="record"):
        verify.verify(export, record, None)


def test_a_record_may_be_written_over_several_lines(export: Path, record: Path) -> None:
    record.write_text(json.dumps(json.loads(record.read_text()), indent=2))
    assert verify.verify(export, record, None).exit_code == 0


def test_another_record_differs_field_by_field(export: Path, record: Path) -> None:
    value = json.loads(record.read_text())
    value["figure"]["downtime_seconds"] = 0
    record.write_text(json.dumps(value))
    answer = verify.verify(export, record, None)
    assert [(each.name, each.claimed, each.found) for each in answer.verified.findings] == [
        ("figure.downtime_seconds", 0, 3600)
    ]
    assert answer.exit_code == 1


# --- the customer's own log ---------------------------------------------------------------------------------------


def log_of(basis: Basis) -> list[dict[str, Any]]:
    """What a customer who saw everything as it was recorded has written down."""
    minutes = (basis.head.period.start_s, basis.head.period.end_s)
    return [
        {"time": f"{written(call.known_us // 1_000_000)}", "status": call.status, "request_id": call.id}
        for call in calls_of(basis, minutes)
    ]


def short(basis: Basis) -> Basis:
    """A quiet month with ten minutes of traffic, so that its log is a small one."""
    rows = [row for row in basis.rows if row.tenant == "acme"][-10:]
    small = tuple(replace(row, counts=replace(row.counts, good=20, failed={}, latency=())) for row in rows)
    return replace(basis, rows=small, acts=())


def reconciled(tmp_path: Path, basis: Basis, log: str) -> Any:
    (tmp_path / "own.log").write_text(log, encoding="utf-8")
    found = verify.verify(written_to(tmp_path / "x.jsonl", basis), None, tmp_path / "own.log")
    assert found.reconciled is not None
    return found


def json_lines(entries: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(each) + "\n" for each in entries)


@pytest.mark.parametrize("with_calls", [True, False])
def test_a_log_that_agrees_has_no_disagreement(tmp_path: Path, basis: Basis, with_calls: bool) -> None:
    quiet = short(basis)
    calls = calls_of(quiet, (quiet.rows[0].slot_s, quiet.rows[-1].slot_s + 60)) if with_calls else ()
    found = reconciled(tmp_path, replace(quiet, calls=calls), json_lines(log_of(quiet)))
    assert found.reconciled.mode == ("calls" if with_calls else "minutes")
    assert found.reconciled.disagreements == ()
    assert found.exit_code == 0


def test_a_log_in_csv_is_the_same(tmp_path: Path, basis: Basis) -> None:
    quiet = short(basis)
    rows = "".join(f"{each['status']},{each['time'].replace('Z', '+00:00')},x\r\n" for each in log_of(quiet))
    found = reconciled(tmp_path, quiet, "\ufeffStatus,Time,note\r\n" + rows)
    assert found.reconciled.entries == 200
    assert found.exit_code == 0


@pytest.mark.parametrize("with_calls", [True, False])
def test_failures_that_nobody_recorded_are_worth_their_downtime(tmp_path: Path, basis: Basis, with_calls: bool) -> None:
    """Five minutes in which the customer saw a balancer's 502: together they would be downtime, and each is needed."""
    quiet = short(basis)
    calls = calls_of(quiet, (quiet.rows[0].slot_s, quiet.rows[-1].slot_s + 60)) if with_calls else ()
    log = log_of(quiet)
    slots = [written(row.slot_s) for row in quiet.rows[2:7]]
    seen = [{**each, "status": 502} if each["time"] in slots else each for each in log]
    found = reconciled(tmp_path, replace(quiet, calls=calls), json_lines(seen))
    reasons = {each.reason for each in found.reconciled.disagreements}
    assert reasons == {"status_differs"} if with_calls else {"more_failures_in_log"}
    assert {each.effect_s for each in found.reconciled.disagreements} == {300}
    assert found.reconciled.yours.downtime_seconds - found.reconciled.recorded.downtime_seconds == 300
    assert found.exit_code == 1
    assert "effect +300 s" in verify.as_text(found)


def test_requests_that_one_side_has_not_are_named_one_by_one(tmp_path: Path, basis: Basis) -> None:
    quiet = short(basis)
    quiet = replace(quiet, calls=calls_of(quiet, (quiet.rows[0].slot_s, quiet.rows[-1].slot_s + 60)))
    log = log_of(quiet)
    log[5:6] = []
    log.append({**log[6], "request_id": "ghost", "status": None})
    log.append(dict(log[6]))
    found = reconciled(tmp_path, quiet, json_lines(log))
    assert {(each.reason, each.request_id) for each in found.reconciled.disagreements} == {
        ("not_in_log", quiet.calls[5].id), ("not_in_export", "ghost"), ("twice_in_log", log[6]["request_id"]),
    }  # fmt: skip


def test_clocks_that_differ_by_a_moment_are_no_missing_requests(tmp_path: Path, basis: Basis) -> None:
    quiet = short(basis)
    log = log_of(quiet)
    log[20]["time"] = written(quiet.rows[0].slot_s + 59)
    found = reconciled(tmp_path, quiet, json_lines(log))
    assert {each.reason for each in found.reconciled.disagreements} == {"minute_edge"}


def test_failures_that_the_customer_did_not_see_stay_counted(tmp_path: Path, basis: Basis) -> None:
    log = [{**each, "status": 200} for each in log_of(basis)]
    found = reconciled(tmp_path, basis, json_lines(log))
    assert {each.reason for each in found.reconciled.disagreements} == {"fewer_failures_in_log"}
    assert found.reconciled.yours == found.reconciled.recorded


def test_the_upstreams_failure_is_no_unseen_one(tmp_path: Path, basis: Basis) -> None:
    quiet = short(basis)
    first = replace(quiet.rows[0], counts=replace(quiet.rows[0].counts, failed={"third_party": 3, "own_limit": 2}))
    quiet = replace(quiet, rows=(first, *quiet.rows[1:]))
    assert STATUSES["own_limit"] == 429
    assert reconciled(tmp_path, quiet, json_lines(log_of(quiet))).exit_code == 0


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ('{"time": "2026-04-15T02:00:00", "status": 200}\n', "line 1: time .* has no zone"),
        ('{"time": "2026-02-31T02:00:00Z", "status": 200}\n', "line 1: time .* does not exist"),
        ('{"time": "2026-04-15T02:00:00Z", "status": 700}\n', "line 1: status 700"),
        ('{"time": "2026-04-15T02:00:00Z"}\n', "line 1: it has no status"),
        ('{"time": "2026-04-15T02:00:00Z", "status": 200}\n[]\n', "line 2: it is no JSON object"),
        ("when,status\n1,200\n", "line 1: it names 0 columns of time"),
        ("time,ts,status\n1,1,200\n", "line 1: it names 2 columns of time"),
        ("time,status\n2026-04-15T02:00:00Z\n", "line 2: it has 1 columns"),
        ('time,status\n2026-04-15T02:00:00Z,"200\n', "it is no CSV"),
    ],
)
def test_a_log_that_cannot_be_read_is_3_with_line_and_reason(tmp_path: Path, basis: Basis, log: str, said: str) -> None:
    with pytest.raises(verify.NotReadable, match=said):
        reconciled(tmp_path, short(basis), log)


def test_a_log_of_another_month_is_not_said_to_agree(tmp_path: Path, basis: Basis) -> None:
    with pytest.raises(verify.NotUsable, match="none of the 1 requests of your log lies in 2026-04"):
        reconciled(tmp_path, short(basis), '{"time": "2026-07-15T02:00:00Z", "status": 200}\n')


def test_an_empty_log_is_no_disagreement_and_no_crash(tmp_path: Path, basis: Basis) -> None:
    assert reconciled(tmp_path, basis, "").reconciled.entries == 0


def test_what_could_steer_a_terminal_is_shown_and_not_sent(export: Path) -> None:
    changed(export, lambda line: line["kind"] == "act", lambda act: act.update(actor="\x1b[2Jroot"))
    text = verify.as_text(verify.verify(export, None, None))
    assert "\x1b" not in text
    assert r"\x1b[2Jroot" in text
