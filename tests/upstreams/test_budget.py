"""Budget memory: what is remembered of whom, for how long, and what a call in between is answered."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest

from middleware.outcomes import outcome_of
from policies.announcement import Announcement
from policies.model import Owner
from policies.sla.outcome import classify
from policies.throttling import Inspection, Profile, Rule
from tests.middleware.harness import Recorded, VirtualClock
from tests.upstreams.scripted import CRM, Answer, Bench
from upstreams.budget import BudgetMemory, Remembered, payer

pytestmark = pytest.mark.anyio

SECOND = 1_000_000
PROTECTED = replace(CRM, protect=True)
SLOW = Answer(429, [(b"retry-after", b"30"), (b"content-type", b"application/json"), (b"x-id", b"7")], b'{"m": 1}')
OK = Answer(200, [], b"ok")
KINDS = Profile(
    name="ledger",
    when=(
        Rule(statuses=(423,), kind="lock", wait_s=9, nothing_executed=True),
        Rule(statuses=(402,), kind="billing", nothing_executed=True),
        Rule(statuses=(420,), nothing_executed=True),
        Rule(statuses=(400,), wait_s=9),
        Rule(statuses=(503,), wait_s=9, nothing_executed=True),
    ),
    inspect=Inspection(wait_us=20_000),
)
KINDLY = replace(PROTECTED, profile=KINDS)


def fields(answer: Recorded) -> dict[bytes, bytes]:
    assert len(dict(answer.headers)) == len(answer.headers), "two lines of one field"
    return dict(answer.headers)


async def test_a_throttle_is_repeated_without_being_sent_until_its_reset() -> None:
    bench = Bench(SLOW, OK, upstream=replace(PROTECTED, owner=Owner.THIRD_PARTY))
    first = await bench.call()
    bench.clock.advance(10 * SECOND + 1)
    again = await bench.call()
    assert bench.sent == 1
    told, found = json.loads(again.body), fields(again)
    assert again.status == first.status == 429
    assert (found[b"retry-after"], found[b"retry-after-ms"]) == (b"20", b"20000")
    assert found[b"proxy-status"] == b'tiergate; received-status=429; details="remembered"'
    assert found[b"ratelimit"] == b'"minute";r=58;t=60, "crm-throttle";r=0;t=20'
    assert (found[b"x-id"], found[b"cache-control"]) == (b"7", b"no-store")
    same = {"retry_after_seconds": 20}
    assert told == {**json.loads(first.body), **same}
    assert told["upstream_body"] == {"m": 1}
    bench.clock.advance(20 * SECOND - 2)
    assert (await bench.call()).status == 429
    bench.clock.advance(1)
    assert ((await bench.call()).status, bench.sent) == (200, 2)


async def test_a_remembered_throttle_is_the_upstreams_for_every_record() -> None:
    bench = Bench(Answer(503, []), upstream=replace(KINDLY, owner=Owner.CUSTOMER))
    await bench.call()
    answer = await bench.call()
    exchange = bench.exchange
    assert exchange is not None
    exchange.status = answer.status
    outcome = outcome_of(exchange, 0)
    assert (outcome.origin, outcome.source, outcome.reason) == ("upstream", "upstream", "upstream-throttled")
    assert (outcome.upstream, outcome.upstream_status, outcome.upstream_us) == ("crm", None, 0)
    assert classify(outcome) == ("ignored", "upstream_throttle")
    assert exchange.announcement is not None
    assert exchange.announcement.remembered
    assert b"received-status=503" in fields(answer)[b"proxy-status"]


async def test_without_protect_every_call_is_sent() -> None:
    bench = Bench(SLOW)
    for _ in range(3):
        assert (await bench.call()).status == 429
    assert bench.sent == 3


@pytest.mark.parametrize(
    ("status", "stated", "remembered"),
    [
        (420, None, True),  # an estimate: 60 s
        (402, None, False),  # nobody knows when the bill is paid
        (402, b"100000", True),
        (423, None, False),  # contention
        (400, None, False),  # part of it may have been executed, and the status stays
        (503, None, True),
    ],
)
async def test_what_is_remembered(status: int, stated: bytes | None, remembered: bool) -> None:
    said = [] if stated is None else [(b"retry-after", stated)]
    bench = Bench(Answer(status, said), OK, upstream=KINDLY)
    await bench.call()
    assert ((await bench.call()).status == 429) is remembered
    assert bench.sent == (1 if remembered else 2)


async def test_an_estimate_is_remembered_without_its_jitter_and_said_with_a_new_one() -> None:
    bench = Bench(Answer(420), OK, upstream=KINDLY)
    await bench.call()
    bench.clock.advance(30 * SECOND)
    told = json.loads((await bench.call()).body)
    assert told["estimated"]
    assert 30 <= told["retry_after_seconds"] <= 36
    bench.clock.advance(30 * SECOND)
    assert (await bench.call()).status == 200


async def test_a_longer_throttle_stays_when_a_shorter_one_comes_after_it() -> None:
    memory = BudgetMemory(VirtualClock(steady_us=0))
    memory.remember(b"a", kept(10))
    memory.remember(b"a", kept(5))
    assert memory.recall(b"a") == (kept(10), 10)
    memory.remember(b"a", kept(20))
    assert memory.recall(b"a") == (kept(20), 20)


async def test_credentials_are_apart_and_urls_are_not() -> None:
    bench = Bench(SLOW, OK, upstream=PROTECTED, headers=[(b"x-vendor-key", b"one")])
    await bench.call()
    assert (await bench.call((b"x-anything", b"else"))).status == 429
    bench._headers = ((b"x-vendor-key", b"two"),)
    assert (await bench.call()).status == 200
    bench._headers = ((b"x-vendor-key", b"one"),)
    assert (await bench.call()).status == 429
    assert (await bench.call((b"authorization", b"Bearer mine"))).status == 200, "a caller's own budget"
    assert bench.sent == 3


@pytest.mark.parametrize("change", [{"host": "standby.test"}, {"throttled_body": "native"}, {"map_status": False}])
async def test_another_definition_of_an_upstream_remembers_anew(change: dict[str, Any]) -> None:
    bench = Bench(SLOW, OK, upstream=PROTECTED)
    await bench.call()
    bench.upstream = replace(PROTECTED)
    assert ((await bench.call()).status, bench.sent) == (429, 1), "a reload that changes nothing"
    bench.upstream = replace(PROTECTED, **change)
    assert ((await bench.call()).status, bench.sent) == (200, 2)


async def test_fields_are_repeated_while_they_are_few_and_a_grant_to_one_page_is_not() -> None:
    grant = (b"access-control-allow-origin", b"https://a.example.com")
    for extra, repeated in (([], [b"7"]), ([(b"x-long", b"x" * 5000)], [])):
        bench = Bench(replace(SLOW, headers=[*SLOW.headers, grant, *extra]), upstream=PROTECTED)
        first, again = await bench.call(), await bench.call()
        assert (first.values(grant[0]), again.values(grant[0])) == ([grant[1]], [])
        assert (first.values(b"x-id"), again.values(b"x-id")) == ([b"7"], repeated)
        assert (again.status, again.values(b"retry-after"), bench.sent) == (429, [b"30"], 1)


def test_a_payer_is_the_upstream_and_what_it_is_shown() -> None:
    owned = frozenset((b"x-key",))
    base = payer("crm", [(b"x-key", b"1"), (b"x-other", b"2")], owned)
    assert payer("crm", [(b"x-key", b"1"), (b"x-other", b"3")], owned) == base
    others = [
        payer("erp", [(b"x-key", b"1")], owned),
        payer("crm", [(b"x-key", b"2")], owned),
        payer("crm", [(b"x-key", b"1"), (b"authorization", b"x")], owned),
        payer("crm", [(b"x-key", b"11:authorization1:x")], owned),
        payer("crm", [], owned),
    ]
    assert len({base, *others}) == 6
    assert len(base) == 32


async def test_a_native_body_is_repeated_to_whoever_can_read_it_while_it_is_small() -> None:
    native = replace(PROTECTED, throttled_body="native")
    packed = gzip.compress(b"slow down")
    theirs = [
        (b"retry-after", b"30"), (b"content-type", b"text/plain"), (b"content-encoding", b"gzip"),
        (b"content-length", b"%d" % len(packed)), (b"set-cookie", b"a=1"), (b"etag", b"x"), (b"date", b"x"),
    ]  # fmt: skip
    bench = Bench(Answer(429, theirs, pieces=(packed[:5], packed[5:])), upstream=native)
    first, again = await bench.call(), await bench.call()
    assert (first.body, again.body, bench.sent) == (packed, b"slow down", 1)
    found = fields(again)
    assert (found[b"content-type"], found[b"content-length"]) == (b"text/plain", b"9")
    assert not {b"set-cookie", b"etag", b"date", b"vary", b"content-encoding"} & set(found)
    assert b"remembered" in found[b"proxy-status"]
    large = Bench(Answer(429, [(b"retry-after", b"30")], b"x" * 5000), upstream=native)
    first, again = await large.call(), await large.call()
    assert (len(first.body), large.sent) == (5000, 1)
    assert json.loads(again.body)["error"] == "rate_limited"


@pytest.mark.parametrize("body", ["native", "normalised"])
async def test_what_was_done_for_one_caller_is_not_told_to_another(body: str) -> None:
    partly = Profile(name="batch", when=(Rule(statuses=(429,), nothing_executed=False, wait_s=9),))
    done = Answer(429, [(b"content-type", b"application/json")], b'{"created": ["item 1"]}')
    bench = Bench(done, upstream=replace(PROTECTED, profile=partly, throttled_body=body))
    first, again = await bench.call(), await bench.call()
    assert (first.status, first.body) == (429, b'{"created": ["item 1"]}')
    assert (again.status, bench.sent) == (429, 1)
    told = json.loads(again.body)
    assert (told["error"], told["retry_after_seconds"]) == ("rate_limited", 9)
    assert b"created" not in again.body


async def test_a_body_in_a_coding_that_cannot_be_undone_is_not_repeated() -> None:
    coded = Answer(429, [(b"retry-after", b"30"), (b"content-encoding", b"br")], b"\x0b\x02\x80")
    bench = Bench(coded, upstream=replace(PROTECTED, throttled_body="native"))
    first, again = await bench.call(), await bench.call()
    assert (first.body, json.loads(again.body)["error"], bench.sent) == (b"\x0b\x02\x80", "rate_limited", 1)
    assert b"content-encoding" not in fields(again)


async def test_head_is_repeated_without_a_body() -> None:
    bench = Bench(SLOW, upstream=PROTECTED)
    await bench.call()
    answer = await bench.call(method="HEAD")
    assert (answer.status, answer.body, bench.sent) == (429, b"", 1)


def kept(until_us: int) -> Remembered:
    said: dict[str, Any] = {"provider": "p", "kind": "quota", "throttled": True, "received": 429, "status": 429}
    return Remembered(until_us=until_us, announcement=Announcement(**said))


async def test_memory_is_bounded_and_the_least_recently_used_go_first() -> None:
    memory = BudgetMemory(VirtualClock(steady_us=0), kept=3)
    for number in range(3):
        memory.remember(b"%d" % number, kept(10))
    assert memory.recall(b"0") is not None
    memory.remember(b"3", kept(10))
    assert len(memory) == 3
    assert memory.recall(b"1") is None
    assert memory.recall(b"0") is not None


async def test_what_has_passed_is_forgotten() -> None:
    clock = VirtualClock(steady_us=0)
    memory = BudgetMemory(clock)
    memory.remember(b"a", kept(10))
    clock.advance(10)
    assert memory.recall(b"a") is None
    assert len(memory) == 0
