"""Imported lines: what they may say, to the letter, and which line is wrong (D4, T9, SC5)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.sla.cases import CaseEvent, tickets
from policies.sla.export import Unreadable
from policies.sla.imports import (
    LONGEST_LINE,
    MOST_LINES,
    TOLERANCE_S,
    Bounds,
    Edge,
    Probe,
    Taken,
    What,
    read,
    source_name,
)
from policies.sla.support import SeverityChange, SupportEvent

NOW_S = 1_790_000_000
"""2026-09-21T14:13:20Z."""
BOUNDS = Bounds(now_s=NOW_S, oldest_s=NOW_S - 400 * 86_400, tenants={"acme", "globex"}, groups={"crm"})
EDGE = {"minute": "2026-09-21T12:00:00Z", "tenant": "acme", "group": "crm", "failed": 3}
NOON_S = 1_789_992_000
PROBE = {"vantage_point": "fra", "from": "2026-09-21T12:00:00Z", "to": "2026-09-21T12:00:30Z", "ok": False}
EVENT = {
    "id": "e1", "ticket": "T1", "tenant": "acme", "at": "2026-09-21T12:00:00Z", "kind": "opened",
    "actor": "customer", "severity": "S2",
}  # fmt: skip
LINES: dict[What, dict[str, Any]] = {"edge": EDGE, "probes": PROBE, "support": EVENT}


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in values)


def taken(what: What, data: bytes) -> Taken:
    return read(what, "lb", data, BOUNDS)


def refused(what: What, data: bytes) -> str:
    with pytest.raises(Unreadable) as error:
        taken(what, data)
    return str(error.value)


def test_edge_counters() -> None:
    later = {**EDGE, "minute": "2026-09-21T14:01:00+02:00", "failed": 0}
    without = {"minute": "2026-09-21T12:00:00Z", "failed": 1}
    found = taken("edge", lines(EDGE, later, without))
    assert found == Taken(
        entries=(
            Edge(slot_s=NOON_S, tenant="acme", group="crm", failed=3),
            Edge(slot_s=NOON_S + 60, tenant="acme", group="crm", failed=0),
            Edge(slot_s=NOON_S, tenant="", group="", failed=1),
        ),
        from_s=NOON_S,
        to_s=NOON_S + 120,
    )  # fmt: skip


def test_probe_results_are_of_vantage_points_of_their_source() -> None:
    parts = {
        **PROBE,
        "from": "2026-09-21T12:00:00.9Z",
        "to": "2026-09-21T12:00:30.1Z",
        "ok": True,
        "vantage_point": "b",
    }
    first, second = taken("probes", lines(PROBE, parts)).entries
    assert first == Probe(point="lb/fra", from_s=NOON_S, to_s=NOON_S + 30, ok=False)
    assert second == Probe(point="lb/b", from_s=NOON_S, to_s=NOON_S + 31, ok=True), "parts of a second count whole"


def test_support_events() -> None:
    ack = {key: value for key, value in EVENT.items() if key != "severity"} | {
        "id": "e2",
        "kind": "ack",
        "actor": "staff",
    }
    opened, answered = taken("support", lines(EVENT, ack)).entries
    assert opened == CaseEvent(
        source="lb", id="e1", ticket="T1", tenant="acme", at_s=NOON_S, kind="opened", actor="customer", severity="S2"
    )
    assert answered == CaseEvent(
        source="lb", id="e2", ticket="T1", tenant="acme", at_s=NOON_S, kind="ack", actor="staff"
    )


@pytest.mark.parametrize(("what", "line"), LINES.items())
def test_csv_says_the_same_as_json(what: What, line: dict[str, Any]) -> None:
    cells = [json.dumps(each) if not isinstance(each, str) else each for each in line.values()]
    header, row = ",".join(line), ",".join(cells)
    for end in ("\n", "\r\n"):
        assert taken(what, f"\ufeff{header}{end}{row}{end}".encode()) == taken(what, lines(line))


def test_an_empty_cell_is_a_name_that_is_not_there() -> None:
    (edge,) = taken("edge", b"minute,tenant,failed,group\n2026-09-21T12:00:00Z,,3,\n").entries
    assert edge == Edge(slot_s=NOON_S, tenant="", group="", failed=3)


@pytest.mark.parametrize(
    ("what", "change", "said"),
    [
        ("edge", {"minute": "2026-02-31T12:00:00Z"}, "does not exist"),
        ("edge", {"minute": "2026-09-21T12:00:00"}, "has no zone; write an offset"),
        ("edge", {"minute": "2026-09-21"}, "has no zone"),
        ("edge", {"minute": "2026-09-21T12:00:00+25:00"}, "does not exist"),
        ("edge", {"minute": "2026-09-21T12:00:00 Europe/Berlin"}, "is no instant like 2026"),
        ("edge", {"minute": "2026-W39-1T12:00:00Z"}, "is no instant like 2026"),
        ("edge", {"minute": NOON_S}, "is no instant like 2026"),
        ("edge", {"minute": None}, "is no instant like 2026"),
        ("edge", {"minute": "2026-09-21T12:00:01Z"}, "not the beginning of a minute"),
        ("edge", {"minute": "2026-09-21T12:00:00.5Z"}, "not the beginning of a minute"),
        ("edge", {"minute": "2026-09-21T14:19:00Z"}, "lies in the future"),
        ("edge", {"minute": "2036-09-21T12:00:00Z"}, "lies in the future: it is 2026-09-21T14:13:20Z"),
        ("edge", {"minute": "0001-01-01T00:00:00+23:59"}, "from when on minutes are kept"),
        ("edge", {"minute": "2024-09-21T12:00:00Z"}, "from when on minutes are kept"),
        ("edge", {"tenant": "acne"}, "tenant 'acne' is not known; did you mean 'acme'?"),
        ("edge", {"tenant": ["acme"]}, "is not known"),
        ("edge", {"group": "mail"}, "group 'mail' is not known"),
        ("edge", {"failed": -1}, "whole number"),
        ("edge", {"failed": True}, "whole number"),
        ("edge", {"failed": "3"}, "whole number"),
        ("edge", {"failed": 10**9 + 1}, "whole number"),
        ("edge", {"faild": 3}, "has no 'faild'"),
        ("probes", {"to": "2026-09-21T12:00:00Z"}, "not after it began"),
        ("probes", {"to": "2026-09-21T11:00:00Z"}, "not after it began"),
        ("probes", {"ok": "false"}, "neither true nor false"),
        ("probes", {"ok": 0}, "neither true nor false"),
        ("probes", {"vantage_point": "a/b"}, "no name of a vantage point"),
        ("probes", {"vantage_point": ""}, "no name of a vantage point"),
        ("support", {"tenant": ""}, "is not known"),
        ("support", {"kind": "solved"}, "none of opened, ack"),
        ("support", {"actor": "on-call"}, "none of customer, staff, system"),
        ("support", {"severity": "S5"}, "none of S1"),
        ("support", {"kind": "ack"}, "of kind ack has no severity"),
        ("support", {"id": ""}, "no printable text"),
        ("support", {"id": 7}, "no printable text"),
        ("support", {"ticket": "T\u0000"}, "no printable text"),
        ("support", {"ticket": "\ud800"}, "no printable text"),
        ("support", {"ticket": "T" * 201}, "no printable text"),
    ],
)  # fmt: skip
def test_a_line_that_says_something_else_is_refused_with_its_number(
    what: What, change: dict[str, Any], said: str
) -> None:
    sound = {**LINES[what], "from": "2026-09-21T11:00:00Z"} if what == "probes" else {**LINES[what], "id": "e0"}
    sound = {**sound, "minute": "2026-09-21T11:00:00Z"} if what == "edge" else sound
    sound = {key: value for key, value in sound.items() if key in LINES[what]}
    found = refused(what, lines(sound, {**LINES[what], **change}))
    assert found.startswith("line 2: ")
    assert said in found


@pytest.mark.parametrize(("what", "line"), LINES.items())
def test_what_is_missing_is_named(what: What, line: dict[str, Any]) -> None:
    for name in line.keys() - {"tenant", "group", "severity"}:
        assert f"needs {name}" in refused(what, lines({key: each for key, each in line.items() if key != name}))
    if what == "support":
        assert "needs severity" in refused(what, lines({key: each for key, each in line.items() if key != "severity"}))


@pytest.mark.parametrize(("what", "line"), LINES.items())
def test_the_same_said_twice_is_refused_whatever_it_says(what: What, line: dict[str, Any]) -> None:
    same_instant = {"minute": "2026-09-21T14:00:00+02:00"} if what == "edge" else {}
    found = refused(what, lines(line, {**line, **same_instant}))
    assert found == "line 2: it says again what line 1 has said"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "there are no lines"),
        (b"\n \n", "there are no lines"),
        (b"minute,failed\n", "there are no lines"),
        (lines(EDGE)[:-9], "line 1: it is no JSON object, or cut off"),
        (lines(EDGE) + b"[]\n", "line 2: the line is [], not an object"),
        (lines(EDGE) + b"{" * LONGEST_LINE + b"\n", "line 2: it is no JSON object"),
        (lines(EDGE) + b" " * (LONGEST_LINE + 1), "line 2: it is longer than"),
        (lines(EDGE) + b'{"minute": "\xff"}\n', "line 2: it is not UTF-8"),
        (b'{"minute": "2026-09-21T12:00:00Z", "failed": 1, "failed": 0}\n', "line 1: it says a name twice"),
        (b'{"minute": "2026-09-21T12:00:00Z", "failed": 1.0}\n', "line 1: '1.0' is no whole number"),
        (b'{"minute": "2026-09-21T12:00:00Z", "failed": NaN}\n', "line 1: 'NaN' is no whole number"),
        (b"minute,failed\n2026-09-21T12:00:00Z,12", "line 2: it does not end with a line break"),
        (b"minute,failed\n2026-09-21T12:00:00Z\n", "line 2: it has 1 columns and the header 2"),
        (b"minute,failed,failed\n", "line 1: the header says a name twice"),
        (b"minute,count\n", "line 1: the header needs failed"),
        (b"2026-09-21T12:00:00Z,3\n", "line 1: the header needs minute, failed"),
        (b'minute,failed\n"2026-09-21T12:00:00Z,3\n', "line 2: it is no CSV"),
        (b"minute,failed\n2026-09-21T12:00:00Z,\xd9\xa3\n", "line 2: failed is"),
        (b"minute,failed\n2026-09-21T12:00:00Z,\n", "line 2: the line needs failed"),
        (b"\n" * (MOST_LINES + 1), "more than 400,000 lines"),
    ],
)  # fmt: skip
def test_a_text_that_is_not_what_it_should_be_is_refused(data: bytes, said: str) -> None:
    assert said in refused("edge", data)


@given(cut=st.integers(0, len(lines(EDGE, {**EDGE, "tenant": "globex"}))))
def test_a_cut_never_changes_what_is_said(cut: int) -> None:
    """Anywhere but between two lines it is refused; there the lines that are whole are the lines."""
    whole = lines(EDGE, {**EDGE, "tenant": "globex"})
    entries = taken("edge", whole).entries
    try:
        found = taken("edge", whole[:cut]).entries
    except Unreadable:
        return
    assert found == entries[: len(found)]


@given(cut=st.integers(0, 60))
def test_a_cut_never_changes_what_csv_says(cut: int) -> None:
    whole = b"failed,minute\n1234,2026-09-21T12:00:00Z\n" + b"12,2026-09-21T12:01:00Z\n"
    entries = taken("edge", whole).entries
    try:
        found = taken("edge", whole[:cut]).entries
    except Unreadable:
        return
    assert found == entries[: len(found)]


def test_a_clock_that_is_a_little_behind_refuses_nothing() -> None:
    assert taken("support", lines({**EVENT, "at": "2026-09-21T14:18:20Z"})).from_s == NOW_S + TOLERANCE_S


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-a", "ä", "x" * 65, None, "a\n"])
def test_a_source_has_a_plain_name(name: object) -> None:
    with pytest.raises(ValueError, match="no name of a source"):
        source_name(name)
    assert source_name("lb-eu_1.example") == "lb-eu_1.example"


# --- cases ----------------------------------------------------------------------------------------------------------


def event(number: int, kind: str, *, ticket: str = "T1", at_s: int = NOON_S, **facts: Any) -> CaseEvent:
    given: dict[str, Any] = {"source": "desk", "tenant": "acme", "actor": "staff", "severity": None, **facts}
    return CaseEvent(id=f"e{number}", ticket=ticket, at_s=at_s, kind=kind, **given)  # type: ignore[arg-type]


def test_events_become_cases_whatever_their_order() -> None:
    told = [
        event(1, "opened", severity="S3", actor="customer"),
        event(2, "reply", at_s=NOON_S + 10, actor="system"),
        event(3, "severity", at_s=NOON_S + 20, severity="S1"),
        event(4, "ack", at_s=NOON_S + 30),
        event(5, "closed", at_s=NOON_S + 40),
        event(6, "opened", ticket="T0", at_s=NOON_S - 1, severity="S4", actor="customer"),
        event(7, "opened", source="mail", severity="S2", actor="customer"),
        event(8, "ack", ticket="T9"),
    ]
    for order in (told, told[::-1], told[4:] + told[:4]):
        first, second, third = tickets(order)
        assert (first.id, first.severity, first.received_s) == ("desk/T0", "S4", NOON_S - 1)
        assert (second.id, second.severity, second.received_s) == ("desk/T1", "S3", NOON_S)
        assert second.changes == (SeverityChange(at_s=NOON_S + 20, to="S1"),)
        assert second.events == (
            SupportEvent(at_s=NOON_S + 10, actor="system", kind="reply"),
            SupportEvent(at_s=NOON_S + 30, actor="staff", kind="ack"),
        )
        assert third.id == "mail/T1", "another system's ticket of that name is another case"


def test_a_case_that_was_opened_again_keeps_its_receipt() -> None:
    (case,) = tickets([
        event(2, "opened", at_s=NOON_S + 60, severity="S1"), event(1, "opened", severity="S3"),
    ])  # fmt: skip
    assert (case.severity, case.received_s) == ("S3", NOON_S)
    assert case.changes == (SeverityChange(at_s=NOON_S + 60, to="S1"),)
