"""Event streams through the whole gateway on real sockets, on both servers (RULINGS 18)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from policies.sla.outcome import classify
from tests.middleware.harness import VirtualClock
from tests.wire.harness import SERVERS, ServerName
from tests.wire.sockets import DEADLINE_S, KEY, Line, Stage, policy, stage

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("server", SERVERS)

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


def event(text: bytes) -> bytes:
    content = b"data: " + text + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(content), content)


@contextlib.asynccontextmanager
async def subscribed(at: Stage) -> AsyncIterator[tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]]:
    """The head of an answer to a GET, and the rest of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", at.gateway.port)
    try:
        writer.write(f"GET /ws/events HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n".encode())
        async with asyncio.timeout(DEADLINE_S):
            yield await reader.readuntil(b"\r\n\r\n"), reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@both
@pytest.mark.parametrize("framing", ["chunked", "until-the-end"])
async def test_each_event_passes_before_the_next_one_is_made(tmp_path: Path, server: ServerName, framing: str) -> None:
    received = asyncio.Semaphore(0)

    async def script(line: Line) -> None:
        line.send(CHUNKED if framing == "chunked" else HEAD + b"\r\n")
        for number in range(5):
            line.send(event(b"%d" % number) if framing == "chunked" else b"data: %d\n\n" % number)
            await received.acquire()
        line.send(b"0\r\n\r\n" if framing == "chunked" else b"")

    async with stage(tmp_path, script, server) as at:
        async with subscribed(at) as (head, reader, _):
            assert head.startswith(b"HTTP/1.1 200")
            for number in range(5):
                await reader.readuntil(b"data: %d\n\n" % number)
                received.release()
            await reader.readuntil(b"0\r\n\r\n")
        outcome = await at.outcome()
    assert (outcome.status, outcome.reason, outcome.truncated_by) == (200, None, None)


@both
async def test_a_stream_has_no_total_deadline(tmp_path: Path, server: ServerName) -> None:
    async def script(line: Line) -> None:
        line.send(CHUNKED)
        for _ in range(8):
            await asyncio.sleep(0.05)  # together twice the deadline
            line.send(event(b"tick"))
        line.send(event(b"last") + b"0\r\n\r\n")

    async with stage(tmp_path, script, server, policy(timeouts={"total": "200ms", "idle": "5s"})) as at:
        async with subscribed(at) as (_, reader, _):
            await reader.readuntil(b"data: last\n\n")
        assert (await at.outcome()).reason is None


@both
async def test_a_stream_holds_its_slot_until_its_reader_leaves(tmp_path: Path, server: ServerName) -> None:
    async def script(line: Line) -> None:
        line.send(CHUNKED + event(b"first"))
        await line.ended()

    async with stage(tmp_path, script, server, policy(slots=1)) as at:
        async with subscribed(at) as (head, reader, writer):
            assert head.startswith(b"HTTP/1.1 200")
            await reader.readuntil(b"first\n\n")
            async with subscribed(at) as (second, _, _):
                assert second.startswith(b"HTTP/1.1 429")
            writer.transport.abort()
            outcome = await at.outcome(2)
        assert (outcome.status, outcome.truncated_by, at.exchange.client_gone) == (200, None, True)
        async with subscribed(at) as (third, _, _):
            assert third.startswith(b"HTTP/1.1 200")


@both
async def test_who_leaves_a_stream_after_long_is_no_fault_of_the_upstream(tmp_path: Path, server: ServerName) -> None:
    """Spec sla.md T1: a stream is judged by its head; O2b is for callers that waited in vain."""
    clock = VirtualClock()

    async def script(line: Line) -> None:
        line.send(CHUNKED + event(b"first"))
        await line.ended()

    async with stage(tmp_path, script, server, clock=clock) as at, subscribed(at) as (_, reader, writer):
        await reader.readuntil(b"first\n\n")
        clock.advance(31_000_000)
        writer.transport.abort()
        outcome = await at.outcome()
    assert outcome.elapsed_us > 30_000_000
    assert classify(outcome) == ("good", "ok")


@both
async def test_a_stream_that_the_upstream_breaks_off_is_not_ended_well(tmp_path: Path, server: ServerName) -> None:
    async def script(line: Line) -> None:
        line.send(CHUNKED + event(b"first"))
        await line.writer.drain()
        line.writer.transport.abort()

    async with stage(tmp_path, script, server, policy(slots=1)) as at:
        async with subscribed(at) as (_, reader, _):
            await reader.readuntil(b"first\n\n")
            with contextlib.suppress(ConnectionError):
                assert b"0\r\n" not in await reader.read()
        outcome = await at.outcome()
        assert (outcome.reason, outcome.truncated_by) == ("upstream-protocol", "upstream")
        async with subscribed(at) as (again, _, _):
            assert again.startswith(b"HTTP/1.1 200")
