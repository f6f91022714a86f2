"""The monthly record, the quarter made of three, and what differs between two revisions."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from policies.sla.acts import ANNOUNCE, APPROVE, EXCLUDE, requests
from policies.sla.canonical import canonical
from policies.sla.chain import Act
from policies.sla.counters import Counts
from policies.sla.evidence import MINUTE_S, Basis, Failing, Row
from policies.sla.evidence_form import input_sha256
from policies.sla.histogram import Commitment
from policies.sla.instants import read, read_us, written, written_us
from policies.sla.quarter import quarterly
from policies.sla.record import Record, monthly
from policies.sla.revision import Difference, diff, favours
from policies.sla.terms import Cap, Chronic
from tests.policies.sla_bases import availability_cases, basis_of, case_named, links, record_of
from tests.policies.vector_shapes import seconds

GOLDEN = Path(__file__).with_name("sla_record_golden.json")
MONTH = "late_extension_not_excluded"


@pytest.mark.parametrize("case", availability_cases(), ids=lambda case: str(case["name"]))
def test_the_record_has_the_figure_of_the_vector(case: dict[str, Any]) -> None:
    record = record_of(str(case["name"]))
    found = {
        **record["figure"],
        "period_seconds": record["figure"]["force_seconds"],
        "credit_percent": record["credit"]["percent"],
        "termination_right": record["credit"]["termination_right"],
        "windows": [[each["from"], each["to"]] for each in record["windows"]],
    }
    for key, want in case["expect"].items():
        if key == "windows":
            want = [[written(seconds(at)) for at in pair] for pair in want]
        if not key.startswith("wrong_"):
            assert found[key] == want, key


def test_the_record_is_the_golden_one() -> None:
    assert record_of(MONTH) == json.loads(GOLDEN.read_text())


def test_the_record_has_a_canonical_form() -> None:
    record = record_of(MONTH)
    assert json.loads(canonical(record)) == record


def test_the_order_of_the_evidence_is_of_no_account() -> None:
    basis = basis_of(case_named("both_replicas_dark_partly"))
    turned = replace(basis, rows=basis.rows[::-1], alive=basis.alive[::-1])
    assert monthly(turned) == monthly(basis)


def test_every_part_of_the_evidence_is_in_the_hash() -> None:
    basis = basis_of(case_named(MONTH))
    first = basis.rows[0]
    changed = [
        replace(basis, rows=(replace(first, group="other"), *basis.rows[1:])),
        replace(basis, rows=basis.rows[1:]),
        replace(basis, alive=()),
        replace(basis, acts=basis.acts[:-1]),
        replace(basis, head=replace(basis.head, revision=2)),
        replace(basis, head=replace(basis.head, terms=replace(basis.head.terms, claim_days=31))),
    ]
    assert len({input_sha256(each) for each in (basis, *changed)}) == len(changed) + 1


def test_what_customers_never_see_is_not_in_the_record() -> None:
    basis = basis_of(case_named(MONTH))
    hidden = replace(basis, head=replace(basis.head, terms=replace(basis.head.terms, internal_target=Fraction(1))))
    assert monthly(hidden) == monthly(basis)


def test_a_rejected_exclusion_is_listed_with_its_reason() -> None:
    (only,) = record_of("maintenance_notice_47h59m59s")["exclusions"]
    assert (only["verdict"], only["reason"], only["seconds"]) == ("rejected", "short_notice", 0)
    assert only["recorded_by"] == "op"


def test_an_exclusion_of_another_month_is_left_to_its_record() -> None:
    basis = basis_of(case_named(MONTH))
    window = {"from": "2026-01-05T00:00:00Z", "to": "2026-01-05T01:00:00Z"}
    before = Act(kind=ANNOUNCE, actor="op", at_s=read("2026-01-01T00:00:00Z"), content={"id": "old", **window})
    old = replace(basis, acts=links([before, *(link.act for link in basis.acts)]))
    assert [each["id"] for each in monthly(old)["exclusions"]] == ["x0"]


@pytest.mark.parametrize(
    ("approver", "verdict"),
    [
        ("lead", "accepted"),
        ("op", "rejected"),  # one's own approval is none
    ],
)
def test_a_record_needs_a_second_persons_approval(approver: str, verdict: str) -> None:
    basis = basis_of(case_named("force_majeure_not_approved"))
    acts = [link.act for link in basis.acts]
    acts.append(Act(kind=APPROVE, actor=approver, at_s=acts[-1].at_s + 60, content={"id": "x0"}))
    assert monthly(replace(basis, acts=links(acts)))["exclusions"][0]["verdict"] == verdict


WINDOW = {"from": "2026-04-01T00:00:00Z", "to": "2026-04-01T01:00:00Z"}


@pytest.mark.parametrize(
    ("acts", "said"),
    [
        ([(APPROVE, {"id": "x"})], "nothing is recorded of x"),
        ([(ANNOUNCE, {"id": "", **WINDOW})], "not empty"),
        ([(ANNOUNCE, {"id": "x"})], "needs from, to"),
        ([(ANNOUNCE, {"id": "x", **WINDOW, "colour": "red"})], "has no colour"),
        ([(ANNOUNCE, {"id": "x", **WINDOW}), (ANNOUNCE, {"id": "x", **WINDOW, "group": "crm"})], "something else"),
        ([(EXCLUDE, {"id": "x", **WINDOW, "type": "scheduled_maintenance", "reason": "r", "evidence": "e"})],
         "maintenance is announced"),
        ([(EXCLUDE, {"id": "x", **WINDOW, "type": "force_majeure", "reason": "", "evidence": "e"})], "not empty"),
    ],
)  # fmt: skip
def test_an_act_that_makes_no_sense_is_refused(acts: list[tuple[str, dict[str, Any]]], said: str) -> None:
    log = links([Act(kind=kind, actor="op", at_s=at, content=content) for at, (kind, content) in enumerate(acts)])
    with pytest.raises(ValueError, match=f"act {len(acts)}: .*{said}"):
        requests(log)


def test_a_group_that_is_excused_is_ignored_and_its_time_stays() -> None:
    basis = basis_of(case_named("43_minutes_meets_99_9"))
    run = monthly(basis)["windows"][0]
    content = {"id": "x", "type": "third_party", "from": run["from"], "to": run["to"], "group": "crm",
               "reason": "vendor down", "evidence": "their status page"}  # fmt: skip
    at_s = read(run["to"])
    acts = [Act(kind=EXCLUDE, actor="op", at_s=at_s, content=content),
            Act(kind=APPROVE, actor="lead", at_s=at_s, content={"id": "x"})]  # fmt: skip
    record = monthly(replace(basis, acts=links(acts)))
    assert record["figure"]["gross_downtime_seconds"] == 0
    assert record["exclusions"][0]["verdict"] == "accepted"


def test_minutes_of_longer_slots_are_judged_together() -> None:
    """Three failing minutes out of five are one bad slot of five minutes, and downtime."""
    basis = basis_of(case_named("idle_after_outage_is_not_counted"))
    start = basis.head.period.start_s
    rows = tuple(
        Row(slot_s=start + at * MINUTE_S, tenant="acme", group="", counts=Counts(good=10, failed={"gateway": failed}))
        for at, failed in enumerate((5, 0, 5, 0, 5))
    )
    long = replace(basis.head, terms=replace(basis.head.terms, slot_seconds=300))
    assert monthly(replace(basis, rows=rows))["figure"]["downtime_seconds"] == 0
    assert monthly(replace(basis, rows=rows, head=long))["figure"]["downtime_seconds"] == 300


def test_a_running_month_is_provisional_and_its_rest_not_dark() -> None:
    basis = basis_of(case_named(MONTH))
    until = read("2026-04-20T00:00:00Z")
    alive = tuple(replace(each, to_s=min(each.to_s, until)) for each in basis.alive)
    record = monthly(replace(basis, head=replace(basis.head, known_until_s=until), alive=alive))
    assert record["provisional"]
    assert record["figure"]["judged_seconds"] == until - basis.head.period.start_s
    assert record["figure"]["gross_downtime_seconds"] == record_of(MONTH)["figure"]["gross_downtime_seconds"]


def test_what_is_not_known_yet_makes_no_dark_minute_a_long_one() -> None:
    """The last sign of life came a minute before the evidence ends: that is a minute, and not the rest of the month."""
    basis = basis_of(case_named("contract_not_in_force"))
    until = read("2026-04-20T00:00:00Z")
    alive = tuple(replace(each, to_s=until - 60) for each in basis.alive)
    head = replace(basis.head, contract=(None, None), known_until_s=until)
    figure = monthly(replace(basis, head=head, alive=alive))["figure"]
    assert (figure["downtime_seconds"], figure["degraded_seconds"]) == (0, 60)


@pytest.mark.parametrize(("failing", "downtime"), [(("a",), 0), (("a", "b"), 600)])
def test_what_most_vantage_points_could_not_reach_was_dark(failing: tuple[str, ...], downtime: int) -> None:
    basis = basis_of(case_named("contract_not_in_force"))
    start = basis.head.period.start_s + 3_600
    probes = tuple(Failing(vantage=each, from_s=start, to_s=start + 600) for each in failing)
    head = replace(basis.head, contract=(None, None), vantage_points=("a", "b", "c"))
    assert monthly(replace(basis, head=head, failing=probes))["figure"]["downtime_seconds"] == downtime


def test_a_broken_commitment_is_a_violation_beside_a_missed_target() -> None:
    basis = basis_of(case_named("just_under_99_0"))
    stricter = replace(basis.head.terms, latency=(Commitment(share=Fraction(999, 1000), under_us=500_000),))
    record = monthly(replace(basis, head=replace(basis.head, terms=stricter)))
    assert [each["of"] for each in record["violations"]] == ["uptime", "latency under 500 ms"]
    assert record["violations"][1] == {
        "of": "latency under 500 ms", "promised_percent": "99.9", "reached_percent": "99.0000",
    }  # fmt: skip


def test_quantiles_are_called_estimates_and_commitments_exact() -> None:
    latency = record_of(MONTH)["latency"]
    assert [each["exact"] for each in latency["estimates"]] == [False] * 4
    assert [each["exact"] for each in latency["commitments"]] == [True]


def test_no_data_is_no_figure_and_no_verdict() -> None:
    record = record_of("contract_not_in_force")
    assert (record["figure"]["uptime_percent"], record["figure"]["verdict"]) == (None, "no_data")
    assert record["requests"]["success_percent"] is None
    assert record["credit"]["claim_before"] is None


def test_credit_is_worked_out_of_the_fee_and_claimed_within_its_window() -> None:
    credit = record_of("just_under_99_0")["credit"]
    assert (credit["percent"], credit["amount"], credit["claim_before"]) == ("25", "1200.00", "2026-05-31T00:00:00Z")


# --- quarter ------------------------------------------------------------------------------------------------------


def month(name: str, downtime: int, of: int) -> Record:
    record = record_of("contract_not_in_force")
    period = {**record["period"], "name": name}
    figure = {**record["figure"], "downtime_seconds": downtime, "judged_seconds": of, "budget_seconds": "0.6"}
    return {**record, "period": period, "figure": figure}


QUARTER = [month("2026-01", 3_000, 2_678_400), month("2026-02", 0, 2_419_200), month("2026-03", 0, 2_678_400)]


def test_a_quarter_is_of_sums() -> None:
    report = quarterly(reversed(QUARTER))
    assert report["period"]["name"] == "2026-Q1"
    assert report["figure"]["uptime_exact"] == str(100 * (1 - Fraction(3_000, 7_776_000)))
    assert report["figure"]["budget_seconds"] == "1.8"
    assert [each["period"] for each in report["months"]] == ["2026-01", "2026-02", "2026-03"]


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (QUARTER[:2], "three monthly records"),
        ([*QUARTER[:2], month("2026-04", 0, 1)], "not the months of 2026-Q1"),
        ([*QUARTER[:2], QUARTER[1]], "not the months of 2026-Q1"),
        ([*QUARTER[:2], {**QUARTER[2], "tenant": "globex"}], "not of one tenant"),
    ],
)
def test_what_is_no_quarter_is_refused(records: list[Record], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        quarterly(records)


# --- revisions ----------------------------------------------------------------------------------------------------


def late(basis: Basis, cause: str) -> Record:
    """The record after one more minute of failures arrived."""
    end = read(monthly(basis)["windows"][-1]["to"])
    row = Row(slot_s=end, tenant="acme", group="late", counts=Counts(failed={cause: 500}))
    return monthly(replace(basis, rows=(*basis.rows, row), head=replace(basis.head, revision=2)))


def test_late_data_make_a_revision_with_a_diff() -> None:
    basis = basis_of(case_named("43_minutes_meets_99_9"))
    before, after = monthly(basis), late(basis, "gateway")
    differences = diff(before, after)
    assert Difference(path="revision", old=1, new=2) in differences
    assert Difference(path="figure.downtime_seconds", old=2580, new=2640) in differences
    assert Difference(path="requests.bad.gateway", old=before["requests"]["bad"]["gateway"],
                      new=before["requests"]["bad"]["gateway"] + 500) in differences  # fmt: skip
    assert (favours(before, after), favours(after, before)) == ("customer", "provider")
    assert diff(before, before) == ()


def test_late_data_that_count_for_nothing_favour_nobody() -> None:
    basis = basis_of(case_named("43_minutes_meets_99_9"))
    assert favours(monthly(basis), late(basis, "own_limit")) == "neither"


# --- instants -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_s", [0, -1, 1_775_001_600, -62_135_596_800])
def test_an_instant_is_read_as_it_is_written(at_s: int) -> None:
    assert read(written(at_s)) == at_s
    assert read_us(written_us(at_s * 1_000_000 + 5)) == at_s * 1_000_000 + 5


@pytest.mark.parametrize(
    "text",
    ["2026-02-31T00:00:00Z", "2026-04-01T24:00:00Z", "2026-04-01T00:00:60Z", "2026-04-01T00:00:00+00:00",
     "2026-04-01 00:00:00Z", "2026-04-01T00:00:00.000000Z", "٢٠٢٦-04-01T00:00:00Z", "", 5, None],
)  # fmt: skip
def test_anything_else_is_no_instant(text: object) -> None:
    with pytest.raises(ValueError, match=r"no instant|does not exist|parts of a second"):
        read(text)


# --- the right to terminate ---------------------------------------------------------------------------------------

DARK = "no replica lived"


def dark() -> Basis:
    """A month at 0 %, like ``whole_month_down``, without its hundred thousand rows."""
    basis = basis_of(case_named("contract_not_in_force"))
    return replace(basis, head=replace(basis.head, contract=(None, None)), alive=())


@pytest.mark.parametrize(
    ("name", "before", "reasons"),
    [
        ("just_under_99_0", (), []),
        ("just_under_99_0", ("2025-05", "2026-03"), ["chronic"]),  # the third of twelve, this month included
        ("just_under_99_0", ("2025-04", "2026-03"), []),  # a year ago today is the thirteenth month
        ("just_under_99_0", ("2025-04", "2025-06", "2026-03"), ["chronic"]),
        ("43_minutes_meets_99_9", ("2026-01", "2026-02", "2026-03"), []),  # a month that was met gives no right again
        ("contract_not_in_force", ("2026-01", "2026-02", "2026-03"), []),
        (DARK, ("2026-02", "2026-03"), ["uptime", "chronic"]),
        (DARK, ("2026-03",), ["uptime"]),
    ],
)
def test_the_third_missed_month_of_twelve_gives_a_right_to_terminate(
    name: str, before: tuple[str, ...], reasons: list[str]
) -> None:
    basis = dark() if name == DARK else basis_of(case_named(name))
    terms = replace(basis.head.terms, chronic=Chronic(misses=3, months=12))
    credit = monthly(replace(basis, head=replace(basis.head, terms=terms, missed_before=before)))["credit"]
    assert (credit["termination_reasons"], credit["termination_right"]) == (reasons, bool(reasons))


@pytest.mark.parametrize(
    ("window", "before", "amount"),
    [
        ("contract_year", "0", "1200.00"),
        ("contract_year", "3600.00", "1200.00"),
        ("contract_year", "3600.01", "1199.99"),
        ("contract_year", "4800.00", "0.00"),
        ("contract_year", "9000.00", "0.00"),
        ("month", "0", "1200.00"),
    ],
)
def test_a_credit_is_what_the_cap_of_the_contract_year_leaves(window: Any, before: str, amount: str) -> None:
    basis = basis_of(case_named("just_under_99_0"))
    terms = replace(basis.head.terms, cap=Cap(percent=Decimal(100), window=window))
    head = replace(basis.head, terms=terms, credited_before=Decimal(before))
    credit = monthly(replace(basis, head=head))["credit"]
    assert (credit["percent"], credit["amount"]) == ("25", amount)
    assert credit["credited_before"] == before


def test_without_the_knob_no_number_of_missed_months_gives_a_right() -> None:
    basis = basis_of(case_named("just_under_99_0"))
    head = replace(basis.head, missed_before=("2026-01", "2026-02", "2026-03"))
    assert monthly(replace(basis, head=head))["credit"]["termination_reasons"] == []
