"""Exactly one ``Outcome`` for each request, whatever happens, handed to every sink (spec O1-O13).

Stands outside the place where errors become answers and sees what the caller saw: the status that left, the
bytes, whether the message was cut. Adds the two fields that every answer has: ``x-request-id`` and ``date``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from email.utils import formatdate
from typing import TYPE_CHECKING

from policies.errors import ERRORS, GatewayError
from policies.exchange import SCOPE_KEY, Exchange, Outcome
from policies.model import ANONYMOUS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from policies.ports import Clock, OutcomeLog

log = logging.getLogger("tiergate.outcomes")

CLIENT_CLOSED = 499
"""The status of a request whose caller left before an answer; never on the wire (nginx's convention)."""


class Outcomes:
    """ASGI: records what became of every request."""

    def __init__(self, app: ASGIApp, *, clock: Clock, sinks: Sequence[OutcomeLog]) -> None:
        self.app = app
        self._clock = clock
        self._sinks = tuple(sinks)
        self._date = (0, b"")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange: Exchange = scope[SCOPE_KEY]
        finished = False

        def watched(message: Message) -> Awaitable[None]:
            nonlocal finished
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                exchange.head_sent = True
                self._complete(exchange, message["headers"])
            elif message["type"] == "http.response.body":
                exchange.bytes_out += len(message.get("body", b""))
                finished = not message.get("more_body", False)
            return send(message)

        try:
            await self.app(scope, receive, watched)
        except asyncio.CancelledError:
            exchange.detail = exchange.detail or "cancelled"
            raise
        except GatewayError:
            raise
        except Exception as error:
            exchange.detail = exchange.detail or f"{type(error).__name__}: {error}"
            raise
        finally:
            self._record(exchange, finished)

    def _complete(self, exchange: Exchange, headers: list[tuple[bytes, bytes]]) -> None:
        """Our request id, and a date where the upstream sent none (RFC 9110 6.6.1)."""
        headers.append((b"x-request-id", exchange.request_id.encode()))
        if exchange.origin == "upstream":
            for pair in headers:
                if pair[0] == b"date":
                    return
        second = self._clock.wall_us() // 1_000_000
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True).encode("ascii"))
        headers.append((b"date", self._date[1]))

    def _record(self, exchange: Exchange, finished: bool) -> None:
        exchange.finished_us = self._clock.steady_us()
        if not finished:
            _judge_unfinished(exchange)
        outcome = outcome_of(exchange, self._clock.wall_us())
        for sink in self._sinks:
            try:
                sink.record(exchange, outcome)
            except Exception:
                log.exception("an outcome was not recorded by %s", type(sink).__name__)


def _judge_unfinished(exchange: Exchange) -> None:
    """A message that never ended: the caller left, the upstream broke it off, or we did."""
    exchange.failed_phase = exchange.failed_phase or exchange.phase
    if exchange.client_gone:
        exchange.origin = "client"
        exchange.status = exchange.status or CLIENT_CLOSED
        exchange.error_code = None
    elif exchange.head_sent:
        exchange.truncated_by = exchange.truncated_by or "gateway"
    else:
        exchange.status, exchange.origin = 500, "gateway"
        exchange.error_code = exchange.error_code or "internal"


def outcome_of(exchange: Exchange, wall_us: int) -> Outcome:
    """What is kept of a finished request."""
    plan, tenant, code = exchange.plan, exchange.tenant, exchange.error_code
    finished_us = exchange.finished_us or exchange.started_us
    outcome = Outcome.__new__(Outcome)  # twenty keywords would cost five times as much
    outcome.known_wall_us = wall_us
    if tenant is None:
        outcome.tenant, outcome.tier = "", None
    else:
        outcome.tenant = tenant.id if tenant.id != ANONYMOUS else f"{ANONYMOUS}:{tenant.tier}"
        outcome.tier = tenant.tier
    outcome.group = outcome.owner = outcome.vendor = None
    if plan is not None:
        outcome.group = plan.route.group
        if exchange.upstream_name is not None:
            outcome.owner, outcome.vendor = plan.owner, plan.upstream.vendor
    outcome.route = exchange.route_name
    outcome.status = exchange.status or 500
    outcome.origin = exchange.origin
    outcome.reason = code
    outcome.phase = exchange.failed_phase
    outcome.source = exchange.source
    outcome.over_limit = code is not None and ERRORS[code].sla == "own_limit"  # no degraded share yet: O3b
    outcome.internal = exchange.internal
    outcome.truncated_by = exchange.truncated_by
    outcome.upstream = exchange.upstream_name
    outcome.upstream_host = exchange.upstream_host
    outcome.upstream_status = exchange.upstream_status
    outcome.elapsed_us = finished_us - exchange.started_us
    began_us, ended_us = exchange.upstream_started_us, exchange.upstream_finished_us
    outcome.upstream_us = (ended_us or finished_us) - began_us if began_us is not None else 0
    return outcome
