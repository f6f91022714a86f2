"""An upstream that throttles, over sockets: the matrix of spec http.md §9 through the whole gateway.

Each row is a distinct kind of answer or caller. Every field that is emitted is read by a strict RFC 9651 parser,
and every call reaches the upstream exactly once.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import Any

import http_sf
import pytest

from policies.throttling import Condition, Inspection, Profile, Rule, Source
from tests.upstreams.conformance.cases import answer
from tests.upstreams.conformance.origin import Act, Flood, Script
from tests.wire.caller import Hearing, message
from tests.wire.stage import KEY, Ending, Stage

pytestmark = pytest.mark.anyio
EVERY_ENGINE = True

LIMITED = b'{"errors": [{"code": "LIMITED"}]}'
PARTLY = b'{"errors": [{"code": "LIMITED"}], "data": {"a": 1}}'
IS_LIMITED = Condition(source=Source(paths=(("errors", None, "code"),)), equals=("LIMITED",))
NO_DATA = Condition(source=Source(paths=(("data",),)), absent=True)
LEDGER = Profile(
    name="ledger",
    when=(
        Rule(statuses=(403,), conditions=(IS_LIMITED,), wait_s=47, nothing_executed=True),
        Rule(statuses=(200,), conditions=(IS_LIMITED, NO_DATA), wait_s=5, nothing_executed=True),
        Rule(statuses=(200,), conditions=(IS_LIMITED,), wait_s=5),
    ),
    inspect=Inspection(
        statuses=frozenset((200, 403)), content_types=("application/json",), max_bytes=10_000, wait_us=100_000
    ),
)
UPSTREAMS = {
    "origin": {"profile": LEDGER},
    "quick": {"profile": LEDGER, "throttled_body": "native"},
    "crowd": {"profile": LEDGER, "protect": True},
}
"""Bodies are ours behind ``/``, the upstream's own behind ``/quick``; what ``/crowd`` says is remembered."""

SLOW_DOWN = b"HTTP/1.1 429 Too Many Requests"
FORBIDDEN = b"HTTP/1.1 403 Forbidden"
JSON = b"content-type: application/json"
CHUNKED = b"\r\ntransfer-encoding: chunked\r\n"
EPOCH, MS, GO = b"1790000300", b"1790000300000", b"6m0s"
PACKED = gzip.compress(LIMITED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled:
    """``wait`` None: an estimate. ``upstream_body``: what stands in ours; ``native`` what came in its place."""

    name: str
    script: Script
    wait: int | None = None
    received: int = 429
    method: str = "GET"
    version: str = "1.1"
    upstream_body: Any = None
    native: bytes | None = None
    over: bool = False


def throttled(name: str, *script: Any, **more: Any) -> Throttled:
    return Throttled(name=name, script=script, **more)


THROTTLED = (
    throttled("plain", answer(b"retry-after: 9", line=SLOW_DOWN), wait=9),
    throttled("no-wait", answer(line=SLOW_DOWN)),
    throttled(
        "json", answer(JSON, b"retry-after: 9", line=SLOW_DOWN, body=b'{"a": 1}'), wait=9, upstream_body={"a": 1},
    ),
    throttled(
        "gzip", answer(JSON, b"content-encoding: gzip", b"retry-after: 9", line=SLOW_DOWN, body=PACKED), wait=9,
        upstream_body=json.loads(LIMITED), native=PACKED,
    ),
    throttled("in-chunks", SLOW_DOWN + CHUNKED + b"retry-after: 9\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", wait=9),
    throttled(
        "slow-chunks", SLOW_DOWN + CHUNKED + b"retry-after: 9\r\n\r\n1\r\no\r\n", 0.3, b"1\r\nk\r\n0\r\n\r\n", wait=9,
        over=True,
    ),
    throttled("to-the-close", answer(b"retry-after: 9", line=SLOW_DOWN, length=False), Act.CLOSE, wait=9, over=True),
    throttled(
        "cut-short", SLOW_DOWN + b"\r\ncontent-length: 99\r\nretry-after: 9\r\n\r\nx", Act.CLOSE, wait=9, over=True,
    ),
    throttled(
        "huge", SLOW_DOWN + b"\r\ncontent-length: 100000000\r\nretry-after: 9\r\n\r\n",
        Flood(data=b"x" * 100_000, times=1000), wait=9, over=True,
    ),
    throttled("no-body", answer(b"retry-after: 9", line=SLOW_DOWN, body=b""), wait=9, native=b""),
    throttled("head", answer(b"retry-after: 9", line=SLOW_DOWN)[:-2], wait=9, method="HEAD"),
    throttled("http-1.0-caller", answer(b"retry-after: 9", line=SLOW_DOWN), wait=9, version="1.0"),
    throttled("post", answer(b"retry-after: 9", line=SLOW_DOWN), wait=9, method="POST"),
    throttled(
        "a-403-that-means-it", answer(JSON, line=FORBIDDEN, body=LIMITED), wait=47, received=403,
        upstream_body=json.loads(LIMITED), native=LIMITED,
    ),
    throttled(
        "a-200-without-data", answer(JSON, body=LIMITED), wait=5, received=200, upstream_body=json.loads(LIMITED),
        native=LIMITED,
    ),
    throttled(
        "ambiguous-resets",
        answer(
            b"ratelimit-limit: 100", b"ratelimit-remaining: 0", b"ratelimit-reset: " + EPOCH,
            b"x-ratelimit-reset: " + MS, b"x-ratelimit-reset-requests: " + GO, b"retry-after: 9", b"retry-after-ms: 1",
            line=SLOW_DOWN,
        ),
        wait=9,
    ),
    throttled(
        "trailers", SLOW_DOWN + CHUNKED + b'retry-after: 9\r\n\r\n0\r\nratelimit: "late";r=5\r\nretry-after: 1\r\n\r\n',
        wait=9, native=b"",
    ),
    throttled(
        "vary-and-cookies-and-caching",
        answer(
            b"vary: cookie", b"set-cookie: a=1", b"etag: x", b"cache-control: max-age=60", b"retry-after: 9",
            line=SLOW_DOWN,
        ),
        wait=9,
    ),
)  # fmt: skip


def structured(heard: Hearing, name: bytes) -> dict[str, dict[str, Any]]:
    lines = heard.all(name)
    assert len(lines) <= 1, lines
    members = http_sf.parse(lines[0], tltype="list") if lines else []
    assert len(dict(members)) == len(members)
    return dict(members)


def check_fields(heard: Hearing, case: Throttled, *, native: bool = False) -> int:
    """Rows 1 to 5 of the matrix; the wait."""
    for name in (b"retry-after", b"retry-after-ms", b"ratelimit-remaining", b"ratelimit-reset"):
        (value,) = heard.all(name)
        assert value.isdigit()
    wait, reset = int(heard.one(b"retry-after")), int(heard.one(b"ratelimit-reset"))
    assert 60 <= wait <= 72 if case.wait is None else wait == case.wait
    assert wait >= reset
    assert heard.one(b"ratelimit-remaining") == b"0"
    assert {"r": 0, "t": reset} in structured(heard, b"ratelimit").values()
    policies = structured(heard, b"ratelimit-policy")
    assert "minute" in policies
    assert len(heard.all(b"ratelimit-limit")) <= 1
    assert heard.one(b"proxy-status") == b"tiergate; received-status=%d" % case.received
    http_sf.parse(heard.one(b"proxy-status"), tltype="list")
    assert heard.one(b"cache-control") == b"no-store"
    assert len(heard.all(b"content-length")) + len(heard.all(b"transfer-encoding")) <= 1
    said = {value for name, value in heard.headers if not (native and name.startswith(b"x-"))}
    assert not {EPOCH, MS, GO} & said, "a vendor's own fields may stay for its own clients"
    return wait


async def called(stage: Stage, case: Throttled, prefix: str) -> tuple[str, Hearing]:
    (stage.quick if prefix else stage.origin).rehearse(case.script)
    path = stage.target(prefix)
    fields = ("content-length: 0",) if case.method == "POST" else ()
    async with stage.calling() as caller:
        await caller.send(message(path, *fields, method=case.method, version=case.version, key=KEY))
        heard = await caller.hear(case.method).end()
    return path, heard


@pytest.mark.parametrize("case", THROTTLED, ids=lambda case: case.name)
async def test_a_throttle_becomes_our_429(stage: Stage, case: Throttled) -> None:
    path, heard = await called(stage, case, "")
    assert (heard.status, heard.complete, heard.fault) == (429, True, None)
    wait = check_fields(heard, case)
    assert heard.all(b"etag") + heard.all(b"set-cookie") + heard.all(b"content-encoding") == []
    assert heard.all(b"x-ratelimit-reset") == []
    assert heard.one(b"content-type") == b"application/json"
    if case.method == "HEAD":
        assert heard.body == b""
    else:
        body = heard.json()
        assert (body["source"], body["provider"], body["status"]) == ("upstream", "ledger", 429)
        assert (body["retry_after_seconds"], body["estimated"]) == (wait, case.wait is None)
        assert body["violated-policies"][0] in structured(heard, b"ratelimit")
        assert body["request_id"].encode() == heard.one(b"x-request-id")
        assert body.get("upstream_body") == case.upstream_body
    assert len(stage.origin.cases) == 1
    assert await stage.ending(path) == Ending(
        status=429, reason="upstream-throttled", phase="upstream_body", source="upstream",
        upstream_status=case.received, word="limited", sla=("ignored", "upstream_throttle"),
    )  # fmt: skip
    await stage.proved(path)


@pytest.mark.parametrize("case", [case for case in THROTTLED if not case.over], ids=lambda case: case.name)
async def test_a_native_throttle_keeps_its_body(stage: Stage, case: Throttled) -> None:
    path, heard = await called(stage, case, "/quick")
    assert (heard.status, heard.complete, heard.fault) == (429, True, None)
    check_fields(heard, case, native=True)
    whole = case.native if case.native is not None else json.dumps(case.upstream_body).encode()
    expected = b"ok" if case.native is None and case.upstream_body is None else whole
    assert heard.body == (b"" if case.method == "HEAD" else expected)
    assert len(stage.quick.cases) == 1
    await stage.proved(path, quick=True)
    ending = await stage.ending(path)
    assert (ending.status, ending.reason, ending.source, ending.word) == (429, None, "upstream", "limited")


async def test_a_200_with_data_stays_what_it_is_beside_the_fields(stage: Stage) -> None:
    stage.origin.rehearse((answer(JSON, body=PARTLY),))
    heard = await stage.fetch(stage.target())
    assert (heard.status, heard.body, heard.complete) == (200, PARTLY, True)
    assert structured(heard, b"ratelimit")["origin-throttle"] == {"r": 0, "t": 5}
    assert heard.all(b"retry-after") == []
    assert len(stage.origin.cases) == 1


PASSING = {
    "a-403-that-does-not-mean-it": answer(JSON, line=FORBIDDEN, body=b'{"errors": []}'),
    "a-403-of-html": answer(b"content-type: text/html", line=FORBIDDEN, body=LIMITED.replace(b"LIMITED", b"NO")),
    "a-403-coded-oddly": answer(JSON, b"content-encoding: br", line=FORBIDDEN, body=b"\x0b\x02"),
    "a-403-too-large": answer(JSON, line=FORBIDDEN, body=LIMITED + b" " * 20_000),
    "a-gzip-bomb": answer(JSON, b"content-encoding: gzip", line=FORBIDDEN, body=gzip.compress(LIMITED + b" " * 10**7)),
    "a-json-bomb": answer(JSON, line=FORBIDDEN, body=b"[" * 9_000),
}


@pytest.mark.parametrize("name", PASSING)
async def test_an_ordinary_answer_passes_untouched(stage: Stage, name: str) -> None:
    octets = PASSING[name]
    stage.origin.rehearse((octets,))
    path = stage.target()
    heard = await stage.fetch(path)
    assert (heard.status, heard.complete) == (403, True)
    assert heard.body == octets.partition(b"\r\n\r\n")[2]
    assert heard.all(b"retry-after") + heard.all(b"proxy-status") == []
    assert await stage.ending(path) == Ending(status=403, upstream_status=403)
    await stage.proved(path)


async def test_a_slow_403_is_streamed_from_its_first_octet(stage: Stage) -> None:
    head = FORBIDDEN + b"\r\ncontent-type: application/json" + CHUNKED + b'\r\n5\r\n{"err\r\n'
    stage.origin.rehearse((head, Act.GO, b'4\r\n": 1\r\n1\r\n}\r\n0\r\n\r\n'))
    path = stage.target()
    async with stage.calling() as caller:
        await caller.send(message(path, key=KEY))
        heard = await caller.hear().at_least(5)
        assert (heard.status, heard.body) == (403, b'{"err')
        stage.origin.go.set()
        await heard.end()
        assert (heard.body, heard.complete) == (b'{"err": 1}', True)
    exchange, _ = await stage.recorder.until(path)
    assert exchange.throttle_uninspected


@pytest.mark.parametrize("status", [b"200 OK", b"404 Not Found", b"500 Oh", b"301 Moved"])
async def test_counters_stand_beside_ours_on_every_status(stage: Stage, status: bytes) -> None:
    counters = (b'RateLimit-Policy: "day";q=100;w=86400', b'RateLimit: "day";r=1;t=300')
    stage.origin.rehearse((answer(*counters, line=b"HTTP/1.1 " + status),))
    heard = await stage.fetch(stage.target())
    assert heard.body == b"ok"
    assert structured(heard, b"ratelimit")["origin-day"] == {"r": 1, "t": 300}
    assert structured(heard, b"ratelimit-policy")["origin-day"] == {"q": 100, "w": 86_400}
    assert next(iter(structured(heard, b"ratelimit"))) == "minute"
    triple = [heard.one(b"ratelimit-" + name) for name in (b"limit", b"remaining", b"reset")]
    assert triple == [b"100", b"1", b"300"]
    assert heard.all(b"retry-after") == []


async def test_what_is_remembered_is_not_sent_and_every_sink_knows(stage: Stage) -> None:
    """Last, because the memory stays, and a connection with it."""
    stage.origin.rehearse((answer(JSON, line=FORBIDDEN, body=LIMITED),))
    first, second = stage.target("/crowd"), stage.target("/crowd")
    told, again = [await stage.fetch(path) for path in (first, second)]
    assert (told.status, again.status, len(stage.origin.cases)) == (429, 429, 1)
    assert again.one(b"proxy-status") == b'tiergate; received-status=403; details="remembered"'
    assert 45 <= int(again.one(b"retry-after")) <= 47
    assert {**again.json(), "request_id": "", "retry_after_seconds": 47} == {**told.json(), "request_id": ""}
    ending = await stage.ending(second)
    assert (ending.status, ending.origin, ending.source, ending.upstream_status) == (429, "upstream", "upstream", None)
    assert ending.word == "limited"
    counted = {(name, *labels): count for name, labels, count in stage.metrics.snapshot()["counters"]}
    assert counted["gateway_upstream_throttled", "crowd", "quota"] == 2
    assert counted["gateway_throttle_remembered", "crowd"] == 1
    await stage.agreed()
