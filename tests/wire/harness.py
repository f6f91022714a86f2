"""Real servers on real loopback ports: start an ASGI app on either server, exchange raw bytes with it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Literal

from gateway import http_servers

ServerName = Literal["granian", "uvicorn"]
SERVERS: tuple[ServerName, ...] = ("granian", "uvicorn")
App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0


def free_port() -> int:
    """A loopback TCP port that was free a moment ago (granian cannot report a port it chose)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def serve_app(app: App, server: ServerName = "granian") -> AsyncIterator[int]:
    """Run ``app`` in this loop on a real socket, as a worker does; yields the port, and stops the server at the end."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=http_servers.BACKLOG)
    listener.setblocking(False)
    port: int = listener.getsockname()[1]
    running = http_servers.make(server, app, listener)
    serving = asyncio.ensure_future(running.run())
    try:
        await _accepting(port, serving)
        yield port
    finally:
        running.stop()
        await asyncio.wait_for(serving, STOP_TIMEOUT_S)


async def _accepting(port: int, serving: asyncio.Future[None]) -> None:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            if serving.done():
                serving.result()
                raise RuntimeError(f"the server ended before it listened on port {port}")
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.01)


async def raw_exchange(port: int, data: bytes, *, timeout_s: float = 5.0, half_close: bool = False) -> bytes:
    """Send ``data`` as it is, return every byte that comes back until the peer closes or ``timeout_s`` passes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = bytearray()
    try:
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(timeout_s):
                writer.write(data)
                await writer.drain()
                if half_close:
                    writer.write_eof()
                while chunk := await reader.read(65536):
                    received += chunk
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return bytes(received)


def status_of(answer: bytes) -> int | None:
    """The status of the first message in ``answer``, None when there is none."""
    line = answer.split(b"\r\n", 1)[0].split(b" ")
    return int(line[1]) if len(line) > 1 and line[0].startswith(b"HTTP/") else None
