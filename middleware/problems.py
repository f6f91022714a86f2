"""The one place where an error becomes a response (RULINGS 22, RFC 9457, RFC 9209).

Knows how an answer looks, not why it came about. After the head has left nothing can be said any more: the
error goes on outward, so that the server breaks the message off and nobody takes a part for the whole.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import orjson

from policies.errors import GatewayError
from policies.exchange import SCOPE_KEY, Exchange
from policies.fields import render, waiting
from policies.model import Server

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger("tiergate.problems")

JSON = b"application/json"
PROBLEM = b"application/problem+json"
NO_STORE = (b"cache-control", b"no-store")
VARY = (b"vary", b"accept")
_QUALITY = re.compile(rb"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
DEFAULT_BASE = Server().problems_base


class Problems:
    """ASGI: renders every exception of the layers inside."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange: Exchange = scope[SCOPE_KEY]
        try:
            await self.app(scope, receive, send)
        except asyncio.CancelledError:
            # Only a drain that has run out of time cancels a request; whoever waits is told so, then it ends.
            if not (exchange.head_sent or exchange.client_gone):
                await self._answer(exchange, GatewayError("draining", retry_after_s=1), scope, send)
            raise
        except GatewayError as error:
            await self._answer(exchange, error, scope, send)
        except Exception as unknown:
            log.exception("request %s failed", exchange.request_id)
            internal = GatewayError("internal", cause_text=f"{type(unknown).__name__}: {unknown}")
            internal.__cause__ = unknown
            await self._answer(exchange, internal, scope, send)

    async def _answer(self, exchange: Exchange, error: GatewayError, scope: Scope, send: Send) -> None:
        """Say it while it can be said; after the head the error goes on outward."""
        _note(exchange, error)
        if exchange.head_sent:
            raise error
        body = orjson.dumps(members(exchange, error)) if error.body is None else error.body
        head = headers(exchange, error, scope["headers"], len(body))
        await send({"type": "http.response.start", "status": error.type.status, "headers": head})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _note(exchange: Exchange, error: GatewayError) -> None:
    """What the span, the log and the SLA need to know of the failure."""
    exchange.error_code = error.code
    exchange.failed_phase = error.phase or exchange.phase
    exchange.detail = error.cause_text or exchange.detail or error.detail
    if not exchange.head_sent:
        exchange.origin = "gateway" if error.announcement is None else "upstream"
        exchange.source = error.type.source
        exchange.retry_after_s = error.retry_after_s


def members(exchange: Exchange, error: GatewayError) -> dict[str, Any]:
    """The body's object: the fixed members of DESIGN §5 together with those of RFC 9457."""
    base = exchange.snapshot.policy.server.problems_base if exchange.snapshot is not None else DEFAULT_BASE
    kind = error.type
    body: dict[str, Any] = {"error": kind.word, "source": kind.source}
    if error.retry_after_s is not None:
        body["provider"] = None if error.announcement is None else error.announcement.provider
        body["retry_after_seconds"] = error.retry_after_s
        body["estimated"] = error.estimated
    body["type"] = kind.type_uri(base)
    body["title"] = kind.title
    body["status"] = kind.status
    if error.detail:
        body["detail"] = error.detail
    if error.violated:
        body["violated-policies"] = error.violated
    body["request_id"] = exchange.request_id
    if error.upstream_body is not None:
        body["upstream_body"] = orjson.Fragment(error.upstream_body)
    return body


def headers(
    exchange: Exchange, error: GatewayError, asked: Iterable[tuple[bytes, bytes]], length: int
) -> list[tuple[bytes, bytes]]:
    """The head of the answer; the limits' fields describe every limit once the store has answered (DESIGN §5)."""
    fields = [*error.headers]
    said = error.announcement
    if said is not None:
        fields += waiting(said)
    elif error.retry_after_s is not None:
        fields.append((b"retry-after", b"%d" % error.retry_after_s))
        fields.append((b"retry-after-ms", b"%d" % (error.retry_after_ms or error.retry_after_s * 1000)))
    if exchange.plan is not None and exchange.decision is not None:
        fields += render(exchange.plan, exchange.decision, said)
    if said is None:
        proxy = b"tiergate; error=%b" % error.proxy_error.encode("ascii") if error.proxy_error else b"tiergate"
        fields += ((b"proxy-status", proxy), NO_STORE)
    if error.body is None:
        fields += (VARY, (b"content-type", PROBLEM if prefers_problem(asked) else JSON))
    fields.append((b"content-length", b"%d" % length))
    return fields


def prefers_problem(asked: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether ``Accept`` ranks application/problem+json over application/json (RFC 9110 12.5.1).

    At equal rank the more exactly named one wins, and plain JSON when both are named alike.
    """
    accept = b""
    for name, value in asked:
        if name == b"accept":
            accept = b"%b,%b" % (accept, value.lower()) if accept else value.lower()
    if PROBLEM not in accept:
        return False
    ranges = [_range(part) for part in accept.split(b",")]
    quality, exactness = _rank(ranges, PROBLEM)
    return quality > 0 and (quality, exactness) > _rank(ranges, JSON)


def _range(part: bytes) -> tuple[bytes, float]:
    """One media range and its quality; a malformed quality counts as 0."""
    media, *parameters = [piece.strip() for piece in part.split(b";")]
    quality = next((piece[2:] for piece in parameters if piece.startswith(b"q=")), b"1")
    return media, float(quality) if _QUALITY.fullmatch(quality) else 0.0


def _rank(ranges: list[tuple[bytes, float]], media: bytes) -> tuple[float, int]:
    """``(quality, exactness)`` of the most exact range that holds ``media``."""
    held = {media: 3, media.split(b"/")[0] + b"/*": 2, b"*/*": 1}
    exactness, quality = max(((held[m], q) for m, q in ranges if m in held), default=(0, 0.0))
    return quality, exactness
