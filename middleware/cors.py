"""Which pages may read an answer or open a WebSocket, on routes with ``cors`` (Fetch standard 3.2, RFC 6455 10.2).

Stands outside the place where errors become answers, so that a 401 or a 429 of a known route can be read too;
what it must know, the route, it finds on the exchange when the head passes. On such a route the policy
speaks, not the upstream: the upstream's own grant is replaced. Credentials mode is never allowed, because
callers authenticate by fields that a script must set itself.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING

from policies.exchange import SCOPE_KEY, Exchange

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from policies.model import Cors, Route
    from policies.ports import PolicySource

Headers = list[tuple[bytes, bytes]]

EXPOSED = (
    b"ratelimit",
    b"ratelimit-policy",
    b"ratelimit-limit",
    b"ratelimit-remaining",
    b"ratelimit-reset",
    b"retry-after",
    b"retry-after-ms",
    b"proxy-status",
    b"x-should-retry",
    b"x-request-id",
)
"""What a script may read beside the safelisted fields."""

MAX_AGE_S = 600
ALLOW_ORIGIN = b"access-control-allow-origin"
EXPOSE = b"access-control-expose-headers"
_GRANTS = frozenset({ALLOW_ORIGIN, EXPOSE, b"access-control-allow-credentials"})
_TOKEN = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_TOKENS = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:[ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")


class CrossOrigin:
    """ASGI: the cross-origin fields on every answer of a route that has ``cors``."""

    def __init__(self, app: ASGIApp, *, source: PolicySource) -> None:
        self.app = app
        self._source = source

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http" or not self._source.current.cross_origin:
            return self.app(scope, receive, send)
        exchange: Exchange = scope[SCOPE_KEY]

        def decorated(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                cors = _cors_of(exchange)
                if cors is not None:
                    message["headers"][:] = granted(message["headers"], cors, _origin(scope["headers"]))
            return send(message)

        return self.app(scope, receive, decorated)


def _cors_of(exchange: Exchange) -> Cors | None:
    if exchange.snapshot is None or exchange.route_name is None:
        return None
    route = exchange.snapshot.policy.routes.get(exchange.route_name)
    return route.cors if route else None


def _origin(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The one Origin of the request; None when there is none, or more than one."""
    found = [value for name, value in headers if name == b"origin"]
    return found[0] if len(found) == 1 else None


def allows(cors: Cors, origin: bytes) -> bool:
    """Whether a script of ``origin`` may read; the comparison is exact, as the Fetch standard has it."""
    return "*" in cors.origins or origin.decode("latin-1") in cors.origins


def foreign(cors: Cors, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a page of an origin that ``cors`` does not name asks for a WebSocket.

    Browsers let any page open one and send cookies along (RFC 6455 10.2); what is no browser sends no Origin.
    """
    return any(name == b"origin" and not allows(cors, value) for name, value in headers)


def granted(headers: Iterable[tuple[bytes, bytes]], cors: Cors, origin: bytes | None) -> Headers:
    """``headers`` of an answer with our grant in place of any other; without one for a foreign origin."""
    exposed = [value for name, value in headers if name == EXPOSE]
    kept = [pair for pair in headers if pair[0] not in _GRANTS]
    anyone = "*" in cors.origins
    if not anyone and not any(name == b"vary" and _lists_origin(value) for name, value in kept):
        kept.append((b"vary", b"origin"))
    if origin is not None and allows(cors, origin):
        kept.append((ALLOW_ORIGIN, b"*" if anyone else origin))
        kept.append((EXPOSE, b", ".join((*exposed, *EXPOSED))))
    return kept


def _lists_origin(vary: bytes) -> bool:
    return any(member.strip().lower() in (b"origin", b"*") for member in vary.split(b","))


def preflight(route: Route, headers: Iterable[tuple[bytes, bytes]]) -> Headers | None:
    """The fields of a 204 for a preflight of ``route``, but for the grant itself; None when there is nothing to grant.

    ``Access-Control-Allow-Headers`` repeats what was asked for: a route forwards every end-to-end field.
    """
    origin, method = _origin(headers), wanted_method(headers)
    if route.cors is None or origin is None or method is None or not allows(route.cors, origin):
        return None
    methods = sorted(route.methods) if route.methods else [method]
    answer = [
        (b"access-control-allow-methods", ", ".join(methods).encode()),
        (b"access-control-max-age", b"%d" % MAX_AGE_S),
        (b"vary", b"access-control-request-method, access-control-request-headers"),
        (b"cache-control", b"no-store"),
    ]
    asked = b", ".join(value for name, value in headers if name == b"access-control-request-headers")
    if _TOKENS.fullmatch(asked):
        answer.append((b"access-control-allow-headers", asked))
    return answer


def wanted_method(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The method that a preflight asks about; None when the request is no preflight."""
    found = [value for name, value in headers if name == b"access-control-request-method"]
    return found[0].decode("ascii") if len(found) == 1 and _TOKEN.fullmatch(found[0]) else None


__all__ = ["EXPOSED", "CrossOrigin", "allows", "foreign", "granted", "preflight", "wanted_method"]
