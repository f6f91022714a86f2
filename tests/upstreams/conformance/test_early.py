"""Answers that come before the request is whole (RFC 9112 9.6; RFC 9110 7.5, 15.2.1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.upstreams.conformance.cases import CUT, MALFORMED, SLOW, answer
from tests.upstreams.conformance.engines import ENGINES, on_every_engine
from tests.upstreams.conformance.origin import Act, Origin, Script
from tests.upstreams.conformance.stage import Failed, Reply, outcome, pieces, request, staged

pytestmark = pytest.mark.anyio

TOO_LARGE = answer(line=b"HTTP/1.1 413 Content Too Large")
FRAMINGS: dict[str, dict[str, Any]] = {"by-length": {"content_length": 10_000_000}, "in-chunks": {}}


class Upload:
    """A body that begins and then waits; ``ended`` once the engine let go of it."""

    def __init__(self, *first: bytes) -> None:
        self.first = first or (b"x" * 1000,)
        self.ended = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for piece in self.first:
                yield piece
            await asyncio.Event().wait()
        finally:
            self.ended.set()


CASES: dict[str, tuple[Script, int, bytes]] = {
    "413-and-close-announced": ((answer(b"connection: close", line=b"HTTP/1.1 413 No"),), 413, b"ok"),
    "413-and-keep-alive": ((TOO_LARGE,), 413, b"ok"),
    "413-then-silence": ((TOO_LARGE, Act.HOLD), 413, b"ok"),
    "401-without-content": ((answer(line=b"HTTP/1.1 401 No", body=b""),), 401, b""),
    "417-to-an-expectation": ((answer(line=b"HTTP/1.1 417 No"),), 417, b"ok"),
    "200-complete": ((answer(),), 200, b"ok"),
    "503-behind-an-interim-answer": ((b"HTTP/1.1 100 Continue\r\n\r\n" + answer(line=b"HTTP/1.1 503 No"),), 503, b"ok"),
    "429-in-two-parts": (
        (answer(line=b"HTTP/1.1 429 No")[:20], 0.02, answer(line=b"HTTP/1.1 429 No")[20:]),
        429,
        b"ok",
    ),
    "413-with-content-that-follows-later": ((TOO_LARGE[:-2], 0.05, b"ok"), 413, b"ok"),
    "413-in-chunks": (
        (answer(b"transfer-encoding: chunked", line=b"HTTP/1.1 413 No", body=b"2\r\nok\r\n0\r\n\r\n", length=False),),
        413,
        b"ok",
    ),
    "413-with-a-large-content": ((answer(line=b"HTTP/1.1 413 No", body=b"x" * 300_000),), 413, b"x" * 300_000),
    "two-answers": ((TOO_LARGE + answer(body=b"poison"),), 413, b"ok"),
}


@on_every_engine
@pytest.mark.parametrize("framing", list(FRAMINGS))
@pytest.mark.parametrize("name", list(CASES))
async def test_an_early_answer_is_honoured_and_the_upload_stops(name: str, framing: str, engine: str) -> None:
    script, status, content = CASES[name]
    upload = Upload()
    async with staged(engine, Origin(script, early=True)) as stage:
        async with asyncio.timeout(2):
            reply = await stage.fetch(request(b"POST", body=aiter(upload), **FRAMINGS[framing]))
            assert (reply.status, reply.body) == (status, content)
            await upload.ended.wait()
        probe = await stage.probe()
        assert probe.connection != stage.origin.cases[0].connection
        assert not stage.origin.cases[0].complete


FAULTS: dict[str, tuple[Script, str, frozenset[str]]] = {
    "garbage": ((b"garbage\r\n\r\n", Act.HOLD), "upstream-protocol", MALFORMED),
    "two-lengths": ((answer(b"content-length: 9"), Act.HOLD), "upstream-protocol", MALFORMED),
    "close": ((Act.CLOSE,), "upstream-protocol", CUT),
    "reset": ((Act.RESET,), "upstream-protocol", CUT),
    "interim-then-close": ((b"HTTP/1.1 100 Continue\r\n\r\n", Act.CLOSE), "upstream-protocol", CUT | MALFORMED),
    "half-an-answer-then-silence": ((b"HTTP/1.1 413 No\r\n", Act.HOLD), "upstream-timeout", SLOW),
    "too-short": ((TOO_LARGE[:-1], Act.CLOSE), "upstream-protocol", CUT),
}


@on_every_engine
@pytest.mark.parametrize("framing", list(FRAMINGS))
@pytest.mark.parametrize("name", list(FAULTS))
async def test_a_fault_during_the_upload_ends_it(name: str, framing: str, engine: str) -> None:
    script, code, words = FAULTS[name]
    upload = Upload()
    async with staged(engine, Origin(script, early=True)) as stage:
        async with asyncio.timeout(2):
            result = await outcome(stage.engine, request(b"POST", body=aiter(upload), **FRAMINGS[framing]))
            await upload.ended.wait()
        assert isinstance(result, Failed)
        assert (result.error.code, result.error.sent) == (code, True)
        assert result.error.proxy_error in words
        assert len(stage.origin.cases) == 1


@on_every_engine
async def test_an_answer_is_honoured_while_the_upstream_reads_nothing(engine: str) -> None:
    async def flood() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536

    async with staged(engine, Origin((0.05, TOO_LARGE, 0.3), early=True)) as stage:
        async with asyncio.timeout(2):
            reply = await stage.fetch(request(b"POST", body=flood()))
        assert reply.status == 413


@on_every_engine
async def test_an_answer_is_honoured_when_the_upstream_closes_right_behind_it(engine: str) -> None:
    """With the upload unread the close is a reset; the answer was there before it."""

    async def dripping() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.005)

    script = (answer(b"connection: close", line=b"HTTP/1.1 413 No"), 0.05, Act.CLOSE)
    async with staged(engine, Origin(script, early=True)) as stage:
        async with asyncio.timeout(2):
            reply = await stage.fetch(request(b"POST", body=dripping()))
        assert (reply.status, reply.body) == (413, b"ok")


@on_every_engine
async def test_an_interim_answer_does_not_stop_the_upload(engine: str) -> None:
    released = asyncio.Event()

    async def halting() -> AsyncIterator[bytes]:
        yield b"hello"
        await released.wait()
        yield b"world"

    origin = Origin(
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n"), (answer(),), early=True
    )
    async with staged(engine, origin) as stage:
        call = asyncio.create_task(outcome(stage.engine, request(b"POST", body=halting(), content_length=10)))
        await origin.played.wait()
        released.set()
        while not origin.cases[0].complete:
            await asyncio.sleep(0.001)
        assert origin.cases[0].body == b"helloworld"
        origin.end_all(Act.CLOSE)
        assert isinstance(await call, Failed)


@on_every_engine
async def test_an_answer_to_a_whole_request_may_take_its_time(engine: str) -> None:
    """A body that was sent whole before the answer leaves the connection usable."""
    async with staged(engine, Origin((0.05, answer()))) as stage:
        result = await outcome(stage.engine, request(b"POST", body=pieces(b"x" * 200_000), content_length=200_000))
        assert isinstance(result, Reply)
        assert (await stage.probe()).connection == stage.origin.cases[0].connection


@pytest.mark.parametrize("engine", list(ENGINES))
async def test_a_write_that_the_upstream_does_not_take_is_timed(engine: str) -> None:
    origin = Origin((0.7,), early=True)
    async with staged(engine, origin, probed=False) as stage:
        result = await outcome(stage.engine, request(b"POST", body=pieces(*[b"x" * 1_000_000] * 50)))
        assert isinstance(result, Failed)
        assert (result.error.code, result.error.sent) == ("upstream-timeout", True)
        assert result.error.proxy_error in {"connection_write_timeout", "http_response_timeout"}
        origin.end_all(Act.RESET)
        await stage.probe()
