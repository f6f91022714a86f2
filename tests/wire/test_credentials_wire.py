"""No credential of a caller reaches an upstream (RULINGS 8): tenancy and forwarder over real sockets."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, MutableMapping
from ipaddress import ip_network
from typing import Any

import pytest

from gateway.credentials import Credentials
from gateway.mock_upstream import MockUpstream
from middleware.problems import Problems
from middleware.tenancy import Tenancy
from policies.exchange import SCOPE_KEY, Exchange
from policies.model import Auth, Key, PolicySet, Route, Server, Tenant, Tier, Upstream
from policies.snapshot import Snapshot
from tests.wire.harness import SERVERS, ServerName, raw_exchange, serve_app, status_of
from upstreams.forward import Forwarder
from upstreams.http1 import Http1Transport
from upstreams.pool import Transports

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("server", SERVERS)

SECRET = "tg-secret-0123456789"
SUBJECT = "CN=acme-0123456789"
THEIRS = "Bearer the-upstreams-own"
OPEN, CLOSED = "/own", "/plain"


class SystemClock:
    def steady_us(self) -> int:
        return time.monotonic_ns() // 1000

    def wall_us(self) -> int:
        return time.time_ns() // 1000


class Fixed:
    def __init__(self, policy: PolicySet) -> None:
        self.current = Snapshot(policy)


def policy(port: int, *, anonymous: bool) -> PolicySet:
    key = Key(id="k1", digest=hashlib.sha256(SECRET.encode()).digest())
    acme = Tenant(id="acme", tier="t", keys=(key,), subjects=(SUBJECT,))
    own, plain = (
        Route(name=path[1:], path=path, methods=None, upstream="up", group="g", forward_authorization=path == OPEN)
        for path in (OPEN, CLOSED)
    )
    return PolicySet(
        version="1",
        server=Server(trusted_proxies=(ip_network("127.0.0.0/8"),)),
        auth=Auth(mtls_header=b"x-client-cert-subject", anonymous_tier="t" if anonymous else None),
        tiers={"t": Tier(name="t", limits=())},
        upstreams={"up": Upstream(name="up", scheme="http", host="127.0.0.1", port=port, base_path="", vendor="v")},
        routes={"own": own, "plain": plain},
        tenants={"acme": acme},
        keys={key.digest: (acme, key)},
        subjects={SUBJECT: acme},
    )


@contextlib.asynccontextmanager
async def gateway(server: ServerName, *, anonymous: bool = False) -> AsyncIterator[tuple[MockUpstream, int]]:
    clock, transports = SystemClock(), Transports(Http1Transport)
    async with MockUpstream() as origin:
        tenancy = Tenancy(
            Forwarder(transports, clock=clock, instance="a"),
            source=Fixed(policy(origin.port, anonymous=anonymous)),
            authenticator=Credentials(clock=clock),
            clock=clock,
        )
        inner = Problems(tenancy)

        async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                scope[SCOPE_KEY] = Exchange(started_us=0, started_wall_us=0, request_id="r-1")
                await inner(scope, receive, send)

        async with serve_app(app, server) as port:
            yield origin, port
        await transports.aclose()


def get(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *lines, "Connection: close", "", ""]).encode()


BY_KEY = f"X-Api-Key: {SECRET}"
BY_BEARER = f"Authorization: Bearer {SECRET}"
BY_SUBJECT = f"X-Client-Cert-Subject: {SUBJECT}"


@both
@pytest.mark.parametrize("anonymous", [False, True])
@pytest.mark.parametrize("path", [OPEN, CLOSED])
async def test_no_credential_of_the_caller_arrives_r8(server: ServerName, anonymous: bool, path: str) -> None:
    presented = [
        (BY_KEY,),
        (BY_BEARER,),
        (BY_SUBJECT,),
        (BY_KEY, BY_BEARER),
        (BY_SUBJECT, BY_BEARER),
        (BY_KEY, BY_SUBJECT, BY_BEARER),
        (BY_KEY, "Connection: x-api-key, authorization"),
    ]
    async with gateway(server, anonymous=anonymous) as (origin, port):
        for lines in presented:
            assert status_of(await raw_exchange(port, get(path, *lines))) == 200, lines
        for lines in ((f"Authorization: {SECRET}",), (f"Authorization: Token {SECRET}",)):
            await raw_exchange(port, get(path, *lines))
    assert len(origin.requests) >= len(presented)
    for request in origin.requests:
        assert SECRET not in str(request)
        assert SUBJECT not in str(request)


@both
@pytest.mark.parametrize("by", [BY_KEY, BY_SUBJECT])
async def test_authorization_for_the_upstream_arrives_where_something_else_authenticated(
    server: ServerName, by: str
) -> None:
    async with gateway(server) as (origin, port):
        assert status_of(await raw_exchange(port, get(OPEN, by, f"Authorization: {THEIRS}"))) == 200
    assert origin.requests[0].values("authorization") == [THEIRS]


@both
async def test_authorization_for_the_upstream_arrives_from_an_anonymous_caller(server: ServerName) -> None:
    async with gateway(server, anonymous=True) as (origin, port):
        assert status_of(await raw_exchange(port, get(OPEN, f"Authorization: {THEIRS}"))) == 200
    assert origin.requests[0].values("authorization") == [THEIRS]


@both
async def test_refused_framing_ends_the_connection(server: ServerName) -> None:
    """What follows on the connection must not be read as a request; one server would go on."""
    smuggled = get(CLOSED, BY_KEY)
    head = f"POST {CLOSED} HTTP/1.1\r\nHost: a\r\n{BY_KEY}\r\n".encode()
    lines = [
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]
    async with gateway(server) as (origin, port):
        for line in lines:
            answer = await raw_exchange(port, head + line + smuggled, timeout_s=2)
            assert status_of(answer) == 400
            assert answer.count(b"HTTP/1.1 ") == 1
    assert origin.requests == []


@both
async def test_length_of_thousands_of_digits_is_no_error_of_ours(server: ServerName) -> None:
    async with gateway(server) as (origin, port):
        sent = f"POST {CLOSED} HTTP/1.1\r\nHost: a\r\n{BY_KEY}\r\nContent-Length: {'1' * 5_000}\r\n\r\n".encode()
        assert status_of(await raw_exchange(port, sent, timeout_s=2)) in (400, None)
    assert origin.requests == []
