"""One plan: everything a call of one tenant (or tier) on one route needs, worked out ahead.

Compiled by ``policies.snapshot`` at first use and kept; on the request path nothing here is computed.
Precedence (DESIGN §4): tenant over route over tier over parent tier; a route's own limits add.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from policies.admission import Charge, Demand, Slot, capacity, charge, state_key
from policies.model import (
    Bucket,
    Concurrent,
    HeaderPair,
    Limit,
    Owner,
    PolicySet,
    Quota,
    ResetAs,
    Route,
    Tenant,
    Tier,
    Upstream,
    Window,
)
from policies.paths import canonical

LEASE_MARGIN_US = 5_000_000
"""A slot outlives the longest silence of its call by this much (spec admission A3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Onward:
    """What every request of a plan is given on its way, as octets.

    ``authority`` is the upstream's Host, ``base_path`` what its targets begin with, ``strip`` what the caller's
    lose; ``headers`` are set over everything (the tenant's over the upstream's), ``owned`` are their names;
    ``tells_peer`` says whether the upstream may learn the caller's address (F-7).
    """

    authority: bytes
    base_path: bytes
    strip: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    owned: frozenset[bytes]
    tells_peer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``demand`` goes to the store; ``policy_line`` is the whole ``RateLimit-Policy`` field.

    ``current`` is the value of ``RateLimit`` with a place for each number: r and t of each rate, in the order of the
    readings, then r of each slot; empty for a call without limits. ``limit_lines`` are the ``RateLimit-Limit`` fields
    of the rates. ``owner`` is the upstream's, as a word. ``allowed`` is False when the tenant's tier has no access to
    the route.
    """

    tier: Tier
    route: Route
    upstream: Upstream
    demand: Demand
    policy_line: HeaderPair
    current: bytes
    limit_lines: tuple[HeaderPair, ...]
    structured: bool
    triple: bool
    unix_reset: bool
    onward: Onward
    owner: str
    allowed: bool


def merged(lower: tuple[Limit, ...], upper: Mapping[str, Limit | None]) -> tuple[Limit, ...]:
    """``lower`` with ``upper`` laid over it by name: replaced in place, None removes, new names follow."""
    kept = [upper.get(limit.name, limit) for limit in lower]
    known = {limit.name for limit in lower}
    added = [limit for name, limit in upper.items() if name not in known]
    return tuple(limit for limit in (*kept, *added) if limit is not None)


def compile_plan(policy: PolicySet, tenant: Tenant, route: Route) -> Plan:
    """The plan of ``tenant`` on ``route``. Raises nothing for a checked policy set."""
    tier = policy.tiers[tenant.tier]
    upstream = policy.upstreams[route.upstream]
    limits = _limits_of(tier, tenant, route)
    demand = _demand(limits, route, upstream)
    reset_as = tenant.reset_as or route.reset_as or policy.headers.reset_as
    ordered = [*(c.limit for c in demand.charges), *(s.limit for s in demand.slots)]
    return Plan(
        tier=tier,
        route=route,
        upstream=upstream,
        demand=demand,
        policy_line=(b"ratelimit-policy", b", ".join(_policy_member(limit) for limit in ordered)),
        current=_current(demand),
        limit_lines=tuple((b"ratelimit-limit", b"%d" % charge.q) for charge in demand.charges),
        structured=policy.headers.structured,
        triple=policy.headers.triple,
        unix_reset=reset_as is ResetAs.UNIX_SECONDS,
        onward=compile_onward(upstream, route, _headers(upstream, tenant)),
        owner=upstream.owner.value,
        allowed=route.tiers is None or tier.name in route.tiers,
    )


def _current(demand: Demand) -> bytes:
    """``"minute";r=%d;t=%d, "parallel";r=%d`` for one rate and one slot."""
    rates = [_literal(charge.limit.name) + b";r=%d;t=%d" for charge in demand.charges]
    slots = [_literal(slot.limit.name) + b";r=%d" for slot in demand.slots]
    return b", ".join((*rates, *slots))


def _literal(name: str) -> bytes:
    return quoted(name).replace(b"%", b"%%")


def compile_onward(upstream: Upstream, route: Route, headers: tuple[tuple[bytes, bytes], ...]) -> Onward:
    """What a call of ``route`` to ``upstream`` is given; ``headers`` as merged from both owners."""
    return Onward(
        authority=upstream.authority.encode("ascii"),
        base_path=upstream.base_path.encode("ascii"),
        strip=canonical(route.strip.encode("utf-8")).target.rstrip(b"/") if route.strip else b"",
        headers=headers,
        owned=frozenset(name for name, _ in headers),
        tells_peer=upstream.owner is not Owner.THIRD_PARTY,
    )


def quoted(name: str) -> bytes:
    """A limit's name as an RFC 9651 String; names are checked to be printable ASCII at load."""
    return b'"' + name.replace("\\", "\\\\").replace('"', '\\"').encode("ascii") + b'"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Every limit of a tenant, its own and each route's, as one demand at cost 1.

    ``scopes`` are parallel to the readings, rates first, then slots: the route's name, None for tenant-wide.
    """

    demand: Demand
    scopes: tuple[str | None, ...]


def compile_standing(policy: PolicySet, tenant: Tenant) -> Standing:
    """What ``tenant`` may ask about itself: every enforced limit it can meet."""
    scoped = [(limit, None) for limit in merged(policy.tiers[tenant.tier].limits, tenant.limits)]
    routes = [r for r in policy.routes.values() if r.tiers is None or tenant.tier in r.tiers]
    for route in routes:
        own = merged(route.limits, tenant.route_limits.get(route.name, {}))
        scoped += [(limit, route.name) for limit in own]  # type: ignore[misc]
    enforced = [(limit, scope) for limit, scope in scoped if not limit.shadow]
    rates = [(limit, scope) for limit, scope in enforced if not isinstance(limit, Concurrent)]
    slots = [(limit, scope) for limit, scope in enforced if isinstance(limit, Concurrent)]
    demand = Demand(
        tuple(charge(limit, state_key(limit, scope), 1) for limit, scope in rates),
        tuple(Slot(state_key(limit, scope), limit, limit.slots) for limit, scope in slots),
    )
    return Standing(demand=demand, scopes=tuple(scope for _, scope in (*rates, *slots)))


def _limits_of(tier: Tier, tenant: Tenant, route: Route) -> list[tuple[Limit, str | None]]:
    own = merged(tier.limits, tenant.limits)
    of_route = merged(route.limits, tenant.route_limits.get(route.name, {}))
    return [*((limit, None) for limit in own), *((limit, route.name) for limit in of_route)]


def _demand(limits: list[tuple[Limit, str | None]], route: Route, upstream: Upstream) -> Demand:
    charges: list[Charge] = []
    shadows: list[Charge] = []
    slots: list[Slot] = []
    too_dear: list[str] = []
    for limit, scope in limits:
        key = state_key(limit, scope)
        if isinstance(limit, Concurrent):
            slots.append(Slot(key, limit, limit.slots))
            continue
        cost = route.cost.of(limit.name)
        (shadows if limit.shadow else charges).append(charge(limit, key, cost))
        if cost > capacity(limit) and not limit.shadow:
            too_dear.append(limit.name)
    return Demand(
        tuple(charges),
        tuple(slot for slot in slots if not slot.limit.shadow),
        tuple(shadows),
        lease_us=_longest_silence_us(upstream) + LEASE_MARGIN_US,
        too_dear=tuple(too_dear),
    )


def _longest_silence_us(upstream: Upstream) -> int:
    """How long a live call may go without a sign of life: an event stream has no total, but an idle deadline.

    Three idle deadlines, because a lease is renewed by what passes once a third of it has gone.
    """
    return upstream.pool.wait_us + max(upstream.timeouts.total_us, 3 * upstream.timeouts.idle_us)


def _policy_member(limit: Limit) -> bytes:
    """One member of ``RateLimit-Policy`` (RULINGS 1)."""
    name = quoted(limit.name)
    match limit:
        case Window():
            return b"%b;q=%d;w=%d" % (name, limit.amount, limit.period_us // 1_000_000)
        case Bucket():
            depth_us = -(-limit.burst * limit.period_us // limit.amount)
            return b"%b;q=%d;w=%d" % (name, limit.burst, max(1, -(-depth_us // 1_000_000)))
        case Quota():
            return (
                b"%b;q=%d;w=86400" % (name, limit.amount) if limit.unit == "day" else b"%b;q=%d" % (name, limit.amount)
            )
        case Concurrent():
            return b'%b;q=%d;qu="concurrent-requests"' % (name, limit.slots)


def _headers(upstream: Upstream, tenant: Tenant) -> tuple[tuple[bytes, bytes], ...]:
    own = tenant.upstream_headers.get(upstream.name, ())
    replaced = {name for name, _ in own}
    return (*(pair for pair in upstream.headers if pair[0] not in replaced), *own)
