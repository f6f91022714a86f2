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
    return _answering_lifespan(Telemetry(outcomes, clock=clock, spans=spans))


def _answering_lifespan(app: App) -> App:
    """``app`` for requests; the lifespan protocol is answered here, what it would start is the worker's."""

    async def served(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    return served
