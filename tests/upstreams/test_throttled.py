"""What a caller gets when an upstream throttles: the matrix of spec http.md §9, without sockets."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from dataclasses import replace
from typing import Any

import http_sf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from middleware.outcomes import outcome_of
from policies.model import Owner, Upstream, Window
from policies.sla.outcome import classify
from policies.throttling import Condition, Inspection, Profile, Rule, Source
from tests.middleware.harness import Recorded, VirtualClock
from tests.upstreams.conformance.origin import turns
from tests.upstreams.scripted import CRM, CUT, NEVER, Answer, Bench
from tests.waiting import eventually

pytestmark = pytest.mark.anyio

JSON = (b"content-type", b"application/json")
CODE = Source(paths=(("error", "code"),))
DATA = Condition(source=Source(paths=(("data",),)), absent=True)
IS_LIMITED = Condition(source=CODE, equals=("LIMITED",))
IS_BROKE = Condition(source=CODE, equals=("BROKE",))
SLOWED = Condition(source=Source(headers=("x-slow-down",)))
BUSY = Condition(source=Source(headers=("x-busy",)))
LEDGER = Profile(
    name="ledger",
    when=(
        Rule(statuses=(403,), conditions=(IS_LIMITED,), wait_s=47, nothing_executed=True),
        Rule(statuses=(402,), conditions=(IS_BROKE,), kind="billing", nothing_executed=True),
        Rule(statuses=(200,), conditions=(IS_LIMITED, DATA), wait_s=5, nothing_executed=True),
        Rule(statuses=(200,), conditions=(IS_LIMITED,), wait_s=5),
        Rule(statuses=(429,), conditions=(BUSY,), kind="overload"),
        Rule(statuses=(503,), conditions=(SLOWED,), nothing_executed=True),
    ),
    inspect=Inspection(
        statuses=frozenset((200, 402, 403)), content_types=("application/json",), max_bytes=1000, wait_us=50_000
    ),
)
LEDGERED = replace(CRM, profile=LEDGER)
LIMITED = b'{"error": {"code": "LIMITED"}}'
EPOCH = b"1790000300"
ONCE = (b"retry-after", b"retry-after-ms", b"ratelimit", b"ratelimit-reset", b"ratelimit-remaining", b"proxy-status")


def structured(answer: Recorded, name: bytes) -> dict[str, dict[str, Any]]:
    lines = answer.values(name)
    assert len(lines) <= 1
    return dict(http_sf.parse(lines[0], tltype="list")) if lines else {}


def checked(answer: Recorded, status: int = 429) -> dict[bytes, bytes]:
    """Rows 1 to 3 of the matrix: every 429 of an upstream says when to come back, once, and consistently."""
    assert answer.status == status
    fields = dict(answer.headers)
    names = [name for name, _ in answer.headers]
    for name in ONCE:
        assert names.count(name) == 1, name
    for name in (b"ratelimit-limit", b"ratelimit-policy", b"cache-control", b"content-type", b"content-length"):
        assert names.count(name) <= 1, name
    wait = int(fields[b"retry-after"])
    assert wait >= int(fields[b"ratelimit-reset"]) >= 0
    assert fields[b"ratelimit-remaining"] == b"0"
    assert (wait - 1) * 1000 < int(fields[b"retry-after-ms"]) <= wait * 1000
    structured(answer, b"ratelimit-policy")
    assert {"r": 0, "t": int(fields[b"ratelimit-reset"])} in structured(answer, b"ratelimit").values()
    http_sf.parse(fields[b"proxy-status"], tltype="list")
    assert (fields.get(b"cache-control") == b"no-store") == (status == 429)
    return fields


def body_of(answer: Recorded) -> Any:
    return json.loads(answer.body)


# Answers in the upstream's place


async def test_a_429_becomes_ours_with_its_json_inside() -> None:
    bench = Bench(Answer(429, [JSON, (b"retry-after", b"30"), (b"x-vendor-id", b"7")], b'{"message": "slow"}'))
    answer = await bench.call()
    fields = checked(answer)
    assert (fields[b"retry-after"], fields[b"proxy-status"]) == (b"30", b"tiergate; received-status=429")
    assert fields[b"x-vendor-id"] == b"7"
    body = body_of(answer)
    assert list(body) == [
        "error", "source", "provider", "retry_after_seconds", "estimated", "type", "title", "status",
        "violated-policies", "request_id", "upstream_body",
    ]  # fmt: skip
    assert (body["error"], body["source"], body["provider"]) == ("rate_limited", "upstream", "crm")
    assert (body["retry_after_seconds"], body["estimated"], body["status"]) == (30, False, 429)
    assert (body["violated-policies"], body["upstream_body"]) == (["crm-throttle"], {"message": "slow"})
    assert structured(answer, b"ratelimit") == {"minute": {"r": 59, "t": 60}, "crm-throttle": {"r": 0, "t": 30}}
    assert bench.sent == 1


async def test_a_wait_that_nobody_stated_is_an_estimate_and_says_so() -> None:
    answer = await Bench(Answer(429, [], b"slow down")).call()
    wait = int(checked(answer)[b"retry-after"])
    assert 60 <= wait <= 72
    body = body_of(answer)
    assert (body["estimated"], body["retry_after_seconds"]) == (True, wait)
    assert "upstream_body" not in body


async def test_a_403_that_means_it_becomes_429_and_counts_as_a_throttle() -> None:
    bench = Bench(Answer(403, [JSON], LIMITED), upstream=replace(LEDGERED, owner=Owner.THIRD_PARTY))
    answer = await bench.call()
    fields = checked(answer)
    assert (fields[b"retry-after"], fields[b"proxy-status"]) == (b"47", b"tiergate; received-status=403")
    assert (body_of(answer)["provider"], body_of(answer)["upstream_body"]) == ("ledger", {"error": {"code": "LIMITED"}})
    exchange = bench.exchange
    assert exchange is not None
    exchange.status = answer.status
    outcome = outcome_of(exchange, 0)
    assert (outcome.origin, outcome.source, outcome.upstream_status) == ("upstream", "upstream", 403)
    assert classify(outcome) == ("ignored", "upstream_throttle")


async def test_a_503_that_means_it_is_a_throttle_for_the_sla_too() -> None:
    bench = Bench(Answer(503, [(b"x-slow-down", b"1")]), upstream=replace(LEDGERED, owner=Owner.CUSTOMER))
    answer = await bench.call()
    checked(answer)
    assert bench.exchange is not None
    bench.exchange.status = answer.status
    assert classify(outcome_of(bench.exchange, 0)) == ("ignored", "upstream_throttle")


async def test_a_403_that_does_not_mean_it_passes_untouched() -> None:
    for body in (b'{"error": {"code": "FORBIDDEN"}}', b"{", b"[" * 1000):
        answer = await Bench(Answer(403, [JSON, (b"etag", b"x")], body), upstream=LEDGERED).call()
        assert (answer.status, answer.body) == (403, body)
        assert dict(answer.headers)[b"etag"] == b"x"
        assert not answer.values(b"retry-after") + answer.values(b"proxy-status")


async def test_no_wait_helps_against_a_bill() -> None:
    broke = Answer(402, [JSON, (b"retry-after", b"5")], b'{"error":{"code":"BROKE"}}')
    answer = await Bench(broke, upstream=LEDGERED).call()
    fields = checked(answer)
    assert fields[b"x-should-retry"] == b"false"
    assert 86_400 <= int(fields[b"retry-after"]) <= 86_400 * 1.2 + 1


async def test_what_described_the_upstreams_body_does_not_describe_ours() -> None:
    theirs = [
        (b"etag", b"x"), (b"content-encoding", b"br"), (b"content-length", b"3"), (b"digest", b"x"),
        (b"content-digest", b"x"), (b"content-range", b"x"), (b"last-modified", b"x"), (b"set-cookie", b"a=1"),
        (b"transfer-encoding", b"chunked"), (b"content-type", b"text/x"), (b"cache-control", b"max-age=9"),
        (b"expires", b"x"), (b"age", b"1"), (b"vary", b"cookie"), (b"retry-after-ms", b"9"), (b"proxy-status", b"x"),
        (b"ratelimit-reset", EPOCH), (b"x-ratelimit-reset", EPOCH), (b"date", b"x"), (b"x-should-retry", b"true"),
    ]  # fmt: skip
    answer = await Bench(Answer(429, theirs, b"abc")).call()
    fields = checked(answer)
    assert fields[b"content-type"] == b"application/json"
    assert int(fields[b"content-length"]) == len(answer.body)
    assert fields[b"vary"] == b"accept"
    assert not {pair for pair in theirs if pair[0] != b"x"} & set(answer.headers)


async def test_problem_json_for_who_asks_and_nothing_but_fields_for_head() -> None:
    answer = await Bench(Answer(429, [], b"x")).call((b"accept", b"application/problem+json"))
    assert checked(answer)[b"content-type"] == b"application/problem+json"
    for body in (b"", b"x"):
        answer = await Bench(Answer(429, [(b"content-length", b"9")], body)).call(method="HEAD")
        checked(answer)
        assert answer.body == b""


# What stays the upstream's


@pytest.mark.parametrize(
    ("upstream", "status", "sent"),
    [
        (replace(LEDGERED, throttled_body="native"), 403, 429),
        (replace(LEDGERED, map_status=False), 403, 403),
        (replace(LEDGERED, throttled_body="native", map_status=False), 403, 403),
    ],
)
async def test_native_bodies_and_kept_statuses_go_on_with_our_fields(
    upstream: Upstream, status: int, sent: int
) -> None:
    theirs = [
        JSON,
        (b"retry-after", EPOCH),
        (b"cache-control", b"public"),
        (b"proxy-status", b"inner"),
        (b"etag", b"x"),
    ]
    bench = Bench(Answer(status, theirs, LIMITED), upstream=upstream)
    answer = await bench.call()
    fields = checked(answer, sent) if sent == 429 else dict(answer.headers)
    assert (answer.status, answer.body) == (sent, LIMITED)
    assert fields[b"retry-after"] == b"300"  # an epoch, and ours are never one
    assert fields[b"proxy-status"] == b"inner, tiergate; received-status=403"
    assert fields[b"etag"] == b"x"
    assert fields[b"cache-control"] == (b"no-store" if sent == 429 else b"public")
    assert bench.exchange is not None
    assert bench.exchange.source == ("upstream" if sent == 429 else None)


async def test_a_graphql_200_without_data_is_a_429_and_with_data_stays_what_it_is() -> None:
    empty = await Bench(Answer(200, [JSON], LIMITED), upstream=LEDGERED).call()
    assert checked(empty)[b"proxy-status"] == b"tiergate; received-status=200"
    partial = b'{"error": {"code": "LIMITED"}, "data": {"a": 1}}'
    answer = await Bench(Answer(200, [JSON], partial), upstream=LEDGERED).call()
    assert (answer.status, answer.body) == (200, partial)
    assert structured(answer, b"ratelimit")["crm-throttle"] == {"r": 0, "t": 5}
    assert answer.values(b"proxy-status") == [b"tiergate; received-status=200"]
    assert answer.values(b"retry-after") + answer.values(b"retry-after-ms") == []  # on no 2xx


async def test_vendors_fields_stay_for_vendors_clients_alone() -> None:
    theirs = [(b"x-ratelimit-reset", EPOCH), (b"retry-after", b"3")]
    for body, kept in (("native", [EPOCH]), ("normalised", [])):
        bench = Bench(Answer(429, theirs, b"x"), upstream=replace(CRM, throttled_body=body))  # type: ignore[arg-type]
        assert (await bench.call()).values(b"x-ratelimit-reset") == kept


# Counters beside ours


async def test_counters_of_a_success_stand_beside_ours_and_its_body_is_untouched() -> None:
    theirs = [(b"ratelimit-policy", b'"day";q=100;w=86400'), (b"ratelimit", b'"day";r=1;t=300'), (b"retry-after", b"9")]
    bench = Bench(Answer(200, theirs, b"hello"))
    answer = await bench.call()
    assert (answer.status, answer.body) == (200, b"hello")
    assert structured(answer, b"ratelimit") == {"minute": {"r": 59, "t": 60}, "crm-day": {"r": 1, "t": 300}}
    assert structured(answer, b"ratelimit-policy")["crm-day"] == {"q": 100, "w": 86_400}
    assert answer.values(b"ratelimit-limit") == [b"100"]
    assert answer.values(b"retry-after") == []


async def test_an_upstreams_limit_cannot_take_the_name_of_ours() -> None:
    mine = Window(name="crm-day", amount=60, period_us=60_000_000)
    bench = Bench(Answer(200, [(b"ratelimit", b'"day";r=1;t=300')]), limits=(mine,))
    assert list(structured(await bench.call(), b"ratelimit")) == ["crm-day", "crm-day-2"]


@pytest.mark.parametrize("value", [EPOCH, b"6m0s", b"2026-09-21T14:14:20Z", b"1790000300000", b"-4", b"1.5", b"soon"])
async def test_no_ambiguous_value_passes_under_an_ambiguous_name(value: bytes) -> None:
    for status in (200, 404, 429):
        theirs = [(b"ratelimit-reset", value), (b"retry-after", value), (b"x-ratelimit-reset", value)]
        answer = await Bench(Answer(status, theirs, b"x")).call()
        assert value not in [v for _, v in answer.headers]


@pytest.mark.parametrize(
    ("status", "stated", "emitted"),
    [(200, b"9", []), (301, b"9", [b"9"]), (503, b"9", [b"9"]), (503, b"soon", []), (404, b"9", [b"9"])],
)
async def test_a_retry_after_elsewhere_is_an_integer_or_absent(
    status: int, stated: bytes, emitted: list[bytes]
) -> None:
    bench = Bench(Answer(status, [(b"retry-after", stated)], b"x"))
    answer = await bench.call()
    assert (answer.status, answer.body, answer.values(b"retry-after")) == (status, b"x", emitted)
    assert answer.values(b"proxy-status") == []


async def test_a_429_that_is_no_throttle_says_when_to_come_back_all_the_same() -> None:
    for stated, emitted in (([], b"60"), ([(b"retry-after", b"0")], b"1"), ([(b"retry-after", b"9")], b"9")):
        bench = Bench(Answer(429, [(b"x-busy", b"1"), *stated], b"x"), upstream=LEDGERED)
        answer = await bench.call()
        assert (answer.status, answer.body, answer.values(b"retry-after")) == (429, b"x", [emitted])
        assert answer.values(b"retry-after-ms") == [emitted + b"000"]
        assert answer.values(b"proxy-status") == [b"tiergate; received-status=429"]
        assert answer.values(b"cache-control") == [b"no-store"]
        assert bench.exchange is not None
        assert (bench.exchange.source, bench.exchange.retry_after_s) == ("upstream", int(emitted))


NAMES = (
    b"ratelimit", b"ratelimit-policy", b"ratelimit-limit", b"ratelimit-remaining", b"ratelimit-reset", b"retry-after",
    b"retry-after-ms", b"x-ratelimit-reset", b"x-ratelimit-limit", b"x-ratelimit-remaining", b"proxy-status", b"via",
    b"cache-control", b"connection", b"content-encoding", b"date", b"age", b"x-any",
)  # fmt: skip
VALUES = (
    b"0", b"7", b"-1", b"1.5", b"1e9", EPOCH, b"1790000300000", b"2678401", b"6m0s", b"2026-09-21T14:14:20Z", b"soon",
    b"Mon, 21 Sep 2026 14:14:20 GMT", b'"a";r=1;t=5', b'"a";q=9;w=60', b'"a";r=-1', b"100, 100;w=60", b"close", b"gzip",
    b"x-any", b"\xff", b"9" * 400,
)  # fmt: skip
LINES = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES) | st.binary(max_size=8)), max_size=12)


@settings(max_examples=300)
@given(
    lines=LINES,
    status=st.sampled_from([200, 204, 301, 402, 403, 404, 429, 503]),
    body=st.sampled_from([b"", LIMITED, b"[" * 500, gzip.compress(LIMITED, mtime=0)]),
    native=st.booleans(),
)
def test_whatever_an_upstream_says_what_is_emitted_is_well_formed(
    lines: list[tuple[bytes, bytes]], status: int, body: bytes, native: bool
) -> None:
    upstream = replace(LEDGERED, throttled_body="native" if native else "normalised")
    answer = asyncio.run(Bench(Answer(status, [JSON, *lines], body), upstream=upstream).call())
    fields = dict(answer.headers)
    names = [name for name, _ in answer.headers]
    assert answer.status in (status, 429)
    for name in (b"retry-after", b"ratelimit-limit", b"ratelimit-remaining", b"ratelimit-reset"):
        assert names.count(name) <= 1
        assert fields.get(name, b"0").isdigit()
    for members in (structured(answer, b"ratelimit"), structured(answer, b"ratelimit-policy")):
        numbers = [number for each in members.values() for number in each.values()]
        assert all(type(number) is int and number >= 0 for number in numbers)
        assert all(each.get("t", 0) <= 2_678_400 for each in members.values())
    assert int(fields[b"ratelimit-reset"]) <= 2_678_400
    assert (b"retry-after" in fields) >= (answer.status == 429)
    assert not (b"retry-after" in fields and answer.status < 300)
    assert int(fields.get(b"retry-after", b"1")) <= 2_678_400


# Bodies


@pytest.mark.parametrize(
    ("coding", "raw"),
    [
        (b"gzip", gzip.compress(LIMITED, mtime=0)),
        (b"X-GZip", gzip.compress(LIMITED, mtime=0)),
        (b"deflate", zlib.compress(LIMITED)),
        (b"deflate", zlib.compress(LIMITED)[2:-4]),
        (b"identity", LIMITED),
    ],
)
async def test_a_coded_body_is_read_and_never_passed_on_decoded(coding: bytes, raw: bytes) -> None:
    fields = [JSON, (b"content-encoding", coding)]
    answer = await Bench(Answer(403, fields, raw), upstream=LEDGERED).call()
    checked(answer)
    assert body_of(answer)["upstream_body"] == json.loads(LIMITED)
    native = replace(LEDGERED, throttled_body="native")
    answer = await Bench(Answer(403, fields, raw), upstream=native).call()
    assert (checked(answer)[b"content-encoding"], answer.body) == (coding, raw)


BOMB = gzip.compress(LIMITED + b" " * 10_000_000, mtime=0)


@pytest.mark.parametrize(
    ("coding", "pieces", "arrives"),
    [
        (b"identity", (LIMITED, b" " * 2000, b"end"), LIMITED + b" " * 2000 + b"end"),  # too large
        (b"br", (b"\x0b\x02\x80",), b"\x0b\x02\x80"),  # not to be decoded
        (
            b"gzip, gzip",
            (gzip.compress(gzip.compress(LIMITED, mtime=0), mtime=0),),
            gzip.compress(gzip.compress(LIMITED, mtime=0), mtime=0),
        ),
        (b"gzip", (BOMB,), BOMB),
        (b"gzip", (gzip.compress(LIMITED, mtime=0)[:-9],), gzip.compress(LIMITED, mtime=0)[:-9]),  # cut within
        (b"gzip", (LIMITED,), LIMITED),  # not what it says
    ],
)
async def test_what_cannot_be_looked_at_is_streamed_on_untouched_and_counted(
    coding: bytes, pieces: tuple[bytes, ...], arrives: bytes
) -> None:
    bench = Bench(Answer(403, [JSON, (b"content-encoding", coding)], pieces=pieces), upstream=LEDGERED)
    answer = await bench.call()
    assert (answer.status, answer.body) == (403, arrives)
    assert not answer.values(b"retry-after")
    assert bench.exchange is not None
    assert bench.exchange.throttle_uninspected


async def test_an_announced_length_beyond_the_bound_is_not_waited_for() -> None:
    fields = [JSON, (b"content-length", b"100000000")]
    bench = Bench(Answer(403, fields, pieces=(b"x" * 100, CUT)), upstream=LEDGERED)
    with pytest.raises(Exception, match="upstream-protocol"):
        await bench.call()


async def test_a_slow_body_goes_on_from_its_first_octet() -> None:
    waited = Answer(403, [JSON], pieces=(LIMITED[:9], NEVER))
    bench = Bench(waited, upstream=LEDGERED)
    task = asyncio.create_task(bench.call())
    async with asyncio.timeout(5):
        await bench.head_sent.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waited.closed
    assert bench.exchange is not None
    assert bench.exchange.throttle_uninspected


@pytest.mark.parametrize("status", [403, 429])
async def test_an_event_stream_is_never_waited_for(status: int) -> None:
    patient = replace(LEDGER, inspect=replace(LEDGER.inspect, content_types=("text/",), wait_us=60_000_000))
    stream = (b"content-type", b"text/event-stream")
    answer = Answer(status, [stream, (b"retry-after", b"3")], pieces=(b"data: 1\n\n", NEVER))
    bench = Bench(answer, upstream=replace(CRM, profile=patient))
    task = asyncio.create_task(bench.call())
    await eventually(lambda: bench.exchange is not None and bench.exchange.head_sent, within_s=5)
    assert not bench.exchange.throttle_uninspected
    task.cancel()
    await asyncio.wait([task])
    assert answer.closed


async def test_a_body_cut_short_is_no_match_and_never_presented_as_whole() -> None:
    bench = Bench(Answer(403, [JSON], pieces=(LIMITED, CUT)), upstream=LEDGERED)
    with pytest.raises(Exception, match="upstream-protocol"):
        await bench.call()
    assert bench.exchange is not None
    assert (bench.exchange.status, bench.exchange.truncated_by) == (None, "upstream")


@pytest.mark.parametrize("pieces", [(b'{"a"', NEVER), (b'{"a"', CUT), (b"x" * 70_000,) * 1500])
async def test_a_429_is_a_throttle_by_its_status_whatever_its_body(pieces: tuple[Any, ...]) -> None:
    quick = replace(LEDGER, inspect=replace(LEDGER.inspect, wait_us=20_000, statuses=frozenset((429,))))
    tasks = len(asyncio.all_tasks())
    throttled = Answer(429, [JSON, (b"retry-after", b"3")], pieces=pieces)
    bench = Bench(throttled, upstream=replace(CRM, profile=quick))
    answer = await bench.call()
    assert checked(answer)[b"retry-after"] == b"3"
    assert "upstream_body" not in body_of(answer)
    assert throttled.closed
    assert throttled.taken < 200_000
    await turns()
    assert len(asyncio.all_tasks()) == tasks, "somebody still waits for the body"
    assert bench.exchange is not None
    assert not bench.exchange.throttle_uninspected


async def test_a_native_429_of_any_size_streams() -> None:
    body = (b"x" * 70_000,) * 20
    bench = Bench(Answer(429, [(b"retry-after", b"3")], pieces=body), upstream=replace(CRM, throttled_body="native"))
    answer = await bench.call()
    assert checked(answer)[b"retry-after"] == b"3"
    assert answer.body == b"".join(body)
    assert max(len(message.get("body", b"")) for message in answer.messages) == 70_000


NO_JSON = (b"", b"slow", b'"text"', b"1e400", b'{"a": NaN}', b'{"a": "\xff"}', b'{"a":"' + b"x" * 4096 + b'"}')


@pytest.mark.parametrize("body", [*NO_JSON, b"[" * 300 + b"]" * 300, b"[" * 2000])
async def test_a_body_that_is_no_small_json_is_left_out(body: bytes) -> None:
    answer = await Bench(Answer(429, [JSON], body)).call()
    checked(answer)
    assert "upstream_body" not in body_of(answer)


async def test_json_is_carried_as_it_was_written() -> None:
    answer = await Bench(Answer(429, [JSON], b'\n{"id": 123456789012345678901234567890, "f": 1.10} ')).call()
    assert body_of(answer)["upstream_body"]["id"] == 123456789012345678901234567890
    assert b'"f": 1.10' in answer.body


# The common case


class Watched(VirtualClock):
    """Counts who asks for the time of day: to read a signal begins with it."""

    asked = 0

    def wall_us(self) -> int:
        self.asked += 1
        return super().wall_us()


@pytest.mark.parametrize(
    ("status", "fields", "looked_at"),
    [
        *((status, [JSON, (b"etag", b"x")], False) for status in (200, 301, 404, 500, 503)),
        (200, [(b"ratelimit", b'"day";r=1')], True),
        (429, [], True),
    ],
)
async def test_an_answer_that_says_nothing_is_not_looked_at(
    status: int, fields: list[tuple[bytes, bytes]], looked_at: bool
) -> None:
    clock = Watched()
    answer = await Bench(Answer(status, fields, b"hello"), clock=clock).call()
    assert answer.status == status
    assert (clock.asked > 1) is looked_at  # once for the exchange
