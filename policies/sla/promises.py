"""All that a policy set promises, as one value that a version of the SLA can hold (spec V1, V4).

A version has it in two parts: what is promised to everybody, and for each customer the layer that is his alone. So a
customer's export can show him the version and his own layer, and nobody else's terms or name. The objectives that
customers never see are in neither. Whether a policy is well written was decided where it was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from policies.model import Calendar, Owner, PolicySet, Route, Support, Tenant, nothing
from policies.sla.adverse import NO_CLOCKS, Promise
from policies.sla.layers import Layer, Resolved, resolve
from policies.sla.plain import made, plain
from policies.sla.reading import array, keys, mapping, or_none, shown, text
from policies.sla.support import ROUND_THE_CLOCK, Clocks, Objective, clocks_of, objectives_of
from policies.sla.terms import FIELDS, SlaTerms, terms_of

UNPUBLISHED: Final = "internal"
"""The field of objectives that are stricter than what is promised."""
OWNERS: Final = tuple(each.value for each in Owner)
MINUTE_S: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What is promised to one customer or department alone.

    ``tier``: the one that the policy files named when it was published. ``department_of``: the customer on whose layer
    this one stands, None for a customer. ``calendar``: its choice among those offered, None for the contract's (SC1).
    """

    fields: Mapping[str, object] = field(default_factory=nothing)
    tier: str | None = None
    department_of: str | None = None
    calendar: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """``service`` and ``tiers`` are layers' fields; ``tenants`` has those who have something of their own.

    ``owners``: whose each upstream is (O9). ``groups``: the upstreams that serve each route group. ``support``: the
    contract of each tier that has one.
    """

    service: Mapping[str, object] = field(default_factory=nothing)
    tiers: Mapping[str, Mapping[str, object]] = field(default_factory=nothing)
    tenants: Mapping[str, Own] = field(default_factory=nothing)
    owners: Mapping[str, str] = field(default_factory=nothing)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=nothing)
    support: Mapping[str, Support] = field(default_factory=nothing)
    calendars: Mapping[str, Calendar] = field(default_factory=nothing)


NOTHING_OWN: Final = Own()


# --- from the policy files ------------------------------------------------------------------------------------------


def promises_of(policy: PolicySet) -> Promises:
    """What the policy files promise."""
    return Promises(
        service=published(policy.sla),
        tiers={name: published(tier.sla) for name, tier in policy.tiers.items()},
        tenants=_owns(policy.tenants),
        owners={name: upstream.owner.value for name, upstream in policy.upstreams.items()},
        groups=groups_of(policy.routes),
        support={name: policy.support[tier.support] for name, tier in policy.tiers.items() if tier.support is not None},
        calendars=policy.calendars,
    )


def published(layer: Mapping[str, object]) -> Mapping[str, object]:
    """The fields of a layer that customers may see, as plain values."""
    return {name: plain(value) for name, value in layer.items() if name != UNPUBLISHED}


def _owns(tenants: Mapping[str, Tenant]) -> dict[str, Own]:
    """Of all who have something of their own. A customer with departments has, be it nothing: so in a log of which a
    department may read a part, what is not there was withheld."""
    customers = {tenant.department_of for tenant in tenants.values()}
    return {
        name: own or Own(tier=tenant.tier)
        for name, tenant in tenants.items()
        if (own := own_of(tenant)) is not None or name in customers
    }


def own_of(tenant: Tenant) -> Own | None:
    """None for a tenant that has nothing of its own: it is promised what its tier is."""
    fields = published(tenant.sla)
    if not (fields or tenant.department_of or tenant.calendar):
        return None
    return Own(fields=fields, tier=tenant.tier, department_of=tenant.department_of, calendar=tenant.calendar)


def groups_of(routes: Mapping[str, Route]) -> dict[str, tuple[str, ...]]:
    """The upstreams of each route group."""
    found: dict[str, set[str]] = {}
    for route in routes.values():
        found.setdefault(route.group, set()).add(route.upstream)
    return {group: tuple(sorted(upstreams)) for group, upstreams in sorted(found.items())}


# --- as values ------------------------------------------------------------------------------------------------------


def common_value(promises: Promises) -> dict[str, Any]:
    """What is promised to everybody: the ``policy`` of a version."""
    parts = ("service", "tiers", "owners", "groups", "support", "calendars")
    return {name: plain(getattr(promises, name)) for name in parts}


def promises_from(value: object, tenants: Mapping[str, Own]) -> Promises:
    """Back from a version's ``policy`` and the layers of its customers. Raises ``ValueError`` for a wrong form."""
    found = keys(value, "policy", "service", "tiers", "owners", "groups", "support", "calendars")
    return Promises(
        service=_layer(found["service"], "service"),
        tiers={name: _layer(each, name) for name, each in mapping(found["tiers"], "tiers").items()},
        tenants=tenants,
        owners={name: _owner(each, name) for name, each in mapping(found["owners"], "owners").items()},
        groups={name: _names(each, name) for name, each in mapping(found["groups"], "groups").items()},
        support={name: made(Support, each, name) for name, each in mapping(found["support"], "support").items()},
        calendars={name: made(Calendar, each, name) for name, each in mapping(found["calendars"], "calendars").items()},
    )


def own_value(own: Own) -> dict[str, Any]:
    """What a ``layer`` act says of a customer; what is None is left out."""
    given = {"tier": own.tier, "department_of": own.department_of, "calendar": own.calendar}
    return {"fields": plain(own.fields), **{name: each for name, each in given.items() if each is not None}}


def own_from(value: Mapping[str, Any]) -> Own:
    """Back from it. Raises ``ValueError``."""
    names = {name: or_none(value.get(name), lambda each: text(each, "a name")) for name in _OWN_NAMES}
    return Own(fields=_layer(value["fields"], "fields"), **names)


_OWN_NAMES: Final = ("tier", "department_of", "calendar")


def _layer(value: object, what: str) -> Mapping[str, object]:
    found = mapping(value, what)
    for name in found:
        if name not in FIELDS or name == UNPUBLISHED:
            raise ValueError(f"{what} has no term {shown(name)}")
    return found


def _owner(value: object, what: str) -> str:
    if value not in OWNERS:
        raise ValueError(f"owner {shown(value)} of {what} is none of {', '.join(OWNERS)}")
    return str(value)


def _names(value: object, what: str) -> tuple[str, ...]:
    return tuple(text(each, what) for each in array(value, what))


# --- for one of those it is promised to -----------------------------------------------------------------------------


def layers_for(promises: Promises, tenant: str | None, tier: str | None) -> Resolved:
    """The layers that stand for a tenant (V4); None of both is everybody. A tier without a layer adds nothing."""
    layers = [Layer(name="service", fields=promises.service)]
    if tier is not None:
        layers.append(Layer(name=f"tier:{tier}", fields=promises.tiers.get(tier, nothing())))
    own = promises.tenants.get(tenant) if tenant is not None else None
    if own is not None and own.department_of is not None:
        of = promises.tenants.get(own.department_of, NOTHING_OWN)
        layers.append(Layer(name=f"customer:{own.department_of}", fields=of.fields))
        layers.append(Layer(name=f"department:{tenant}", fields=own.fields))
    elif own is not None:
        layers.append(Layer(name=f"customer:{tenant}", fields=own.fields))
    return resolve(layers)


def terms_for(promises: Promises, tenant: str | None, tier: str | None) -> SlaTerms:
    """Raises ``ValueError`` for layers that do not go together."""
    terms = terms_of(layers_for(promises, tenant, tier).fields)
    if terms.slot_seconds % MINUTE_S:
        raise ValueError(f"counters are kept by the minute; slots of {terms.slot_seconds} s cannot be judged by them")
    return terms


def clocks_for(promises: Promises, tenant: str | None, tier: str | None) -> Clocks:
    """The clocks of the tier's support contract, in the tenant's calendar. Raises ``ValueError`` likewise."""
    support = promises.support.get(tier) if tier is not None else None
    if support is None:
        return NO_CLOCKS
    chosen = None if tenant is None else calendar_for(promises, tenant)
    needed = chosen or support.hours
    if needed != ROUND_THE_CLOCK and needed not in promises.calendars:
        raise ValueError(f"calendar {shown(needed)} of support {shown(support.name)} is not defined")
    return clocks_of(support, promises.calendars, chosen)


def calendar_for(promises: Promises, tenant: str) -> str | None:
    """The calendar that a tenant chose, or its customer; None leaves the contract's (SC1)."""
    own = promises.tenants.get(tenant, NOTHING_OWN)
    of = NOTHING_OWN if own.department_of is None else promises.tenants.get(own.department_of, NOTHING_OWN)
    return own.calendar or of.calendar


def objectives_for(promises: Promises, tier: str | None) -> tuple[Objective, ...]:
    """What the tier's support contract says of how many cases a response is promised."""
    support = promises.support.get(tier) if tier is not None else None
    return () if support is None else objectives_of(support)


def promise_for(promises: Promises, tenant: str | None, tier: str | None) -> Promise:
    """All that is compared when a version changes (V3)."""
    return Promise(
        terms=terms_for(promises, tenant, tier), owners=promises.owners, clocks=clocks_for(promises, tenant, tier),
        objectives=objectives_for(promises, tier),
    )  # fmt: skip
