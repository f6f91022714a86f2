"""What the tests of this folder share: upstream definitions, exchanges, and a forwarder behind a real server."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

from gateway.mock_upstream import MockUpstream
from policies.admission import Demand
from policies.errors import GatewayError
from policies.exchange import Exchange
from policies.model import Auth, Owner, PolicySet, Pool, Route, Server, Tier, Timeouts, Tls, Upstream
from policies.paths import canonical
from policies.plan import Plan, compile_onward
from policies.snapshot import Snapshot
from tests.wire.harness import ServerName, serve_app
from upstreams.forward import Forwarder
from upstreams.http1 import Http1Transport
from upstreams.pool import Transports

MS = 1_000
"""A millisecond in microseconds."""


class SystemClock:
    def steady_us(self) -> int:
        return time.monotonic_ns() // 1000

    def wall_us(self) -> int:
        return time.time_ns() // 1000


def upstream(
    port: int,
    *,
    host: str = "127.0.0.1",
    timeouts: Timeouts | None = None,
    pool: Pool | None = None,
    tls: Tls | None = None,
    scheme: Any = "http",
    owner: Owner = Owner.MANAGED,
    base_path: str = "",
) -> Upstream:
    return Upstream(
        name="origin", scheme=scheme, host=host, port=port, base_path=base_path, vendor="v", owner=owner,
        timeouts=timeouts or Timeouts(), pool=pool or Pool(), tls=tls or Tls(),
    )  # fmt: skip


def plan_for(origin: Upstream, *, strip: str | None = None, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Plan:
    route = Route(name="r", path="/{rest:path}", methods=None, upstream=origin.name, group="g", strip=strip)
    return Plan(
        tier=Tier(name="t", limits=()),
        route=route,
        upstream=origin,
        demand=Demand((), ()),
        policy_line=(b"ratelimit-policy", b""),
        current=b"",
        limit_lines=(),
        structured=True,
        triple=True,
        unix_reset=False,
        onward=compile_onward(origin, route, headers),
        owner=origin.owner.value,
        allowed=True,
    )


class Front:
    """The layers before the forwarder, as far as it needs them; keeps what each request has learned."""

    def __init__(
        self, plan: Plan, *, instance: str = "test", trusted: bool = False, engine: Any = Http1Transport
    ) -> None:
        self.plan = plan
        self.trusted = trusted
        self.policy = PolicySet(version="0", auth=Auth(), server=Server())
        self.transports = Transports(engine)
        self.clock = SystemClock()
        self.forwarder = Forwarder(self.transports, clock=self.clock, instance=instance)
        self.exchanges: list[Exchange] = []
        self.errors: list[GatewayError] = []

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return await self._lifespan(receive, send)
        exchange = Exchange(started_us=self.clock.steady_us(), started_wall_us=0, request_id="req-1")
        if scope["type"] == "http":
            path = canonical(scope["raw_path"])
            exchange.method, exchange.path, exchange.target = scope["method"], path.decoded, path.target
            exchange.query = scope["query_string"]
        client = scope.get("client")
        exchange.peer_address = client[0] if client else ""
        exchange.peer_trusted = self.trusted
        exchange.plan = self.plan
        exchange.snapshot = Snapshot(self.policy)
        scope["tiergate"] = exchange
        self.exchanges.append(exchange)
        begun = False

        async def noted(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.forwarder(scope, receive, noted)
        except GatewayError as error:
            self.errors.append(error)
            if begun:
                raise
            body = json.dumps({"error": error.code, "proxy_error": error.proxy_error, "phase": error.phase}).encode()
            await send({"type": "http.response.start", "status": error.type.status, "headers": list(error.headers)})
            await send({"type": "http.response.body", "body": body})

    async def _lifespan(self, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.transports.aclose()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return


@contextlib.asynccontextmanager
async def front(plan: Plan, server: ServerName = "uvicorn", **more: Any) -> AsyncIterator[tuple[Front, int]]:
    app = Front(plan, **more)
    async with serve_app(app, server) as port:
        yield app, port


@contextlib.asynccontextmanager
async def fronted(server: ServerName = "uvicorn", **more: Any) -> AsyncIterator[tuple[MockUpstream, Front, int]]:
    """A mock origin, a forwarder to it, and the port that the forwarder is served at."""
    async with MockUpstream() as origin, front(plan_for(upstream(origin.port, **more)), server) as (app, port):
        yield origin, app, port
