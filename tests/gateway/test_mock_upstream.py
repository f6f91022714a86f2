"""The scripted origin ends with every connection closed, whatever moment its end comes at."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket

import pytest

from gateway.mock_upstream import MockUpstream


@pytest.mark.parametrize("turns", range(8))
def test_a_connection_accepted_at_the_end_is_closed(turns: int, recwarn: pytest.WarningsRecorder) -> None:
    async def end_while_connecting() -> list[socket.socket]:
        async with MockUpstream() as origin:
            callers = [socket.create_connection(("127.0.0.1", origin.port)) for _ in range(20)]
            for _ in range(turns):
                await asyncio.sleep(0)
        return callers

    callers = asyncio.run(end_while_connecting())
    gc.collect()
    for caller in callers:
        with caller:
            caller.settimeout(2)
            with contextlib.suppress(ConnectionResetError):
                assert caller.recv(1) == b""
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize(
    "asked", ["slow", "large", "slow=two", "stream=x", "stream=3x1h", "status=teapot", "large=1XB"]
)
def test_an_amount_that_cannot_be_read_is_said_and_breaks_nothing(asked: str) -> None:
    async def call() -> bytes:
        async with MockUpstream() as origin:
            reader, writer = await asyncio.open_connection("127.0.0.1", origin.port)
            writer.write(f"GET /any/{asked} HTTP/1.1\r\nhost: a\r\n\r\nGET /ok HTTP/1.1\r\nhost: a\r\n\r\n".encode())
            first = await reader.readuntil(b"\r\n\r\n")
            assert first.startswith(b"HTTP/1.1 400 ")
            assert b"slow=2s" in await reader.readline()
            second = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()
            return second

    assert asyncio.run(call()).startswith(b"HTTP/1.1 200 ")
