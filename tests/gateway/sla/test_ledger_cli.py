"""export, report, status and close as an operator meets them, and what the customer makes of the files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.command_line import UsageError
from gateway.ledger.database import Database
from gateway.ledger.store import RETENTION_S
from gateway.settings import Settings
from gateway.sla import close_cli, ledger_cli, report_cli
from gateway.sla.ledger import opened
from gateway.sla.report_cli import file_name
from policies.sla.evidence import Basis, Call
from policies.sla.instants import written, written_us
from policies.sla.period import month_at, months_before, period
from tests.gateway.processes import ROOT
from tests.gateway.sla.ledgers import DAY, HOUR, MINUTE, PLAN, act, counted, ledger, life, minutes, recorded, store
from tests.gateway.sla.test_verify import tiergate as in_an_empty_environment

DEMO = ROOT / "policies" / "examples" / "demo"
RUNNER = CliRunner()
NOW = 1_781_172_000
"""2026-06-11, the clock of these commands; acts are dated by the real one, which is later."""
MONTH = "2026-04"
APRIL = period(MONTH)
NOON = APRIL.start_s + 10 * DAY + 12 * HOUR


@pytest.fixture(autouse=True)
def the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, NOW)


def set_clock(monkeypatch: pytest.MonkeyPatch, at_s: int) -> None:
    for module in (ledger_cli, close_cli, report_cli):
        monkeypatch.setattr(module, "now_s", lambda: at_s)


class Operator:
    """Somebody with the demo's policies and a ledger, who types commands."""

    def __init__(self, home: Path, url: str) -> None:
        self.home, self.url = home, url
        self.policies = home / "policy"
        shutil.copytree(DEMO, self.policies)
        self.env = {
            "TIERGATE_POLICIES": str(self.policies), "TIERGATE_STATE_DIR": str(home / "state"),
            "TIERGATE_LEDGER_URL": url,
        }  # fmt: skip

    def run(self, *arguments: object, code: int = 0) -> str:
        """What is printed, errors behind the rest."""
        done = RUNNER.invoke(app, ["sla", *map(str, arguments)], env=self.env)
        if isinstance(done.exception, UsageError):
            assert code == 64, done.exception
            return str(done.exception)
        assert done.exit_code == code, (done.output, done.exception)
        return done.stdout + done.stderr

    def json(self, *arguments: object, code: int = 0) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.run(*arguments, "--output", "json", code=code))
        return answer


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path, f"sqlite:///{tmp_path / 'ledger.sqlite'}")


@pytest.fixture
def anywhere(tmp_path: Path, url: str) -> Operator:
    """On each kind of database."""
    return _busy(Operator(tmp_path, url))


@pytest.fixture
def busy(operator: Operator) -> Operator:
    return _busy(operator)


def _busy(operator: Operator) -> Operator:
    """An April with fifty bad minutes, and a gateway that lives until now."""
    rows = [*minutes(NOON, 50, ok=10, gateway=5), *minutes(NOON, 70, "globex", "code", ok=40, gateway=20)]
    store(operator.url, rows, [life(APRIL.start_s - 2 * DAY, NOW)])
    return operator


# --- export -------------------------------------------------------------------------------------------------------


def test_an_export_is_confirmed_by_somebody_who_has_nothing_else(anywhere: Operator) -> None:
    export, record = anywhere.home / "acme.jsonl", anywhere.home / "acme.json"
    anywhere.run("export", "acme", MONTH, "--out", export)
    anywhere.run("report", "acme", MONTH, "--out", record)
    done = in_an_empty_environment("verify", export, "--record", record)
    assert done.returncode == 0, done.stdout
    assert "4200 s of downtime, missed" in done.stdout  # fifty minutes of its own, twenty inherited
    text = export.read_text()
    export.write_text(text.replace('"good":10,', '"good":11,', 1))
    done = in_an_empty_environment("verify", export)
    assert done.returncode == 1
    assert "good is 11 and was 10" in done.stdout


def test_the_platforms_export_is_everybodys_sum(busy: Operator) -> None:
    lines = [json.loads(line) for line in busy.run("export", "--platform", MONTH).splitlines()]
    assert lines[0]["tenant"] is None
    assert sum(line["good"] for line in lines if line["kind"] == "counters") == 50 * 10 + 70 * 40


def test_calls_of_the_access_log_reconcile_request_by_request(busy: Operator) -> None:
    calls = [_call(f"r{at}-{n}", at, "gateway" if n < 5 else "ok") for at in range(50) for n in range(15)]
    log = busy.home / "access.log"
    lines = [_log_line(each, "acme") for each in calls] + [_log_line(_call("g", 0, "ok"), "globex"), "no json"]
    log.write_text("\n".join(lines) + "\n")
    export = busy.home / "acme.jsonl"
    said = busy.run("export", "acme", MONTH, "--out", export, "--access-log", log)
    assert "1 lines of the access log are no evidence" in said
    mine = busy.home / "mine.csv"
    seen = [f"{written_us(each.known_us)},{each.status},{each.id}" for each in calls]
    seen[700] = seen[700].replace(",200,", ",500,")
    mine.write_text("time,status,request_id\n" + "\n".join(seen) + "\n")
    done = in_an_empty_environment("verify", export, "--my-log", mine)
    assert done.returncode == 1
    assert "750 requests, compared request by request" in done.stdout
    assert "1 x status_differs" in done.stdout
    assert calls[700].id in done.stdout


def test_where_the_access_log_does_not_reach_minutes_are_compared(busy: Operator) -> None:
    calls = [_call(f"r{at}-{n}", at, "gateway" if n < 5 else "ok") for at in range(50) for n in range(15)]
    log = busy.home / "access.log"
    log.write_text("".join(f"{_log_line(each, 'acme')}\n" for each in calls[:300]))  # of the first twenty minutes
    export, mine = busy.home / "acme.jsonl", busy.home / "mine.csv"
    busy.run("export", "acme", MONTH, "--out", export, "--access-log", log)
    seen = [f"{written_us(each.known_us)},{each.status},{each.id}\n" for each in calls]
    mine.write_text("time,status,request_id\n" + "".join(seen))
    done = in_an_empty_environment("verify", export, "--my-log", mine)
    assert done.returncode == 0, done.stdout
    assert "request by request, 450 of them minute by minute" in done.stdout
    mine.write_text("time,status,request_id\n" + "".join(seen[:-1]))
    done = in_an_empty_environment("verify", export, "--my-log", mine)
    assert "1 x fewer_requests_in_log" in done.stdout


def test_minutes_whose_lines_do_not_add_up_are_left_out(busy: Operator) -> None:
    log = busy.home / "access.log"
    calls = [_call(f"r{at}-{n}", at, "gateway" if n < 5 else "ok") for at in range(2) for n in range(15)]
    log.write_text("".join(f"{_log_line(each, 'acme')}\n" for each in calls[:-1]))
    export = busy.home / "acme.jsonl"
    assert "1 minutes were left out" in busy.run("export", "acme", MONTH, "--out", export, "--access-log", log)
    kinds = [json.loads(line)["kind"] for line in export.read_text().splitlines()]
    assert kinds.count("call") == 15
    assert in_an_empty_environment("verify", export).returncode == 0


def test_a_connection_failure_that_was_the_egress_is_listed_as_it_was_counted(operator: Operator) -> None:
    store(operator.url, [counted(NOON, ok=1, gateway=1, managed_upstream=1)], [life(APRIL.start_s - DAY, NOW)])
    log = operator.home / "access.log"
    calls = [_call("a", 0, "ok"), _call("b", 0, "managed_upstream"), _call("c", 0, "managed_upstream")]
    lines = [_log_line(each, "acme", phase="upstream_connect" if each.id == "c" else "upstream_wait") for each in calls]
    log.write_text("\n".join(lines) + "\n")
    text = operator.run("export", "acme", MONTH, "--access-log", log)
    listed = {
        line["request_id"]: line["cause"] for line in map(json.loads, text.splitlines()) if line["kind"] == "call"
    }
    assert listed == {"a": "ok", "b": "managed_upstream", "c": "gateway"}


def _call(id: str, minute: int, cause: str) -> Call:
    at_us = (NOON + minute * MINUTE) * 1_000_000 + 7
    return Call(id=id, known_us=at_us, status=200 if cause == "ok" else 503, group="crm", cause=cause)


def _log_line(call: Call, tenant: str, **more: object) -> str:
    line = {
        "ts": written_us(call.known_us), "request_id": call.id, "tenant": tenant, "status": call.status,
        "known_us": call.known_us, "group": call.group, "cause": call.cause, **more,
    }  # fmt: skip
    return json.dumps(line)


# --- report -------------------------------------------------------------------------------------------------------


def test_a_closed_month_is_reported_as_it_was_published(anywhere: Operator) -> None:
    anywhere.run("close", MONTH)
    store(anywhere.url, minutes(NOON + 2 * HOUR, 10, gateway=9), ())
    published = json.loads(anywhere.run("report", "acme", MONTH))
    now = json.loads(anywhere.run("report", "acme", MONTH, "--provisional"))
    assert (published["revision"], published["figure"]["downtime_seconds"]) == (1, 4_200)
    assert (now["revision"], now["figure"]["downtime_seconds"]) == (2, 4_800)
    said = anywhere.run("export", "acme", MONTH, "--out", anywhere.home / "x.jsonl")
    assert "have changed since revision 1 was published" in said


def test_a_quarter_is_made_of_its_months(operator: Operator) -> None:
    quarter = period("2026-Q1")
    store(operator.url, minutes(quarter.start_s + DAY, 10, gateway=9), [life(quarter.start_s - DAY, NOW)])
    record = json.loads(operator.run("report", "acme", "2026-Q1"))
    assert [each["period"] for each in record["months"]] == ["2026-01", "2026-02", "2026-03"]
    assert record["figure"]["downtime_seconds"] == 600
    page = operator.run("report", "acme", "2026-Q1", "--format", "html")
    assert "Quarterly service level report" in page


def test_all_reports_go_into_a_directory(busy: Operator) -> None:
    out = busy.home / "reports"
    said = busy.run("report", "--all", MONTH, "--format", "csv", "--out", out)
    assert sorted(path.name for path in out.iterdir()) == [
        f"acme-{MONTH}.csv", f"globex-{MONTH}.csv", f"initech-{MONTH}.csv", f"platform-{MONTH}.csv",
    ]  # fmt: skip
    assert f"4 reports of {MONTH}" in said


def test_no_two_tenants_share_a_file_and_no_name_leaves_the_directory() -> None:
    names = ("acme", "a/c", "a_c", "../../etc", "platform", "ACME", None, "x" * 300, "x" * 301)
    made = [file_name(name, MONTH, "csv") for name in names]
    assert len(set(made)) == len(made)
    assert all("/" not in each and len(each) < 120 for each in made)


# --- status -------------------------------------------------------------------------------------------------------


def test_status_says_what_is_left_in_words(operator: Operator) -> None:
    month = month_at(NOW, "UTC")
    rows = minutes(month.start_s + DAY, 30, ok=1, gateway=9)
    store(operator.url, rows, [life(month.start_s - DAY, NOW)])
    said = operator.run("status", "acme")
    assert said.startswith("acme: up\n")
    assert "downtime 30 min, budget: 13 min 12 s of 43 min 12 s left" in said  # 0.1 % of all of June
    each = operator.json("status")["standings"]
    assert [standing["tenant"] for standing in each] == [None, "acme", "globex", "initech"]
    assert each[1]["downtime_budget"] == {"seconds": 2_592, "used_seconds": 1_800, "left_seconds": 792}
    assert each[2]["downtime_budget"] is None  # basic: nothing was promised


@pytest.mark.parametrize(
    ("bad", "alive_until", "state"),
    [(0, NOW, "up"), (3, NOW, "degraded"), (6, NOW, "down"), (0, NOW - 1_000, "dark")],
)
def test_the_state_is_that_of_the_last_closed_slots(operator: Operator, bad: int, alive_until: int, state: str) -> None:
    known = (NOW - 120) // MINUTE * MINUTE
    rows = [counted(known - 20 * MINUTE, ok=5), *minutes(known - bad * MINUTE, bad, gateway=9)]
    store(operator.url, rows, [life(month_at(NOW, "UTC").start_s - DAY, alive_until)])
    standing = operator.json("status", "acme")["standings"][0]
    assert standing["state"] == state
    if bad:
        assert standing["since"] == written(known - bad * MINUTE)  # back-dated


def test_the_internal_objective_is_for_operators_alone(busy: Operator) -> None:
    tiers = busy.policies / "tiers.yaml"
    stricter = 'sla: {target: 99.9%, internal: {target: 99.97%, latency: ["99% under 50ms"]}'
    tiers.write_text(tiers.read_text().replace("sla: {target: 99.9%", stricter))
    standing = busy.json("status", "acme")["standings"][0]
    assert (standing["internal"]["target_percent"], standing["internal"]["met"]) == ("99.97", True)
    said = busy.run("status", "acme")
    assert "internal objective 99.97 %: met" in said
    assert "internal objective 99 % under 50 ms: no data" in said
    for arguments in (
        ("export", "acme", MONTH),
        ("report", "acme", MONTH),
        ("report", "acme", MONTH, "--format", "html"),
    ):
        assert "99.97" not in busy.run(*arguments)


def test_what_waits_and_what_is_claimed_is_said(busy: Operator) -> None:
    content = {
        "type": "force_majeure", "from": written(NOON), "to": written(NOON + 600), "reason": "storm", "evidence": "x",
    }  # fmt: skip
    june = {"from": written(NOW - HOUR), "to": written(NOW - 600)}
    told = [
        act("exclude", NOW - 500, {"id": "storm-1", **content}),
        act("exclude", NOW - 400, {"id": "storm-2", **content, **june}),
    ]
    recorded(ledger(busy.url, (), ()), *told)
    assert busy.json("status", "acme")["standings"][0]["pending_exclusions"] == ["storm-1", "storm-2"]
    busy.run("close", MONTH, "--actor", "service-manager")
    busy.run("close", "2026-05", "--actor", "service-manager")
    standing = busy.json("status", "acme")["standings"][0]
    assert standing["pending_exclusions"] == ["storm-2"]
    assert [(each["period"], each["state"]) for each in standing["claims"]] == [(MONTH, "eligible")]
    assert standing["last_closed"]["period"] == "2026-05"


# --- close --------------------------------------------------------------------------------------------------------


def test_a_month_is_closed_for_all_and_then_only_revised(anywhere: Operator) -> None:
    said = anywhere.run("close", MONTH, "--actor", "service-manager")
    assert said.count("revision 1 published") == 4
    assert "acme, 2026-04: revision 1 published (99.8379 %, 4200 s of downtime, missed, credit 10 %)" in said
    assert anywhere.run("close", MONTH, "--actor", "service-manager").count("unchanged since revision 1") == 4
    store(anywhere.url, minutes(NOON + 2 * HOUR, 10, gateway=9), ())
    changed = anywhere.json("close", MONTH, "--tenant", "acme", "--actor", "service-manager")["closings"][0]
    assert (changed["step"], changed["favours"], changed["published"]) == ("applies", "customer", True)
    store(anywhere.url, minutes(NOON, 60, ok=900, replica="b"), ())
    refused = anywhere.run("close", MONTH, "--tenant", "acme", "--actor", "service-manager", code=1)
    assert "revision 3 not published" in refused
    assert "--approve" in refused
    anywhere.run("close", MONTH, "--tenant", "acme", "--approve", "--actor", "service-manager", code=1)
    anywhere.run("close", MONTH, "--tenant", "acme", "--approve", "--actor", "lead")
    assert json.loads(anywhere.run("report", "acme", MONTH))["revision"] == 3


def test_a_dry_run_publishes_nothing(busy: Operator) -> None:
    assert "not published" in busy.run("close", MONTH, "--dry-run")
    assert busy.json("status", "acme")["standings"][0]["last_closed"] is None


def test_a_month_that_is_not_final_is_closed_on_request_alone(busy: Operator) -> None:
    early = month_at(NOW, "UTC").name
    assert "nothing can be closed before" in busy.run("close", early, "--early", code=1)
    assert "five days" not in busy.run("close", months_before(early, 1))  # it ended ten days ago


def test_a_fee_makes_the_credit_an_amount_and_stays_in_revisions(busy: Operator) -> None:
    busy.run("close", MONTH, "--tenant", "acme", "--fee", "4800.00 EUR", "--actor", "service-manager")
    assert json.loads(busy.run("report", "acme", MONTH))["credit"]["amount"] == "480.00"
    assert "unchanged" in busy.run("close", MONTH, "--tenant", "acme", "--actor", "service-manager")
    assert "no amount" in busy.run("close", MONTH, "--tenant", "acme", "--fee", "many", code=64)
    assert "--fee is one tenant's" in busy.run("close", MONTH, "--fee", "1.00 EUR", code=64)


# --- what cannot be answered --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("export", "acmee", MONTH), "did you mean 'acme'"),
        (("export", "acme", "2026-07"), "2026-07 has not begun"),
        (("export", "acme"), "say TENANT MONTH"),
        (("export", "acme", "October"), "'October' is no month like 2026-10"),
        (("export", "acme", "2026-13"), "is no month"),
        (("export", "acme", "2026-Q1"), "is no month"),
        (("export", "--platform", MONTH, "--access-log", "/dev/null"), "goes with a tenant"),
        (("close", "2026-Q1"), "is no month"),
        (("report",), "say TENANT MONTH"),
        (("report", "acme", "globex", MONTH), "say TENANT MONTH"),
        (("report", "--all", MONTH), "--out DIRECTORY"),
        (("status", "nobody"), "is no tenant of this ledger"),
    ],
)
def test_what_cannot_be_asked_is_64_and_says_what_can(busy: Operator, arguments: tuple[str, ...], said: str) -> None:
    assert said in busy.run(*arguments, code=64)


def test_where_no_ledger_is_none_is_made(tmp_path: Path) -> None:
    operator = Operator(tmp_path, f"sqlite:///{tmp_path / 'nowhere.sqlite'}")
    assert "there is no ledger at" in operator.run("status", code=64)
    assert not (tmp_path / "nowhere.sqlite").exists()


def test_a_ledger_of_a_newer_version_is_left_alone(anywhere: Operator) -> None:
    database = Database(anywhere.url)
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE schema_version SET version = 99")
    database.close()
    assert "was written by a newer Tiergate" in anywhere.run("export", "acme", MONTH, code=3)


def test_a_ledger_that_was_truncated_is_3_and_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    operator = Operator(tmp_path, f"sqlite:///{path}")
    store(operator.url, minutes(NOON, 2_000, ok=1), [life(APRIL.start_s, NOW)]).close()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "the ledger cannot be read" in operator.run("export", "acme", MONTH, code=3)


def test_policies_that_cannot_be_read_are_3_with_their_place(busy: Operator) -> None:
    (busy.policies / "sla.yaml").write_text("sla: {target: 7 apples}\n")
    said = busy.run("status", code=3)
    assert "sla.yaml:1" in said
    assert "tiergate check" in said


def test_tenants_without_terms_are_named_and_do_not_stop_the_others(busy: Operator) -> None:
    store(busy.url, [counted(NOON, "evil\x1b[31m", ok=1), counted(NOON, "anonymous:basic", ok=1)], ())
    said = busy.run("status")
    assert "no terms are known of evil\\x1b[31m" in said
    assert "\x1b" not in said
    assert "acme: up" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("acme",), "no month is named: say acme 2026-10"),
        (("acme", "October"), "'October' is no month: say acme 2026-10"),
    ],
)
def test_a_tenant_without_a_month_is_told_how_to_name_one(
    operator: Operator, words: tuple[str, ...], said: str
) -> None:
    assert said in operator.run("report", *words, code=64)


def test_an_export_that_is_not_there_is_a_file_that_is_not_there(operator: Operator) -> None:
    assert "acme.jsonl: No such file" in operator.run("report", "acme.jsonl", code=3)


def test_an_empty_ledger_has_no_data(operator: Operator) -> None:
    store(operator.url, (), ())
    assert "no data" in operator.run("status", "acme")
    assert "acme, 2026-04: revision 1 published (no data)" in operator.run("close", MONTH)
    assert json.loads(operator.run("report", "acme", MONTH))["figure"]["verdict"] == "no_data"


def test_the_rows_of_a_basis_are_all_the_tenants(busy: Operator) -> None:
    found = opened(Settings(ledger_url=busy.url), PLAN)
    try:
        basis: Basis = found.current("acme", MONTH, NOW)
    finally:
        found.close()
    assert {row.tenant for row in basis.rows} == {"acme", None}


def test_of_a_month_that_may_be_forgotten_no_figure_is_made(
    busy: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Its first days, and what was down in them, are gone: what is left would be a better month."""
    busy.run("close", MONTH, "--tenant", "globex")
    whole = busy.run("report", "globex", MONTH)
    kept_until_s = APRIL.start_s - DAY + RETENTION_S
    for late_s, code in ((0, 0), (1, 0), (DAY, 64)):
        set_clock(monkeypatch, kept_until_s + late_s)
        said = busy.run("close", MONTH, "--tenant", "globex", "--dry-run", code=code)
    assert "are forgotten: no figure is made of what is left" in said
    assert "are forgotten" in busy.run("report", "acme", MONTH, code=64)
    assert busy.run("report", "globex", MONTH) == whole
