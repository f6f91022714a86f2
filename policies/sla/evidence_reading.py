"""The form of ``evidence_form`` read back, strictly: an unknown key, a second zone or a day that does not exist is an
error and never a guess.

Whether digests and totals are right is not asked here. All functions raise ``ValueError`` that says what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from policies.sla import instants
from policies.sla.acts import complaint
from policies.sla.chain import Act, Link, Withheld
from policies.sla.counters import Counts
from policies.sla.credit import minor_digits
from policies.sla.evidence import MINUTE_S, Alive, Call, Failing, Fee, Head, Row, VersionName
from policies.sla.evidence_form import KINDS, SCHEMA, Part, Value, terms_value
from policies.sla.histogram import BUCKETS
from policies.sla.period import Period, period
from policies.sla.promises import OWNERS
from policies.sla.reading import array, count, decimal, keys, mapping, or_none, sha256, shown, text
from policies.sla.support import Ticket
from policies.sla.support_form import support_of, ticket_of
from policies.sla.terms import SlaTerms, terms_of

CAUSES: Final = frozenset({
    "gateway", "managed_upstream", "third_party", "customer", "internal", "client_abort", "own_limit", "client_error",
    "upstream_throttle",
})  # fmt: skip
"""Of everything that is not good (spec section 14)."""
HEAD_KEYS: Final = (
    "kind", "schema", "tenant", "period", "revision", "terms", "provenance", "owners", "version", "contract",
    "known_until", "published_at", "fee", "vantage_points", "support", "missed_before",
    "credited_before",
)  # fmt: skip
MOST_DECIMALS: Final = 12
MOST_DAYS: Final = 36_500
MOST_SECONDS: Final = 10**9
MOST_MONTHS: Final = 1_200


def head_of(value: Value) -> Head:
    """The head, from a header without the keys of its hashes, counts and totals."""
    found = keys(value, "the header", *HEAD_KEYS)
    if found["schema"] != SCHEMA:
        raise ValueError(f"schema {shown(found['schema'])} is not {SCHEMA}, the only one known here")
    terms = _terms(found["terms"])
    contract = keys(found["contract"], "contract", "from", "to")
    month = _month(found["period"], terms.zone)
    return Head(
        tenant=or_none(found["tenant"], lambda name: text(name, "tenant")),
        period=month,
        revision=count(found["revision"], "revision", least=1),
        terms=terms,
        provenance=_words(found["provenance"], "provenance", terms_value(terms)),
        owners=_owners(found["owners"]),
        version=or_none(found["version"], _version),
        contract=(_instant_or_none(contract["from"]), _instant_or_none(contract["to"])),
        known_until_s=instants.read(found["known_until"]),
        published_at_s=_instant_or_none(found["published_at"]),
        fee=or_none(found["fee"], _fee),
        vantage_points=_names(found["vantage_points"]),
        support=or_none(found["support"], support_of),
        missed_before=_missed(found["missed_before"], month),
        credited_before=decimal(found["credited_before"], "credited_before"),
    )


def _instant_or_none(value: object) -> int | None:
    return or_none(value, instants.read)


def _month(value: object, zone: str) -> Period:
    found = period(text(value, "period"), zone)
    if len(found.name) != len("2026-04") or "Q" in found.name:
        raise ValueError(f"period {found.name} is no month")
    return found


def _terms(value: object) -> SlaTerms:
    """All of them, so that nothing is left to the defaults of whoever reads them."""
    given = keys(value, "terms", *terms_value(SlaTerms()))
    for name, each in given.items():
        if type(each) is int:
            count(each, name, most=MOST_SECONDS)
    count(given["display_decimals"], "display_decimals", most=MOST_DECIMALS)
    count(given["claim_days"], "claim_days", most=MOST_DAYS)
    _decimals(given)
    terms = terms_of(given)
    if terms.slot_seconds % MINUTE_S:
        raise ValueError(f"counters are kept by the minute; slots of {terms.slot_seconds} s cannot be judged by them")
    return terms


def _decimals(given: Mapping[str, Any]) -> None:
    decimal(given["threshold_percent"], "threshold_percent")
    or_none(given["target"], lambda value: decimal(value, "target"))
    decimal(keys(given["cap"], "cap", "percent", "window")["percent"], "cap.percent")
    for band in array(given["bands"], "bands"):
        found = keys(band, "a band", "min", "credit", "termination")
        decimal(found["min"], "a band's min")
        decimal(found["credit"], "a band's credit")
    for each in array(given["latency"], "latency"):
        found = keys(each, "a commitment", "share_percent", "under_ms")
        decimal(found["share_percent"], "share_percent")
        count(found["under_ms"], "under_ms", most=MOST_SECONDS)
    if given["chronic"] is not None:
        for name, number in keys(given["chronic"], "chronic", "misses", "months").items():
            count(number, f"chronic.{name}", least=1, most=MOST_MONTHS)


def _words(value: object, what: str, allowed: Mapping[str, object]) -> dict[str, str]:
    found = mapping(value, what)
    for name in found:
        if name not in allowed:
            raise ValueError(f"{what} has no key {shown(name)}")
    return {name: text(each, f"{what}.{name}") for name, each in found.items()}


def _owners(value: object) -> dict[str, str]:
    found = mapping(value, "owners")
    for name, owner in found.items():
        if owner not in OWNERS:
            raise ValueError(f"owner {shown(owner)} of {shown(name)} is none of {', '.join(OWNERS)}")
    return dict(found)


def _version(value: object) -> VersionName:
    found = keys(value, "version", "id", "number", "sha256")
    return VersionName(
        id=text(found["id"], "version.id"),
        number=text(found["number"], "version.number"),
        sha256=sha256(found["sha256"], "version.sha256"),
    )


def _fee(value: object) -> Fee:
    found = keys(value, "fee", "amount", "currency", "months")
    minor_digits(text(found["currency"], "currency"))
    return Fee(
        amount=decimal(found["amount"], "fee.amount"),
        currency=found["currency"],
        months=count(found["months"], "fee.months", least=1, most=1_200),
    )


def _missed(value: object, month: Period) -> tuple[str, ...]:
    """Earlier months, each once and in their order."""
    names = tuple(_month(each, month.zone).name for each in array(value, "missed_before"))
    if list(names) != sorted({*names}) or any(name >= month.name for name in names):
        raise ValueError(f"missed_before does not list months before {month.name} in their order, each once")
    return names


def _names(value: object) -> tuple[str, ...]:
    names = tuple(text(each, "a vantage point") for each in array(value, "vantage_points"))
    if len(names) != len(set(names)):
        raise ValueError("vantage_points names one of them twice")
    return names


# --- the lines behind the header ----------------------------------------------------------------------------------


def part_of(value: Value, head: Head) -> Part:
    """What one line says, its digest left out."""
    match value.get("kind"):
        case "counters":
            return _row(value, head)
        case "alive":
            return _alive(value)
        case "probe":
            return _failing(value, head)
        case "act":
            return _act(value, head)
        case "call":
            return _call(value, head)
        case "ticket":
            return _ticket(value, head)
    raise ValueError(f"kind {shown(value.get('kind'))} is none of {', '.join(KINDS)}")


def _row(value: Value, head: Head) -> Row:
    found = keys(value, "a counter row", "kind", "slot", "tenant", "group", "good", "failed", "latency")
    slot_s = instants.read(found["slot"])
    if slot_s % MINUTE_S:
        raise ValueError(f"{found['slot']} begins no minute")
    _within(slot_s, slot_s + MINUTE_S, head, found["slot"])
    if found["tenant"] not in (None, head.tenant):
        raise ValueError(f"tenant {shown(found['tenant'])} is not {shown(head.tenant)}, whose export this is")
    return Row(slot_s=slot_s, tenant=found["tenant"], group=text(found["group"], "group"), counts=_counts(found))


def _counts(found: Mapping[str, Any]) -> Counts:
    failed = mapping(found["failed"], "failed")
    for cause, number in failed.items():
        if cause not in CAUSES:
            raise ValueError(f"cause {shown(cause)} is none of {', '.join(sorted(CAUSES))}")
        count(number, f"failed.{cause}", least=1)
    latency = tuple(count(each, "a latency bucket") for each in array(found["latency"], "latency"))
    if len(latency) not in (0, BUCKETS):
        raise ValueError(f"latency has {len(latency)} buckets, not {BUCKETS}")
    return Counts(good=count(found["good"], "good"), failed=dict(failed), latency=latency)


def _within(start_s: int, end_s: int, head: Head, what: object) -> None:
    first, last = head.seen
    if start_s >= last or end_s <= first:
        raise ValueError(f"{what} is not within {head.period.name}, a day before and after, and what was known")


def _interval(found: Mapping[str, Any]) -> tuple[int, int]:
    start, end = instants.read(found["from"]), instants.read(found["to"])
    if end <= start:
        raise ValueError(f"{found['from']} to {found['to']} ends before it has begun")
    return start, end


def _alive(value: Value) -> Alive:
    found = keys(value, "an alive interval", "kind", "replica", "boot", "from", "to")
    start, end = _interval(found)
    return Alive(replica=text(found["replica"], "replica"), boot=text(found["boot"], "boot"), from_s=start, to_s=end)


def _failing(value: Value, head: Head) -> Failing:
    found = keys(value, "a probe's interval", "kind", "vantage_point", "from", "to")
    start, end = _interval(found)
    if found["vantage_point"] not in head.vantage_points:
        raise ValueError(f"{shown(found['vantage_point'])} is none of the header's vantage points")
    return Failing(vantage=found["vantage_point"], from_s=start, to_s=end)


def _act(value: Value, head: Head) -> Link | Withheld:
    place = ("kind", "number", "previous", "hash")
    withheld = "act" not in value
    found = (
        keys(value, "an act", *place) if withheld else keys(value, "an act", *place, "act", "actor", "at", "content")
    )
    number = count(found["number"], "number", least=1)
    previous, hash_ = sha256(found["previous"], "previous"), sha256(found["hash"], "hash")
    if withheld:
        return Withheld(number=number, previous=previous, hash=hash_)
    return Link(number=number, act=_content(found, head), previous=previous, hash=hash_)


def _content(found: Mapping[str, Any], head: Head) -> Act:
    act = Act(
        kind=text(found["act"], "act"),
        actor=text(found["actor"], "actor"),
        at_s=instants.read(found["at"]),
        content=mapping(found["content"], "content"),
    )
    said = complaint(act)
    if said is not None:
        raise ValueError(said)
    if head.tenant is not None and act.content.get("tenant") not in (None, head.tenant):
        raise ValueError(f"an act about tenant {shown(act.content['tenant'])} is not {shown(head.tenant)}'s to read")
    return act


def _call(value: Value, head: Head) -> Call:
    found = keys(value, "a call", "kind", "request_id", "at", "status", "group", "cause")
    if found["cause"] not in CAUSES | {"ok"}:
        raise ValueError(f"cause {shown(found['cause'])} is none of ok, {', '.join(sorted(CAUSES))}")
    known_us = instants.read_us(found["at"])
    _within(known_us // 1_000_000, known_us // 1_000_000 + 1, head, found["at"])
    return Call(
        id=text(found["request_id"], "request_id", most=256),
        known_us=known_us,
        status=count(found["status"], "status", least=100, most=599),
        group=text(found["group"], "group"),
        cause=found["cause"],
    )


def _ticket(value: Value, head: Head) -> Ticket:
    ticket, period_ = ticket_of(value), head.period
    if not period_.start_s <= ticket.received_s < period_.end_s:
        raise ValueError(f"case {shown(ticket.id)} was not received in {period_.name}")
    return ticket
