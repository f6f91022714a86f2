"""An open-loop client: every call is sent when its time has come, whether or not earlier ones were answered.

Latency counts from that *intended* time, so that a gateway that stalls is charged for the calls that had to wait
(no coordinated omission). A call takes an idle keep-alive connection or opens another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtests.arrivals.origin import now_us

END_OF_HEAD = b"\r\n\r\n"
ANSWER_S = 10.0
"""A call without an answer after so long has failed."""
IDLE_US = 3_000_000
"""A connection that lay idle for longer is not used again: the other side may be closing it."""
CONNECTIONS = 2_000


@dataclass(slots=True)
class Call:
    """One call and what came of it; times in microseconds of the monotonic clock, 0 for what did not happen."""

    number: int
    tenant: int
    intended_us: int
    sent_us: int = 0
    answered_us: int = 0
    head: bytes = b""
    body: bytes = b""
    failure: str = ""

    @property
    def status(self) -> int:
        return int(self.head[9:12]) if self.head[9:12].isdigit() else 0

    @property
    def latency_us(self) -> int:
        return self.answered_us - self.intended_us


def schedule(rate: float, seconds: float, tenants: int, *, poisson: bool, seed: int = 1) -> list[tuple[int, int]]:
    """``(microseconds from the start, tenant)`` in order: ``rate`` calls a second, shared evenly.

    Constant: the tenants take turns. Poisson: the gaps are exponential and each call picks its tenant.
    """
    return list(_poisson(rate, seconds, tenants, random.Random(seed)) if poisson else _even(rate, seconds, tenants))


def _even(rate: float, seconds: float, tenants: int) -> Iterator[tuple[int, int]]:
    for number in range(int(rate * seconds)):
        yield int(number * 1_000_000 / rate), number % tenants


def _poisson(rate: float, seconds: float, tenants: int, chance: random.Random) -> Iterator[tuple[int, int]]:
    at = chance.expovariate(rate)
    while at < seconds:
        yield int(at * 1_000_000), chance.randrange(tenants)
        at += chance.expovariate(rate)


class Line(asyncio.Protocol):
    """One connection, one call at a time. Understands answers framed by ``Content-Length`` alone."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._buffer = b""
        self._call: Call | None = None
        self._transport: Any = None
        self.idle_since_us = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.gone(self)
        self._end(f"the connection ended before the answer: {exc or 'closed'}")

    def send(self, call: Call, request: bytes) -> None:
        self._call = call
        call.sent_us = now_us()
        self._transport.write(request)

    def close(self, why: str = "") -> None:
        self._end(why)
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        at = now_us() + 1  # the clock is cut to microseconds; an upper bound is needed
        call = self._call
        if call is None:
            self.close()
            return
        self._buffer += data
        head, end, rest = self._buffer.partition(END_OF_HEAD)
        if not end:
            return
        length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
        if not length.isdigit():
            self.close(f"an answer without Content-Length: {head[:200]!r}")
        elif len(rest) >= int(length):
            call.answered_us, call.head, self._buffer = at, head, b""
            call.body = rest if call.status == 429 else b""
            self.idle_since_us = at
            self._end("", usable=b"\r\nconnection: close" not in head.lower())

    def _end(self, why: str, *, usable: bool = False) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.failure = why
            self._client.ended(self, call, usable=usable)


@dataclass(slots=True)
class Client:
    """``request`` makes the bytes of a call."""

    host: str
    port: int
    request: Callable[[Call], bytes]
    idle: list[Line] = field(default_factory=list)
    open: int = 0
    waiting: dict[int, asyncio.Future[None]] = field(default_factory=dict)
    opening: set[asyncio.Task[None]] = field(default_factory=set)

    def begin(self, call: Call) -> asyncio.Future[None]:
        """Send ``call`` now; the future is done when it has been answered or has failed."""
        done = self.waiting[call.number] = asyncio.get_running_loop().create_future()
        now = now_us()
        while self.idle:
            line = self.idle.pop()
            if now - line.idle_since_us < IDLE_US:
                line.send(call, self.request(call))
                return done
            line.close()
        task = asyncio.get_running_loop().create_task(self._open(call))
        self.opening.add(task)
        task.add_done_callback(self.opening.discard)
        return done

    async def ask(self, call: Call) -> Call:
        """One call, awaited; a failure is noted on it."""
        await asyncio.wait((self.begin(call),), timeout=ANSWER_S)
        self._expire(call)
        return call

    async def _open(self, call: Call) -> None:
        if self.open >= CONNECTIONS:
            self._fail(call, f"{CONNECTIONS} connections are open and busy")
            return
        self.open += 1
        try:
            loop = asyncio.get_running_loop()
            _, line = await loop.create_connection(lambda: Line(self), self.host, self.port)
        except OSError as error:
            self.open -= 1
            self._fail(call, f"no connection: {error}")
            return
        line.send(call, self.request(call))

    def gone(self, line: Line) -> None:
        self.open -= 1
        with contextlib.suppress(ValueError):
            self.idle.remove(line)

    def ended(self, line: Line, call: Call, *, usable: bool) -> None:
        if usable:
            self.idle.append(line)
        self._done(call)

    def _fail(self, call: Call, why: str) -> None:
        call.failure = why
        self._done(call)

    def _done(self, call: Call) -> None:
        done = self.waiting.pop(call.number, None)
        if done is not None and not done.done():
            done.set_result(None)

    def _expire(self, call: Call) -> None:
        if self.waiting.pop(call.number, None) is not None:
            call.failure = f"no answer within {ANSWER_S:.0f} s"

    async def run(self, calls: Sequence[Call], step: Callable[[int], None]) -> None:
        """Send every call when its time has come; ends when all are answered, at most ``ANSWER_S`` after the last."""
        loop, stop = asyncio.get_running_loop(), threading.Event()
        pending: set[asyncio.Future[None]] = set()

        def due(batch: Sequence[Call]) -> None:
            for call in batch:
                done = self.begin(call)
                pending.add(done)
                done.add_done_callback(pending.discard)
            step(batch[-1].number + 1)

        try:
            await asyncio.to_thread(pace, calls, lambda batch: loop.call_soon_threadsafe(due, batch), stop)
        finally:
            stop.set()
        await asyncio.sleep(0)  # the last batch was handed over, not begun
        if pending:
            await asyncio.wait(set(pending), timeout=ANSWER_S)
        for call in calls:
            self._expire(call)

    def close(self) -> None:
        for line in list(self.idle):
            line.close()


def pace(calls: Sequence[Call], give: Callable[[Sequence[Call]], object], stop: threading.Event) -> None:
    """Hand over each call when its time has come, in a thread: an event loop's timers are cut to milliseconds."""
    at = 0
    while at < len(calls):
        ahead_us = calls[at].intended_us - now_us()
        if ahead_us > 0 and stop.wait(ahead_us / 1_000_000):
            return
        end, now = at, now_us()
        while end < len(calls) and calls[end].intended_us <= now:
            end += 1
        if end > at:
            give(calls[at:end])
        at = end
