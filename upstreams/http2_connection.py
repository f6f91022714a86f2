"""One HTTP/2 connection to an upstream, shared by several callers (RFC 9113) over the h2 library's state machine.

Decides what of a connection's trouble is one caller's and what is everybody's; httpcore2's own HTTP/2 connection
decides that otherwise and could not be used (docs/decisions.md). Frames are fed to h2 one by one, and GOAWAY, after
which h2 would go on with nothing, is read here. Which connection a call takes is the pool's affair.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import httpcore2
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import DenialOfServiceError, FrameTooLargeError, H2Error, ProtocolError
from h2.settings import SettingCodes, Settings

from upstreams.http1_connection import LARGEST_HEAD
from upstreams.http2_content import Content, upload
from upstreams.http2_fields import Malformed, content_expected, request_fields
from upstreams.http2_stream import Stream
from upstreams.http2_wire import READ_SIZE, Octets
from upstreams.httpx_failures import Broken, reset

FRAME_HEAD = 9
HEADERS, SETTINGS, GOAWAY, CONTINUATION = 1, 4, 7, 9
MOST_STREAMS = 100
"""Exchanges on one connection, if the upstream allows as many."""
STREAM_WINDOW = 262_144
"""Octets of one answer that wait for a slow caller; the connection grants this for every stream, so that none of
them can use up what the others need."""
MOST_UNSENT = 1_048_576
"""What may wait to be written besides bodies: an upstream that asks for answers and reads none is cut off."""
SILENT_S = 1.0
_UNINTERESTED = H2Configuration(
    client_side=True, header_encoding=None, validate_inbound_headers=False, normalize_inbound_headers=False
)


class Http2Connection(httpcore2.AsyncConnectionInterface):
    """A connection on ``wire``, which speaks h2. ``write_s`` bounds every wait for the upstream to read."""

    def __init__(self, wire: httpcore2.AsyncNetworkStream, *, write_s: float, keep_s: float, max_age_s: float) -> None:
        self._write_s = write_s
        self._keep_s = keep_s
        self._loop = asyncio.get_running_loop()
        self._h2 = H2Connection(_UNINTERESTED)
        self._streams: dict[int, Stream] = {}
        self._incoming = bytearray()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._block = 0  # octets of the header block that is coming
        self._settled = False  # the upstream's SETTINGS are here
        self._draining = False  # finishes what it carries
        self._used = False
        self._closed = False
        self._heard_at = self._idle_since = self._loop.time()
        self._old_at = self._idle_since + max_age_s
        self._octets = Octets(wire, write_s, received=self._take, sent=self._stir, failed=self._failed)

    async def begin(self) -> None:
        """Exchange settings: before the upstream's are here nobody knows how many streams it takes (RFC 9113 3.4)."""
        self._h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.MAX_HEADER_LIST_SIZE: LARGEST_HEAD,
            },
        )
        del self._h2.local_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL]  # a server's to say (RFC 8441 3)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(STREAM_WINDOW * MOST_STREAMS)
        self._flush()
        try:
            await asyncio.shield(self._ready)
        except BaseException:
            await self.aclose()
            raise

    # What the pool asks

    @property
    def most(self) -> int:
        """How many exchanges it carries at once."""
        return min(MOST_STREAMS, self._h2.remote_settings.max_concurrent_streams)

    def is_available(self) -> bool:
        aged = self._used and self._loop.time() > self._old_at
        return not (self._closed or self._draining or aged) and self._h2.open_outbound_streams < self.most

    def is_idle(self) -> bool:
        return not self._closed and not self._streams

    def is_closed(self) -> bool:
        return self._closed

    def is_connected(self) -> bool:
        return not self._closed

    def can_multiplex(self) -> bool:
        return True

    def has_expired(self) -> bool:
        now = self._loop.time()
        return not self._streams and (now > self._old_at or now - self._idle_since > self._keep_s or self._draining)

    def can_handle_request(self, origin: httpcore2.Origin) -> bool:
        return True  # the pool has one origin

    def info(self) -> str:
        return f"HTTP/2, {len(self._streams)} streams"

    # One exchange

    async def handle_async_request(self, request: httpcore2.Request) -> httpcore2.Response:
        """Send ``request`` and wait for the final head. Raises ``ConnectionNotAvailable`` before anything is sent."""
        lines = request_fields(request)
        if not self.is_available():
            raise httpcore2.ConnectionNotAvailable
        trace = request.extensions["trace"]
        await trace("http2.send_request_headers.started", {})
        stream = self._opened(request, lines)
        try:
            await self._asked(stream, request)
        except BaseException:
            self.abandon(stream)
            raise
        return httpcore2.Response(
            stream.status,
            headers=stream.fields,
            content=Content(self, stream, request.extensions["timeout"]),
            extensions={"http_version": b"HTTP/2"},
        )

    def _opened(self, request: httpcore2.Request, lines: list[tuple[bytes, bytes]]) -> Stream:
        with_content, _ = content_expected(request)
        self._used = True
        number = self._h2.get_next_available_stream_id()
        self._h2.send_headers(number, lines, end_stream=not with_content)
        stream = self._streams[number] = Stream(number, request.method)
        stream.uploaded = not with_content
        self._flush()
        return stream

    async def _asked(self, stream: Stream, request: httpcore2.Request) -> None:
        """Send the content, until all of it is sent or the answer is here; then wait for the answer."""
        trace = request.extensions["trace"]
        if not stream.uploaded:
            task = self._loop.create_task(upload(self, stream, request, self._write_s))
            try:
                await asyncio.wait((task, stream.head), return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not task.done():
                    task.cancel()
                    await asyncio.wait((task,))
            if not task.cancelled() and not stream.head.done():
                task.result()
            elif not task.cancelled():
                task.exception()  # seen; what the upstream said comes first
        await trace("http2.receive_response_headers.started", {})
        await asyncio.shield(stream.head)
        if not stream.begun:
            assert stream.error is not None  # noqa: S101 - the head is done by one or the other
            raise stream.error

    def takes(self, stream: Stream) -> int:
        """How many octets of content the upstream takes now; none before what was sent earlier has left."""
        if self._closed or self._octets.unsent:
            return 0
        return min(self._h2.local_flow_control_window(stream.number), self._h2.max_outbound_frame_size, READ_SIZE)

    def send(self, stream: Stream, content: bytes) -> None:
        """Send ``content``, no more than ``takes`` allows."""
        self._h2.send_data(stream.number, content)
        self._flush()

    def finish(self, stream: Stream) -> None:
        """All of the request is sent."""
        if stream.error is None and not self._closed:
            self._h2.end_stream(stream.number)
            stream.uploaded = True
            self._flush()

    def consumed(self, stream: Stream, counted: int) -> None:
        """The caller has ``counted`` octets of the answer: the upstream may send as many more."""
        if not self._closed and counted:
            self._h2.acknowledge_received_data(counted, stream.number)
            self._flush()

    def abandon(self, stream: Stream) -> None:
        """Nobody wants more of this exchange. Idempotent."""
        if self._streams.pop(stream.number, None) is None:
            return
        if not self._closed:
            self._reset(stream, ErrorCodes.CANCEL)
            self.consumed(stream, sum(counted for _, counted in stream.chunks))
        stream.chunks.clear()
        now = self._loop.time()
        if not stream.ended and now - stream.opened_at > SILENT_S and self._heard_at < stream.opened_at:
            self._draining = True  # as silent as a dead one; the next call takes another
        self._idle_since = now
        if not self._streams and self._draining:
            self._end(Broken("drained", "connection_terminated"))

    def _reset(self, stream: Stream, code: ErrorCodes) -> None:
        if not stream.finished and not self._closed:
            with contextlib.suppress(ProtocolError):  # the upstream has reset it already
                self._h2.reset_stream(stream.number, code)
            self._flush()

    # What comes in

    def _take(self, data: bytes) -> None:
        if not data:
            self._end(Broken("the upstream closed the connection", "http_response_incomplete"))
        self._heard_at = self._loop.time()
        self._incoming += data
        number = 0
        try:
            while len(self._incoming) >= FRAME_HEAD and not self._closed:
                number = int.from_bytes(self._incoming[5:9], "big") & 0x7FFFFFFF
                frame = self._cut()
                if frame is None:
                    break
                self._frame(frame[3], number, frame)
        except ProtocolError as error:
            self._violated(number, error)
        self._flush()

    def _cut(self) -> bytes | None:
        """The next frame, None while it is not all here."""
        size = int.from_bytes(self._incoming[:3], "big")
        if size > self._h2.max_inbound_frame_size:
            raise FrameTooLargeError("a frame larger than was allowed")
        if len(self._incoming) < FRAME_HEAD + size:
            return None
        frame = bytes(self._incoming[: FRAME_HEAD + size])
        del self._incoming[: FRAME_HEAD + size]
        return frame

    def _frame(self, kind: int, number: int, frame: bytes) -> None:
        if not self._settled and (kind != SETTINGS or frame[4] & 1):
            raise ProtocolError("the connection does not begin with SETTINGS (3.4)")
        if kind == GOAWAY:
            self._leaving(number, frame[FRAME_HEAD:])
            return
        if kind in (HEADERS, CONTINUATION):
            self._block = len(frame) + (self._block if kind == CONTINUATION else 0)
            if self._block > LARGEST_HEAD:  # before it is decoded, which takes long for what will be refused
                raise DenialOfServiceError("a header block larger than a head may be")
        for event in self._h2.receive_data(frame):
            self._happened(event)

    def _happened(self, event: Event) -> None:
        if isinstance(event, RemoteSettingsChanged):
            self._settled = True
            if not self._ready.done():
                self._ready.set_result(None)
        if isinstance(event, RemoteSettingsChanged | WindowUpdated):
            self._stir()
            return
        stream = self._streams.get(getattr(event, "stream_id", 0) or 0)
        if stream is None or stream.error is not None:
            self._pass_over(event)
            return
        try:
            self._answered(stream, event)
        except Malformed as problem:
            self._pass_over(event)
            self._refuse(stream, Broken(f"a malformed answer: {problem}", "http_protocol_error"))
        except Broken as problem:
            self._refuse(stream, problem)

    def _pass_over(self, event: Event) -> None:
        """Nobody will read what ``event`` brought; kept back, it would use up everybody's window (RFC 9113 6.9)."""
        if isinstance(event, DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)

    def _answered(self, stream: Stream, event: Event) -> None:
        """What ``event`` says about one exchange."""
        match event:
            case InformationalResponseReceived():
                stream.interim(_raw(event.headers))
            case ResponseReceived():
                # Held to its length by ``Stream``: to h2 a length that lies is an error of the whole connection.
                self._h2.streams[stream.number]._expected_content_length = None
                stream.began(_raw(event.headers))
            case DataReceived():
                counted = event.flow_controlled_length or 0
                if event.data:
                    stream.received(event.data, counted)
                else:
                    self._h2.acknowledge_received_data(counted, stream.number)
            case TrailersReceived():
                stream.trailers(_raw(event.headers))
            case StreamEnded():
                stream.complete()
            case StreamReset():
                code = int(event.error_code or 0)
                stream.fail(reset(code, begun=stream.begun, answered=stream.answered))
            case _:
                pass

    def _refuse(self, stream: Stream, error: Broken) -> None:
        stream.fail(error)
        self._reset(stream, ErrorCodes.PROTOCOL_ERROR)

    def _leaving(self, number: int, payload: bytes) -> None:
        """GOAWAY: streams up to the one it names may finish, the others were not begun (RFC 9113 6.8)."""
        if number or len(payload) < 8:
            raise ProtocolError("a GOAWAY on a stream or too short")
        last = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
        self._draining = True
        for stream in self._streams.values():
            if stream.number > last:
                text = f"the upstream is leaving with code {int.from_bytes(payload[4:8], 'big')}"
                stream.fail(Broken(text, "connection_terminated", unprocessed=not stream.answered))
        if not self._streams:
            self._end(Broken("the upstream is leaving", "connection_terminated"))

    def _violated(self, number: int, error: H2Error) -> None:
        """The upstream broke the protocol: the caller on stream ``number`` is told so, the others lost a connection."""
        stream = self._streams.get(number)
        if stream is not None:
            large = isinstance(error, DenialOfServiceError)
            stream.fail(Broken(str(error), "http_response_header_section_size" if large else "http_protocol_error"))
        self._end(Broken(f"the upstream broke HTTP/2: {error}", "http_protocol_error"))

    # What goes out

    def _flush(self) -> None:
        self._octets.put(self._h2.data_to_send())
        if self._octets.unsent > MOST_UNSENT:
            self._end(Broken("the upstream reads nothing", "connection_write_timeout"))

    def _stir(self) -> None:
        for stream in self._streams.values():
            stream.writable.set()

    # The end

    def _end(self, error: Exception) -> None:
        """No more of this connection: every exchange on it fails, each with an error of its own."""
        if self._closed:
            return
        self._closed = True
        if not self._ready.done():
            self._ready.set_exception(Broken(str(error), _word(error, begun=False)))
            self._ready.exception()  # seen, also when nobody waits any more
        for stream in [*self._streams.values()]:
            if isinstance(error, Broken):
                stream.fail(Broken(str(error), _word(error, begun=stream.begun), lost=not stream.answered))
            else:
                stream.fail(error)
        with contextlib.suppress(H2Error):
            self._h2.close_connection()
        self._octets.end(self._h2.data_to_send())

    def _failed(self, error: Exception) -> None:
        slow = isinstance(error, httpcore2.WriteTimeout)
        self._end(error if slow else Broken(f"{type(error).__name__}: {error}", "connection_terminated"))

    async def aclose(self) -> None:
        """Close the connection, whatever still uses it."""
        self._end(Broken("closed", "connection_terminated"))
        await self._octets.ended()


def _raw(lines: Any) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in lines or ()]


def _word(error: Exception, *, begun: bool) -> str:
    """An answer that nobody began cannot be incomplete."""
    word = error.word if isinstance(error, Broken) else "connection_terminated"
    return "connection_terminated" if word == "http_response_incomplete" and not begun else word
