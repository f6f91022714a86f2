"""How open WebSockets and event streams end when a real gateway process drains (RULINGS 19)."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.gateway.processes import DEADLINE_S, Shipped, until
from tests.wire.harness import SERVERS, ServerName
from tests.wire.sockets import KEY, TEXT, Line, Script, close, ended, frame, policy, scripted

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("server", SERVERS)


class Real(Shipped):
    """Its access log can be read."""

    def __init__(self, home: Path, server: ServerName, origin: int, **drain: str) -> None:
        self.lines = home / "access.log"
        files = {**policy(slots=2), "server": {"drain": drain}}
        env = {"TIERGATE_SERVER": server, "TIERGATE_ACCESS_LOG": str(self.lines), "ORIGIN_PORT": str(origin)}
        super().__init__(home, files, **env)

    def logged(self) -> list[Any]:
        return [json.loads(line) for line in self.lines.read_text().splitlines()]


@contextlib.asynccontextmanager
async def serving(home: Path, server: ServerName, script: Script, **drain: str) -> AsyncIterator[Real]:
    async with scripted(script) as origin:
        with Real(home, server, origin.port, **drain) as running:
            await asyncio.to_thread(running.ready)
            yield running


def socket_to(running: Real) -> connect:
    host, port = running.address()
    return connect(f"ws://{host}:{port}/ws/a", additional_headers={"x-api-key": KEY}, proxy=None, compression=None)


async def greeted(socket: ClientConnection) -> None:
    assert await socket.recv() == "hello"


@both
async def test_sockets_are_closed_at_once_and_the_drain_waits_for_nothing(tmp_path: Path, server: ServerName) -> None:
    told: list[int | None] = []

    async def script(line: Line) -> None:
        line.send(line.grant() + frame(TEXT, b"hello"))
        told.append(await line.closed_with())
        line.send(close(1001))

    async with serving(tmp_path, server, script, timeout="60s") as running:
        async with socket_to(running) as one, socket_to(running) as two:
            await greeted(one)
            await greeted(two)
            running.signal(signal.SIGTERM)
            assert [await ended(one), await ended(two)] == [(1012, ""), (1012, "")]
        code, text = await asyncio.to_thread(running.end)  # which waits for a third of the timeout only
    assert (code, told) == (0, [1001, 1001])
    assert "cut off" not in text
    assert "Traceback" not in text
    assert [(line["status"], line["outcome"]) for line in running.logged()] == [(101, "allowed")] * 2


@both
async def test_a_socket_whose_caller_is_deaf_cannot_hold_up_the_drain(tmp_path: Path, server: ServerName) -> None:
    async def script(line: Line) -> None:
        line.send(line.grant() + frame(TEXT, b"hello"))
        await line.reader.read()

    async with serving(tmp_path, server, script, timeout="1s") as running, socket_to(running) as socket:
        await greeted(socket)
        socket.transport.pause_reading()
        running.signal(signal.SIGTERM)
        code, text = await asyncio.to_thread(running.end)
        socket.transport.abort()
    assert code == 0
    assert "Traceback" not in text
    assert [line["status"] for line in running.logged()] == [101]


@both
async def test_an_event_stream_has_until_the_timeout_and_is_then_broken_off(tmp_path: Path, server: ServerName) -> None:
    draining = asyncio.Event()

    async def script(line: Line) -> None:
        line.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        line.send(b"5\r\nfirst\r\n")
        await draining.wait()
        line.send(b"6\r\nsecond\r\n")
        await line.ended()

    def read(line: http.client.HTTPConnection) -> None:
        line.request("GET", "/ws/events", headers={"x-api-key": KEY})

    async with serving(tmp_path, server, script, timeout="1500ms") as running:
        line = http.client.HTTPConnection(*running.address(), timeout=DEADLINE_S)
        with contextlib.closing(line):
            await asyncio.to_thread(read, line)
            answer = await asyncio.to_thread(line.getresponse)
            assert await asyncio.to_thread(answer.read, 5) == b"first"
            running.signal(signal.SIGTERM)
            await asyncio.to_thread(_until_draining, running)
            draining.set()
            assert await asyncio.to_thread(answer.read, 6) == b"second"
            with pytest.raises(http.client.IncompleteRead):
                await asyncio.to_thread(answer.read)
        code, text = await asyncio.to_thread(running.end)
    assert code == 0
    assert "1 request is cut off" in text
    assert "Traceback" not in text
    assert [line["status"] for line in running.logged()] == [200]


def _until_draining(running: Real) -> None:
    until(lambda: not running.status()["workers"][0]["ready"])
