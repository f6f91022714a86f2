"""The one form of a ``Basis``: JSON values, their order, their totals and their hashes (spec D8, R1).

A row carries its own digest, the header the digest of all in their order and the totals of every counter, so that an
altered row is named by the one and an altered counter by the other. Nothing is read here (``evidence_reading``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any, Final

from policies.sla.canonical import canonical, digest, percent
from policies.sla.chain import Link, Withheld
from policies.sla.counters import Counts, total
from policies.sla.evidence import Alive, Basis, Call, Failing, Fee, Head, Row
from policies.sla.histogram import BOUNDS_US, Commitment
from policies.sla.instants import written, written_us
from policies.sla.row_line import DAY_S, date, row_line
from policies.sla.support import Ticket
from policies.sla.support_form import support_value, ticket_value
from policies.sla.terms import Band, Cap, Chronic, SlaTerms

Value = dict[str, Any]

Part = Row | Alive | Failing | Link | Withheld | Call | Ticket

SCHEMA: Final = 1
SEAL: Final = "sha256"
"""The key of a line's own digest, which is over all other keys."""
KINDS: Final = ("counters", "alive", "probe", "act", "call", "ticket")
"""The lines behind the header, in this order."""
HIDDEN: Final = frozenset({"internal_target", "internal_latency"})
"""Terms that a customer never sees, and that decide nothing of his."""
PUBLISHED: Final = tuple(each.name for each in fields(SlaTerms) if each.name not in HIDDEN)

_SCOPES: Final = ("tenant", "platform")
_LATENCY: Final = (*(f"under_{bound // 1_000}_ms" for bound in BOUNDS_US), "over_30000_ms")


def sealed(value: Value) -> Value:
    """``value`` with its digest."""
    return {**value, SEAL: digest(value)}


def parts_of(basis: Basis) -> Iterator[Part]:
    """Everything but the head, in the order of the form."""
    yield from sorted(basis.rows, key=lambda each: (each.tenant is None, each.group, each.slot_s))
    yield from sorted(basis.alive, key=lambda each: (each.replica, each.boot, each.from_s, each.to_s))
    yield from sorted(basis.failing, key=lambda each: (each.vantage, each.from_s, each.to_s))
    yield from basis.acts
    yield from sorted(basis.calls, key=lambda each: (each.known_us, each.id))
    yield from sorted(basis.tickets, key=lambda each: (each.received_s, each.id))


def lines_of(basis: Basis) -> Iterator[tuple[str, str]]:
    """The digest of each and its line, without the line feed."""
    return map(line_of, parts_of(basis))


def line_of(part: Part) -> tuple[str, str]:
    """Raises ``ValueError`` for what has no canonical form."""
    if isinstance(part, Row):
        return row_line(part)
    value = sealed(part_value(part))
    return value[SEAL], canonical(value).decode()


def rows_sha256(seals: Iterable[str]) -> str:
    """The digest of all lines: SHA-256 over their digests, as text, in the order of the form."""
    hashed = hashlib.sha256()
    for each in seals:
        hashed.update(each.encode())
    return hashed.hexdigest()


def header_value(basis: Basis, seals: Iterable[str]) -> Value:
    """The first line: what is judged, how many lines follow, what they add up to, and the hash of everything."""
    value = {
        **head_value(basis.head),
        "lines": line_counts(basis),
        "totals": totals(basis.rows),
        "rows_sha256": rows_sha256(seals),
    }
    return {**value, "input_sha256": digest(value)}


def input_sha256(basis: Basis, seals: Iterable[str] | None = None) -> str:
    """The hash of all that the figure is computed from; ``seals`` are the digests of its lines where they are known."""
    known = (seal for seal, _ in lines_of(basis)) if seals is None else seals
    hashed: str = header_value(basis, known)["input_sha256"]
    return hashed


def line_counts(basis: Basis) -> dict[str, int]:
    """How many lines of each kind there are."""
    parts = (basis.rows, basis.alive, basis.failing, basis.acts, basis.calls, basis.tickets)
    return dict(zip(KINDS, map(len, parts), strict=True))


def totals(rows: Iterable[Row]) -> dict[str, dict[str, dict[str, int]]]:
    """Whose -> day (UTC) -> counter -> sum. Days, so that a counter that does not add up is found within one."""
    days: dict[tuple[bool, int], list[Counts]] = {}
    for row in rows:
        days.setdefault((row.tenant is None, row.slot_s // DAY_S), []).append(row.counts)
    made: dict[str, dict[str, dict[str, int]]] = {}
    for (of_all, day), counted in days.items():
        made.setdefault(_SCOPES[of_all], {})[date(day)[:-1]] = _named(total(counted))
    return made


def scope_of(row: Row) -> str:
    return _SCOPES[row.tenant is None]


def counters_of(row: Row) -> dict[str, int]:
    """Every counter of a row under its name, those of 0 left out."""
    return _named(row.counts)


def _named(counts: Counts) -> dict[str, int]:
    named = {"good": counts.good, **counts.failed, **dict(zip(_LATENCY, counts.latency, strict=False))}
    return {name: count for name, count in named.items() if count}


# --- each part ----------------------------------------------------------------------------------------------------


def part_value(part: Part) -> Value:
    match part:
        case Row():
            return row_value(part)
        case Alive():
            return alive_value(part)
        case Failing():
            return failing_value(part)
        case Link() | Withheld():
            return act_value(part)
        case Call():
            return call_value(part)
    return ticket_value(part)


def row_value(row: Row) -> Value:
    return {
        "kind": "counters",
        "slot": written(row.slot_s),
        "tenant": row.tenant,
        "group": row.group,
        "good": row.counts.good,
        "failed": {cause: count for cause, count in row.counts.failed.items() if count},
        "latency": list(row.counts.latency),
    }


def alive_value(alive: Alive) -> Value:
    return {
        "kind": "alive", "replica": alive.replica, "boot": alive.boot, "from": written(alive.from_s),
        "to": written(alive.to_s),
    }  # fmt: skip


def failing_value(failing: Failing) -> Value:
    return {
        "kind": "probe", "vantage_point": failing.vantage, "from": written(failing.from_s), "to": written(failing.to_s)
    }  # fmt: skip


def act_value(link: Link | Withheld) -> Value:
    """An act, or only its place where it concerns somebody else."""
    place: Value = {"kind": "act", "number": link.number, "previous": link.previous, "hash": link.hash}
    if isinstance(link, Withheld):
        return place
    act = link.act
    return {**place, "act": act.kind, "actor": act.actor, "at": written(act.at_s), "content": dict(act.content)}


def call_value(call: Call) -> Value:
    return {
        "kind": "call", "request_id": call.id, "at": written_us(call.known_us), "status": call.status,
        "group": call.group, "cause": call.cause,
    }  # fmt: skip


def head_value(head: Head) -> Value:
    period, (start, end) = head.period, head.contract
    return {
        "kind": "header",
        "schema": SCHEMA,
        "tenant": head.tenant,
        "period": period.name,
        "revision": head.revision,
        "terms": terms_value(head.terms),
        "provenance": {name: layer for name, layer in head.provenance.items() if name in PUBLISHED},
        "owners": dict(head.owners),
        "version": None if head.version is None else version_value(head),
        "contract": {"from": _instant(start), "to": _instant(end)},
        "known_until": written(head.known_until_s),
        "published_at": _instant(head.published_at_s),
        "fee": None if head.fee is None else _fee(head.fee),
        "vantage_points": list(head.vantage_points),
        "support": None if head.support is None else support_value(head.support),
        "missed_before": list(head.missed_before),
        "credited_before": f"{head.credited_before:f}",
    }


def terms_value(terms: SlaTerms) -> Value:
    """Every published term under its name in spec section 15, so that nothing is left to a default."""
    return {name: _term(getattr(terms, name)) for name in PUBLISHED}


def version_value(head: Head) -> Value | None:
    version = head.version
    return None if version is None else {"id": version.id, "number": version.number, "sha256": version.sha256}


def _term(value: object) -> object:
    match value:
        case Cap():
            return {"percent": plain(value.percent), "window": value.window}
        case Band():
            return {"min": plain(value.min), "credit": plain(value.credit), "termination": value.termination}
        case Commitment():
            return {"share_percent": percent(value.share), "under_ms": value.under_us // 1_000}
        case Chronic():
            return {"misses": value.misses, "months": value.months}
        case tuple():
            return [_term(each) for each in value]
        case None | bool() | int() | str():
            return value
    return plain(value)


def plain(number: Any) -> str:
    """A ``Decimal`` without an exponent and without trailing zeros."""
    digits = f"{number:f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _fee(fee: Fee) -> Value:
    return {"amount": f"{fee.amount:f}", "currency": fee.currency, "months": fee.months}


def _instant(at_s: int | None) -> str | None:
    return None if at_s is None else written(at_s)
