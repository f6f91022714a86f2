"""Who calls and what for: the order of refusals, what is believed, and what never reaches an upstream."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from ipaddress import ip_network
from typing import Any, NamedTuple

import anyio
import pytest

from middleware.failures import Failures
from middleware.tenancy import Tenancy
from policies.credential import Credential
from policies.errors import GatewayError
from policies.exchange import SCOPE_KEY, Exchange
from policies.model import Auth, Cors, Jwt, Key, PolicySet, Route, Server, Tenant, Tier, Upstream
from policies.snapshot import Snapshot
from tests.middleware.harness import FixedPolicy, Inner, Pair, Recorded, VirtualClock, http_scope, run, scripted

pytestmark = pytest.mark.anyio

KEY: Pair = (b"x-api-key", b"good")
BEARER: Pair = (b"authorization", b"Bearer good")
ACME = Tenant(id="acme", tier="basic")
GLOBEX = Tenant(id="globex", tier="basic")


def route(name: str, path: str, *methods: str, **more: Any) -> Route:
    return Route(name=name, path=path, methods=frozenset(methods) or None, upstream="up", group=name, **more)


ROUTES = (
    route("read", "/crm/{rest:path}", "GET", "HEAD"),
    route("gold", "/gold", tiers=frozenset({"gold"})),
    route("page", "/page", "GET", "POST", cors=Cors(origins=("https://app.example.com",))),
    route("two-read", "/two", "GET", cors=Cors(origins=("https://app.example.com",))),
    route("two-options", "/two", "OPTIONS"),
    route("bare-read", "/bare", "GET"),
    route("bare-options", "/bare", "OPTIONS"),
    route("own-auth", "/own-auth", forward_authorization=True),
)
AUTH = Auth(mtls_header=b"x-client-cert-subject")
GUESTS = replace(AUTH, anonymous_tier="guest")
PROXIED = Server(trusted_proxies=(ip_network("10.0.0.0/8"),))
PROXY = ("10.0.0.1", 4_000)


def policy(auth: Auth = AUTH, server: Server = PROXIED, keys: tuple[bytes, ...] = ()) -> PolicySet:
    digests = [hashlib.sha256(secret).digest() for secret in keys]
    return PolicySet(
        version="v1",
        server=server,
        auth=auth,
        tiers={name: Tier(name=name, limits=()) for name in ("basic", "gold", "guest")},
        upstreams={"up": Upstream(name="up", scheme="http", host="h", port=80, base_path="", vendor="h")},
        routes={each.name: each for each in ROUTES},
        tenants={"acme": ACME, "globex": GLOBEX},
        keys={digest: (ACME, Key(id="k1", digest=digest)) for digest in digests},
    )


class Owner(NamedTuple):
    tenant: Tenant
    credential_id: str


class Book:
    """An ``Authenticator`` with two good keys and two good subjects, which counts how often it was asked."""

    def __init__(self, broken: Exception | None = None) -> None:
        self.asked: list[Credential] = []
        self.broken = broken

    def recognise(self, snapshot: Snapshot, credential: Credential) -> Owner | None:
        return None

    async def authenticate(self, snapshot: Snapshot, credential: Credential) -> Owner:
        self.asked.append(credential)
        if self.broken is not None:
            raise self.broken
        known = {b"good": ACME, b"other": GLOBEX, b"CN=acme": ACME, b"CN=globex": GLOBEX}
        if credential.value not in known:
            raise GatewayError("unauthenticated", phase="auth", cause_text="unknown")
        return Owner(known[credential.value], "k1")


class Rig:
    def __init__(
        self,
        auth: Auth = AUTH,
        *,
        broken: Exception | None = None,
        pages: Inner | None = None,
        keys: tuple[bytes, ...] = (),
    ) -> None:
        self.inner = Inner()
        self.book = Book(broken)
        self.clock = VirtualClock()
        self.source = FixedPolicy(policy(auth, keys=keys))
        self.failures = Failures(burst=3)
        self.app = Tenancy(
            self.inner,
            source=self.source,
            authenticator=self.book,
            clock=self.clock,
            pages=pages,
            failures=self.failures,
        )

    async def call(self, path: str = "/crm/x", *headers: Pair, **scope: Any) -> Recorded:
        return await run(self.app, http_scope(path, headers=headers, **scope))

    async def refused(self, path: str = "/crm/x", *headers: Pair, **scope: Any) -> GatewayError:
        with pytest.raises(GatewayError) as caught:
            await self.call(path, *headers, **scope)
        assert self.inner.scopes == []
        return caught.value


# --- what is learned ---------------------------------------------------------------------------------------------


async def test_good_call_fills_in_the_exchange_and_takes_one_snapshot() -> None:
    rig = Rig()
    assert (await rig.call("/crm/a", KEY, query=b"q=1")).status == 200
    exchange = rig.inner.exchange
    assert (exchange.tenant, exchange.account, exchange.credential_id) == (ACME, "acme", "k1")
    assert (exchange.method, exchange.path, exchange.target, exchange.query) == ("GET", "/crm/a", b"/crm/a", b"q=1")
    assert (exchange.route_name, exchange.client_address, exchange.phase) == ("read", "192.0.2.7", "queue")
    assert exchange.plan is not None
    assert exchange.plan.route.name == "read"
    assert rig.source.taken == 1


async def test_policy_swapped_between_calls_is_seen_and_never_within_one() -> None:
    rig = Rig()
    await rig.call("/crm/a", KEY)
    first = rig.inner.exchange.snapshot
    rig.source.snapshot = Snapshot(replace(policy(), version="v2", auth=Auth(key_headers=(b"x-new",))))
    await rig.call("/crm/a", (b"x-new", b"good"))
    assert first is not None
    assert first.version == "v1"
    assert rig.inner.exchange.snapshot is rig.source.snapshot


# --- order of refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "code"),
    [
        ({"host": ()}, "bad-request"),
        ({"host": ((b"host", b"a"), (b"host", b"b"))}, "bad-request"),
        ({"host": ((b"host", b""),)}, "bad-request"),
        ({"version": "2.0"}, "bad-request"),  # h11 takes any digit (RULINGS 20)
        ({"query": "q=\u00e9".encode()}, "bad-request"),
        ({"raw_path": b"/crm/%2e%2e/x"}, "bad-path"),
        ({"raw_path": b"/crm/a%2fb"}, "bad-path"),
        ({"raw_path": b"//crm"}, "bad-path"),
        ({"raw_path": b"/crm/a\\b"}, "bad-path"),
        ({"raw_path": b"/crm/%00"}, "bad-path"),
    ],
)
async def test_malformed_request_is_refused_before_any_credential_is_looked_at(
    scope: dict[str, Any], code: str
) -> None:
    rig = Rig()
    assert (await rig.refused("/crm/x", KEY, **scope)).code == code
    assert rig.book.asked == []


@pytest.mark.parametrize("path", ["/crm/x", "/nowhere", "/gold", "/_gateway/usage"])
async def test_caller_without_credential_cannot_tell_routes_apart(path: str) -> None:
    error = await Rig().refused(path)
    assert (error.code, error.headers) == ("unauthenticated", ((b"www-authenticate", b'Bearer realm="tiergate"'),))


async def test_no_route_and_wrong_method_are_told_to_a_tenant() -> None:
    assert (await Rig().refused("/nowhere", KEY)).code == "no-route"
    error = await Rig().refused("/crm/x", KEY, method="DELETE")
    assert (error.code, error.headers) == ("method-not-allowed", ((b"allow", b"GET, HEAD"),))


async def test_tier_without_access_is_refused() -> None:
    error = await Rig().refused("/gold", KEY)
    assert error.code == "forbidden-tier"
    assert "basic" in error.detail


@pytest.mark.parametrize(
    ("scope", "headers"),
    [
        ({}, ((b"content-length", b"9" * 5_000),)),
        ({}, ((b"transfer-encoding", b"gzip, chunked"),)),
        ({}, ((b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked"))),
        ({"host": ()}, ()),
    ],
)
async def test_request_whose_end_cannot_be_told_ends_the_connection(
    scope: dict[str, Any], headers: tuple[Pair, ...]
) -> None:
    error = await Rig().refused("/crm/x", KEY, *headers, **scope)
    assert (error.code, error.headers) == ("bad-request", ((b"connection", b"close"),))


async def test_only_short_paths_are_remembered_before_the_caller_is_known() -> None:
    rig = Rig()
    await rig.call("/crm/short", KEY)
    for long in ({"path": "/crm/" + "x" * 300}, {"path": "/own-auth", "method": "M" * 300}):
        with pytest.raises(GatewayError):
            await rig.call(**long)
    assert rig.app._rules is not None
    assert [raw for _, raw in rig.app._rules._places] == [b"/crm/short"]


# --- credentials -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        ((b"x-api-key", b"bad"),),
        ((b"x-api-key", b""),),
        ((b"x-api-key", b"x" * 20_000),),
        ((b"authorization", b"Bearer " + b"x" * 20_000),),
        ((b"authorization", b"Basic Z29vZDo="),),
        ((b"authorization", b"Bearer"),),
        ((b"authorization", b"Bearer good extra"),),
        ((b"authorization", b"good"),),
        (KEY, (b"x-api-key", b"other")),  # two credentials that differ, each of them good
        (KEY, (b"authorization", b"Bearer other")),
        (BEARER, (b"authorization", b"Bearer other")),
        (KEY, (b"authorization", b"Basic Z29vZDo=")),
    ],
)
async def test_credential_that_is_no_good_is_401(headers: tuple[Pair, ...]) -> None:
    rig = Rig()
    error = await rig.refused("/crm/x", *headers)
    assert error.code == "unauthenticated"
    assert error.headers == ((b"www-authenticate", b'Bearer realm="tiergate"'),)
    assert len(rig.failures) == 1


@pytest.mark.parametrize(
    "headers", [(KEY,), (BEARER,), (KEY, KEY), (KEY, BEARER), ((b"authorization", b"bEARER  good"),)]
)
async def test_credential_never_reaches_the_application(headers: tuple[Pair, ...]) -> None:
    rig = Rig()
    await rig.call("/crm/x", *headers, (b"x-client-cert-subject", b"CN=forged"), (b"x-other", b"stays"))
    assert rig.inner.values(b"x-api-key") + rig.inner.values(b"authorization") == []
    assert rig.inner.values(b"x-client-cert-subject") == []
    assert rig.inner.values(b"x-other") == [b"stays"]
    assert b"good" not in b"".join(value for _, value in rig.inner.scopes[-1]["headers"])
    assert rig.inner.exchange.tenant is ACME


async def test_route_that_forwards_authorization_leaves_that_field_to_the_upstream() -> None:
    rig = Rig()
    await rig.call("/own-auth", KEY, (b"authorization", b"Basic dXBzdHJlYW0="))
    assert rig.inner.values(b"authorization") == [b"Basic dXBzdHJlYW0="]
    assert rig.inner.values(b"x-api-key") == []
    await rig.call("/own-auth", KEY, BEARER)  # it repeats the gateway's own credential
    assert rig.inner.values(b"authorization") == []


async def test_bearer_alone_does_not_open_a_route_that_forwards_it() -> None:
    assert (await Rig().refused("/own-auth", BEARER)).code == "unauthenticated"


@pytest.mark.parametrize("value", [b"Bearer good", b"bearer  good"])
@pytest.mark.parametrize("more", [(), (KEY,)])
async def test_known_key_as_bearer_authenticates_on_every_route(value: bytes, more: tuple[Pair, ...]) -> None:
    """Also where anybody may call and the field is otherwise the upstream's (RULINGS 8)."""
    rig = Rig(GUESTS, keys=(b"good", b"other"))
    await rig.call("/own-auth", (b"authorization", value), *more)
    assert rig.inner.exchange.tenant is ACME
    assert rig.inner.values(b"authorization") == []


@pytest.mark.parametrize(
    "headers",
    [
        ((b"authorization", b"good"),),
        ((b"authorization", b"Token good"),),
        ((b"authorization", b"Bearer other"), KEY),  # two keys that differ
        ((b"authorization", b"Bearer other"), BEARER),
    ],
)
async def test_known_key_in_authorization_that_cannot_authenticate_is_401(headers: tuple[Pair, ...]) -> None:
    error = await Rig(GUESTS, keys=(b"good", b"other")).refused("/own-auth", *headers)
    assert error.code == "unauthenticated"


def unsigned(**claims: Any) -> bytes:
    parts = ({"alg": "ES256"}, claims)
    return b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts) + b".AAAA"


@pytest.mark.parametrize(
    ("token", "ours"),
    [
        (unsigned(iss="i", aud="a"), True),
        (unsigned(iss="i", aud=["x", "a"]), True),
        (unsigned(iss="i", aud="upstream"), False),  # one issuer for both: this one is for the upstream
        (unsigned(iss="another", aud="a"), False),
        (unsigned(), False),
        (b"e30.W10.AA", False),  # a list
        (b"e30.////.AA", False),
        (b"not-a-token", False),
    ],
)
async def test_token_meant_for_the_gateway_is_never_forwarded(token: bytes, ours: bool) -> None:
    rig = Rig(replace(GUESTS, jwt=Jwt(issuer="i", audience="a", algorithms=("ES256",), jwks="{}")))
    field: Pair = (b"authorization", b"Bearer " + token)
    if ours:
        assert (await rig.refused("/own-auth", field)).code == "unauthenticated"  # this book knows no token
    else:
        await rig.call("/own-auth", field)
        assert rig.inner.values(b"authorization") == [field[1]]


async def test_authorization_is_dropped_also_where_it_means_nothing() -> None:
    rig = Rig(Auth(key_headers=(b"x-api-key",)))
    await rig.call("/crm/x", KEY, (b"authorization", b"Bearer somebody"))
    assert rig.inner.values(b"authorization") == []
    error = await Rig(Auth(key_headers=(b"x-api-key",))).refused("/crm/x", BEARER)
    assert error.headers == ((b"www-authenticate", b'ApiKey realm="tiergate"'),)


async def test_authorization_is_read_where_tokens_are_configured() -> None:
    jwt = Jwt(issuer="i", audience="a", algorithms=("ES256",), jwks="{}")
    rig = Rig(Auth(key_headers=(b"x-api-key",), jwt=jwt))
    await rig.call("/crm/x", BEARER)
    assert rig.book.asked == [Credential("bearer", b"good")]


@pytest.mark.parametrize("broken", [OSError("gone"), RuntimeError("bug"), GatewayError("auth-unavailable")])
async def test_broken_back_end_is_503_and_charges_nobody(broken: Exception) -> None:
    rig = Rig(broken=broken)
    for _ in range(9):
        assert (await rig.refused("/crm/x", KEY)).code == "auth-unavailable"
    assert len(rig.failures) == 0


async def test_phase_of_a_failed_credential_is_auth() -> None:
    rig = Rig()
    scope = http_scope("/crm/x", headers=((b"x-api-key", b"bad"),))
    with pytest.raises(GatewayError):
        await run(rig.app, scope)
    exchange: Exchange = scope[SCOPE_KEY]
    assert (exchange.phase, exchange.tenant, exchange.route_name) == ("auth", None, "read")


# --- failed credentials ------------------------------------------------------------------------------------------


async def test_address_with_too_many_failures_is_refused_before_anything_expensive() -> None:
    rig = Rig()
    for _ in range(3):
        assert (await rig.refused("/crm/x", (b"x-api-key", b"bad"))).code == "unauthenticated"
    asked = len(rig.book.asked)
    error = await rig.refused("/crm/x", KEY)  # also with a good one: whether it is good is not known yet
    assert (error.code, error.retry_after_s, error.retry_after_ms) == ("credential-failures", 6, 6_000)
    assert len(rig.book.asked) == asked
    assert (await rig.call("/crm/x", KEY, client=("192.0.2.8", 1))).status == 200
    rig.clock.advance(6_000_000)
    assert (await rig.call("/crm/x", KEY)).status == 200


async def test_good_calls_and_calls_without_a_credential_are_never_charged() -> None:
    rig = Rig()
    for _ in range(10):
        await rig.call("/crm/x", KEY)
    for _ in range(10):
        with pytest.raises(GatewayError, match="unauthenticated"):
            await rig.call("/crm/x")
    assert len(rig.failures) == 0


async def test_ipv6_subscriber_cannot_walk_through_its_addresses() -> None:
    rig = Rig()
    for last in range(3):
        await rig.refused("/crm/x", (b"x-api-key", b"bad"), client=(f"2001:db8::{last}", 1))
    assert (await rig.refused("/crm/x", KEY, client=("2001:db8::9", 1))).code == "credential-failures"


@pytest.mark.parametrize("client", [None, ("unix:/run/gateway.sock", 0)])
async def test_callers_of_unknown_address_do_not_block_each_other(client: tuple[str, int] | None) -> None:
    rig = Rig()
    for _ in range(5):
        await rig.refused("/crm/x", (b"x-api-key", b"bad"), client=client)
    assert (await rig.call("/crm/x", KEY, client=client)).status == 200


# --- anonymous ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "account"),
    [
        (("192.0.2.7", 1), "\x00192.0.2.7"),
        (("::ffff:192.0.2.7", 1), "\x00192.0.2.7"),
        (("2001:db8::7", 1), "\x002001:db8::/64"),
    ],
)
async def test_anonymous_caller_is_keyed_by_address(client: tuple[str, int], account: str) -> None:
    rig = Rig(GUESTS)
    await rig.call("/crm/x", client=client)
    exchange = rig.inner.exchange
    assert exchange.tenant is not None
    assert (exchange.tenant.id, exchange.tenant.tier, exchange.account) == ("anonymous", "guest", account)
    assert exchange.credential_id is None


@pytest.mark.parametrize(
    "headers", [((b"x-api-key", b"bad"),), ((b"x-api-key", b""),), ((b"authorization", b"Basic eA=="),)]
)
async def test_credential_that_is_no_good_is_never_anonymous(headers: tuple[Pair, ...]) -> None:
    assert (await Rig(GUESTS).refused("/crm/x", *headers)).code == "unauthenticated"


# --- proxies and client certificates -----------------------------------------------------------------------------

SUBJECT: Pair = (b"x-client-cert-subject", b"CN=acme")


async def test_subject_is_believed_from_a_trusted_proxy_only() -> None:
    rig = Rig()
    await rig.call("/crm/x", SUBJECT, client=PROXY)
    assert rig.inner.exchange.tenant is ACME
    assert rig.inner.values(b"x-client-cert-subject") == []
    assert (await Rig().refused("/crm/x", SUBJECT)).code == "unauthenticated"


async def test_two_subjects_from_a_proxy_are_refused() -> None:
    error = await Rig().refused("/crm/x", (b"x-client-cert-subject", b"CN=globex"), SUBJECT, client=PROXY)
    assert error.code == "unauthenticated"


async def test_key_and_subject_must_belong_to_one_tenant() -> None:
    rig = Rig()
    await rig.call("/crm/x", KEY, SUBJECT, client=PROXY)
    assert rig.inner.exchange.tenant is ACME
    assert (await Rig().refused("/crm/x", (b"x-api-key", b"other"), SUBJECT, client=PROXY)).code == "unauthenticated"


async def test_forwarded_address_counts_from_a_trusted_proxy_only() -> None:
    rig = Rig()
    forwarded = (b"x-forwarded-for", b"198.51.100.4")
    await rig.call("/crm/x", KEY, forwarded, client=PROXY)
    assert rig.inner.exchange.client_address == "198.51.100.4"
    await rig.call("/crm/x", KEY, forwarded)
    assert rig.inner.exchange.client_address == "192.0.2.7"


async def test_caller_behind_a_proxy_gains_no_address_by_contradicting_it() -> None:
    pair = ((b"x-forwarded-for", b"198.51.100.4"), (b"forwarded", b"for=203.0.113.1"))
    assert (await Rig(GUESTS).refused("/crm/x", *pair, client=PROXY)).code == "bad-request"
    rig = Rig(GUESTS)
    await rig.call("/crm/x", *pair)  # no proxy: neither is looked at
    assert rig.inner.exchange.client_address == "192.0.2.7"


async def test_peer_on_a_dual_stack_listener_is_one_host_for_everybody() -> None:
    rig = Rig()
    await rig.call("/crm/x", KEY, (b"x-forwarded-for", b"198.51.100.4"), client=("::ffff:10.0.0.1", 1))
    exchange = rig.inner.exchange
    assert (exchange.peer_trusted, exchange.peer_address, exchange.client_address) == (
        True,
        "10.0.0.1",
        "198.51.100.4",
    )
    await rig.call("/crm/x", KEY, client=("::ffff:192.0.2.7", 1))
    assert (rig.inner.exchange.peer_trusted, rig.inner.exchange.peer_address) == (False, "192.0.2.7")


# --- the gateway's own pages -------------------------------------------------------------------------------------


async def test_pages_are_reached_with_and_without_a_tenant() -> None:
    pages = Inner()
    rig = Rig(pages=pages)
    await rig.call("/_gateway/limits")
    assert (pages.exchange.tenant, pages.exchange.internal, pages.exchange.route_name) == (None, True, None)
    await rig.call("/_gateway/usage", KEY)
    assert pages.exchange.tenant is ACME
    assert pages.values(b"x-api-key") == []
    assert (await rig.refused("/_gateway/limits", (b"x-api-key", b"bad"))).code == "unauthenticated"


@pytest.mark.parametrize("path", ["/_gateway/usage", "/_gateway/nothing", "/_gateway"])
async def test_other_pages_need_a_credential_and_say_which(path: str) -> None:
    pages = Inner()
    scope = http_scope(path)
    with pytest.raises(GatewayError) as refused:
        await run(Rig(pages=pages).app, scope)
    assert (refused.value.code, refused.value.headers) == (
        "unauthenticated",
        ((b"www-authenticate", b'Bearer realm="tiergate"'),),
    )
    assert scope[SCOPE_KEY].internal
    assert pages.scopes == []


async def test_without_pages_the_reserved_path_is_nobodys() -> None:
    assert (await Rig().refused("/_gateway/limits", KEY)).code == "no-route"


async def test_path_that_only_begins_like_the_reserved_one_is_an_ordinary_path() -> None:
    pages = Inner()
    assert (await Rig(pages=pages).refused("/_gatewayx", KEY)).code == "no-route"
    assert pages.scopes == []


# --- cross-origin ------------------------------------------------------------------------------------------------

PREFLIGHT = ((b"origin", b"https://app.example.com"), (b"access-control-request-method", b"POST"))


async def test_preflight_needs_no_credential_and_reaches_nobody() -> None:
    rig = Rig()
    answer = await rig.call("/page", *PREFLIGHT, method="OPTIONS")
    assert answer.status == 204
    assert answer.values(b"access-control-allow-methods") == [b"GET, POST"]
    assert rig.inner.scopes == []
    assert rig.book.asked == []


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/crm/x", PREFLIGHT),  # a route without cors
        ("/nowhere", PREFLIGHT),
        ("/page", PREFLIGHT[:1]),
        ("/page", ((b"origin", b"https://evil.example"), PREFLIGHT[1])),
        ("/page", (PREFLIGHT[0], (b"access-control-request-method", b"DELETE"))),
    ],
)
async def test_other_options_calls_need_a_credential(path: str, headers: tuple[Pair, ...]) -> None:
    assert (await Rig().refused(path, *headers, method="OPTIONS")).code == "unauthenticated"


async def test_options_of_a_tenant_on_a_route_that_does_not_take_it_is_405() -> None:
    error = await Rig().refused("/page", KEY, (b"origin", b"https://evil.example"), PREFLIGHT[1], method="OPTIONS")
    assert (error.code, error.headers) == ("method-not-allowed", ((b"allow", b"GET, POST"),))


async def test_preflight_and_plain_options_of_one_path_do_not_mix_however_often_they_alternate() -> None:
    rig = Rig()
    asks = (PREFLIGHT[0], (b"access-control-request-method", b"GET"))
    for _ in range(3):
        assert (await rig.call("/two", *asks, method="OPTIONS")).status == 204
        assert (await rig.call("/two", KEY, method="OPTIONS")).status == 200
        assert rig.inner.exchange.route_name == "two-options"


async def test_preflight_of_a_route_without_cors_is_an_ordinary_options_call() -> None:
    rig = Rig()
    asks = (PREFLIGHT[0], (b"access-control-request-method", b"GET"))
    await rig.call("/bare", KEY, *asks, method="OPTIONS")
    assert rig.inner.exchange.route_name == "bare-options"


# --- shapes ------------------------------------------------------------------------------------------------------


async def test_a_foreign_scope_passes() -> None:
    rig = Rig()
    await rig.app({"type": "lifespan"}, scripted(), Recorded().send)
    assert rig.inner.scopes == [{"type": "lifespan"}]


async def test_exception_before_and_after_the_head_passes_through() -> None:
    async def before(scope: object, receive: object, send: object) -> None:
        raise LookupError

    async def after(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise LookupError

    for app in (before, after):
        rig = Rig()
        rig.app.app = app
        with pytest.raises(LookupError):
            await rig.call("/crm/x", KEY)


async def test_caller_that_leaves_while_its_credential_is_checked_is_not_charged() -> None:
    class Slow(Book):
        async def authenticate(self, snapshot: Snapshot, credential: Credential) -> Owner:
            await anyio.sleep_forever()
            raise AssertionError("unreachable")

    rig = Rig()
    app = Tenancy(rig.inner, source=rig.source, authenticator=Slow(), clock=rig.clock, failures=rig.failures)
    with anyio.move_on_after(0) as cancelled:
        await run(app, http_scope("/crm/x", headers=(KEY,)))
    assert cancelled.cancelled_caught
    assert len(rig.failures) == 0


async def test_body_in_many_chunks_is_left_to_the_application() -> None:
    async def counting(scope: Any, receive: Any, send: Any) -> None:
        size = 0
        while True:
            message = await receive()
            size += len(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % size})

    rig = Rig()
    rig.app.app = counting
    chunks = [{"type": "http.request", "body": b"abc", "more_body": more} for more in (True, True, False)]
    answer = await run(rig.app, http_scope("/crm/x", headers=(KEY,)), *chunks)
    assert answer.body == b"9"
