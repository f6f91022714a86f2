"""Bodies larger than memory: whoever does not read stops whoever writes, both ways (issue: flat memory)."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from tests.upstreams.conformance.cases import answer
from tests.upstreams.conformance.engines import on_every_engine
from tests.upstreams.conformance.origin import Act, Flood, Origin, Script
from tests.upstreams.conformance.stage import QUICK, Failed, outcome, request, staged

pytestmark = pytest.mark.anyio

BLOCK = b"x" * 65_536
TIMES = 800
SIZE = len(BLOCK) * TIMES
"""50 MiB."""
IN_FLIGHT = 16_000_000
"""What the sockets' own buffers on loopback and ours may hold together."""
BY_LENGTH: Script = (b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % SIZE, Flood(data=BLOCK, times=TIMES))
BY_CHUNKS: Script = (
    answer(b"transfer-encoding: chunked", length=False, body=b""),
    Flood(data=b"10000\r\n" + BLOCK + b"\r\n", times=TIMES),
    b"0\r\n\r\n",
)
TO_CLOSE: Script = (answer(length=False, body=b""), Flood(data=BLOCK, times=TIMES), Act.CLOSE)

framings = pytest.mark.parametrize(
    "script", [BY_LENGTH, BY_CHUNKS, TO_CLOSE], ids=["by-length", "by-chunks", "to-close"]
)


async def until_stalled(origin: Origin) -> int:
    """Octets written when no more are."""
    written = -1
    while written != origin.written:
        written = origin.written
        await asyncio.sleep(0.1)
    return written


@on_every_engine
@framings
async def test_an_answer_that_is_not_read_stops_the_upstream(script: Script, engine: str) -> None:
    async with staged(engine, Origin(script)) as stage:
        held = await stage.engine.send(request())
        assert held.content is None
        assert await until_stalled(stage.origin) < IN_FLIGHT
        await held.aclose()


@on_every_engine
@framings
async def test_a_large_answer_passes_with_flat_memory(script: Script, engine: str) -> None:
    async with staged(engine, Origin(script)) as stage:
        held = await stage.engine.send(request())
        received = 0
        tracemalloc.start()
        try:
            async for part in held.body():
                received += len(part)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert received == SIZE
        assert peak < 8_000_000


@on_every_engine
@pytest.mark.parametrize("length", [SIZE, None], ids=["by-length", "in-chunks"])
async def test_an_upload_that_is_not_read_stops_the_caller(length: int | None, engine: str) -> None:
    pulled = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal pulled
        for _ in range(TIMES):
            pulled += len(BLOCK)
            yield BLOCK

    async with staged(engine, Origin((Act.GO,), early=True)) as stage:
        result = await outcome(stage.engine, request(b"POST", body=counted(), content_length=length))
        stage.origin.go.set()
        assert isinstance(result, Failed)
        assert result.error.code == "upstream-timeout"
        assert pulled < IN_FLIGHT


@on_every_engine
@pytest.mark.parametrize("length", [SIZE, None], ids=["by-length", "in-chunks"])
async def test_a_large_upload_passes_whole(length: int | None, engine: str) -> None:
    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield BLOCK

    async with staged(engine, Origin((answer(),)), timeouts=QUICK) as stage:
        size = None if length is None else len(BLOCK) * 100
        assert (await stage.fetch(request(b"POST", body=blocks(), content_length=size))).body == b"ok"
        assert stage.origin.cases[0].body.count(b"x") == len(BLOCK) * 100
