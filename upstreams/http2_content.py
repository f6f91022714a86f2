"""Content on an HTTP/2 stream, both ways: no more than the other side's window takes, or than its reader asked for.

Neither way may hold more in memory than that. Source: RFC 9113 5.2, 6.9.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, Protocol

import httpcore2

from upstreams.http2_fields import content_expected
from upstreams.http2_stream import Stream


class Sending(Protocol):
    """The connection, as far as content needs it."""

    def takes(self, stream: Stream) -> int:
        """How many octets the upstream takes now."""

    def send(self, stream: Stream, content: bytes) -> None:
        """Send that many of them."""

    def finish(self, stream: Stream) -> None:
        """End the request."""

    def consumed(self, stream: Stream, counted: int) -> None:
        """The caller has ``counted`` octets of the answer: the upstream may send as many more."""

    def abandon(self, stream: Stream) -> None:
        """Nobody wants more of this exchange. Idempotent."""


async def upload(connection: Sending, stream: Stream, request: httpcore2.Request, write_s: float) -> None:
    """Send the content of ``request``; it becomes a complete request only if it is as long as announced."""
    _, left = content_expected(request)
    assert isinstance(request.stream, AsyncIterable)  # noqa: S101 - what the library makes of any content
    async with contextlib.aclosing(aiter(request.stream)) as parts:  # type: ignore[type-var]
        async for part in parts:
            if left is not None:
                left -= len(part)
                if left < 0:
                    raise httpcore2.LocalProtocolError("the body is longer than announced")
            view = memoryview(part)
            while view:
                size = min(await _taken(connection, stream, write_s), len(view))
                connection.send(stream, bytes(view[:size]))
                view = view[size:]
    if left:
        raise httpcore2.LocalProtocolError("the body is shorter than announced")
    connection.finish(stream)


async def _taken(connection: Sending, stream: Stream, write_s: float) -> int:
    """Wait until the upstream takes more; how many octets it takes. Raises ``WriteTimeout``."""
    try:
        async with asyncio.timeout(write_s):
            while True:
                if stream.error is not None:
                    raise stream.error
                size = connection.takes(stream)
                if size > 0:
                    return size
                stream.writable.clear()
                await stream.writable.wait()
    except TimeoutError:
        raise httpcore2.WriteTimeout("the upstream takes no more of the request") from None


class Content:
    """The content of an answer, for the library's ``Response``. ``limits`` holds the deadline for each next part."""

    def __init__(self, connection: Sending, stream: Stream, limits: dict[str, Any]) -> None:
        self._connection = connection
        self._stream = stream
        self._limits = limits

    async def __aiter__(self) -> AsyncIterator[bytes]:
        stream = self._stream
        while True:
            while stream.chunks:
                content, counted = stream.chunks.popleft()
                self._connection.consumed(stream, counted)
                yield content
            if stream.ended:
                return
            if stream.error is not None:
                raise stream.error
            stream.readable.clear()
            try:
                async with asyncio.timeout(self._limits["read"]):
                    await stream.readable.wait()
            except TimeoutError:
                raise httpcore2.ReadTimeout("nothing more of the answer in time") from None

    async def aclose(self) -> None:
        self._connection.abandon(self._stream)
