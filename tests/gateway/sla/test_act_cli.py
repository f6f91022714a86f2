"""The commands that record acts, as an operator meets them: arguments in, words and exit codes out."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from gateway.cli import app
from gateway.command_line import UsageError
from gateway.ledger.cells import WIDTH, Row, packed
from gateway.ledger.database import Database
from gateway.ledger.store import Store
from gateway.settings import Settings
from gateway.sla import log_book, recording
from gateway.sla.effects import effects, terms_by_promise
from policies.sla.acts import requests
from policies.sla.adverse import Change
from policies.sla.chain import Act, Link, append
from policies.sla.publication import said as change_said
from policies.sla.scope import groups_served_by
from tests.gateway.ledger.recording import NOON_S
from tests.gateway.processes import ROOT
from tests.policies.sla_log import Log, at, promises
from tests.policies.sla_log import closing as closing_act

DEMO = ROOT / "policies" / "examples" / "demo"
RUNNER = CliRunner()


class Operator:
    """Somebody with a ledger of his own, who types commands."""

    def __init__(self, home: Path) -> None:
        self.policies = home / "policy"
        shutil.copytree(DEMO, self.policies)
        self.url = f"sqlite:///{home / 'ledger.sqlite'}"
        self.env = {
            "TIERGATE_POLICIES": str(self.policies), "TIERGATE_STATE_DIR": str(home / "state"),
            "TIERGATE_LEDGER_URL": self.url,
        }  # fmt: skip
        self.settings = Settings(state_dir=home / "state", ledger_url=self.url, policies=self.policies)

    def run(self, *arguments: str, code: int = 0, by: str | None = "on-call") -> str:
        """All that is printed, its end as expected."""
        return "".join(self._run(arguments, code, by))

    def _run(self, arguments: tuple[str, ...], code: int, by: str | None) -> tuple[str, str]:
        who = ["--actor", by] if by is not None and arguments[0] not in ("acts",) else []
        done = RUNNER.invoke(app, ["sla", *arguments, *who], env=self.env)
        if isinstance(done.exception, UsageError):
            assert code == 64, done.exception
            return "", str(done.exception)
        assert done.exit_code == code, (done.output, done.exception)
        return done.stdout, done.stderr

    def json(self, *arguments: str, code: int = 0, by: str | None = "on-call") -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._run((*arguments, "--output", "json"), code, by)[0])
        return answer

    @property
    def links(self) -> tuple[Link, ...]:
        return log_book.links(self.settings)

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.policies / file
        before = path.read_text()
        assert old in before
        path.write_text(before.replace(old, new))


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


def ahead(**by: float) -> str:
    return (datetime.now(UTC).replace(microsecond=0) + timedelta(**by)).isoformat()


def month(ahead_: int) -> str:
    """The name of the month so many months from now."""
    now = datetime.now(UTC)
    number = now.year * 12 + now.month - 1 + ahead_
    return f"{number // 12}-{number % 12 + 1:02}"


# --- announcements --------------------------------------------------------------------------------------------------


def test_maintenance_that_is_announced_in_time_will_be_excluded(operator: Operator) -> None:
    said = operator.run("announce", "m", "--from", ahead(hours=49), "--to", ahead(hours=50), "--note", "database")
    assert "recorded as act 1" in said
    assert "it will exclude: announced 48:59" in said or "it will exclude: announced 49:00" in said
    (link,) = operator.links
    assert (link.act.actor, link.act.content["note"]) == ("on-call", "database")


def test_late_notice_is_recorded_and_said_with_the_second_at_which_it_would_have_been_in_time(
    operator: Operator,
) -> None:
    said = operator.run("announce", "m", "--from", ahead(hours=47), "--to", ahead(hours=48))
    assert "it will not exclude: announced 46:59" in said or "it will not exclude: announced 47:00" in said
    assert "48:00:00 are due (X4); until " in said
    assert len(operator.links) == 1
    assert (
        operator.json("announce", "m2", "--from", ahead(hours=47), "--to", ahead(hours=48))["recorded"][0]["excludes"]
        is False
    )


SECONDS = [
    # announced so long before, what is said of it
    (172_800, "it will exclude: announced 48:00:00 before, and 48:00:00 are due"),
    (172_799, "it will not exclude: announced 47:59:59 before it begins, and 48:00:00 are due (X4); until "
              "2026-05-30T00:00:00Z it would have been in time"),
    (0, "it will not exclude: announced 0:00:00 after it begins; maintenance is announced ahead (X4)"),
    (-3_600, "it will not exclude: announced 1:00:00 after it begins; maintenance is announced ahead (X4)"),
]  # fmt: skip


@pytest.mark.parametrize(("notice_s", "words"), SECONDS)
def test_a_second_decides(notice_s: int, words: str) -> None:
    start = at("2026-06-01T00:00:00Z")
    content = {"id": "m", "from": "2026-06-01T00:00:00Z", "to": "2026-06-01T01:00:00Z"}
    link = append(None, Act(kind="announce", actor="x", at_s=start - notice_s, content=content))
    (request,) = requests([link])
    assert effects(request, terms_by_promise(promises(), None, None)) == (words,)


def test_tiers_that_differ_are_told_apart_and_so_is_a_window_that_was_moved_late() -> None:
    given = promises(tiers={"premium": {"maintenance_notice_seconds": 259_200}, "basic": {}})
    log = Log("2026-05-30T00:00:00Z")
    log.say("announce", id="m", from_="2026-06-01T00:00:00Z", to="2026-06-01T01:00:00Z")
    first, second = effects(log.register.requests[0], terms_by_promise(given, None, None))
    assert first.startswith("for the service, tier basic: it will exclude")
    assert second.startswith("for tier premium: it will not exclude: announced 48:00:00 before it begins, and 3 days")
    log.say("announce", id="m", from_="2026-06-01T00:30:00Z", to="2026-06-01T01:30:00Z", now="2026-05-31T00:00:00Z")
    said = effects(log.register.requests[0], terms_by_promise(promises(), None, None))
    assert said == (
        "it will exclude only 2026-06-01T00:30:00Z to 2026-06-01T01:00:00Z: part of the window was not announced in "
        "time",
    )


def test_overlapping_windows_are_taken_out_once_and_that_is_said(operator: Operator) -> None:
    operator.run("announce", "a", "--from", ahead(hours=72), "--to", ahead(hours=74))
    said = operator.run("announce", "b", "--from", ahead(hours=73), "--to", ahead(hours=75))
    assert "it overlaps a; time under both is taken out once (X2)" in said
    assert "overlaps" not in operator.run("announce", "c", "--from", ahead(hours=75), "--to", ahead(hours=76))


HOUR = ("2030-01-01T00:00:00Z", "2030-01-01T01:00:00Z")
BAD_WINDOWS = [
    # --from, --to, what else, exit code, what is said
    ("2030-01-01T02:00:00Z", "2030-01-01T01:00:00Z", (), 1, "before it begins, 2030-01-01T02:00:00Z: are they"),
    ("2030-01-01T02:00:00Z", "2030-01-01T03:00:00+01:00", (), 1, "the window has no length"),
    ("2030-01-01T02:00:00", "2030-01-01T03:00:00Z", (), 64, "--from: '2030-01-01T02:00:00' has no offset from UTC"),
    ("2030-01-01", "2030-01-02T00:00:00Z", (), 64, "has no time and no offset from UTC; write 2030-01-01T00:00:00Z"),
    ("2030-02-31T00:00:00Z", "2030-03-01T00:00:00Z", (), 64, "does not exist"),
    ("2030-01-01T00:00:00.5Z", "2030-03-01T00:00:00Z", (), 64, "parts of a second"),
    ("next week", "2030-03-01T00:00:00Z", (), 64, "is not a date"),
    ("2030-01-01T00:00:00Z", None, (), 64, "a window has --from and --to"),
    (None, None, (), 64, "m is planned in no policy file"),
    (None, None, ("--cancel",), 64, "nothing is recorded of m"),
    (*HOUR, ("--upstream", "crm", "--group", "crm"), 64, "leave out --group"),
    (*HOUR, ("--upstream", "crmm"), 64, "there are code-host, crm, reporting"),
    (*HOUR, ("--group", "crmm"), 64, "did you mean 'crm'"),
    (*HOUR, ("--tenant", "acne"), 64, "acne is no tenant; did you mean 'acme'"),
]  # fmt: skip


@pytest.mark.parametrize(("from_", "to", "more", "code", "words"), BAD_WINDOWS)
def test_a_window_that_says_nothing_is_refused_with_words(
    operator: Operator, from_: str | None, to: str | None, more: tuple[str, ...], code: int, words: str
) -> None:
    window = (*(("--from", from_) if from_ else ()), *(("--to", to) if to else ()))
    assert words in operator.run("announce", "m", *window, *more, code=code)
    assert operator.links == ()


def test_a_planned_window_is_announced_by_its_name(operator: Operator) -> None:
    start, end = ahead(days=10), ahead(days=10, hours=1)
    (operator.policies / "plan.yaml").write_text(
        f"maintenance:\n  upgrade: {{from: {start}, to: {end}, groups: [crm, reports], note: new database}}\n"
        f"  whole: {{from: {start}, to: {end}}}\n"
    )
    operator.run("announce", "upgrade")
    operator.run("announce", "whole")
    assert [(link.act.content["id"], link.act.content.get("group")) for link in operator.links] == [
        ("upgrade/crm", "crm"), ("upgrade/reports", "reports"), ("whole", None),
    ]  # fmt: skip
    assert operator.links[0].act.content["note"] == "new database"
    assert "did you mean 'upgrade'" in operator.run("announce", "upgrad", code=64)


def test_work_and_cancellation_go_to_every_part_of_what_was_announced(operator: Operator) -> None:
    window = ("--from", ahead(days=5), "--to", ahead(days=5, hours=1))
    operator.run("announce", "m", *window, "--upstream", "crm", "--tenant", "acme")
    assert operator.links[0].act.content["id"] == "m/crm"
    operator.run("announce", "m", "--from", ahead(days=5), "--to", ahead(days=5, hours=2))  # longer, same scope
    assert [link.act.content["group"] for link in operator.links] == ["crm", "crm"]
    said = operator.run("announce", "m", "--cancel")
    assert "it will not exclude: it was cancelled" in said
    assert operator.links[-1].act.content == {
        **operator.links[1].act.content, "cancelled": True, "tenant": "acme", "group": "crm",
    }  # fmt: skip
    said = operator.run("work", "m", *window, code=1)
    assert "record it when the work is done" in said
    operator.run("announce", "past", "--from", ahead(hours=-3), "--to", ahead(hours=-1), "--tenant", "acme")
    operator.run("work", "past", "--from", ahead(hours=-3), "--to", ahead(hours=-2))
    assert operator.links[-1].act.content["tenant"] == "acme"


# --- other exclusions -----------------------------------------------------------------------------------------------


WHY = ("--reason", "flood", "--evidence", "https://example.com/17")


def test_another_exclusion_waits_for_another_person(operator: Operator) -> None:
    past = ("--from", ahead(hours=-2), "--to", ahead(hours=-1))
    said = operator.run("exclude", "x", "--type", "force_majeure", *past, *WHY)
    assert "it will not exclude: another person has to approve it" in said
    assert "on-call recorded x; another person has to approve it" in operator.run("approve", "x", code=1)
    assert operator.run("approve", "x", by="release-manager").endswith("it will exclude\n")
    assert "approved already" in operator.run("approve", "x", by="release-manager", code=1)
    assert [link.act.kind for link in operator.links] == ["exclude", "approve"]


def test_one_that_is_recorded_after_the_month_was_final_says_so(operator: Operator) -> None:
    operator.run("exclude", "x", "--type", "third_party", "--from", "2026-01-02T00:00:00Z",
                 "--to", "2026-01-02T01:00:00Z", *WHY)  # fmt: skip
    said = operator.run("approve", "x", by="release-manager")
    assert "it will not exclude: it was recorded after 2026-02-06T00:00:00Z, when the month was final" in said


def test_the_future_has_no_evidence_yet(operator: Operator) -> None:
    window = ("--from", ahead(hours=-2), "--to", ahead(hours=1))
    assert "record it when it is over" in operator.run("exclude", "x", "--type", "third_party", *window, *WHY, code=1)
    operator.run("exclude", "x", "--type", "suspension", "--tenant", "acme", *window, *WHY)


def test_an_upstream_stands_for_the_groups_that_it_serves_alone(operator: Operator) -> None:
    past = ("--from", ahead(hours=-2), "--to", ahead(hours=-1))
    given = ("exclude", "x", "--type", "third_party", *past, *WHY, "--upstream")
    operator.run(*given, "crm")
    operator.run("approve", "x", by="release-manager")
    assert [(link.act.content["id"], link.act.content.get("group")) for link in operator.links] == [
        ("x/crm", "crm"), ("x/crm", None),
    ]  # fmt: skip
    operator.edit("routes.yaml", "    upstream: reporting\n    group: reports", "    upstream: crm\n    group: reports")
    operator.edit("routes.yaml", "  report-files:", "  more:\n    match: {path: /m}\n    upstream: reporting\n"
                  "    group: reports\n  report-files:")  # fmt: skip
    said = operator.run("exclude", "y", *given[2:], "crm", code=64)
    assert "cannot be told apart, because its groups have other upstreams: reports also by reporting" in said


def test_an_upstream_that_shares_no_group_has_all_of_its_groups() -> None:
    groups = {"a": ("crm",), "b": ("crm",), "c": ("code",)}
    assert groups_served_by("crm", groups) == ("a", "b")


# --- versions -------------------------------------------------------------------------------------------------------


def test_a_version_is_shown_published_and_listed(operator: Operator) -> None:
    assert "no version is published" in operator.run("version", "--list")
    wording = operator.policies.parent / "sla.md"
    wording.write_text("What we promise.")
    given = ("version", "1.0.0", "--effective-from", month(1), "--text", str(wording))
    assert "the first version" in operator.run(*given, "--dry-run")
    assert operator.links == ()
    operator.run(*given)
    assert operator.links[0].act.content["text"] == "What we promise."
    (listed,) = operator.json("version", "--list")["versions"]
    assert (listed["version"], listed["effective_from"]) == ("1.0.0", f"{month(1)}-01T00:00:00Z")
    assert "published at" in operator.run(*given, code=1)
    assert len(operator.links) == 1


def test_what_is_for_the_worse_is_marked_and_needs_its_notice(operator: Operator) -> None:
    operator.run("version", "1.0.0", "--effective-from", month(1))
    operator.edit("tiers.yaml", "sla: {target: 99.9%", "sla: {target: 99.8%, claim_days: 60")
    given = ("version", "2.0.0", "--effective-from", month(1))
    said = operator.run(*given, "--dry-run", code=1)
    assert "tier premium: target 99.9 -> 99.8  ! lower target" in said
    assert "tier premium: claim_days 30 -> 60\n" in said  # for the better
    assert "tier standard" not in said
    found = operator.json(*given, "--dry-run", code=1)
    assert "60 days are due" in found["refusal"]
    assert "lower target" in {change["adverse"] for change in found["changes"]}
    assert "not recorded: version 2.0.0 cannot take effect" in operator.run(*given, code=1)
    operator.run("version", "2.0.0", "--effective-from", found["earliest"][:7])
    assert [link.act.kind for link in operator.links] == ["version", "version"]


def test_a_change_of_long_terms_shows_what_changed(operator: Operator) -> None:
    operator.run("version", "1.0.0", "--effective-from", month(1))
    operator.edit("sla.yaml", "{min: 95.0%, credit: 25%}", "{min: 95.0%, credit: 20%}")
    shown = operator.run("version", "2.0.0", "--effective-from", month(1), "--dry-run", code=1)
    before = "99.9 %: 0 %, 99 %: 10 %, 95 %: 25 %, 0 %: 50 % and termination"
    assert f"the service: bands {before} -> {before.replace('25', '20')}  ! lower credit" in shown


def test_of_two_long_values_the_part_that_differs_is_shown() -> None:
    days = [f"2026-01-{day:02}" for day in range(1, 32)]
    change = Change(field="calendar", before=tuple(days), after=(*days[:-1], "2026-02-01"))
    assert change_said(change) == 'calendar ..."2026-01-30","2026-01-31"] -> ..."2026-01-30","2026-02-01"]'


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("1.0.0", "--effective-from", "2030-06-15T00:00:00Z"), 1, "it begins no month of UTC"),
        (("1.0.0", "--effective-from", "2030-13"), 64, "2030-13 is no month"),
        (("1.0.0", "--effective-from", "2020-01"), 1, "it would be published"),
        (("1.0", "--effective-from", "2030-01"), 1, "no version such as 1.4.0"),
        (("1.0.0",), 64, "has a number and --effective-from"),
        (("1.0.0", "--effective-from", "2030-01", "--text", "/nowhere/sla.md"), 64, "/nowhere/sla.md: No such file"),
    ],
)
def test_a_version_that_cannot_be_is_refused_with_words(
    operator: Operator, arguments: tuple[str, ...], code: int, words: str
) -> None:
    assert words in operator.run("version", *arguments, code=code)
    assert operator.links == ()


def test_policy_files_with_mistakes_publish_nothing(operator: Operator) -> None:
    operator.edit("sla.yaml", "{min: 99.0%, credit: 10%}", "{min: 99.95%, credit: 10%}")  # bands with a gap
    said = operator.run("version", "1.0.0", "--effective-from", month(1), code=3)
    assert "sla.yaml:" in said
    assert f"`tiergate check {operator.policies}` says more" in said


def test_customers_terms_are_published_in_acts_of_their_own(operator: Operator) -> None:
    operator.edit("tenants.yaml", "    tier: premium\n", "    tier: premium\n    sla: {claim_days: 45}\n")
    operator.run("version", "1.0.0", "--effective-from", month(1))
    layer, version = operator.links
    assert (layer.act.kind, layer.act.content["tenant"], layer.act.content["fields"]) == (
        "layer", "acme", {"claim_days": 45},
    )  # fmt: skip
    assert "acme" not in json.dumps(version.act.content)


# --- contracts and claims -------------------------------------------------------------------------------------------


def test_contracts_and_pins_are_recorded_by_month(operator: Operator) -> None:
    operator.run("version", "1.0.0", "--effective-from", month(1))
    operator.run("bind", "acme", "premium", "--from", month(1), "--to", month(14))
    operator.run("pin", "acme", "1.0.0", "--until", month(8))
    assert [link.act.content.get("from", link.act.content.get("until")) for link in operator.links[1:]] == [
        f"{month(1)}-01T00:00:00Z", f"{month(8)}-01T00:00:00Z",
    ]  # fmt: skip
    assert "there are basic, premium, standard" in operator.run("bind", "acme", "gold", "--from", month(2), code=1)
    assert "was not published; there are 1.0.0" in operator.run("pin", "acme", "2.0.0", "--until", month(8), code=1)


def test_only_who_was_not_served_yet_can_be_new(operator: Operator) -> None:
    operator.run("bind", "newcomer", "premium", "--from", month(2), "--new")
    assert operator.links[0].act.content["begins"] is True
    with closing(Database(operator.url)) as ledger:
        Store(ledger).receive(
            [Row(NOON_S, "acme", "crm", "gw/1", "b", 1, packed((1, *(0,) * (WIDTH - 1))))], [], NOON_S
        )
    said = operator.run("bind", "acme", "premium", "--from", month(2), "--new", code=64)
    assert "calls of acme are counted already, and cannot be left out afterwards" in said
    operator.run("bind", "acme", "premium", "--from", month(2))
    assert "which is past" in operator.run("bind", "globex", "basic", "--from", month(0), code=1)


def test_a_claim_goes_its_way_by_two_people(operator: Operator) -> None:
    operator.run("acts")
    assert "no closed month says so" in operator.run("claim", "acme", month(-1), code=1)
    recording.record(operator.settings, "close", closing_act("acme", month(-1), "10"), "on-call")
    assert "the claim is claimed" in operator.run("claim", "acme", month(-1))
    assert "another person has to decide" in operator.run("claim", "acme", month(-1), "--to", "approved", code=1)
    assert "with a reason" in operator.run("claim", "acme", month(-1), "--to", "rejected", by="billing", code=1)
    assert "the claim is approved" in operator.run("claim", "acme", month(-1), "--to", "approved", by="billing")
    assert "the claim is applied" in operator.run("claim", "acme", month(-1), "--to", "applied", by="billing")


# --- the list -------------------------------------------------------------------------------------------------------


def test_the_log_is_listed_and_its_chain_verified(operator: Operator) -> None:
    assert "0 acts, the chain holds" in operator.run("acts")
    for name in ("a", "b", "c"):
        operator.run("announce", name, "--from", ahead(days=5), "--to", ahead(days=6))
    found = operator.json("acts")
    assert [act["number"] for act in found["acts"]] == [1, 2, 3]
    assert (found["holds"], found["tip"]) == (True, operator.links[-1].hash)
    assert "3 acts, the chain holds" in operator.run("acts", "--tip", found["tip"])
    with closing(Database(operator.url)) as ledger, ledger.writing() as connection:
        connection.execute(text("DELETE FROM act WHERE seq = 3"))
    assert operator.json("acts")["holds"] is True  # a cut end shows by the hash that was kept alone
    assert "from act 3 on: the log does not end at the hash" in operator.run("acts", "--tip", found["tip"], code=1)
    with closing(Database(operator.url)) as ledger, ledger.writing() as connection:
        connection.execute(text("UPDATE act SET actor = 'somebody' WHERE seq = 1"))
    assert operator.json("acts", code=1)["broken"] == 1
    assert "the log does not hold from act 1 on: its content is not what was recorded" in operator.run("acts", code=1)


def test_what_somebody_wrote_steers_no_terminal(operator: Operator) -> None:
    hostile, window = "m\x1b[2J", ("--from", ahead(days=5), "--to", ahead(days=6))
    said = [
        operator.run("announce", hostile, *window, "--note", "\x07\u202e"),
        operator.run("announce", "next", *window),  # it overlaps the one before
        operator.run("approve", hostile, code=1),
        operator.run("version", "1.0.0", "--effective-from", month(1), by=f"somebody{hostile}"),
        operator.run("version", "--list"),
        operator.run("acts"),
    ]
    assert all("m\\x1b[2J" in each for each in said)
    assert {each for each in "".join(said) if not each.isprintable()} == {"\n"}


def test_without_a_gateway_or_a_ledger_it_is_the_surroundings(operator: Operator) -> None:
    operator.env["TIERGATE_LEDGER_URL"] = ""
    for arguments in (("acts",), ("announce", "m", "--from", ahead(days=5), "--to", ahead(days=6))):
        assert "is TIERGATE_STATE_DIR the one" in operator.run(*arguments, code=3)


def test_an_actor_is_somebody(operator: Operator) -> None:
    given = ("announce", "m", "--from", ahead(days=5), "--to", ahead(days=6))
    assert "an act needs somebody" in operator.run(*given, by=" ", code=64)
    operator.run(*given, by=None)
    assert operator.links[0].act.actor == recording.default_actor()
