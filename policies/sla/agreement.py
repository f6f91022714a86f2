"""What one tenant is promised in one month: the governing version with its layers resolved (spec V2, V4, V5, P2).

Where no version had taken effect when the month began, the policy files themselves are the promise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from policies.model import PolicySet, nothing
from policies.sla.evidence import VersionName
from policies.sla.period import Period
from policies.sla.promises import Promises
from policies.sla.register import Register
from policies.sla.support import Clocks, Objective
from policies.sla.terms import SlaTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the policy files say: promises, each tenant's tier, and the objectives that customers never see."""

    promises: Promises
    tiers: Mapping[str, str]
    internal: Mapping[str, Mapping[str, object]] = field(default_factory=nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """``tenant`` None is the platform, which has no tier. ``version`` None: the plan, nothing was published.

    ``customer``: whose department the tenant is, None for a customer. ``contract``: the time in force, None is open.
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


def plan_of(policy: PolicySet) -> Plan:
    """Made once for all tenants."""
    raise NotImplementedError


def agreement(register: Register, plan: Plan, tenant: str | None, month: str) -> Agreement:
    """Raises ``ValueError`` for a month that is none, a tenant that neither knows, and a pin that cannot be kept."""
    raise NotImplementedError
