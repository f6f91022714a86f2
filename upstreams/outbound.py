"""The parts of a request to an upstream that are made from the caller's: target, framing, trace fields.

Pure. Field lines are ``upstreams.hop``'s; nothing here sends. Sources: RFC 9110 7.7, RFC 9112 6, W3C Trace Context.
"""

from __future__ import annotations

from policies.errors import GatewayError
from policies.exchange import Exchange
from policies.paths import FRAMING, framing_problem
from policies.plan import Onward
from upstreams.transport import Headers

CLOSE = (b"connection", b"close")


def upstream_target(onward: Onward, target: bytes, query: bytes) -> bytes:
    """The request target: the url's own path, then the canonical path without ``strip``, then the query as it came."""
    strip = onward.strip
    if strip and (target == strip or target.startswith(strip + b"/")):
        target = target[len(strip) :] or b"/"
    target = onward.base_path + target
    return target + b"?" + query if query else target


def framed(headers: Headers, version: str) -> tuple[int | None, bool]:
    """``(announced length, whether content follows)`` of a request with framing. Raises ``bad-request``."""
    problem = framing_problem(headers, version)
    if problem is not None:
        raise GatewayError("bad-request", problem, headers=(CLOSE,))
    name, value = next(pair for pair in headers if pair[0] in FRAMING)
    if name == b"transfer-encoding":
        return None, True
    return int(value), int(value) > 0


def trace_fields(exchange: Exchange) -> Headers | None:
    """Our own ``traceparent`` where telemetry made ids; None lets the caller's through untouched (T-3)."""
    if not exchange.trace_id or not exchange.span_id:
        return None
    # An unsampled call has one span at most, the server's, written late (RULINGS 21).
    span_id = exchange.upstream_span_id if exchange.sampled else exchange.span_id
    parent = f"00-{exchange.trace_id}-{span_id}-0{exchange.trace_flags}".encode("ascii")  # two flags are known
    if exchange.trace_state is None:
        return [(b"traceparent", parent)]
    return [(b"traceparent", parent), (b"tracestate", exchange.trace_state.encode("latin-1"))]
