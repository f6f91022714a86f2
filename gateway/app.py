"""The whole request path in one expression (DESIGN §3). Everything else in ``gateway`` feeds it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from gateway.pages import Pages
from middleware.admission import Admission
from middleware.cors import CrossOrigin
from middleware.outcomes import Outcomes
from middleware.problems import Problems
from middleware.telemetry import Spans, Telemetry
from middleware.tenancy import Tenancy
from middleware.websocket import WebSockets
from policies.ports import AdmissionStore, Authenticator, Clock, OutcomeLog, PolicySource
from upstreams.forward import Forwarder
from upstreams.pool import TransportLookup

App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]


def create_app(
    *,
    source: PolicySource,
    store: AdmissionStore,
    clock: Clock,
    transports: TransportLookup,
    authenticator: Authenticator,
    sinks: Sequence[OutcomeLog],
    spans: Spans,
    instance: str,
) -> App:
    """The gateway as an ASGI application. ``instance`` names this deployment in ``Via``."""
    forwarder = Forwarder(transports, clock=clock, instance=instance)
    admission = Admission(forwarder, store=store, clock=clock)
    tenancy = Tenancy(admission, source=source, authenticator=authenticator, clock=clock, pages=Pages(store=store))
    problems = Problems(tenancy)
    outcomes = Outcomes(CrossOrigin(problems, source=source), clock=clock, sinks=sinks)
    return _dispatched(Telemetry(outcomes, clock=clock, spans=spans))


def _dispatched(app: App) -> App:
    """``app`` for requests, and for WebSockets as it sees them; the lifespan protocol, whose work is the worker's,
    is answered here."""
    sockets = WebSockets(app)

    async def served(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await sockets(scope, receive, send)
            return
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    return served
