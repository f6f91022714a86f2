"""A credit's way from eligible to applied, and the right to terminate (spec C3, C4, C5).

Nothing is paid or terminated here: what happened is recorded, and what may happen next is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from policies.sla.period import midnight_from

State = Literal["eligible", "claimed", "approved", "rejected", "applied", "expired"]

NEXT: Mapping[State, tuple[State, ...]] = {
    "eligible": ("claimed", "expired"),
    "claimed": ("approved", "rejected"),
    "approved": ("applied",),
    "rejected": (),
    "applied": (),
    "expired": (),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Who recorded that a claim came into a state, when and why."""

    to: State
    at_s: int
    by: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One for each tenant, SLA and period. ``deadline_s`` is the first instant at which it is too late.

    ``steps`` are those that somebody recorded, in their order.
    """

    tenant: str
    sla: str
    period: str
    deadline_s: int
    state: State = "eligible"
    steps: tuple[Step, ...] = ()


def deadline(period_end_s: int, published_at_s: int | None, zone: str, claim_days: int) -> int:
    """``claim_days`` calendar days after the later of month end and publication, from the next local midnight on.

    ``published_at_s`` None: published at once. Late publication must not eat the window (C3).
    """
    begins = period_end_s if published_at_s is None else max(period_end_s, published_at_s)
    return midnight_from(begins, zone, days=claim_days)


def opened(tenant: str, sla: str, period: str, deadline_s: int, *, auto_claim: bool) -> Claim:
    """A credit that was found without anybody asking; with ``auto_claim`` it is claimed at once (C4)."""
    state: State = "claimed" if auto_claim else "eligible"
    return Claim(tenant=tenant, sla=sla, period=period, deadline_s=deadline_s, state=state)


def moved(claim: Claim, to: State, at_s: int) -> Claim:
    """The claim in its next state. Raises ``ValueError`` for a step that is none, and for a claim that is late."""
    if to not in NEXT[claim.state]:
        then = " or ".join(NEXT[claim.state])
        raise ValueError(
            f"a claim that is {claim.state} cannot become {to}; {f'it becomes {then}' if then else 'nothing follows'}"
        )
    if to == "claimed" and at_s >= claim.deadline_s:
        raise ValueError("the claim window is over")
    if to == "expired" and at_s < claim.deadline_s:
        raise ValueError("the claim window is still open")
    return replace(claim, state=to)


def state_at(claim: Claim, now_s: int) -> State:
    """Its state now: what nobody claimed in time has expired, without a timer."""
    return "expired" if claim.state == "eligible" and now_s >= claim.deadline_s else claim.state


def is_open(state: State) -> bool:
    """Whether somebody may still have to decide."""
    return bool(NEXT[state])


def may_terminate(termination_right: bool, deadline_s: int, at_s: int) -> bool:
    """The right of a month, which is open as long as its claim window (C5)."""
    return termination_right and at_s < deadline_s
