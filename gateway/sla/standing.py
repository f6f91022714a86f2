"""Where a tenant stands in a month that may still be running (spec T4, P6, B2, B3, X8, C3).

For operators: it says the internal objective, which no customer is shown. Figures are ``policies.sla``'s; here they are
put beside each other and into words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from gateway.sla.exporting import GRACE_S
from gateway.sla.report import duration, moment
from gateway.sla.wording import uptime, whose
from policies.sla.budget import downtime_budget
from policies.sla.canonical import percent
from policies.sla.claim import Claim, is_open, state_at
from policies.sla.closed import ClosedMonth
from policies.sla.evaluate import Figure
from policies.sla.evidence import Basis, counted, dark_time, figure
from policies.sla.histogram import Histogram
from policies.sla.instants import written
from policies.sla.internal import Internal, internal
from policies.sla.register import Register
from policies.sla.spans import ALWAYS, intersection, length, spans
from policies.sla.status import current_run, status

State = Literal["up", "degraded", "down", "dark"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """``budget_s`` is the whole month's, None without a target. ``since_s``: since when it is not up, None while it is.

    ``internal`` is the objective that customers never see, None without one, and ``internal_budget_s`` the whole
    month's of it. ``pending`` are the ids of exclusions that nobody has approved yet.
    """

    tenant: str | None
    month: str
    figure: Figure
    known_until_s: int
    state: State
    since_s: int | None
    target: str | None
    budget_s: Fraction | None
    internal: Internal | None
    internal_budget_s: Fraction | None
    pending: tuple[str, ...]
    claims: tuple[tuple[Claim, str], ...]
    closed: ClosedMonth | None


def standing(basis: Basis, register: Register, *, shipped_s: int | None, now_s: int) -> Standing:
    """Raises ``ValueError`` for a log of acts that makes no sense."""
    head, found = basis.head, figure(basis)
    terms = head.terms
    whole_s = _promised_seconds(basis)
    state, since_s = _state(basis, found, shipped_s, now_s)
    timed, closed = counted(basis).latency, _last_closed(register, head.tenant)
    return Standing(
        tenant=head.tenant,
        month=head.period.name,
        figure=found,
        known_until_s=head.known_until_s,
        state=state,
        since_s=since_s,
        target=None if terms.target is None else f"{terms.target:f}",
        budget_s=downtime_budget(whole_s, terms.target),
        internal=internal(found, terms, Histogram(counts=timed) if timed else None),
        internal_budget_s=downtime_budget(whole_s, terms.internal_target),
        pending=_pending(found, closed),
        claims=_open_claims(register, head.tenant, now_s),
        closed=closed,
    )


def _promised_seconds(basis: Basis) -> int:
    """The seconds of the whole month in which the contract is in force, those to come included."""
    start, end = basis.head.contract
    contract = spans([(ALWAYS[0][0] if start is None else start, ALWAYS[0][1] if end is None else end)])
    period = basis.head.period
    return length(intersection(((period.start_s, period.end_s),), contract))


def _state(basis: Basis, found: Figure, shipped_s: int | None, now_s: int) -> tuple[State, int | None]:
    """Silence is said at once, although it is judged only when no spool can explain it any more (T8, D2)."""
    known_s = min(basis.head.known_until_s, basis.head.period.end_s)
    if now_s < basis.head.period.end_s and (shipped_s is None or now_s - shipped_s > GRACE_S):
        return "dark", shipped_s
    run = current_run(found, known_s)
    if run is None:
        return "up", None
    is_dark = any(start < known_s <= end for start, end in dark_time(basis))
    return "dark" if is_dark else status(found, known_s), run[0]


def _pending(found: Figure, closed: ClosedMonth | None) -> tuple[str, ...]:
    """Of months that are not published yet: in the others an approval would be a revision (D6)."""
    until_s = ALWAYS[0][0] if closed is None else closed.month.end_s
    waiting = (each.exclusion for each in found.exclusions if each.reason == "not_approved")
    return tuple(each.id for each in waiting if each.window[1] > until_s)


def _open_claims(register: Register, tenant: str | None, now_s: int) -> tuple[tuple[Claim, str], ...]:
    states = ((claim, state_at(claim, now_s)) for (whose, _), claim in register.claims.items() if whose == tenant)
    return tuple((claim, state) for claim, state in states if is_open(state))


def _last_closed(register: Register, tenant: str | None) -> ClosedMonth | None:
    months = [each[-1] for (whose, _), each in register.closures.items() if whose == tenant and each]
    return max(months, key=lambda each: each.period, default=None)


# --- shown --------------------------------------------------------------------------------------------------------


def used(spent_s: int, budget_s: Fraction | None) -> str:
    """``12 min 30 s of 43 min 12 s left``."""
    if budget_s is None:
        return "nothing was promised"
    if spent_s > budget_s:
        return f"{duration(spent_s - budget_s)} over the {duration(budget_s)} allowed"
    return f"{duration(budget_s - spent_s)} of {duration(budget_s)} left"


def lines(each: Standing) -> Iterator[str]:
    """For people."""
    found = each.figure
    since = "" if each.since_s is None else f" since {_at(each.since_s)}"
    yield f"{whose(each.tenant)}: {each.state}{since}"
    promised = "nothing promised" if each.target is None else f"promised {each.target} %"
    yield f"  {each.month}: {uptime(found.uptime_percent)}, {promised}; known until {_at(each.known_until_s)}"
    yield f"  downtime {duration(found.downtime_seconds)}, budget: {used(found.downtime_seconds, each.budget_s)}"
    if found.excluded_seconds or found.degraded_seconds:
        excluded, degraded = duration(found.excluded_seconds), duration(found.degraded_seconds)
        yield f"  excluded {excluded}, degraded {degraded}"
    yield from _internal_lines(each)
    for id_ in each.pending:
        yield f"  exclusion {id_} waits for a second person: tiergate sla approve {id_}"
    for claim, state in each.claims:
        deadline = f", to be claimed before {_at(claim.deadline_s)}" if state == "eligible" else ""
        yield f"  credit of {claim.period}: {state}{deadline}"
    if each.closed is not None:
        closed = each.closed
        said = uptime(closed.record["figure"]["uptime_percent"])
        yield f"  last closed month {closed.period}, revision {closed.revision}: {said}"


def _internal_lines(each: Standing) -> Iterator[str]:
    own = each.internal
    if own is None:
        return
    if own.target is not None:
        left = used(each.figure.downtime_seconds, each.internal_budget_s)
        yield f"  internal objective {own.target:f} %: {_met(own.met)}, {left} (never shown to customers)"
    for judged in own.latency:
        said = f"{percent(judged.commitment.share)} % under {judged.commitment.under_us // 1_000} ms"
        yield f"  internal objective {said}: {_met(judged.met)} (never shown to customers)"


def _met(met: bool | None) -> str:
    return "no data" if met is None else "met" if met else "missed"


def _at(at_s: int) -> str:
    return moment(written(at_s))


def as_value(each: Standing) -> dict[str, Any]:
    """For programs."""
    found = each.figure
    return {
        "tenant": each.tenant,
        "period": each.month,
        "known_until": written(each.known_until_s),
        "state": each.state,
        "since": None if each.since_s is None else written(each.since_s),
        "uptime_percent": found.uptime_percent,
        "target_percent": each.target,
        "met": found.met,
        "downtime_seconds": found.downtime_seconds,
        "excluded_seconds": found.excluded_seconds,
        "degraded_seconds": found.degraded_seconds,
        "downtime_budget": _budget_value(found.downtime_seconds, each.budget_s),
        "internal": _internal_value(each),
        "pending_exclusions": list(each.pending),
        "claims": [
            {"period": claim.period, "state": state, "claim_before": written(claim.deadline_s)}
            for claim, state in each.claims
        ],
        "last_closed": None if each.closed is None else {
            "period": each.closed.period, "revision": each.closed.revision,
            "uptime_percent": each.closed.record["figure"]["uptime_percent"],
        },
    }  # fmt: skip


def _internal_value(each: Standing) -> dict[str, Any] | None:
    own = each.internal
    if own is None:
        return None
    return {
        "target_percent": None if own.target is None else f"{own.target:f}",
        "met": own.met,
        "downtime_budget": _budget_value(each.figure.downtime_seconds, each.internal_budget_s),
        "latency": [
            {
                "share_percent": percent(judged.commitment.share), "under_ms": judged.commitment.under_us // 1_000,
                "met": judged.met,
            }
            for judged in own.latency
        ],
    }  # fmt: skip


def _budget_value(spent_s: int, budget_s: Fraction | None) -> dict[str, int] | None:
    if budget_s is None:
        return None
    whole_s = int(budget_s)
    return {"seconds": whole_s, "used_seconds": spent_s, "left_seconds": max(0, whole_s - spent_s)}
