"""The engine over the httpx2 project's transport layer (httpcore2): one pool for one upstream.

One level below ``httpx2.AsyncClient``, which adds fields, follows redirects, keeps cookies, reads proxies from
the environment and decodes bodies; a gateway may do none of that. Ours on top: the bounded wait for a slot, the
deadlines of RULINGS 18, early answers, strict framing, the resend rule of RULINGS 16. No policy is read here.

The library's pool loses slots when calls are cancelled while they queue in it (spec admission B5), so nobody
queues there: our own semaphore has as many places as the pool has connections.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpcore2

from policies.model import Upstream
from upstreams.egress import unconnected
from upstreams.egress_proxy import failed, unpassed
from upstreams.http1 import Http1Transport
from upstreams.http1_connection import LARGEST_HEAD, MOST_FIELDS
from upstreams.httpx_failures import FOREIGN, Broken
from upstreams.httpx_links import Links
from upstreams.httpx_network import ATTEMPT, Attempt
from upstreams.transport import Headers, TransportError, UpstreamRequest, UpstreamResponse, endless, repeatable


class HttpxTransport:
    """``upstreams.transport.Transport`` for ``upstream``. ``listeners`` are our own, never connected to."""

    def __init__(self, upstream: Upstream, *, listeners: frozenset[tuple[str, int]] = frozenset()) -> None:
        self._upstream = upstream
        self._listeners = listeners
        self._switching: Http1Transport | None = None
        self._free = asyncio.Semaphore(upstream.pool.connections)
        self._host = upstream.host.encode("idna" if not upstream.host.isascii() else "ascii")
        self._pool = Links(upstream, listeners)
        self._closed = False

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Send ``request`` and wait for the final head. Raises ``TransportError``.

        A switch of protocols is HTTP/1.1's, so what asks for one goes by that engine, with a pool of its own.
        """
        if request.upgrade:
            return await self._http1().send(request)
        await self._take()
        try:
            answer = await self._send(request)
        except BaseException:
            self._free.release()
            raise
        return answer

    def _http1(self) -> Http1Transport:
        """The engine for what HTTP/2 cannot do. It knows no proxy, and nothing goes past one."""
        if self._upstream.proxy is not None:
            text = "no switch of protocols through an egress proxy"
            raise failed(unconnected("egress-proxy", "proxy_configuration_error", text))
        if self._switching is None:
            self._switching = Http1Transport(self._upstream, listeners=self._listeners)
        return self._switching

    async def aclose(self) -> None:
        """Close every connection."""
        self._closed = True
        if self._switching is not None:
            await self._switching.aclose()
        await self._pool.aclose()

    async def _take(self) -> None:
        try:
            async with asyncio.timeout(self._upstream.pool.wait_us / 1e6):
                await self._free.acquire()
        except TimeoutError:
            raise TransportError(
                "upstream-pool", proxy_error="connection_limit_reached", phase="queue", sent=False
            ) from None

    async def _send(self, request: UpstreamRequest) -> HttpxAnswer:
        started = asyncio.get_running_loop().time()
        call = Attempt(self._upstream, started)
        try:
            return await self._attempt(request, call)
        except FOREIGN as error:
            if self._closed or not _may_resend(request, call, error):
                raise call.failure(error) from error
        call = Attempt(self._upstream, started)
        try:
            return await self._attempt(request, call)
        except FOREIGN as error:
            raise call.failure(error) from error

    async def _attempt(self, request: UpstreamRequest, call: Attempt) -> HttpxAnswer:
        ATTEMPT.set(call)
        timeouts = self._upstream.timeouts
        limits = {"connect": timeouts.connect_us / 1e6, "write": timeouts.write_us / 1e6, "read": None, "pool": None}
        outgoing = httpcore2.Request(
            request.method,
            httpcore2.URL(
                scheme=self._upstream.scheme, host=self._host, port=self._upstream.port, target=request.target
            ),
            headers=[*request.headers, *_framing(request)],
            content=None if request.body is None else _unless_answered(request.body, call),
            extensions={"timeout": limits, "trace": call.trace},
        )
        async with asyncio.timeout_at(call.total_at) as call.deadline:
            response = await self._pool.handle_async_request(outgoing)
        call.answered = True
        limits["read"] = timeouts.idle_us / 1e6
        answer = HttpxAnswer(response, call, self._free)
        if response.status == 407 and self._upstream.proxy is not None:
            await answer.discard()
            raise unpassed("proxy_configuration_error", "it answered 407")
        problem = framing_problem(response)
        if problem is not None:
            await answer.discard()
            raise httpcore2.RemoteProtocolError(problem)
        call.phase = "upstream_body"
        return answer


class HttpxAnswer:
    """``upstreams.transport.UpstreamResponse``: the head is here, the body still on the wire."""

    __slots__ = ("_call", "_chunks", "_complete", "_free", "_response", "content", "headers", "status")

    def __init__(self, response: httpcore2.Response, call: Attempt, free: asyncio.Semaphore) -> None:
        self.status = response.status
        self.headers: Headers = [(name.lower(), value) for name, value in response.headers]
        self.content: bytes | None = None
        self._response = response
        self._call = call
        self._free: asyncio.Semaphore | None = free
        self._chunks: Any = None
        self._complete = False

    async def body(self) -> AsyncIterator[bytes]:
        """The content, still encoded. Raises ``TransportError`` when it is cut short or too slow."""
        self._chunks = self._response.stream.__aiter__()  # type: ignore[union-attr]
        until = None if endless(self.headers) else self._call.total_at
        try:
            while True:
                async with asyncio.timeout_at(until):
                    chunk = await anext(self._chunks, None)
                if chunk is None:
                    self._complete = True
                    return
                yield chunk
        except FOREIGN as error:
            raise self._call.failure(error) from error
        finally:
            await self.aclose()

    async def discard(self) -> None:
        """Close the connection without giving the slot back; the caller still holds it."""
        self._free = None
        await self._response.aclose()

    async def aclose(self) -> None:
        """Give the connection back, or close it when the body was not read to its end. Idempotent."""
        free, self._free = self._free, None
        if free is None:
            return
        if self._complete:
            await self._close(free)
        else:
            # Often here because the task was cancelled, and that must not leave a slot or a socket behind.
            await asyncio.shield(asyncio.ensure_future(self._close(free)))

    async def _close(self, free: asyncio.Semaphore) -> None:
        try:
            with contextlib.suppress(httpcore2.NetworkError, RuntimeError):
                if self._call.wire is not None:
                    self._call.wire.spent = _octets_left(self._response)
                if self._chunks is not None:
                    await self._chunks.aclose()
                await self._response.aclose()
        finally:
            free.release()


async def _unless_answered(body: AsyncIterator[bytes], call: Attempt) -> AsyncIterator[bytes]:
    iterator = aiter(body)
    wire = call.wire
    if wire is None:  # an HTTP/2 connection, which looks for an early answer itself
        async for chunk in iterator:
            yield chunk
        return
    wire.look_ahead()
    part: bytes | None = b""
    while part is not None:
        if part:
            yield part
        part = await wire.unless_answered(_next(iterator))


def _may_resend(request: UpstreamRequest, call: Attempt, error: Exception) -> bool:
    """RULINGS 16: a reused connection died before the first byte, and the request is safe to repeat.

    Likewise one that the upstream says it has not processed, on whatever connection (RFC 9113 8.7).
    """
    if isinstance(error, Broken):
        return repeatable(request) and (error.unprocessed or (error.lost and call.reused))
    died = isinstance(error, httpcore2.ReadError | httpcore2.WriteError | httpcore2.RemoteProtocolError)
    return died and call.reused and not call.answered and repeatable(request)


def _octets_left(response: httpcore2.Response) -> bool:
    """Whether something follows the answer: the library would take it for the beginning of the next caller's.

    Its parser is not for us to see; where it cannot be found, the connection is not used again.
    """
    try:
        left: tuple[bytes, bool] = response.stream._stream._connection._h11_state.trailing_data  # type: ignore[union-attr]
    except AttributeError:
        return True
    return left[0] != b""


def framing_problem(response: httpcore2.Response) -> str | None:
    """What the library lets pass and RFC 9112 does not (6.1, 6.3); such an answer is never guessed at."""
    names = [name.lower() for name, _ in response.headers]
    if len(names) > MOST_FIELDS or sum(len(name) + len(value) + 4 for name, value in response.headers) > LARGEST_HEAD:
        return f"a head of more than {MOST_FIELDS} fields or {LARGEST_HEAD} octets"
    version = response.extensions.get("http_version", b"HTTP/1.1")
    if version not in (b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2"):
        return "an HTTP version that is none of 1.0, 1.1 and 2"
    if not 200 <= response.status <= 599:
        return "a status outside 200-599 where a final one belongs"
    if b"transfer-encoding" in names and b"content-length" in names:
        return "Content-Length beside Transfer-Encoding"
    if b"transfer-encoding" in names and version == b"HTTP/1.0":
        return "transfer coding in HTTP/1.0"
    return None


def _framing(request: UpstreamRequest) -> Headers:
    if request.content_length is not None:
        return [(b"content-length", b"%d" % request.content_length)]
    return [] if request.body is None else [(b"transfer-encoding", b"chunked")]


async def _next(iterator: AsyncIterator[bytes]) -> bytes | None:
    return await anext(iterator, None)
