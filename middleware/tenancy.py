"""Who calls, and what for: the request's policy snapshot, canonical path, tenant, route and plan (DESIGN §3.4).

Checks no credential itself (that is the ``Authenticator``'s), charges no limit and renders no answer but that
of a preflight. The order is part of the contract: what is malformed is refused first, then an address with too
many failures, then a bad credential, and only then is a caller told whether a route exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from middleware.address import TrustedProxies, parsed, partition
from middleware.cors import foreign, preflight, wanted_method
from middleware.failures import Failures
from policies.credential import NOTHING, CredentialFields, Presented, holds_ours
from policies.errors import GatewayError
from policies.exchange import SCOPE_KEY, Exchange
from policies.model import ANONYMOUS, Route, Tenant
from policies.paths import FRAMING, HTTP_1_0, PathError, canonical, framing_problem, host_problem, query_problem
from policies.ports import ANONYMOUS_ACCOUNT
from policies.websocket import SOCKET_KEY

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from policies.ports import Authenticator, Clock, Identity, PolicySource
    from policies.snapshot import Snapshot

RESERVED = "/_gateway"
"""The gateway's own pages live at and under this path; no route may."""

PUBLIC_PAGES = frozenset({RESERVED + "/limits"})
"""The pages that need no credential."""

CLOSE = (b"connection", b"close")
"""On the answer to a request whose end cannot be told: what follows it on the connection is anybody's guess."""

PLACES_KEPT = 10_000
"""Pairs of method and raw path whose meaning is remembered under one policy."""
PLACE_SIZE = 256
"""Octets of such a pair at most: it is remembered before the caller is known, and must cost little."""


Headers = list[tuple[bytes, bytes]]


class Tenancy:
    """ASGI: fills in the exchange and passes the request on without the caller's credential.

    ``pages`` serves what lives under ``/_gateway``; it may be reached without a credential, with ``exchange.tenant``
    None then, and decides itself what such a caller may see.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        source: PolicySource,
        authenticator: Authenticator,
        clock: Clock,
        pages: ASGIApp | None = None,
        failures: Failures | None = None,
    ) -> None:
        self.app = app
        self._source = source
        self._authenticator = authenticator
        self._clock = clock
        self._pages = pages
        self._failures = Failures() if failures is None else failures
        self._rules: _Rules | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange: Exchange = scope[SCOPE_KEY]
        snapshot = exchange.snapshot = self._source.current
        rules = self._rules
        if rules is None or rules.snapshot is not snapshot:
            rules = self._rules = _Rules(snapshot)
        headers = scope["headers"]
        fields = rules.sort_out(headers)
        _describe(exchange, scope, rules, fields)
        place = rules.place(exchange, scope["raw_path"], headers)
        route = place.route
        internal = exchange.internal = place.internal and self._pages is not None
        exchange.route_name = route.name if route else None
        if exchange.method == "OPTIONS" and route:
            granted = preflight(route, headers)
            if granted is not None:
                await send({"type": "http.response.start", "status": 204, "headers": granted})
                await send({"type": "http.response.body", "body": b""})
                return
        passes = route is not None and route.forward_authorization and not rules.holds_ours(headers)
        presented = rules.fields.read(fields.credentials, exchange.peer_trusted, passes)
        if presented is NOTHING:
            _nobody(exchange, rules, optional=internal and place.path in PUBLIC_PAGES)
        else:
            await self._identify(exchange, snapshot, rules, presented)
        # In place: from here on no layer, inner or outer, sees the caller's credential.
        scope["headers"] = rules.fields.stripped(headers, presented) if passes else fields.others
        if internal and self._pages is not None:
            await self._pages(scope, receive, send)
            return
        route = _taken(exchange, place)
        if route.cors is not None and SOCKET_KEY in scope and foreign(route.cors, headers):
            raise GatewayError("forbidden-origin")
        _plan(exchange, snapshot, route)
        await self.app(scope, receive, send)

    async def _identify(self, exchange: Exchange, snapshot: Snapshot, rules: _Rules, presented: Presented) -> None:
        exchange.phase = "auth"
        if self._failures:
            self._refuse_blocked(exchange)
        try:
            identity = await self._owner(snapshot, presented)
        except GatewayError as error:
            if error.code == "unauthenticated":
                address = partition(exchange.client_address)
                if address:
                    self._failures.charge(address, self._clock.steady_us())
                error.headers = (*error.headers, rules.challenge)
            raise
        exchange.tenant = identity.tenant
        exchange.account = identity.tenant.id
        exchange.credential_id = identity.credential_id
        exchange.phase = "queue"

    def _refuse_blocked(self, exchange: Exchange) -> None:
        """Raises ``credential-failures``. Callers of unknown address (a unix socket) share no budget."""
        address = partition(exchange.client_address)
        wait_us = self._failures.wait_us(address, self._clock.steady_us()) if address else 0
        if wait_us:
            raise GatewayError(
                "credential-failures",
                "Too many credentials from this address were not valid.",
                phase="auth",
                retry_after_s=-(-wait_us // 1_000_000),
                retry_after_ms=-(-wait_us // 1_000),
            )

    async def _owner(self, snapshot: Snapshot, presented: Presented) -> Identity:
        """The one tenant that everything presented stands for; the secret names the credential.

        Whatever breaks in the back end is a 503, never a 401 (spec O11).
        """
        if presented.problem is not None:
            raise _unauthenticated(presented.problem)
        first = presented.secret or presented.subject
        assert first is not None  # noqa: S101 - NOTHING does not come here, a problem was raised
        try:
            identity = self._authenticator.recognise(snapshot, first)
            if identity is None:
                identity = await self._authenticator.authenticate(snapshot, first)
            if presented.secret and presented.subject:
                other = await self._authenticator.authenticate(snapshot, presented.subject)
                if other.tenant is not identity.tenant:
                    raise _unauthenticated("key and client certificate belong to different tenants")
            return identity
        except GatewayError:
            raise
        except Exception as error:
            raise GatewayError("auth-unavailable", phase="auth", cause_text=f"{type(error).__name__}: {error}")


class _Place(NamedTuple):
    """What a method and a raw path mean: the canonical path, and the route or the methods that are taken there."""

    path: str
    target: bytes
    internal: bool
    route: Route | None
    allow: tuple[str, ...]


class _Fields:
    """A request's fields sorted out; ``others`` are all but those that may hold a credential of ours, in order."""

    __slots__ = ("credentials", "framing", "hosts", "others")

    def __init__(self) -> None:
        self.credentials: Headers = []
        self.hosts: list[bytes] = []
        self.framing: Headers = []
        self.others: Headers = []


class _Rules:
    """What one policy says about tenancy, worked out once; ``place`` remembers what paths mean."""

    __slots__ = ("_places", "_watched", "anonymous", "challenge", "fields", "proxies", "snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        policy = snapshot.policy
        self.snapshot = snapshot
        self.fields = CredentialFields(policy.auth)
        self._watched = self.fields.names | FRAMING | {b"host"}
        self.challenge = (b"www-authenticate", self.fields.challenge)
        self.proxies = TrustedProxies(policy.server.trusted_proxies)
        tier = policy.auth.anonymous_tier
        self.anonymous = None if tier is None else Tenant(id=ANONYMOUS, tier=tier)
        self._places: dict[tuple[str, bytes], _Place] = {}

    def sort_out(self, headers: Headers) -> _Fields:
        found = _Fields()
        watched, others = self._watched, found.others
        for pair in headers:
            name = pair[0]
            if name not in watched:
                others.append(pair)
            elif name == b"host":
                found.hosts.append(pair[1])
                others.append(pair)
            elif name in FRAMING:
                found.framing.append(pair)
                others.append(pair)
            else:
                found.credentials.append(pair)
        return found

    def holds_ours(self, headers: Headers) -> bool:
        policy = self.snapshot.policy
        return holds_ours(headers, policy.keys, policy.auth.jwt)

    def place(self, exchange: Exchange, raw: bytes, headers: Headers) -> _Place:
        """Where the call goes; sets path and target. Raises ``bad-path``. A preflight goes where it asks about."""
        asked = wanted_method(headers) if exchange.method == "OPTIONS" else None
        method = exchange.method
        place = self._places.get((method, raw))
        if place is None or asked is not None:
            place = self._found(method, asked, raw)
            # Only what leads somewhere is remembered, so that a scan for paths does not push it out.
            if place.route is not None and asked is None and len(method) + len(raw) <= PLACE_SIZE:
                if len(self._places) >= PLACES_KEPT:
                    self._places.clear()
                self._places[method, raw] = place
        exchange.path = place.path
        exchange.target = place.target
        return place

    def _found(self, method: str, asked: str | None, raw: bytes) -> _Place:
        try:
            path = canonical(raw.partition(b"?")[0])
        except PathError as error:
            raise GatewayError("bad-path", error.reason)
        if path.decoded == RESERVED or path.decoded.startswith(RESERVED + "/"):
            return _Place(path.decoded, path.target, True, None, ())
        match = self.snapshot.routes.match(asked or method, path.decoded)
        if asked and not (match.route and match.route.cors):
            match = self.snapshot.routes.match(method, path.decoded)
        return _Place(path.decoded, path.target, False, match.route, match.allow)


def _describe(exchange: Exchange, scope: Scope, rules: _Rules, fields: _Fields) -> None:
    """What was asked, and from where, onto the exchange. Raises ``bad-request``."""
    peer = exchange.client_address = exchange.peer_address = _plain_address((scope.get("client") or ("", 0))[0])
    exchange.method = scope["method"]
    exchange.query = scope.get("query_string", b"")
    version = scope["http_version"]
    if version != "1.1" and version not in HTTP_1_0:
        raise GatewayError("bad-request", "an HTTP version that is not spoken here", headers=(CLOSE,))
    problem = host_problem(fields.hosts, version)
    if problem is None and fields.framing:
        problem = framing_problem(fields.framing, version)
    if problem:
        raise GatewayError("bad-request", problem, headers=(CLOSE,))
    if exchange.query:
        problem = query_problem(exchange.query)
        if problem:
            raise GatewayError("bad-request", problem)
    if rules.proxies.trusts(peer):
        exchange.peer_trusted = True
        exchange.client_address = rules.proxies.client(peer, scope["headers"])


def _plain_address(peer: str) -> str:
    """The peer as text: IPv4-mapped IPv6 (a dual-stack listener) as IPv4, what is no address (``unix:``) as unknown."""
    return str(parsed(peer) or "") if ":" in peer else peer


def _nobody(exchange: Exchange, rules: _Rules, *, optional: bool) -> None:
    """A caller without any credential: the anonymous tier, where there is one (spec policy.md, Rules)."""
    if rules.anonymous is not None:
        exchange.tenant = rules.anonymous
        exchange.account = ANONYMOUS_ACCOUNT + partition(exchange.client_address)
    elif not optional:
        error = _unauthenticated("no credential")
        error.detail = "A credential is needed."
        error.headers = (rules.challenge,)
        raise error


def _taken(exchange: Exchange, place: _Place) -> Route:
    """The route that the call takes. Raises ``no-route`` and ``method-not-allowed``."""
    route = place.route
    if route is not None and (route.methods is None or exchange.method in route.methods):
        return route
    allow = sorted(route.methods) if route and route.methods else place.allow
    if not allow:
        raise GatewayError("no-route")
    raise GatewayError("method-not-allowed", headers=((b"allow", ", ".join(allow).encode()),))


def _plan(exchange: Exchange, snapshot: Snapshot, route: Route) -> None:
    assert exchange.tenant is not None  # noqa: S101 - a call of a route has a tenant or was refused
    plan = exchange.plan = snapshot.plan(exchange.tenant, route)
    if not plan.allowed:
        raise GatewayError("forbidden-tier", f'The tier "{plan.tier.name}" has no access to this route.')


def _unauthenticated(cause: str) -> GatewayError:
    return GatewayError("unauthenticated", "The credential is not valid.", phase="auth", cause_text=cause)


__all__ = ["RESERVED", "Tenancy"]
