"""What one tenant is promised in one month: the governing version with its layers resolved (spec V2, V4, V5, P2).

Where no version had taken effect when the month began, the policy files themselves are the promise. The objectives that
customers never see are always the files': nobody was promised them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from policies.model import ANONYMOUS, PolicySet, nothing
from policies.sla.contract import OPEN
from policies.sla.evidence import VersionName
from policies.sla.layers import Resolved
from policies.sla.period import Period, month
from policies.sla.promises import UNPUBLISHED, Promises, clocks_for, layers_for, objectives_for, promises_of
from policies.sla.publication import Edition
from policies.sla.register import Register
from policies.sla.support import Clocks, Objective
from policies.sla.terms import SlaTerms, terms_of
from policies.sla.versions import Version, governing

_MOST_ROUNDS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the policy files say: promises, each tenant's tier, and the objectives that customers never see.

    ``internal`` is by layer: ``service``, ``tier:premium``, ``customer:acme``.
    """

    promises: Promises
    tiers: Mapping[str, str]
    internal: Mapping[str, object] = field(default_factory=nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """``tenant`` None is the platform, which has no tier. ``version`` None: the plan, nothing was published.

    ``customer``: whose department the tenant is, None for a customer. ``contract``: the time in force, None is open.
    ``provenance`` names the layer of each term that a layer names. ``channels`` and ``escalation`` are shown only.
    """

    tenant: str | None
    tier: str | None
    version: VersionName | None
    terms: SlaTerms
    provenance: Mapping[str, str]
    owners: Mapping[str, str]
    groups: Mapping[str, tuple[str, ...]]
    contract: tuple[int | None, int | None]
    clocks: Clocks
    objectives: tuple[Objective, ...]
    period: Period
    customer: str | None = None
    channels: tuple[str, ...] = ()
    escalation: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ruling:
    """What rules a month: which promises, by which tier, and the layers that come of it."""

    version: Version | None
    promises: Promises
    tier: str | None
    layers: Resolved
    period: Period


def plan_of(policy: PolicySet) -> Plan:
    """Made once for all tenants."""
    tiers = {name: tenant.tier for name, tenant in policy.tenants.items()}
    if policy.auth.anonymous_tier is not None:
        tiers[ANONYMOUS] = policy.auth.anonymous_tier
    layers = {"service": policy.sla, **{f"tier:{name}": tier.sla for name, tier in policy.tiers.items()}}
    layers |= {f"customer:{name}": tenant.sla for name, tenant in policy.tenants.items() if tenant.sla}
    internal = {name: layer[UNPUBLISHED] for name, layer in layers.items() if UNPUBLISHED in layer}
    return Plan(promises=promises_of(policy), tiers=tiers, internal=internal)


def agreement(register: Register, plan: Plan, tenant: str | None, month: str) -> Agreement:
    """Raises ``ValueError`` for a month that is none, a tenant that nobody knows, and a pin that cannot be kept."""
    _check_known(register, plan, tenant)
    ruling = _ruling(register, plan, tenant, month)
    fields = {**ruling.layers.fields, **_internal(plan, tenant, ruling)}
    terms, promises = terms_of(fields), ruling.promises
    support = promises.support.get(ruling.tier) if ruling.tier is not None else None
    own = promises.tenants.get(tenant) if tenant is not None else None
    return Agreement(
        tenant=tenant,
        tier=ruling.tier,
        version=None if ruling.version is None else _name(ruling.version),
        terms=replace(terms, scope="platform") if tenant is None else terms,
        provenance=ruling.layers.provenance,
        owners=promises.owners,
        groups=promises.groups,
        contract=OPEN if tenant is None else register.contract(tenant).force_in(ruling.period),
        clocks=clocks_for(promises, tenant, ruling.tier),
        objectives=objectives_for(promises, ruling.tier),
        period=ruling.period,
        customer=None if own is None else own.department_of,
        channels=() if support is None else support.channels,
        escalation=() if support is None else support.escalation,
    )


def _check_known(register: Register, plan: Plan, tenant: str | None) -> None:
    if tenant is not None and tenant not in plan.tiers and not register.contract(tenant).bindings:
        raise ValueError(f"{tenant} is no tenant of the policy files, and no recorded contract names it")


def _ruling(register: Register, plan: Plan, tenant: str | None, name: str) -> _Ruling:
    """The version, tier and zone of a month depend on each other: a month begins where its terms say.

    It is looked for from the zone of the policy files on; a change of zone begins a month in both (V2), so that the
    second round finds what the first one did.
    """
    zone = _zone(layers_for(plan.promises, tenant, _tier(register, plan, tenant, None)))
    for _ in range(_MOST_ROUNDS):
        found = _ruling_in(register, plan, tenant, month(name, zone))
        if _zone(found.layers) == zone:
            return found
        zone = _zone(found.layers)
    raise ValueError(f"the months of {tenant} begin in no one zone: their terms change it back and forth")


def _ruling_in(register: Register, plan: Plan, tenant: str | None, of: Period) -> _Ruling:
    edition = _edition(register, tenant, of)
    tier = _tier(register, plan, tenant, of, edition)
    promises = plan.promises if edition is None else edition.promises
    return _Ruling(
        version=None if edition is None else edition.version, promises=promises, tier=tier,
        layers=layers_for(promises, tenant, tier), period=of,
    )  # fmt: skip


def _edition(register: Register, tenant: str | None, of: Period) -> Edition | None:
    pin = None if tenant is None else register.contract(tenant).pin_at(of.start_s)
    found = governing(register.versions, of.start_s, pin)
    return None if found is None else register.edition(found.number)


def _tier(
    register: Register, plan: Plan, tenant: str | None, of: Period | None, edition: Edition | None = None
) -> str | None:
    """By contract, else as the version says of whom it names, so that no edit of the files changes it unpublished; of
    others as the files say, or for whom they no longer name as it was bound first."""
    if tenant is None:
        return None
    contract = register.contract(tenant)
    own = None if edition is None else edition.promises.tenants.get(tenant)
    bound = None if of is None else contract.tier_from(of.start_s)
    bound = own.tier if bound is None and own is not None else bound
    first = contract.bindings[0].tier if contract.bindings else None
    return plan.tiers.get(tenant, first) if bound is None else bound


def _zone(layers: Resolved) -> str:
    return str(layers.fields.get("zone", SlaTerms().zone))


def _internal(plan: Plan, tenant: str | None, ruling: _Ruling) -> dict[str, object]:
    """The most specific of the files' own objectives, whole."""
    own = plan.promises.tenants.get(tenant) if tenant is not None else None
    names = ["service", f"tier:{ruling.tier}"]
    if own is not None and own.department_of is not None:
        names.append(f"customer:{own.department_of}")
    names.append(f"customer:{tenant}")
    said = [plan.internal[name] for name in names if name in plan.internal]
    return {UNPUBLISHED: said[-1]} if said else {}


def _name(version: Version) -> VersionName:
    return VersionName(id=version.id, number=version.number, sha256=version.sha256)
