"""What a caller does wrong, through the whole gateway: what it hears, what the upstream sees, who is to blame.

A caller's fault never costs the next one anything: the slot comes back, the upstream's connection is ended or goes
on to ten probes, and there is exactly one outcome, or none where no request was ever complete enough to be one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from tests.upstreams.conformance.cases import answer
from tests.upstreams.conformance.origin import Act, Flood
from tests.wire.caller import message
from tests.wire.stage import KEY, OTHER_KEY, Ending, Stage

pytestmark = pytest.mark.anyio

OK = (answer(),)
SECRET = f"x-api-key: {KEY}\r\n".encode()
POST = b"POST %b HTTP/1.1\r\nhost: a\r\n" + SECRET
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: a\r\n" + SECRET + b"\r\n"
LEFT = ("ignored", "client_abort")


def aborted(phase: str, *, owner: str | None = "third_party", status: int = 499, upstream: int | None = None) -> Ending:
    """The caller has left: nobody's error."""
    return Ending(
        status=status, origin="client", phase=phase, owner=owner, upstream_status=upstream, word="aborted", sla=LEFT
    )


def no_request_for(stage: Stage, path: str) -> None:
    assert not stage.recorder.of(path)
    assert all(path.encode() not in arrival.target for arrival in stage.origin.arrivals)


# A request that is never whole


async def test_half_a_head_is_no_request(stage: Stage) -> None:
    path = stage.target()
    async with stage.calling() as caller:
        await caller.send(message(path, key=KEY)[:-2])
        caller.leave()
    await stage.proved()
    no_request_for(stage, path)


@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_half_a_body_ends_the_upstreams_half(stage: Stage, framing: str, reset: bool) -> None:
    """The upstream never takes it for a whole request: its connection ends before the body does."""
    stage.origin.rehearse(OK)
    path = stage.target()
    field, part = (
        ("content-length: 9", b"half") if framing == "length" else ("transfer-encoding: chunked", b"4\r\nhalf\r\n")
    )
    async with stage.calling() as caller:
        await caller.send(message(path, field, method="POST", key=KEY) + part)
        await stage.origin.arrived.wait()
        caller.leave(reset=reset)
        assert await stage.ending(path) == aborted("upstream_connect")
    await stage.origin.until_open(0)
    (arrival,) = stage.origin.cases
    assert not arrival.complete
    await stage.proved(path)


async def test_an_announced_body_of_which_nothing_comes_asks_nothing_of_the_upstream(stage: Stage) -> None:
    stage.origin.rehearse(OK)
    path = stage.target()
    async with stage.calling() as caller:
        await caller.send(message(path, "content-length: 9", method="POST", key=KEY))
        caller.leave()
        assert await stage.ending(path) == aborted("upstream_connect")
    assert stage.origin.cases == []
    await stage.proved(path)


@pytest.mark.parametrize("garbage", [b"zz\r\n", b"2\r\nokk\r\n0\r\n\r\n"], ids=["no-size", "longer-than-it-says"])
async def test_a_chunk_that_lies_is_400_and_ends_the_connection(stage: Stage, garbage: bytes) -> None:
    """The servers report a disconnect; what they would answer by themselves differs, what is heard does not."""
    stage.origin.rehearse(OK)
    path = stage.target()
    async with stage.calling() as caller:
        await caller.send(message(path, "transfer-encoding: chunked", method="POST", key=KEY) + b"4\r\nhalf\r\n")
        await stage.origin.arrived.wait()
        await caller.send(garbage + SMUGGLED)
        heard = await caller.hear("POST").end()
        assert (heard.status, heard.complete) == (400, True)
        assert b"HTTP" not in await caller.ended()
    assert await stage.ending(path) == aborted("upstream_connect")
    assert [arrival.complete for arrival in stage.origin.cases] == [False]
    await stage.proved(path)


@pytest.mark.parametrize("part", ["head", "body"])
async def test_a_caller_that_drips_is_served(stage: Stage, part: str) -> None:
    stage.origin.rehearse(OK)
    path = stage.target()
    head, body = message(path, "content-length: 5", method="POST", key=KEY), b"hello"
    async with stage.calling() as caller:
        if part == "body":
            await caller.send(head)
        for octet in head + body if part == "head" else body:
            await caller.send(bytes((octet,)))
            await asyncio.sleep(0.0005 if part == "head" else 0.02)
        assert (await caller.hear("POST").end()).body == b"ok"
    (arrival,) = stage.origin.cases
    assert (bytes(arrival.body), arrival.complete) == (body, True)
    assert await stage.ending(path) == Ending(status=200, upstream_status=200)
    await stage.proved(path)


async def test_a_body_that_stalls_is_408_of_the_callers(stage: Stage) -> None:
    """RFC 9110 15.5.9; the upstream's connection ends, and the answer is the last one on the caller's."""
    stage.quick.rehearse(OK)
    path = stage.target("/quick")
    async with stage.calling() as caller:
        await caller.send(message(path, "content-length: 9", method="POST", key=KEY) + b"half")
        heard = await caller.hear("POST").end()
        assert (heard.status, heard.json()["error"]) == (408, "request_timeout")
        assert heard.one(b"connection") == b"close"
        assert await caller.ended() == b""
    assert await stage.ending(path) == Ending(
        status=408, origin="gateway", reason="request-timeout", phase="queue", owner="managed", word="refused",
        sla=("ignored", "client_error"),
    )  # fmt: skip
    assert [arrival.complete for arrival in stage.quick.cases] == [False]
    await stage.proved(path, quick=True)


# A caller that is not there any more


async def test_a_caller_that_leaves_while_the_upstream_thinks_ends_the_call(stage: Stage) -> None:
    """One closes and one resets; whether anyone still waits is asked after a second."""
    stage.origin.rehearse((Act.HOLD,))
    path, other = stage.target(), stage.target("/crowd")
    async with stage.calling() as closing, stage.calling() as resetting:
        await closing.send(message(path, key=KEY))
        await resetting.send(message(other, key=OTHER_KEY))
        async with asyncio.timeout(5):
            while len(stage.origin.cases) < 2:
                await asyncio.sleep(0)
        closing.leave()
        resetting.leave(reset=True)
        assert await stage.ending(path) == aborted("upstream_connect")
        assert await stage.ending(other) == aborted("upstream_connect", owner="managed")
    await stage.origin.until_open(0)
    await stage.proved(path, other)


async def test_a_caller_that_never_reads_stops_the_upstream_and_is_given_up(stage: Stage) -> None:
    block, times = b"x" * 65_536, 800
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (len(block) * times)
    stage.quick.rehearse((head, Flood(data=block, times=times)))
    path, before = stage.target("/quick"), stage.quick.written
    async with stage.calling(small=True) as caller:
        await caller.send(message(path, key=KEY))
        assert await stage.ending(path) == aborted("upstream_body", owner="managed", status=200, upstream=200)
    assert stage.quick.written - before < 20_000_000, "what nobody reads is not fetched"
    await stage.proved(path, quick=True)


async def test_a_caller_that_closes_its_sending_half_has_left(stage: Stage) -> None:
    """Both servers take it so, also after a whole request, and close without a word.

    Whether the call had begun by then is a race: it may go on for a moment, or granian drop it, and then there is no
    outcome, as there was no call.
    """
    stage.origin.rehearse(OK)
    path = stage.target()
    async with stage.calling() as caller:
        await caller.send(message(path, key=OTHER_KEY))
        caller.end_sending()
        assert (await caller.hear().end()).status is None
    await stage.proved()
    assert len(stage.recorder.of(path)) <= 1


# More than one request, or not quite one


async def test_pipelined_requests_are_answered_in_their_order(stage: Stage) -> None:
    stage.origin.rehearse(OK)
    async with stage.calling() as caller:
        heads = [message("/probe", f"x-marker: pipelined-{number}", key=KEY) for number in range(5)]
        await caller.send(b"".join(heads))
        for number in range(5):
            heard = await caller.hear().end()
            assert (heard.status, heard.body.decode()) == (200, f"pipelined-{number}")
    await stage.proved()


async def test_garbage_behind_a_body_is_400_and_the_last_word(stage: Stage) -> None:
    stage.origin.rehearse(OK)
    path = stage.target()
    async with stage.calling() as caller:
        await caller.send(message(path, "content-length: 2", method="POST", key=KEY) + b"ok\x00\x01 garbage\r\n\r\n")
        assert (await caller.hear("POST").end()).status == 200
        assert (await caller.hear().end()).status == 400
        assert b"HTTP" not in await caller.ended()
    assert [bytes(arrival.body) for arrival in stage.origin.cases] == [b"ok"]
    assert (await stage.ending(path)).status == 200
    await stage.proved(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """A request that is no HTTP/1.1 request. ``ours``: the servers that let it through to the gateway's own 400.

    Where a server refuses by itself there is no outcome and no line: the application never hears of it.
    ``status`` differs by server only where it says so. Whatever follows on the connection is never looked at.
    """

    name: str
    sent: bytes
    status: int | Mapping[str, int | None] = 400
    ours: frozenset[str] = frozenset()
    forwarded: frozenset[str] = frozenset()


BOTH = frozenset(("granian", "uvicorn"))
GRANIAN, UVICORN = frozenset(("granian",)), frozenset(("uvicorn",))


def get(*fields: bytes, host: bytes = b"host: a\r\n", version: bytes = b"1.1", method: bytes = b"GET") -> bytes:
    return b"%b %%b HTTP/%b\r\n%b%b%b\r\n" % (method, version, host, SECRET, b"".join(f + b"\r\n" for f in fields))


CODED = b"transfer-encoding: chunked"
MALFORMED = (
    Malformed(name="no-host", sent=get(host=b""), ours=GRANIAN),
    Malformed(name="two-hosts", sent=get(host=b"host: a\r\nhost: b\r\n"), ours=GRANIAN),
    Malformed(name="an-empty-host", sent=get(host=b"host:\r\n"), ours=BOTH),
    Malformed(name="two-lengths", sent=get(b"content-length: 2", b"content-length: 3", method=b"POST") + b"okk"),
    Malformed(name="a-length-that-is-no-number", sent=get(b"content-length: two", method=b"POST") + b"ok"),
    # RFC 9112 6.3 leaves the choice: hyper drops the length and closes behind the answer, the gateway refuses.
    Malformed(
        name="a-length-beside-a-coding",
        sent=get(b"content-length: 99", CODED, method=b"POST") + b"0\r\n\r\n",
        status={"granian": 200, "uvicorn": 400}, ours=UVICORN, forwarded=GRANIAN,
    ),
    Malformed(name="a-coding-that-is-not-chunked", sent=get(b"transfer-encoding: gzip, chunked"), ours=GRANIAN),
    Malformed(name="a-coding-in-http-1.0", sent=get(CODED, version=b"1.0") + b"0\r\n\r\n", ours=UVICORN),
    Malformed(name="a-space-before-the-colon", sent=get(b"x : a")),
    Malformed(name="a-nul-in-a-value", sent=get(b"x: a\x00b")),
    Malformed(name="http-2.0-in-a-request-line", sent=get(version=b"2.0"), ours=UVICORN),
    Malformed(name="http-0.9", sent=b"GET %b\r\n\r\n"),
    Malformed(name="a-tls-hello", sent=b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03%b\r\n\r\n"),
    # hyper bounds the number of fields, h11 only their size; what passes both goes on.
    Malformed(
        name="a-thousand-fields", sent=get(*(b"x: a" for _ in range(1_000)), b"connection: close"),
        status={"granian": 431, "uvicorn": 200}, forwarded=UVICORN,
    ),
    Malformed(name="a-head-of-300-kib", sent=get(b"x: " + b"a" * 300_000), status={"granian": 431, "uvicorn": 400}),
    Malformed(name="an-endless-head", sent=get(b"x: " + b"a" * 2_000_000), status={"granian": 431, "uvicorn": 400}),
)  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.name)
async def test_a_malformed_request_ends_the_connection(stage: Stage, case: Malformed) -> None:
    stage.origin.rehearse(OK)
    before, path = len(stage.recorder.seen), stage.target()
    async with stage.calling() as caller:
        sending = asyncio.create_task(caller.send(case.sent.replace(b"%b", path.encode()) + SMUGGLED))
        heard = await caller.hear().end()
        expected = case.status[stage.server] if isinstance(case.status, Mapping) else case.status
        assert heard.status == expected
        assert b"HTTP" not in await caller.ended()
        await asyncio.wait((sending,))
        sending.exception()
    await stage.proved()
    outcomes = [outcome for exchange, outcome in stage.recorder.seen[before:] if exchange.path != "/probe"]
    assert not any("/smuggled" in exchange.path for exchange, _ in stage.recorder.seen)
    assert len(stage.origin.cases) == (stage.server in case.forwarded)
    assert len(outcomes) == (stage.server in case.ours | case.forwarded)
    if stage.server in case.ours:
        assert (outcomes[0].status, outcomes[0].reason) == (400, "bad-request")
        assert heard.json()["error"] == "bad_request"


# What a caller may ask of a connection


async def test_expect_is_answered_here_before_the_body_and_not_passed_on(stage: Stage) -> None:
    stage.origin.rehearse(OK)
    path = stage.target()
    async with stage.calling() as caller:
        await caller.send(message(path, "expect: 100-continue", "content-length: 2", method="POST", key=KEY))
        heard = await caller.hear("POST").interim_answer()
        await caller.send(b"ok")
        assert ((await heard.end()).status, heard.interim) == (200, [100])
    (arrival,) = stage.origin.cases
    assert (arrival.value(b"expect"), bytes(arrival.body)) == (None, b"ok")
    await stage.proved(path)


async def test_expect_is_refused_without_a_100_where_the_gateway_refuses(stage: Stage) -> None:
    async with stage.calling() as caller:
        await caller.send(message("/a", "expect: 100-continue", "content-length: 2", method="POST", key="bad"))
        heard = await caller.hear("POST").end()
        assert (heard.status, heard.interim) == (401, [])
    await stage.proved()


async def test_an_upstream_that_answers_before_the_body_ends_the_upload(stage: Stage) -> None:
    """Expect or not: the rest of the body is not asked for, and the upstream's connection is not used again."""
    stage.origin.rehearse((answer(line=b"HTTP/1.1 413 Content Too Large", body=b"no"),), early=True)
    path = stage.target()
    async with stage.calling() as caller:
        fields = ("expect: 100-continue", "content-length: 1000000")
        await caller.send(message(path, *fields, method="POST", key=KEY) + b"x" * 1000)
        heard = await caller.hear("POST").end()
        assert (heard.status, bytes(heard.body), heard.complete) == (413, b"no", True)
    ending = await stage.ending(path)
    assert (ending.status, ending.origin, ending.sla) == (413, "upstream", ("good", "ok"))
    assert [arrival.complete for arrival in stage.origin.cases] == [False]
    await stage.proved(path)


@pytest.mark.parametrize("keep", [False, True], ids=["closes", "keeps"])
async def test_http_1_0_gets_an_answer_it_can_read(stage: Stage, keep: bool) -> None:
    """A content of unknown length goes without chunks, and its end is the connection's."""
    begun = answer(b"transfer-encoding: chunked", length=False, body=b"2\r\nok\r\n")
    stage.origin.rehearse((begun, Act.GO, b"4\r\nmore\r\n0\r\n\r\n"))
    path = stage.target()
    async with stage.calling() as caller:
        await caller.send(message(path, *KEEPS[keep], key=KEY, version="1.0"))
        heard = await caller.hear().at_least(2)
        stage.origin.go.set()
        await heard.end()
        assert (heard.status, bytes(heard.body), heard.complete) == (200, b"okmore", True)
        assert heard.all(b"transfer-encoding") == []
        assert await caller.ended() == b""
    await stage.proved(path)


KEEPS = {False: (), True: ("connection: keep-alive",)}


@pytest.mark.parametrize("keep", [False, True], ids=["closes", "keeps"])
async def test_http_1_0_keeps_its_connection_only_where_it_asks(stage: Stage, keep: bool) -> None:
    """And not even then on uvicorn: h11 keeps no connection of HTTP/1.0."""
    kept = keep and stage.server == "granian"
    async with stage.calling() as caller:
        for marker in ("first", "second") if kept else ("first",):
            await caller.send(message("/probe", *KEEPS[keep], f"x-marker: {marker}", key=KEY, version="1.0"))
            assert (await caller.hear().end()).body.decode() == marker
        if not kept:
            assert await caller.ended() == b""
    await stage.proved()


@pytest.mark.parametrize("stated", [True, False], ids=["length-stated", "length-unknown"])
async def test_http_1_0_sees_a_cut_only_where_the_length_was_stated(stage: Stage, stated: bool) -> None:
    """Its only other sign of an end is the connection's, and a server can be told to close but not to reset.

    The record says either way that the answer was cut (RFC 9112 8).
    """
    begun = answer(b"transfer-encoding: chunked", length=False, body=b"2\r\nok\r\n")
    stage.origin.rehearse((answer(body=b"okmore")[:-4] if stated else begun, Act.GO, Act.RESET))
    path = stage.target()
    async with stage.calling() as caller:
        await caller.send(message(path, key=KEY, version="1.0"))
        heard = await caller.hear().at_least(2)
        stage.origin.go.set()
        assert (await heard.end()).complete is not stated
        assert heard.body == b"ok"
    ending = await stage.ending(path)
    assert (ending.truncated_by, ending.reason, ending.word) == ("upstream", "upstream-protocol", "error")
    await stage.proved(path)


async def test_an_absolute_target_is_routed_by_its_path(stage: Stage) -> None:
    stage.origin.rehearse(OK)
    path = stage.target()
    assert (await stage.fetch(f"http://elsewhere.test:99{path}?q=1")).body == b"ok"
    (arrival,) = stage.origin.cases
    assert arrival.target == f"{path}?q=1".encode()
    assert arrival.value(b"host") == f"127.0.0.1:{stage.origin.port}".encode()
    await stage.proved(path)


async def test_fields_named_by_connection_end_here_and_nothing_of_ours_with_them(stage: Stage) -> None:
    """RFC 9110 7.6.1; P-3: nobody deletes a field of ours by naming it."""
    stage.origin.rehearse(OK)
    path = stage.target()
    named = "connection: close, x-foo, via, forwarded, x-request-id, host, content-length"
    fields = ("x-foo: 1", "x-bar: 2", "te: trailers", "keep-alive: 5", "proxy-authorization: Basic eDp5", named)
    async with stage.calling() as caller:
        await caller.send(message(path, *fields, "content-length: 2", method="POST", key=KEY) + b"ok")
        assert (await caller.hear("POST").end()).body == b"ok"
        assert await caller.ended() == b""
    (arrival,) = stage.origin.cases
    for name in (b"x-foo", b"te", b"keep-alive", b"proxy-authorization", b"connection", b"x-api-key"):
        assert arrival.value(name) is None, name
    assert arrival.value(b"x-bar") == b"2"
    assert arrival.value(b"via") == b"1.1 tiergate-wire"
    assert arrival.value(b"content-length") == b"2"
    assert None not in {arrival.value(name) for name in (b"forwarded", b"x-request-id", b"host")}
    await stage.proved(path)


@pytest.mark.parametrize("protocol", ["h2c", "tls/1.0"])
async def test_an_upgrade_is_not_offered_to_the_upstream(stage: Stage, protocol: str) -> None:
    """Without the protocol behind it the request is a plain one (RFC 9110 7.8)."""
    stage.origin.rehearse(OK)
    path = stage.target()
    fields = ("connection: upgrade, http2-settings", f"upgrade: {protocol}", "http2-settings: AAMAAABkAAQAAP__")
    assert (await stage.fetch(path, *fields)).status == 200
    (arrival,) = stage.origin.cases
    assert {arrival.value(name) for name in (b"upgrade", b"connection", b"http2-settings")} == {None}
    await stage.proved(path)


async def test_every_sink_has_every_call_once_and_says_the_same_of_it(stage: Stage) -> None:
    """The last test of the module: all of the above, in the access log's file, the ledger and the metrics."""
    await stage.agreed()
