"""The outermost layer: makes the ``Exchange``, reads the trace context, and has the spans written at the end.

Spans are made when the outcome is known, with explicit times and ids chosen at the start (RULINGS 21), so that
refusals and errors can be kept and an ordinary unsampled request costs no span at all. Source of the parsing
rules: W3C Trace Context level 2 (spec http.md T-1 to T-8).
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Protocol

from policies.exchange import SCOPE_KEY, Exchange

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from policies.ports import Clock

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
SAMPLED = 0x01
RANDOM = 0x02
STATE_MEMBERS = 32
STATE_LENGTH = 512
NEVER_ZERO = 1 << 144 | 1 << 80
"""Sets the last bit of the trace id and of the span id among 272 drawn ones: neither may be all zeros (T-2)."""
_random = random.Random()


class Spans(Protocol):
    """Where spans go. ``middleware`` knows no SDK."""

    def sampled(self, exchange: Exchange) -> bool:
        """Whether this request is recorded from its start: by its parent's flag, else by ratio."""

    def finished(self, exchange: Exchange) -> None:
        """The request is over: write its spans, or not. Never raises."""


class Telemetry:
    """ASGI: one ``Exchange`` for each request, in ``scope["tiergate"]``."""

    def __init__(self, app: ASGIApp, *, clock: Clock, spans: Spans) -> None:
        self.app = app
        self._clock = clock
        self._spans = spans
        self._millisecond = (-1, "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        wall_us = self._clock.wall_us()
        drawn = (_random.getrandbits(272) | NEVER_ZERO).to_bytes(34, "big").hex()
        request_id = self._stamp(wall_us // 1_000) + drawn[48:]
        exchange = scope[SCOPE_KEY] = Exchange(self._clock.steady_us(), wall_us, request_id)
        adopt(exchange, scope["headers"], drawn)
        if self._spans.sampled(exchange):
            exchange.sampled = True
            exchange.upstream_span_id = f"{_random.getrandbits(64) | 1:016x}"
            exchange.trace_flags = exchange.trace_flags & RANDOM | SAMPLED
        else:
            exchange.trace_flags &= RANDOM
        try:
            await self.app(scope, receive, send)
        finally:
            self._spans.finished(exchange)

    def _stamp(self, ms: int) -> str:
        """Unix milliseconds in 12 digits, so that request ids sort by time."""
        if self._millisecond[0] != ms:
            self._millisecond = (ms, f"{ms:012x}")
        return self._millisecond[1]


def adopt(exchange: Exchange, headers: Iterable[tuple[bytes, bytes]], drawn: str) -> None:
    """Continue the caller's trace, or begin one with the first 32 digits of ``drawn``; the next 16 are the span's.

    A second or malformed ``traceparent`` counts as none (T-1).
    """
    exchange.span_id = drawn[32:48]
    parent = _parent(headers) if b"traceparent" in dict(headers) else None
    if parent is None:
        exchange.trace_id = drawn[:32]
        exchange.trace_flags = RANDOM
        return
    exchange.trace_id = parent[2].decode("ascii")
    exchange.parent_span_id = parent[3].decode("ascii")
    exchange.trace_flags = int(parent[4], 16) & (SAMPLED | RANDOM)
    exchange.trace_state = _state(value for name, value in headers if name == b"tracestate")


def _parent(headers: Iterable[tuple[bytes, bytes]]) -> re.Match[bytes] | None:
    parents = [value for name, value in headers if name == b"traceparent"]
    parent = _TRACEPARENT.fullmatch(parents[0].strip()) if len(parents) == 1 else None
    return parent if parent is not None and _valid(parent) else None


def _valid(parent: re.Match[bytes]) -> bool:
    """T-1, T-2: version ff and all-zero ids are invalid; version 00 is exactly four fields."""
    version, trace, span, _, more = parent.groups()
    return version != b"ff" and trace.strip(b"0") != b"" and span.strip(b"0") != b"" and not (version == b"00" and more)


def _state(lines: Iterable[bytes]) -> str | None:
    """``tracestate`` as it may travel on: lines joined, whole members only, bounded (T-5)."""
    members = [member.strip() for line in lines for member in line.decode("latin-1").split(",") if member.strip()]
    if len(members) > STATE_MEMBERS or not all(member.isascii() and "=" in member for member in members):
        return None
    while members and len(",".join(members)) > STATE_LENGTH:
        longest = next((m for m in reversed(members) if len(m) > 128), members[-1])
        members.remove(longest)
    return ",".join(members) or None
