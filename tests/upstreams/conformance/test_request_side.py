"""The octets that go out: nothing added, nothing lost, nothing smuggled (RFC 9112 3, 6, 7.1; RFC 9110 5.5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.upstreams.conformance.cases import answer
from tests.upstreams.conformance.engines import ENGINES, on_every_engine
from tests.upstreams.conformance.origin import Origin
from tests.upstreams.conformance.stage import Failed, Reply, outcome, pieces, request, staged
from upstreams.transport import TransportError

pytestmark = pytest.mark.anyio

LONG = b"/" + b"p" * 8000
MANY = tuple((b"x-%03d" % number, b"v") for number in range(200))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request and what it must be on the wire. ``line``: the request line; ``fields`` beside the common ones."""

    name: str
    line: bytes = b"GET /case HTTP/1.1"
    fields: tuple[tuple[bytes, bytes], ...] = ()
    pieces: tuple[bytes, ...] | None = None
    content_length: int | None = None
    framing: tuple[bytes, ...] = ()
    body: bytes = b""


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


BY_CHUNKS = (b"transfer-encoding: chunked",)

CASES: tuple[Sent, ...] = (
    Sent(name="get"),
    Sent(name="unknown-method", line=b"FROB-2 /case HTTP/1.1"),
    Sent(name="method-in-lower-case", line=b"get /case HTTP/1.1"),
    Sent(name="options-asterisk", line=b"OPTIONS * HTTP/1.1"),
    Sent(name="target-stays-encoded", line=b"GET /a%2Fb%20c/%7e?x=%20&y=%C3%BC HTTP/1.1"),
    Sent(name="target-with-odd-characters", line=b"GET /a;b=1,c/@:!$'()*+?q=[1]|{2}^`\\\" HTTP/1.1"),
    Sent(name="target-with-dot-segments", line=b"GET /a/../b/./c//d HTTP/1.1"),
    Sent(name="target-with-an-empty-query", line=b"GET /case? HTTP/1.1"),
    Sent(name="target-of-8000-octets", line=b"GET " + LONG + b" HTTP/1.1"),
    Sent(name="fields-keep-order-and-repetition", fields=((b"b", b"1"), (b"a", b"2"), (b"b", b"3"))),
    Sent(name="field-in-latin-1", fields=((b"a", b"Gr\xfc\xdfe"),)),
    Sent(name="field-empty", fields=((b"a", b""),)),
    Sent(name="field-of-30-kib", fields=((b"a", b"x" * 30_000),)),
    Sent(name="200-fields", fields=MANY),
    Sent(name="accept-encoding-is-the-callers", fields=((b"accept-encoding", b"br"),)),
    Sent(name="credentials-are-the-callers", fields=((b"authorization", b"Basic eA=="), (b"cookie", b"a=b"))),
    Sent(name="post-without-content", line=b"POST /case HTTP/1.1", content_length=0, framing=(b"content-length: 0",)),
    Sent(
        name="post-of-an-empty-body",
        line=b"POST /case HTTP/1.1",
        content_length=0,
        pieces=(),
        framing=(b"content-length: 0",),
    ),
    Sent(
        name="post-by-length",
        line=b"POST /case HTTP/1.1",
        content_length=5,
        pieces=(b"hello",),
        framing=(b"content-length: 5",),
        body=b"hello",
    ),
    Sent(
        name="post-by-length-in-pieces",
        line=b"POST /case HTTP/1.1",
        content_length=10,
        pieces=(b"hello", b"", b"world"),
        framing=(b"content-length: 10",),
        body=b"helloworld",
    ),
    Sent(
        name="post-of-two-megabytes",
        line=b"POST /case HTTP/1.1",
        content_length=2_000_000,
        pieces=(b"x" * 500_000,) * 4,
        framing=(b"content-length: 2000000",),
        body=b"x" * 2_000_000,
    ),
    Sent(
        name="post-in-chunks",
        line=b"POST /case HTTP/1.1",
        pieces=(b"hello", b"world"),
        framing=BY_CHUNKS,
        body=chunked(b"hello", b"world"),
    ),
    Sent(
        name="an-empty-piece-does-not-end-the-chunks",
        line=b"POST /case HTTP/1.1",
        pieces=(b"", b"hello", b"", b"world", b""),
        framing=BY_CHUNKS,
        body=chunked(b"hello", b"world"),
    ),
    Sent(name="chunks-of-nothing", line=b"POST /case HTTP/1.1", pieces=(), framing=BY_CHUNKS, body=b"0\r\n\r\n"),
    Sent(
        name="chunks-of-only-empty-pieces",
        line=b"POST /case HTTP/1.1",
        pieces=(b"", b""),
        framing=BY_CHUNKS,
        body=b"0\r\n\r\n",
    ),
    Sent(
        name="content-that-looks-like-chunks",
        line=b"POST /case HTTP/1.1",
        pieces=(b"0\r\n\r\nGET /probe HTTP/1.1\r\n\r\n",),
        framing=BY_CHUNKS,
        body=chunked(b"0\r\n\r\nGET /probe HTTP/1.1\r\n\r\n"),
    ),
    Sent(
        name="content-that-looks-like-a-request",
        line=b"POST /case HTTP/1.1",
        pieces=(b"GET /probe HTTP/1.1\r\n\r\n",),
        content_length=23,
        framing=(b"content-length: 23",),
        body=b"GET /probe HTTP/1.1\r\n\r\n",
    ),
    Sent(name="get-with-content", pieces=(b"hello",), content_length=5, framing=(b"content-length: 5",), body=b"hello"),
    Sent(
        name="delete-in-chunks",
        line=b"DELETE /case HTTP/1.1",
        pieces=(b"hello",),
        framing=BY_CHUNKS,
        body=chunked(b"hello"),
    ),
    Sent(
        name="two-megabytes-in-chunks",
        line=b"POST /case HTTP/1.1",
        pieces=(b"x" * 1_000_000,) * 2,
        framing=BY_CHUNKS,
        body=chunked(b"x" * 1_000_000, b"x" * 1_000_000),
    ),
    Sent(
        name="expect-is-passed-on",
        line=b"POST /case HTTP/1.1",
        fields=((b"expect", b"100-continue"),),
        pieces=(b"hello",),
        content_length=5,
        framing=(b"content-length: 5",),
        body=b"hello",
    ),
)


@pytest.mark.parametrize("engine", list(ENGINES))
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
async def test_a_request_goes_out_as_it_was_given(case: Sent, engine: str) -> None:
    method, target, _ = case.line.split(b" ")
    body = None if case.pieces is None else pieces(*case.pieces)
    async with staged(engine, Origin((answer(),))) as stage:
        await stage.fetch(request(method, target, *case.fields, body=body, content_length=case.content_length))
        (arrival,) = stage.origin.cases
        given = [b"host: origin", b"x-marker: case", *(name + b": " + value for name, value in case.fields)]
        framing = [field for field in arrival.fields if field not in given]
        assert arrival.head.split(b"\r\n")[0] == case.line
        assert [field.rstrip(b" ") for field in arrival.fields if field not in framing] == [
            field.rstrip(b" ") for field in given
        ] or framing == [b"a:"]
        assert tuple(field for field in framing if field != b"a:") == case.framing
        assert contents(arrival.body, chunks=case.framing == BY_CHUNKS) == contents(
            case.body, chunks=case.framing == BY_CHUNKS
        )
        assert (await stage.probe()).connection == arrival.connection


def contents(wire: bytes, *, chunks: bool) -> bytes:
    """The content; how it is cut into chunks is the engine's affair."""
    if not chunks:
        return wire
    content = b""
    while wire:
        line, _, wire = wire.partition(b"\r\n")
        size = int(line, 16)
        content, wire = content + wire[:size], wire[size + 2 :]
    return content


# What the caller must not be able to write between the lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Smuggled:
    name: str
    method: bytes = b"GET"
    target: bytes = b"/case"
    field: tuple[bytes, bytes] = (b"a", b"1")


INJECTED = b"x\r\ninjected: 1"
INJECTIONS: tuple[Smuggled, ...] = (
    Smuggled(name="crlf-in-a-value", field=(b"a", INJECTED)),
    Smuggled(name="lf-in-a-value", field=(b"a", b"x\ninjected: 1")),
    Smuggled(name="cr-in-a-value", field=(b"a", b"x\rinjected: 1")),
    Smuggled(name="nul-in-a-value", field=(b"a", b"x\x00injected")),
    Smuggled(name="a-whole-request-in-a-value", field=(b"a", b"x\r\n\r\nGET /injected HTTP/1.1\r\n\r\n")),
    Smuggled(name="crlf-in-a-name", field=(b"a: 1\r\ninjected", b"1")),
    Smuggled(name="colon-in-a-name", field=(b"injected: 1, a", b"1")),
    Smuggled(name="space-in-a-name", field=(b"injected a", b"1")),
    Smuggled(name="an-empty-name", field=(b"", b"injected")),
    Smuggled(name="crlf-in-the-target", target=b"/case HTTP/1.1\r\ninjected: 1\r\na: b"),
    Smuggled(name="space-in-the-target", target=b"/case injected"),
    Smuggled(name="nul-in-the-target", target=b"/case\x00injected"),
    Smuggled(name="crlf-in-the-method", method=b"GET /injected HTTP/1.1\r\na: b\r\n\r\nGET"),
    Smuggled(name="space-in-the-method", method=b"GET /injected"),
)


@pytest.mark.parametrize("engine", list(ENGINES))
@pytest.mark.parametrize("injection", [pytest.param(case, id=case.name) for case in INJECTIONS])
async def test_what_cannot_be_written_safely_is_not_sent(injection: Smuggled, engine: str) -> None:
    async with staged(engine, Origin((answer(),))) as stage:
        result = await outcome(stage.engine, request(injection.method, injection.target, injection.field))
        assert isinstance(result, Failed)
        assert result.error.code == "bad-request"
        await stage.probe()
        assert stage.origin.cases == []
        assert not any(b"injected" in arrival.head for arrival in stage.origin.arrivals)


# Bodies that are not what was announced


@dataclass(frozen=True, slots=True, kw_only=True)
class Lie:
    """``arrives`` is the most that the origin may see of the content."""

    name: str
    announced: int
    pieces: tuple[bytes, ...]
    arrives: bytes


LIES: tuple[Lie, ...] = (
    Lie(name="shorter", announced=10, pieces=(b"hello",), arrives=b"hello"),
    Lie(name="shorter-by-everything", announced=10, pieces=(), arrives=b""),
    Lie(name="longer-in-one-piece", announced=5, pieces=(b"helloGET /injected HTTP/1.1\r\n\r\n",), arrives=b"hello"),
    Lie(
        name="longer-in-the-next-piece",
        announced=5,
        pieces=(b"hello", b"GET /injected HTTP/1.1\r\n\r\n"),
        arrives=b"hello",
    ),
    Lie(
        name="something-where-nothing-was-announced",
        announced=0,
        pieces=(b"GET /injected HTTP/1.1\r\n\r\n",),
        arrives=b"",
    ),
)


@pytest.mark.parametrize("engine", list(ENGINES))
@pytest.mark.parametrize("lie", [pytest.param(lie, id=lie.name) for lie in LIES])
async def test_a_body_that_is_not_as_announced_is_never_sent_as_complete(lie: Lie, engine: str) -> None:
    """Too short: the upstream must not act on it. Too long: the surplus would be the next request."""
    async with staged(engine, Origin((answer(),))) as stage:
        result = await outcome(stage.engine, request(b"POST", body=pieces(*lie.pieces), content_length=lie.announced))
        if len(b"".join(lie.pieces)) < lie.announced:
            assert isinstance(result, Failed)
        probe = await stage.probe()
        assert not any(b"injected" in arrival.head for arrival in stage.origin.arrivals)
        for arrival in stage.origin.cases:
            assert lie.arrives.startswith(arrival.body)
            assert probe.connection != arrival.connection


class Broken(Exception):
    """The caller's own."""


async def breaking(*before: bytes) -> AsyncIterator[bytes]:
    for piece in before:
        yield piece
    raise Broken


@on_every_engine
@pytest.mark.parametrize("more", [{"content_length": 10}, {}], ids=["by-length", "in-chunks"])
@pytest.mark.parametrize("before", [(), (b"hello",)], ids=["at-once", "mid-way"])
async def test_a_body_that_breaks_off_is_never_sent_as_complete(
    engine: str, more: dict[str, Any], before: tuple[bytes, ...]
) -> None:
    """The caller's own error comes back to it unchanged."""
    async with staged(engine, Origin((answer(),))) as stage:
        with pytest.raises(Broken):
            await stage.engine.send(request(b"POST", body=breaking(*before), **more))
        probe = await stage.probe()
        assert all(not arrival.complete and arrival.connection != probe.connection for arrival in stage.origin.cases)


@on_every_engine
async def test_a_body_that_pauses_is_waited_for(engine: str) -> None:
    """The deadline for the first octet counts from the request's end, not from its beginning."""

    async def slow() -> AsyncIterator[bytes]:
        for _ in range(4):
            await asyncio.sleep(0.1)
            yield b"x"

    async with staged(engine, Origin((answer(),))) as stage:
        assert (await stage.fetch(request(b"POST", body=slow()))).body == b"ok"


@on_every_engine
async def test_the_callers_request_is_left_as_it_was(engine: str) -> None:
    async with staged(engine, Origin((answer(b"set-cookie: a=b"),))) as stage:
        sent = request()
        before = list(sent.headers)
        for _ in range(2):
            result: Reply | TransportError = await stage.fetch(sent)
            assert isinstance(result, Reply)
        assert sent.headers == before
        assert [arrival.value(b"cookie") for arrival in stage.origin.cases] == [None, None]
