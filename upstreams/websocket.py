"""A WebSocket to an upstream: the handshake that asks for one, and the messages both ways once it is granted.

Each hop has its own frames: pings are answered here, fragments joined, no extension offered; kinds of messages,
subprotocols, close codes and reasons pass. Decides nothing about limits and dials nothing: the connection is the
HTTP/1.1 engine's. The caller's side speaks the words of ``policies.websocket``. Source: RFC 6455; RULINGS 18, 19.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
import os
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, Protocol, Side, State

from policies.errors import GatewayError
from policies.exchange import Exchange
from policies.websocket import (
    BAD_GATEWAY,
    GOING_AWAY,
    LARGEST_MESSAGE,
    NO_STATUS,
    NORMAL,
    NOT_UTF8,
    RESTART,
    TOO_BIG,
    sendable,
)
from upstreams.closing import Closing
from upstreams.transport import Headers, Switched, TransportError, UpstreamRequest

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

GOODBYE_S = 2.0
"""How long an upstream has to take our close frame, and then to close the connection itself (RFC 6455 7.1.1)."""
GOODBYE_OCTETS = 1024 * 1024
"""What it may still send meanwhile."""
SLOWEST = 32_768
"""Octets a second that a caller must take of a long message, beyond the idle deadline, not to count as deaf."""
SLICE = 16_384
CROWD = 256
"""Octets taken at a time, and frames among them from which on they are a burden: an empty one has two octets."""
_QUIET = logging.getLogger("tiergate.websocket")
_QUIET.setLevel(logging.WARNING)  # at debug the library would log what callers say
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_OURS = b"sec-websocket-"
_PROTOCOL = b"sec-websocket-protocol"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """What one request for a WebSocket must be answered with: the digest of its key, one of its subprotocols."""

    accept: bytes
    offered: tuple[bytes, ...]

    def fault(self, headers: Headers) -> str | None:
        """Why a 101 with ``headers`` opens no WebSocket (RFC 6455 4.1, the list after "validate"); None if it does."""
        if _values(headers, b"upgrade", lower=True) != [b"websocket"]:
            return "the Upgrade field does not say websocket"
        if b"upgrade" not in _values(headers, b"connection", lower=True):
            return "the Connection field does not say upgrade"
        if [value for name, value in headers if name == b"sec-websocket-accept"] != [self.accept]:
            return "the Sec-WebSocket-Accept field is not that of the key"
        if _values(headers, b"sec-websocket-extensions"):
            return "an extension that was not offered"
        chosen = _values(headers, _PROTOCOL)
        if len(chosen) > 1 or any(one not in self.offered for one in chosen):
            return "a subprotocol that was not offered"
        return None


def asking(request: UpstreamRequest) -> Handshake:
    """Make ``request`` ask for a WebSocket: with a key of its own and the caller's subprotocols, no extension."""
    if request.body is not None:
        raise GatewayError("bad-request", "A request for a WebSocket has no body.")
    key = base64.b64encode(os.urandom(16))
    offered = [value for name, value in request.headers if name == _PROTOCOL]
    request.upgrade = True
    request.headers = [pair for pair in request.headers if not pair[0].startswith(_OURS)]
    request.headers += [
        (b"connection", b"Upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", key),
        *((_PROTOCOL, value) for value in offered),
    ]
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return Handshake(accept=accept, offered=tuple(_members(offered)))


def granted(headers: Headers) -> Headers:
    """The fields of a 101 that go on: the handshake of the other hop is not the caller's."""
    return [pair for pair in headers if pair[0] == _PROTOCOL or not pair[0].startswith((_OURS, b"content-length"))]


def _values(headers: Headers, wanted: bytes, *, lower: bool = False) -> list[bytes]:
    return _members([value.lower() if lower else value for name, value in headers if name == wanted])


def _members(values: list[bytes]) -> list[bytes]:
    return [member.strip() for value in values for member in value.split(b",") if member.strip()]


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a WebSocket ended: the codes for both sides, and ``error`` where somebody broke it."""

    upstream: int
    caller: int
    reason: str = ""
    error: TransportError | None = None


def not_granted(fault: str) -> TransportError:
    """A 101 that is none (RFC 9209 2.3.27)."""
    return TransportError(
        "upstream-protocol", proxy_error="http_upgrade_failed", phase="upstream_wait", sent=True, text=fault
    )


class Tunnel:
    """One open WebSocket of ``exchange``, which has a plan. An upstream that is silent for the idle deadline, pongs
    included, has gone; there is no other deadline (RULINGS 18).
    """

    def __init__(self, answer: Switched, receive: Receive, send: Send, *, exchange: Exchange, closing: Closing) -> None:
        self._answer = answer
        self._receive = receive
        self._send = send
        self._exchange = exchange
        self._idle_s = exchange.plan.upstream.timeouts.idle_us / 1e6 if exchange.plan is not None else 0.0
        self._closing = closing
        self._protocol = Protocol(Side.CLIENT, state=State.OPEN, max_size=LARGEST_MESSAGE, logger=_QUIET)
        self._writing = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._sending_until: float | None = None  # to a caller that may not be reading
        self._sent = 0  # octets of the message before, which one server may still be sending
        self._message = bytearray()
        self._text = False

    async def run(self) -> None:
        """Both ways until a side ends it or the gateway drains. Raises ``TransportError`` when the upstream breaks."""
        drained: asyncio.Future[End] = self._loop.create_future()

        def drain() -> None:
            drained.set_result(End(upstream=GOING_AWAY, caller=RESTART))

        # The upstream's word counts before the caller's where both have spoken.
        pumps = [self._loop.create_task(pump) for pump in (self._down(), self._up(), self._beat())]
        self._closing.join(drain)
        try:
            await asyncio.wait((*pumps, drained), return_when=asyncio.FIRST_COMPLETED)
            end = next(one.result() for one in (*pumps, drained) if one.done())
        finally:
            self._closing.leave(drain)
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)
        await self._part(end)
        if end.error is not None:
            raise end.error

    # The three things that go on at the same time

    async def _down(self) -> End:
        """From the upstream to the caller."""
        try:
            async for octets in self._answer.body():
                self._heard_at = self._loop.time()
                for at in range(0, len(octets), SLICE):
                    self._protocol.receive_data(octets[at : at + SLICE])
                    end = await self._pass_on(self._protocol.events_received())
                    if end is not None:
                        return end
                    # Whoever writes takes the pongs along; an upstream that asks for many and reads none has to wait.
                    if not self._writing.locked() or len(self._protocol.writes) > CROWD:
                        await self._flush()
        except TransportError as error:
            return End(upstream=GOING_AWAY, caller=BAD_GATEWAY, error=error)
        return self._broken("connection_terminated", "closed without a close frame")

    async def _up(self) -> End:
        """From the caller to the upstream, at its pace: meanwhile nothing more is taken from the caller."""
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                return End(upstream=message["code"], caller=NORMAL, reason=message["reason"])
            body = message["body"]
            self._exchange.bytes_in += len(body)
            if len(body) > LARGEST_MESSAGE:
                return End(upstream=GOING_AWAY, caller=TOO_BIG)
            if self._protocol.state is not State.OPEN:
                continue  # the upstream has said goodbye
            if message["text"]:
                self._protocol.send_text(body)
            else:
                self._protocol.send_binary(body)
            await self._flush()

    async def _beat(self) -> End:
        """Three times in an idle deadline: a ping to a silent upstream, and a sign of life that keeps the slot."""
        while True:
            await asyncio.sleep(self._idle_s / 3)
            now = self._loop.time()
            if self._sending_until is not None:
                if now > self._sending_until:
                    self._exchange.client_gone, self._exchange.detail = True, "the caller stopped reading"
                    return End(upstream=GOING_AWAY, caller=GOING_AWAY)
            elif now - self._heard_at > self._idle_s:
                return self._broken("connection_read_timeout", "silent, and no pong either", code="upstream-timeout")
            elif now - self._heard_at > self._idle_s / 4 and self._protocol.state is State.OPEN:
                self._protocol.send_ping(b"")
                if not self._writing.locked():
                    await self._flush()
            await self._send({"type": "http.response.body", "body": b"", "more_body": True})

    # Steps

    async def _pass_on(self, events: list[Event]) -> End | None:
        if len(events) > CROWD:
            await asyncio.sleep(0)  # frames without content: every other caller has its turn
        for frame in events:
            if isinstance(frame, Frame) and frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                end = await self._take(frame)
                if end is not None:
                    return end
        failure, close = self._protocol.parser_exc, self._protocol.close_rcvd
        if failure is not None:
            reason = "message too big" if isinstance(failure, PayloadTooBig) else ""
            return self._broken("http_protocol_error", str(failure), reason=reason)
        if close is not None:
            return End(upstream=NO_STATUS, caller=sendable(close.code, NORMAL), reason=close.reason)
        return None

    async def _take(self, frame: Frame) -> End | None:
        """Joins fragments; they are bounded together (``max_size``), and so is any number of empty ones."""
        if frame.opcode is not Opcode.CONT:
            self._text = frame.opcode is Opcode.TEXT
        if frame.fin and not self._message:
            message = bytes(frame.data)
        else:
            self._message += frame.data
            if not frame.fin:
                return None
            message, self._message = bytes(self._message), bytearray()
        if self._text and not _is_utf8(message):
            self._protocol.fail(NOT_UTF8)
            return self._broken("http_protocol_error", "text that is not UTF-8")
        patience_s = self._idle_s + (self._sent + len(message)) / SLOWEST
        self._sending_until, self._sent = self._loop.time() + patience_s, len(message)
        await self._send({"type": "http.response.body", "body": message, "more_body": True, "text": self._text})
        self._sending_until, self._heard_at = None, self._loop.time()
        return None

    async def _flush(self) -> None:
        """Whatever the protocol has to say; one write at a time, and the one that waits takes the others' along."""
        async with self._writing:
            while data := b"".join(self._protocol.data_to_send()):
                await self._answer.write(data)

    async def _part(self, end: End) -> None:
        """A close frame to both sides, then the connection's end, none of which waits for ever."""
        if self._protocol.state is State.OPEN:
            self._say_goodbye(end)
        asked = self._protocol.close_rcvd is None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await self._flush()
        await self._send(
            {"type": "http.response.body", "body": b"", "more_body": False, "code": end.caller, "reason": end.reason}
        )
        left = GOODBYE_OCTETS
        with contextlib.suppress(TimeoutError, TransportError):
            async with asyncio.timeout(GOODBYE_S):
                async for octets in self._answer.body():
                    self._protocol.receive_data(octets)
                    left -= len(octets)
                    if left < 0 or (asked and self._protocol.close_rcvd is not None):
                        break

    def _say_goodbye(self, end: End) -> None:
        if end.upstream == NO_STATUS:
            self._protocol.send_close()
        else:
            self._protocol.send_close(sendable(end.upstream, GOING_AWAY), end.reason if end.error is None else "")

    def _broken(self, word: str, text: str, *, code: str = "upstream-protocol", reason: str = "") -> End:
        error = TransportError(code, proxy_error=word, phase="upstream_body", sent=True, text=text)
        return End(upstream=GOING_AWAY, caller=BAD_GATEWAY, reason=reason, error=error)


def _is_utf8(message: bytes) -> bool:
    try:
        message.decode()
    except UnicodeDecodeError:
        return False
    return True
