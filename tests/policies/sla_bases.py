"""What the record is made from, for tests: months of the vectors as a ``Basis``, with the log that they imply."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from policies.sla.acts import ANNOUNCE, APPROVE, EXCLUDE, WORK
from policies.sla.canonical import digest
from policies.sla.chain import Act, Link, append
from policies.sla.counters import Counts
from policies.sla.evaluate import MARGIN_S
from policies.sla.evidence import MINUTE_S, Alive, Basis, Call, Fee, Head, Row, VersionName
from policies.sla.histogram import Commitment
from policies.sla.instants import written
from policies.sla.period import period
from policies.sla.record import Record, monthly
from policies.sla.spans import Span, difference, intersection, spans
from policies.sla.terms import FIELDS, SlaTerms, terms_of
from policies.sla.traffic import Traffic
from tests.policies import sla_figure_vectors as figures
from tests.policies.sla_vectors import FILE, complete, defaults
from tests.policies.vector_shapes import seconds
from tests.vector_files import cases

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
NEAR_S = 1_800
"""How much of the background is kept around what happens: a whole month of it says nothing more."""


def availability_cases() -> list[Mapping[str, Any]]:
    """The cases of figures that minute counters can carry."""
    found = [case for case in cases(VECTORS, FILE) if case.get("kind", "availability") == "availability"]
    given = defaults(VECTORS)
    return [whole for case in found if (whole := complete(case, given))["policy"]["slot_seconds"] % MINUTE_S == 0]


def case_named(name: str) -> Mapping[str, Any]:
    return next(case for case in availability_cases() if case["name"] == name)


def basis_of(case: Mapping[str, Any]) -> Basis:
    """The case as evidence."""
    given, terms = case["input"], terms_of({key: case["policy"][key] for key in case["policy"] if key in FIELDS})
    promised = (Commitment(share=Fraction(99, 100), under_us=500_000),)
    terms = replace(terms, zone=case["period"].get("tz", terms.zone), latency=promised)
    of = period(case["period"]["month"], terms.zone)
    seen = (of.start_s - MARGIN_S, of.end_s + MARGIN_S)
    tenant = case["tenant"] or "acme"
    own = figures._traffic(given, terms, seen)
    platform = figures._traffic(given["platform"], terms, seen) if "platform" in given else own
    contract = given.get("contract", {})
    near = _near(case, seen)
    return Basis(
        head=Head(
            tenant=tenant, period=of, terms=terms, provenance={"target": "tier:premium", "zone": f"customer:{tenant}"},
            owners={"crm": "third_party", "billing": "managed"},
            version=VersionName(id="standard", number="2.1.0", sha256="ab" * 32),
            contract=(_instant(contract.get("from")), _instant(contract.get("to"))), known_until_s=seen[1],
            fee=Fee(amount=Decimal("4800.00"), currency="EUR"),
        ),
        rows=(*_rows(own, tenant, near), *_rows(platform, None, near)),
        alive=tuple(_alive(given, seen)),
        acts=links(acts_of(case, tenant)),
    )  # fmt: skip


@lru_cache(maxsize=128)
def _record(name: str) -> Record:
    return monthly(basis_of(case_named(name)))


def record_of(name: str) -> Record:
    """The record of the case; it is worked out once."""
    return deepcopy(_record(name))


def altered(lines: list[str], at: int, change: Callable[[dict[str, Any]], object], *, seal: bool = False) -> list[str]:
    """The lines of an export with one changed; ``seal`` puts the digest right again."""
    value = json.loads(lines[at])
    change(value)
    if seal:
        value["sha256"] = digest({key: each for key, each in value.items() if key != "sha256"})
    return [*lines[:at], json.dumps(value) + "\n", *lines[at + 1 :]]


def _instant(text: str | None) -> int | None:
    return seconds(text) if text else None


def _near(case: Mapping[str, Any], seen: Span) -> Span:
    """From half an hour before the first thing that happens to half an hour after the last."""
    given = case["input"]
    times = [at for part in (given, given.get("platform", {})) for at in figures.named_slots(part, MINUTE_S)]
    times += [at for pair in given.get("dark", ()) for at in figures.span_of(pair)]
    ends = (min(times, default=seen[0]) - NEAR_S, max(times, default=seen[0]) + NEAR_S)
    return ends if "background" not in given or times else seen


def _rows(traffic: Traffic, tenant: str | None, near: Span) -> Iterator[Row]:
    for slot_s in sorted({*traffic.good, *(slot for column in traffic.failed.values() for slot in column)}):
        failed = {cause: number for cause, column in traffic.failed.items() if (number := column.get(slot_s, 0))}
        good = traffic.good.get(slot_s, 0)
        if near[0] <= slot_s < near[1] and (good or failed):
            counts = Counts(good=good, failed=failed, latency=latency(good + sum(failed.values())))
            yield Row(slot_s=slot_s, tenant=tenant, group="crm", counts=counts)


def latency(requests: int) -> tuple[int, ...]:
    """Most of them quick, one in a hundred slow."""
    slow = requests // 100
    return (0, 0, 0, requests - slow, 0, 0, 0, slow, 0, 0, 0, 0, 0)


def _alive(given: Mapping[str, Any], seen: Span) -> Iterator[Alive]:
    by_replica = given.get("dark_by_replica", {"a": given.get("dark", [])})
    for replica, pairs in by_replica.items():
        dark = spans(figures.span_of(pair) for pair in pairs)
        for at, (start, end) in enumerate(difference((seen,), dark)):
            yield Alive(replica=replica, boot=f"b{at}", from_s=start, to_s=end)


def acts_of(case: Mapping[str, Any], tenant: str) -> list[Act]:
    """What was recorded, in the order of time."""
    made = [act for at, each in enumerate(case["exclusions"]) for act in _acts(f"x{at}", each)]
    return sorted((act for act in made if act.content.get("tenant") in (None, tenant)), key=lambda act: act.at_s)


def _acts(id: str, given: Mapping[str, Any]) -> Iterator[Act]:
    scope = {"tenant": given["tenant"]} if "tenant" in given else {}
    last = 0
    for told in given.get("announcements", ()):
        content = {"id": id, **_ends(told), **scope, **({"cancelled": True} if told.get("cancelled") else {})}
        last = max(last, seconds(told["at"]))
        yield Act(kind=ANNOUNCE, actor="op", at_s=seconds(told["at"]), content=content)
    if given.get("actual"):
        content = {"id": id, **_ends(given["actual"]), **scope}
        yield Act(kind=WORK, actor="op", at_s=max(last, seconds(given["actual"]["to"])), content=content)
    if "recorded_at" in given:
        content = {"id": id, "type": given["type"], **_ends(given), **scope, "reason": "storm", "evidence": "report 7"}
        yield Act(kind=EXCLUDE, actor="op", at_s=seconds(given["recorded_at"]), content=content)
        if given.get("approved"):
            yield Act(kind=APPROVE, actor="lead", at_s=seconds(given["recorded_at"]), content={"id": id, **scope})


def _ends(given: Mapping[str, Any]) -> dict[str, str]:
    return {end: written(seconds(given[end])) for end in ("from", "to")}


def links(acts: list[Act]) -> tuple[Link, ...]:
    made: list[Link] = []
    for act in acts:
        made.append(append(made[-1] if made else None, act))
    return tuple(made)


def calls_of(basis: Basis, minutes: Span) -> tuple[Call, ...]:
    """The access-log lines that the tenant's rows of some minutes come from."""
    made: list[Call] = []
    for row in basis.rows:
        if row.tenant is not None and intersection((minutes,), ((row.slot_s, row.slot_s + MINUTE_S),)):
            causes = ["ok"] * row.counts.good + [cause for cause, n in row.counts.failed.items() for _ in range(n)]
            made += [_call(row, at, cause) for at, cause in enumerate(causes)]
    return tuple(made)


def _call(row: Row, at: int, cause: str) -> Call:
    return Call(
        id=f"r-{row.slot_s}-{at}", known_us=row.slot_s * 1_000_000 + at * 1_000, status=STATUSES.get(cause, 502),
        group=row.group, cause=cause,
    )  # fmt: skip


STATUSES = {"ok": 200, "own_limit": 429, "client_error": 404, "gateway": 503}
PLAIN = SlaTerms()
