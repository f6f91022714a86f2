"""Support cases from the events that a ticket system told us of (spec SC2, SC3, SC5).

An event belongs to a ticket of a source; a case belongs to the month in which it was received, whenever it was
answered. How soon it should have been is ``support``'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from policies.sla.support import Severity, SeverityChange, SupportEvent, Ticket

Kind = Literal["opened", "ack", "reply", "severity", "closed"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
Actor = Literal["customer", "staff", "system"]
ACTORS: Final[tuple[Actor, ...]] = get_args(Actor)
"""``staff`` is a named person; what answers by itself is ``system``, and stops no clock (SC2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseEvent:
    """``id`` names the event and ``ticket`` the case within ``source``.

    ``severity``: as received for ``opened``, the new one for ``severity``, else None.
    """

    source: str
    id: str
    ticket: str
    tenant: str
    at_s: int
    kind: Kind
    actor: Actor
    severity: Severity | None = None


def tickets(events: Iterable[CaseEvent]) -> tuple[Ticket, ...]:
    """The cases in order of receipt, named ``source/ticket``; events in any order.

    Of a ticket that was opened twice the first receipt counts, and a later one is a change to its severity. One whose
    receipt nobody told of is no case yet.
    """
    by_ticket: dict[tuple[str, str], list[CaseEvent]] = {}
    for event in sorted(events, key=lambda each: (each.at_s, each.source, each.id)):
        by_ticket.setdefault((event.source, event.ticket), []).append(event)
    cases = (_case(f"{source}/{name}", told) for (source, name), told in by_ticket.items())
    return tuple(sorted((each for each in cases if each is not None), key=lambda each: (each.received_s, each.id)))


def _case(name: str, told: list[CaseEvent]) -> Ticket | None:
    opened = next((event for event in told if event.kind == "opened"), None)
    if opened is None or opened.severity is None:
        return None
    return Ticket(
        id=name,
        severity=opened.severity,
        received_s=opened.at_s,
        changes=tuple(
            SeverityChange(at_s=event.at_s, to=event.severity)
            for event in told
            if event.severity is not None and event is not opened
        ),
        events=tuple(
            SupportEvent(at_s=event.at_s, actor=event.actor, kind=event.kind)
            for event in told
            if event.kind == "ack" or event.kind == "reply"
        ),
    )
