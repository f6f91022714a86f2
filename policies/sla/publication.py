"""The acts by which a version of the SLA is published, and whether it may be (spec V1-V3).

First a ``layer`` act for each customer who has terms of its own, then the ``version`` that takes them up; behind it
they cannot change. So the chain fixes both, and the layers of others can be withheld from a customer's export without
hiding the version. Whether one change is for the worse is ``adverse``; here it is asked for everybody who is promised
anything: the service, each tier, each customer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from policies.sla.adverse import Change, Promise, changes
from policies.sla.canonical import canonical
from policies.sla.chain import Act
from policies.sla.contract import Contract
from policies.sla.instants import duration, read, written
from policies.sla.period import month_at
from policies.sla.plain import plain
from policies.sla.promises import (
    Own,
    Promises,
    common_value,
    own_from,
    own_value,
    promise_for,
    promises_from,
    terms_for,
)
from policies.sla.reading import filled, mapping, or_none, some_keys, text
from policies.sla.terms import Band
from policies.sla.versions import DAY_S, Refusal, Version, governing, refusal_of_change

VERSION: Final = "version"
"""What is promised from a month on: ``id, version, effective_from, text, policy``."""
LAYER: Final = "layer"
"""What of it is a customer's alone: ``tenant, version, fields``, perhaps ``tier, department_of, calendar``."""
MOST_TEXT: Final = 262_144
_NAMED: Final = 20
"""How many refused changes a message names."""

_LONG: Final = 120
_AROUND: Final = 20
"""How much of a long value is shown, and how much of that before what changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """A published version with what is in it."""

    version: Version
    promises: Promises


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """What a version changes for one of those it is promised to: ``the service``, ``tier x``, ``tenant y``.

    ``before`` None: there was no version. ``notice_days``: what is due for the worse. ``refusal`` None: it may come
    into force as it says.
    """

    whose: str
    before: Promise | None
    after: Promise
    notice_days: int
    refusal: Refusal | None

    @property
    def changes(self) -> tuple[Change, ...]:
        return () if self.before is None else changes(self.before, self.after)

    @property
    def adverse(self) -> tuple[Change, ...]:
        return tuple(each for each in self.changes if each.adverse is not None)


# --- the acts -------------------------------------------------------------------------------------------------------


def version_complaint(content: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` for content that is none of a version: its form, and that its terms go together."""
    some_keys(content, "an act of version", ("id", "version", "effective_from", "text", "policy"), ())
    text(content["text"], "text", most=MOST_TEXT)
    filled(content, "id")
    read(content["effective_from"])
    version_of(Act(kind=VERSION, actor="-", at_s=0, content=content))
    promises = promises_from(content["policy"], {})
    for tier in (None, *promises.tiers):
        promise_for(promises, None, tier)


def layer_complaint(content: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` for content that is none of a layer."""
    some_keys(content, "an act of layer", ("tenant", "version", "fields"), ("tier", "department_of", "calendar"))
    filled(content, "tenant", "version")
    or_none(content.get("tier"), lambda value: text(value, "tier"))
    own_from(mapping(content, "a layer"))


def version_of(act: Act) -> Version:
    """The version that a sound act publishes. Raises ``ValueError`` for a number that is none."""
    content: Mapping[str, Any] = act.content
    return Version(
        id=content["id"], number=content["version"], effective_from_s=read(content["effective_from"]),
        text=content["text"], policy=content["policy"], author=act.actor, published_at_s=act.at_s,
    )  # fmt: skip


def acts_of(*, id: str, number: str, effective_from_s: int, text: str, promises: Promises) -> list[tuple[str, Any]]:
    """The kind and content of each act that publishes ``promises``, in their order."""
    layers = [
        (LAYER, {"tenant": tenant, "version": number, **own_value(own)})
        for tenant, own in sorted(promises.tenants.items())
    ]
    content = {
        "id": id, "version": number, "effective_from": written(effective_from_s), "text": text,
        "policy": common_value(promises),
    }  # fmt: skip
    return [*layers, (VERSION, content)]


# --- whether it may be published ------------------------------------------------------------------------------------


def edition_of(version: Version, layers: Mapping[str, Own]) -> Edition:
    """Raises ``ValueError`` for terms that do not go together, a customer's included."""
    promises = promises_from(version.policy, layers)
    for tenant, own in layers.items():
        if _is_partial(promises, tenant):
            continue
        try:
            promise_for(promises, tenant, own.tier)
        except ValueError as error:
            raise ValueError(f"the terms of {tenant}: {error}") from None
    return Edition(version=version, promises=promises)


def _is_partial(promises: Promises, tenant: str) -> bool:
    """Whether it is a department whose customer's layer was withheld from the reader of this log."""
    own = promises.tenants.get(tenant)
    return own is not None and own.department_of is not None and own.department_of not in promises.tenants


def check_next(editions: Sequence[Edition], new: Edition, contracts: Mapping[str, Contract]) -> None:
    """Raises ``ValueError`` that says why ``new`` cannot be published behind ``editions``, and from when it could."""
    if editions:
        _check_order(editions[-1].version, new.version)
    refused = [each for each in affected(editions, new, contracts) if each.refusal is not None]
    if refused:
        raise ValueError(_said(new.version, refused, earliest(editions, new, contracts)))


def _check_order(last: Version, new: Version) -> None:
    if new.number == last.number:
        same = "with the same content" if new.sha256 == last.sha256 else "with another content"
        raise ValueError(f"version {new.number} was published at {written(last.published_at_s)} {same}")
    if new.id != last.id:
        raise ValueError(f"this ledger keeps the versions of {last.id}, and not of {new.id}")
    if new.order < last.order:
        raise ValueError(f"version {new.number} comes after {last.number}, and numbers go up")
    if new.effective_from_s < last.effective_from_s:
        said = f"takes effect at {written(last.effective_from_s)}, and one that follows it cannot do so before"
        raise ValueError(f"version {last.number} {said}")


def affected(editions: Sequence[Edition], new: Edition, contracts: Mapping[str, Contract]) -> tuple[Affected, ...]:
    """What changes, for whom; of a first version, everybody it is promised to. Those without a change are left out."""
    last = editions[-1] if editions else None
    service = _compared(editions, new, ("the service", None, None))
    found = [service, *(_compared(editions, new, each) for each in _promised_to(last, new, contracts))]
    return tuple(each for each in found if each.refusal is not None or each.before != each.after)


def _compared(editions: Sequence[Edition], new: Edition, of: tuple[str, str | None, str | None]) -> Affected:
    whose, tenant, tier = of
    last = editions[-1] if editions else None
    after = promise_for(new.promises, tenant, tier)
    before = None if last is None else promise_for(last.promises, tenant, tier)
    from_s = new.version.effective_from_s
    if whose != "the service":  # the SLA's zone is the service's; a month of another begins with its own (V2)
        from_s = first_month(from_s, after.terms.zone if before is None else before.terms.zone)
    days = _notice_days(editions, new.version.published_at_s, tenant, tier)
    refusal = refusal_of_change(
        before, after, published_at_s=new.version.published_at_s, effective_from_s=from_s, notice_days=days
    )
    return Affected(whose=whose, before=before, after=after, notice_days=days, refusal=refusal)


def _notice_days(editions: Sequence[Edition], at_s: int, tenant: str | None, tier: str | None) -> int:
    """The longest of the terms in force and of all that are published and not in force yet: a shorter one binds nobody
    before it is."""
    in_force = governing((each.version for each in editions), at_s)
    owed = [
        each.promises
        for each in editions
        if each.version.effective_from_s > at_s or each.version == in_force
        if tenant is None or not _is_partial(each.promises, tenant)
    ]
    return max((terms_for(each, tenant, tier).sla_change_notice_days for each in owed), default=0)


def _promised_to(
    last: Edition | None, new: Edition, contracts: Mapping[str, Contract]
) -> Iterator[tuple[str, str | None, str | None]]:
    """Name, tenant and tier of each promise that may have changed. A tier that is new was promised to nobody."""
    old = Promises() if last is None else last.promises
    for tier in sorted(new.promises.tiers if last is None else old.tiers):
        if last is None or not _same(old, new.promises, None, tier):
            yield f"tier {tier}", None, tier
    for tenant in sorted({*old.tenants, *new.promises.tenants, *contracts}):
        tier_ = _tier_of(tenant, old, new, contracts)
        if not _is_bound_by(tenant, new.version, contracts) or _same(old, new.promises, tenant, tier_):
            continue
        if _is_partial(old, tenant) or _is_partial(new.promises, tenant):
            continue
        yield f"tenant {tenant}", tenant, tier_


def _is_bound_by(tenant: str, version: Version, contracts: Mapping[str, Contract]) -> bool:
    """Not one who keeps an earlier version (V5), nor one whose contract begins with this one or later."""
    contract, from_s = contracts.get(tenant, Contract()), version.effective_from_s
    pin = contract.pin_at(from_s)
    begins = contract.stretches[0][0] if contract.stretches else None
    return (pin is None or from_s >= pin.until_s) and (begins is None or begins < from_s)


def _same(old: Promises, new: Promises, tenant: str | None, tier: str | None) -> bool:
    """Whether nothing that a promise is made of has changed, found without resolving it."""
    whole = ("service", "owners", "calendars")
    own = [(each.tenants.get(tenant) if tenant is not None else None) for each in (old, new)]
    customers = [each.department_of for each in own if each is not None and each.department_of is not None]
    return (
        all(getattr(old, name) == getattr(new, name) for name in whole)
        and old.tiers.get(tier or "") == new.tiers.get(tier or "")
        and old.support.get(tier or "") == new.support.get(tier or "")
        and own[0] == own[1]
        and all(old.tenants.get(each) == new.tenants.get(each) for each in customers)
    )


def _tier_of(tenant: str, old: Promises, new: Edition, contracts: Mapping[str, Contract]) -> str | None:
    """The tier by contract when the version takes effect, else the one that the policy files named."""
    own = new.promises.tenants.get(tenant) or old.tenants.get(tenant)
    bound = contracts.get(tenant, Contract()).tier_from(new.version.effective_from_s)
    return bound if bound is not None or own is None else own.tier


def earliest(editions: Sequence[Edition], new: Edition, contracts: Mapping[str, Contract]) -> int | None:
    """The first instant at which ``new`` could take effect if it is published when it says; None: at none."""
    at_s = new.version.published_at_s
    notices = [each.notice_days for each in affected(editions, new, contracts) if each.adverse]
    free_s = max(at_s + DAY_S * max(notices, default=0), editions[-1].version.effective_from_s if editions else 0)
    from_s = first_month(free_s, terms_for(new.promises, None, None).zone)
    then = replace(new, version=replace(new.version, effective_from_s=from_s))
    return None if any(each.refusal for each in affected(editions, then, contracts)) else from_s


def first_month(at_s: int, zone: str) -> int:
    """The first beginning of a month of ``zone`` at or after an instant."""
    month = month_at(at_s, zone)
    return month.start_s if month.start_s == at_s else month.end_s


def _said(version: Version, refused: Sequence[Affected], earliest_s: int | None) -> str:
    from_s, at_s = version.effective_from_s, version.published_at_s
    reasons = [_reason(each, from_s, at_s) for each in refused[:_NAMED]]
    if len(refused) > _NAMED:
        reasons.append(f"and {len(refused) - _NAMED} more")
    when = "no other month would do" if earliest_s is None else f"published now, the earliest is {written(earliest_s)}"
    return f"version {version.number} cannot take effect at {written(from_s)}: {'; '.join(reasons)}; {when}"


def _reason(refused: Affected, from_s: int, at_s: int) -> str:
    """One customer's, in words; the first names of what changed are enough to find the rest."""
    zone = (refused.before or refused.after).terms.zone
    if refused.refusal == "effective_from_not_period_start":
        if refused.whose != "the service":
            return f"{refused.whose} would go from {zone} to {refused.after.terms.zone}, and it begins no month in both"
        around = month_at(from_s, zone)
        return f"it begins no month of {zone} (those around it: {written(around.start_s)}, {written(around.end_s)})"
    if not refused.adverse or refused.before is None:
        return f"it would be published {duration(at_s - from_s)} after that"
    days = refused.notice_days
    worse = ", ".join(f"{each.adverse} ({said(each)})" for each in refused.adverse)
    return f"{refused.whose} would get {worse} with {duration(from_s - at_s)} of notice, and {days} days are due"


def said(change: Change) -> str:
    """``target 99.9 -> 99.5``; of two long values the part from where they differ."""
    before, after = _text(change.before), _text(change.after)
    same = 0
    if max(len(before), len(after)) > _LONG:
        while same < min(len(before), len(after)) and before[same] == after[same]:
            same += 1
        same = max(0, same - _AROUND)
    return f"{change.field} {_cut(before, same)} -> {_cut(after, same)}"


def _text(value: object) -> str:
    if isinstance(value, tuple) and value and all(isinstance(each, Band) for each in value):
        return ", ".join(
            f"{plain(each.min)} %: {plain(each.credit)} %{' and termination' if each.termination else ''}"
            for each in value
        )
    return canonical(plain(value)).decode().strip('"')


def _cut(text: str, start: int) -> str:
    head, rest = "..." if start else "", text[start:]
    return head + (rest if len(rest) <= _LONG else f"{rest[: _LONG - 3]}...")
