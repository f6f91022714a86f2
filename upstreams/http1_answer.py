"""One answer as it arrives on an HTTP/1.1 connection: its head as a future, its content as far as it is here.

Keeps what came until the caller reads it, and says when that is too much. What is valid, and when the
connection ends, is ``http1_connection``'s.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from upstreams.transport import Headers

if TYPE_CHECKING:
    from upstreams.http1_connection import Connection

READ_AHEAD = 262_144
"""Octets kept for a caller that reads slowly before the upstream has to wait."""


class Answer:
    """``upstreams.transport.UpstreamResponse`` on a ``Connection``; before ``head`` is done, the call itself."""

    __slots__ = (
        "_chunks", "_connection", "_error", "_held", "_more", "complete", "content", "head", "headers", "last",
        "method", "status",
    )  # fmt: skip

    def __init__(self, connection: Connection, method: bytes, head: asyncio.Future[None]) -> None:
        self.method = method
        self.head = head
        self.status = 0
        self.headers: Headers = []
        self.content: bytes | None = None
        self.complete = False
        self.last = b""
        self._connection = connection
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._more: asyncio.Future[None] | None = None
        self._error: BaseException | None = None

    async def body(self) -> AsyncIterator[bytes]:
        """The content, still encoded. Raises ``TransportError`` when it is cut short or too slow."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._held -= len(chunk)
                if self._held < READ_AHEAD // 2 and not self.complete:  # else another call's connection by now
                    self._connection.resume()
                yield chunk
            if self._error is not None:
                raise self._error
            if self.complete:
                return
            await self._arrival()

    async def write(self, data: bytes) -> None:
        """``transport.Switched.write``."""
        await self._connection.send(data)

    def abandon(self) -> None:
        """Nobody waits for the head any more."""
        if not self.head.cancel() and not self.head.cancelled():
            self.head.exception()  # seen, so that it is not reported as lost
        if not self.complete:  # else the connection may carry another call by now
            self._connection.abort()

    async def aclose(self) -> None:
        """End the connection unless the answer is whole; with a whole one it has been given back already."""
        if not self.complete:
            self._connection.abort()

    @property
    def full(self) -> bool:
        return self._held > READ_AHEAD

    @property
    def awaited(self) -> bool:
        """Whether the caller waits for content right now."""
        return self._more is not None and not self._more.done()

    def add(self, chunk: bytes) -> None:
        self.last = chunk
        self._chunks.append(chunk)
        self._held += len(chunk)
        self._wake()

    def begin(self) -> None:
        """The head is here, and perhaps everything."""
        if not self.head.done():
            if self.complete:
                self.content = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                self._chunks.clear()
            self.head.set_result(None)

    def finish(self) -> None:
        self.complete = True
        self._wake()

    def fail(self, error: BaseException) -> None:
        if not self.head.done():
            self.head.set_exception(error)
        elif self._error is None:
            self._error = error
            self._wake()

    async def _arrival(self) -> None:
        self._more = asyncio.get_running_loop().create_future()
        self._connection.awaited()
        try:
            await self._more
        finally:
            self._more = None

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)
