"""The port to upstreams: one request out, one response in, both streamed (DESIGN §8).

An engine implements ``Transport`` for one upstream. Header names are lower-case bytes, values raw;
nothing is decompressed, redirected, retried or stored, and no cookie is kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from policies.errors import Phase

Headers = list[tuple[bytes, bytes]]
SAFE_TO_REPEAT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
"""Idempotent methods (RFC 9110 9.2.2)."""
BODILESS = frozenset((204, 205, 304))
"""Statuses whose answers have no content, whatever their fields announce (RFC 9110 6.4.1, 15.3.6)."""


@dataclass(slots=True)
class UpstreamRequest:
    """``target`` is the origin-form request target; ``body`` None means no body.

    ``headers`` are complete but for the framing, which the engine owns: ``content_length`` None with a
    body means chunked. ``upgrade``: a 101 is a possible answer, and ``headers`` ask for it.
    """

    method: bytes
    target: bytes
    headers: Headers
    body: AsyncIterator[bytes] | None = None
    content_length: int | None = None
    upgrade: bool = False


def repeatable(request: UpstreamRequest) -> bool:
    """Whether ``request`` may go out again when its connection died unanswered (RULINGS 16): never a keyed one."""
    keyed = any(name == b"idempotency-key" for name, _ in request.headers)
    return request.body is None and request.method in SAFE_TO_REPEAT and not keyed


def endless(headers: Headers) -> bool:
    """Whether this is the head of an event stream, which has no total deadline (RULINGS 18)."""
    return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)


class UpstreamResponse(Protocol):
    """An answer whose head has arrived.

    ``content`` is the whole content where it came together with the head: then nothing is left to read or to
    close. None: it is still on its way, and the caller reads ``body`` to its end or calls ``aclose``.
    """

    status: int
    headers: Headers
    content: bytes | None

    def body(self) -> AsyncIterator[bytes]:
        """The content as framed by the upstream, still encoded. Raises ``TransportError`` when cut short."""

    async def aclose(self) -> None:
        """Give the connection back or close it. Idempotent."""


class Switched(UpstreamResponse, Protocol):
    """A 101: ``body`` is what the upstream sends in the new protocol, without a deadline of the engine's.

    The connection is the caller's alone until ``aclose``; it counts as one of the upstream's all the while.
    """

    async def write(self, data: bytes) -> None:
        """Send ``data`` at the upstream's pace, within the write deadline; one at a time. ``body`` tells of failure."""


class Transport(Protocol):
    """One upstream's connections."""

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Send and wait for the final head. Raises ``TransportError``."""

    async def aclose(self) -> None:
        """Close every connection."""


class TransportError(Exception):
    """What went wrong on the way, mapped once from the engine's own exceptions.

    ``code`` is a row of ``policies.errors``; ``proxy_error`` the RFC 9209 token; ``phase`` where the call
    was; ``sent`` whether a byte of the request may have reached the upstream.
    """

    def __init__(self, code: str, *, proxy_error: str, phase: Phase, sent: bool, text: str = "") -> None:
        super().__init__(code, text)
        self.code = code
        self.proxy_error = proxy_error
        self.phase = phase
        self.sent = sent
        self.text = text
