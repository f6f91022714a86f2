"""What callers may ask the gateway about itself, free of charge: ``/_gateway/usage`` and ``/_gateway/limits``.

Pure ASGI, run by ``Tenancy`` once it knows who asks. Nothing here is charged, and nobody sees another tenant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from policies.errors import GatewayError
from policies.exchange import SCOPE_KEY, Exchange
from policies.model import Bucket, Limit, Quota, Tier, Window
from policies.plan import Standing, compile_standing

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from policies.ports import AdmissionStore
    from policies.snapshot import Snapshot

SECOND_US = 1_000_000
USAGE = "/_gateway/usage"
LIMITS = "/_gateway/limits"


class Pages:
    """ASGI: the gateway's own paths on the traffic listener."""

    def __init__(self, *, store: AdmissionStore) -> None:
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope[SCOPE_KEY]
        if exchange.path not in (USAGE, LIMITS):
            raise GatewayError("no-route", f"The gateway's own pages are {USAGE} and {LIMITS}.")
        if exchange.method not in ("GET", "HEAD"):
            raise GatewayError("method-not-allowed", headers=((b"allow", b"GET, HEAD"),))
        assert exchange.snapshot is not None  # noqa: S101 - tenancy took it
        content = published(exchange.snapshot) if exchange.path == LIMITS else await self._usage(exchange)
        body = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        head = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"" if exchange.method == "HEAD" else body})

    async def _usage(self, exchange: Exchange) -> dict[str, Any]:
        tenant, snapshot = exchange.tenant, exchange.snapshot
        if tenant is None or snapshot is None:
            raise GatewayError("internal", cause_text="usage without a tenant: tenancy lets nobody through")
        standing = compile_standing(snapshot.policy, tenant)
        decision = await self._store.read(exchange.account, standing.demand)
        readings = [
            *(
                (charge.limit, r, t)
                for charge, (_, r, t) in zip(standing.demand.charges, decision.readings, strict=True)
            ),
            *((slot.limit, free, None) for slot, free in zip(standing.demand.slots, decision.free_slots, strict=True)),
        ]
        return {
            "tenant": tenant.id,
            "tier": tenant.tier,
            "policy": snapshot.version,
            "limits": _readings(standing, readings),
        }


def _readings(standing: Standing, readings: list[tuple[Limit, int, int | None]]) -> list[dict[str, Any]]:
    return [
        {**described(limit), "route": scope, "remaining": left, "reset_seconds": reset}
        for scope, (limit, left, reset) in zip(standing.scopes, readings, strict=True)
    ]


def published(snapshot: Snapshot) -> dict[str, Any]:
    """The tiers as promised to everybody; overrides of single tenants are nobody else's business."""
    return {"policy": snapshot.version, "tiers": {tier.name: _tier(tier) for tier in snapshot.policy.tiers.values()}}


def _tier(tier: Tier) -> dict[str, Any]:
    return {"limits": [described(limit) for limit in tier.limits if not limit.shadow], "support": tier.support}


def described(limit: Limit) -> dict[str, Any]:
    """A limit in plain numbers: units, seconds, and the zone of a calendar."""
    match limit:
        case Window():
            shape: dict[str, Any] = {
                "kind": "window",
                "limit": limit.amount,
                "window_seconds": _seconds(limit.period_us),
            }
        case Bucket():
            shape = {
                "kind": "bucket",
                "limit": limit.burst,
                "rate": limit.amount,
                "per_seconds": _seconds(limit.period_us),
            }
        case Quota():
            shape = {"kind": "quota", "limit": limit.amount, "per": limit.unit, "zone": limit.zone}
        case _:
            shape = {"kind": "concurrent", "limit": limit.slots}
    return {"name": limit.name, **shape}


def _seconds(period_us: int) -> int | float:
    return period_us // SECOND_US if period_us % SECOND_US == 0 else period_us / SECOND_US
