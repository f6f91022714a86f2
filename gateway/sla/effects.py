"""What comes of an exclusion as the log has it now, in words for whoever has just recorded something (spec X4-X8).

The words are of the same rulings by which a month is judged, under the terms of everybody it concerns. Only a month's
figure says how much downtime it takes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from policies.sla.acts import Request
from policies.sla.exclusions import Exclusion, Ruling, rulings
from policies.sla.instants import duration, written
from policies.sla.period import month_at
from policies.sla.promises import Promises, terms_for
from policies.sla.spans import ALWAYS, intersection, spans
from policies.sla.terms import SlaTerms

REASONS: Final[Mapping[str, str]] = {
    "not_announced": "nothing was announced",
    "cancelled": "it was cancelled",
    "changed_late": "part of the window was not announced in time",
    "not_worked_in": "work was done in a part of the window only",
    "over_the_cap": "the month's maintenance is used up",
    "not_recorded": "nothing was recorded",
    "not_approved": "another person has to approve it",
    "empty_window": "the window has no length",
    "other_tenant": "it is somebody else's",
}


def terms_by_promise(promises: Promises, tenant: str | None, tier: str | None) -> dict[str, SlaTerms]:
    """The terms of everybody whom an exclusion of ``tenant`` concerns; None concerns all."""
    if tenant is not None:
        return {tenant: terms_for(promises, tenant, tier)}
    found = {"the service": terms_for(promises, None, None)}
    found |= {f"tier {name}": terms_for(promises, None, name) for name in sorted(promises.tiers)}
    found |= {name: terms_for(promises, name, own.tier) for name, own in sorted(promises.tenants.items())}
    return found


def effects(request: Request, terms: Mapping[str, SlaTerms], others: Iterable[Request] = ()) -> tuple[str, ...]:
    """One sentence, or one for each way in which it ends; then what it overlaps."""
    by_words: dict[str, list[str]] = {}
    for whose, each in terms.items():
        by_words.setdefault(_words(_ruling(request.exclusion, each), each), []).append(whose)
    if len(by_words) == 1:
        return (*by_words, *_overlaps(request, others))
    return (*(f"for {', '.join(whose)}: {words}" for words, whose in by_words.items()), *_overlaps(request, others))


def excludes(request: Request, terms: Mapping[str, SlaTerms]) -> bool:
    """Whether it takes out anything of anybody, as it stands."""
    return any(_ruling(request.exclusion, each).spans for each in terms.values())


def _ruling(exclusion: Exclusion, terms: SlaTerms) -> Ruling:
    end = month_at(_asked(exclusion)[0], terms.zone).end_s
    return rulings([exclusion], terms, exclusion.tenant, ALWAYS, end)[0]


def _asked(exclusion: Exclusion) -> tuple[int, int]:
    if not exclusion.announcements:
        return exclusion.window
    return exclusion.announcements[-1].from_s, exclusion.announcements[-1].to_s


def _words(ruling: Ruling, terms: SlaTerms) -> str:
    if ruling.reason is None:
        return f"it will exclude{_notice(ruling, terms)}"
    if ruling.verdict == "partly":
        left = ", ".join(f"{written(start)} to {written(end)}" for start, end in ruling.spans)
        return f"it will exclude only {left}: {_reason(ruling, terms)}"
    return f"it will not exclude: {_reason(ruling, terms)}"


def _notice(ruling: Ruling, terms: SlaTerms) -> str:
    told = ruling.exclusion.announcements
    if not told:
        return ""
    due = duration(terms.maintenance_notice_seconds)
    return f": announced {duration(told[-1].from_s - told[-1].at_s)} before, and {due} are due"


def _reason(ruling: Ruling, terms: SlaTerms) -> str:
    match ruling.reason:
        case "short_notice":
            return _short_notice(ruling.exclusion, terms.maintenance_notice_seconds)
        case "recorded_late":
            final_s = month_at(ruling.exclusion.window[0], terms.zone).end_s + terms.exclusion_record_seconds
            return f"it was recorded after {written(final_s)}, when the month was final"
    return REASONS[str(ruling.reason)]


def _short_notice(exclusion: Exclusion, due_s: int) -> str:
    told = exclusion.announcements[-1]
    if told.at_s >= told.from_s:
        return f"announced {duration(told.at_s - told.from_s)} after it begins; maintenance is announced ahead (X4)"
    return (
        f"announced {duration(told.from_s - told.at_s)} before it begins, and {duration(due_s)} are due (X4); until "
        f"{written(told.from_s - due_s)} it would have been in time"
    )


def _overlaps(request: Request, others: Iterable[Request]) -> Iterator[str]:
    """X2."""
    own = spans([_asked(request.exclusion)])
    for other in others:
        same = other.exclusion.id == request.exclusion.id or other.exclusion.group != request.exclusion.group
        if not same and intersection(own, spans([_asked(other.exclusion)])):
            yield f"it overlaps {other.exclusion.id}; time under both is taken out once (X2)"
