"""A caller on a raw socket: sends octets as they are, and says whether what it hears is a whole message.

h11 reads the answers, because it shares no code with the gateway or its servers, and takes no part for the whole:
an answer is ``complete`` only when its framing says so (RFC 9112 8).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import h11

PATIENCE_S = 10.0
"""A gateway that has said nothing for so long hangs."""
LARGEST_HEAD = 200_000


class Hearing:
    """One answer, as far as it has come. ``fault``: why it can never be whole."""

    def __init__(self, reader: asyncio.StreamReader, method: str, left: bytes) -> None:
        self._reader = reader
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST_HEAD)
        self._parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        self._parser.send(h11.EndOfMessage())
        if left:
            self._parser.receive_data(left)
        self.status: int | None = None
        self.version = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.interim: list[int] = []
        self.body = bytearray()
        self.complete = False
        self.fault: str | None = None

    @property
    def left(self) -> bytes:
        """What came behind the message."""
        return self._parser.trailing_data[0]

    def all(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]

    def one(self, name: bytes) -> bytes:
        (value,) = self.all(name)
        return value

    def json(self) -> Any:
        return json.loads(self.body)

    async def interim_answer(self) -> Hearing:
        return await self._until(lambda: bool(self.interim or self.status))

    async def head(self) -> Hearing:
        """Read until the final head is here, or never will be."""
        return await self._until(lambda: self.status is not None)

    async def at_least(self, octets: int) -> Hearing:
        return await self._until(lambda: len(self.body) >= octets)

    async def end(self) -> Hearing:
        return await self._until(lambda: False)

    async def _until(self, enough: Callable[[], bool]) -> Hearing:
        async with asyncio.timeout(PATIENCE_S):
            while not (enough() or self.complete or self.fault):
                await self._step()
        return self

    async def _step(self) -> None:
        try:
            event = self._parser.next_event()
            if event is h11.NEED_DATA:
                self._parser.receive_data(await self._reader.read(65_536))
                return
        except (h11.RemoteProtocolError, ConnectionError) as error:
            self.fault = repr(error)
            return
        match event:
            case h11.InformationalResponse():
                self.interim.append(event.status_code)
            case h11.Response():
                self.status, self.headers, self.version = event.status_code, list(event.headers), event.http_version
            case h11.Data():
                self.body += event.data
            case h11.EndOfMessage():
                self.complete = True
            case _:
                self.fault = f"the connection ended: {event!r}"


class Caller:
    """One connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._last: Hearing | None = None

    async def send(self, data: bytes) -> None:
        """Raises ``ConnectionError`` once the gateway has closed."""
        self._writer.write(data)
        await self._writer.drain()

    def hear(self, method: str = "GET") -> Hearing:
        """The next answer on this connection."""
        self._last = Hearing(self._reader, method, self._last.left if self._last else b"")
        return self._last

    async def ended(self) -> bytes:
        """What still comes until the gateway closes; fails when it does not."""
        rest = self._last.left if self._last else b""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                while part := await self._reader.read(65_536):
                    rest += part
        return rest

    def leave(self, *, reset: bool = False) -> None:
        """Close, or reset, without another word."""
        if reset:
            sock: socket.socket = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def end_sending(self) -> None:
        """Close the sending half."""
        self._writer.write_eof()


@contextlib.asynccontextmanager
async def calling(port: int, *, small: bool = False) -> AsyncIterator[Caller]:
    """A connection to the gateway. ``small``: with a small receive buffer, for callers that do not read."""
    sock = socket.socket()
    if small:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))  # the listener's queue takes it at once
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096 if small else 2**16)
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def message(
    target: str, *fields: str, method: str = "GET", key: str | None = None, host: bool = True, version: str = "1.1"
) -> bytes:
    """A request's head."""
    lines = [f"{method} {target} HTTP/{version}", *(["host: gateway.test"] if host else []), *fields]
    if key is not None:
        lines.append(f"x-api-key: {key}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
