"""A switch of protocols at the port: both engines, plain and TLS, and what a tunnel does to the pool."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from policies.errors import GatewayError
from policies.model import Pool, Proxy, Timeouts, Tls
from tests.upstreams.authority import CA, tls_server
from tests.upstreams.conformance.engines import ENGINES
from tests.upstreams.rig import MS, upstream
from tests.wire.sockets import Line, Origin
from upstreams.transport import Switched, TransportError, UpstreamRequest
from upstreams.websocket import asking, granted

pytestmark = pytest.mark.anyio
on_every_engine = pytest.mark.parametrize("engine", list(ENGINES))


def wanted() -> UpstreamRequest:
    request = UpstreamRequest(method=b"GET", target=b"/", headers=[(b"host", b"a")])
    asking(request)
    return request


async def mirror(line: Line) -> None:
    """Sends back every octet, in whatever protocol."""
    line.send(line.grant() + b"early ")
    while data := await line.reader.read(65_536):
        line.send(data)


@on_every_engine
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_octets_pass_both_ways_after_the_101(tmp_path: Path, engine: str, scheme: str) -> None:
    origin = Origin(mirror)
    context = tls_server(tmp_path) if scheme == "https" else None
    server = await asyncio.start_server(origin.serve, "localhost", 0, ssl=context, family=2)
    port = server.sockets[0].getsockname()[1]
    transport = ENGINES[engine](
        upstream(port, host="localhost", scheme=scheme, tls=Tls(ca=CA), pool=Pool(connections=1, wait_us=50 * MS))
    )
    for _ in range(2):
        answer = cast(Switched, await transport.send(wanted()))
        assert (answer.status, answer.content) == (101, None)
        await answer.write(b"x" * 600_000)
        received = b""
        async for octets in answer.body():
            received += octets
            if len(received) == 600_006:
                break
        assert received == b"early " + b"x" * 600_000
        with pytest.raises(TransportError) as full:
            await transport.send(wanted())
        assert full.value.code == "upstream-pool", "the tunnel is one of the upstream's connections"
        await answer.aclose()
    await transport.aclose()
    server.close()


async def test_the_deadlines_of_a_call_end_with_the_101(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        line.send(line.grant())
        await asyncio.sleep(0.3)  # more than the total and the idle deadline together
        line.send(b"late")

    origin = Origin(script)
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0)
    timeouts = Timeouts(idle_us=60 * MS, total_us=150 * MS)
    transport = ENGINES["http1"](upstream(server.sockets[0].getsockname()[1], timeouts=timeouts))
    answer = await transport.send(wanted())
    assert b"".join([octets async for octets in answer.body()]) == b"late", "and its end is the upstream's"
    await transport.aclose()
    server.close()


async def test_a_101_to_a_call_that_did_not_ask_is_a_fault() -> None:
    async def script(line: Line) -> None:
        line.send(b"HTTP/1.1 101 S\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")

    origin = Origin(script)
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0)
    for engine in ENGINES.values():
        transport = engine(upstream(server.sockets[0].getsockname()[1]))
        with pytest.raises(TransportError) as fault:
            await transport.send(UpstreamRequest(method=b"GET", target=b"/", headers=[(b"host", b"a")]))
        assert fault.value.code == "upstream-protocol"
        await transport.aclose()
    server.close()


def test_a_handshake_is_made_anew() -> None:
    theirs = [(b"sec-websocket-key", b"x"), (b"sec-websocket-extensions", b"y"), (b"sec-websocket-version", b"8")]
    offered = [(b"sec-websocket-protocol", b"a, b"), (b"sec-websocket-protocol", b"c")]
    request = UpstreamRequest(method=b"GET", target=b"/", headers=[(b"host", b"a"), *theirs, *offered])
    handshake = asking(request)
    assert (request.upgrade, handshake.offered) == (True, (b"a", b"b", b"c"))
    assert [name for name, _ in request.headers] == [
        b"host", b"connection", b"upgrade", b"sec-websocket-version", b"sec-websocket-key",
        b"sec-websocket-protocol", b"sec-websocket-protocol",
    ]  # fmt: skip
    other = UpstreamRequest(method=b"GET", target=b"/", headers=[])
    assert asking(other).accept != handshake.accept


def test_a_handshake_has_no_body() -> None:
    async def body():  # type: ignore[no-untyped-def]
        yield b""

    with pytest.raises(GatewayError) as refused:
        asking(UpstreamRequest(method=b"GET", target=b"/", headers=[], body=body()))
    assert refused.value.code == "bad-request"


def test_what_belongs_to_the_other_hop_stays_there() -> None:
    own = [(b"sec-websocket-accept", b"x"), (b"content-length", b"0"), (b"sec-websocket-version", b"13")]
    passed = [(b"sec-websocket-protocol", b"a"), (b"set-cookie", b"1"), (b"content-type", b"x")]
    assert granted([*own, *passed]) == passed


async def test_nothing_goes_past_an_egress_proxy() -> None:
    origin = Origin(mirror)
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0)
    there = upstream(server.sockets[0].getsockname()[1])
    transport = ENGINES["httpx"](replace(there, proxy=Proxy(scheme="http", host="127.0.0.1", port=1)))
    with pytest.raises(TransportError) as refused:
        await transport.send(wanted())
    assert (refused.value.code, refused.value.proxy_error) == ("egress-proxy", "proxy_configuration_error")
    assert origin.heads == []
    await transport.aclose()
    server.close()
