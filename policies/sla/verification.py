"""Whether an export holds together and gives the record that was published, and what was altered if not (spec R2).

A row is named by its digest, a counter by the total that its day no longer adds up to, an act by the chain. What
cannot be read at all is ``export``'s to refuse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from policies.sla.agreed import mismatches
from policies.sla.canonical import digest
from policies.sla.chain import Link, Withheld, verify
from policies.sla.evidence import MINUTE_S, Alive, Basis, Call, Failing, Row
from policies.sla.evidence_form import Part, counters_of, parts_of, rows_sha256, scope_of, totals
from policies.sla.export import Export, Place, key_of
from policies.sla.instants import written, written_us
from policies.sla.record import Record, monthly
from policies.sla.revision import diff
from policies.sla.support import Ticket

Missing = Mapping[tuple[str, str], dict[str, int]]
"""By scope and day, what the header has more than the rows, counter by counter; agreeing days are absent."""

What = Literal["row", "counter", "act", "line", "log", "header", "call", "ticket", "record"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that does not hold. ``line`` is its place in the export, None where it has none.

    ``claimed`` is what the export, or the record, says; ``found`` what comes out.
    """

    what: What
    line: int | None
    name: str
    claimed: object
    found: object
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """``record`` is what the evidence gives as it stands; None when its log of acts makes no sense."""

    record: Record | None
    findings: tuple[Finding, ...]

    @property
    def is_confirmed(self) -> bool:
        return not self.findings


def verification(export: Export, given: Record | None = None) -> Verification:
    """The record computed again; ``given`` is the one to be held against it."""
    places = [export.places[key_of(part)] for part in parts_of(export.basis)]
    missing = _missing(export)
    findings = [*_altered(export, missing), *_totals(export, missing), *_header(export, places), *_log(export.basis)]
    findings += _calls(export.basis)
    try:
        findings += _agreed(export.basis)
        record = monthly(export.basis, (place.found for place in places))
    except ValueError as error:
        said = f"no record can be made of it: {error}"
        findings.append(_finding("log", None, "acts", "sound evidence", str(error), said))
        return Verification(record=None, findings=tuple(findings))
    return Verification(record=record, findings=(*findings, *_differences(given, record)))


def _finding(what: What, line: int | None, name: str, claimed: object, found: object, said: str) -> Finding:
    return Finding(what=what, line=line, name=name, claimed=claimed, found=found, said=said)


def named(part: Part) -> str:
    """A part in words."""
    match part:
        case Row():
            whose = "the platform" if part.tenant is None else part.tenant
            return f"the counters of {whose}, group {part.group or '(none)'}, minute {written(part.slot_s)}"
        case Alive():
            return f"the life of replica {part.replica} from {written(part.from_s)} to {written(part.to_s)}"
        case Failing():
            return f"the failure of vantage point {part.vantage} from {written(part.from_s)} to {written(part.to_s)}"
        case Withheld():
            return f"the withheld act {part.number}"
        case Link():
            return f"act {part.number} ({part.act.kind} by {part.act.actor} at {written(part.act.at_s)})"
        case Ticket():
            return f"the support case {part.id} of {written(part.received_s)}"
    return f"the call {part.id} of {written_us(part.known_us)}"


# --- rows and their counters --------------------------------------------------------------------------------------


def _altered(export: Export, missing: Missing) -> Iterator[Finding]:
    """Each line that is not as it was sealed, a row with the counters of its day that no longer add up."""
    alone = Counter(_day(each.part) for each in export.altered if isinstance(each.part, Row))
    for place in export.altered:
        said = f"{named(place.part)} are not what was sealed" if isinstance(place.part, Row) else ""
        if isinstance(place.part, Row) and alone[_day(place.part)] == 1:
            said += _which(place.part, missing.get(_day(place.part), {}))
        what: What = _KIND.get(type(place.part), "line")
        said = said or f"{named(place.part)} is not what was sealed"
        yield _finding(what, place.line, named(place.part), place.claimed, place.found, said)


_KIND: Mapping[type, What] = {Row: "row", Link: "act", Withheld: "act", Call: "call", Ticket: "ticket"}


def _which(row: Row, missing: Mapping[str, int]) -> str:
    """The counter of the row that the day's totals give away, and what it was."""
    now = counters_of(row)
    parts = [f"{name} is {now.get(name, 0)} and was {now.get(name, 0) + by}" for name, by in missing.items()]
    return f": {', '.join(parts)}" if parts else ": its counters add up as they did, so it is the minute or the group"


def _totals(export: Export, missing: Missing) -> Iterator[Finding]:
    """Days whose counters do not add up although no row of theirs shows it: row and digest were both altered."""
    explained = {_day(each.part) for each in export.altered if isinstance(each.part, Row)}
    for (scope, day), counters in missing.items():
        if (scope, day) in explained:
            continue
        for name, by in counters.items():
            now = export.header["totals"].get(scope, {}).get(day, {}).get(name, 0) - by
            said = f"{name} of the {scope} on {day} adds up to {now}; the header says {now + by}"
            yield _finding("counter", None, f"{scope}.{day}.{name}", now + by, now, said)


def _missing(export: Export) -> Missing:
    told, found = export.header["totals"], totals(export.basis.rows)
    made: dict[tuple[str, str], dict[str, int]] = {}
    for scope in ("tenant", "platform"):
        for day in sorted({*told.get(scope, {}), *found.get(scope, {})}):
            claimed, counted = told.get(scope, {}).get(day, {}), found.get(scope, {}).get(day, {})
            differing = {name: claimed.get(name, 0) - counted.get(name, 0) for name in (*counted, *claimed)}
            made[scope, day] = {name: by for name, by in differing.items() if by}
    return {day: missing for day, missing in made.items() if missing}


def _day(part: Any) -> tuple[str, str]:
    return scope_of(part), written(part.slot_s)[:10]


# --- the rest -----------------------------------------------------------------------------------------------------


def _header(export: Export, places: Iterable[Place]) -> Iterator[Finding]:
    """The digest of all lines as they are sealed, and the header's own."""
    header = export.header
    seals = rows_sha256(place.claimed for place in places)
    if seals != header["rows_sha256"]:
        said = "the lines are not those that were exported: at least one was sealed anew, added or left out"
        yield _finding("header", 1, "rows_sha256", header["rows_sha256"], seals, said)
    own = digest({name: each for name, each in header.items() if name != "input_sha256"})
    if own != header["input_sha256"]:
        said = "the header (terms, period, contract, totals) is not what was exported"
        yield _finding("header", 1, "input_sha256", header["input_sha256"], own, said)


def _log(basis: Basis) -> Iterator[Finding]:
    broken = verify(basis.acts)
    if broken is not None:
        said = f"act {broken.number} breaks the log: {broken.reason}"
        yield _finding("act", None, f"act {broken.number}", "a link of the log", broken.reason, said)


def _agreed(basis: Basis) -> Iterator[Finding]:
    """The header's terms are those that the log shows were promised, or they were chosen afterwards."""
    for each in mismatches(basis):
        said = f"the header says {each.name} = {_said(each.claimed)}; the log of acts gives {_said(each.found)}"
        yield _finding("header", 1, each.name, each.claimed, each.found, said)


def _calls(basis: Basis) -> Iterator[Finding]:
    """Where the export carries calls, each minute has as many of each cause as its counters say."""
    if not basis.calls:
        return
    counted = _of_rows(basis)
    listed = Counter((each.known_us // 1_000_000 // MINUTE_S * MINUTE_S, each.cause) for each in basis.calls)
    minutes = {minute for minute, _ in listed}
    for key in sorted({*listed, *(key for key in counted if key[0] in minutes)}):
        if listed[key] != counted[key]:
            name = f"{written(key[0])} {key[1]}"
            said = f"the minute {written(key[0])} lists {listed[key]} calls of {key[1]} and counts {counted[key]}"
            yield _finding("call", None, name, counted[key], listed[key], said)


def _of_rows(basis: Basis) -> Counter[tuple[int, str]]:
    made: Counter[tuple[int, str]] = Counter()
    for row in basis.rows:
        if row.tenant == basis.head.tenant:
            made[row.slot_s, "ok"] += row.counts.good
            for cause, count in row.counts.failed.items():
                made[row.slot_s, cause] += count
    return made


def _differences(given: Record | None, record: Record) -> Iterator[Finding]:
    for each in () if given is None else diff(given, record):
        said = f"the record says {each.path} = {_said(each.old)}; the evidence gives {_said(each.new)}"
        yield _finding("record", None, each.path, each.old, each.new, said)


def _said(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
