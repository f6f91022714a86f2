"""What a new version of an SLA changes, and which of it is material and adverse to the customer (spec V3).

A change is adverse when it lowers what was promised, or when nobody can show that it does not: another zone or scope
moves what is counted both ways. It is a matter of the terms alone, never of the figures of a month. Whether there was
notice of it is ``policies.sla.versions``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from policies.model import BusinessTime, Calendar, nothing
from policies.sla.histogram import Commitment
from policies.sla.opening import length_s
from policies.sla.support import SEVERITIES, Clocks, Objective, Severity, promised
from policies.sla.terms import Band, Chronic, SlaTerms

NO_CLOCKS: Final = Clocks(targets=MappingProxyType({}))
NO_CREDIT: Final = Band(min=Decimal(0), credit=Decimal(0))
COUNTED: Final = {"managed": "managed_upstream", "third_party": "third_party", "customer": "customer"}
"""The cause under which an owner's failures are booked (O9)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """All that one customer is promised: terms, whose each upstream is (by name; absent is ours), response clocks, and
    of how many cases a response is promised."""

    terms: SlaTerms
    owners: Mapping[str, str] = field(default_factory=nothing)
    clocks: Clocks = NO_CLOCKS
    objectives: tuple[Objective, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One field, before and after; ``adverse`` says in what way, None when the change is none for the worse."""

    field: str
    before: object
    after: object
    adverse: str | None = None


Judge = Callable[[Any, Any], bool]
"""Whether going from the first value to the second is for the worse."""


def _falls(before: Any, after: Any) -> bool:
    return bool(after < before)


def _rises(before: Any, after: Any) -> bool:
    return bool(after > before)


def _falls_from_known(before: Decimal | None, after: Decimal | None) -> bool:
    """None is no promise at all (V6)."""
    return before is not None and (after is None or after < before)


def _rises_or_ends(before: int | None, after: int | None) -> bool:
    """None is no cap at all."""
    return before is not None and (after is None or after > before)


def _any(before: object, after: object) -> bool:
    return True


def _loses(before: tuple[str, ...], after: tuple[str, ...]) -> bool:
    return not set(before) <= set(after)


def _gains(before: tuple[str, ...], after: tuple[str, ...]) -> bool:
    return not set(after) <= set(before)


def _keeps_less(before: tuple[Commitment, ...], after: tuple[Commitment, ...]) -> bool:
    """Whether a commitment is followed by none that is as quick for as many."""
    return not all(any(new.share >= old.share and new.under_us <= old.under_us for new in after) for old in before)


def _comes_later(before: Chronic | None, after: Chronic | None) -> bool:
    """More misses, or fewer months to look for them in; None is no right at all."""
    return before is not None and (after is None or after.misses > before.misses or after.months < before.months)


RULES: Final[Mapping[str, tuple[Judge, str]]] = {
    "target": (_falls_from_known, "lower target"),
    "threshold_percent": (_rises, "higher threshold"),
    "min_run_seconds": (_rises, "longer run"),
    "min_run_errors": (_rises, "longer run"),
    "min_requests_per_slot": (_rises, "longer run"),
    "max_bridge_seconds": (_falls, "longer run"),
    "merge_gap_seconds": (_falls, "longer run"),
    "alive_quorum": (_falls, "longer run"),
    "idle_inherits_platform": (_falls, "longer run"),
    "client_patience_ms": (_rises, "wider exclusion"),
    "counted_causes": (_loses, "new excluded cause"),
    "excluded_causes": (_gains, "new excluded cause"),
    "maintenance_cap_seconds": (_rises_or_ends, "wider exclusion"),
    "exclusion_record_seconds": (_rises, "wider exclusion"),
    "maintenance_notice_seconds": (_falls, "shorter notice"),
    "sla_change_notice_days": (_falls, "shorter notice"),
    "claim_days": (_falls, "shorter claim window"),
    "auto_claim": (_falls, "shorter claim window"),
    # "calendar" gives the higher figure: what is excluded still counts as time that was served
    "denominator": (lambda _, after: after == "calendar", "wider exclusion"),
    "latency": (_keeps_less, "lower target"),
    "chronic": (_comes_later, "lower credit"),
    "slot_seconds": (_any, "another measure"),
    "scope": (_any, "another measure"),
    "zone": (_any, "another measure"),
    "display_decimals": (lambda *_: False, ""),  # figures are cut and never rounded, so bands stay what they are (P4)
}
"""Each published term: when it gets worse, and which of V3's words that is."""


def changes(before: Promise, after: Promise) -> tuple[Change, ...]:
    """All differences that a customer may see, adverse or not."""
    old, new = before.terms, after.terms
    found = [*_of_terms(old, new), *_of_bands(old, new), *_of_cap(old, new)]
    found += [*_of_owners(before, after), *_of_clocks(before.clocks, after.clocks), *_of_objectives(before, after)]
    return tuple(found)


def adverse(before: Promise, after: Promise) -> tuple[Change, ...]:
    """The material adverse ones among them: none means that no notice is needed."""
    return tuple(change for change in changes(before, after) if change.adverse is not None)


def _change(name: str, before: object, after: object, is_worse: bool, word: str) -> Change:
    return Change(field=name, before=before, after=after, adverse=word if is_worse else None)


def _of_terms(before: SlaTerms, after: SlaTerms) -> Iterator[Change]:
    for name, (is_worse, word) in RULES.items():
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            yield _change(name, old, new, is_worse(old, new), word)


def _of_bands(before: SlaTerms, after: SlaTerms) -> Iterator[Change]:
    if before.bands != after.bands:
        yield _change("bands", before.bands, after.bands, _pays_less(before, after), "lower credit")


def _pays_less(before: SlaTerms, after: SlaTerms) -> bool:
    """Whether at some uptime there is less credit, or no longer the right to terminate.

    Between two edges of either list neither changes, so that to look at the edges is to look at every uptime.
    """
    pairs = [(_band(before, band.min), _band(after, band.min)) for band in (*before.bands, *after.bands)]
    return any(new.credit < old.credit or (old.termination and not new.termination) for old, new in pairs)


def _band(terms: SlaTerms, uptime: Decimal) -> Band:
    """Without a target nothing is paid, whatever the bands say (V6)."""
    return next(band for band in terms.bands if uptime >= band.min) if terms.target is not None else NO_CREDIT


def _of_cap(before: SlaTerms, after: SlaTerms) -> Iterator[Change]:
    """A month's fee in a contract year is less than a month's fee in each month, whatever the percentage."""
    if before.cap != after.cap:
        is_worse = after.cap.percent < before.cap.percent or after.cap.window == "contract_year" != before.cap.window
        yield _change("cap", before.cap, after.cap, is_worse, "lower cap")


def _of_owners(before: Promise, after: Promise) -> Iterator[Change]:
    """Each upstream's owner; one that is not named is ours (O9), so that naming a third party is a new carve-out."""
    for upstream in sorted(before.owners.keys() | after.owners.keys()):
        old, new = (promise.owners.get(upstream, "managed") for promise in (before, after))
        if old != new:
            left_out = COUNTED[old] in before.terms.causes and COUNTED[new] not in after.terms.causes
            yield _change(f"owners.{upstream}", old, new, left_out, "new excluded cause")


def _of_clocks(before: Clocks, after: Clocks) -> Iterator[Change]:
    for severity in SEVERITIES:
        old, new = before.targets.get(severity), after.targets.get(severity)
        same = old == new and (before.calendar == after.calendar or old is None or old.unit == "elapsed_us")
        if not same:
            is_worse = old is not None and not _no_slower(old, before.calendar, new, after.calendar)
            yield _change(f"support_targets.{severity}", old, new, is_worse, "slower response")


def _of_objectives(before: Promise, after: Promise) -> Iterator[Change]:
    """By severity, where one side names an objective; each of before must be kept by one that is as strict."""
    for severity in sorted({each.severity for each in (*before.objectives, *after.objectives)}):
        old, new = _objectives(before, severity), _objectives(after, severity)
        if (old, before.clocks.calendar) != (new, after.clocks.calendar):
            kept = all(any(_keeps(each, before, other, after) for other in new) for each in old)
            yield _change(f"support_objectives.{severity}", old, new, not kept, "slower response")


def _objectives(promise: Promise, severity: Severity) -> tuple[Objective, ...]:
    return tuple(each for each in promised(promise.clocks, promise.objectives) if each.severity == severity)


def _keeps(old: Objective, before: Promise, new: Objective, after: Promise) -> bool:
    return new.share >= old.share and _no_slower(old.within, before.clocks.calendar, new.within, after.clocks.calendar)


def _no_slower(old: BusinessTime, before: Calendar | None, new: BusinessTime | None, after: Calendar | None) -> bool:
    """Whether an answer is due no later than before, whenever the case comes in.

    Open time passes no faster than time, so an elapsed target may take the place of a business one of the same
    length, and never the other way round. Open time in two calendars compares only when one covers the other.
    """
    if new is None:
        return False
    if length_s(new, after) > length_s(old, before):
        return False
    if new.unit == "elapsed_us":
        return True
    return old.unit != "elapsed_us" and before is not None and after is not None and _covers(after, before)


def _covers(wider: Calendar, narrower: Calendar) -> bool:
    """Whether ``wider`` is open whenever ``narrower`` is."""
    return (
        wider.zone == narrower.zone
        and set(wider.holidays) <= set(narrower.holidays)
        and all(_open(wider, day) >= _open(narrower, day) for day in range(7))
    )


def _open(calendar: Calendar, weekday: int) -> set[int]:
    """The minutes of a weekday at which the calendar is open."""
    return {minute for opens, closes in calendar.open.get(weekday, ()) for minute in range(opens, closes)}
