"""One exchange on an HTTP/2 connection: what has come of the answer, and whether it may be believed.

Knows nothing of frames, windows or other streams. Content is held to what was announced (RFC 9113 8.1.1) and
waits here, bounded by the window that the connection granted, until the caller reads it.
"""

from __future__ import annotations

import asyncio
from collections import deque

from upstreams.http2_fields import Malformed, announced, checked, final_head
from upstreams.httpx_failures import Broken
from upstreams.transport import BODILESS, Headers


class Stream:
    """``number`` is the stream identifier.

    ``answered``: something of the answer came; ``ended``: all of it; ``uploaded``: all of the request went out;
    ``error``: why no more will come. ``readable`` and ``writable`` are set whenever it is worth looking again.
    """

    __slots__ = (
        "_left", "_method", "answered", "chunks", "ended", "error", "fields", "head", "number", "opened_at",
        "readable", "status", "uploaded", "writable",
    )  # fmt: skip

    def __init__(self, number: int, method: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.number = number
        self.opened_at = loop.time()
        self.head: asyncio.Future[None] = loop.create_future()
        self.readable = asyncio.Event()
        self.writable = asyncio.Event()
        self.chunks: deque[tuple[bytes, int]] = deque()
        self.status = 0
        self.fields: Headers = []
        self.answered = self.ended = self.uploaded = False
        self.error: Exception | None = None
        self._method = method
        self._left: int | None = None

    @property
    def begun(self) -> bool:
        """Whether the final head is here."""
        return self.status != 0

    @property
    def finished(self) -> bool:
        return self.ended and self.uploaded

    def began(self, lines: Headers) -> None:
        """The final head. Raises ``Malformed``."""
        self.answered = True
        self.status, self.fields = final_head(lines)
        length = announced(self.fields)
        self._left = 0 if self._method == b"HEAD" or self.status in BODILESS else length
        if not self.head.done():
            self.head.set_result(None)

    def interim(self, lines: Headers) -> None:
        """An answer that is not final; nothing of it is passed on. Raises ``Malformed``."""
        self.answered = True
        final_head(lines)

    def trailers(self, lines: Headers) -> None:
        """Fields behind the content, dropped (RFC 9110 6.5.1). Raises ``Malformed``."""
        if len(checked(lines)) != len(lines):
            raise Malformed("a pseudo-header field behind the content (8.1)")

    def received(self, content: bytes, counted: int) -> None:
        """Content, ``counted`` octets of the windows. Raises ``Malformed`` when it is more than was announced."""
        if self._left is not None:
            self._left -= len(content)
            if self._left < 0:
                raise Malformed("more content than was announced (8.1.1)")
        self.chunks.append((content, counted))
        self.readable.set()

    def complete(self) -> None:
        """The end of the answer. Raises ``Broken`` when less came than was announced."""
        if self._left:
            raise Broken("less content than was announced (8.1.1)", "http_response_incomplete")
        self.ended = True
        self.readable.set()
        self.writable.set()

    def fail(self, error: Exception) -> None:
        """The exchange is over; the first reason stands."""
        if self.error is not None or self.ended:
            return
        self.error = error
        self.readable.set()
        self.writable.set()
        if not self.head.done():
            self.head.set_result(None)
