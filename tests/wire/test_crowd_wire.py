"""Two hundred interleaved calls of ten tenants, good, slow, cut and abandoned: nobody ever sees another's octets.

Every call has a marker that its answer repeats; what stands in any answer, whole or cut, is its caller's own, and
every sink counts as many calls as there were (RULINGS 30).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.upstreams.conformance.cases import answer
from tests.upstreams.conformance.origin import Act, Arrival, Drip, Script
from tests.wire.caller import Caller, Hearing, message
from tests.wire.stage import Stage

pytestmark = pytest.mark.anyio
EVERY_ENGINE = True

TENANTS = tuple(f"tenant-{number}" for number in range(10))
CALLERS, CALLS = 40, 5
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
POISON = answer(body=b"poison")
BREAKS = frozenset(("cut", "reset", "short-chunk", "garbage"))
"""What no caller can be given whole."""


def played(arrival: Arrival) -> Script:
    """The behaviour that the path asks for, with the caller's marker all through it."""
    marker = arrival.value(b"x-marker") or b"none"
    assert not arrival.body or marker in arrival.body
    kind = arrival.target.split(b"/")[2].decode()
    large = answer(body=marker * 20_000)
    chunk = b"%x\r\n%b\r\n" % (len(marker), marker)
    scripts: dict[str, Script] = {
        "plain": (answer(body=marker),),
        "echo": (answer(body=marker),),
        "late": (0.02, answer(body=marker)),
        "drip": (Drip(data=answer(body=marker), gap_s=0.0002),),
        "large": (large,),
        "pieces": (CHUNKED + chunk, 0.01, chunk, 0.01, chunk + b"0\r\n\r\n"),
        "poisoned": (answer(body=marker) + POISON,),
        "closing": (answer(b"connection: close", body=marker), Act.CLOSE),
        "cut": (large[:-1], Act.CLOSE),
        "reset": (large[:50_000], 0.005, Act.RESET),
        "short-chunk": (CHUNKED + chunk, 0.01, chunk[:-3], Act.CLOSE),
        "garbage": (b"garbage " + marker + b"\r\n\r\n",),
        "left": (large[:100_000], 0.02, large[100_000:]),
    }
    return scripts[kind]


KINDS = (
    "plain", "plain", "echo", "late", "drip", "large", "pieces", "poisoned", "closing", "cut", "reset", "short-chunk",
    "garbage", "left",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """One call and what was heard of it; ``heard`` is None where the caller left."""

    tenant: str
    kind: str
    marker: str
    heard: Hearing | None


async def called(caller: Caller, tenant: str, kind: str, marker: str) -> Call:
    method, body = ("POST", f"<{marker}>".encode()) if kind == "echo" else ("GET", b"")
    fields = [f"x-marker: {marker}", *([f"content-length: {len(body)}"] if body else [])]
    await caller.send(message(f"/crowd/mix/{kind}/{marker}", *fields, method=method, key=tenant) + body)
    heard = caller.hear(method)
    if kind == "left":
        await heard.at_least(1)
        check_own(heard, marker)
        caller.leave(reset=random.Random(marker).random() < 0.5)
        return Call(tenant, kind, marker, None)
    await heard.end()
    return Call(tenant, kind, marker, heard)


async def one_caller(stage: Stage, number: int, made: list[Call]) -> None:
    """Several calls of one tenant, on one connection for as long as it lasts."""
    tenant, dice = TENANTS[number % len(TENANTS)], random.Random(number)
    left = [(dice.choice(KINDS), f"{tenant}.{number}.{turn};") for turn in range(CALLS)]
    while left:
        async with stage.calling() as caller:
            while left:
                kind, marker = left.pop()
                made.append(await called(caller, tenant, kind, marker))
                heard = made[-1].heard
                if heard is None or not heard.complete or heard.all(b"connection") == [b"close"]:
                    break


def check_own(heard: Hearing, marker: str) -> None:
    """As far as it came, the content is the marker over and over."""
    expected = marker.encode() * (len(heard.body) // len(marker) + 1)
    assert heard.body == expected[: len(heard.body)], (marker, bytes(heard.body[:200]))


def check_call(call: Call, stage: Stage, sent_upstream: dict[bytes, bytes]) -> None:
    heard = call.heard
    if heard is None:
        return
    assert heard.one(b"x-request-id") == sent_upstream[call.marker.encode()]
    if call.kind == "garbage":
        assert (heard.status, heard.complete) == (502, True)
        assert call.marker.encode() not in heard.body
    else:
        assert heard.status == 200
        assert heard.complete is (call.kind not in BREAKS)
        check_own(heard, call.marker)


async def test_no_answer_ever_carries_anothers_marker(stage: Stage) -> None:
    stage.origin.rehearse(choose=played)
    made: list[Call] = []
    await asyncio.gather(*(one_caller(stage, number, made) for number in range(CALLERS)))
    assert len(made) == CALLERS * CALLS
    arrivals = {arrival.value(b"x-marker"): arrival.value(b"x-request-id") for arrival in stage.origin.cases}
    assert len(arrivals) == len(made), "each was asked for, and asked for by itself"
    for call in made:
        check_call(call, stage, {key: value for key, value in arrivals.items() if key and value})
    assert len({call.kind for call in made}) == len(set(KINDS))
    for call in made:
        await stage.recorder.until(f"/crowd/mix/{call.kind}/{call.marker}")
    outcomes = Counter(outcome.tenant for _, outcome in stage.recorder.seen)
    assert outcomes == Counter(call.tenant for call in made)
    lost = {call.marker for call in made if call.kind in BREAKS}
    errors = [(exchange, outcome) for exchange, outcome in stage.recorder.seen if outcome.reason is not None]
    assert {exchange.path.rpartition("/")[2] for exchange, _ in errors} == lost
    assert {outcome.reason for _, outcome in errors} == {"upstream-protocol"}
    async with asyncio.timeout(5):
        await stage.origin.until_open(20)
    await stage.probes("/crowd")
    await stage.agreed()
