"""A scripted origin on loopback: what an upstream may do to a gateway, on request.

Behaviours come from path segments (``/any/slow=2s/ok``) or from the ``x-mock`` field
(``x-mock: status=500, chunked``): ``ok slow=2s stream=20x100ms large=10MB status=N throttle=DIALECT wait=2s times=N
early hold chunked gzip sse drip close reset=head reset=body:N garbage two-lengths short``. Any other path answers 200
and tells as JSON what arrived, so that a test can prove what did not. ``wait`` is what a throttle announces; after
``times`` of them the same path is served. Raw sockets, because most of this is not HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import h11

from gateway.mock_dialects import Answer, Refusals, afterwards, throttled

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_SIZES = {"B": 1, "KB": 1_000, "MB": 1_000_000, "KiB": 1024, "MiB": 1_048_576}
_WORDS = frozenset(
    ("ok", "slow", "stream", "large", "status", "throttle", "wait", "times", "early", "hold", "chunked", "gzip", "sse",
     "drip", "close", "reset", "garbage", "two-lengths", "short")
)  # fmt: skip
BLOCK = b"0123456789abcdef" * 4096
READ_SIZE = 65_536
ACCEPTING_TURNS = 8
"""Turns of the loop that an accepted connection is given to reach ``_accepted``; asyncio takes three."""


@dataclass(slots=True)
class Received:
    """One request as it came. ``headers`` in order, names lower case; ``complete`` once the whole body is here.

    ``at`` is when its head was here, in seconds of steady time.
    """

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False
    connection: int = 0
    at: float = field(default_factory=time.monotonic)

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


class _Gone(Exception):
    """The behaviour ends the connection."""


def script_of(target: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The behaviours asked for, by name."""
    words = [*target.partition("?")[0].split("/"), *headers.get("x-mock", "").replace(" ", "").split(",")]
    pairs = (word.partition("=") for word in words)
    return {name: value for name, _, value in pairs if name in _WORDS}


def seconds(text: str) -> float:
    amount, unit = _split(text, "s")
    return amount * _UNITS[unit]


def octets(text: str) -> int:
    amount, unit = _split(text, "B")
    return int(amount * _SIZES[unit])


FORMS = "slow=2s, stream=20x100ms, large=10MB, status=500 (units: ms s m B KB MB KiB MiB)"


def unreadable(script: Mapping[str, str]) -> bool:
    """Whether an amount that was asked for cannot be read."""
    count, _, pause = script.get("stream", "1").partition("x")
    try:
        seconds(script.get("slow", "0")), seconds(pause or "0"), octets(script.get("large", "0"))
        seconds(script.get("wait", "0"))
        return not all(amount.isdigit() for amount in (count, script.get("status", "200"), script.get("times", "0")))
    except (ValueError, KeyError):
        return True


def _split(text: str, default: str) -> tuple[float, str]:
    match = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", text)
    if match is None:
        raise ValueError(f"not an amount with a unit: {text!r}")
    return float(match[1]), match[2] or default


class MockUpstream:
    """``async with MockUpstream() as origin:`` serves at ``origin.url`` and keeps ``origin.requests``."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, *, keep: int = 10_000) -> None:
        self._host = host
        self._port = port
        self._keep = keep
        self._server: asyncio.Server | None = None
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.requests: list[Received] = []
        self.refusals = Refusals()
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._server is not None:
            await stop_accepting(self._server)
        for task, writer in self._tasks.items():
            writer.transport.abort()  # what is not sent yet has no reader any more
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}"

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks[task] = writer
        task.add_done_callback(self._tasks.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await _Connection(self, reader, writer, self.connections).run()
        except (_Gone, ConnectionError, h11.RemoteProtocolError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    def record(self, request: Received) -> None:
        if len(self.requests) >= self._keep:
            del self.requests[: self._keep // 2]
        self.requests.append(request)


async def stop_accepting(server: asyncio.Server) -> None:
    """Close ``server`` once what it is accepting has arrived: asyncio before 3.12 would drop that unclosed."""
    for listener in server.sockets:
        server.get_loop().remove_reader(listener.fileno())
    for _ in range(ACCEPTING_TURNS):
        await asyncio.sleep(0)
    server.close()


class _Connection:
    """One client connection: h11 reads the requests, the answers are written by hand."""

    def __init__(
        self, origin: MockUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self._origin = origin
        self._reader = reader
        self._writer = writer
        self._number = number
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=200_000)

    async def run(self) -> None:
        while True:
            event = await self._event()
            if not isinstance(event, h11.Request):
                return
            request = Received(
                event.method.decode("latin-1"),
                event.target.decode("latin-1"),
                [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers],
                connection=self._number,
            )
            self._origin.record(request)
            script = script_of(request.target, dict(request.headers))
            if "early" not in script:
                await self._read_body(request)
            await self._answer(request, script)
            if "early" in script:
                await self._until_closed()  # a close with unread data would reset the answer away
            if "close" in script:
                return
            # The answer was written by hand; the parser only needs to believe that there was one.
            self._parser.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            self._parser.send(h11.EndOfMessage())
            if self._parser.our_state is not h11.DONE:
                return
            self._parser.start_next_cycle()

    async def _event(self) -> object:
        while (event := self._parser.next_event()) is h11.NEED_DATA:
            if self._parser.they_are_waiting_for_100_continue:
                self._write(self._parser.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            self._parser.receive_data(await self._reader.read(READ_SIZE))
        return event

    async def _read_body(self, request: Received) -> None:
        while not isinstance(event := await self._event(), h11.EndOfMessage):
            if not isinstance(event, h11.Data):
                raise _Gone
            request.body += event.data
        request.complete = True

    def _write(self, data: bytes) -> None:
        self._writer.write(data)

    async def _answer(self, request: Received, script: Mapping[str, str]) -> None:
        if unreadable(script):
            body = f"cannot read what was asked for; write it like {FORMS}\n".encode()
            self._write(head(400, [("content-type", "text/plain"), ("content-length", str(len(body)))]) + body)
            return
        if "hold" in script:
            await self._until_closed()
        if "slow" in script:
            await asyncio.sleep(seconds(script["slow"]))
        if await self._broken(script):
            raise _Gone
        bodiless = request.method == "HEAD"
        if await self._streamed(script, bodiless):
            await self._writer.drain()
            return
        status, headers, body = _whole(request, script, self._number, self._origin.refusals)
        framing, content = _framed(body, script) if status not in (204, 304) else ([], b"")
        self._write(head(status, [*headers, *framing]) + (b"" if bodiless else content))
        await self._writer.drain()

    async def _until_closed(self) -> None:
        while await self._reader.read(READ_SIZE):
            pass
        raise _Gone

    async def _broken(self, script: Mapping[str, str]) -> bool:
        """Answers that no valid HTTP client may take for complete. True when the connection is to end."""
        if "garbage" in script:
            self._write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
        elif "two-lengths" in script:
            self._write(head(200, [("content-length", "5"), ("content-length", "6")]) + b"hello!")
        elif "short" in script:
            self._write(head(200, [("content-length", "100")]) + b"only this")
        elif "reset" in script:
            where, _, count = script["reset"].partition(":")
            if where == "body":
                size = octets(count or "1")
                self._write(
                    head(200, [("content-length", str(size + 1000))]) + (BLOCK * (size // len(BLOCK) + 1))[:size]
                )
                await self._writer.drain()
                await asyncio.sleep(0.02)  # lets the part arrive before the reset discards it
            self._reset()
        else:
            return False
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()
        return True

    def _reset(self) -> None:
        """Close with RST instead of FIN."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def _streamed(self, script: Mapping[str, str], bodiless: bool) -> bool:
        """Bodies that are made while they are sent. True when this was one."""
        if "large" in script:
            await self._large(octets(script["large"]), bodiless)
        elif "stream" in script or "sse" in script:
            count, _, pause = (script.get("stream") or "3x100ms").partition("x")
            await self._chunks(int(count), seconds(pause or "0"), sse="sse" in script)
        elif "drip" in script:
            for octet in head(200, [("content-length", "5")]) + b"hello":
                self._write(bytes((octet,)))
                await self._writer.drain()
                await asyncio.sleep(0.02)
        else:
            return False
        return True

    async def _large(self, size: int, bodiless: bool) -> None:
        self._write(head(200, [("content-type", "application/octet-stream"), ("content-length", str(size))]))
        left = 0 if bodiless else size
        while left:
            part = BLOCK[:left]
            left -= len(part)
            self._write(part)
            await self._writer.drain()

    async def _chunks(self, count: int, pause_s: float, *, sse: bool) -> None:
        kind = "text/event-stream" if sse else "text/plain"
        self._write(head(200, [("content-type", kind), ("transfer-encoding", "chunked")]))
        await self._writer.drain()
        for number in range(count):
            await asyncio.sleep(pause_s)
            self._write(chunk(b"data: %d\n\n" % number))
            await self._writer.drain()
        self._write(b"0\r\n\r\n")


def _whole(
    request: Received, script: Mapping[str, str], number: int, refusals: Refusals
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, fields and body of an answer that is sent in one piece."""
    if "throttle" in script:
        answer = _of_dialect(request, script, refusals)
        if answer is not None:
            return answer.status, answer.headers, answer.body
    status = int(script.get("status") or 200)
    body = json.dumps(echo(request, number)).encode()
    if status in (204, 304):
        return status, [], b""
    headers = [("content-type", "application/json")]
    if "gzip" in script:
        return status, [*headers, ("content-encoding", "gzip")], gzip.compress(body)
    return status, headers, body


def _of_dialect(request: Received, script: Mapping[str, str], refusals: Refusals) -> Answer | None:
    """A refusal, or what follows so many of them; None where that is no more than an answer of 200."""
    if refusals.due(request.target, script.get("times")):
        wait_s = seconds(script["wait"]) if "wait" in script else None
        return throttled(script["throttle"], now_s=time.time(), wait_s=wait_s)
    return afterwards(script["throttle"], now_s=time.time())


def _framed(body: bytes, script: Mapping[str, str]) -> tuple[list[tuple[str, str]], bytes]:
    """Fields and octets of ``body``: by length, in chunks, or ended by the connection's close."""
    if "chunked" in script:
        return [("transfer-encoding", "chunked")], chunk(body[:7]) + chunk(body[7:]) + b"0\r\nx-trailer: 1\r\n\r\n"
    if "close" in script:
        return [("connection", "close")], body
    length = ("content-length", str(len(body)))
    return [length, ("connection", "close")] if "early" in script else [length], body


def echo(request: Received, number: int) -> dict[str, Any]:
    """What arrived, for the answer's body."""
    path, _, query = request.target.partition("?")
    return {
        "method": request.method,
        "path": path,
        "query": query,
        "headers": request.headers,
        "body_length": len(request.body),
        "connection": number,
    }


def head(status: int, headers: list[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def run_mock_upstream(host: str = "127.0.0.1", port: int = 9000) -> None:
    """Serve until SIGINT or SIGTERM; says on standard output where. Raises ``OSError`` when the port is taken."""
    asyncio.run(_until_signal(host, port))


async def _until_signal(host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with MockUpstream(host, port, keep=1000) as origin:
        sys.stdout.write(f"mock upstream listens on {origin.url}\n")
        sys.stdout.flush()
        await stop.wait()
