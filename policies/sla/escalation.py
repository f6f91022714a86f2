"""Who is to be called about an unanswered support case (spec SC4).

A ladder is a list of rungs, each a role and the share of the response target at which it is called; the farthest rung
reached is the answer, and the first response of a person stops the climb. Instants are Unix seconds. Who fills a role
and how they are called is nobody's business here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from policies.sla.opening import reached_s
from policies.sla.support import Clocks, Severity, Ticket, changes_until, raises, responded_s

OTHER: Final = "other"
"""The ladder of every severity that has none of its own."""
AT_ONCE: Final = "S1"

_FIRST_PERCENTS: Final = {AT_ONCE: (0, 0), OTHER: (0, 50)}
"""When the first two roles of a policy's list are called; the third at the target, each further one a target later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    role: str
    at_percent_of_target: int


Ladder = tuple[Rung, ...]


def ladders_of(roles: Sequence[str]) -> Mapping[str, Ladder]:
    """The ladders of a policy that lists its roles only: those of spec SC4."""
    return {name: _ladder(roles, percents) for name, percents in _FIRST_PERCENTS.items()}


def _ladder(roles: Sequence[str], first: tuple[int, ...]) -> Ladder:
    percents = (*first, *range(100, 100 * len(roles), 100))
    pairs = zip(roles, percents, strict=False)
    return tuple(Rung(role=role, at_percent_of_target=percent) for role, percent in pairs)


def role_at(ticket: Ticket, ladders: Mapping[str, Ladder], clocks: Clocks, at_s: int) -> str | None:
    """The role that is to be called at ``at_s``; None before the receipt, once answered, and without a ladder.

    A raise starts the new severity's clock at the change (as in SC3) and never steps down the ladder; a lowering
    counts from the receipt.
    """
    answered = responded_s(ticket)
    if at_s < ticket.received_s or (answered is not None and answered <= at_s):
        return None
    severity, start, floor = ticket.severity, ticket.received_s, 0
    for change in changes_until(ticket, at_s):
        if raises(severity, change.to):
            floor = max(floor, _reached(ladders, clocks, severity, start, change.at_s))
            start = change.at_s
        elif change.to != severity:
            floor, start = 0, ticket.received_s
        severity = change.to
    ladder = _ladder_of(ladders, severity)
    reached = min(max(floor, _reached(ladders, clocks, severity, start, at_s)), len(ladder))
    return ladder[reached - 1].role if reached else None


def _ladder_of(ladders: Mapping[str, Ladder], severity: Severity) -> Ladder:
    return ladders.get(severity, ladders.get(OTHER, ()))


def _reached(ladders: Mapping[str, Ladder], clocks: Clocks, severity: Severity, start_s: int, at_s: int) -> int:
    """How many rungs, counted to the farthest one, are due ``at_s``; without a target only those at once are."""
    target = clocks.targets.get(severity)
    farthest = 0
    for place, rung in enumerate(_ladder_of(ladders, severity), 1):
        share = rung.at_percent_of_target
        if share == 0 or (target is not None and reached_s(target, clocks.calendar, start_s, share) <= at_s):
            farthest = place
    return farthest
