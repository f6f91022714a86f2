"""What a period's figure is computed from, as one value (spec D8, R2).

Whoever holds a ``Basis`` needs nothing else, no policy and no ledger, to compute the figure again. Its canonical form
and its hash are ``evidence_form``; how it is written down is ``export``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from policies.model import nothing
from policies.sla.acts import Request, requests
from policies.sla.chain import Link, Withheld
from policies.sla.counters import Counts, Key, total, traffic_of
from policies.sla.evaluate import MARGIN_S, Account, Evidence, Figure, evaluate
from policies.sla.exclusions import Exclusion, excused, rulings
from policies.sla.heartbeats import dark, unreachable
from policies.sla.period import Period
from policies.sla.spans import ALWAYS, Span, Spans, intersection, spans, union
from policies.sla.support import SupportTerms, Ticket
from policies.sla.terms import SlaTerms
from policies.sla.traffic import Traffic

MINUTE_S: Final = 60
"""What counters are kept by. Terms with longer slots have several of them in one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The counters of a route group in one minute; ``tenant`` None: of all tenants together."""

    slot_s: int
    tenant: str | None
    group: str
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """When one start (``boot``) of a replica was alive (D3)."""

    replica: str
    boot: str
    from_s: int
    to_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """When a probe's vantage point could not reach the gateway (T9)."""

    vantage: str
    from_s: int
    to_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request of the tenant's, as the access log has it: when its outcome was known, and what it was."""

    id: str
    known_us: int
    status: int
    group: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionName:
    """Which version of the SLA the terms are of."""

    id: str
    number: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fee:
    """The recurring fee of the service for ``months`` months, net of tax (C1)."""

    amount: Decimal
    currency: str
    months: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Whose figure it is, of what time and under which terms.

    ``tenant`` None is the platform. ``provenance`` names the layer of each term, ``owners`` whose each upstream is
    (O9). ``contract`` is the time in which the terms were in force, an end of None is open. ``known_until_s``: what
    came later is not in the evidence, so that it is neither dark nor judged. ``vantage_points`` are all that probed,
    those that never failed included. ``revision`` counts from 1 (D6). ``support`` None promises no answer.
    ``missed_before`` are the earlier months (``2026-03``) whose target was missed as they were published, as many as
    the terms look back on (C5). ``credited_before``: what was credited of earlier months of the contract year, in the
    fee's currency, where the cap is by that year (C2).
    """

    tenant: str | None
    period: Period
    terms: SlaTerms
    provenance: Mapping[str, str] = field(default_factory=nothing)
    owners: Mapping[str, str] = field(default_factory=nothing)
    version: VersionName | None = None
    contract: tuple[int | None, int | None] = (None, None)
    known_until_s: int
    published_at_s: int | None = None
    revision: int = 1
    fee: Fee | None = None
    vantage_points: tuple[str, ...] = ()
    support: SupportTerms | None = None
    missed_before: tuple[str, ...] = ()
    credited_before: Decimal = Decimal(0)

    @property
    def is_provisional(self) -> bool:
        """Whether the period had not ended (P6)."""
        return self.known_until_s < self.period.end_s

    @property
    def seen(self) -> Span:
        """The time that the evidence is about: the period and a day on both sides (T11)."""
        return self.period.start_s - MARGIN_S, min(self.period.end_s + MARGIN_S, self.known_until_s)

    @property
    def force(self) -> Spans:
        """When the terms were in force and the evidence is there, of all time."""
        start, end = self.contract
        first = ALWAYS[0][0] if start is None else start
        return spans([(first, min(ALWAYS[0][1] if end is None else end, self.known_until_s))])

    @property
    def judged(self) -> Spans:
        """The part of it that lies in the period."""
        return intersection(((self.period.start_s, self.period.end_s),), self.force)


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """The head and the evidence. ``acts`` is the whole log of acts as far as it went, in its order.

    ``tickets`` are the support cases that were received in the period (SC5).
    """

    head: Head
    rows: tuple[Row, ...] = ()
    alive: tuple[Alive, ...] = ()
    failing: tuple[Failing, ...] = ()
    acts: tuple[Link | Withheld, ...] = ()
    calls: tuple[Call, ...] = ()
    tickets: tuple[Ticket, ...] = ()


def asked(basis: Basis) -> tuple[Request, ...]:
    """The exclusions that were asked for. Raises ``ValueError`` for a log that makes no sense."""
    return requests(basis.acts)


def figure(basis: Basis) -> Figure:
    """The month's figure, from the evidence alone. Raises ``ValueError`` for a log that makes no sense."""
    return figure_of(basis, evidence_of(basis))


def figure_of(basis: Basis, evidence: Evidence) -> Figure:
    """The same, if the counters had been those of ``evidence``."""
    head = basis.head
    exclusions = [each.exclusion for each in asked(basis)]
    return evaluate(evidence, exclusions, head.terms, head.period, Account(tenant=head.tenant, contract=head.force))


def evidence_of(basis: Basis) -> Evidence:
    """What was counted by slot, and when it was dark. Raises ``ValueError`` likewise."""
    head = basis.head
    exclusions = [each.exclusion for each in asked(basis)]
    own = _traffic(basis.rows, head, head.tenant, exclusions)
    platform = own if head.tenant is None else _traffic(basis.rows, head, None, exclusions)
    return Evidence(traffic=own, platform=platform, dark=dark_time(basis))


def dark_time(basis: Basis) -> Spans:
    """When the gateway was not alive, or most probes did not reach it (T8, T9)."""
    seen = basis.head.seen
    replicas: dict[str, list[Spans]] = {}
    for each in basis.alive:
        replicas.setdefault(each.replica, []).append(((each.from_s, each.to_s),))
    points: dict[str, Spans] = dict.fromkeys(basis.head.vantage_points, ())
    for failing in basis.failing:
        points[failing.vantage] = union(points[failing.vantage], spans([(failing.from_s, failing.to_s)]))
    return union(
        dark(replicas, basis.head.terms.alive_quorum, seen) if seen[0] < seen[1] else (),
        intersection(unreachable(points), (seen,)),
    )


def counted(basis: Basis) -> Counts:
    """All that the tenant requested in the judged part of the period."""
    return total(row.counts for row in judged_rows(basis))


def judged_rows(basis: Basis) -> list[Row]:
    """Its rows whose minute begins in the judged part of the period."""
    spans_ = basis.head.judged
    return [
        row
        for row in basis.rows
        if row.tenant == basis.head.tenant and any(start <= row.slot_s < end for start, end in spans_)
    ]


def _traffic(rows: Iterable[Row], head: Head, tenant: str | None, exclusions: Iterable[Exclusion]) -> Traffic:
    ruled = rulings(exclusions, head.terms, tenant, head.judged, head.period.end_s)
    slot_s = head.terms.slot_seconds
    listed = [(_key(row, slot_s, at), row.counts) for at, row in enumerate(rows) if row.tenant == tenant]
    return traffic_of(dict(listed), slot_s, excused=excused(ruled))


def _key(row: Row, slot_seconds: int, at: int) -> Key:
    """Each row under a key of its own, on the grid of the slots."""
    slot_s = row.slot_s - row.slot_s % slot_seconds
    return Key(slot_s=slot_s, tenant=row.tenant or "", group=row.group, replica="", boot=str(at))
