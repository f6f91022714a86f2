"""The httpx engine before a scripted HTTP/2 origin, a neighbour on the same connection, and probes after every case."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

from policies.model import Pool, Timeouts, Tls
from tests.upstreams.conformance.cases import Answer, Fault
from tests.upstreams.conformance.stage import PATIENT, QUICK, Caller, Reply, outcome, pieces, request
from tests.upstreams.http2.origin import AUTHORITY, Arrival, Http2Origin, Script
from tests.upstreams.rig import upstream
from upstreams.httpx_engine import HttpxTransport
from upstreams.transport import UpstreamRequest

HASTY = replace(QUICK, connect_us=PATIENT.connect_us)
"""For what is about a deadline other than that of connecting."""
_markers = itertools.count(1)


class Stage(Caller):
    """``engine`` talks to ``origin``."""

    def __init__(self, engine: HttpxTransport, origin: Http2Origin) -> None:
        super().__init__(engine)
        self.origin = origin

    async def marked(self, target: bytes) -> Arrival:
        """Another caller's exchange, which must get its own marker; how it arrived."""
        marker = b"caller-%d" % next(_markers)
        sent = UpstreamRequest(method=b"GET", target=target, headers=[(b"host", b"origin"), (b"x-marker", marker)])
        result = await outcome(self.engine, sent)
        assert isinstance(result, Reply), result
        assert (result.status, result.body) == (200, marker)
        return next(arrival for arrival in self.origin.arrivals[::-1] if arrival.value(b"x-marker") == marker)

    async def probe(self) -> Arrival:
        return await self.marked(b"/probe")

    @contextlib.asynccontextmanager
    async def neighbour(self) -> AsyncIterator[asyncio.Task[Arrival]]:
        """Another caller in the middle of an exchange on the one connection."""
        task = asyncio.create_task(self.marked(b"/neighbour"))
        await self.origin.until(
            lambda: any(one.target == b"/neighbour" and one.complete for one in self.origin.arrivals)
        )
        try:
            yield task
        finally:
            self.origin.go.set()
            await asyncio.wait((task,), timeout=10)


@contextlib.asynccontextmanager
async def staged(
    origin: Http2Origin,
    *,
    timeouts: Timeouts = PATIENT,
    connections: int = 4,
    max_age_us: int = 600_000_000,
    probed: bool = True,
    **more: Any,
) -> AsyncIterator[Stage]:
    """A stage that ends with another caller's probe, every connection closed and no stream left behind."""
    async with origin.serving():
        definition = upstream(
            origin.port, host="localhost", scheme="https", tls=Tls(ca=AUTHORITY), timeouts=timeouts,
            pool=Pool(connections=connections, wait_us=200_000, max_age_us=max_age_us), **more,
        )  # fmt: skip
        transport = HttpxTransport(definition)
        stage = Stage(transport, origin)
        try:
            yield stage
            if probed:
                async with asyncio.timeout(10):
                    await asyncio.gather(*(stage.probe() for _ in range(connections)))
        finally:
            await transport.aclose()
        await origin.until(lambda: origin.open == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row, as in ``tests.upstreams.conformance.cases``. ``expect.reused``: the connection survives, and with it
    the neighbour's exchange.
    """

    name: str
    script: Script
    expect: Answer | Fault
    method: bytes = b"GET"
    body: tuple[bytes, ...] | None = None
    content_length: int | None = None
    seen: int = 1
    early: bool = False
    quick: bool = False
    origin: dict[str, Any] = field(default_factory=dict)


async def play(case: Case) -> None:
    origin = Http2Origin(case.script, early=case.early, **case.origin)
    async with staged(origin, timeouts=HASTY if case.quick else PATIENT) as stage, stage.neighbour() as neighbour:
        body = None if case.body is None else pieces(*case.body)
        result = await outcome(
            stage.engine, request(case.method, b"/case", body=body, content_length=case.content_length)
        )
        problems = list(case.expect.problems(result))
        assert not problems, problems
        assert len(origin.cases) == case.seen
        probe = await stage.probe()
        if case.expect.reused is not None:
            assert (probe.connection == origin.cases[-1].connection) is case.expect.reused
        if case.expect.reused and not case.quick:
            assert not neighbour.done()
            origin.go.set()
            assert (await neighbour).connection == origin.cases[-1].connection
