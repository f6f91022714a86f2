"""What callers, operators and the SLA see of every main class of upstream fault, through the whole gateway.

Before the head has gone the caller gets our error; afterwards it gets a message without a proper end. The
engines' own suite has the wire cases one by one; here a row is a class of faults, and each row ends with ten probes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.upstreams.conformance.cases import answer
from tests.upstreams.conformance.origin import Act, Drip, Origin, Script, Step
from tests.wire.caller import Hearing, message
from tests.wire.stage import KEY, OTHER_KEY, Ending, Stage

pytestmark = pytest.mark.anyio
EVERY_ENGINE = True

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
POISON = answer(body=b"poison")
OURS = {"error", "source", "type", "title", "status", "request_id"}
"""The members of an error's body: nothing of the upstream's is among them."""
SLA = {
    "third_party": ("ignored", "third_party"),
    "customer": ("ignored", "customer"),
    "managed": ("bad", "managed_upstream"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A fault before the head has gone to the caller. ``word`` is RFC 9209's.

    ``seen``: how often the origin sees the request. ``quick``: behind the upstream with short deadlines.
    ``httpx``: what is different on that engine.
    """

    name: str
    script: Script
    word: str = "http_protocol_error"
    phase: str = "upstream_wait"
    code: str = "upstream-protocol"
    status: int = 502
    method: str = "GET"
    body: bytes = b""
    seen: int = 1
    quick: bool = False
    upstream_status: int | None = None
    httpx: Mapping[str, Any] = field(default_factory=dict)

    def on(self, engine: str) -> Refused:
        return replace(self, **self.httpx) if engine == "httpx" else self


def refused(name: str, *script: Step, **more: Any) -> Refused:
    return Refused(name=name, script=script, **more)


CUT = "connection_terminated"
LATE: Mapping[str, Any] = {"code": "upstream-timeout", "status": 504, "quick": True}
IN_BODY: Mapping[str, Any] = {"phase": "upstream_body", "upstream_status": 200}

REFUSED = (
    refused("garbage", b"\x00\xff garbage\r\n\r\n"),
    refused("a-page-without-a-head", b"<html>hello</html>\r\n\r\n"),
    refused("two-status-lines", HEAD + answer()),
    refused("http-0.9", b"HTTP/0.9 200 OK\r\n\r\n"),
    refused("http-2.0", b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n"),
    refused("an-http2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    refused("an-http2-frame", b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\r\n\r\n"),
    refused("status-099", answer(line=b"HTTP/1.1 099 Low")),
    refused("status-600", answer(line=b"HTTP/1.1 600 High")),
    refused("two-lengths", answer(b"content-length: 3")),
    refused("a-length-that-is-no-number", answer(b"content-length: two", length=False)),
    refused("a-length-beside-a-coding", CHUNKED[:-2] + b"content-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    refused("a-coding-that-is-not-chunked", answer(b"transfer-encoding: gzip, chunked", length=False)),
    refused("a-space-before-the-colon", answer(b"a : 1")),
    refused("a-nul-in-a-value", answer(b"a: 1\x002")),
    refused("a-bare-cr-in-a-value", answer(b"a: 1\rb: 2")),
    refused("an-endless-head", HEAD + b"a: b\r\n" * 100_000, Act.HOLD),
    refused("an-endless-field", HEAD + b"a: " + b"b" * 500_000, Act.HOLD),
    refused("too-many-fields", answer(*(b"a: 1" for _ in range(101)))),
    # One engine bounds their size, the other the time until the final answer begins.
    refused(
        "interim-answers-in-a-flood", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50_000, Act.HOLD, quick=True,
        httpx={**LATE, "word": "http_response_timeout"},
    ),
    refused("101-unasked", b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"),
    # A connection that had served before died unanswered: sent once more, on a new one (RULINGS 16).
    refused("nothing", Act.CLOSE, word=CUT, seen=2),
    refused("nothing-but-a-reset", Act.RESET, word=CUT, seen=2),
    refused("nothing-for-a-write", Act.CLOSE, word=CUT, method="POST", body=b"a"),
    # For one library an orderly end within the head is a head that is malformed.
    refused("half-a-head", HEAD + b"content-le", Act.CLOSE, word=CUT, httpx={"word": "http_protocol_error"}),
    refused("half-a-head-and-a-reset", HEAD + b"content-le", 0.01, Act.RESET, word=CUT),
    # The head is here and valid, and held for its first chunk: what fails in between is still an error.
    refused("no-content-at-all", answer()[:-2], Act.CLOSE, word="http_response_incomplete", **IN_BODY),
    # One engine refuses the packet that both came in, the other has seen the head by then.
    refused("a-chunk-size-that-is-none", CHUNKED + b"two\r\nok\r\n0\r\n\r\n", phase="upstream_body", httpx=IN_BODY),
    refused("silence", Act.HOLD, word="http_response_timeout", **LATE),
    refused("a-head-that-drips", Drip(data=HEAD + b"a: " * 99, gap_s=0.01), word="http_response_timeout", **LATE),
    refused("a-promise-and-silence", answer()[:-2], Act.HOLD, word="connection_read_timeout", **LATE, **IN_BODY),
)  # fmt: skip


def check_error(heard: Hearing, *, status: int, word: str, code: str) -> None:
    """DESIGN 5: the whole answer, and nothing of the upstream's in it."""
    assert (heard.status, heard.complete) == (status, True), (heard.status, heard.fault, bytes(heard.body)[:200])
    assert heard.one(b"proxy-status") == b"tiergate; error=" + word.encode()
    assert heard.one(b"cache-control") == b"no-store"
    assert heard.one(b"content-type") == b"application/json"
    assert len(heard.all(b"date")) == len(heard.all(b"ratelimit")) == len(heard.all(b"x-request-id")) == 1
    body = heard.json()
    assert set(body) == OURS
    assert (body["error"], body["source"], body["status"]) == (code.replace("-", "_"), None, status)
    assert body["request_id"].encode() == heard.one(b"x-request-id")


@pytest.mark.parametrize("fault", REFUSED, ids=lambda fault: fault.name)
async def test_a_fault_before_the_head_has_gone_is_our_error(stage: Stage, fault: Refused) -> None:
    fault = fault.on(stage.engine)
    prefix, origin, owner = behind(stage, quick=fault.quick)
    await stage.probes(prefix, 1)
    origin.rehearse(fault.script)
    path = stage.target(prefix)
    heard = await stage.fetch(path, method=fault.method, body=fault.body)
    check_error(heard, status=fault.status, word=fault.word, code=fault.code)
    assert len(origin.cases) == fault.seen
    assert await stage.ending(path) == Ending(
        status=fault.status,
        origin="gateway",
        reason=fault.code,
        phase=fault.phase,
        owner=owner,
        upstream_status=fault.upstream_status,
        word="error",
        sla=SLA[owner],
    )
    await stage.proved(path, quick=fault.quick)


def behind(stage: Stage, *, quick: bool) -> tuple[str, Origin, str]:
    """Where the path begins, the origin, and whose it is."""
    return ("/quick", stage.quick, "managed") if quick else ("", stage.origin, "third_party")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A fault after the head and ``part`` have gone. A script waits at ``Act.GO`` until the caller has them."""

    name: str
    script: Script
    part: bytes = b"ok"
    code: str = "upstream-protocol"
    quick: bool = False


def cut(name: str, begun: bytes, *rest: Step, **more: Any) -> Cut:
    return Cut(name=name, script=(begun, Act.GO, *rest), **more)


BY_LENGTH = answer(body=b"ok" + b"x" * 8)[:-8]
BY_CHUNKS = CHUNKED + b"2\r\nok\r\n"
TO_CLOSE = answer(length=False)
EVENTS = answer(b"content-type: text/event-stream", length=False, body=b"data: 1\n\n")
QUIET: Mapping[str, Any] = {"code": "upstream-timeout", "quick": True}
CUTS = (
    cut("shorter-than-promised", BY_LENGTH, Act.CLOSE),
    cut("shorter-than-promised-by-one-octet", answer(body=b"okx")[:-1], Act.CLOSE),
    cut("a-reset-within-the-length", BY_LENGTH, Act.RESET),
    cut("chunks-without-end", BY_CHUNKS, Act.CLOSE),
    cut("chunks-without-the-last-line-end", BY_CHUNKS, b"0\r\n", Act.CLOSE),
    cut("half-a-chunk", BY_CHUNKS, b"9\r\nxx", Act.CLOSE, part=b"ok"),
    cut("a-reset-between-chunks", BY_CHUNKS, Act.RESET),
    cut("a-chunk-size-that-is-none", BY_CHUNKS, b"two\r\nxx\r\n"),
    cut("a-negative-chunk-size", BY_CHUNKS, b"-2\r\nxx\r\n"),
    cut("a-chunk-size-beyond-64-bits", BY_CHUNKS, b"fffffffffffffffff\r\nxx", Act.CLOSE),
    cut("a-chunk-longer-than-it-says", BY_CHUNKS, b"2\r\nxxx\r\n0\r\n\r\n"),
    cut("an-answer-instead-of-a-chunk", BY_CHUNKS, POISON),
    cut("an-endless-chunk-extension", BY_CHUNKS, b"2;" + b"e" * 300_000, Act.HOLD),
    cut("endless-trailers", BY_CHUNKS, b"0\r\n" + b"a: b\r\n" * 50_000, Act.HOLD),
    # An orderly end would be the content's end; only a reset tells that something is missing.
    cut("a-reset-before-the-close", TO_CLOSE, Act.RESET),
    cut("a-reset-within-an-event-stream", EVENTS, Act.RESET, part=b"data: 1\n\n"),
    cut("silence-within-the-length", BY_LENGTH, Act.HOLD, **QUIET),
    cut("silence-between-chunks", BY_CHUNKS, Act.HOLD, **QUIET),
    # The head did not wait for the content of unknown length; nothing of it ever comes.
    cut("silence-after-the-head", CHUNKED, Act.HOLD, part=b"", **QUIET),
)


@pytest.mark.parametrize("fault", CUTS, ids=lambda fault: fault.name)
async def test_a_fault_after_the_head_has_gone_leaves_the_message_without_an_end(stage: Stage, fault: Cut) -> None:
    prefix, origin, owner = behind(stage, quick=fault.quick)
    origin.rehearse(fault.script)
    path = stage.target(prefix)
    async with stage.calling() as caller:
        await caller.send(message(path, key=KEY))
        heard = await (await caller.hear().head()).at_least(len(fault.part))
        assert (heard.status, heard.fault) == (200, None)
        origin.go.set()
        await heard.end()
        assert not heard.complete
        assert heard.fault
        assert heard.body.startswith(fault.part)
        assert b"poison" not in heard.body
        assert b"error" not in await caller.ended()
    assert await stage.ending(path) == Ending(
        status=200,
        origin="upstream",
        reason=fault.code,
        phase="upstream_body",
        truncated_by="upstream",
        owner=owner,
        upstream_status=200,
        word="error",
        sla=SLA[owner],
    )
    await stage.proved(path, quick=fault.quick)


BEHIND = (
    ("more-than-promised", (answer(body=b"okmore").replace(b": 6", b": 2"),)),
    ("two-answers-at-once", (answer() + POISON,)),
    ("an-answer-nobody-asked-for", (answer(), Act.GO, POISON)),
    ("an-answer-behind-the-last-chunk", (BY_CHUNKS + b"0\r\n\r\n" + POISON,)),
    ("an-answer-behind-trailers", (BY_CHUNKS + b"0\r\na: b\r\n\r\n" + POISON,)),
    ("content-behind-204", (b"HTTP/1.1 204 No Content\r\n\r\n" + POISON,)),
    ("content-behind-304", (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n" + POISON,)),
    ("a-close-behind-the-answer", (answer(), Act.GO, Act.CLOSE)),
    ("a-reset-behind-the-answer", (answer(), Act.GO, Act.RESET)),
    ("a-line-end-behind-the-answer", (answer() + b"\r\n",)),
)


@pytest.mark.parametrize(("name", "script"), BEHIND, ids=lambda value: value if isinstance(value, str) else "")
async def test_what_stands_behind_an_answer_is_nobodys(stage: Stage, name: str, script: Script) -> None:
    stage.origin.rehearse(script)
    path = stage.target()
    heard = await stage.fetch(path)
    assert heard.complete
    assert (heard.status, bytes(heard.body)) in {(200, b"ok"), (204, b""), (304, b"")}
    stage.origin.go.set()
    await stage.origin.played.wait()
    ending = await stage.ending(path)
    assert (ending.origin, ending.reason, ending.sla) == ("upstream", None, ("good", "ok"))
    await stage.proved(path)


async def test_a_folded_field_is_refused_or_unfolded_and_never_passed_on(stage: Stage) -> None:
    """RFC 9112 5.2 leaves the choice: http1 refuses it, the library under httpx replaces the fold by SP."""
    stage.origin.rehearse((answer(b"a: 1\r\n content-length: 9"),))
    path = stage.target()
    heard = await stage.fetch(path)
    if stage.engine == "http1":
        check_error(heard, status=502, word="http_protocol_error", code="upstream-protocol")
    else:
        assert (heard.status, heard.one(b"a"), heard.body) == (200, b"1 content-length: 9", bytearray(b"ok"))
    await stage.proved(path)


@pytest.mark.parametrize("drips", [0, 4], ids=["a-quick-caller", "a-caller-that-dripped-before"])
async def test_an_upstream_that_does_not_read_an_upload_is_504(stage: Stage, drips: int) -> None:
    stage.quick.rehearse((Act.GO,), early=True)
    path, size = stage.target("/quick"), 20_000_000
    async with stage.calling() as caller:
        await caller.send(message(path, f"content-length: {size + drips}", method="POST", key=KEY))
        for _ in range(drips):
            await asyncio.sleep(0.2)
            await caller.send(b"x")
        sending = asyncio.create_task(caller.send(b"x" * size))
        check_error(await caller.hear("POST").end(), status=504, word=WRITE[stage.engine], code="upstream-timeout")
        caller.leave()
        await asyncio.wait((sending,))
        sending.exception()
    stage.quick.go.set()
    ending = await stage.ending(path)
    assert (ending.status, ending.reason, ending.owner) == (504, "upstream-timeout", "managed")
    await stage.proved(path, quick=True)


WRITE = {"http1": "connection_write_timeout", "httpx": "connection_write_timeout"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreached:
    """An upstream that no connection can be made to."""

    name: str
    word: str
    code: str = "upstream-connect"
    status: int = 502
    owner: str = "customer"
    sla: tuple[str, str] = ("ignored", "customer")


UNREACHED = (
    Unreached(name="nowhere", word="dns_error"),
    Unreached(name="refusing", word="connection_refused"),
    Unreached(name="metadata", word="destination_ip_prohibited"),
    # The gateway's own fault, whoever owns the upstream: the policy points at itself.
    Unreached(name="own", word="proxy_loop_detected", code="upstream-loop", owner="managed", sla=("bad", "gateway")),
    Unreached(name="plain", word="tls_protocol_error", code="upstream-tls"),
    Unreached(name="mute", word="connection_timeout", code="upstream-timeout", status=504),
)


@pytest.mark.parametrize("fault", UNREACHED, ids=lambda fault: fault.name)
async def test_an_upstream_that_is_not_reached_is_named_and_takes_no_slot(
    stage: Stage, fault: Unreached, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice, because the pool of each has one connection."""
    if fault.name == "metadata":
        resolve_to_link_local(monkeypatch)
    paths = [stage.target(f"/{fault.name}") for _ in range(2)]
    for path in paths:
        check_error(await stage.fetch(path), status=fault.status, word=fault.word, code=fault.code)
        assert await stage.ending(path) == Ending(
            status=fault.status,
            origin="gateway",
            reason=fault.code,
            phase="upstream_connect",
            owner=fault.owner,
            word="error",
            sla=fault.sla,
        )
    await stage.proved(*paths)


def resolve_to_link_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name that the policy's own check cannot see through; every other one stays as it is."""
    loop = type(asyncio.get_running_loop())
    real: Any = loop.getaddrinfo

    async def getaddrinfo(self: Any, host: Any, port: Any, **more: Any) -> Any:
        if host == "metadata.invalid":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", port))]
        return await real(self, host, port, **more)

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)


async def test_an_upstream_that_comes_back_serves_the_next_call(stage: Stage) -> None:
    assert (await stage.fetch(stage.target("/refusing"))).status == 502
    port = stage.nobody.getsockname()[1]
    stage.nobody.close()
    async with Origin().serving("127.0.0.1", port) as back:
        await stage.probes("/refusing")
        assert back.connections == 1


async def test_a_full_pool_is_503_of_ours_and_says_when_to_come_back(stage: Stage) -> None:
    stage.origin.rehearse((answer()[:-2], Act.GO, b"ok"))
    holder, path = stage.target(), stage.target()
    async with stage.calling() as caller:
        await caller.send(message(holder, key=OTHER_KEY))
        await stage.origin.arrived.wait()
        heard = await stage.fetch(path)
        assert (heard.status, heard.json()["source"], heard.one(b"retry-after")) == (503, "shed", b"1")
        assert heard.one(b"proxy-status") == b"tiergate; error=connection_limit_reached"
        stage.origin.go.set()
        assert (await caller.hear().end()).body == b"ok"
    ending = await stage.ending(path)
    assert (ending.phase, ending.owner, ending.sla) == ("queue", "third_party", ("bad", "gateway"))
    await stage.proved(path, holder)


async def test_every_sink_has_every_call_once_and_says_the_same_of_it(stage: Stage) -> None:
    """The last test of the module: all of the above, in the access log's file, the ledger and the metrics."""
    await stage.agreed()
