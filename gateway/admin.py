"""The read-only admin listener: health, readiness, metrics, the loaded policy without its secrets.

Nothing here changes anything, but that evidence may be added to the ledger by whoever has a token for that. The Host
field must name this listener, so that a page in an operator's browser cannot read it through a name of its own (DNS
rebinding); a token is required when one is configured.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Protocol

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gateway import metrics
from policies.model import Address

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # compared, not bound
PROBES = frozenset({"/healthz", "/readyz"})
INDEX = """tiergate admin (read-only)
/healthz   the supervisor's loop is alive
/readyz    200 while traffic is served, else 503 with the reasons
/metrics   Prometheus text of all workers
/policy    the policy in force and each worker's version, secrets taken out
"""


class Gateway(Protocol):
    """What the listener shows."""

    def readiness(self) -> tuple[str, ...]:
        """Reasons why no traffic should come; empty when it may."""

    def metrics(self) -> dict[str, Any]:
        """A merged snapshot."""

    def policy(self) -> dict[str, Any]:
        """The policy in force, redacted, with the version of each worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """Where evidence is sent: ``app`` answers below ``folder`` for the token whose SHA-256 is ``token_digest``."""

    app: Any
    folder: str
    token_digest: bytes


def create_admin(gateway: Gateway, listen: Address, token_digest: bytes | None, posting: Posting | None = None) -> Any:
    """The ASGI application for ``listen``; ``token_digest`` is the SHA-256 of the bearer token, None for none."""

    async def healthz(request: Request) -> Response:
        return _json({"status": "ok"})

    async def readyz(request: Request) -> Response:
        reasons = gateway.readiness()
        return _json(
            {"status": "ready" if not reasons else "not ready", "reasons": list(reasons)}, 503 if reasons else 200
        )

    async def figures(request: Request) -> Response:
        return Response(metrics.render(gateway.metrics()), media_type=metrics.CONTENT_TYPE)

    async def policy(request: Request) -> Response:
        return _json(gateway.policy())

    async def index(request: Request) -> Response:
        return PlainTextResponse(INDEX)

    pages: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "/": index, "/healthz": healthz, "/readyz": readyz, "/metrics": figures, "/policy": policy,
    }  # fmt: skip
    routes = [Route(path, page, methods=["GET"]) for path, page in pages.items()]
    return _Guard(Starlette(routes=routes), listen, token_digest, posting)


def _json(value: dict[str, Any], status: int = 200) -> Response:
    return Response(
        orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n", status_code=status, media_type="application/json"
    )


def host_allowed(name: str, listen: Address) -> bool:
    """Whether a Host of ``name`` may read this listener.

    Rebinding needs a name. Behind a wildcard an address literal is therefore let through: that is what a
    kubelet's probe sends.
    """
    own = listen.host.lower()
    if own in WILDCARDS:
        return name in LOOPBACK or _is_address(name)
    return name in LOOPBACK or name == own


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


class _Guard:
    """Before anything is looked up: Host, token, method. Probes need no token: they are told nothing secret."""

    def __init__(self, app: Any, listen: Address, token_digest: bytes | None, posting: Posting | None) -> None:
        self._app = app
        self._posting = posting
        self._listen = listen
        self._token_digest = token_digest

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        posting = self._posting if self._posting and scope["path"].startswith(self._posting.folder) else None
        refusal = self._refusal(scope["method"], scope["path"], scope["headers"], posting)
        if refusal is not None:
            await refusal(scope, receive, send)
            return

        async def hardened(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"cache-control", b"no-store"),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await (self._app if posting is None else posting.app)(scope, receive, hardened)

    def _refusal(
        self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]], posting: Posting | None
    ) -> Response | None:
        hosts = [value for name, value in headers if name == b"host"]
        tokens = [value for name, value in headers if name == b"authorization"]
        if len(hosts) != 1 or not host_allowed(host_name(hosts[0].decode("latin-1")), self._listen):
            return PlainTextResponse("this listener answers to its own address only\n", 421)
        digest = posting.token_digest if posting is not None else self._token_digest
        if digest is not None and path not in PROBES and not _matches(tokens, digest):
            return PlainTextResponse("a token is required\n", 401, {"www-authenticate": "Bearer"})
        if posting is not None:
            return None
        if method not in ("GET", "HEAD"):
            off = "; TIERGATE_IMPORT_TOKEN would open /ledger/" if path.startswith("/ledger/") else ""
            return PlainTextResponse(f"this listener is read-only{off}\n", 405, {"allow": "GET, HEAD"})
        return None


def host_name(field: str) -> str:
    """The host of a Host field, lower case, without port and brackets; empty when it is malformed."""
    field = field.strip().lower()
    if field.startswith("["):
        host, bracket, rest = field[1:].partition("]")
        return host if bracket and (not rest or _is_port(rest)) else ""
    host, colon, port = field.partition(":")
    return host if not colon or _is_port(":" + port) else ""


def _is_port(text: str) -> bool:
    return text.startswith(":") and text[1:].isascii() and text[1:].isdigit()


def _matches(tokens: list[bytes], digest: bytes) -> bool:
    if len(tokens) != 1 or tokens[0][:7].lower() != b"bearer ":
        return False
    return hmac.compare_digest(hashlib.sha256(tokens[0][7:].strip()).digest(), digest)
