"""The connections of the httpx engine's pool: how each comes about, and which version of HTTP it then speaks.

To the upstream itself, or through its egress proxy; under TLS HTTP/2 is offered beside HTTP/1.1 (RFC 9113 3.2), and
what the upstream chose is spoken. Here and not in the library's own connections, because those bring HTTP/2 as
the library does it and name a proxy's failures like an upstream's. Which call takes which connection is the
library's pool's to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import httpcore2

from policies.model import Tls, Upstream
from upstreams.egress import unconnected
from upstreams.egress_proxy import absolute, tunnel
from upstreams.http2_connection import MOST_STREAMS, Http2Connection
from upstreams.httpx_failures import Broken, Unreachable
from upstreams.httpx_network import Network, Wire, secured
from upstreams.tls import usable

IDLE_KEPT_S = 30.0
Trace: TypeAlias = Callable[[str, dict[str, Any]], Awaitable[None]]
"""Where one attempt notes how far it is (``httpx_network.Attempt``)."""


class Links(httpcore2.AsyncConnectionPool):
    """The library's pool with connections of ours.

    A connection may carry one call or many, and each call may need one of its own: as many are allowed as calls.
    ``carries`` is how many calls the last connection that was made could carry.
    """

    def __init__(self, upstream: Upstream, listeners: frozenset[tuple[str, int]]) -> None:
        most = upstream.pool.connections
        super().__init__(max_connections=most, max_keepalive_connections=most)
        self.closed = False
        self.upstream = upstream
        self.network = Network(listeners)
        self.keep_s = min(IDLE_KEPT_S, upstream.pool.max_age_us / 1e6)
        self.tls = _context(upstream.tls, "h2", "http/1.1") if upstream.scheme == "https" else None
        proxy = upstream.proxy
        secure_proxy = proxy is not None and proxy.scheme == "https"
        self.proxy_tls = _context(Tls(ca=proxy.ca), "http/1.1") if proxy is not None and secure_proxy else None
        self.carries = MOST_STREAMS if self.tls is not None else 1

    def create_connection(self, origin: httpcore2.Origin) -> httpcore2.AsyncConnectionInterface:
        return Link(self, origin)

    async def aclose(self) -> None:
        self.closed = True
        await super().aclose()

    def over(self) -> Unreachable:
        """What a call gets that comes too late."""
        return Unreachable(unconnected("draining", "connection_terminated", "the transport is closed"))


class Link(httpcore2.AsyncConnectionInterface):
    """One connection, made for the first call that is given to it."""

    def __init__(self, links: Links, origin: httpcore2.Origin) -> None:
        self._links = links
        self._origin = origin
        self._dialling = asyncio.Lock()
        self._waiting = 0
        self._failed = False
        self._made: Http2Connection | httpcore2.AsyncHTTP11Connection | None = None

    async def handle_async_request(self, request: httpcore2.Request) -> httpcore2.Response:
        """Raises ``ConnectionNotAvailable`` where another connection has to be taken, before anything is sent."""
        self._waiting += 1
        try:
            made = await self._ready(request)
        finally:
            self._waiting -= 1
        proxy = self._links.upstream.proxy
        if proxy is not None and self._links.tls is None:
            return await made.handle_async_request(absolute(request, self._links.upstream, proxy))
        return await made.handle_async_request(request)

    async def _ready(self, request: httpcore2.Request) -> Http2Connection | httpcore2.AsyncHTTP11Connection:
        if self._made is not None:
            return self._made
        async with self._dialling:
            if self._links.closed:
                raise self._links.over()
            if self._failed:
                raise httpcore2.ConnectionNotAvailable
            if self._made is None:
                try:
                    self._made = await self._dialled(request.extensions["trace"])
                except BaseException:
                    self._failed = True
                    raise
                await self._check(self._made)
        return self._made

    async def _check(self, made: Http2Connection | httpcore2.AsyncHTTP11Connection) -> None:
        """Close a connection that came too late or takes nothing. Raises ``Unreachable``."""
        if self._links.closed:
            await made.aclose()
            raise self._links.over()
        self._links.carries = made.most if isinstance(made, Http2Connection) else 1
        if isinstance(made, Http2Connection) and not made.is_available():
            # Not for another connection to try: it would fare the same, and so without end.
            await made.aclose()
            word = "connection_limit_reached"
            raise Unreachable(unconnected("upstream-connect", word, "a new connection takes no stream"))

    async def _dialled(self, trace: Trace) -> Http2Connection | httpcore2.AsyncHTTP11Connection:
        links, upstream = self._links, self._links.upstream
        await trace("connection.connect_tcp.started", {})
        stream = await self._next_hop(trace)
        try:
            if links.tls is not None:
                stream = await secured(stream, links.tls, self._origin.host.decode("ascii"))
            tls = stream.get_extra_info("ssl_object")
            if links.tls is None or tls.selected_alpn_protocol() != "h2":
                return httpcore2.AsyncHTTP11Connection(self._origin, Wire(stream), keepalive_expiry=links.keep_s)
            connection = Http2Connection(
                stream,
                write_s=upstream.timeouts.write_us / 1e6,
                keep_s=links.keep_s,
                max_age_s=upstream.pool.max_age_us / 1e6,
            )
            await connection.begin()
        except BaseException as error:
            await _ended(stream)
            if isinstance(error, Broken):
                raise Unreachable(unconnected("upstream-protocol", error.word, str(error))) from error
            raise
        return connection

    async def _next_hop(self, trace: Trace) -> httpcore2.AsyncNetworkStream:
        """A stream to the upstream, or through the proxy's tunnel to it, or to the proxy."""
        links, upstream, proxy = self._links, self._links.upstream, self._links.upstream.proxy
        if proxy is None:
            host = self._origin.host.decode("ascii")
            return await links.network.connect_tcp(host, upstream.port, upstream.timeouts.connect_us / 1e6)
        await trace("proxy.started", {})
        stream = await links.network.connect_tcp(proxy.host, proxy.port, upstream.timeouts.connect_us / 1e6)
        try:
            if links.proxy_tls is not None:
                stream = await secured(stream, links.proxy_tls, proxy.host)
            if links.tls is not None:
                await tunnel(stream, self._origin, proxy)
        except BaseException:
            await _ended(stream)
            raise
        await trace("proxy.complete", {})
        return stream

    async def aclose(self) -> None:
        if self._made is not None:
            await self._made.aclose()

    # What the pool asks

    def can_handle_request(self, origin: httpcore2.Origin) -> bool:
        return origin == self._origin

    def is_available(self) -> bool:
        if self._made is None:
            return not self._failed and self._waiting < self._links.carries
        return self._made.is_available()

    def is_idle(self) -> bool:
        return self._failed if self._made is None else self._made.is_idle()

    def is_closed(self) -> bool:
        return self._failed if self._made is None else self._made.is_closed()

    def is_connected(self) -> bool:
        return self._made is not None and self._made.is_connected()

    def has_expired(self) -> bool:
        return self._failed if self._made is None else self._made.has_expired()

    def can_multiplex(self) -> bool:
        return isinstance(self._made, Http2Connection)

    def info(self) -> str:
        return "connecting" if self._made is None else self._made.info()


async def _ended(stream: httpcore2.AsyncNetworkStream) -> None:
    """Close ``stream``, also when the call that wanted it was cancelled."""
    with contextlib.suppress(Exception):
        await asyncio.shield(asyncio.ensure_future(stream.aclose()))


def _context(tls: Tls, *protocols: str) -> ssl.SSLContext:
    context = usable(tls)
    context.set_alpn_protocols(protocols)
    return context
