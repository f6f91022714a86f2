"""The verdicts of a run: per tenant and limit, whether the gateway kept what the policy says, with the evidence.

Pure: from the calls as the client saw them and the visits as the origin saw them. Source: DESIGN §5, §6 and §14.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from loadtests.arrivals.answers import Answer, Malformed, complaints, parse, violated
from loadtests.arrivals.bounds import History, Span, history, replay
from loadtests.arrivals.client import Call
from loadtests.arrivals.limits import Limit, SlotLimit, Tenant
from loadtests.arrivals.origin import Visits

ENOUGH_PERCENT = 99
EDGE_CALLS = 2
"""So many calls may fall to the other side of an edge because nobody knows when exactly each was decided."""
ANSWERED = (200, 429)
SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at; ``detail`` is the evidence when it is not ``ok``, else the count looked at."""

    what: str
    tenant: str
    limit: str
    ok: bool
    detail: str

    def __str__(self) -> str:
        whose = " / ".join(filter(None, (self.tenant, self.limit)))
        return f"{'ok    ' if self.ok else 'FAILED'} {self.what}{f' [{whose}]' if whose else ''}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Decided:
    """A call with its answer, and the moments between which it was decided."""

    call: Call
    span: Span
    answer: Answer | None


def every(tenants: Sequence[Tenant], calls: Sequence[Call], visits: Visits) -> list[Check]:
    """All checks of the main run. Times of the evidence count from the first call."""
    start = min((call.intended_us for call in calls), default=0)
    found = list(whole_run(calls, visits))
    for number, tenant in enumerate(tenants):
        own = [call for call in calls if call.tenant == number]
        found += of_tenant(tenant, own, visits, start)
    return found


def whole_run(calls: Sequence[Call], visits: Visits) -> Iterator[Check]:
    failed = [f"call {call.number}: {call.failure}" for call in calls if call.failure]
    yield _verdict("every call was answered", failed, len(calls))
    strange = Counter(call.status for call in calls if not call.failure and call.status not in ANSWERED)
    yield _verdict(
        "no 5xx, nothing but 200 and 429", [f"{n} times {status}" for status, n in strange.items()], len(calls)
    )
    refused = [call.number for call in calls if call.status == 429]
    passed = [f"call {number}" for number in refused if number in visits.arrived_us]
    yield _verdict("no refused call reached the origin", passed, len(refused))
    admitted = [call.number for call in calls if call.status == 200]
    missed = [f"call {number}" for number in admitted if number not in visits.arrived_us]
    yield _verdict("every admitted call reached the origin", missed, len(admitted))
    yield _verdict("no call reached the origin twice", [f"call {number}" for number in visits.twice], len(admitted))


def of_tenant(tenant: Tenant, calls: Iterable[Call], visits: Visits, start_us: int) -> Iterator[Check]:
    decided = [one for call in calls if (one := _decided(call, visits, start_us))]
    admitted = [one.span for one in decided if one.call.status != 429]
    holds = [
        (visits.arrived_us[one.call.number] - start_us, visits.let_go_us[one.call.number] - start_us)
        for one in decided
        if one.call.number in visits.let_go_us and one.call.number in visits.arrived_us
    ]
    histories = {limit.name: history(limit, admitted, holds) for limit in tenant.limits}
    for limit in tenant.limits:
        yield _bound(tenant, limit, histories[limit.name], len(admitted))
    refused = [one for one in decided if one.call.status == 429]
    for limit in tenant.limits:
        yield _needed(tenant, limit, histories[limit.name], refused)
    yield from _enough(tenant, decided, len(admitted))
    answered = [one for one in decided if one.answer is not None]
    wrong = [
        f"call {one.call.number} ({one.answer.status}): {text}"
        for one in answered
        if one.answer is not None
        for text in complaints(one.answer, tenant.limits)
    ]
    yield _verdict("the fields of every answer are those of the contract", wrong, len(answered), tenant.name)
    for limit in tenant.limits:
        yield _remaining(tenant, limit, histories[limit.name], answered)


def _decided(call: Call, visits: Visits, start_us: int) -> Decided | None:
    """None for a call that no one can say anything about: it failed and the origin never saw it."""
    arrived = visits.arrived_us.get(call.number, 0) if call.status != 429 else 0
    known = [at for at in (arrived, call.answered_us) if at]
    if not known or (call.status not in ANSWERED and not arrived):
        return None
    ended = call.answered_us or max(known) + 3_600_000_000
    span = Span(call.sent_us - start_us, min(known) + 1 - start_us, ended - start_us)
    try:
        answer = parse(call.head, call.body) if call.status in ANSWERED else None
    except Malformed:
        answer = Answer(call.status, "", {}, b"")
    return Decided(call, span, answer)


def _bound(tenant: Tenant, limit: Limit, seen: History, admitted: int) -> Check:
    excess = seen.excess()
    wrong = [] if excess is None else [str(excess)]
    return _verdict("never more admitted than the limit allows", wrong, admitted, tenant.name, limit.name)


def _needed(tenant: Tenant, limit: Limit, seen: History, refused: Sequence[Decided]) -> Check:
    named = [one for one in refused if one.answer and limit.name in violated(one.answer)]
    wrong = [
        f"call {one.call.number}, sent at {one.span.earliest_us / 1e6:.3f} s, was refused while the limit had room"
        for one in named
        if not seen.needed(one.span)
    ]
    return _verdict("no refusal without need", wrong, len(named), tenant.name, limit.name)


def _enough(tenant: Tenant, decided: Sequence[Decided], admitted: int) -> Iterator[Check]:
    """Against the definition itself, replayed at the earliest and at the latest moments of the decisions.

    Left out where running calls were in the way: how long they ran is not the limit's doing.
    """
    slots = {limit.name for limit in tenant.limits if isinstance(limit, SlotLimit)}
    if any(one.answer and one.call.status == 429 and slots & set(violated(one.answer)) for one in decided):
        return
    allowed = allows(tenant, [one.span for one in decided])
    least = min(allowed * ENOUGH_PERCENT // 100, allowed - EDGE_CALLS)
    wrong = [] if admitted >= least else [f"{admitted} admitted, the limits allow {allowed} of these {len(decided)}"]
    check = _verdict("at least 99 % of what the limits allow", wrong, 0, tenant.name)
    yield (
        check
        if wrong
        else Check(what=check.what, tenant=tenant.name, limit="", ok=True, detail=f"{admitted} of {allowed}")
    )


def allows(tenant: Tenant, spans: Sequence[Span]) -> int:
    """How many of these calls the tenant's windows and buckets let pass."""
    early, late = (span.earliest_us for span in spans), (span.latest_us for span in spans)
    return min(replay(tenant.limits, early), replay(tenant.limits, late))


def _remaining(tenant: Tenant, limit: Limit, seen: History, answered: Sequence[Decided]) -> Check:
    wrong = []
    for one in answered:
        said = _said(one.answer, limit.name)
        least, most = seen.remaining(one.span, admitted=one.call.status == 200)
        if said is None or not least <= said <= most:
            wrong.append(f"call {one.call.number} says r={said}, it was between {least} and {most}")
    return _verdict("r falls and rises as it must", wrong, len(answered), tenant.name, limit.name)


def _said(answer: Answer | None, name: str) -> int | None:
    try:
        said = answer.structured("ratelimit")[name]["r"] if answer else None
    except (Malformed, KeyError):
        return None
    return said if isinstance(said, int) else None


def _verdict(what: str, wrong: Sequence[str], looked_at: int, tenant: str = "", limit: str = "") -> Check:
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    detail = "; ".join(wrong[:SHOWN]) + more if wrong else f"{looked_at:,} looked at"
    return Check(what=what, tenant=tenant, limit=limit, ok=not wrong, detail=detail)
