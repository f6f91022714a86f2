"""What passes: answers and uploads as they came, both ways, with what is a hop's own left behind.

Every answer is also held to what each one carries: one Date, one request id, our element of Via, the limits' fields
once, and nothing that belongs to the upstream's connection.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.gateway.assembly import dechunked
from tests.upstreams.conformance.cases import answer
from tests.upstreams.conformance.origin import Act, Script
from tests.wire.caller import Hearing, message
from tests.wire.stage import KEY, Ending, Stage

pytestmark = pytest.mark.anyio

OK = (answer(),)
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
MEBIBYTE = bytes(range(256)) * 4096
CHUNKS = b"".join(b"%x\r\n%b\r\n" % (50_000, MEBIBYTE[at : at + 50_000]) for at in range(0, 1_000_000, 50_000))
REST = b"%x\r\n%b\r\n0\r\n\r\n" % (48_576, MEBIBYTE[1_000_000:])
ONCE = (
    b"date", b"x-request-id", b"via", b"ratelimit", b"ratelimit-policy", b"ratelimit-limit", b"ratelimit-remaining",
    b"ratelimit-reset",
)  # fmt: skip
HOP = (b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade", b"proxy-authenticate", b"x-hop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """An answer that arrives as it was sent. ``has`` and ``lacks``: what of its fields does, and what does not."""

    name: str
    script: Script
    status: int = 200
    body: bytes = b"ok"
    method: str = "GET"
    has: tuple[tuple[bytes, bytes], ...] = ()
    lacks: tuple[bytes, ...] = ()


def passes(name: str, *script: bytes | Act, **more: object) -> Passes:
    return Passes(name=name, script=script, **more)  # type: ignore[arg-type]


def lines(*fields: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.lower(), value) for name, _, value in (field.partition(b": ") for field in fields))


LENGTH = b"content-length"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
COOKIES = (b"set-cookie: b=1", b"set-cookie: a=2")
THEIRS = (b"date: Mon, 01 Jan 2024 00:00:00 GMT", b"server: theirs")
PASSES = (
    passes("by-length", answer(), has=lines(b"content-length: 2")),
    passes("by-chunks", CHUNKED + b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n"),
    passes("to-the-close", answer(length=False), Act.CLOSE),
    # P-16, and the framing is made anew: neither extensions nor trailers cross.
    passes("extensions-and-trailers", CHUNKED + b"2;a=b\r\nok\r\n0\r\nx-trailer: 1\r\n\r\n", lacks=(b"x-trailer",)),
    passes("no-content", answer(body=b""), body=b"", has=lines(b"content-length: 0")),
    passes("no-content-in-chunks", CHUNKED + b"0\r\n\r\n", body=b""),
    passes("no-content-to-the-close", answer(length=False, body=b""), Act.CLOSE, body=b""),
    passes("a-mebibyte-by-length", answer(body=MEBIBYTE), body=MEBIBYTE),
    passes("a-mebibyte-in-chunks", CHUNKED + CHUNKS + REST, body=MEBIBYTE),
    passes("a-mebibyte-to-the-close", answer(length=False, body=MEBIBYTE), Act.CLOSE, body=MEBIBYTE),
    passes("head", answer()[:-2], method="HEAD", body=b"", has=lines(b"content-length: 2")),
    passes("head-of-unknown-length", answer(length=False, body=b""), method="HEAD", body=b"", lacks=(LENGTH,)),
    passes("head-in-chunks", CHUNKED, method="HEAD", body=b"", lacks=(LENGTH,)),
    passes("204", b"HTTP/1.1 204 No Content\r\n\r\n", status=204, body=b"", lacks=(LENGTH,)),
    passes("204-with-a-length", answer(line=b"HTTP/1.1 204 No", body=b""), status=204, body=b"", lacks=(LENGTH,)),
    passes("205", answer(line=b"HTTP/1.1 205 Reset Content", body=b""), status=205, body=b""),
    # P-23: no content, and the length it would have is not believed by every server in front of us.
    passes(
        "304", b'HTTP/1.1 304 Not Modified\r\netag: "a"\r\ncontent-length: 99\r\n\r\n', status=304, body=b"",
        has=lines(b'etag: "a"'), lacks=(LENGTH,),
    ),
    # P-20: ASGI cannot say them.
    passes("interim-answers", CONTINUE + b"HTTP/1.1 103 Early\r\nlink: </a>\r\n\r\n" + answer(), lacks=(b"link",)),
    passes(
        "a-coding-of-the-content", answer(b"content-encoding: gzip", body=b"\x1f\x8b no gzip"),
        body=b"\x1f\x8b no gzip", has=lines(b"content-encoding: gzip"),
    ),
    passes("latin-1", answer(b"x-name: Gr\xfc\xdfe"), has=lines(b"x-name: Gr\xfc\xdfe")),
    passes("an-empty-value", answer(b"x-name:"), has=lines(b"x-name: ")),
    passes("cookies-in-their-order", answer(*COOKIES), has=lines(*COOKIES)),
    passes("a-redirect", answer(b"location: /x", line=b"HTTP/1.1 302 Found"), status=302, has=lines(b"location: /x")),
    passes("an-unknown-status", answer(line=b"HTTP/1.1 299 Odd"), status=299),
    passes("an-error-of-the-upstream", answer(line=b"HTTP/1.1 404 Not Found"), status=404),
    passes("its-own-date-and-server", answer(*THEIRS), has=lines(*THEIRS)),
    # RULINGS 14; the limits of a call are what we enforce, whatever the upstream says of its own.
    passes(
        "its-own-limits", answer(b"ratelimit-limit: 7", b'RateLimit: "x";r=1', b"retry-after: 9"),
        lacks=(b"retry-after",),
    ),
    passes(
        "a-retry-after-that-is-no-integer", answer(b"retry-after: 1.5", line=b"HTTP/1.1 503 Busy"), status=503,
        has=lines(b"retry-after: 2"),
    ),
    passes("its-via-goes-first", answer(b"via: 1.0 inner"), has=lines(b"via: 1.0 inner, 1.1 tiergate-wire")),
    passes("its-request-id-stays-there", answer(b"x-request-id: theirs")),
    passes(
        "what-belongs-to-its-connection",
        answer(
            b"connection: x-hop, keep-alive", b"x-hop: 1", b"keep-alive: timeout=5", b"proxy-authenticate: Basic",
            b"upgrade: h2c", b"trailer: a",
        ),
    ),
    passes("a-close-of-its-own", answer(b"connection: close"), Act.CLOSE, lacks=(b"connection",)),
)  # fmt: skip


def check_common(heard: Hearing, stage: Stage) -> None:
    for name in ONCE:
        assert len(heard.all(name)) == 1, (name, heard.headers)
    assert heard.one(b"via").endswith(b"1.1 tiergate-wire")
    assert heard.one(b"ratelimit-limit") == b"1000000"
    for name in HOP:
        assert heard.all(name) == [], name
    assert len(heard.all(b"content-length")) + len(heard.all(b"transfer-encoding")) <= 1
    # granian names itself where the upstream does not, and cannot be told not to.
    assert heard.all(b"server") in ([], [b"theirs"], [b"granian"] if stage.server == "granian" else [])


@pytest.mark.parametrize("case", PASSES, ids=lambda case: case.name)
async def test_an_answer_arrives_as_it_was_sent(stage: Stage, case: Passes) -> None:
    stage.origin.rehearse(case.script)
    path = stage.target()
    async with stage.calling() as caller:
        await caller.send(message(path, method=case.method, key=KEY))
        heard = await caller.hear(case.method).end()
        assert (heard.status, heard.complete, heard.interim) == (case.status, True, [])
        assert heard.body == case.body
        check_common(heard, stage)
        kept = [pair for pair in heard.headers if pair[0] in {name for name, _ in case.has}]
        assert kept == list(case.has)
        assert not {name for name, _ in heard.headers} & set(case.lacks)
        await caller.send(message("/probe", "x-marker: next", key=KEY))
        assert (await caller.hear().end()).body == b"next", "the caller's connection goes on"
    (arrival,) = stage.origin.cases
    assert arrival.value(b"x-request-id") == heard.one(b"x-request-id")
    upstream_error = case.status >= 500
    assert await stage.ending(path) == Ending(
        status=case.status,
        upstream_status=case.status,
        source="upstream" if case.status == 503 else None,
        word="error" if upstream_error else "allowed",
        sla=("ignored", "third_party") if upstream_error else ("good", "ok"),
    )
    await stage.proved(path)


async def test_an_event_stream_arrives_event_by_event(stage: Stage) -> None:
    """The head at once, and each event before the upstream is allowed to send the next."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    events = [b"data: %d\n\n" % number for number in range(5)]
    steps = [step for event in events for step in (Act.GO, b"%x\r\n%b\r\n" % (len(event), event))]
    stage.origin.rehearse((head, *steps, Act.GO, b"0\r\n\r\n"))
    path = stage.target()
    async with stage.calling() as caller:
        await caller.send(message(path, "accept: text/event-stream", key=KEY))
        heard = await caller.hear().head()
        assert heard.one(b"content-type") == b"text/event-stream"
        for number in range(len(events)):
            assert heard.body == b"".join(events[:number])
            once(stage)
            await heard.at_least(len(b"".join(events[: number + 1])))
        once(stage)
        assert (await heard.end()).complete
        assert heard.body == b"".join(events)
    check_common(heard, stage)
    assert await stage.ending(path) == Ending(status=200, upstream_status=200)
    await stage.proved(path)


def once(stage: Stage) -> None:
    """Let a script that waits go on to where it waits next."""
    stage.origin.go.set()
    stage.origin.go.clear()


@pytest.mark.parametrize("size", [1, 5, 1_048_576])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_upload_arrives_as_it_was_sent(stage: Stage, framing: str, size: int) -> None:
    stage.origin.rehearse(OK)
    path, body = stage.target(), MEBIBYTE[:size]
    field = f"content-length: {size}" if framing == "length" else "transfer-encoding: chunked"
    half = size // 2
    parts = [part for part in (body[:half], body[half:]) if part]
    if framing == "chunked":
        parts = [*(b"%x;x=y\r\n%b\r\n" % (len(part), part) for part in parts), b"0\r\nx-trailer: 1\r\n\r\n"]
    async with stage.calling() as caller:
        await caller.send(message(f"{path}?q=%2F&r", field, "x-a: 1", "x-a: 2", method="PUT", key=KEY))
        for part in parts:
            await caller.send(part)
        assert (await caller.hear("PUT").end()).body == b"ok"
    (arrival,) = stage.origin.cases
    assert (arrival.complete, arrival.target) == (True, f"{path}?q=%2F&r".encode())
    assert [f for f in arrival.fields if f.startswith(b"x-a")] == [b"x-a: 1", b"x-a: 2"]
    if framing == "length":
        assert bytes(arrival.body) == body
        assert (arrival.value(b"content-length"), arrival.value(b"transfer-encoding")) == (str(size).encode(), None)
    else:
        assert dechunked(bytes(arrival.body)) == body
        assert (arrival.value(b"content-length"), arrival.value(b"transfer-encoding")) == (None, b"chunked")
    ((exchange, _),) = stage.recorder.of(path)
    assert (exchange.bytes_in, exchange.bytes_out) == (size, 2)
    await stage.proved(path)


async def test_an_upload_of_nothing_is_passed_as_nothing(stage: Stage) -> None:
    stage.origin.rehearse(OK)
    for fields, body in ((("content-length: 0",), b""), (("transfer-encoding: chunked",), b"0\r\n\r\n")):
        async with stage.calling() as caller:
            await caller.send(message(stage.target(), *fields, method="POST", key=KEY) + body)
            assert (await caller.hear("POST").end()).body == b"ok"
    by_length, in_chunks = stage.origin.cases
    assert (by_length.value(b"content-length"), bytes(by_length.body)) == (b"0", b"")
    assert (in_chunks.value(b"transfer-encoding"), bytes(in_chunks.body)) == (b"chunked", b"0\r\n\r\n")
    await stage.proved()


@pytest.mark.parametrize("method", ["OPTIONS", "PATCH", "DELETE", "BREW"])
async def test_a_method_is_passed_as_it_came(stage: Stage, method: str) -> None:
    stage.origin.rehearse(OK)
    path = stage.target()
    assert (await stage.fetch(path, method=method)).body == b"ok"
    assert stage.origin.cases[0].head.startswith(f"{method} {path} HTTP/1.1\r\n".encode())
    await stage.proved(path)


async def test_every_sink_has_every_call_once_and_says_the_same_of_it(stage: Stage) -> None:
    """The last test of the module: all of the above, in the access log's file, the ledger and the metrics."""
    await stage.agreed()
