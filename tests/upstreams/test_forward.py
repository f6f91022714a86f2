"""The forwarder end to end: a client's raw socket, a real server, the engine, a scripted origin."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from gateway.mock_dialects import dialects
from gateway.mock_upstream import MockUpstream, octets, script_of, seconds
from policies.errors import GatewayError
from policies.exchange import Exchange
from policies.model import Owner, Pool, Route, Timeouts, Tls
from policies.plan import compile_onward
from tests.upstreams.rig import MS, SystemClock, front, fronted, plan_for, upstream
from tests.waiting import eventually
from tests.wire.harness import SERVERS, ServerName, free_port, raw_exchange, status_of
from upstreams.forward import Forwarder
from upstreams.outbound import upstream_target
from upstreams.pool import Transports
from upstreams.transport import TransportError, UpstreamRequest, UpstreamResponse

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("server", SERVERS)


def get(target: str, *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join(
        [f"{method} {target} HTTP/1.1", "Host: api.example", *lines, "Connection: close", "", ""]
    ).encode()


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def told(answer: bytes) -> dict[str, Any]:
    """What the mock says that it received."""
    loaded: dict[str, Any] = json.loads(body_of(answer))
    return loaded


until = partial(eventually, within_s=4.0)


# Passing on


@both
async def test_a_call_passes_both_ways(server: ServerName) -> None:
    async with fronted(server) as (_, app, port):
        answer = await raw_exchange(port, get("/crm/a%20b?x=%2F&y", "X-Mine: 1", "X-Mine: 2"))
    assert status_of(answer) == 200
    arrived = told(answer)
    assert (arrived["method"], arrived["path"], arrived["query"]) == ("GET", "/crm/a%20b", "x=%2F&y")
    assert [value for name, value in arrived["headers"] if name == "x-mine"] == ["1", "2"]
    exchange = app.exchanges[0]
    assert (exchange.origin, exchange.upstream_status, exchange.upstream_name) == ("upstream", 200, "origin")
    assert exchange.started_us <= (exchange.upstream_started_us or 0) <= (exchange.upstream_head_us or 0)
    assert (exchange.upstream_head_us or 0) <= (exchange.upstream_finished_us or 0)


@pytest.mark.parametrize(
    ("base", "strip", "target", "query", "sent"),
    [
        ("", None, b"/a/", b"", b"/a/"),
        ("/v2", None, b"/a", b"x=1", b"/v2/a?x=1"),
        ("", "/crm", b"/crm/a", b"", b"/a"),
        ("", "/crm", b"/crm", b"", b"/"),
        ("/v2", "/crm", b"/crm/", b"", b"/v2/"),
        ("", "/crm", b"/crmx/a", b"", b"/crmx/a"),  # whole segments only
        ("", "/crm/", b"/crm/a", b"", b"/a"),
        ("", "/a b", b"/a%20b/c", b"", b"/c"),
        ("", "/a", b"/a/a/b", b"", b"/a/b"),
    ],
)
def test_the_target_is_base_path_and_path_without_strip(
    base: str, strip: str | None, target: bytes, query: bytes, sent: bytes
) -> None:
    route = Route(name="r", path="/", methods=None, upstream="u", group="g", strip=strip)
    assert upstream_target(compile_onward(upstream(1, base_path=base), route, ()), target, query) == sent


@both
async def test_via_is_added_both_ways_and_a_third_party_learns_no_address(server: ServerName) -> None:
    async with fronted(server, owner=Owner.THIRD_PARTY) as (origin, _, port):
        answer = await raw_exchange(port, get("/a"))
    assert b"via: 1.1 tiergate-test" in answer
    assert origin.requests[0].values("via") == ["1.1 tiergate-test"]
    assert origin.requests[0].values("forwarded") == ["proto=http"]


async def test_a_trusted_proxys_chain_is_extended() -> None:
    async with MockUpstream() as origin, front(plan_for(upstream(origin.port)), trusted=True) as (_, port):
        await raw_exchange(port, get("/a", "Forwarded: for=198.51.100.1"))
    assert origin.requests[0].values("forwarded")[0].startswith("for=198.51.100.1, for=127.0.0.1;")


async def test_two_gateways_in_series_work_and_a_loop_is_found() -> None:
    async with (
        MockUpstream() as origin,
        front(plan_for(upstream(origin.port)), instance="b") as (_, inner),
        front(plan_for(upstream(inner)), instance="a") as (_, outer),
    ):
        assert status_of(await raw_exchange(outer, get("/a"))) == 200
    assert origin.requests[0].values("via") == ["1.1 tiergate-a, 1.1 tiergate-b"]
    async with front(plan_for(upstream(1)), instance="a") as (looped, port):
        looped.plan = plan_for(upstream(port))
        assert status_of(await raw_exchange(port, get("/a"))) == 502
        assert looped.errors[0].code == "upstream-loop"
        assert len(looped.exchanges) == 2


# Bodies


@both
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_request_body_is_streamed_and_counted(server: ServerName, framing: str) -> None:
    content = bytes(range(256)) * 4096
    sent = b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    if framing == "length":
        sent += b"Content-Length: %d\r\n\r\n%b" % (len(content), content)
    else:
        sent += b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
    async with fronted(server) as (origin, app, port):
        assert told(await raw_exchange(port, sent))["body_length"] == len(content)
    assert origin.requests[0].body == content
    assert app.exchanges[0].bytes_in == len(content)
    assert origin.requests[0].values("content-length") == ([str(len(content))] if framing == "length" else [])


@both
async def test_a_large_answer_arrives_whole(server: ServerName) -> None:
    async with fronted(server) as (_, _, port):
        answer = await raw_exchange(port, get("/large=10MB"))
    assert len(body_of(answer)) == 10_000_000
    assert b"content-length: 10000000" in answer


@both
@pytest.mark.parametrize("target", ["/sse/stream=1x3s", "/stream=1x3s"])
async def test_the_head_of_a_stream_does_not_wait_for_its_first_event(server: ServerName, target: str) -> None:
    async with fronted(server) as (_, _, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get(target))
        async with asyncio.timeout(1.5):
            head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-type: text/" in head
        writer.close()


@both
@pytest.mark.parametrize("target", ["/ok", "/chunked", "/close", "/large=1MB"])
async def test_head_gets_the_fields_of_get_and_no_body(server: ServerName, target: str) -> None:
    async with fronted(server) as (_, _, port):
        answer = await raw_exchange(port, get(target, method="HEAD"))
    assert status_of(answer) == 200
    assert body_of(answer) == b""


@both
@pytest.mark.parametrize("status", [204, 304])
async def test_a_bodiless_status_has_neither_body_nor_length(server: ServerName, status: int) -> None:
    async with fronted(server) as (_, _, port):
        answer = await raw_exchange(port, get(f"/status={status}"))
    assert status_of(answer) == status
    assert body_of(answer) == b""
    assert b"content-length" not in answer.lower()


@both
async def test_an_early_answer_ends_the_upload(server: ServerName) -> None:
    async with fronted(server) as (origin, app, port):
        head = b"POST /early/status=413 HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + b"x" * 1000)
        async with asyncio.timeout(2):
            assert b" 413 " in await reader.readline()
        writer.close()
        await until(lambda: app.exchanges[0].upstream_finished_us is not None)
    assert not origin.requests[0].complete


# What goes wrong


@both
@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/reset=head", 502, "upstream-protocol"),
        ("/garbage", 502, "upstream-protocol"),
        ("/two-lengths", 502, "upstream-protocol"),
        ("/hold", 504, "upstream-timeout"),
    ],
)
async def test_a_failure_before_the_head_is_our_error(server: ServerName, target: str, status: int, code: str) -> None:
    async with fronted(server, timeouts=Timeouts(first_byte_us=200 * MS)) as (_, app, port):
        answer = await raw_exchange(port, get(target))
    assert status_of(answer) == status
    assert app.errors[0].code == code
    exchange = app.exchanges[0]
    assert (exchange.origin, exchange.failed_phase, exchange.truncated_by) == ("gateway", "upstream_wait", None)
    assert exchange.upstream_finished_us is not None


@both
@pytest.mark.parametrize("target", ["/short", "/reset=body:20B", "/reset=body:300KB"])
async def test_a_truncated_answer_never_looks_complete(server: ServerName, target: str) -> None:
    async with fronted(server) as (_, app, port):
        answer = await raw_exchange(port, get(target))
    length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    assert status_of(answer) == 200
    assert len(body_of(answer)) < length
    assert app.exchanges[0].truncated_by == "upstream"
    assert app.errors[0].phase == "upstream_body"


@both
async def test_a_truncated_chunked_answer_has_no_last_chunk(server: ServerName) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await writer.drain()
        writer.close()

    origin = await asyncio.start_server(half, "127.0.0.1", 0)
    async with origin, front(plan_for(upstream(origin.sockets[0].getsockname()[1])), server) as (app, port):
        answer = await raw_exchange(port, get("/a"))
    assert b"hello" in answer
    assert b"0\r\n\r\n" not in answer
    assert app.exchanges[0].truncated_by == "upstream"


@both
async def test_an_unreachable_upstream_is_502(server: ServerName) -> None:
    async with front(plan_for(upstream(free_port())), server) as (app, port):
        assert status_of(await raw_exchange(port, get("/a"))) == 502
    error = app.errors[0]
    assert (error.code, error.proxy_error, error.phase) == (
        "upstream-connect",
        "connection_refused",
        "upstream_connect",
    )


async def test_a_full_pool_is_503_and_says_when_to_come_back() -> None:
    async with fronted(pool=Pool(connections=1, wait_us=50 * MS)) as (_, app, port):
        held = asyncio.create_task(raw_exchange(port, get("/slow=400ms")))
        await until(lambda: app.exchanges)
        assert status_of(await raw_exchange(port, get("/a"))) == 503
        assert (app.errors[0].code, app.errors[0].retry_after_s) == ("upstream-pool", 1)
        assert status_of(await held) == 200


@both
async def test_an_upstreams_429_is_passed_at_once_and_never_retried(server: ServerName) -> None:
    async with fronted(server) as (origin, app, port):
        answer = await raw_exchange(port, get("/throttle=shopify"))
    assert status_of(answer) == 429
    assert (app.errors[0].code, app.errors[0].retry_after_s) == ("upstream-throttled", 2)  # it said 2.0
    assert len(origin.requests) == 1
    exchange = app.exchanges[0]
    assert (exchange.source, exchange.origin, exchange.retry_after_s) == ("upstream", "upstream", 2)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
async def test_a_method_that_would_show_our_credential_is_refused(method: str) -> None:
    exchange = Exchange(started_us=0, started_wall_us=0, request_id="r")
    exchange.method, exchange.target, exchange.plan = method, b"/", plan_for(upstream(1))
    forwarder = Forwarder(Transports(lambda _: pytest.fail("sent")), clock=SystemClock(), instance="x")
    scope = {"type": "http", "headers": [], "http_version": "1.1", "tiergate": exchange}
    with pytest.raises(GatewayError) as refused:
        await forwarder(scope, None, None)  # type: ignore[arg-type]
    assert refused.value.code == "method-not-allowed"


async def test_options_that_may_not_go_further_is_answered_here_p11() -> None:
    async with fronted() as (origin, _, port):
        assert status_of(await raw_exchange(port, get("/a", "Max-Forwards: 0", method="OPTIONS"))) == 204
        assert status_of(await raw_exchange(port, get("/a", "Max-Forwards: 2", method="OPTIONS"))) == 200
    assert [request.values("max-forwards") for request in origin.requests] == [["1"]]


async def test_a_body_framed_for_two_readings_is_refused() -> None:
    async with fronted("granian") as (origin, app, port):
        sent = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n0\r\n\r\n"
        assert status_of(await raw_exchange(port, sent)) == 400
    assert not origin.requests
    assert app.errors[0].code == "bad-request"


@both
async def test_an_upstream_length_of_thousands_of_digits_is_502(server: ServerName) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: " + b"1" * 5_000 + b"\r\n\r\nx")
        await writer.drain()
        writer.close()

    origin = await asyncio.start_server(endless, "127.0.0.1", 0)
    async with origin, front(plan_for(upstream(origin.sockets[0].getsockname()[1])), server) as (app, port):
        assert status_of(await raw_exchange(port, get("/a"))) == 502
    assert app.errors[0].code == "upstream-protocol"


@pytest.mark.parametrize("tls", [Tls(ca="no certificate"), Tls(cert="no certificate"), Tls(ca="\u00e9")])
async def test_tls_material_that_cannot_be_used_is_502(tls: Tls) -> None:
    async with front(plan_for(upstream(free_port(), scheme="https", tls=tls))) as (app, port):
        for _ in range(2):
            assert status_of(await raw_exchange(port, get("/a"))) == 502
    error = app.errors[0]
    assert (error.code, error.proxy_error) == ("upstream-tls", "proxy_configuration_error")


# A caller that sends nothing

IMPATIENT = Timeouts(idle_us=300 * MS)
HALF = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhal"


@both
async def test_a_body_that_stops_coming_is_408_and_frees_the_pool(server: ServerName) -> None:
    async with fronted(server, pool=Pool(connections=1), timeouts=IMPATIENT) as (origin, app, port):
        answer = await raw_exchange(port, HALF)
        assert status_of(answer) == 408
        assert b"connection: close" in answer.lower()
        assert (app.errors[0].code, app.errors[0].phase) == ("request-timeout", "queue")
        assert not app.exchanges[0].client_gone
        assert status_of(await raw_exchange(port, get("/probe"))) == 200
    assert [request.complete for request in origin.requests] == [False, True]


@both
async def test_a_body_that_drips_until_the_time_is_up_is_the_callers_408(server: ServerName) -> None:
    timeouts = Timeouts(idle_us=5_000 * MS, total_us=900 * MS)
    async with fronted(server, timeouts=timeouts) as (_, app, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HALF)
        reading = asyncio.create_task(reader.readline())
        async with asyncio.timeout(4):
            while not reading.done():
                writer.write(b"x")
                await asyncio.wait((reading,), timeout=0.1)
        assert b" 408 " in reading.result()
        writer.close()
    assert app.errors[0].code == "request-timeout"


@both
async def test_a_pause_within_the_time_is_no_failure(server: ServerName) -> None:
    async with fronted(server, timeouts=Timeouts(idle_us=3_000 * MS)) as (_, app, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HALF)
        await until(lambda: app.exchanges and app.exchanges[0].bytes_in == 3)
        await asyncio.wait((asyncio.ensure_future(reader.read(1)),), timeout=1.7)
        writer.write(b"x" * 97)
        await until(lambda: app.exchanges[0].upstream_status == 200)
        writer.close()


@both
async def test_an_upstream_that_is_slow_after_the_whole_body_is_504(server: ServerName) -> None:
    timeouts = Timeouts(first_byte_us=1_300 * MS, idle_us=300 * MS)
    async with fronted(server, timeouts=timeouts) as (_, app, port):
        whole = HALF.replace(b"/a ", b"/hold ") + b"x" * 97
        assert status_of(await raw_exchange(port, whole, timeout_s=3)) == 504
    assert app.errors[0].code == "upstream-timeout"


# A caller that leaves


@both
@pytest.mark.parametrize("target", ["/hold", "/stream=100x100ms"])
async def test_a_caller_that_leaves_a_slow_call_ends_it(server: ServerName, target: str) -> None:
    async with fronted(server, pool=Pool(connections=1)) as (_, app, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get(target))
        await until(lambda: app.exchanges)
        writer.close()
        await until(lambda: app.exchanges[0].upstream_finished_us is not None)
        assert app.exchanges[0].client_gone
        assert app.exchanges[0].truncated_by is None
        assert not app.errors
        assert status_of(await raw_exchange(port, get("/a"))) == 200


@both
async def test_a_caller_that_leaves_while_uploading_ends_the_call(server: ServerName) -> None:
    async with fronted(server, pool=Pool(connections=1)) as (origin, app, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
        await until(lambda: origin.requests and origin.requests[0].body)
        writer.close()
        await until(lambda: app.exchanges[0].upstream_finished_us is not None)
        assert app.exchanges[0].client_gone
        assert not origin.requests[0].complete
        assert status_of(await raw_exchange(port, get("/a"))) == 200


@both
async def test_a_slow_call_that_is_waited_for_is_not_cancelled(server: ServerName) -> None:
    async with fronted(server) as (_, app, port):
        assert status_of(await raw_exchange(port, get("/slow=1700ms"))) == 200
        assert not app.exchanges[0].client_gone


@both
async def test_a_caller_that_stops_reading_gives_its_slot_back(server: ServerName) -> None:
    timeouts = replace(Timeouts(), idle_us=500 * MS)
    async with fronted(server, pool=Pool(connections=1), timeouts=timeouts) as (_, app, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)  # and never read
        writer.write(get("/large=100MB"))
        await until(lambda: app.exchanges and app.exchanges[0].upstream_finished_us is not None, within_s=6)
        writer.transport.abort()
        assert status_of(await raw_exchange(port, get("/a"))) == 200


@both
async def test_calls_of_different_callers_never_mix(server: ServerName) -> None:
    """A storm of calls that are left, cut and completed, and then one probe a caller on the same pool."""
    targets = ["/ok", "/short", "/reset=head", "/large=1MB", "/stream=3x10ms", "/hold", "/early"]
    timeouts = Timeouts(first_byte_us=300 * MS, idle_us=300 * MS)
    async with fronted(server, pool=Pool(connections=5, wait_us=3_000 * MS), timeouts=timeouts) as (_, _, port):

        async def caller(number: int) -> None:
            await raw_exchange(port, get(targets[number % len(targets)]), timeout_s=0.02 * (number % 5) + 0.01)

        await asyncio.gather(*(caller(number) for number in range(60)))
        answers = await asyncio.gather(*(raw_exchange(port, get(f"/probe-{n}", f"X-Marker: {n}")) for n in range(10)))
    assert [told(answer)["path"] for answer in answers] == [f"/probe-{n}" for n in range(10)]
    assert all(["x-marker", str(n)] in told(answer)["headers"] for n, answer in enumerate(answers))


# Which transport


class Spy:
    """A transport that only knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        raise TransportError("upstream-connect", proxy_error="x", phase="upstream_connect", sent=False)

    async def aclose(self) -> None:
        self.closed = True


async def test_a_changed_definition_gets_a_new_transport_and_the_old_one_ends_with_its_last_call() -> None:
    made: list[Spy] = []

    def make(_: object) -> Spy:
        made.append(Spy())
        return made[-1]

    transports = Transports(make)
    old, new = upstream(1), upstream(2)
    with transports.borrow(old) as first:
        with transports.borrow(upstream(1)) as same:
            assert same is first  # an equal definition, from another load of the same file
        with transports.borrow(new) as second:
            assert second is not first
        with transports.borrow(old) as again:
            assert again is first  # a call that began before the reload
        await asyncio.sleep(0)
        assert [spy.closed for spy in made] == [False, False]
    await asyncio.sleep(0)
    assert [spy.closed for spy in made] == [True, False]
    transports.retain([])
    await asyncio.sleep(0)
    assert [spy.closed for spy in made] == [True, True]
    transports.borrow(new)
    assert len(made) == 3  # a closed one is never handed out again
    await transports.aclose()
    assert all(spy.closed for spy in made)


# The mock itself


def test_scripts_are_read_from_path_and_field() -> None:
    assert script_of("/crm/slow=2s/x?status=500", {"x-mock": "status=404, chunked"}) == {
        "slow": "2s", "status": "404", "chunked": "",
    }  # fmt: skip
    assert (seconds("20ms"), seconds("2s"), octets("10MB"), octets("64KiB"), octets("7")) == (0.02, 2, 10**7, 65536, 7)


async def test_every_dialect_can_be_asked_for() -> None:
    async with fronted() as (_, _, port):
        for name, sample in dialects().items():
            answer = await raw_exchange(port, get(f"/throttle={name}"))
            assert status_of(answer) == sample["status"], name
