"""A caller's HTTP/1.1 request becomes an HTTP/2 one, through the forwarder behind a real server."""

from __future__ import annotations

import json

import httpx
import pytest

from policies.model import Proxy, Tls
from tests.upstreams.http2.origin import AUTHORITY, Exchange, Http2Origin
from tests.upstreams.rig import front, plan_for, upstream
from tests.upstreams.test_egress_proxy import ScriptedProxy, behind, status
from upstreams.httpx_engine import HttpxTransport

pytestmark = pytest.mark.anyio


async def echoing(exchange: Exchange) -> None:
    await exchange.answer(bytes(exchange.arrival.body), (b"x-answer", b"1"))


async def test_fields_of_the_callers_connection_stay_on_it() -> None:
    origin = Http2Origin(echoing)
    async with origin.serving():
        definition = upstream(origin.port, host="localhost", scheme="https", tls=Tls(ca=AUTHORITY), base_path="/v2")
        async with front(plan_for(definition), engine=HttpxTransport) as (_, port), httpx.AsyncClient() as client:
            fields = {"connection": "keep-alive, x-hop", "x-hop": "1", "te": "trailers", "x-end": "2", "host": "gate"}
            answer = await client.post(f"http://127.0.0.1:{port}/a?b=c", content=b"x" * 100_000, headers=fields)
    assert (answer.status_code, answer.headers["x-answer"], len(answer.content)) == (200, "1", 100_000)
    arrival = origin.cases[0]
    names = [name for name, _ in arrival.headers]
    assert names[:4] == [b":method", b":scheme", b":authority", b":path"]
    assert (arrival.target, arrival.value(b":authority")) == (b"/v2/a?b=c", b"localhost:%d" % origin.port)
    assert arrival.value(b"x-end") == b"2"
    assert not {b"connection", b"x-hop", b"te", b"host", b"transfer-encoding"} & {*names}
    assert names.count(b"via") == names.count(b"content-length") == 1


async def test_a_proxy_that_refuses_is_told_apart_from_the_upstream() -> None:
    async with ScriptedProxy(says=status(407), bad=1).serving() as proxy:
        definition = behind(proxy.port, upstream(443, host="upstream.invalid", scheme="https"))
        assert isinstance(definition.proxy, Proxy)
        async with front(plan_for(definition), engine=HttpxTransport) as (app, port), httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{port}/a")
    said = {"error": "egress-proxy", "proxy_error": "proxy_configuration_error", "phase": "upstream_connect"}
    assert (answer.status_code, json.loads(answer.content)) == (502, said)
    assert app.exchanges[0].failed_phase == "upstream_connect"
    assert app.exchanges[0].origin == "gateway"
