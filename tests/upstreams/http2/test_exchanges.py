"""Requests over HTTP/2: what is sent, how far it is sent, on which connection, and what is left when a caller goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import httpcore2
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame, PingFrame, SettingsFrame

from policies.model import Pool, Tls
from tests.upstreams.conformance.stage import PATIENT, Failed, Reply, outcome, pieces, request
from tests.upstreams.http2.origin import AUTHORITY, Exchange, Http2Origin, context
from tests.upstreams.http2.stage import HASTY, staged
from tests.upstreams.rig import upstream
from tests.upstreams.test_httpx_engine import OK, raw_origin
from upstreams.http2_connection import MOST_STREAMS, STREAM_WINDOW, Http2Connection
from upstreams.httpx_engine import HttpxTransport
from upstreams.transport import UpstreamRequest

pytestmark = pytest.mark.anyio


async def answering(exchange: Exchange) -> None:
    await exchange.answer()


async def holding(exchange: Exchange) -> None:
    pass


def post(*parts: bytes, length: int | None = None) -> UpstreamRequest:
    return request(b"POST", b"/case", body=pieces(*parts), content_length=length)


async def endless() -> AsyncIterator[bytes]:
    yield b"x" * 1_000
    await asyncio.Event().wait()


# What goes out


async def test_pseudo_fields_come_first_and_no_field_of_one_connection_is_sent() -> None:
    origin = Http2Origin(answering)
    async with staged(origin) as stage:
        named = (b"connection", b"transfer-encoding", b"upgrade", b"keep-alive", b"te", b"proxy-authorization")
        await stage.fetch(request(b"GET", b"/a%2Bb?x=%20", (b"X-Upper", b"1"), *[(name, b"x") for name in named]))
    assert origin.cases[0].headers == [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"origin"),
        (b":path", b"/a%2Bb?x=%20"),
        (b"x-marker", b"case"),
        (b"x-upper", b"1"),
    ]


@pytest.mark.parametrize(
    "sent",
    [
        request(b"GET", b"/case", (b"x", b"a\r\nb: c")),
        request(b"GET", b"/case", (b"x", b"a\0")),
        request(b"GET", b"/case", (b"x y", b"a")),
        request(b"GET", b"/case", (b":path", b"/other")),
        request(b"GET", b"/case", (b"host", b"other")),
        request(b"GET", b"/ca se"),
        request(b"GE T", b"/case"),
    ],
)
async def test_what_would_become_another_request_elsewhere_is_never_sent(sent: UpstreamRequest) -> None:
    origin = Http2Origin(answering)
    async with staged(origin) as stage:
        assert (await stage.failure(sent)).error.code == "bad-request"
        assert origin.cases == []


@pytest.mark.parametrize("length", [10, None])
async def test_a_body_is_streamed(length: int | None) -> None:
    origin = Http2Origin(answering)
    async with staged(origin) as stage:
        await stage.fetch(post(b"hello", b"", b"world", length=length))
    arrival = origin.cases[0]
    assert (bytes(arrival.body), arrival.complete) == (b"helloworld", True)
    assert arrival.value(b"content-length") == (b"10" if length else None)
    assert arrival.value(b"transfer-encoding") is None


@pytest.mark.parametrize("length", [4, 6])
async def test_a_body_that_is_not_as_long_as_announced_never_becomes_a_complete_request(length: int) -> None:
    origin = Http2Origin(answering)
    async with staged(origin) as stage:
        assert (await stage.failure(post(b"he", b"llo", length=length))).error.code == "bad-request"
        await stage.probe()
        assert not origin.cases[0].complete
        assert origin.cases[0].reset == ErrorCodes.CANCEL


async def test_a_large_upload_passes_a_window_that_opens_in_steps() -> None:
    origin = Http2Origin(answering, settings={SettingCodes.INITIAL_WINDOW_SIZE: 1_000})
    async with staged(origin) as stage:
        await stage.fetch(post(*[b"x" * 50_000] * 4, length=200_000))
    assert len(origin.cases[0].body) == 200_000


async def test_an_upload_asks_for_no_more_than_the_upstream_takes() -> None:
    asked = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield b"x" * 10_000

    origin = Http2Origin(answering, grants=False, early=False)
    async with staged(origin, timeouts=HASTY) as stage:
        failed = await stage.failure(request(b"POST", b"/case", body=counted()))
        assert (failed.error.code, failed.error.proxy_error) == ("upstream-timeout", "connection_write_timeout")
        await stage.probe()
        assert origin.connections == 1  # a stream that may not send is no dead connection
    assert asked <= 65_535 // 10_000 + 1
    assert origin.cases[0].reset == ErrorCodes.CANCEL


# An answer before the request's end


async def refusing_early(exchange: Exchange) -> None:
    await exchange.answer(b"too large")


async def refusing_early_and_resetting(exchange: Exchange) -> None:
    await exchange.answer(b"too large")
    await exchange.reset(ErrorCodes.NO_ERROR)


@pytest.mark.parametrize("script", [refusing_early, refusing_early_and_resetting])
async def test_an_answer_before_the_body_is_complete_ends_the_upload(script: object) -> None:
    origin = Http2Origin(script, early=True)  # type: ignore[arg-type]
    async with staged(origin) as stage:
        async with asyncio.timeout(10):
            assert (await stage.fetch(request(b"POST", b"/case", body=endless()))).body == b"too large"
        await stage.probe()
        assert origin.connections == 1
        assert not origin.cases[0].complete


async def test_a_reset_during_the_upload_is_heard_at_once() -> None:
    async def resetting(exchange: Exchange) -> None:
        await exchange.reset(ErrorCodes.INTERNAL_ERROR)

    origin = Http2Origin(resetting, early=True)
    async with staged(origin) as stage, asyncio.timeout(10):
        failed = await stage.failure(request(b"POST", b"/case", body=endless()))
        assert (failed.error.code, failed.error.proxy_error) == ("upstream-protocol", "connection_terminated")


# Callers side by side


async def test_two_answers_in_turns_on_one_connection_do_not_mix() -> None:
    both: list[Exchange] = []
    here = asyncio.Event()

    async def in_turns(exchange: Exchange) -> None:
        both.append(exchange)
        if len(both) < 2:
            return
        for one in both:
            await one.head()
        for number in range(50):
            for one in both:
                marker = one.arrival.value(b"x-marker") or b""
                await one.data(b"%b-%d " % (marker, number), end=number == 49)
        here.set()

    origin = Http2Origin(in_turns)
    async with staged(origin) as stage:
        await stage.probe()
        sent = [UpstreamRequest(method=b"GET", target=b"/case", headers=[(b"host", b"o"), (b"x-marker", name)])
                for name in (b"one", b"two")]  # fmt: skip
        replies = await asyncio.gather(*(stage.fetch(one) for one in sent))
        assert origin.connections == 1
    for name, reply in zip((b"one", b"two"), replies, strict=True):
        assert reply.body == b"".join(b"%b-%d " % (name, number) for number in range(50))


async def test_a_caller_that_reads_nothing_holds_up_neither_memory_nor_neighbours() -> None:
    sent = 0

    async def flood(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.head()
        while True:
            await exchange.data(b"x" * 16_384)
            sent += 16_384

    async def quick(exchange: Exchange) -> None:
        await exchange.answer(b"y" * 1_000_000)

    origin = Http2Origin(flood, quick)
    async with staged(origin) as stage:
        await stage.probe()
        slow = await stage.engine.send(request())
        for _ in range(4):
            assert len((await stage.fetch()).body) == 1_000_000
        assert 262_144 - 16_384 <= sent <= 262_144
        assert origin.connections == 1
        await slow.aclose()


async def test_what_an_abandoned_answer_still_brings_uses_up_nobodys_window() -> None:
    exchanges: list[Exchange] = []

    async def large(exchange: Exchange) -> None:
        exchanges.append(exchange)
        await exchange.answer(b"x" * 1_000_000)

    origin = Http2Origin(large)
    async with staged(origin, connections=1) as stage:
        await stage.probe()
        for number in range(110):  # more than the connection's whole window
            answer = await stage.engine.send(request())
            if number % 2:
                async for _ in answer.body():
                    break
            await exchanges[-1].full.wait()
            await answer.aclose()
        assert len((await stage.fetch()).body) == 1_000_000
        assert origin.connections == 1
        assert {arrival.reset for arrival in origin.cases[:-1]} == {ErrorCodes.CANCEL}


async def test_content_that_is_refused_uses_up_nobodys_window() -> None:
    left: list[int] = []

    async def too_much(exchange: Exchange) -> None:
        left.append(exchange.line.h2.outbound_flow_control_window)
        await exchange.head((b"content-length", b"1"))
        await exchange.data(b"x" * 16_384)

    origin = Http2Origin(too_much)
    async with staged(origin, connections=1) as stage:
        for _ in range(900):  # more than half of the connection's window: then h2 gives it back
            assert (await stage.failure()).error.proxy_error == "http_protocol_error"
        assert origin.connections == 1
    assert left[-1] > STREAM_WINDOW * MOST_STREAMS // 2


async def test_callers_that_leave_at_any_moment_disturb_nobody() -> None:
    """The library's own HTTP/2 connection loses half a TLS record to a cancelled caller, and all others with it."""

    async def uneven(exchange: Exchange) -> None:
        await exchange.head()
        for _ in range(5):
            await exchange.data(b"x" * 5_000)
            await asyncio.sleep(0)
        await exchange.data(b"", end=True)

    origin = Http2Origin(uneven)
    async with staged(origin, connections=50) as stage:
        await stage.probe()

        async def leaving(after: int) -> None:
            sent = request(b"POST", b"/case", body=pieces(*[b"y" * 3_000] * 10)) if after % 2 else request()
            call = asyncio.create_task(outcome(stage.engine, sent))
            for _ in range(after):
                await asyncio.sleep(0)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call

        async def staying() -> None:
            for _ in range(5):
                assert len((await stage.fetch()).body) == 25_000
                await stage.probe()

        async with asyncio.timeout(10):
            await asyncio.gather(*(leaving(after) for after in range(0, 60, 2)), *(staying() for _ in range(5)))
            await asyncio.gather(*(leaving(after) for after in range(1, 60, 2)), *(staying() for _ in range(5)))
        assert origin.connections == 1


# How many, and where


async def test_an_upstream_that_takes_one_stream_gets_one_connection_for_each_call() -> None:
    origin = Http2Origin(holding, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    async with staged(origin, connections=3, timeouts=HASTY) as stage:
        await stage.probe()
        results = await asyncio.gather(*(outcome(stage.engine, request()) for _ in range(4)))
        codes = sorted(result.error.code for result in results if isinstance(result, Failed))
        assert codes == ["upstream-pool", "upstream-timeout", "upstream-timeout", "upstream-timeout"]
        assert len({arrival.connection for arrival in origin.cases}) == 3


async def test_calls_share_a_connection_and_are_as_many_as_the_pool_allows() -> None:
    origin = Http2Origin(holding)
    async with staged(origin, connections=3, timeouts=HASTY) as stage:
        results = await asyncio.gather(*(outcome(stage.engine, request()) for _ in range(4)))
        codes = sorted(result.error.code for result in results if isinstance(result, Failed))
        assert codes == ["upstream-pool", "upstream-timeout", "upstream-timeout", "upstream-timeout"]
        assert origin.connections == 1


async def test_an_upstream_that_takes_no_stream_at_all_is_unavailable() -> None:
    origin = Http2Origin(answering, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 0})
    async with staged(origin, probed=False) as stage, asyncio.timeout(10):
        error = (await stage.failure()).error
        assert (error.code, error.phase, error.sent) == ("upstream-connect", "upstream_connect", False)


async def test_a_limit_that_falls_is_kept_for_the_next_call() -> None:
    async def lowering(exchange: Exchange) -> None:
        exchange.line.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        await exchange.answer()

    origin = Http2Origin(lowering)
    async with staged(origin) as stage:
        await stage.fetch()
        async with stage.neighbour():
            assert (await stage.probe()).connection == 2


async def test_a_connection_ends_at_its_age_once_it_carries_nothing() -> None:
    origin = Http2Origin(answering)
    async with staged(origin, max_age_us=1) as stage:
        async with stage.neighbour() as neighbour:
            assert (await stage.probe()).connection == 2
            origin.go.set()
            assert (await neighbour).connection == 1
        await stage.probe()
        await origin.until(lambda: origin.open == 1)


async def leaving_at_once(exchange: Exchange) -> None:
    raise AssertionError


async def test_a_connection_that_is_given_up_before_its_first_call_is_not_replaced_without_end() -> None:
    settings = SettingsFrame(0).serialize() + GoAwayFrame(0, last_stream_id=0).serialize()
    origin = Http2Origin(leaving_at_once, greeting=settings)
    async with staged(origin, probed=False) as stage, asyncio.timeout(10):
        error = (await stage.failure()).error
        assert (error.code, error.phase, error.sent) == ("upstream-connect", "upstream_connect", False)
        assert origin.connections == 1


# Resending


async def refusing_the_first(exchange: Exchange) -> None:
    await exchange.reset(ErrorCodes.REFUSED_STREAM)


@pytest.mark.parametrize(
    ("method", "more", "seen"),
    [(b"GET", {}, 2), (b"DELETE", {}, 2), (b"POST", {"content_length": 0}, 1)],
)
async def test_a_refused_stream_is_sent_again_once_if_that_is_safe(
    method: bytes, more: dict[str, int], seen: int
) -> None:
    origin = Http2Origin(refusing_the_first, answering)
    async with staged(origin) as stage:
        result = await outcome(stage.engine, request(method, b"/case", **more))
        assert isinstance(result, Reply) is (seen == 2)
        assert len(origin.cases) == seen


async def test_a_keyed_request_is_never_sent_again() -> None:
    origin = Http2Origin(refusing_the_first, answering)
    async with staged(origin) as stage:
        await stage.failure(request(b"PUT", b"/case", (b"idempotency-key", b"k"), content_length=0))
        assert len(origin.cases) == 1


async def test_what_a_leaving_upstream_has_not_begun_is_sent_elsewhere() -> None:
    async def leaving(exchange: Exchange) -> None:
        await exchange.goaway(last=exchange.stream - 2)

    origin = Http2Origin(leaving, answering)
    async with staged(origin) as stage, stage.neighbour() as neighbour:
        assert (await stage.fetch()).body == b"ok"
        assert [arrival.connection for arrival in origin.cases] == [1, 2]
        origin.go.set()
        assert (await neighbour).connection == 1  # what it had begun it may finish


async def test_a_write_that_a_leaving_upstream_has_not_begun_fails_with_its_body_unrepeated() -> None:
    """The library would send it again with whatever is left of its body."""

    async def leaving(exchange: Exchange) -> None:
        await exchange.goaway(last=0)

    origin = Http2Origin(leaving, answering, early=True)
    async with staged(origin) as stage:
        failed = await stage.failure(request(b"POST", b"/case", body=endless()))
        assert (failed.error.code, failed.error.proxy_error) == ("upstream-protocol", "connection_terminated")
        assert len(origin.cases) == 1


async def test_a_connection_that_ended_while_idle_is_not_used() -> None:
    origin = Http2Origin(answering)
    async with staged(origin) as stage:
        await stage.fetch()
        origin.end_all()
        await origin.until(lambda: origin.open == 0)
        assert (await stage.fetch(request(b"POST", b"/case", content_length=0))).status == 200
        assert origin.connections == 2


# The beginning of a connection


@pytest.mark.parametrize(
    ("greeting", "code", "word"),
    [
        (b"", "upstream-timeout", "connection_timeout"),
        (SettingsFrame(0, flags=("ACK",)).serialize(), "upstream-protocol", "http_protocol_error"),
        (PingFrame(0, b"12345678").serialize(), "upstream-protocol", "http_protocol_error"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "upstream-protocol", "http_protocol_error"),
    ],
    ids=["nothing", "an-ack", "a-ping", "http-1.1"],
)
async def test_a_connection_that_does_not_begin_with_settings_carries_nothing(
    greeting: bytes, code: str, word: str
) -> None:
    origin = Http2Origin(answering, greeting=greeting)
    async with staged(origin, timeouts=replace(PATIENT, connect_us=1_000_000), probed=False) as stage:
        for _ in range(2 if code == "upstream-protocol" else 1):
            error = (await stage.failure(post(b"secret"))).error
            found = (error.code, error.proxy_error, error.phase, error.sent)
            assert found == (code, word, "upstream_connect", False), error
        assert origin.arrivals == []


async def test_an_upstream_that_only_speaks_http_1_is_spoken_to_in_http_1() -> None:
    async with raw_origin(OK, context=context("http/1.1")) as port:
        definition = upstream(port, host="localhost", scheme="https", tls=Tls(ca=AUTHORITY), pool=Pool(connections=5))
        engine = HttpxTransport(definition)
        try:
            replies = await asyncio.gather(*(outcome(engine, request()) for _ in range(5)))
            assert [reply.body for reply in replies] == [b"ok"] * 5
        finally:
            await engine.aclose()


async def test_a_caller_that_leaves_while_a_connection_is_made_does_not_take_the_others_with_it() -> None:
    origin = Http2Origin(answering)
    async with staged(origin) as stage:
        first = asyncio.create_task(outcome(stage.engine, request()))
        await asyncio.sleep(0)
        others = [asyncio.create_task(stage.fetch()) for _ in range(3)]
        await asyncio.sleep(0)
        first.cancel()
        assert [reply.body for reply in await asyncio.gather(*others)] == [b"ok"] * 3


# Deadlines


async def test_the_total_deadline_ends_content_that_never_idles() -> None:
    async def dripping(exchange: Exchange) -> None:
        await exchange.head()
        while True:
            await exchange.data(b"x")
            await asyncio.sleep(0.02)

    origin = Http2Origin(dripping)
    async with staged(origin, timeouts=replace(PATIENT, total_us=200_000)) as stage:
        error = (await stage.failure()).error
        assert (error.code, error.phase) == ("upstream-timeout", "upstream_body")
        await stage.probe()
        assert origin.connections == 1
        assert origin.cases[0].reset == ErrorCodes.CANCEL


@pytest.mark.parametrize("turns", range(0, 60, 6))
async def test_a_transport_that_is_closed_while_it_connects_leaves_no_connection(turns: int) -> None:
    origin = Http2Origin(answering)
    async with staged(origin, probed=False) as stage:
        call = asyncio.create_task(outcome(stage.engine, request()))
        for _ in range(turns):
            await asyncio.sleep(0)
        await stage.engine.aclose()
        await call
        await origin.until(lambda: origin.open == 0)


class Deaf(httpcore2.AsyncNetworkStream):
    """The other end sends its SETTINGS and then pings, and reads nothing."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self._next = SettingsFrame(0).serialize()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        await asyncio.sleep(0)
        data, self._next = self._next, PingFrame(0, b"12345678").serialize() * 3_000
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self.closed.wait()
        except TimeoutError:
            raise httpcore2.WriteTimeout from None

    async def aclose(self) -> None:
        self.closed.set()


async def test_a_connection_as_silent_as_a_dead_one_gets_no_further_call() -> None:
    origin = Http2Origin(holding)
    async with staged(origin, timeouts=replace(PATIENT, first_byte_us=1_100_000)) as stage:
        await stage.probe()
        error = (await stage.failure()).error
        assert (error.code, error.proxy_error) == ("upstream-timeout", "http_response_timeout")
        assert (await stage.probe()).connection == 2


async def test_a_transport_that_is_closed_sends_nothing_again() -> None:
    origin = Http2Origin(holding)
    async with staged(origin, probed=False) as stage:
        await stage.probe()
        call = asyncio.create_task(outcome(stage.engine, request()))
        await origin.arrived.wait()
        await stage.engine.aclose()
        assert isinstance(await call, Failed)
        assert (len(origin.cases), origin.connections) == (1, 1)


async def test_an_upstream_that_asks_for_answers_and_reads_none_is_cut_off() -> None:
    wire = Deaf()
    connection = Http2Connection(wire, write_s=30, keep_s=30, max_age_s=30)
    async with asyncio.timeout(10):
        await connection.begin()
        await wire.closed.wait()
    assert connection.is_closed()
