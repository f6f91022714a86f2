"""What both servers are set up with, seen on their own sockets."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest

from gateway import http_servers
from middleware.websocket import WebSockets
from tests.wire.harness import SERVERS, ServerName

pytestmark = pytest.mark.anyio


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def refusing(scope: Any, receive: Any, send: Any) -> None:
    """Refuses every handshake."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b""})
    else:
        await hello(scope, receive, send)


async def dispatched(scope: Any, receive: Any, send: Any) -> None:
    await (WebSockets(refusing) if scope["type"] == "websocket" else refusing)(scope, receive, send)


def probed(peer: Any) -> tuple[int, ...] | None:
    """Keepalive settings of this process's end of the connection with ``peer``; None when there is none."""
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            with socket.socket(fileno=os.dup(number)) as one:
                if one.getpeername() == peer:
                    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                    values = (one.getsockopt(socket.IPPROTO_TCP, option) for option in options)
                    return (one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *values)
        except OSError:
            continue
    return None


@pytest.mark.parametrize("server", SERVERS)
async def test_a_connection_whose_caller_is_silent_is_probed(server: ServerName) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    running = http_servers.make(server, hello, http_servers.adopt(listener.detach()))
    serving = asyncio.create_task(running.run())
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n")
    assert probed(writer.get_extra_info("sockname")) == (1, 60, 15, 4)
    writer.close()
    await writer.wait_closed()
    running.stop()
    await asyncio.wait_for(serving, 10)


@pytest.mark.parametrize("server", SERVERS)
async def test_a_caller_cannot_fill_the_log_with_refused_handshakes(
    server: ServerName, caplog: pytest.LogCaptureFixture
) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    running = http_servers.make(server, dispatched, http_servers.adopt(listener.detach()))
    serving = asyncio.create_task(running.run())
    reader, writer = await asyncio.open_connection(*address)
    writer.write(HANDSHAKE)
    assert b" 401 " in await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    running.stop()
    await asyncio.wait_for(serving, 10)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
