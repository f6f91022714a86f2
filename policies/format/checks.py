"""What only the whole set can tell: costs no limit can hold, names in two namespaces, exposed demo keys, unused names.

Each function looks at built values and complains at the place where a value is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from policies.admission import capacity
from policies.format.entries import Named
from policies.format.report import Loc, Place, Report
from policies.format.sections import Sections
from policies.format.service import Service, is_loopback
from policies.format.tenants import TenantReader
from policies.format.units import closest, short
from policies.model import Concurrent, Limit, Quota, Route, Tenant, Tier


def _overpriced(route: Route, limits: Iterable[Limit]) -> Limit | None:
    """The first enforced limit that ``route``'s cost can never fit."""
    for limit in limits:
        if not isinstance(limit, Concurrent) and not limit.shadow and route.cost.of(limit.name) > capacity(limit):
            return limit
    return None


def _may_use(route: Route, tier: str) -> bool:
    return route.tiers is None or tier in route.tiers


def check_costs(routes: Named[Route], tiers: Named[Tier], tenants: TenantReader, report: Report) -> None:
    """A cost above a limit of the call would refuse every such call for ever (403 ``cost-exceeds-limit``)."""
    for route in routes.sound.values():
        callers = [tier for tier in tiers.sound.values() if _may_use(route, tier.name)]
        place = routes.defined[route.name]
        whose, limit = "the route", _overpriced(route, route.limits)
        for tier in callers if limit is None else ():
            whose, limit = f"tier {short(tier.name)}", _overpriced(route, tier.limits)
            if limit is not None:
                break
        if limit is not None:
            report.add("TG205", place, _cost_loc(route, limit), *_too_dear(limit, whose))
        if len(tiers.sound) == len(tiers.defined):
            _check_cost_names(route, callers, tenants, place, report)
    priced = [route for route in routes.sound.values() if route.cost.default > 1 or route.cost.by_name]
    for tenant, place in tenants.overriding:
        _check_tenant_costs(tenant, priced, tiers.sound.get(tenant.tier), place, report)


def _cost_loc(route: Route, limit: Limit) -> Loc:
    return ("cost", limit.name) if limit.name in route.cost.by_name else ("cost",)


def _too_dear(limit: Limit, whose: str) -> tuple[str, str]:
    said = f"this costs more than limit {short(limit.name)} of {whose} can ever hold"
    return said, "lower the cost, raise the limit, or keep that tier out with 'tiers:'"


def _check_cost_names(route: Route, callers: list[Tier], tenants: TenantReader, place: Place, report: Report) -> None:
    limits = [*route.limits, *(limit for tier in callers for limit in tier.limits)]
    limits += [limit for tenant, _ in tenants.overriding for limit in tenant.limits.values() if limit]
    known = {limit.name for limit in limits if not isinstance(limit, Concurrent)}
    for name in route.cost.by_name:
        if name not in known:
            parallel = any(limit.name == name for limit in limits)
            said = (
                "cost never applies to concurrent limits"
                if parallel
                else f"no caller of this route has a limit {short(name)}"
            )
            hint = closest(name, known) or f"limits: {', '.join(sorted(known)[:8])}"
            report.add("TG207", place, ("cost", name), said, hint, on_key=True)


def _check_tenant_costs(tenant: Tenant, routes: list[Route], tier: Tier | None, place: Place, report: Report) -> None:
    """Only the limits that the tenant sets; the tier's own are complained about at the route."""
    own = [limit for limit in tenant.limits.values() if limit is not None]
    for route in routes:
        if tier is None or not _may_use(route, tier.name):
            continue
        of_route = [limit for limit in tenant.route_limits.get(route.name, {}).values() if limit is not None]
        limit = _overpriced(route, of_route)
        if limit is not None:
            report.add("TG205", place, ("routes", route.name, "limits", limit.name), *_too_small(route, limit))
        elif (limit := _overpriced(route, own)) is not None:
            report.add("TG205", place, ("limits", limit.name), *_too_small(route, limit))
            return


def _too_small(route: Route, limit: Limit) -> tuple[str, str]:
    said = f"limit {short(limit.name)} can never hold the cost of one call of route {short(route.name)}"
    return said, "raise the limit, or lower the route's cost"


def check_namespaces(routes: Named[Route], tiers: Named[Tier], tenants: TenantReader, report: Report) -> None:
    """Tenant-wide limits and a route's limits share the answer's header fields, so no name may be in both."""
    wide = {limit.name: f"tier {short(tier.name)}" for tier in tiers.sound.values() for limit in tier.limits}
    of_routes = {limit.name: route.name for route in routes.sound.values() for limit in route.limits}
    for route in routes.sound.values():
        for limit in route.limits:
            if limit.name in wide:
                said = f"{short(limit.name)} is already a tenant-wide limit of {wide[limit.name]}"
                hint = f"did you mean '{route.name}-{limit.name}'?"
                report.add("TG206", routes.defined[route.name], ("limits", limit.name), said, hint, on_key=True)
    for tenant, place in tenants.overriding:
        _check_tenant_namespaces(tenant, wide, of_routes, place, report)


def _check_tenant_namespaces(
    tenant: Tenant, wide: Mapping[str, str], of_routes: Mapping[str, str], place: Place, report: Report
) -> None:
    for name in tenant.limits:
        if name in of_routes and name not in wide:
            said = f"{short(name)} is a limit of route {short(of_routes[name])}"
            report.add(
                "TG206",
                place,
                ("limits", name),
                said,
                f"override it under routes.{of_routes[name]}.limits",
                on_key=True,
            )
    for route, limits in tenant.route_limits.items():
        for name in limits:
            if name in wide or name in tenant.limits:
                said = f"{short(name)} is a tenant-wide limit"
                report.add(
                    "TG206", place, ("routes", route, "limits", name), said, "override it under limits", on_key=True
                )


def check_exposure(service: Service, tenants: TenantReader, report: Report) -> None:
    """Demo keys are written in the documentation; anyone who can connect has them."""
    if is_loopback(service.server.listen):
        return
    for place, loc in tenants.demo_keys:
        said = "a demo key would be accepted beyond loopback"
        report.add("TG209", place, loc, said, "mint a real key, or listen on 127.0.0.1")


def check_callers(service: Service, tenants: TenantReader, report: Report) -> None:
    """Tenants that no call can belong to, and ways to authenticate that nobody can use."""
    auth = service.auth
    lost = tenants.without_credential
    if lost.first and auth.jwt is None:
        said = f"{lost.said()}: neither keys nor subjects, and no auth.jwt, so every call of it is 401"
        report.add("TG405", lost.first[1], (), said, "tiergate keys mint TENANT makes a key")
    keyed = tenants.with_keys
    if keyed.first and not auth.key_headers:
        said = f"{keyed.said()}: auth.keys.headers is empty, so no key is ever read"
        report.add("TG406", keyed.first[1], ("keys",), said, "write headers: [x-api-key, authorization]", on_key=True)
    named = tenants.with_subjects
    if named.first and auth.mtls_header is None:
        said = f"{named.said()}: without auth.mtls no certificate's subject is ever read"
        report.add("TG406", named.first[1], ("subjects",), said, "set auth.mtls.header, or remove them", on_key=True)


def check_store(
    service: Service,
    sections: Sections,
    routes: Named[Route],
    tiers: Named[Tier],
    tenants: TenantReader,
    report: Report,
) -> None:
    """Warn, with the bound of the loss, where a promise outlives what the store keeps (RULINGS 6)."""
    if not service.store.url.startswith("memory:"):
        return
    whole = sections.whole("store")
    quota = _first_quota(routes, tiers, tenants)
    if quota is not None:
        place, loc = (whole.place, ("url",)) if whole and "url" in whole.data else quota
        said = "memory:// writes quota counters up to 1 s late: a crash may forget the last second of use"
        report.add("TG402", place, loc, said, "that second is all a crash can cost; size quotas with it in mind")


def _first_quota(routes: Named[Route], tiers: Named[Tier], tenants: TenantReader) -> tuple[Place, Loc] | None:
    for owner, place in _owners(routes, tiers):
        for limit in owner.limits:
            if isinstance(limit, Quota):
                return place, ("limits", limit.name)
    for tenant, place in tenants.overriding:
        for name, own in tenant.limits.items():
            if isinstance(own, Quota):
                return place, ("limits", name)
    return None


def _owners(routes: Named[Route], tiers: Named[Tier]) -> Iterable[tuple[Route | Tier, Place]]:
    yield from ((tier, tiers.defined[name]) for name, tier in tiers.sound.items())
    yield from ((route, routes.defined[name]) for name, route in routes.sound.items())


def check_unused(groups: Iterable[Named[Any]], report: Report) -> None:
    """A name that nothing refers to is a leftover or a misspelling elsewhere; both are worth a look."""
    for group in groups:
        for name, place in group.defined.items():
            if name not in group.used:
                said = f"{group.noun} {short(name)} is used by nothing"
                report.add("TG401", place, (), said, _USE[group.noun], on_key=True)


_USE = {
    "tier": "give it to a tenant, extend it, or remove it",
    "upstream": "name it in a route, or remove it",
    "support contract": "name it in a tier, or remove it",
    "calendar": "name it in a support contract, or remove it",
}
