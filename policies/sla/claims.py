"""Which claims there are: one for each closed month with a credit, moved on by recorded acts (spec C3, C4).

How a claim may go on is ``claim``; that it was never asked for shows when it is read, without a timer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from policies.sla.chain import Act
from policies.sla.claim import Claim, State, Step, deadline, moved, opened
from policies.sla.closed import ClosedMonth
from policies.sla.instants import written
from policies.sla.period import month
from policies.sla.reading import filled, one_of, some_keys

CLAIM: Final = "claim"
"""A claim's next state: ``tenant, period, to``, perhaps ``reason``."""
STATES: Final[tuple[State, ...]] = ("claimed", "approved", "rejected", "applied")
"""What is recorded. The others follow from the closed month and from the time."""


def claim_complaint(content: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` for content that is none of a claim."""
    some_keys(content, "an act of claim", ("tenant", "period", "to"), ("reason",))
    filled({"reason": "-", **content}, "tenant", "period", "reason")
    month(content["period"])
    one_of(content["to"], "to", STATES)
    if content["to"] == "rejected" and "reason" not in content:
        raise ValueError("a claim is rejected with a reason")


def reopened(claim: Claim | None, closed: ClosedMonth) -> Claim | None:
    """The claim after one more revision of its month.

    The window opens with the first publication that shows a credit: a credit that is found late is not late for the
    customer (C3). One that a revision takes away ends what nobody had claimed.
    """
    if closed.tenant is None or (claim is not None and claim.state != "eligible"):
        return claim
    if not closed.credit_percent:
        return None
    if claim is not None:
        return claim
    terms, month = closed.record["sla"]["terms"], closed.month
    until_s = deadline(month.end_s, closed.published_at_s, month.zone, terms["claim_days"]["value"])
    sla = (closed.record["sla"].get("version") or {}).get("id", "")
    return opened(closed.tenant, sla, closed.period, until_s, auto_claim=terms["auto_claim"]["value"] is True)


def stepped(claim: Claim | None, act: Act) -> Claim:
    """The claim in the state that ``act`` says. Raises ``ValueError`` that says why it cannot be."""
    whose = f"{act.content['tenant']} for {act.content['period']}"
    if claim is None:
        raise ValueError(f"there is no credit of {whose} to claim: no closed month says so")
    if act.content["to"] == "claimed" and act.at_s >= claim.deadline_s:
        raise ValueError(f"the claim window of {whose} ended at {written(claim.deadline_s)}")
    if act.content["to"] in ("approved", "rejected") and act.actor == _claimant(claim):
        raise ValueError(f"{act.actor} recorded the claim of {whose}; another person has to decide on it")
    to = next(each for each in STATES if each == act.content["to"])
    step = Step(to=to, at_s=act.at_s, by=act.actor, reason=str(act.content.get("reason", "")))
    return replace(moved(claim, step.to, act.at_s), steps=(*claim.steps, step))


def _claimant(claim: Claim) -> str | None:
    """Who recorded that it was claimed; None for one that was claimed by itself."""
    return next((step.by for step in claim.steps if step.to == "claimed"), None)
