"""A scripted upstream: plain octets out, and a record of the octets that came in.

A request for ``/probe`` is answered with its own ``x-marker``; the n-th other request gets the n-th script, the
last one again when there are more. It reads what it is sent exactly as framed, so that a request smuggled behind
another, or an answer left over from another, becomes visible as a wrong record or a wrong marker.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from gateway.mock_upstream import stop_accepting

READ_SIZE = 65_536
TURNS = 12
"""Turns of the loop after which what one side wrote to a loopback socket has reached the other's callbacks."""


class Act(enum.Enum):
    """What a script does besides writing."""

    CLOSE = "end the connection in an orderly way"
    RESET = "end it with RST"
    ABORT = "close the socket; under TLS without close_notify"
    HOLD = "read until the other side ends it"
    GO = "wait for the test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drip:
    """``data`` octet by octet with ``gap_s`` between."""

    data: bytes
    gap_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """``data`` over and over, ``times`` times or until the other side ends the connection."""

    data: bytes
    times: int


Step = bytes | float | Act | Drip | Flood
"""Octets to write, seconds to pause, or an act."""
Script = Sequence[Step]


@dataclass(slots=True, kw_only=True)
class Arrival:
    """One request. ``head`` and ``body`` as on the wire, framing included; ``complete``: all of it came."""

    connection: int
    head: bytes
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False

    @property
    def target(self) -> bytes:
        return self.head.split(b" ")[1]

    @property
    def fields(self) -> list[bytes]:
        return self.head.split(b"\r\n")[1:-2]

    def value(self, name: bytes) -> bytes | None:
        pairs = (field.partition(b": ") for field in self.fields)
        return next((value for key, _, value in pairs if key.lower() == name), None)


class _Gone(Exception):
    """The other side ended the connection, or the script did."""


class Origin:
    """``async with Origin(script).serving() as origin``. ``early``: scripts run before the request body is read.

    On the first connection ``greeting`` is sent at once, and ``deaf`` ends it after so many octets of a request.
    """

    def __init__(
        self,
        *scripts: Script,
        early: bool = False,
        greeting: bytes = b"",
        context: ssl.SSLContext | None = None,
        deaf: tuple[int, Act] | None = None,
    ) -> None:
        self._greeting = greeting
        self._context = context
        self._deaf = deaf
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.port = 0
        self.connections = 0
        self.written = 0
        self.rehearse(*scripts, early=early)

    def rehearse(
        self, *scripts: Script, early: bool = False, choose: Callable[[Arrival], Script] | None = None
    ) -> None:
        """Forget what has come, and play ``scripts`` from now on, or what ``choose`` makes of each request."""
        self._scripts = scripts
        self._choose = choose
        self._early = early
        self.arrivals: list[Arrival] = []
        self.go = asyncio.Event()
        self.played = asyncio.Event()
        self.arrived = asyncio.Event()
        """A request that is no probe has come."""

    @contextlib.asynccontextmanager
    async def serving(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Origin]:
        server = await asyncio.start_server(self._accepted, host, port, ssl=self._context, limit=2**20)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            await stop_accepting(server)
            for task, writer in self._tasks.items():
                writer.transport.abort()
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def cases(self) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.target != b"/probe"]

    @property
    def open(self) -> int:
        """Connections that neither side has ended."""
        return len(self._writers)

    async def until_open(self, most: int) -> None:
        """Wait until at most ``most`` connections are open; those in a script notice at their next step."""
        while self.open > most:
            await asyncio.sleep(0.001)

    def end_all(self, act: Act) -> None:
        for writer in self._writers.values():
            _end(writer, act)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks[task] = writer
        task.add_done_callback(self._tasks.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self._writers[number] = writer
        try:
            if number == 1:
                await self._first(reader, writer)
            while True:
                await self._exchange(number, reader, writer)
        except (_Gone, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            del self._writers[number]
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _first(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._greeting)
        if self._deaf is not None:
            count, act = self._deaf
            await reader.readexactly(count)
            _end(writer, act)
            raise _Gone

    async def _exchange(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrival = Arrival(connection=number, head=await reader.readuntil(b"\r\n\r\n"))
        self.arrivals.append(arrival)
        if arrival.target == b"/probe":
            await _read_body(arrival, reader)
            marker = arrival.value(b"x-marker") or b"none"
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(marker), marker))
            return
        self.arrived.set()
        script = self._choose(arrival) if self._choose else self._scripts[min(len(self.cases), len(self._scripts)) - 1]
        if not self._early:
            await _read_body(arrival, reader)
        for step in script:
            await self._play(step, reader, writer)
        self.played.set()
        if self._early:
            await _read_body(arrival, reader)

    async def _play(self, step: Step, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match step:
            case bytes():
                await self._write(step, reader, writer)
            case float():
                await asyncio.sleep(step)
            case Drip():
                for octet in step.data:
                    await self._write(bytes((octet,)), reader, writer)
                    await asyncio.sleep(step.gap_s)
            case Flood():
                for _ in range(step.times):
                    await self._write(step.data, reader, writer)
            case Act.GO:
                await self.go.wait()
            case Act.HOLD:
                while await reader.read(READ_SIZE):
                    pass
                raise _Gone
            case _:
                self.played.set()
                _end(writer, step)
                raise _Gone

    async def _write(self, data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if reader.at_eof() or writer.transport.is_closing():  # uvloop refuses to write where asyncio only warns
            raise _Gone
        writer.write(data)
        await writer.drain()
        self.written += len(data)


def _end(writer: asyncio.StreamWriter, act: Act) -> None:
    if act is Act.CLOSE:
        writer.close()
        return
    if act is Act.RESET:
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _read_body(arrival: Arrival, reader: asyncio.StreamReader) -> None:
    """The body as its framing says, kept as far as it came."""
    try:
        if arrival.value(b"transfer-encoding") is not None:
            size = 1
            while size:
                line = await reader.readuntil(b"\r\n")
                arrival.body += line
                size = int(line, 16)
                arrival.body += await reader.readexactly(size + 2)
        else:
            arrival.body += await reader.readexactly(int(arrival.value(b"content-length") or 0))
    except asyncio.IncompleteReadError as cut:
        arrival.body += cut.partial
        raise
    arrival.complete = True


async def turns() -> None:
    """Let what is written arrive."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
