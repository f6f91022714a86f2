"""The wire below the httpx engine: where one attempt is, and streams that notice an early answer."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Coroutine, Iterable
from contextvars import ContextVar
from typing import Any, TypeVar

import httpcore2

from policies.errors import Phase
from policies.model import Upstream
from upstreams.egress import addresses, refused, too_slow, untrusted
from upstreams.egress_proxy import failed
from upstreams.httpx_failures import Unreachable, failure
from upstreams.transport import TransportError

T = TypeVar("T")
READ_SIZE = 65_536


class Attempt:
    """Where one attempt is. ``reused``: no connection was made for it; ``answered``: a byte of the answer came."""

    __slots__ = ("answered", "deadline", "phase", "proxying", "reused", "sent", "started", "upstream", "wire")

    def __init__(self, upstream: Upstream, started: float) -> None:
        self.upstream = upstream
        self.started = started
        self.phase: Phase = "upstream_connect"
        self.proxying = False  # on the way to the egress proxy, or waiting for what it says
        self.reused = True
        self.sent = False
        self.answered = False
        self.wire: Wire | None = None
        self.deadline: asyncio.Timeout | None = None

    @property
    def total_at(self) -> float:
        return self.started + self.upstream.timeouts.total_us / 1e6

    async def trace(self, event: str, _info: dict[str, Any]) -> None:
        """The library's own account of its steps; each moves the deadline."""
        timeouts, now = self.upstream.timeouts, asyncio.get_running_loop().time()
        match event:
            case "connection.connect_tcp.started":
                self.reused = False
                self._until(now + timeouts.connect_us / 1e6)
            case "proxy.started" | "proxy.complete":
                self.proxying = event == "proxy.started"
            case "http11.send_request_headers.started" | "http2.send_request_headers.started":
                self.phase, self.sent = "upstream_wait", True
                self._until(self.total_at)
            case "http11.receive_response_headers.started" | "http2.receive_response_headers.started":
                self._until(now + timeouts.first_byte_us / 1e6)
            case _:
                pass

    def failure(self, error: Exception) -> TransportError:
        found = failure(error, phase=self.phase, sent=self.sent, answered=self.answered)
        return failed(found) if self.proxying else found

    def _until(self, when: float) -> None:
        if self.deadline is not None and not self.deadline.expired():
            self.deadline.reschedule(min(when, self.total_at))


ATTEMPT: ContextVar[Attempt] = ContextVar("attempt")


class Network(httpcore2.AnyIOBackend):
    """The network of one upstream: resolves, checks every address, connects to one that passed.

    The addresses checked are those of the host that is connected to, the egress proxy's where there is one.
    """

    def __init__(self, listeners: frozenset[tuple[str, int]]) -> None:
        self._listeners = listeners

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the library's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        resolved = False
        try:
            async with asyncio.timeout(timeout):
                texts = await addresses(host, port, self._listeners)
                resolved = True
                return await self._first(texts, port, socket_options)
        except TransportError as error:
            raise Unreachable(error) from None
        except TimeoutError:
            raise Unreachable(too_slow(host, port, resolved=resolved)) from None

    async def _first(
        self, texts: list[str], port: int, socket_options: Iterable[httpcore2.SOCKET_OPTION] | None
    ) -> httpcore2.AsyncNetworkStream:
        *others, last = texts
        for text in others:
            with contextlib.suppress(httpcore2.ConnectError):
                return await super().connect_tcp(text, port, socket_options=socket_options)
        try:
            return await super().connect_tcp(last, port, socket_options=socket_options)
        except httpcore2.ConnectError as error:
            raise refused(error) from error


async def secured(
    stream: httpcore2.AsyncNetworkStream, context: ssl.SSLContext, host: str
) -> httpcore2.AsyncNetworkStream:
    """``stream`` under TLS with whoever can show a certificate for ``host``. Raises ``Unreachable``."""
    try:
        return await stream.start_tls(context, host)
    except httpcore2.ConnectError as error:
        raise Unreachable(untrusted(error.__cause__ or error)) from error


class Wire(httpcore2.AsyncNetworkStream):
    """A stream of HTTP/1.1 that can look whether the answer comes while the request body is still being sent."""

    def __init__(self, inner: httpcore2.AsyncNetworkStream) -> None:
        self._inner = inner
        self.spent = False  # never to be used again: readable for the library, which then closes it
        self._ahead: asyncio.Task[bytes] | None = None
        self._guard: asyncio.Timeout | None = None

    def look_ahead(self) -> None:
        self._ahead = asyncio.create_task(self._first_answer())
        self._ahead.add_done_callback(self._interrupt)

    async def unless_answered(self, step: Coroutine[Any, Any, T]) -> T:
        """``step``, given up with ``WriteError`` as soon as the upstream answers or closes: the library then reads."""
        if self._ahead is None:
            return await step
        if self._ahead.done():
            step.close()
            raise httpcore2.WriteError("answered before the request was complete")
        guard = self._guard = asyncio.timeout(None)
        try:
            async with guard:
                return await step
        except TimeoutError:
            if not guard.expired():
                raise
            raise httpcore2.WriteError("answered before the request was complete") from None
        finally:
            self._guard = None

    def _interrupt(self, ahead: asyncio.Task[bytes]) -> None:
        if not ahead.cancelled():
            ahead.exception()  # seen here, so that an answer nobody reads is not reported as a lost exception
        if self._guard is not None and not self._guard.expired():
            self._guard.reschedule(asyncio.get_running_loop().time())

    async def _first_answer(self) -> bytes:
        """Bytes up to where a final answer may begin; an interim one does not end the upload."""
        received = b""
        while True:
            more = await self._inner.read(READ_SIZE)
            received += more
            if not more or not _only_interim(received) or len(received) > READ_SIZE:
                return received

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  the library's
        ahead, self._ahead = self._ahead, None
        data = await (self._inner.read(max_bytes, timeout) if ahead is None else _result(ahead, timeout))
        if data:
            ATTEMPT.get().answered = True
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  the library's
        ATTEMPT.get().wire = self
        await self.unless_answered(self._inner.write(buffer, timeout))

    def get_extra_info(self, info: str) -> Any:
        return True if self.spent and info == "is_readable" else self._inner.get_extra_info(info)

    async def aclose(self) -> None:
        if self._ahead is not None:
            self._ahead.cancel()
        await self._inner.aclose()


def _only_interim(received: bytes) -> bool:
    """Whether all that came may still be interim answers."""
    while received.startswith(b"HTTP/1.1 1") and b"\r\n\r\n" in received:
        received = received.partition(b"\r\n\r\n")[2]
    return not received or received.startswith(b"HTTP/1.1 1") or b"HTTP/1.1 1".startswith(received)


async def _result(ahead: asyncio.Task[bytes], timeout: float | None) -> bytes:  # noqa: ASYNC109  handed through
    try:
        await asyncio.wait((ahead,), timeout=timeout)
    finally:
        if not ahead.done():
            ahead.cancel()
    if not ahead.done():
        raise httpcore2.ReadTimeout("no answer in time")
    return ahead.result()
