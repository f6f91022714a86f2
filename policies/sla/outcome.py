"""The class of a finished request for the SLA: good, bad or ignored, and by whom (spec O1-O9).

First matching rule wins. Ignored requests leave numerator and denominator. Reclassifying egress faults that
pose as vendors' (O10) needs a whole minute and is not done here.
"""

from __future__ import annotations

from typing import Literal

from policies.errors import ERRORS
from policies.exchange import Outcome

Verdict = Literal["good", "bad", "ignored"]

Class = tuple[Verdict, str]
"""The verdict and its cause, one of the closed set of spec section 14."""

CLIENT_PATIENCE_US = 30_000_000
"""How long a caller waits before leaving counts against the holder of the request (O2, ``client_patience_ms``)."""

OWNER_CAUSES: dict[str | None, Class] = {
    "third_party": ("ignored", "third_party"),
    "customer": ("ignored", "customer"),
}
"""O9: managed or undeclared upstreams are ours."""


def classify(outcome: Outcome, *, client_patience_us: int = CLIENT_PATIENCE_US) -> Class:
    """The class of one finished request."""
    if outcome.internal:  # O1
        return "ignored", "internal"
    if outcome.origin == "client":
        if outcome.elapsed_us < client_patience_us:  # O2
            return "ignored", "client_abort"
        held_upstream = outcome.phase is not None and outcome.phase.startswith("upstream")  # O2b
        return _of_owner(outcome.owner) if held_upstream else ("bad", "gateway")
    if outcome.origin == "gateway":
        return _made_by_gateway(outcome)
    return _passed_on(outcome)


def _made_by_gateway(outcome: Outcome) -> Class:
    row = ERRORS[outcome.reason].sla if outcome.reason is not None else None
    if row == "own_limit" or outcome.reason == "shed":
        return ("ignored", "own_limit") if outcome.over_limit else ("bad", "gateway")  # O3, O3b
    if row == "upstream":
        return _of_owner(outcome.owner)  # O5
    if row == "gateway" or outcome.status >= 500:  # whatever status it was dressed in (O11)
        return "bad", "gateway"  # O5b
    if outcome.status >= 400:
        return "ignored", "client_error"  # O4
    return ("bad", "gateway") if outcome.truncated_by == "gateway" else ("good", "ok")  # O8


def _passed_on(outcome: Outcome) -> Class:
    if outcome.truncated_by == "gateway":  # O8
        return "bad", "gateway"
    if outcome.truncated_by == "upstream":  # O6
        return _of_owner(outcome.owner)
    if outcome.status == 429:  # O7, also where the throttle came as a 5xx
        if outcome.owner in OWNER_CAUSES:
            return "ignored", "upstream_throttle"
        return "bad", "managed_upstream"
    if (outcome.upstream_status or outcome.status) >= 500:  # O6
        return _of_owner(outcome.owner)
    return "good", "ok"  # O8


def _of_owner(owner: str | None) -> Class:
    return OWNER_CAUSES.get(owner, ("bad", "managed_upstream"))
