"""May this call pass? One question to the store for all of its limits, and the answer on the response.

Decides nothing itself: the store does, by ``policies.admission``. A refusal leaves here as a ``GatewayError``;
an admitted call carries the limits' fields on its head and gives its concurrency slots back whatever happens.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from policies.admission import Decision
from policies.errors import GatewayError
from policies.exchange import SCOPE_KEY, Exchange
from policies.fields import render, retry_after_ms, retry_after_s

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from policies.ports import AdmissionStore, Clock


class Admission:
    """ASGI: runs inside tenancy, which has put the plan on the exchange."""

    def __init__(self, app: ASGIApp, *, store: AdmissionStore, clock: Clock) -> None:
        self.app = app
        self._store = store
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange: Exchange = scope[SCOPE_KEY]
        plan = exchange.plan
        if plan is None:
            raise GatewayError("internal", cause_text="a request without a plan reached admission")
        demand = plan.demand
        if demand.too_dear:
            raise GatewayError(
                "cost-exceeds-limit", "A limit of this call can never hold its cost.", violated=demand.too_dear
            )
        decision = exchange.decision = await self._store.admit(exchange.account, demand)
        if not decision.allowed:
            raise refusal(decision)
        lease, clock, store = decision.lease, self._clock, self._store

        def decorated(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"].extend(render(plan, decision, exchange.announcement))
            elif lease is not None and message.get("more_body") and clock.steady_us() >= lease.renew_at_us:
                store.renew(lease)
            return send(message)

        try:
            await self.app(scope, receive, decorated)
        finally:
            if lease is not None:
                store.release(lease)


def refusal(decision: Decision) -> GatewayError:
    """The error that a refused call is answered with; the rates' code when rates and slots refused together."""
    code = "rate-limited" if decision.longest_wait_us else "concurrency-limited"
    return GatewayError(
        code,
        retry_after_s=retry_after_s(decision),
        retry_after_ms=retry_after_ms(decision),
        estimated=bool(decision.full_slots),  # nobody knows when a running call ends
        violated=decision.refused_by,
    )
