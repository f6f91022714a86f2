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
