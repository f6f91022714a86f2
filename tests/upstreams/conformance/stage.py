"""One engine before one scripted origin, and what is proved after every case.

Whatever a case did to the pool, the stage ends with other callers' probes: each must get exactly its own marker,
and no connection may be left over. The pool has one connection unless a case says otherwise, so that a slot or a
connection that leaks is missed at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from policies.model import Pool, Timeouts
from tests.upstreams.conformance.engines import ENGINES
from tests.upstreams.conformance.origin import Arrival, Origin, turns
from tests.upstreams.rig import MS, upstream
from upstreams.transport import Headers, Transport, TransportError, UpstreamRequest, UpstreamResponse

QUICK = Timeouts(connect_us=300 * MS, write_us=300 * MS, first_byte_us=300 * MS, idle_us=300 * MS, total_us=5_000 * MS)
"""For what is about a deadline."""
PATIENT = Timeouts(connect_us=5_000 * MS, write_us=5_000 * MS, first_byte_us=5_000 * MS, idle_us=5_000 * MS)
"""For rows that are about something else: a machine that stalls is no finding, an engine that hangs is one still."""
ONE = Pool(connections=1)
_markers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A complete answer."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A call that failed. ``began``: the head had been handed over, and ``body`` of the content."""

    error: TransportError
    began: bool = False
    body: bytes = b""


def request(
    method: bytes = b"GET", target: bytes = b"/case", *fields: tuple[bytes, bytes], **more: Any
) -> UpstreamRequest:
    headers = [(b"host", b"origin"), (b"x-marker", b"case"), *fields]
    return UpstreamRequest(method=method, target=target, headers=headers, **more)


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def outcome(engine: Transport, sent: UpstreamRequest) -> Reply | Failed:
    """Send and read to the end. Only the engine's own errors are outcomes."""
    try:
        answer = await engine.send(sent)
    except TransportError as error:
        return Failed(error=error)
    received = bytearray()
    try:
        await read(answer, received)
    except TransportError as error:
        return Failed(error=error, began=True, body=bytes(received))
    return Reply(status=answer.status, headers=list(answer.headers), body=bytes(received))


async def read(answer: UpstreamResponse, into: bytearray) -> None:
    try:
        if answer.content is not None:
            into += answer.content
        else:
            async for chunk in answer.body():
                into += chunk
    finally:
        await answer.aclose()


class Caller:
    """Calls by one engine."""

    def __init__(self, engine: Transport) -> None:
        self.engine = engine

    async def fetch(self, sent: UpstreamRequest | None = None) -> Reply:
        """A complete answer, or the test fails."""
        result = await outcome(self.engine, sent or request())
        assert isinstance(result, Reply), result
        return result

    async def failure(self, sent: UpstreamRequest | None = None) -> Failed:
        """A failure, or the test fails."""
        result = await outcome(self.engine, sent or request())
        assert isinstance(result, Failed), result
        return result


class Stage(Caller):
    """``engine`` talks to ``origin``."""

    def __init__(self, engine: Transport, origin: Origin) -> None:
        super().__init__(engine)
        self.origin = origin

    async def probe(self) -> Arrival:
        """Another caller's exchange; how it arrived."""
        marker = b"caller-%d" % next(_markers)
        sent = UpstreamRequest(method=b"GET", target=b"/probe", headers=[(b"host", b"origin"), (b"x-marker", marker)])
        result = await outcome(self.engine, sent)
        assert isinstance(result, Reply), result
        assert (result.status, result.body) == (200, marker)
        return next(arrival for arrival in self.origin.arrivals if arrival.value(b"x-marker") == marker)

    async def probes(self, count: int = 10) -> None:
        """``count`` callers at once, each with its own answer."""
        async with asyncio.timeout(5):
            await asyncio.gather(*(self.probe() for _ in range(count)))


@contextlib.asynccontextmanager
async def staged(
    engine: str,
    origin: Origin,
    *,
    timeouts: Timeouts = QUICK,
    pool: Pool = ONE,
    listeners: frozenset[tuple[str, int]] = frozenset(),
    probed: bool = True,
    **more: Any,
) -> AsyncIterator[Stage]:
    """A stage that ends with probes and with every connection closed. ``probed`` False: nothing can be reached."""
    async with origin.serving():
        transport = ENGINES[engine](upstream(origin.port, timeouts=timeouts, pool=pool, **more), listeners=listeners)
        stage = Stage(transport, origin)
        try:
            yield stage
            if probed:
                await stage.probe()
                await stage.probe()
                await turns()
                async with asyncio.timeout(2):
                    await origin.until_open(pool.connections)
        finally:
            await transport.aclose()
        async with asyncio.timeout(2):
            await origin.until_open(0)
