"""The export: what is written is read back, what is malformed is refused by line, what was altered is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from policies.sla.chain import Withheld
from policies.sla.evidence import Basis, Failing
from policies.sla.export import LONGEST_LINE, Unreadable, read, write
from policies.sla.record import monthly
from policies.sla.verification import Finding, verification
from tests.policies.sla_bases import altered, basis_of, calls_of, case_named

MONTH = "late_extension_not_excluded"
"""Has downtime, two announcements, and evidence that it turns on."""


@pytest.fixture(scope="module")
def basis() -> Basis:
    """A month with every kind of line."""
    made = basis_of(case_named(MONTH))
    start = made.rows[0].slot_s
    withheld = Withheld(number=len(made.acts) + 1, previous=made.acts[-1].hash, hash="cd" * 32)
    return replace(
        made,
        head=replace(made.head, vantage_points=("ams", "nyc", "sgp")),
        failing=(Failing(vantage="ams", from_s=start, to_s=start + 30),),
        acts=(*made.acts, withheld),
        calls=calls_of(made, (start, start + 120)),
    )


@pytest.fixture(scope="module")
def lines(basis: Basis) -> list[str]:
    return list(write(basis))


def first(lines: list[str], kind: str, fits: Callable[[dict[str, Any]], bool] = lambda _: True) -> int:
    return next(at for at, line in enumerate(lines) if (got := json.loads(line))["kind"] == kind and fits(got))


ODD = ("customer_caused_for_another_tenant", "cancelled_maintenance", "quorum_of_two", "contract_starts_mid_month",
       "dst_autumn_month_repeated_hour", "third_party_upstream_only", "platform_scope_same_moment")  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_what_is_written_is_read_back_and_written_the_same(name: str) -> None:
    basis = basis_of(case_named(name))
    basis = replace(basis, rows=basis.rows[:: 1 + len(basis.rows) // 2_000])  # more of a background says nothing more
    written = list(write(basis))
    export = read(written)
    assert export.altered == ()
    assert list(write(export.basis)) == written
    assert monthly(export.basis) == monthly(basis)


def test_an_export_with_every_kind_of_line_is_confirmed(lines: list[str], basis: Basis) -> None:
    found = verification(read(lines), monthly(basis))
    assert found.findings == ()
    assert found.record == monthly(basis)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_lines_is_of_no_account(lines: list[str], basis: Basis, seed: int) -> None:
    behind = lines[1:]
    Random(seed).shuffle(behind)
    assert verification(read([lines[0], *behind]), monthly(basis)).is_confirmed


# --- form ---------------------------------------------------------------------------------------------------------


def _set(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda line: line.__setitem__(name, value)


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("counters", _set("colour", "red"), "has no key 'colour'"),
        ("counters", lambda line: line.pop("group"), "lacks group"),
        ("counters", _set("tenant", "globex"), "tenant 'globex' is not 'acme'"),
        ("counters", _set("slot", "2026-02-31T00:00:00Z"), "does not exist"),
        ("counters", _set("slot", "2026-04-09T00:00:00+02:00"), "no instant in UTC"),
        ("counters", _set("slot", "2026-04-09T00:00:00"), "no instant in UTC"),
        ("counters", _set("slot", "2026-04-09T00:00:30Z"), "begins no minute"),
        ("counters", _set("slot", "2026-06-09T00:00:00Z"), "is not within 2026-04"),
        ("counters", _set("good", -1), "not a whole number"),
        ("counters", _set("good", True), "not a whole number"),
        ("counters", _set("good", "12"), "not a whole number"),
        ("counters", _set("good", 1.5), "no whole number"),
        ("counters", _set("good", 2**60), "not a whole number"),
        ("counters", _set("failed", {"ok": 3}), "cause 'ok' is none of"),
        ("counters", _set("failed", {"gateway": 0}), "not a whole number from 1"),
        ("counters", _set("latency", [1, 2, 3]), "latency has 3 buckets"),
        ("counters", _set("sha256", "AB" * 32), "not 64 hex digits"),
        ("counters", lambda line: line.pop("sha256"), "not 64 hex digits"),
        ("alive", _set("to", "2020-01-01T00:00:00Z"), "ends before it has begun"),
        ("probe", _set("vantage_point", "moon"), "none of the header's vantage points"),
        ("act", _set("at", "2026-04-09T00:00:00.000001Z"), "parts of a second"),
        ("act", _set("content", {"id": "x"}), "needs from, to"),
        ("act", lambda line: line["content"].update(tenant="globex"), "about tenant 'globex'"),
        ("act", lambda line: line["content"].update(cancelled="no"), "cancelled is true or false"),
        ("call", _set("status", 999), "not a whole number"),
        ("call", _set("cause", "weather"), "cause 'weather' is none of"),
        ("counters", _set("kind", "gossip"), "kind 'gossip' is none of"),
    ],
)
def test_a_line_of_wrong_form_is_refused_with_its_number(
    lines: list[str], kind: str, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    at = first(lines, kind)
    with pytest.raises(Unreadable) as refused:
        read(altered(lines, at, change))
    assert refused.value.line == at + 1
    assert said in refused.value.reason


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("schema", 2), "schema 2 is not 1"),
        (_set("kind", "counters"), "begins with its header"),
        (_set("period", "2026-13"), "month must be in 1..12"),
        (_set("period", "2026-Q2"), "is no month"),
        (_set("period", "9999-12"), "out of range"),
        (_set("revision", 0), "not a whole number from 1"),
        (_set("rows_sha256", None), "not 64 hex digits"),
        (_set("lines", {"counters": 1}), "lines lacks"),
        (_set("totals", {"tenant": {"2026-04-01": {"good": "1"}}}), "no whole numbers"),
        (_set("totals", {"tenant": {"2026-04-01": {"good": 2**60}}}), "no canonical form"),
        (_set("version", {"id": "\ud800", "number": "1.0.0", "sha256": "ab" * 32}), "no Unicode text"),
        (_set("owners", {"crm": "nobody"}), "owner 'nobody' of 'crm'"),
        (_set("provenance", {"colour": "tier:x"}), "provenance has no key 'colour'"),
        (lambda head: head["terms"].update(latency=[{"share_percent": "99", "under_ms": 400}]), "latency cannot be"),
        (lambda head: head["terms"].update(latency=[{"share_percent": "1/0", "under_ms": 500}]), "not a decimal"),
        (lambda head: head["terms"].update(latency=[{"share_percent": "0", "under_ms": 500}]), "latency cannot be"),
        (lambda head: head["terms"].update(latency=[{"share_percent": "9", "under_ms": 500}] * 2), "500 ms twice"),
        (lambda head: head["terms"].update(chronic={"misses": 13, "months": 12}), "chronic cannot be"),
        (_set("missed_before", ["2026-03", "2026-02"]), "in their order"),
        (_set("missed_before", ["2026-04"]), "before 2026-04"),
        (_set("missed_before", ["2026-Q1"]), "is no month"),
        (_set("credited_before", "-1"), "not a decimal number"),
        (_set("credited_before", 5), "not a decimal number"),
        (_set("fee", {"amount": "1e9", "currency": "EUR", "months": 1}), "not a decimal number"),
        (_set("fee", {"amount": "1", "currency": "eur", "months": 1}), "is no currency"),
        (lambda head: head["terms"].pop("target"), "terms lacks target"),
        (lambda head: head["terms"].update(internal_target="99.99"), "terms has no key 'internal_target'"),
        (lambda head: head["terms"].update(zone="Mars/Olympus"), "Mars/Olympus"),
        (lambda head: head["terms"].update(zone="../../etc/passwd"), ""),
        (lambda head: head["terms"].update(display_decimals=10**6), "not a whole number"),
        (lambda head: head["terms"].update(claim_days=10**8), "not a whole number"),
        (lambda head: head["terms"].update(target="1E-999999999"), "not a decimal number"),
        (lambda head: head["terms"].update(slot_seconds=1), "cannot be judged"),
        (lambda head: head["terms"].update(bands=[]), "last band"),
    ],
)
def test_a_header_of_wrong_form_is_refused_on_line_1(
    lines: list[str], change: Callable[[dict[str, Any]], object], said: str
) -> None:
    with pytest.raises(Unreadable) as refused:
        read(altered(lines, 0, change))
    assert refused.value.line == 1
    assert said in refused.value.reason


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ("{\n", "no JSON"),
        ("[]\n", "no object"),
        ('{"kind":"alive","kind":"alive"}\n', "comes twice"),
        ('{"good":NaN}\n', "no whole number"),
        ("[" * 100_000 + "\n", "nested too deeply"),
        ('"' + "a" * LONGEST_LINE + '"\n', "longer than"),
        ('{"kind":"\udc80"}\n', "not UTF-8"),
        ('{"good":' + "9" * 5_000 + "}\n", ""),
        ("\n", "no JSON"),
    ],
)
def test_a_line_that_is_no_object_is_refused(lines: list[str], last: str, said: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read([*lines, last])
    assert refused.value.line == len(lines) + 1
    assert said in refused.value.reason


def test_a_line_that_comes_twice_is_refused_naming_both(lines: list[str]) -> None:
    with pytest.raises(Unreadable, match=f"line {len(lines) + 1}: it says again what line 2 says"):
        read([*lines, lines[1]])


@pytest.mark.parametrize("kept", [0, 1, 5, -1])
def test_a_truncated_export_is_refused(lines: list[str], kept: int) -> None:
    with pytest.raises(Unreadable):
        read(lines[:kept])


def test_a_last_line_that_is_cut_off_is_refused(lines: list[str]) -> None:
    with pytest.raises(Unreadable, match=f"line {len(lines)}: it is cut off"):
        read([*lines[:-1], lines[-1][:-1]])


# --- what was altered ---------------------------------------------------------------------------------------------


def findings(lines: list[str], basis: Basis) -> list[Finding]:
    return list(verification(read(lines), monthly(basis)).findings)


def _more(*path: object) -> Callable[[dict[str, Any]], object]:
    def change(line: dict[str, Any]) -> None:
        whole: Any = line
        for step in path[:-1]:
            whole = whole[step]
        whole[path[-1]] += 1

    return change


COUNTERS = [
    (("good",), "good"),
    (("failed", "gateway"), "gateway"),
    (("latency", 3), "under_50_ms"),
    (("latency", 12), "over_30000_ms"),
]


def failing(line: dict[str, Any]) -> bool:
    return "gateway" in line["failed"] and line["tenant"] is not None


@pytest.mark.parametrize(("path", "name"), COUNTERS)
def test_the_one_counter_that_was_altered_is_named_with_its_row(
    lines: list[str], basis: Basis, path: tuple[object, ...], name: str
) -> None:
    at = first(lines, "counters", failing)
    before = json.loads(lines[at])
    found = findings(altered(lines, at, _more(*path)), basis)
    row = [each for each in found if each.what == "row"]
    assert [each.line for each in row] == [at + 1]
    assert row[0].claimed == before["sha256"]
    assert f"{name} is " in row[0].said
    assert before["slot"] in row[0].said


@pytest.mark.parametrize(("path", "name"), COUNTERS)
def test_a_counter_whose_row_was_sealed_anew_is_named_by_its_day(
    lines: list[str], basis: Basis, path: tuple[object, ...], name: str
) -> None:
    at = first(lines, "counters", failing)
    day = json.loads(lines[at])["slot"][:10]
    found = findings(altered(lines, at, _more(*path), seal=True), basis)
    assert f"tenant.{day}.{name}" in [each.name for each in found if each.what == "counter"]
    assert "rows_sha256" in [each.name for each in found]


def test_counters_that_were_moved_between_minutes_are_named(lines: list[str], basis: Basis) -> None:
    at = first(lines, "counters", failing)
    changed = altered(altered(lines, at, _more("good")), at + 1, lambda line: _less(line))
    assert [each.line for each in findings(changed, basis) if each.what == "row"] == [at + 1, at + 2]


def _less(line: dict[str, Any]) -> None:
    line["good"] -= 1


@pytest.mark.parametrize(
    ("kind", "change", "what"),
    [
        ("alive", _set("replica", "b"), "line"),
        ("probe", _set("vantage_point", "nyc"), "line"),
        ("act", _set("actor", "somebody"), "act"),
        ("act", _set("at", "2026-04-01T00:00:00Z"), "act"),
        ("act", lambda line: line["content"].update(to="2026-04-30T00:00:00Z"), "act"),
        ("call", _set("status", 201), "call"),
        ("call", _set("cause", "client_error"), "call"),
    ],
)
@pytest.mark.parametrize("seal", [False, True])
def test_an_altered_line_of_another_kind_is_found(
    lines: list[str], basis: Basis, kind: str, change: Callable[[dict[str, Any]], object], what: str, seal: bool
) -> None:
    at = first(lines, kind)
    found = findings(altered(lines, at, change, seal=seal), basis)
    if seal:
        assert "rows_sha256" in [each.name for each in found]
    else:
        assert (what, at + 1) in [(each.what, each.line) for each in found]


def test_an_act_that_was_sealed_anew_breaks_the_log(lines: list[str], basis: Basis) -> None:
    at = first(lines, "act")
    found = findings(altered(lines, at, _set("actor", "somebody"), seal=True), basis)
    assert "act 1 breaks the log: its content is not what was recorded" in [each.said for each in found]


@pytest.mark.parametrize(
    "change",
    [
        lambda head: head["terms"].update(min_run_seconds=301),
        lambda head: head.update(known_until="2026-05-01T12:00:00Z"),
        lambda head: head["owners"].update(crm="managed"),
        lambda head: head.update(revision=2),
    ],
)
def test_an_altered_header_is_found_without_a_record(
    lines: list[str], change: Callable[[dict[str, Any]], object]
) -> None:
    found = verification(read(altered(lines, 0, change)))
    assert [(each.what, each.name) for each in found.findings] == [("header", "input_sha256")]


def test_an_export_that_was_made_anew_as_a_whole_differs_from_the_record(lines: list[str], basis: Basis) -> None:
    at = first(lines, "counters", failing)
    forged = read(altered(lines, at, _more("failed", "gateway"), seal=True)).basis
    found = findings(list(write(forged)), basis)
    assert {each.what for each in found} == {"record"}
    assert {"input_sha256", "requests.bad.gateway"} <= {each.name for each in found}


def test_an_act_that_was_withheld_shows_its_place_only(lines: list[str], basis: Basis) -> None:
    record = monthly(basis)
    assert (record["log"]["acts"], record["log"]["withheld"]) == (len(basis.acts), 1)
    assert record["log"]["tip"] == "cd" * 32


def test_a_log_that_makes_no_sense_is_a_finding_and_no_crash(basis: Basis) -> None:
    orphan = replace(basis, acts=basis.acts[1:])
    found = verification(read(list(write(orphan))), monthly(basis))
    assert "act" in {each.what for each in found.findings}
