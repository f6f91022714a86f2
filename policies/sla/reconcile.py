"""Holds a customer's own request log against an export: where the two sides disagree, why, and what it would change.

Request by request where the export carries calls and the log has their ids, minute by minute otherwise. What a
disagreement is worth is said in downtime, beside the figure if the customer's side of all of them stood. Failures
that the customer did not see stay counted: nothing here can lower his claim.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from policies.sla.evaluate import Evidence, Figure
from policies.sla.evidence import MINUTE_S, Basis, Call, evidence_of, figure_of, judged_rows
from policies.sla.instants import written
from policies.sla.own_log import Entry
from policies.sla.traffic import Traffic

Reason = Literal[
    "not_in_export",  # the log has a request that the gateway did not record
    "not_in_log",  # the gateway recorded a request that the log has not
    "status_differs",
    "twice_in_log",  # the same request id again
    "more_requests_in_log",  # in that minute
    "fewer_requests_in_log",
    "more_failures_in_log",  # than were recorded, of any cause
    "fewer_failures_in_log",
    "minute_edge",  # as many are missing in this minute as there are too many in the next: clocks or rounding
]

SLOTS_JUDGED_ALONE = 200
"""Of how many slots the effect is worked out; the effect of all together always is."""
FAILED_HERE = ("gateway", "managed_upstream", "third_party", "customer")
"""Causes that a caller sees as failures. A call that he broke off himself (``client_abort``) he may see as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """``yours`` is what the log says, ``ours`` the export; ``line`` is of the log, None for a whole minute.

    ``more_errors`` and ``fewer_good`` is what it would change in its minute. ``effect_s`` is how much less downtime
    there would be if all that the log says stood, but not this slot; None where it was not worked out.
    """

    minute_s: int
    reason: Reason
    yours: str
    ours: str
    line: int | None = None
    request_id: str | None = None
    more_errors: int = 0
    fewer_good: int = 0
    effect_s: int | None = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """``mode`` is ``calls`` or ``minutes``; ``outside`` entries lie out of the judged time and were left alone.

    ``unlisted``: of those that were compared by calls, how many lie in minutes whose calls the export does not list;
    they were compared minute by minute.

    ``recorded`` is the figure of the export, ``yours`` the one if all that the log says stood.
    """

    mode: Literal["calls", "minutes"]
    entries: int
    outside: int
    unlisted: int
    disagreements: tuple[Disagreement, ...]
    recorded: Figure
    yours: Figure


def reconcile(basis: Basis, entries: Iterable[Entry]) -> Reconciliation:
    """Raises ``ValueError`` for the platform's export, as a log is held against the export of whose it is, and for one
    whose requests all lie outside of the judged time: to compare nothing is not to agree.
    """
    if basis.head.tenant is None:
        raise ValueError("this is the platform's export; a log is held against its tenant's own")
    listed = list(entries)
    inside = [each for each in listed if _is_judged(each.at_us // 1_000_000, basis)]
    if listed and not inside:
        known = f"{basis.head.period.name} as it was known at {written(basis.head.known_until_s)}"
        raise ValueError(f"nothing to compare: none of the {len(listed)} requests of your log lies in {known}")
    by_calls = bool(basis.calls) and any(each.id is not None for each in inside)
    unlisted = _unlisted(basis, inside) if by_calls else []
    covered = frozenset(minute_of(call.known_us) for call in basis.calls) if by_calls else frozenset()
    apart = {each.line for each in unlisted}
    rest = [each for each in inside if each.line not in apart]
    found = list(_by_calls(basis.calls, rest)) if by_calls and rest else []
    found += _by_minutes(basis, unlisted if by_calls else inside, covered)
    found.sort(key=lambda each: (each.minute_s, each.line or 0, each.request_id or ""))
    judged = evidence_of(basis)
    recorded, yours = figure_of(basis, judged), figure_of(basis, _if_so(judged, found, basis))
    gained_s = yours.downtime_seconds - recorded.downtime_seconds
    return Reconciliation(
        mode="calls" if by_calls else "minutes",
        entries=len(listed),
        outside=len(listed) - len(inside),
        unlisted=len(unlisted),
        disagreements=tuple(_with_effects(found, basis, judged, gained_s)),
        recorded=recorded,
        yours=yours,
    )


def _unlisted(basis: Basis, entries: Iterable[Entry]) -> list[Entry]:
    """Those of minutes that were counted and have no call in the export: the log of calls does not reach there."""
    ids = {call.id for call in basis.calls}
    covered = {minute_of(call.known_us) for call in basis.calls}
    counted = {row.slot_s for row in judged_rows(basis)} - covered
    return [each for each in entries if each.id not in ids and minute_of(each.at_us) in counted]


def _is_judged(at_s: int, basis: Basis) -> bool:
    return any(start <= at_s < end for start, end in basis.head.judged)


def minute_of(at_us: int) -> int:
    return at_us // 1_000_000 // MINUTE_S * MINUTE_S


# --- request by request -------------------------------------------------------------------------------------------


def _by_calls(calls: Sequence[Call], entries: Sequence[Entry]) -> Iterator[Disagreement]:
    """Entries without an id take a call of their minute and status that nobody else took."""
    left = {call.id: call for call in calls}
    seen: set[str] = set()
    nameless: list[Entry] = []
    for entry in entries:
        if entry.id is None:
            nameless.append(entry)
        elif entry.id in seen:
            yield _of_entry(entry, "twice_in_log", "another line of the log")
        else:
            seen.add(entry.id)
            yield from _of_pair(entry, left.pop(entry.id, None))
    yield from _of_nameless(nameless, left)
    first, last = min(each.at_us for each in entries), max(each.at_us for each in entries)
    for call in left.values():
        if minute_of(first) <= minute_of(call.known_us) <= minute_of(last):
            ours = f"{call.status} {call.cause}"
            yield Disagreement(
                minute_s=minute_of(call.known_us), reason="not_in_log", yours="nothing", ours=ours, request_id=call.id
            )


def _of_pair(entry: Entry, call: Call | None) -> Iterator[Disagreement]:
    if call is None:
        yield _of_entry(entry, "not_in_export", "nothing", more_errors=int(entry.is_failure))
        return
    gave_up = entry.status is None and call.cause == "client_abort"
    if entry.status != call.status and not gave_up:
        missed = entry.is_failure and call.cause not in FAILED_HERE
        yield replace(
            _of_entry(entry, "status_differs", f"{call.status} {call.cause}", more_errors=int(missed)),
            minute_s=minute_of(call.known_us),
            fewer_good=int(missed and call.cause == "ok"),
        )


def _of_nameless(entries: Iterable[Entry], left: dict[str, Call]) -> Iterator[Disagreement]:
    free: dict[tuple[int, int | None], list[str]] = defaultdict(list)
    for call in left.values():
        free[minute_of(call.known_us), call.status].append(call.id)
    for entry in entries:
        fitting = free.get((minute_of(entry.at_us), entry.status))
        if fitting:
            del left[fitting.pop()]
        else:
            yield _of_entry(entry, "not_in_export", "nothing", more_errors=int(entry.is_failure))


def _of_entry(entry: Entry, reason: Reason, ours: str, *, more_errors: int = 0) -> Disagreement:
    yours = "no answer" if entry.status is None else str(entry.status)
    return Disagreement(
        minute_s=minute_of(entry.at_us), reason=reason, yours=yours, ours=ours, line=entry.line, request_id=entry.id,
        more_errors=more_errors,
    )  # fmt: skip


# --- minute by minute ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Minute:
    """``failures`` that were recorded for certain, and up to ``aborts`` more that a caller may see as such."""

    yours: int = 0
    your_failures: int = 0
    ours: int = 0
    good: int = 0
    failures: int = 0
    aborts: int = 0

    @property
    def surplus(self) -> int:
        return self.yours - self.ours

    @property
    def unseen_failures(self) -> int:
        return max(0, self.your_failures - self.failures - self.aborts)


def _by_minutes(
    basis: Basis, entries: Sequence[Entry], covered: frozenset[int] = frozenset()
) -> Iterator[Disagreement]:
    """The minutes from the log's first to its last: what lies outside of it, the customer has no word on.

    ``covered`` minutes are compared by their calls.
    """
    minutes = _minutes(basis, entries, covered)
    edges = _edges(minutes)
    for minute_s, each in minutes.items():
        if minute_s in edges:
            yield _of_minute(minute_s, "minute_edge", each.yours, each.ours, "requests")
        elif each.surplus:
            reason: Reason = "more_requests_in_log" if each.surplus > 0 else "fewer_requests_in_log"
            yield _of_minute(minute_s, reason, each.yours, each.ours, "requests")
        yield from _of_failures(minute_s, each)


def _of_failures(minute_s: int, each: _Minute) -> Iterator[Disagreement]:
    if each.unseen_failures:
        extra = each.unseen_failures
        yield replace(
            _of_minute(minute_s, "more_failures_in_log", each.your_failures, each.failures, "failures"),
            more_errors=extra,
            fewer_good=min(each.good, max(0, extra - max(0, each.surplus))),
        )
    elif each.your_failures < each.failures:
        yield _of_minute(minute_s, "fewer_failures_in_log", each.your_failures, each.failures, "failures")


def _of_minute(minute_s: int, reason: Reason, yours: int, ours: int, what: str) -> Disagreement:
    return Disagreement(minute_s=minute_s, reason=reason, yours=f"{yours} {what}", ours=f"{ours} {what}")


def _minutes(basis: Basis, entries: Sequence[Entry], covered: frozenset[int]) -> Mapping[int, _Minute]:
    made: dict[int, _Minute] = defaultdict(_Minute)
    for entry in entries:
        minute = made[minute_of(entry.at_us)]
        minute.yours += 1
        minute.your_failures += entry.is_failure
    first, last = (min(made), max(made)) if made else (0, -1)
    for row in judged_rows(basis):
        if first <= row.slot_s <= last and row.slot_s not in covered:
            failed = Counter(row.counts.failed)
            minute = made[row.slot_s]
            minute.good += row.counts.good
            minute.ours += row.counts.good + failed.total() - failed["internal"]
            minute.failures += sum(failed[cause] for cause in FAILED_HERE)
            minute.aborts += failed["client_abort"]
    return dict(sorted(made.items()))


def _edges(minutes: Mapping[int, _Minute]) -> frozenset[int]:
    """Pairs of minutes whose requests only lie on the other side of the edge, as many as are missing."""
    found: set[int] = set()
    for minute_s, each in minutes.items():
        after = minutes.get(minute_s + MINUTE_S)
        if each.surplus and after and minute_s not in found and each.surplus == -after.surplus:
            found |= {minute_s, minute_s + MINUTE_S}
    return frozenset(found)


# --- effect -------------------------------------------------------------------------------------------------------


def _with_effects(
    found: Sequence[Disagreement], basis: Basis, judged: Evidence, gained_s: int
) -> Iterator[Disagreement]:
    """Each with the downtime that would be lost without its slot. Errors only add, so without a gain there is none."""
    known: dict[int, int | None] = {}
    for each in found:
        if not gained_s or not each.more_errors:
            yield each
            continue
        slot_s = _slot(each, basis)
        if slot_s not in known:
            others = [other for other in found if _slot(other, basis) != slot_s]
            known[slot_s] = _worth(others, basis, judged, gained_s) if len(known) < SLOTS_JUDGED_ALONE else None
        yield replace(each, effect_s=known[slot_s])


def _worth(others: Iterable[Disagreement], basis: Basis, judged: Evidence, gained_s: int) -> int:
    without = figure_of(basis, _if_so(judged, others, basis)).downtime_seconds
    return gained_s + figure_of(basis, judged).downtime_seconds - without


def _slot(each: Disagreement, basis: Basis) -> int:
    return each.minute_s - each.minute_s % basis.head.terms.slot_seconds


def _judged(evidence: Evidence, basis: Basis) -> Traffic:
    return evidence.traffic if basis.head.terms.scope == "tenant" else evidence.platform


def _if_so(judged: Evidence, found: Iterable[Disagreement], basis: Basis) -> Evidence:
    """The evidence if the customer's side of ``found`` stood: what he saw fail beyond our records was our failure."""
    traffic = _judged(judged, basis)
    good, failed = dict(traffic.good), dict(traffic.failed.get("gateway", {}))
    for each in found:
        slot_s = _slot(each, basis)
        good[slot_s] = max(0, good.get(slot_s, 0) - each.fewer_good)
        failed[slot_s] = failed.get(slot_s, 0) + each.more_errors
    supposed = Traffic(good=good, failed={**traffic.failed, "gateway": failed})
    if basis.head.terms.scope == "tenant":
        return replace(judged, traffic=supposed)
    return replace(judged, platform=supposed)
