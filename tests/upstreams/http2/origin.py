"""A scripted HTTP/2 upstream over TLS: frames out as a test wants them, and a record of what came in.

A request for ``/probe`` is answered with its own ``x-marker``; ``/neighbour`` likewise, but only once the test says
so. The n-th other request is played by the n-th script, the last one again when there are more. The h2 library
reads what comes; nothing that it sends is checked, and what it would never send is written as raw frames.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes
from hyperframe.frame import Frame, GoAwayFrame

from gateway.mock_upstream import stop_accepting
from tests.upstreams.authority import CA, tls_server

AUTHORITY = CA
TRUSTING_ANYTHING = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_inbound_headers=True,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
    normalize_inbound_headers=False,
)
Headers = list[tuple[bytes, bytes]]


@functools.cache
def context(*protocols: str) -> ssl.SSLContext:
    with tempfile.TemporaryDirectory() as folder:
        made = tls_server(Path(folder))
    made.set_alpn_protocols(list(protocols))
    return made


@dataclass(slots=True, kw_only=True)
class Arrival:
    """One request. ``complete``: all of it came; ``reset``: the code it was reset with."""

    connection: int
    stream: int
    headers: Headers
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False
    reset: int | None = None

    def value(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def target(self) -> bytes:
        return self.value(b":path") or b""


class Exchange:
    """What a script answers with."""

    def __init__(self, line: Line, arrival: Arrival) -> None:
        self.line = line
        self.arrival = arrival
        self.stream = arrival.stream
        self.changed = asyncio.Event()
        self.full = asyncio.Event()  # the caller's window is used up

    async def head(self, *fields: tuple[bytes, bytes], status: bytes = b"200", end: bool = False) -> None:
        await self.fields((b":status", status), *fields, end=end)

    async def fields(self, *fields: tuple[bytes, bytes], end: bool = False) -> None:
        self.line.h2.send_headers(self.stream, list(fields), end_stream=end)
        await self.line.flush()

    async def data(self, content: bytes, *, end: bool = False) -> None:
        """``content`` as the caller's window lets it pass."""
        view = memoryview(content)
        while True:
            size = min(len(view), self.line.h2.local_flow_control_window(self.stream), 16_384)
            if size or not view:
                last = size == len(view)
                self.line.h2.send_data(self.stream, bytes(view[:size]), end_stream=end and last)
                await self.line.flush()
                view = view[size:]
                if last:
                    return
            else:
                self.full.set()
                self.changed.clear()
                await self.changed.wait()

    async def answer(self, content: bytes = b"ok", *fields: tuple[bytes, bytes]) -> None:
        await self.head((b"content-length", b"%d" % len(content)), *fields)
        await self.data(content, end=True)

    async def reset(self, code: int) -> None:
        self.line.h2.reset_stream(self.stream, code)
        await self.line.flush()

    async def frame(self, frame: Frame) -> None:
        await self.octets(frame.serialize())

    async def octets(self, octets: bytes) -> None:
        if self.line.writer.is_closing():
            raise ConnectionResetError
        self.line.writer.write(octets)
        await self.line.flush()

    async def goaway(self, last: int | None = None, code: int = 0) -> None:
        await self.frame(GoAwayFrame(0, last_stream_id=self.stream if last is None else last, error_code=code))

    async def close(self) -> None:
        self.line.writer.close()

    async def abort(self) -> None:
        self.line.writer.transport.abort()


Script = Callable[[Exchange], Awaitable[None]]


class Line:
    """One connection."""

    def __init__(self, number: int, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.writer = writer
        self.h2 = H2Connection(TRUSTING_ANYTHING)
        self.exchanges: dict[int, Exchange] = {}

    async def flush(self) -> None:
        if self.writer.is_closing():
            raise ConnectionResetError
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()


class Http2Origin:
    """``async with Http2Origin(script).serving()``. ``early``: scripts run when a request's head is here.

    ``greeting`` is all that is ever sent, SETTINGS included; ``grants``: the window is renewed as content comes.
    """

    def __init__(
        self,
        *scripts: Script,
        early: bool = False,
        settings: dict[SettingCodes, int] | None = None,
        greeting: bytes | None = None,
        grants: bool = True,
    ) -> None:
        self._scripts = scripts
        self._early = early
        self._settings = settings or {}
        self._greeting = greeting
        self._grants = grants
        self._tasks: set[asyncio.Task[None]] = set()
        self._lines: set[Line] = set()
        self.port = 0
        self.connections = 0
        self.arrivals: list[Arrival] = []
        self.goaways: list[int] = []
        self.go = asyncio.Event()
        self.arrived = asyncio.Event()
        self.changed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Http2Origin]:
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, ssl=context("h2"))
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            await stop_accepting(server)
            for line in [*self._lines]:
                line.writer.transport.abort()
            for task in [*self._tasks]:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def cases(self) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.target not in (b"/probe", b"/neighbour")]

    @property
    def open(self) -> int:
        return len(self._lines)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    def end_all(self) -> None:
        for line in self._lines:
            line.writer.close()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._spawn(self._serve(reader, writer))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)  # type: ignore[arg-type]
        task.add_done_callback(self._tasks.discard)  # type: ignore[arg-type]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        line = Line(self.connections, writer)
        self._lines.add(line)
        try:
            await self._begin(line)
            while (data := await reader.read(65_536)) and self._greeting is None:
                for event in line.h2.receive_data(data):
                    self._happened(line, event)
                await line.flush()
                self.changed.set()
            while data:
                data = await reader.read(65_536)
        except (OSError, ProtocolError):
            pass
        finally:
            self._lines.discard(line)
            self.changed.set()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _begin(self, line: Line) -> None:
        for code, value in self._settings.items():
            line.h2.local_settings[code] = value
        line.h2.local_settings.acknowledge()
        line.h2.initiate_connection()
        if self._greeting is None:
            await line.flush()
        else:
            line.h2.clear_outbound_data_buffer()
            line.writer.write(self._greeting)

    def _happened(self, line: Line, event: Event) -> None:
        match event:
            case RequestReceived():
                arrival = Arrival(connection=line.number, stream=event.stream_id, headers=list(event.headers or ()))
                self.arrivals.append(arrival)
                line.exchanges[event.stream_id] = Exchange(line, arrival)
                if self._early and arrival in self.cases:
                    self._play(line.exchanges[event.stream_id])
            case DataReceived():
                line.exchanges[event.stream_id].arrival.body += event.data or b""
                if self._grants:
                    line.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
            case StreamEnded():
                exchange = line.exchanges[event.stream_id]
                exchange.arrival.complete = True
                if not (self._early and exchange.arrival in self.cases):
                    self._play(exchange)
            case StreamReset():
                line.exchanges[event.stream_id].arrival.reset = int(event.error_code or 0)
            case WindowUpdated():
                for exchange in line.exchanges.values():
                    exchange.changed.set()
            case ConnectionTerminated():
                self.goaways.append(int(event.error_code or 0))
            case _:
                pass

    def _play(self, exchange: Exchange) -> None:
        self._spawn(self._played(exchange))

    async def _played(self, exchange: Exchange) -> None:
        with contextlib.suppress(OSError, StreamClosedError, ProtocolError):
            if exchange.arrival.target in (b"/probe", b"/neighbour"):
                if exchange.arrival.target == b"/neighbour":
                    await self.go.wait()
                await exchange.answer(exchange.arrival.value(b"x-marker") or b"none")
                return
            self.arrived.set()
            await self._scripts[min(len(self.cases), len(self._scripts)) - 1](exchange)
