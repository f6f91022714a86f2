"""The innermost ASGI application: one call to its upstream, streamed both ways.

Takes the plan that earlier layers left in ``scope["tiergate"]``, decides nothing about limits, tenants or
credentials (``middleware.tenancy`` alone strips what is the gateway's, RULINGS 8), and
renders no error: before the head a failure is a ``GatewayError``, after it the same error ends the message
unfinished, so that the server closes the connection and no caller takes a part for the whole (RULINGS 20).
Sources: DESIGN §3.6, §8; RFC 9110 7.6; spec http.md §3.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any, TypeAlias, cast

from policies.errors import GatewayError
from policies.exchange import SCOPE_KEY, Exchange
from policies.model import Upstream
from policies.paths import FRAMING, HTTP_1_0
from policies.plan import Onward, Plan
from policies.ports import Clock
from policies.websocket import SOCKET_KEY
from upstreams.budget import BudgetMemory
from upstreams.closing import CLOSING_KEY, Closing
from upstreams.held import Held, following
from upstreams.hop import Introduction, inbound_response, introduction, max_forwards, outbound_request
from upstreams.outbound import CLOSE, framed, trace_fields, upstream_target
from upstreams.pool import Borrowed, TransportLookup
from upstreams.throttled import Listener
from upstreams.transport import (
    BODILESS,
    Headers,
    Switched,
    Transport,
    TransportError,
    UpstreamRequest,
    UpstreamResponse,
    endless,
)
from upstreams.watch import Watches
from upstreams.websocket import Handshake, Receive, Send, Tunnel, asking, granted, not_granted

Scope: TypeAlias = MutableMapping[str, Any]

HEAD_HELD_S = 0.05
"""How long the head of an answer of unknown length waits for its first chunk: both leave in one write, and a
failure in between can still be a proper error."""
RARE = frozenset(("OPTIONS", "TRACE", "CONNECT"))
"""Methods that may have to be answered here."""
INTRODUCTIONS_KEPT = 10_000


class ClientGone(Exception):
    """The caller closed its connection while its request was still being read."""


class Forwarder:
    """Pure ASGI endpoint. ``instance`` names this gateway in ``Via``: the same for all its workers."""

    def __init__(self, transports: TransportLookup, *, clock: Clock, instance: str) -> None:
        self._transports = transports
        self._clock = clock
        self._pseudonym = b"tiergate-" + instance.encode("ascii")
        self._via = b"1.1 " + self._pseudonym
        self._watches = Watches(clock)
        self._budget = BudgetMemory(clock)
        self._listeners: dict[str, Listener] = {}
        self._introductions: dict[tuple[str | None, bytes, str, str | None, bool], Introduction] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ``GatewayError``. Returns without an answer when the caller is gone (``exchange.client_gone``)."""
        exchange: Exchange = scope[SCOPE_KEY]
        plan = exchange.plan
        if plan is None:
            raise GatewayError("internal", cause_text="a request without a plan reached the forwarder")
        if exchange.method in RARE and _answered_here(exchange.method, scope["headers"]):
            await _answer_options(send)
            return
        listener = self._listeners.get(plan.upstream.name)
        if listener is None or listener.upstream is not plan.upstream:
            listener = self._listeners[plan.upstream.name] = Listener(plan.upstream, self._clock, self._budget)
        call = _Call(exchange, receive, send, self._clock, listener)
        request = self._request(scope, exchange, plan, call)
        exchange.upstream_name, exchange.upstream_host = plan.upstream.name, plan.upstream.host
        if plan.upstream.protect:
            call.paying = listener.refuse_remembered(exchange, plan, request)
        if SOCKET_KEY in scope:
            call.socket = asking(request), scope.get(CLOSING_KEY) or Closing()
        exchange.upstream_started_us = call.began_us
        exchange.phase = "upstream_connect"
        self._watches.add(call)
        try:
            with self._borrowed(plan.upstream, call) as transport:
                await call.run(transport, request, self._via)
        finally:
            self._watches.discard(call)
            call.stop_watching()
            if exchange.upstream_finished_us is None:
                exchange.upstream_finished_us = self._clock.steady_us()

    def _borrowed(self, upstream: Upstream, call: _Call) -> Borrowed:
        """A definition that no connection can be made from (a certificate, say) fails like a connection."""
        try:
            return self._transports.borrow(upstream)
        except TransportError as error:
            raise call.failed(error) from error

    def _request(self, scope: Scope, exchange: Exchange, plan: Plan, call: _Call) -> UpstreamRequest:
        headers: Headers = scope["headers"]
        fields = dict(headers)
        content = not FRAMING.isdisjoint(fields)
        if content:
            call.length, content = framed(headers, scope["http_version"])
        call.uploaded = not content
        onward = plan.onward
        told = self._introduction(scope, exchange, onward, fields.get(b"host", b""))
        return UpstreamRequest(
            exchange.method.encode("ascii"),
            upstream_target(onward, exchange.target, exchange.query),
            outbound_request(headers, onward, told, exchange.request_id.encode("ascii"), trace_fields(exchange)),
            call.request_body() if content else None,
            call.length,
        )

    def _introduction(self, scope: Scope, exchange: Exchange, onward: Onward, host: bytes) -> Introduction:
        """What is said of the connection that the request came by; made once and kept for its next requests."""
        peer = exchange.peer_address if onward.tells_peer else None
        version, scheme = scope["http_version"], scope.get("scheme")
        key = (peer, host, version, scheme, exchange.peer_trusted)
        known = self._introductions.get(key)
        if known is None:
            if len(self._introductions) >= INTRODUCTIONS_KEPT:
                self._introductions.clear()
            known = self._introductions[key] = introduction(
                pseudonym=self._pseudonym,
                received=b"1.0" if version in HTTP_1_0 else b"1.1",  # tenancy lets no other in
                peer=peer,
                host=host,
                scheme=b"https" if scheme == "https" else b"http",
                trusted=exchange.peer_trusted,
            )
        return known


class _Call:
    """One call in flight: the state that its body, its answer and its watch share. ``socket`` where it asks for one."""

    socket: tuple[Handshake, Closing]
    __slots__ = (
        "_clock", "_listener", "_receive", "_receiving_since_us", "_send", "_sending_since_us", "_stalled", "_task",
        "_waited_us", "_watcher", "began_us", "exchange", "finishing", "length", "paying", "socket", "started",
        "uploaded",
    )  # fmt: skip

    def __init__(self, exchange: Exchange, receive: Receive, send: Send, clock: Clock, listener: Listener) -> None:
        self.exchange = exchange
        self.paying = b""  # of a protected upstream: whose quota this call spends
        self._listener = listener
        self.length: int | None = None  # announced for the caller's body
        self.uploaded = False
        self.started = False  # the head was handed to the server
        self.finishing = False  # the last part was; a disconnect means nothing any more
        self.began_us = clock.steady_us()
        self._receive = receive
        self._send = send
        self._clock = clock
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None
        self._sending_since_us: int | None = None
        self._receiving_since_us: int | None = None
        self._waited_us = 0  # for the caller's body
        self._stalled = False  # the caller's body was given up on

    async def run(self, transport: Transport, request: UpstreamRequest, via: bytes) -> None:
        """The whole call. A caller that left is no error; every other failure is a ``GatewayError``."""
        try:
            answer = await transport.send(request)
            content = answer.content
            if content is None:
                if answer.status == 101:  # no engine lets one pass that was not asked for
                    await self._tunnel(cast(Switched, answer), via, *self.socket)
                elif request.upgrade and endless(answer.headers):
                    # A refusal leaves as a whole, and nobody listens for a caller that gives up waiting for it.
                    await answer.aclose()
                    raise not_granted("an event stream instead of a WebSocket")
                else:
                    await self._stream(answer, via, request.method)
                return
            # It is here as a whole, and its connection may already carry another call.
            headers, telling = self._head(answer, via)
            self.exchange.upstream_finished_us = self.exchange.upstream_head_us
            status = answer.status
            if telling:
                status, headers = await self._heard(answer, headers, Held(content=content))
            self.started = True
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
            self.finishing = True
            content = b"" if _bodiless(request.method, answer.status) else content
            await self._send({"type": "http.response.body", "body": content, "more_body": False})
        except TransportError as error:
            raise self.failed(error) from error
        except ClientGone:
            self.exchange.client_gone = True
        except asyncio.CancelledError:
            if self._task is None or not (self.exchange.client_gone or self._stalled):
                raise
            self._task.uncancel()
            if self._stalled:
                raise self._stalled_error("the caller stopped sending its body") from None

    async def request_body(self) -> AsyncIterator[bytes]:
        """The caller's body as it comes. Raises ``ClientGone``."""
        try:
            more = True
            while more:
                message = await self._received()
                if message["type"] != "http.request":
                    raise ClientGone
                more = message.get("more_body", False)
                chunk: bytes = message.get("body", b"")
                self.exchange.bytes_in += len(chunk)
                # An engine that knows the length asks for no more than that.
                self.uploaded = not more or self.exchange.bytes_in == self.length
                if chunk:
                    yield chunk
        finally:
            self.uploaded = True

    async def _received(self) -> MutableMapping[str, Any]:
        since_us = self._receiving_since_us = self._clock.steady_us()
        try:
            return await self._receive()
        finally:
            self._receiving_since_us = None
            self._waited_us += self._clock.steady_us() - since_us

    def _ran_out_for_the_caller(self, error: TransportError) -> bool:
        """A body that drips never stalls, and is nevertheless not the upstream's slowness.

        An upstream that takes nothing is slow by itself, however long its caller had been before.
        """
        if error.code != "upstream-timeout" or error.proxy_error == "connection_write_timeout":
            return False
        return self._waited_us * 2 > self._clock.steady_us() - self.began_us

    def _stalled_error(self, cause: str) -> GatewayError:
        # RFC 9110 15.5.9: "the server SHOULD send the close connection option".
        return GatewayError("request-timeout", phase="queue", cause_text=cause, headers=(CLOSE,))

    def _head(self, answer: UpstreamResponse, via: bytes) -> tuple[Headers, bool]:
        """The fields that pass, and whether the answer may say something of the upstream's limits."""
        exchange, listener = self.exchange, self._listener
        status = answer.status
        exchange.upstream_head_us = self._clock.steady_us()
        exchange.upstream_status = status
        exchange.phase = "upstream_body"
        headers, telling = inbound_response(status, answer.headers, via, listener.reader, native=listener.native)
        exchange.origin = "upstream"
        if status in (429, 503):
            exchange.source = "upstream"
        return headers, telling or status in listener.statuses

    async def _heard(self, answer: UpstreamResponse, headers: Headers, held: Held | None) -> tuple[int, Headers]:
        return await self._listener.hear(answer, headers, held, exchange=self.exchange, paying=self.paying)

    async def _stream(self, answer: UpstreamResponse, via: bytes, method: bytes) -> None:
        held: Held | None = None
        try:
            headers, telling = self._head(answer, via)
            status, chunks = answer.status, answer.body()
            if telling:
                held = Held(chunks)
                status, headers = await self._heard(answer, headers, held)
                chunks = held.body()
            await self._pass_on(
                answer, {"type": "http.response.start", "status": status, "headers": headers}, chunks, method
            )
        except asyncio.CancelledError:
            if self.exchange.client_gone and self.started and endless(answer.headers):
                await self._part(b"", more=False)  # a stream is judged by its head (spec sla.md T1): leaving ends it
            raise
        finally:
            if held is not None:
                held.drop()
            await answer.aclose()

    async def _tunnel(self, answer: Switched, via: bytes, handshake: Handshake, closing: Closing) -> None:
        """``upstreams.websocket`` from here on, which alone may ``receive`` now: no watch listens any more."""
        self.uploaded = False
        self.stop_watching()
        try:
            fault = handshake.fault(answer.headers)
            if fault is not None:
                raise not_granted(fault)
            headers, telling = self._head(answer, via)
            if telling:
                _, headers = await self._heard(answer, headers, None)
            await self._start({"type": "http.response.start", "status": 101, "headers": granted(headers)})
            await Tunnel(answer, self._receive, self._send, exchange=self.exchange, closing=closing).run()
        finally:
            await answer.aclose()

    async def _pass_on(
        self, answer: UpstreamResponse, start: dict[str, Any], chunks: AsyncIterator[bytes], method: bytes
    ) -> None:
        length = next((int(value) for name, value in start["headers"] if name == b"content-length"), None)
        left = 0 if _bodiless(method, answer.status) else length
        if left is None:
            chunk = await self._first_chunk(chunks, start)
        else:
            chunk = await anext(chunks, None)
        await self._start(start)
        while chunk is not None:
            if left is not None:
                left -= len(chunk)
            await self._part(chunk, more=left != 0)
            chunk = await anext(chunks, None)
        if not self.finishing:
            await self._part(b"", more=False)

    async def _first_chunk(self, chunks: AsyncIterator[bytes], start: dict[str, Any]) -> bytes | None:
        """The first chunk; when it takes long the head goes ahead of it, as event streams need."""
        first = asyncio.ensure_future(following(chunks))
        try:
            done, _ = await asyncio.wait((first,), timeout=HEAD_HELD_S)
            if not done:
                await self._start(start)
                await self._part(b"", more=True)  # one server keeps the head back until there is a part
            return await first
        finally:
            first.cancel()

    async def _start(self, start: dict[str, Any]) -> None:
        if not self.started:
            self.started = True
            await self._send(start)

    async def _part(self, body: bytes, *, more: bool) -> None:
        self.finishing = not more
        if more:
            self._sending_since_us = self._clock.steady_us()
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
        self._sending_since_us = None

    def failed(self, error: TransportError) -> GatewayError:
        """What the caller is told of ``error``."""
        exchange = self.exchange
        if not self.started and self._ran_out_for_the_caller(error):
            return self._stalled_error(error.text)
        exchange.failed_phase = error.phase
        exchange.detail = error.text
        if self.started:
            exchange.truncated_by = "upstream"
        else:
            exchange.origin, exchange.source, exchange.retry_after_s = "gateway", None, None
        return GatewayError(
            error.code,
            phase=error.phase,
            proxy_error=error.proxy_error,
            cause_text=error.text,
            retry_after_s=1 if error.code == "upstream-pool" else None,
        )

    def check(self, now_us: int) -> None:
        """``upstreams.watch``: begin to listen for a disconnect; give up on a caller that reads or sends nothing."""
        if self._idle(self._sending_since_us, now_us):
            self._leave()
        elif self._idle(self._receiving_since_us, now_us):
            self._stall()
        elif self._watcher is None and self.uploaded:
            self._watcher = asyncio.get_running_loop().create_task(self._until_gone())

    def _idle(self, since_us: int | None, now_us: int) -> bool:
        plan = self.exchange.plan
        return since_us is not None and plan is not None and now_us - since_us > plan.upstream.timeouts.idle_us

    def _stall(self) -> None:
        if self._task is not None and not self._stalled and not self.started:
            self._stalled = True
            self._task.cancel()

    def stop_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        if not self.finishing and self._task is not None and not self.exchange.client_gone:
            self.exchange.client_gone = True
            self._task.cancel()


def _bodiless(method: bytes, status: int) -> bool:
    return method == b"HEAD" or status in BODILESS


def _answered_here(method: str, headers: Headers) -> bool:
    """``OPTIONS`` that may not go further (P-11). TRACE would show the caller the upstream's own credential."""
    if method in ("TRACE", "CONNECT"):
        raise GatewayError("method-not-allowed", f"{method} is not forwarded")
    return method == "OPTIONS" and max_forwards(headers) == 0


async def _answer_options(send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
