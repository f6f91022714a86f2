"""Upstreams behind an egress proxy: what the proxy is told, what the upstream is told, and whose failure is whose."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gateway.mock_upstream import stop_accepting
from policies.model import Pool, Proxy, Timeouts, Tls, Upstream
from tests.upstreams.authority import CA, tls_server
from tests.upstreams.conformance.origin import Origin
from tests.upstreams.conformance.stage import PATIENT, Failed, Reply, outcome, pieces, request
from tests.upstreams.http2.origin import Exchange, Http2Origin
from tests.upstreams.rig import MS, upstream
from tests.wire.harness import free_port
from upstreams.httpx_engine import HttpxTransport
from upstreams.transport import TransportError, UpstreamRequest

pytestmark = pytest.mark.anyio

BRIEF = Timeouts(connect_us=700 * MS, first_byte_us=2_000 * MS)
SECRET = b"Basic Z2F0ZXdheTpzZXNhbWU="
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class ScriptedProxy:
    """Answers the first ``bad`` connections with ``says`` and ``then``; for all others it is a proxy as it should be.

    Whatever host is asked for is looked for at ``to``, a port of this machine: a name that only it can resolve.
    """

    def __init__(self, to: int = 0, *, says: bytes = b"", then: str = "close", bad: int = 0) -> None:
        self.to = to
        self.says = says
        self.then = then
        self.bad = bad
        self.heads: list[bytes] = []
        self.connections = 0
        self.port = 0
        self.asked = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self, context: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedProxy]:
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            await stop_accepting(server)
            for task in [*self._tasks]:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def open(self) -> int:
        return len(self._tasks)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            try:
                if self.connections <= self.bad:
                    await self._misbehave(reader, writer)
                else:
                    await self._proxy(reader, writer)
            finally:
                writer.close()

    async def _misbehave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        self.asked.set()
        writer.write(self.says)
        await writer.drain()
        if self.then == "hold":
            await reader.read()
        elif self.then == "reset":
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        inward, outward = await asyncio.open_connection("127.0.0.1", self.to)
        try:
            if head.startswith(b"CONNECT "):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                outward.write(_origin_form(head))
            async with asyncio.TaskGroup() as relays:
                relays.create_task(_relay(inward, writer))
                relays.create_task(self._onwards(reader, outward, head))
        finally:
            outward.close()

    async def _onwards(self, reader: asyncio.StreamReader, outward: asyncio.StreamWriter, head: bytes) -> None:
        if head.startswith(b"CONNECT "):
            await _relay(reader, outward)
            return
        while not reader.at_eof():
            data = await reader.read(65_536)
            if b"HTTP/1.1\r\n" in data:
                self.heads.append(data)
                data = _origin_form(data)
            outward.write(data)
        outward.close()


def _origin_form(head: bytes) -> bytes:
    line, _, rest = head.partition(b"\r\n")
    method, target, version = line.split(b" ")
    lines = [one for one in rest.split(b"\r\n") if not one.startswith(b"proxy-authorization")]
    return b" ".join((method, b"/" + target.split(b"/", 3)[3], version)) + b"\r\n" + b"\r\n".join(lines)


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


def behind(proxy: int, definition: Upstream, **more: object) -> Upstream:
    made = Proxy(scheme="http", host="127.0.0.1", port=proxy, authorization=SECRET)
    return replace(definition, engine="httpx", proxy=replace(made, **more))  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def engine(definition: Upstream, **more: frozenset[tuple[str, int]]) -> AsyncIterator[HttpxTransport]:
    made = HttpxTransport(definition, **more)
    try:
        yield made
    finally:
        await made.aclose()


async def probe(transport: HttpxTransport, marker: bytes) -> None:
    sent = UpstreamRequest(method=b"GET", target=b"/probe", headers=[(b"host", b"o"), (b"x-marker", marker)])
    result = await outcome(transport, sent)
    assert isinstance(result, Reply), result
    assert result.body == marker


async def failed(transport: HttpxTransport, sent: UpstreamRequest | None = None) -> TransportError:
    result = await outcome(transport, sent or request())
    assert isinstance(result, Failed), result
    return result.error


def secure(port: int, **more: object) -> Upstream:
    return upstream(port, host="localhost", scheme="https", tls=Tls(ca=CA), **more)  # type: ignore[arg-type]


# As it should be


async def test_an_https_upstream_is_reached_through_a_tunnel_and_told_nothing_of_it(tmp_path: Path) -> None:
    origin = Origin((OK,), context=tls_server(tmp_path))
    async with origin.serving(), ScriptedProxy(origin.port).serving() as proxy:
        async with engine(behind(proxy.port, secure(origin.port))) as transport:
            for marker in (b"one", b"two"):
                await probe(transport, marker)
        authority = b"localhost:%d" % origin.port
        assert proxy.heads == [
            b"CONNECT %b HTTP/1.1\r\nhost: %b\r\nproxy-authorization: %b\r\n\r\n" % (authority, authority, SECRET)
        ]
    assert [arrival.head.split(b"\r\n")[0] for arrival in origin.arrivals] == [b"GET /probe HTTP/1.1"] * 2
    assert all(arrival.value(b"proxy-authorization") is None for arrival in origin.arrivals)


async def test_http_2_is_spoken_through_the_tunnel() -> None:
    async def answering(exchange: Exchange) -> None:
        await exchange.answer()

    origin = Http2Origin(answering)
    async with origin.serving(), ScriptedProxy(origin.port).serving() as proxy:
        async with engine(behind(proxy.port, secure(origin.port))) as transport:
            sent = request(b"POST", b"/case", body=pieces(b"x" * 100_000), content_length=100_000)
            assert isinstance(await outcome(transport, sent), Reply)
            await asyncio.gather(*(probe(transport, b"caller-%d" % number) for number in range(10)))
        assert (proxy.connections, origin.connections) == (1, 1)
        assert SECRET not in repr(origin.arrivals).encode()


async def test_an_http_upstream_is_asked_for_in_absolute_form() -> None:
    origin = Origin((OK,))
    async with origin.serving(), ScriptedProxy(origin.port).serving() as proxy:
        async with engine(behind(proxy.port, upstream(8080, host="upstream.invalid"))) as transport:
            for marker in (b"one", b"two"):
                await probe(transport, marker)
        lines = [head.split(b"\r\n") for head in proxy.heads]
        assert [line[0] for line in lines] == [b"GET http://upstream.invalid:8080/probe HTTP/1.1"] * 2
        assert all(b"proxy-authorization: " + SECRET in line for line in lines)
        assert proxy.connections == 1
    assert all(arrival.value(b"proxy-authorization") is None for arrival in origin.arrivals)


async def test_the_proxy_resolves_the_name_and_the_certificate_must_be_the_upstreams(tmp_path: Path) -> None:
    named = secure(443)
    named = replace(named, host="upstream.invalid")
    origin = Origin((OK,), context=tls_server(tmp_path, host="upstream.invalid"))
    async with origin.serving(), ScriptedProxy(origin.port).serving() as proxy:
        async with engine(behind(proxy.port, named)) as transport:
            await probe(transport, b"one")
        async with engine(behind(proxy.port, replace(named, host="other.invalid"))) as transport:
            error = await failed(transport)
    # Whoever intercepts behind the proxy is as untrusted as anywhere, and that is no fault of the proxy's.
    assert (error.code, error.proxy_error, error.sent) == ("upstream-tls", "tls_certificate_error", False)


async def test_a_proxy_under_tls_is_verified_by_its_own_roots(tmp_path: Path) -> None:
    context = tls_server(tmp_path)
    origin = Origin((OK,), context=context)
    async with origin.serving(), ScriptedProxy(origin.port).serving(context) as proxy:
        trusted = behind(proxy.port, secure(origin.port), scheme="https", host="localhost", ca=CA)
        async with engine(trusted) as transport:
            await probe(transport, b"one")
        heads = len(proxy.heads)
        async with engine(behind(proxy.port, secure(origin.port), scheme="https", host="localhost")) as transport:
            error = await failed(transport)
        assert (error.code, error.proxy_error, error.sent) == ("egress-proxy", "tls_certificate_error", False)
        assert len(proxy.heads) == heads  # the credential was shown to nobody


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy"])
async def test_no_proxy_comes_from_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = Origin((OK,))
    monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    async with origin.serving(), engine(replace(upstream(origin.port), engine="httpx")) as transport:
        await probe(transport, b"one")


# As it should not be


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """What the proxy does with CONNECT, and the name of it."""

    name: str
    word: str
    says: bytes = b""
    then: str = "close"
    code: str = "egress-proxy"


def status(number: int, more: bytes = b"content-length: 0\r\n") -> bytes:
    return b"HTTP/1.1 %d No\r\n%b\r\n" % (number, more)


BAD: tuple[Bad, ...] = (
    Bad(name="403", says=status(403), word="proxy_configuration_error"),
    Bad(name="407", says=status(407, b"proxy-authenticate: Basic\r\n"), word="proxy_configuration_error"),
    Bad(name="407-kept-open", says=status(407), then="hold", word="proxy_configuration_error"),
    Bad(name="502", says=status(502), word="destination_unavailable"),
    Bad(name="503", says=status(503), word="destination_unavailable"),
    Bad(name="504", says=status(504), word="destination_unavailable"),
    Bad(name="a-redirect", says=status(302, b"location: http://elsewhere/\r\n"), word="destination_unavailable"),
    Bad(name="a-close", word="connection_terminated"),
    Bad(name="a-reset", then="reset", word="connection_terminated"),
    Bad(name="half-an-answer", says=b"HTTP/1.1 200 O", word="connection_terminated"),
    Bad(name="a-banner", says=b"220 mail ESMTP\r\n\r\n", word="http_protocol_error"),
    Bad(name="a-tls-alert", says=b"\x15\x03\x03\x00\x02\x02\x28\r\n\r\n", word="http_protocol_error"),
    Bad(name="a-head-without-end", says=b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 50_000, word="http_protocol_error"),
    Bad(name="interim-answers-without-end", says=b"HTTP/1.1 100 Go on\r\n\r\n" * 4_000, then="hold",
        word="http_protocol_error"),
    Bad(name="octets-behind-the-head", says=status(200) + b"poison", then="hold", word="http_protocol_error"),
    Bad(name="silence", then="hold", word="connection_timeout", code="egress-proxy-timeout"),
    Bad(name="only-100", says=b"HTTP/1.1 100 Go on\r\n\r\n", then="hold", word="connection_timeout",
        code="egress-proxy-timeout"),
)  # fmt: skip


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.name) for bad in BAD])
async def test_a_tunnel_that_does_not_come_about_is_the_gateways_own_failure(bad: Bad, tmp_path: Path) -> None:
    origin = Origin((OK,), context=tls_server(tmp_path))
    proxy = ScriptedProxy(says=bad.says, then=bad.then, bad=1)
    async with origin.serving(), proxy.serving():
        proxy.to = origin.port
        definition = secure(origin.port, timeouts=BRIEF if "timeout" in bad.code else PATIENT, pool=Pool(connections=1))
        async with engine(behind(proxy.port, definition)) as transport:
            error = await failed(transport, request(b"POST", b"/case", body=pieces(b"secret"), content_length=6))
            found = (error.code, error.proxy_error, error.phase, error.sent)
            assert found == (bad.code, bad.word, "upstream_connect", False), error
            assert origin.arrivals == []
            assert proxy.connections == 1  # not tried again
            await probe(transport, b"another caller")
            assert proxy.connections == 2


@pytest.mark.parametrize(
    ("host", "port", "code", "word"),
    [
        ("127.0.0.1", 0, "egress-proxy", "connection_refused"),
        ("nowhere.invalid", 3128, "egress-proxy", "dns_error"),
        ("169.254.169.254", 3128, "egress-proxy", "destination_ip_prohibited"),
        ("127.0.0.1", 9, "upstream-loop", "proxy_loop_detected"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_where_a_proxy_may_be_is_held_to_the_rules_of_upstreams(
    scheme: str, host: str, port: int, code: str, word: str
) -> None:
    definition = behind(port or free_port(), replace(secure(443), scheme=scheme), host=host)  # type: ignore[arg-type]
    async with engine(definition, listeners=frozenset((("0.0.0.0", 9),))) as transport:
        error = await failed(transport)
    assert (error.code, error.proxy_error, error.phase, error.sent) == (code, word, "upstream_connect", False)


async def test_a_407_to_a_forwarded_request_is_for_us_and_not_for_the_caller() -> None:
    origin = Origin((OK,))
    proxy = ScriptedProxy(says=status(407, b"proxy-authenticate: Basic\r\ncontent-length: 0\r\n"), bad=1)
    async with origin.serving(), proxy.serving():
        proxy.to = origin.port
        definition = upstream(8080, host="upstream.invalid", pool=Pool(connections=1))
        async with engine(behind(proxy.port, definition)) as transport:
            error = await failed(transport)
            assert (error.code, error.proxy_error, error.sent) == ("egress-proxy", "proxy_configuration_error", False)
            await probe(transport, b"another caller")


async def test_a_caller_that_leaves_before_the_proxy_answers_leaves_nothing_behind(tmp_path: Path) -> None:
    origin = Origin((OK,), context=tls_server(tmp_path))
    proxy = ScriptedProxy(then="hold", bad=1)
    async with origin.serving(), proxy.serving():
        proxy.to = origin.port
        async with engine(behind(proxy.port, secure(origin.port, pool=Pool(connections=1)))) as transport:
            call = asyncio.create_task(outcome(transport, request()))
            await proxy.asked.wait()
            call.cancel()
            await asyncio.wait((call,))
            await probe(transport, b"another caller")
            assert proxy.open == 1  # the tunnel that the probe made
