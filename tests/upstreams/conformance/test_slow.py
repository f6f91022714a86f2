"""Deadlines: connecting, the first octet, silence, the whole call; and slowness that is nobody's fault (RULINGS 18)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from policies.model import Timeouts
from tests.upstreams.conformance.cases import answer
from tests.upstreams.conformance.engines import ENGINES, on_every_engine
from tests.upstreams.conformance.origin import Act, Drip, Flood, Origin, Script
from tests.upstreams.conformance.stage import ONE, QUICK, Failed, Reply, outcome, request, staged
from tests.upstreams.rig import MS, upstream

pytestmark = pytest.mark.anyio

SHORT = Timeouts(connect_us=200 * MS, write_us=200 * MS, first_byte_us=200 * MS, idle_us=200 * MS, total_us=5_000 * MS)
TOTAL = replace(SHORT, first_byte_us=5_000 * MS, idle_us=5_000 * MS, total_us=300 * MS)
CHUNKED = answer(b"transfer-encoding: chunked", length=False, body=b"2\r\nok\r\n")
HEAD = answer(body=b"x" * 1000)[:-1000]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    name: str
    script: Script
    phase: str
    words: frozenset[str]
    timeouts: Timeouts = SHORT
    method: bytes = b"GET"


RESPONSE = frozenset(("http_response_timeout",))
READ = frozenset(("connection_read_timeout", "http_response_timeout"))

CASES: tuple[Slow, ...] = (
    Slow(name="no-answer", script=(Act.HOLD,), phase="upstream_wait", words=RESPONSE),
    Slow(name="no-answer-to-head", script=(Act.HOLD,), phase="upstream_wait", words=RESPONSE, method=b"HEAD"),
    Slow(name="half-a-status-line", script=(b"HTTP/1.1 2", Act.HOLD), phase="upstream_wait", words=READ),
    Slow(
        name="half-a-header-block", script=(b"HTTP/1.1 200 OK\r\na: 1\r\n", Act.HOLD), phase="upstream_wait", words=READ
    ),
    # Each octet comes in time; the deadline is for the head as a whole.
    Slow(
        name="a-head-that-drips",
        script=(Drip(data=b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100, gap_s=0.02),),
        phase="upstream_wait",
        words=READ,
    ),
    Slow(
        name="a-head-without-end-line-by-line",
        script=(b"HTTP/1.1 200 OK\r\n", *(b"a: b\r\n", 0.05) * 60),
        phase="upstream_wait",
        words=READ,
    ),
    Slow(name="silence-before-the-content", script=(HEAD, Act.HOLD), phase="upstream_body", words=READ),
    Slow(name="silence-within-the-content", script=(HEAD + b"x", Act.HOLD), phase="upstream_body", words=READ),
    Slow(name="silence-before-the-last-octet", script=(answer()[:-1], Act.HOLD), phase="upstream_body", words=READ),
    Slow(name="silence-between-chunks", script=(CHUNKED, Act.HOLD), phase="upstream_body", words=READ),
    Slow(name="silence-within-a-chunk", script=(CHUNKED + b"9\r\nx", Act.HOLD), phase="upstream_body", words=READ),
    Slow(
        name="silence-before-the-trailers-end",
        script=(CHUNKED + b"0\r\na: b\r\n", Act.HOLD),
        phase="upstream_body",
        words=READ,
    ),
    Slow(name="silence-before-the-close", script=(answer(length=False), Act.HOLD), phase="upstream_body", words=READ),
    Slow(
        name="silence-of-an-event-stream",
        script=(answer(b"content-type: text/event-stream", length=False), Act.HOLD),
        phase="upstream_body",
        words=READ,
    ),
    Slow(
        name="the-whole-call-without-an-answer",
        script=(Act.HOLD,),
        phase="upstream_wait",
        words=RESPONSE,
        timeouts=TOTAL,
    ),
    Slow(
        name="the-whole-call-with-a-head-that-drips",
        script=(Drip(data=b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100, gap_s=0.02),),
        phase="upstream_wait",
        words=READ,
        timeouts=TOTAL,
    ),
    Slow(
        name="the-whole-call-with-content-that-drips",
        script=(HEAD, Drip(data=b"x" * 1000, gap_s=0.02)),
        phase="upstream_body",
        words=READ,
        timeouts=TOTAL,
    ),
    Slow(
        name="the-whole-call-with-chunks-that-drip",
        script=(CHUNKED, *(b"1\r\nx\r\n", 0.05) * 60),
        phase="upstream_body",
        words=READ,
        timeouts=TOTAL,
    ),
    Slow(
        name="the-whole-call-with-content-to-the-close",
        script=(answer(length=False), *(b"x", 0.05) * 60),
        phase="upstream_body",
        words=READ,
        timeouts=TOTAL,
    ),
    Slow(
        name="the-whole-call-with-content-without-end",
        script=(answer(length=False), Flood(data=b"x" * 1000, times=10_000_000)),
        phase="upstream_body",
        words=READ,
        timeouts=TOTAL,
    ),
)


@pytest.mark.parametrize("engine", list(ENGINES))
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
async def test_slowness_ends_a_call_by_name_and_in_time(case: Slow, engine: str) -> None:
    async with staged(engine, Origin(case.script), timeouts=case.timeouts) as stage:
        began = asyncio.get_running_loop().time()
        result = await outcome(stage.engine, request(case.method))
        elapsed = asyncio.get_running_loop().time() - began
        assert isinstance(result, Failed), result
        assert (result.error.code, result.error.phase, result.error.sent) == ("upstream-timeout", case.phase, True)
        assert result.error.proxy_error in case.words
        assert 0.15 < elapsed < 2


PATIENT: dict[str, tuple[Script, Timeouts]] = {
    "an-answer-just-in-time": ((0.1, answer()), SHORT),
    "content-octet-by-octet": ((answer()[:-2], Drip(data=b"ok", gap_s=0.1)), SHORT),
    "silences-each-shorter-than-the-deadline": ((answer()[:-2], 0.12, b"o", 0.12, b"k"), SHORT),
    "a-head-and-content-octet-by-octet": (
        (Drip(data=answer(), gap_s=0.002),),
        replace(SHORT, first_byte_us=1_000 * MS),
    ),
    "an-event-stream-longer-than-any-call": (
        (
            answer(b"content-type: text/event-stream; charset=utf-8", length=False, body=b""),
            *(0.1, b"o", 0.1, 0.1, 0.1, b"k"),
            Act.CLOSE,
        ),
        replace(SHORT, total_us=250 * MS, idle_us=1_000 * MS),
    ),
}


@on_every_engine
@pytest.mark.parametrize("name", list(PATIENT))
async def test_slowness_within_the_deadlines_passes(name: str, engine: str) -> None:
    script, timeouts = PATIENT[name]
    async with staged(engine, Origin(script), timeouts=timeouts) as stage:
        assert (await stage.fetch()).body == b"ok"


@on_every_engine
async def test_a_caller_that_reads_slowly_is_not_the_upstreams_silence(engine: str) -> None:
    """The upstream had sent; the deadline for its silence must not run while the caller does not read."""
    async with staged(engine, Origin((answer(body=b"x" * 8_000_000),)), timeouts=SHORT) as stage:
        held = await stage.engine.send(request())
        received = 0
        async for part in held.body():
            if not received:
                await asyncio.sleep(0.5)
            received += len(part)
        assert received == 8_000_000


@on_every_engine
async def test_an_idle_connection_knows_no_deadline_of_its_last_call(engine: str) -> None:
    async with staged(engine, Origin((answer(),)), timeouts=replace(SHORT, total_us=250 * MS)) as stage:
        await stage.fetch()
        await asyncio.sleep(0.4)
        assert (await stage.probe()).connection == 1


@on_every_engine
async def test_an_upload_that_never_ends_is_ended_by_the_whole_calls_deadline(engine: str) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.02)
            yield b"x"

    async with staged(engine, Origin((Act.HOLD,), early=True), timeouts=TOTAL) as stage:
        async with asyncio.timeout(2):
            result = await outcome(stage.engine, request(b"POST", body=endless()))
        assert isinstance(result, Failed)
        assert (result.error.code, result.error.sent) == ("upstream-timeout", True)


@contextlib.contextmanager
def unanswered() -> Iterator[int]:
    """A port whose queue of new connections is full: the system drops what else knocks."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            knocking = stack.enter_context(socket.socket())
            knocking.setblocking(False)
            knocking.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@on_every_engine
async def test_a_connection_that_is_not_accepted_is_a_connect_timeout(engine: str) -> None:
    with unanswered() as port:
        transport = ENGINES[engine](upstream(port, timeouts=SHORT, pool=ONE))
        for _ in range(2):  # the second shows that the slot came back
            began = asyncio.get_running_loop().time()
            result = await outcome(transport, request())
            assert isinstance(result, Failed)
            error = result.error
            assert (error.code, error.proxy_error, error.phase, error.sent) == (
                "upstream-timeout",
                "connection_timeout",
                "upstream_connect",
                False,
            )
            assert asyncio.get_running_loop().time() - began < 2
        await transport.aclose()


@on_every_engine
async def test_a_handshake_that_hangs_is_a_connect_timeout(engine: str) -> None:
    more: dict[str, Any] = {"scheme": "https"}
    async with staged(engine, Origin(), timeouts=SHORT, probed=False, **more) as stage:
        for _ in range(2):
            result = await outcome(stage.engine, request())
            assert isinstance(result, Failed)
            error = result.error
            assert (error.code, error.proxy_error, error.phase, error.sent) == (
                "upstream-timeout",
                "connection_timeout",
                "upstream_connect",
                False,
            )


@on_every_engine
async def test_a_timeout_of_one_call_leaves_the_others_alone(engine: str) -> None:
    scripts: tuple[Script, ...] = ((Act.HOLD,), (0.3, answer()))
    patient = replace(QUICK, first_byte_us=400 * MS)
    async with staged(engine, Origin(*scripts), timeouts=patient, pool=replace(ONE, connections=2)) as stage:
        first = asyncio.create_task(outcome(stage.engine, request()))
        await stage.origin.arrived.wait()
        await asyncio.sleep(0.2)
        second = asyncio.create_task(outcome(stage.engine, request()))
        assert isinstance(await first, Failed)
        assert isinstance(await second, Reply)
