"""The httpx2 engine against real sockets: deadlines, framing, failures by name, cancellation, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ipaddress
import json
import os
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from gateway.mock_upstream import MockUpstream
from policies.model import Pool, Timeouts, Tls, Upstream
from tests.upstreams.authority import AUTHORITY, CA, certificate, pem, tls_server
from tests.upstreams.rig import MS, upstream
from tests.wire.harness import free_port
from upstreams.egress import own, prohibited
from upstreams.httpx_engine import HttpxTransport
from upstreams.transport import TransportError, UpstreamRequest

pytestmark = pytest.mark.anyio

QUICK = Timeouts(connect_us=300 * MS, write_us=300 * MS, first_byte_us=300 * MS, idle_us=300 * MS, total_us=5_000 * MS)


def request(target: str = "/ok", method: bytes = b"GET", **more: Any) -> UpstreamRequest:
    return UpstreamRequest(method=method, target=target.encode(), headers=[(b"host", b"origin")], **more)


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@contextlib.asynccontextmanager
async def transport(definition: Upstream, **more: frozenset[tuple[str, int]]) -> AsyncIterator[HttpxTransport]:
    engine = HttpxTransport(definition, **more)
    try:
        yield engine
    finally:
        await engine.aclose()


async def fetch(engine: HttpxTransport, sent: UpstreamRequest) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    answer = await engine.send(sent)
    body = b"".join([chunk async for chunk in answer.body()])
    return answer.status, answer.headers, body


async def failure(engine: HttpxTransport, sent: UpstreamRequest) -> TransportError:
    with pytest.raises(TransportError) as failed:
        await fetch(engine, sent)
    return failed.value


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw_origin(handler: Handler, *, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server whose every connection is ``handler``."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await handler(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(data: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()

    return handler


# What goes out and comes back


async def test_nothing_is_added_to_the_request() -> None:
    async with MockUpstream() as origin, transport(upstream(origin.port)) as engine:
        sent = request("/a%2Bb?x=%20")
        sent.headers += [(b"accept-language", b"de"), (b"a", b"1"), (b"a", b"2")]
        await fetch(engine, sent)
    assert origin.requests[0].target == "/a%2Bb?x=%20"
    assert origin.requests[0].headers == [("host", "origin"), ("accept-language", "de"), ("a", "1"), ("a", "2")]


async def test_header_names_come_back_in_lower_case_and_in_order() -> None:
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nX-Z: 1\r\nset-cookie: b\r\ncontent-length: 0\r\n\r\n"
    async with raw_origin(answering(answer)) as port, transport(upstream(port)) as engine:
        _, headers, _ = await fetch(engine, request())
        assert headers[:3] == [(b"set-cookie", b"a"), (b"x-z", b"1"), (b"set-cookie", b"b")]
        again = [request()]
        await fetch(engine, again[0])
        assert again[0].headers == [(b"host", b"origin")]  # no cookie is kept


async def test_an_encoded_body_stays_encoded() -> None:
    async with MockUpstream() as origin, transport(upstream(origin.port)) as engine:
        _, headers, body = await fetch(engine, request("/gzip"))
    assert (b"content-encoding", b"gzip") in headers
    assert json.loads(gzip.decompress(body))["path"] == "/gzip"


async def test_a_redirect_is_an_answer() -> None:
    async with MockUpstream() as origin, transport(upstream(origin.port)) as engine:
        status, _, _ = await fetch(engine, request("/status=302"))
    assert status == 302
    assert len(origin.requests) == 1


@pytest.mark.parametrize(
    ("length", "framing"),
    [(10, [("content-length", "10")]), (None, [("transfer-encoding", "chunked")])],
)
async def test_a_body_is_streamed_with_its_framing(length: int | None, framing: list[tuple[str, str]]) -> None:
    async with MockUpstream() as origin, transport(upstream(origin.port)) as engine:
        await fetch(engine, request(method=b"POST", body=pieces(b"hello", b"", b"world"), content_length=length))
    assert origin.requests[0].headers[1:] == framing
    assert origin.requests[0].body == b"helloworld"


async def test_an_empty_post_keeps_its_length() -> None:
    async with MockUpstream() as origin, transport(upstream(origin.port)) as engine:
        await fetch(engine, request(method=b"POST", content_length=0))
    assert origin.requests[0].values("content-length") == ["0"]


@pytest.mark.parametrize("target", ["/chunked", "/close", "/drip", "/stream=3x1ms", "/large=1MB", "/early"])
async def test_every_framing_is_read_to_its_end(target: str) -> None:
    async with MockUpstream() as origin, transport(upstream(origin.port)) as engine:
        for _ in range(2):
            status, _, body = await fetch(engine, request(target))
            assert status == 200
            assert len(body) == 1_000_000 or body == b"hello" or body.endswith((b"}", b"2\n\n"))


@pytest.mark.parametrize(("method", "target"), [(b"HEAD", "/ok"), (b"GET", "/status=204"), (b"GET", "/status=304")])
async def test_an_answer_without_a_body_leaves_the_connection_usable(method: bytes, target: str) -> None:
    async with MockUpstream() as origin, transport(upstream(origin.port)) as engine:
        for _ in range(3):
            _, _, body = await fetch(engine, request(target, method))
            assert body == b""
        assert origin.connections == 1


async def test_interim_answers_are_skipped() -> None:
    data = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    async with raw_origin(answering(data)) as port, transport(upstream(port)) as engine:
        assert (await fetch(engine, request()))[2] == b"ok"


# Early answers


@pytest.mark.parametrize("length", [None, 10_000_000])
async def test_an_answer_before_the_body_is_complete_is_honoured(length: int | None) -> None:
    stopped = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b"x" * 1000
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with MockUpstream() as origin, transport(upstream(origin.port)) as engine:
        sent = request("/early/status=413", b"POST", body=endless(), content_length=length)
        async with asyncio.timeout(2):
            status, _, _ = await fetch(engine, sent)
            await stopped.wait()
        assert status == 413
        assert not origin.requests[0].complete
        assert (await fetch(engine, request()))[0] == 200


async def test_an_answer_is_honoured_while_the_upstream_reads_nothing() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        await asyncio.Event().wait()

    async def flood() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536

    async with raw_origin(handler) as port, transport(upstream(port)) as engine:
        async with asyncio.timeout(2):
            assert (await fetch(engine, request(method=b"POST", body=flood())))[0] == 413


# Failures by name


@pytest.mark.parametrize(
    ("target", "code", "word", "phase"),
    [
        ("/hold", "upstream-timeout", "http_response_timeout", "upstream_wait"),
        ("/reset=head", "upstream-protocol", "connection_terminated", "upstream_wait"),
        ("/reset=body:10", "upstream-protocol", "connection_terminated", "upstream_body"),
        ("/short", "upstream-protocol", "http_response_incomplete", "upstream_body"),
        ("/garbage", "upstream-protocol", "http_protocol_error", "upstream_wait"),
        ("/two-lengths", "upstream-protocol", "http_protocol_error", "upstream_wait"),
        ("/stream=2x2s", "upstream-timeout", "connection_read_timeout", "upstream_body"),
    ],
)
async def test_a_failing_upstream_is_named(target: str, code: str, word: str, phase: str) -> None:
    async with MockUpstream() as origin, transport(upstream(origin.port, timeouts=QUICK)) as engine:
        failed = await failure(engine, request(target))
        assert (failed.code, failed.proxy_error, failed.phase, failed.sent) == (code, word, phase, True)
        assert (await fetch(engine, request()))[0] == 200


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na : 1\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: x\x00y\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 700 What\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/3.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: " + b"x" * 200_000 + b"\r\n\r\n",
    ],
)
async def test_an_answer_that_is_not_valid_http_is_never_guessed_at(answer: bytes) -> None:
    async with raw_origin(answering(answer)) as port, transport(upstream(port, timeouts=QUICK)) as engine:
        assert (await failure(engine, request())).code == "upstream-protocol"


async def test_a_bad_chunk_cuts_the_body() -> None:
    data = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n"
    async with raw_origin(answering(data)) as port, transport(upstream(port)) as engine:
        answer = await engine.send(request())
        chunks = answer.body()
        received = await anext(chunks)
        with pytest.raises(TransportError) as failed:
            await anext(chunks)
        assert (received, failed.value.code, failed.value.phase) == (b"ok", "upstream-protocol", "upstream_body")


async def test_a_refused_connection() -> None:
    async with transport(upstream(free_port())) as engine:
        failed = await failure(engine, request())
    assert (failed.code, failed.proxy_error, failed.phase, failed.sent) == (
        "upstream-connect", "connection_refused", "upstream_connect", False,
    )  # fmt: skip


async def test_a_name_that_does_not_resolve() -> None:
    async with transport(upstream(80, host="nowhere.invalid")) as engine:
        failed = await failure(engine, request())
    assert (failed.code, failed.proxy_error) == ("upstream-connect", "dns_error")


async def test_an_upstream_that_does_not_read_is_a_write_timeout() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    body = pieces(*[b"x" * 1_000_000] * 50)
    async with raw_origin(handler) as port, transport(upstream(port, timeouts=QUICK)) as engine:
        failed = await failure(engine, request(method=b"POST", body=body))
    assert (failed.code, failed.proxy_error, failed.sent) == ("upstream-timeout", "connection_write_timeout", True)


async def test_the_total_deadline_ends_a_body_that_never_idles() -> None:
    timeouts = replace(QUICK, total_us=300 * MS)
    async with MockUpstream() as origin, transport(upstream(origin.port, timeouts=timeouts)) as engine:
        failed = await failure(engine, request("/stream=100x50ms"))
        assert (failed.code, failed.phase) == ("upstream-timeout", "upstream_body")


async def test_an_event_stream_has_no_total_deadline() -> None:
    timeouts = replace(QUICK, total_us=200 * MS)
    async with MockUpstream() as origin, transport(upstream(origin.port, timeouts=timeouts)) as engine:
        assert (await fetch(engine, request("/sse/stream=8x50ms")))[2].count(b"data:") == 8


async def test_a_head_that_drips_is_a_first_byte_timeout() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for octet in b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000:
            writer.write(bytes((octet,)))
            await writer.drain()
            await asyncio.sleep(0.02)

    async with raw_origin(handler) as port, transport(upstream(port, timeouts=QUICK)) as engine:
        assert (await failure(engine, request())).proxy_error == "http_response_timeout"


# Slots


async def test_the_wait_for_a_slot_is_bounded() -> None:
    pool = Pool(connections=1, wait_us=100 * MS)
    async with MockUpstream() as origin, transport(upstream(origin.port, pool=pool)) as engine:
        held = await engine.send(request("/stream=5x50ms"))
        failed = await failure(engine, request())
        assert (failed.code, failed.proxy_error, failed.sent) == ("upstream-pool", "connection_limit_reached", False)
        await held.aclose()
        await held.aclose()  # idempotent: a slot comes back once
        assert (await fetch(engine, request()))[0] == 200


async def test_an_answer_that_is_not_read_closes_its_connection() -> None:
    pool = Pool(connections=1)
    async with MockUpstream() as origin, transport(upstream(origin.port, pool=pool)) as engine:
        answer = await engine.send(request("/large=10MB"))
        async for _ in answer.body():
            break
        await answer.aclose()
        assert (await fetch(engine, request()))[0] == 200
        assert origin.connections == 2


async def test_after_a_storm_of_cancelled_calls_every_slot_serves() -> None:
    """The library's pool alone ends with every slot dead (spec admission B5)."""
    pool = Pool(connections=10, wait_us=2_000 * MS)
    targets = ["/ok", "/stream=3x5ms", "/large=1MB", "/slow=5ms", "/hold", "/reset=head", "/early"]
    dice = random.Random(7)
    async with MockUpstream() as origin, transport(upstream(origin.port, pool=pool, timeouts=QUICK)) as engine:

        async def worker() -> None:
            for _ in range(25):
                target = dice.choice(targets)
                body = pieces(b"x" * 70_000) if dice.random() < 0.3 else None
                sent = request(target, b"POST" if body else b"GET", body=body)
                with contextlib.suppress(TimeoutError, TransportError):
                    async with asyncio.timeout(dice.random() * 0.02):
                        await fetch(engine, sent)

        await asyncio.gather(*(worker() for _ in range(40)))
        async with asyncio.timeout(5):
            probes = await asyncio.gather(*(fetch(engine, request(f"/probe-{n}/slow=50ms")) for n in range(10)))
    assert [status for status, _, _ in probes] == [200] * 10
    assert [json.loads(body)["path"] for _, _, body in probes] == [f"/probe-{n}/slow=50ms" for n in range(10)]


# Resending (RULINGS 16)


def dying_on_reuse(seen: list[bytes]) -> Handler:
    """Answers the first request of a connection, and closes at the second without a byte."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n"))[:4])
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await writer.drain()
        seen.append(b"!" + (await reader.readuntil(b"\r\n\r\n"))[:3])

    return handler


async def test_a_safe_request_on_a_dead_reused_connection_is_resent_once() -> None:
    seen: list[bytes] = []
    async with raw_origin(dying_on_reuse(seen)) as port, transport(upstream(port)) as engine:
        await fetch(engine, request())
        assert (await fetch(engine, request()))[2] == b"ok"
    assert seen == [b"GET ", b"!GET", b"GET "]


@pytest.mark.parametrize("more", [{"content_length": 0}, {"body": pieces(b"x"), "content_length": 1}])
async def test_a_write_is_never_resent(more: dict[str, Any]) -> None:
    seen: list[bytes] = []
    async with raw_origin(dying_on_reuse(seen)) as port, transport(upstream(port)) as engine:
        await fetch(engine, request())
        failed = await failure(engine, request(method=b"POST", **more))
    assert (failed.code, failed.proxy_error, failed.sent) == ("upstream-protocol", "connection_terminated", True)
    assert seen == [b"GET ", b"!POS"]


async def test_a_fresh_connection_that_dies_is_not_retried() -> None:
    async with MockUpstream() as origin, transport(upstream(origin.port)) as engine:
        await failure(engine, request("/reset=head"))
    assert len(origin.requests) == 1


# Where a connection may go


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "fe80::1", "fd00:ec2::254", "::ffff:169.254.169.254", "2852039166"]
)
async def test_metadata_addresses_are_refused(host: str) -> None:
    async with transport(upstream(80, host=host)) as engine:
        failed = await failure(engine, request())
    assert (failed.code, failed.proxy_error, failed.sent) == ("upstream-connect", "destination_ip_prohibited", False)


async def test_our_own_listener_is_refused_and_loopback_is_not() -> None:
    async with MockUpstream() as origin:
        ours = frozenset((("0.0.0.0", origin.port),))
        async with transport(upstream(origin.port, host="localhost"), listeners=ours) as engine:
            failed = await failure(engine, request())
        assert (failed.code, failed.proxy_error) == ("upstream-loop", "proxy_loop_detected")
        async with transport(upstream(origin.port), listeners=frozenset((("127.0.0.1", 1),))) as engine:
            assert (await fetch(engine, request()))[0] == 200


@pytest.mark.parametrize(
    ("address", "port", "listener", "refused"),
    [
        ("127.0.0.1", 80, ("127.0.0.1", 80), True),
        ("127.0.0.1", 81, ("127.0.0.1", 80), False),
        ("127.0.0.2", 80, ("127.0.0.1", 80), False),
        ("::ffff:127.0.0.1", 80, ("127.0.0.1", 80), True),
        ("0.0.0.0", 80, ("127.0.0.1", 80), True),
        ("::1", 80, ("::", 80), True),
        ("192.0.2.1", 80, ("0.0.0.0", 80), False),
        ("192.0.2.1", 80, ("192.0.2.1", 80), True),
    ],
)
async def test_a_listener_is_recognised(address: str, port: int, listener: tuple[str, int], refused: bool) -> None:
    assert own(ipaddress.ip_address(address), port, (listener,)) is refused
    assert not prohibited(ipaddress.ip_address(address))


# TLS


OK = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


@pytest.mark.parametrize(
    ("tls", "word"),
    [
        (Tls(ca=CA), None),
        (Tls(verify=False), None),
        (Tls(), "tls_certificate_error"),  # the system's roots do not know it
        (Tls(ca=pem(certificate("other.test"), key=False)), "tls_certificate_error"),
    ],
)
async def test_the_upstreams_certificate_is_verified(tmp_path: Path, tls: Tls, word: str | None) -> None:
    async with raw_origin(OK, context=tls_server(tmp_path)) as port:
        definition = upstream(port, host="localhost", scheme="https", tls=tls)
        async with transport(definition) as engine:
            if word is None:
                assert (await fetch(engine, request()))[2] == b"ok"
            else:
                failed = await failure(engine, request())
                assert (failed.code, failed.proxy_error, failed.sent) == ("upstream-tls", word, False)


async def test_a_certificate_for_another_host_is_refused(tmp_path: Path) -> None:
    context = tls_server(tmp_path, host="other.test")
    async with (
        raw_origin(OK, context=context) as port,
        transport(upstream(port, host="localhost", scheme="https", tls=Tls(ca=CA))) as engine,
    ):
        assert (await failure(engine, request())).proxy_error == "tls_certificate_error"


async def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    client = pem(certificate("gateway.test", AUTHORITY), key=True)
    before = set(os.listdir("/tmp"))
    async with raw_origin(OK, context=tls_server(tmp_path, client_ca=CA)) as port:
        definition = upstream(port, host="localhost", scheme="https", tls=Tls(ca=CA, cert=client))
        async with transport(definition) as engine:
            assert (await fetch(engine, request()))[2] == b"ok"
    assert not {name for name in set(os.listdir("/tmp")) - before if name.endswith(".pem")}


async def test_plain_text_where_tls_is_expected_is_a_tls_error() -> None:
    async with MockUpstream() as origin, transport(upstream(origin.port, scheme="https", timeouts=QUICK)) as engine:
        failed = await failure(engine, request())
    assert (failed.code, failed.proxy_error) == ("upstream-tls", "tls_protocol_error")


async def test_a_handshake_that_hangs_is_a_connect_timeout() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with raw_origin(handler) as port, transport(upstream(port, scheme="https", timeouts=QUICK)) as engine:
        failed = await failure(engine, request())
    assert (failed.code, failed.proxy_error, failed.sent) == ("upstream-timeout", "connection_timeout", False)


# With the library's own test double


async def test_any_mocked_answer_passes_untouched(httpx2_mock: respx.Router) -> None:
    route = httpx2_mock.post("http://origin.example/v2/x?y=1").mock(
        return_value=httpx.Response(201, headers=[("X-A", "1"), ("content-encoding", "br")], content=b"raw")
    )
    definition = upstream(80, host="origin.example")
    async with transport(definition) as engine:
        sent = request("/v2/x?y=1", b"POST", body=pieces(b"a", b"b"), content_length=2)
        status, headers, body = await fetch(engine, sent)
    assert (status, body) == (201, b"raw")
    assert (b"content-encoding", b"br") in headers
    called = route.calls.last.request
    assert called.content == b"ab"
    assert [name for name, _ in called.headers.raw] == [b"host", b"content-length"]
