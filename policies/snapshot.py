"""One loaded policy with everything compiled from it; a request takes one and keeps it to its end.

Plans are compiled at first use and remembered: one per (tier, route) for the tenants that override
nothing, one per (tenant, route) for the others, at most ``PLANS_KEPT`` of those.
"""

from __future__ import annotations

from policies.model import PolicySet, Quota, Route, Tenant
from policies.periods import bounds
from policies.plan import Plan, compile_plan
from policies.routing import RouteTable

PLANS_KEPT = 20_000


class Snapshot:
    """``policy`` is what the files say; ``version`` its content hash; ``routes`` the compiled route table.

    ``cross_origin`` says whether any route answers to browsers of other origins.
    """

    __slots__ = ("_own", "_shared", "cross_origin", "policy", "routes", "version")

    def __init__(self, policy: PolicySet) -> None:
        self.policy = policy
        self.version = policy.version
        self.routes = RouteTable(policy.routes.values())
        self.cross_origin = any(route.cors is not None for route in policy.routes.values())
        self._shared: dict[tuple[str, str], Plan] = {}
        self._own: dict[tuple[str, str], Plan] = {}
        _work_out_calendars(policy)

    def plan(self, tenant: Tenant, route: Route) -> Plan:
        """The plan of ``tenant`` on ``route``."""
        plain = tenant.plain
        plans, key = (self._shared, (tenant.tier, route.name)) if plain else (self._own, (tenant.id, route.name))
        plan = plans.get(key)
        if plan is None:
            if len(plans) >= PLANS_KEPT:
                plans.clear()
            plan = plans[key] = compile_plan(self.policy, tenant, route)
        return plan


def _work_out_calendars(policy: PolicySet) -> None:
    """Compute the calendar of every zone in use now, because it takes milliseconds (RULINGS 5)."""
    groups = (*(tier.limits for tier in policy.tiers.values()), *(route.limits for route in policy.routes.values()))
    for unit, zone in {(limit.unit, limit.zone) for limits in groups for limit in limits if isinstance(limit, Quota)}:
        bounds(unit, zone)
