"""Whether acts may be entered into the log now: beyond what a log may say at all, what is too early or too late to say.

All or none of several. What only deprives an act of its effect, such as short notice, is no reason to refuse it: that
it was recorded is itself a fact (X4). A log that is read is never judged by these rules, only by ``register``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from policies.sla import acts as exclusions
from policies.sla import closed, contract
from policies.sla.acts import Request
from policies.sla.chain import Act, Link, append
from policies.sla.instants import read, written
from policies.sla.period import month_at
from policies.sla.promises import NOTHING_OWN, layers_for
from policies.sla.publication import Edition, first_month
from policies.sla.register import Register, complaint, is_known, register
from policies.sla.spans import difference, intersection, spans
from policies.sla.terms import SlaTerms


class ClockSetBack(ValueError):
    """The recorder's clock is behind the last act: an act is never dated otherwise than by that clock."""


def entered(links: Sequence[Link], acts: Iterable[Act]) -> tuple[Link, ...]:
    """The links of ``acts`` behind the log. Raises ``ValueError`` with the reason why one of them is refused."""
    before = register(links)
    last, made = links[-1] if links else None, []
    for act in acts:
        _check(before, act, last)
        last = append(last, act)
        made.append(last)
    try:
        register((*links, *made))
    except ValueError as error:
        raise ValueError(_without_place(str(error))) from None
    return tuple(made)


def _without_place(text: str) -> str:
    """The act has no number: it was not recorded."""
    place, colon, reason = text.partition(": ")
    return reason if colon and place.startswith("act ") else text


def _check(before: Register, act: Act, last: Link | None) -> None:
    if not is_known(act.kind):
        raise ValueError(f"{act.kind!r} is no kind of act")
    if not act.actor.strip():
        raise ValueError("an act needs an actor: who records it")
    if last is not None and act.at_s < last.act.at_s:
        raise ClockSetBack(
            f"the clock says {written(act.at_s)}, and act {last.number} was recorded at {written(last.act.at_s)}: "
            "wait until then, or set the clock right; nothing is recorded with another time than the clock's"
        )
    said = complaint(act)
    if said is not None:
        raise ValueError(said)
    check = _CHECKS.get(act.kind)
    if check is not None:
        check(before, act)


# --- each kind ------------------------------------------------------------------------------------------------------


def _excludes(before: Register, act: Act) -> None:
    """What has not happened yet has no evidence; only a suspension is known ahead."""
    _check_window(act)
    if act.content["type"] != "suspension":
        _check_past(act, "record it when it is over, or only up to now")


def _works(before: Register, act: Act) -> None:
    _check_window(act)
    _check_past(act, "record it when the work is done")
    _check_scope(_request(before, act), act)


def _check_window(act: Act) -> None:
    start, end = read(act.content["from"]), read(act.content["to"])
    if end == start:
        raise ValueError(f"the window has no length: it begins and ends at {written(start)}")
    if end < start:
        raise ValueError(f"the window ends at {written(end)}, before it begins, {written(start)}: are they swapped?")


def _check_past(act: Act, what_to_do: str) -> None:
    end = read(act.content["to"])
    if end > act.at_s:
        raise ValueError(f"the window ends at {written(end)}, and it is {written(act.at_s)}: {what_to_do}")


def _approves(before: Register, act: Act) -> None:
    request = _request(before, act)
    if request.exclusion.type == "scheduled_maintenance":
        raise ValueError(f"{act.content['id']} is announced maintenance, which needs notice and no approval")
    _check_scope(request, act)
    if act.actor == request.by:
        raise ValueError(f"{act.actor} recorded {act.content['id']}; another person has to approve it (X8)")
    if request.exclusion.approved:
        raise ValueError(f"{act.content['id']} is approved already")


def _request(before: Register, act: Act) -> Request:
    name = act.content["id"]
    found = next((each for each in before.requests if each.exclusion.id == name), None)
    if found is None:
        raise ValueError(f"nothing is recorded of {name}")
    return found


def _check_scope(request: Request, act: Act) -> None:
    """Or one part of what concerns a customer would stand in the exports of the others."""
    whose = request.exclusion.tenant
    if act.content.get("tenant") != whose:
        raise ValueError(f"{act.content['id']} is recorded of {whose or 'the platform'}, and so must this be")


def _announces(before: Register, act: Act) -> None:
    _check_window(act)
    known = next((each for each in before.requests if each.exclusion.id == act.content["id"]), None)
    if act.content.get("cancelled"):
        if known is None:
            raise ValueError(f"{act.content['id']} was never announced and cannot be cancelled")
    elif known is not None and known.exclusion.announcements:
        _check_not_chosen(known, act)


def _check_not_chosen(known: Request, act: Act) -> None:
    """Of several windows that were announced in time, the one that suits cannot be chosen afterwards (X5)."""
    start, end = read(act.content["from"]), read(act.content["to"])
    *earlier, last = [(each.from_s, each.to_s) for each in known.exclusion.announcements]
    chosen = difference(intersection(spans([(start, min(end, act.at_s))]), spans(earlier)), spans([last]))
    if chosen and not known.exclusion.announcements[-1].cancelled:  # what was cancelled needs its own notice again
        raise ValueError(
            f"{known.exclusion.id} was moved to {written(last[0])} to {written(last[1])}, and it is "
            f"{written(act.at_s)}: it cannot be moved back over {written(chosen[0][0])}, which is past"
        )


def _binds(before: Register, act: Act) -> None:
    """No contract is recorded backwards: afterwards another tier, or none, would take out what had gone wrong."""
    content: Mapping[str, Any] = act.content
    tenant, tier, from_s = content["tenant"], content["tier"], read(content["from"])
    known = {name for edition in before.editions for name in edition.promises.tiers}
    if known and tier not in known:
        raise ValueError(f"no version promises anything to tier {tier}; there are {', '.join(sorted(known))}")
    if from_s < act.at_s:
        said = f"a contract cannot begin or change at {written(from_s)}, which is past: it is {written(act.at_s)}"
        raise ValueError(f"{said}; the time until now is judged as it was promised")
    if content.get("begins"):
        _check_beginning(before, tenant)
    _check_gap(before, before.contract(tenant), tenant, from_s)


def _check_beginning(before: Register, tenant: str) -> None:
    if before.contract(tenant).bindings:
        raise ValueError(f"{tenant} has a contract, which has begun")
    if any(whose == tenant for whose, _ in before.closures):
        raise ValueError(f"months of {tenant} are closed, so its contract has begun")


def _check_gap(before: Register, contract_: contract.Contract, tenant: str, from_s: int) -> None:
    ends = [end for _, end in contract_.stretches if end is not None and end < from_s]
    zone = _zone(before, before.editions[-1] if before.editions else None, tenant, from_s)
    if ends and max(ends) > month_at(from_s, zone).start_s:
        said = f"the contract of {tenant} ended at {written(max(ends))} in the same month"
        raise ValueError(f"{said}; a month has one figure, so let the new one begin with the next")


def _zone(before: Register, edition: Edition | None, tenant: str, at_s: int) -> str:
    """In which the months of a tenant begin by an edition."""
    if edition is None:
        return SlaTerms().zone
    promises, own = edition.promises, edition.promises.tenants.get(tenant, NOTHING_OWN)
    tier = before.contract(tenant).tier_from(at_s) or own.tier
    return str(layers_for(promises, tenant, tier).fields.get("zone", SlaTerms().zone))


def _pins(before: Register, act: Act) -> None:
    content: Mapping[str, Any] = act.content
    found = before.edition(content["number"])
    if found is None:
        known = ", ".join(each.number for each in before.versions) or "none"
        raise ValueError(f"version {content['number']} was not published; there are {known}")
    version = found.version
    first_s = first_month(act.at_s, _zone(before, found, content["tenant"], act.at_s))
    if version.effective_from_s > first_s:
        begins = written(version.effective_from_s)
        raise ValueError(
            f"version {version.number} takes effect at {begins}, and the next month, which it would rule, begins at "
            f"{written(first_s)}: record it in the month before it takes effect"
        )
    if read(content["until"]) <= act.at_s:
        raise ValueError(f"the renewal at {content['until']} is past: it is {written(act.at_s)}")


def _closes(before: Register, act: Act) -> None:
    end = closed.closed(act).month.end_s
    if end > act.at_s:
        raise ValueError(f"{act.content['period']} ends at {written(end)}, and it is {written(act.at_s)}")


_CHECKS: Final[Mapping[str, Callable[[Register, Act], None]]] = {
    exclusions.ANNOUNCE: _announces, exclusions.WORK: _works, exclusions.EXCLUDE: _excludes,
    exclusions.APPROVE: _approves, contract.BIND: _binds, contract.PIN: _pins, closed.CLOSE: _closes,
}  # fmt: skip
