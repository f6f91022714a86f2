"""Races of the HTTP/1.1 engine that no table of wire cases can show, on the loop of tests and on that of production."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from gateway.mock_upstream import stop_accepting
from policies.model import Pool, Timeouts
from tests.upstreams.rig import MS, upstream
from upstreams.http1 import Http1Transport, _tokens, head_of
from upstreams.names import NAMES_KEPT
from upstreams.transport import TransportError, UpstreamRequest, UpstreamResponse

pytestmark = pytest.mark.anyio

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


@contextlib.asynccontextmanager
async def engine(serve: Serve, *, connections: int = 1, **timeouts: int) -> AsyncIterator[Http1Transport]:
    """The engine in front of an origin that treats each connection with ``serve``."""
    tasks: set[asyncio.Task[Any]] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    definition = upstream(
        server.sockets[0].getsockname()[1], pool=Pool(connections=connections), timeouts=Timeouts(**timeouts)
    )
    transport = Http1Transport(definition)
    try:
        yield transport
    finally:
        await transport.aclose()
        await stop_accepting(server)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def get(method: bytes = b"GET", **more: Any) -> UpstreamRequest:
    return UpstreamRequest(method=method, target=b"/", headers=[(b"host", b"origin")], **more)


async def read(answer: UpstreamResponse) -> bytes:
    return b"".join([chunk async for chunk in answer.body()])


async def turns_until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not what():
            await asyncio.sleep(0)


class Closing(threading.Thread):
    """An origin outside the loop: closes each connection at once until it is ``healthy``."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.healthy = False
        self.listener = socket.create_server(("127.0.0.1", 0))

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self.listener.accept()
                with accepted:
                    if self.healthy:
                        accepted.recv(65_536)
                        accepted.sendall(OK)

    def end(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.join()
        self.listener.close()


async def test_an_upstream_that_accepts_and_closes_takes_no_slot() -> None:
    origin = Closing()
    origin.start()
    transport = Http1Transport(upstream(origin.listener.getsockname()[1], pool=Pool(connections=2)))
    try:
        for _ in range(40):
            with pytest.raises(TransportError) as failed:
                await transport.send(get())
            assert failed.value.code == "upstream-protocol"
        origin.healthy = True
        assert (await transport.send(get())).content == b"ok"
    finally:
        await transport.aclose()
        origin.end()


async def test_framing_without_content_is_no_progress() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(STREAM)
        await asyncio.sleep(0.1)
        writer.write(b"5")
        await reader.read()

    async with engine(serve, idle_us=200 * MS) as transport, asyncio.timeout(3):
        answer = await transport.send(get())
        with pytest.raises(TransportError) as failed:
            await read(answer)
        assert failed.value.proxy_error == "connection_read_timeout"


async def test_a_slow_reader_of_a_whole_answer_leaves_the_next_call_alone() -> None:
    seen = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        while True:
            await reader.readuntil(b"\r\n\r\n")
            seen += 1
            if seen == 1:
                writer.write(CHUNKED)
                await asyncio.sleep(0.05)
                writer.write(b"1\r\na\r\n" * 300 + b"0\r\n\r\n")
                continue
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500000000\r\n\r\n")
            for _ in range(500):
                writer.write(b"x" * 1_000_000)
                await writer.drain()

    async with engine(serve) as transport:
        first = await transport.send(get())
        await turns_until(lambda: first.complete)
        second = await transport.send(get())
        await turns_until(lambda: second.full)
        async for _ in first.body():
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        held = sum(map(len, second._chunks))
        assert held < 2_000_000
        await second.aclose()


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancellation_is_not_swallowed_while_an_upload_stops(turns: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(STREAM)
        await reader.read()

    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(60)

    async with engine(serve) as transport:
        call = asyncio.create_task(transport.send(get(b"POST", body=body(), content_length=100)))
        await turns_until(lambda: any(one._answer and one._answer.head.done() for one in transport._members))
        for _ in range(turns):
            await asyncio.sleep(0)
        cancelled = call.cancel()
        await asyncio.wait((call,))
        assert call.cancelled() is cancelled
        if not cancelled:
            await call.result().aclose()


async def test_a_closed_transport_sends_nothing_again() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.read()

    async with engine(serve) as transport:
        await transport.send(get())
        call = asyncio.create_task(transport.send(get()))
        await turns_until(lambda: any(one._answer is not None for one in transport._members))
        await transport.aclose()
        with pytest.raises(TransportError) as failed:
            await call
        assert (failed.value.code, connections) == ("draining", 1)


def test_names_that_callers_make_up_neither_stay_for_ever_nor_take_much_memory() -> None:
    for number in range(2 * NAMES_KEPT):
        head_of(UpstreamRequest(b"GET", b"/", [(b"x-%d" % number, b""), (b"y" * 65_000, b"")]))
    head_of(UpstreamRequest(b"GET", b"/", [(b"accept", b"*/*")]))
    assert b"accept" in _tokens
    assert len(_tokens) <= NAMES_KEPT
    assert max(map(len, _tokens)) <= 64
