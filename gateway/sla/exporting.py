"""A month's evidence, from the ledger to a ``Basis`` (spec D3, D8, P3, P6, R2, T8-T11).

Decides how far the ledger is known, when the service began, and how much of the platform a tenant is shown: only the
slots that it may inherit (T10), without route groups, so that an export says nothing of other tenants but that they
failed together. What the evidence comes to is ``policies.sla``'s.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, TypeVar

from gateway.ledger.cells import CLASSES, LATENCY, Counters
from gateway.ledger.imported import Probes
from gateway.ledger.store import Store
from policies.sla.agreement import Agreement
from policies.sla.cases import tickets
from policies.sla.chain import Link, Withheld
from policies.sla.counters import Counts, total
from policies.sla.evaluate import MARGIN_S
from policies.sla.evidence import MINUTE_S, Alive, Basis, Call, Failing, Fee, Head, Row
from policies.sla.period import Period
from policies.sla.register import withheld
from policies.sla.spans import Span, spans
from policies.sla.support import SupportTerms, Ticket
from policies.sla.terms import SlaTerms

Interval = TypeVar("Interval", Alive, Failing)

GRACE_S: Final = 120
"""A slot is judged this long after its end at the earliest: by then its counters have been shipped (P6)."""
FINAL_AFTER_S: Final = 432_000
"""How long after its end a month stays open, for late counters and for exclusions yet to be recorded (P6)."""

_FAILED: Final = tuple(cause for _, cause in CLASSES[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """What the evidence of all tenants in one period has in common; it is read once.

    ``platform``: the rows of all tenants together. ``began_s``: when the first replica of all time lived, None for
    a ledger in which none ever did. ``shipped_s``: until when the latest heartbeat in the ledger vouches.
    """

    period: Period
    platform: tuple[Row, ...]
    alive: tuple[Alive, ...]
    failing: tuple[Failing, ...]
    vantage_points: tuple[str, ...]
    began_s: int | None
    shipped_s: int | None

    def known_until_s(self, now_s: int) -> int:
        """What came later is not judged: whole minutes only, and not before they can be here.

        While a month is open, silence since the last heartbeat may be a store that is away (D2), so it is not known;
        once it is final, no data is never up (T8).
        """
        known_s = (now_s - GRACE_S) // MINUTE_S * MINUTE_S
        if now_s >= final_at_s(self.period):
            return known_s
        shipped_s = self.period.start_s if self.shipped_s is None else self.shipped_s
        return min(known_s, shipped_s // MINUTE_S * MINUTE_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What is said of the record that the evidence is exported for: see ``Head``."""

    known_until_s: int
    revision: int = 1
    published_at_s: int | None = None
    fee: Fee | None = None
    missed_before: tuple[str, ...] = ()
    credited_before: Decimal = Decimal(0)


def final_at_s(period: Period) -> int:
    """From when on the month may be closed (P6)."""
    return period.end_s + FINAL_AFTER_S


def seen(period: Period) -> Span:
    """The period and a day on both sides (T11)."""
    return period.start_s - MARGIN_S, period.end_s + MARGIN_S


def background(store: Store, period: Period) -> Background:
    """Reads the counters of all tenants. Raises ``StoreError``."""
    first, last = seen(period)
    probed = store.probes(first, last)
    return Background(
        period=period,
        platform=tuple(_row(slot_s, None, group, counters) for slot_s, group, counters in store.platform(first, last)),
        alive=tuple(_lives(store, first, last)),
        failing=tuple(_failures(probed)),
        vantage_points=probed.points,
        began_s=store.began_s(),
        shipped_s=store.shipped_s(),
    )


def basis(
    store: Store, links: Sequence[Link | Withheld], agreement: Agreement, behind: Background, said: Publication,
    calls: Iterable[Call] = (),
) -> Basis:  # fmt: skip
    """The evidence of the agreement's tenant; ``links`` is the whole log of acts as far as it is to be told."""
    head = _head(agreement, behind, said)
    acts = withheld(links, agreement.tenant)
    first, last = head.seen
    if agreement.tenant is None:
        rows = behind.platform
    else:
        rows = (*_own_rows(store, agreement.tenant, head.seen), *shown_platform(behind.platform, head.terms, acts))
    return Basis(
        head=head,
        rows=tuple(row for row in rows if first <= row.slot_s < last),
        alive=tuple(_within(behind.alive, head.seen)),
        failing=tuple(_within(behind.failing, head.seen)),
        acts=acts,
        calls=tuple(each for each in calls if first <= each.known_us // 1_000_000 < last),
        tickets=_tickets(store, head),
    )


def _head(agreement: Agreement, behind: Background, said: Publication) -> Head:
    return Head(
        tenant=agreement.tenant,
        period=agreement.period,
        terms=agreement.terms,
        provenance=agreement.provenance,
        owners=agreement.owners,
        version=agreement.version,
        contract=contract_of(agreement, behind),
        known_until_s=said.known_until_s,
        published_at_s=said.published_at_s,
        revision=said.revision,
        fee=said.fee,
        vantage_points=behind.vantage_points,
        support=_support(agreement),
        missed_before=said.missed_before,
        credited_before=said.credited_before,
    )


def _support(agreement: Agreement) -> SupportTerms | None:
    """None where nobody is promised an answer."""
    if agreement.tenant is None or not (agreement.clocks.targets or agreement.channels):
        return None
    return SupportTerms(
        clocks=agreement.clocks, objectives=agreement.objectives, channels=agreement.channels,
        escalation=agreement.escalation,
    )  # fmt: skip


def contract_of(agreement: Agreement, behind: Background) -> tuple[int | None, int | None]:
    """A contract whose beginning nobody recorded begins with the service: before it there is no data (P3)."""
    start, end = agreement.contract
    if start is None:
        start = agreement.period.end_s if behind.began_s is None else behind.began_s
    return start, end


# --- counters -----------------------------------------------------------------------------------------------------


def _own_rows(store: Store, tenant: str, within: Span) -> Iterator[Row]:
    return (_row(slot_s, tenant, group, counters) for slot_s, group, counters in store.cells(tenant, *within))


def _row(slot_s: int, tenant: str | None, group: str, counters: Counters) -> Row:
    return Row(slot_s=slot_s, tenant=tenant, group=group, counts=counts_of(counters))


def counts_of(counters: Counters) -> Counts:
    """A cell's counters under the names of their causes; what counts is for the terms to say (O9)."""
    failed = {cause: count for cause, count in zip(_FAILED, counters[1:LATENCY], strict=True) if count}
    return Counts(good=counters[0], failed=failed, latency=counters[LATENCY:])


def shown_platform(platform: Iterable[Row], terms: SlaTerms, acts: Iterable[Link | Withheld]) -> tuple[Row, ...]:
    """As much of the platform as can decide something for a tenant.

    Terms of platform scope are judged by all of it. A tenant that is judged by its own requests inherits bad slots and
    nothing else (T10): a slot without a failure that counts can never be one. Groups are told apart only where an
    exclusion that the tenant may read names them (X1).
    """
    if terms.scope == "platform":
        return tuple(platform)
    if not terms.idle_inherits_platform:
        return ()
    rows = list(platform)
    counted = frozenset(terms.causes)
    failing = {_slot(row, terms) for row in rows if not counted.isdisjoint(row.counts.failed)}
    return tuple(_folded((row for row in rows if _slot(row, terms) in failing), counted, _named_groups(acts)))


def _slot(row: Row, terms: SlaTerms) -> int:
    return row.slot_s - row.slot_s % terms.slot_seconds


def _named_groups(acts: Iterable[Link | Withheld]) -> frozenset[str]:
    groups = (each.act.content.get("group") for each in acts if isinstance(each, Link))
    return frozenset(group for group in groups if isinstance(group, str))


def _folded(rows: Iterable[Row], counted: Collection[str], named: Collection[str]) -> Iterator[Row]:
    """One row a minute for all groups that nobody names, of what makes a slot good or bad and nothing else."""
    sums: dict[tuple[int, str], list[Counts]] = {}
    for row in rows:
        failed = {cause: count for cause, count in row.counts.failed.items() if cause in counted}
        kept = Counts(good=row.counts.good, failed=failed)
        sums.setdefault((row.slot_s, row.group if row.group in named else ""), []).append(kept)
    for (slot_s, group), listed in sums.items():
        yield Row(slot_s=slot_s, tenant=None, group=group, counts=total(listed))


# --- life ---------------------------------------------------------------------------------------------------------


def _lives(store: Store, first: int, last: int) -> Iterator[Alive]:
    """Intervals of one boot that overlap, as they do after a clock was set back, are one."""
    for (replica, boot), intervals in store.alive(first, last).items():
        for start, end in spans(intervals):
            yield Alive(replica=replica, boot=boot, from_s=start, to_s=end)


def _failures(probed: Probes) -> Iterator[Failing]:
    for point, intervals in probed.failing.items():
        for start, end in intervals:
            yield Failing(vantage=point, from_s=start, to_s=end)


def _tickets(store: Store, head: Head) -> tuple[Ticket, ...]:
    """The cases that were received in the judged month, with what is known of them so far (SC5)."""
    if head.tenant is None:
        return ()
    until_s = min(head.period.end_s, head.known_until_s)
    events = store.support_events(head.tenant, head.period.start_s, until_s)
    return tickets(each for each in events if each.at_s < head.known_until_s)


def _within(intervals: Iterable[Interval], within: Span) -> Iterator[Interval]:
    """Clipped, so that the evidence of a moment stays what it was while the replicas live on."""
    for each in intervals:
        start, end = max(each.from_s, within[0]), min(each.to_s, within[1])
        if start < end:
            yield replace(each, from_s=start, to_s=end)
