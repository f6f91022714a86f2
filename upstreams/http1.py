"""The HTTP/1.1 engine: a bounded pool of connections to one upstream, with a fair and bounded wait for one.

Decides which connection carries a call, when a new one is dialled, when a call is sent a second time
(RULINGS 16) and when one has taken too long: a single coarse sweep enforces every deadline, so that an ordinary
call needs neither task nor timer nor lock (DESIGN §13). What is valid on the wire is ``http1_connection``'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from collections import deque

from policies.model import Upstream
from upstreams.egress import addresses, refused, too_slow, untrusted
from upstreams.http1_answer import Answer
from upstreams.http1_connection import Connection, Deadlines
from upstreams.names import KnownNames
from upstreams.tls import usable
from upstreams.transport import TransportError, UpstreamRequest, repeatable

IDLE_KEPT_S = 30.0
SWEEP_S = 0.05
IDLE_SWEEP_S = 1.0
LAST_CHUNK = b"0\r\n\r\n"
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_tokens = KnownNames()
"""Field names that were found to be tokens."""


class Http1Transport:
    """``upstreams.transport.Transport`` for ``upstream``. ``listeners`` are our own, never connected to."""

    def __init__(self, upstream: Upstream, *, listeners: frozenset[tuple[str, int]] = frozenset()) -> None:
        timeouts = upstream.timeouts
        self._upstream = upstream
        self._listeners = listeners
        self._tls = usable(upstream.tls) if upstream.scheme == "https" else None
        self._deadlines = Deadlines(
            write=timeouts.write_us / 1e6, first_byte=timeouts.first_byte_us / 1e6, idle=timeouts.idle_us / 1e6
        )
        self._total_s = timeouts.total_us / 1e6
        self._most = upstream.pool.connections
        self._max_age_s = upstream.pool.max_age_us / 1e6
        self._open = 0  # connections there are, and those being made
        self._members: set[Connection] = set()
        self._idle: list[Connection] = []  # the one used last is taken first
        self._queue: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._closed = False

    async def send(self, request: UpstreamRequest) -> Answer:
        """Send ``request`` and wait for the final head. Raises ``TransportError``, and what the body raises."""
        head = head_of(request)
        if request.body is None and not request.content_length:
            upload = NOTHING
        else:
            # Nothing is asked of the upstream before the caller has begun to send what it announced.
            part = None if request.body is None else await anext(request.body, None)
            upload = _Upload(request, part)
            if upload.whole:
                await upload.end()
        now = asyncio.get_running_loop().time()
        total_at = now + self._total_s
        connection = self._ready(now) or await self._slot()
        try:
            return await self._call(connection, request, head, upload, total_at)
        except TransportError as error:
            stale = connection.used and not connection.heard and error.proxy_error == "connection_terminated"
            if self._closed or not (stale and repeatable(request)):
                raise
        return await self._call(await self._fresh(), request, head, upload, total_at)

    async def aclose(self) -> None:
        """Close every connection, whatever still uses it."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for waiter in self._queue:
            waiter.refuse()
        for connection in [*self._members]:
            connection.fail(
                TransportError("draining", proxy_error="connection_terminated", phase="upstream_wait", sent=True)
            )
        await asyncio.sleep(0)  # lets the loop drop the sockets

    async def _call(
        self, connection: Connection, request: UpstreamRequest, head: bytes, upload: _Upload, total_at: float
    ) -> Answer:
        """One attempt on ``connection``: returns with the final head, or ends the connection."""
        self._sweep_soon()
        answer = connection.begin(request.method, head + upload.first, upload.whole, self._deadlines, total_at)
        connection.upgrade = request.upgrade
        try:
            if upload.whole:
                await answer.head
            else:
                await upload.beside(connection, answer)
        except BaseException:
            answer.abandon()
            raise
        return answer

    # Slots

    def _ready(self, now: float) -> Connection | None:
        """An idle connection that can still be used."""
        while self._idle:
            connection = self._idle.pop()
            if not self._outlived(connection, now):
                return connection
            connection.abort()
        return None

    async def _slot(self) -> Connection:
        """A connection: a new one while there is room, else the next that is freed. Raises ``TransportError``."""
        if self._open < self._most:
            self._open += 1
            return await self._dialled()
        connection = await self._queued()
        if connection is None:
            return await self._dialled()
        # One that has ended on its way here has given its slot up.
        return await self._slot() if connection.closed else connection

    async def _fresh(self) -> Connection:
        """A connection that has carried no call yet."""
        connection = await self._slot()
        if not connection.used:
            return connection
        self._members.discard(connection)  # its slot goes to the new one
        connection.abort()
        return await self._dialled()

    async def _queued(self) -> Connection | None:
        """Wait in line for a connection, or for the right to make one (None)."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), loop.time() + self._upstream.pool.wait_us / 1e6)
        self._queue.append(waiter)
        self._sweep_soon()
        try:
            return await waiter.served
        except asyncio.CancelledError:
            waiter.served.cancel()
            if not waiter.served.cancelled() and waiter.served.exception() is None:
                connection = waiter.served.result()
                if connection is None or not connection.closed:  # a closed one has given its slot up
                    self._hand_on(connection)
            raise

    def _hand_on(self, connection: Connection | None) -> None:
        """Give what one caller needs no more to the first in line, or keep it."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.served.done():
                waiter.served.set_result(connection)
                return
        if connection is None:
            self._open -= 1
        else:
            self._idle.append(connection)

    def _freed(self, connection: Connection) -> None:
        if self._outlived(connection, connection.idle_since):
            connection.abort()
        else:
            self._hand_on(connection)

    def _lost(self, connection: Connection) -> None:
        if connection in self._members:
            self._members.remove(connection)
            if connection in self._idle:
                self._idle.remove(connection)
            self._hand_on(None)

    def _outlived(self, connection: Connection, now: float) -> bool:
        return connection.closed or now - connection.born > self._max_age_s or now - connection.idle_since > IDLE_KEPT_S

    # Connecting

    async def _dialled(self) -> Connection:
        """A new connection in a slot that the caller holds; gives the slot up on failure."""
        try:
            connection = await self._dial()
        except BaseException:
            self._hand_on(None)
            raise
        if connection.closed:  # ended before it was anybody's: uvloop reads before the dialler runs on
            self._hand_on(None)
            return connection
        self._members.add(connection)
        if self._closed:
            connection.abort()
        return connection

    async def _dial(self) -> Connection:
        host, port = self._upstream.host, self._upstream.port
        resolved = False
        try:
            async with asyncio.timeout(self._upstream.timeouts.connect_us / 1e6) as deadline:
                found = await addresses(host, port, self._listeners)
                resolved = True
                sock = await _connected(found, port, deadline.when() or 0.0)
                return await self._over(sock)
        except TimeoutError:
            raise too_slow(host, port, resolved=resolved) from None

    async def _over(self, sock: socket.socket) -> Connection:
        loop = asyncio.get_running_loop()
        name = self._upstream.host if self._tls is not None else None
        connection = Connection(loop, self._freed, self._lost)
        try:
            await loop.create_connection(lambda: connection, sock=sock, ssl=self._tls, server_hostname=name)
        except (ssl.SSLError, OSError) as error:
            _end(sock)
            raise untrusted(error) from error
        except BaseException:
            _end(sock)
            raise
        return connection

    # Deadlines

    def _sweep_soon(self) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + SWEEP_S
        if self._timer is None or self._timer_at > at:
            self._schedule(loop, at)

    def _schedule(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = loop.call_at(at, self._sweep), at

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [one for one in self._members if one.expires <= now]:
            connection.expire()
        for connection in [one for one in self._idle if self._outlived(one, now)]:
            connection.abort()
        while self._queue and (self._queue[0].served.done() or self._queue[0].until <= now):
            self._queue.popleft().refuse()
        self._timer = None
        if (self._members or self._queue) and not self._closed:
            resting = len(self._idle) == self._open
            self._schedule(loop, now + (IDLE_SWEEP_S if resting else SWEEP_S))


class _Waiter:
    """A caller in line: ``served`` with a connection, or with None for the right to make one."""

    __slots__ = ("served", "until")

    def __init__(self, served: asyncio.Future[Connection | None], until: float) -> None:
        self.served = served
        self.until = until

    def refuse(self) -> None:
        if not self.served.done():
            self.served.set_exception(
                TransportError("upstream-pool", proxy_error="connection_limit_reached", phase="queue", sent=False)
            )


class _Upload:
    """The body of one attempt: framed, counted against what was announced, given up when the answer is here."""

    __slots__ = ("_body", "_chunked", "_left", "first", "whole")

    def __init__(self, request: UpstreamRequest, part: bytes | None) -> None:
        self._body = request.body
        self._chunked = request.body is not None and request.content_length is None
        self._left = request.content_length or 0
        self.first = b""
        if part is not None:
            self.first = self._framed(part)
        elif self._chunked:
            self.first = LAST_CHUNK
        self.whole = part is None or not (self._chunked or self._left)
        if part is None and self._left:
            raise unsendable("the body is shorter than announced")

    async def end(self) -> None:
        """See that nothing follows what was announced: no request is complete upstream that was not one here."""
        if self._body is not None and not self._chunked:
            async for part in self._body:
                self._framed(part)

    async def beside(self, connection: Connection, answer: Answer) -> None:
        """Send the rest while the answer may already come."""
        task = asyncio.get_running_loop().create_task(self._rest(connection))
        try:
            await answer.head
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))  # unlike the task itself, never swallows a cancellation of ours

    async def _rest(self, connection: Connection) -> None:
        try:
            assert self._body is not None  # noqa: S101 - else the first part was all
            async for part in self._body:
                framed = self._framed(part)
                if self._chunked or self._left:
                    await connection.send(framed)
                    continue
                await self.end()
                await connection.send(framed)
                connection.sent()
                return
            if self._left:
                raise unsendable("the body is shorter than announced")
            await connection.send(LAST_CHUNK)
            connection.sent()
        except Exception as error:  # whatever the caller's body raises ends the call
            connection.fail(error)

    def _framed(self, part: bytes) -> bytes:
        if self._chunked:
            return b"%x\r\n%b\r\n" % (len(part), part) if part else b""
        self._left -= len(part)
        if self._left < 0:
            raise unsendable("the body is longer than announced")
        return part


NOTHING = _Upload(UpstreamRequest(b"GET", b"/", []), None)
"""The upload of every request without a body."""


async def _connected(found: list[str], port: int, until: float) -> socket.socket:
    """A socket to the first address that answers; each gets its share of the time that is left."""
    loop = asyncio.get_running_loop()
    failed: Exception = TimeoutError()
    for number, address in enumerate(found):
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        share = (until - loop.time()) / (len(found) - number)
        try:
            async with asyncio.timeout(share):
                await loop.sock_connect(sock, (address, port))
        except OSError as error:  # TimeoutError is one
            sock.close()
            failed = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    if isinstance(failed, TimeoutError):
        raise failed
    raise refused(failed) from failed


def _end(sock: socket.socket) -> None:
    """Have the transport that owns ``sock`` close it: closed under it, its number would be another's."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def head_of(request: UpstreamRequest) -> bytes:
    """The request's head as octets, framing included. Raises ``TransportError`` for what would split it."""
    lines = [b"%b %b HTTP/1.1" % (request.method, request.target)]
    for pair in request.headers:
        if pair[0] not in _tokens:
            if not _TOKEN.fullmatch(pair[0]):
                raise unsendable("a field name that is no token")
            _tokens.learn(pair[0])
        lines.append(b": ".join(pair))
    if request.content_length is not None:
        lines.append(b"content-length: %d" % request.content_length)
    elif request.body is not None:
        lines.append(b"transfer-encoding: chunked")
    head = b"\r\n".join((*lines, b"", b""))
    ends = len(lines) + 1
    if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head or lines[0].count(b" ") != 2:
        raise unsendable("what a caller sent would become a second line or request")
    return head


def unsendable(text: str) -> TransportError:
    """The caller's own fault."""
    return TransportError("bad-request", proxy_error="http_request_error", phase="upstream_wait", sent=False, text=text)
