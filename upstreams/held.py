"""The first part of an answer's content, held while it is looked at: bounded in octets and in time.

Nothing that is taken here is lost for whoever reads on, and nothing is changed. What the content means is for others
to say. Source: RULINGS 12.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator

import orjson

from upstreams.transport import Headers

_CODINGS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
"""Content codings (RFC 9110 8.4.1) and the ``wbits`` that zlib calls them by."""
_RAW_DEFLATE = -15
"""What some servers send for ``deflate`` (RFC 9110 8.4.1.2 has a note on them)."""


class Held:
    """The content of one answer. ``content`` is the whole of it, as it came, once that is known to be here."""

    __slots__ = ("_chunks", "_pending", "_rest", "content")

    def __init__(self, rest: AsyncIterator[bytes] | None = None, content: bytes | None = None) -> None:
        self.content = content
        self._rest = rest
        self._chunks: list[bytes] = [] if content is None else [content]
        self._pending: asyncio.Future[bytes | None] | None = None

    async def fill(self, headers: Headers, most: int, wait_us: int) -> bytes | None:
        """The whole content where it has at most ``most`` octets and is here within ``wait_us``, else None."""
        if self.content is not None:
            return self.content if len(self.content) <= most else None
        if any(name == b"content-length" and int(value) > most for name, value in headers):
            return None
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_us / 1_000_000
        size = 0
        while size <= most and self._rest is not None:
            if self._pending is None:
                self._pending = asyncio.ensure_future(following(self._rest))
            done, _ = await asyncio.wait((self._pending,), timeout=max(0.0, until - loop.time()))
            if not done or self._pending.exception() is not None:
                return None  # whoever reads on gets the same failure
            chunk, self._pending = self._pending.result(), None
            if chunk is None:
                self.content = b"".join(self._chunks)
                return self.content
            self._chunks.append(chunk)
            size += len(chunk)
        return None

    async def body(self) -> AsyncIterator[bytes]:
        """The content from its beginning. Raises ``TransportError`` where it is cut short."""
        for chunk in self._chunks:
            yield chunk
        self._chunks.clear()
        if self.content is not None or self._rest is None:
            return
        if self._pending is not None:
            first, self._pending = await self._pending, None
            if first is None:
                return
            yield first
        async for chunk in self._rest:
            yield chunk

    def drop(self) -> None:
        """Nobody reads on."""
        if self._pending is not None:
            self._pending.cancel()


async def following(chunks: AsyncIterator[bytes]) -> bytes | None:
    """The next chunk; None at the end."""
    return await anext(chunks, None)


def decoded(raw: bytes, headers: Headers, most: int) -> bytes | None:
    """``raw`` without its content coding; None for what is unknown, broken, cut short or larger than ``most``."""
    named = b",".join(value for name, value in headers if name == b"content-encoding").lower().split(b",")
    codings = [coding.strip() for coding in named if coding.strip() not in (b"", b"identity")]
    if not codings:
        return raw
    if len(codings) > 1 or codings[0] not in _CODINGS:
        return None
    found = _inflated(raw, _CODINGS[codings[0]], most)
    return _inflated(raw, _RAW_DEFLATE, most) if found is None and codings[0] == b"deflate" else found


def _inflated(raw: bytes, wbits: int, most: int) -> bytes | None:
    stream = zlib.decompressobj(wbits)
    try:
        content = stream.decompress(raw, most + 1)
    except zlib.error:
        return None
    return content if stream.eof and len(content) <= most and not stream.unused_data else None


def json_text(body: bytes | None, most: int) -> bytes | None:
    """``body`` where it is a JSON object or array that can stand inside another one, else None."""
    if body is None or len(body) > most:
        return None
    try:
        tree = orjson.loads(body)
        orjson.dumps(tree)  # refuses nesting that would break a reader
    except (ValueError, TypeError):  # not JSON; too deep
        return None
    return body.strip() if isinstance(tree, dict | list) else None
