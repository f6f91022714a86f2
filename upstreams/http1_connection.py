"""One HTTP/1.1 connection to an upstream: the bytes of a request out, exactly one answer in, never guessed at.

httptools reads the grammar; what it lets pass and RFC 9112 does not is refused here (RULINGS 17). A fault ends
the connection, and the call on it unless its answer was already whole. Nothing here dials, waits for a slot,
repeats a request or knows a policy: that is ``http1``. Times are seconds of the loop's clock.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import httptools

from policies.errors import Phase
from upstreams.egress import untrusted
from upstreams.http1_answer import Answer
from upstreams.transport import Headers, TransportError, endless

LARGEST_HEAD = 65_536
MOST_FIELDS = 100
LARGEST_SILENCE = 65_536
"""Octets of a body in a row that are no content: chunk extensions and trailers."""
NEVER = float("inf")
VERSIONS = frozenset(("1.1", "1.0"))
OPENING = b"HTTP/"
_FRAMING = frozenset((b"content-length", b"transfer-encoding", b"connection"))
BLANKS = b" \t"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds for each step of a call."""

    write: float
    first_byte: float
    idle: float


class _Fault(Exception):
    """The answer breaks RFC 9112 in a way that the parser lets pass."""


class Connection(asyncio.Protocol):
    """One connection and the call on it. ``expires`` is the deadline that the pool's sweep enforces.

    ``freed`` is called when an answer is whole and the connection can carry another call, ``lost`` once when
    it cannot any more. ``heard``: a byte of the answer to the call under way has come. ``upgrade``: the call asks
    for another protocol, and once the answer is 101 every octet behind it is the caller's.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, freed: Callable[[Connection], None], lost: Callable[[Connection], None]
    ) -> None:
        self._loop = loop
        self._freed = freed
        self._lost = lost
        self._transport: Any = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._drained: asyncio.Future[None] | None = None
        self._writing_paused = False
        self._reading_paused = False
        self.born = self.idle_since = loop.time()
        self.expires = NEVER
        self.used = False
        self.heard = False
        self.closed = False
        self.upgrade = self._switched = False
        self._ended: TransportError | None = None
        self._phase: Phase = "upstream_wait"

    # The call's side

    def begin(self, method: bytes, data: bytes, whole: bool, deadlines: Deadlines, total_at: float) -> Answer:
        """Send ``data``, the beginning of a request or, when ``whole``, all of it; the answer's head is a future."""
        answer = self._answer = Answer(self, method, self._loop.create_future())
        self._headers: Headers = []
        self._phase = "upstream_wait"
        self._deadlines = deadlines
        self._total_at = total_at
        self._head_size = 0
        self._silence = self._trailers = 0
        self._sent_whole = self.heard = self._interim = self._surplus = self._keep = False
        self._sized = self._chunked = self._closing = self._until_close = False
        self.expires = total_at
        if self.closed:
            answer.fail(self._ended or self._error("upstream-protocol", "connection_terminated", "closed"))
            return answer
        self._transport.write(data)
        if whole:
            self.sent()
        return answer

    def sent(self) -> None:
        """The whole request is out: the wait for the first byte begins."""
        self._sent_whole = True
        if self._phase == "upstream_wait":
            self.expires = min(self._total_at, self._loop.time() + self._deadlines.first_byte)

    async def send(self, data: bytes) -> None:
        """Send more of the request, at the upstream's pace. After the connection's end it does nothing."""
        if self.closed:
            return
        self._transport.write(data)
        if self._writing_paused:
            self._drained = self._loop.create_future()
            self.expires = min(self._total_at, self._loop.time() + self._deadlines.write)
            try:
                await self._drained
            finally:
                self._drained = None
                self.expires = self._total_at

    def awaited(self) -> None:
        """The caller has read everything there is and waits for more."""
        if self._drained is None:  # else the deadline of the write stands, whatever is read meanwhile
            self.expires = min(self._total_at, self._loop.time() + self._deadlines.idle)

    def resume(self) -> None:
        """The caller has caught up: the upstream may go on."""
        if self._reading_paused and not self.closed:
            self._reading_paused = False
            self._transport.resume_reading()

    def expire(self) -> None:
        """The deadline has passed."""
        if self._drained is not None:
            word = "connection_write_timeout"
        else:
            word = "http_response_timeout" if self._phase == "upstream_wait" else "connection_read_timeout"
        self.fail(self._error("upstream-timeout", word, "no progress in time"))

    def fail(self, error: BaseException) -> None:
        """End the call with ``error``, and the connection."""
        if self._answer is not None:
            self._answer.fail(error)
        self.abort()

    def abort(self) -> None:
        """End the connection at once. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self.expires = NEVER
        self._answer = None
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._transport is not None:
            self._transport.abort()
        self._lost(self)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            # Whatever it is, nobody asked (RULINGS 17).
            self._ended = self._error("upstream-protocol", "http_protocol_error", "an answer to nothing")
            self.abort()
            return
        if not self.heard:
            self.heard = True
            if not self._sent_whole:
                self.expires = min(self._total_at, self._loop.time() + self._deadlines.first_byte)
        try:
            if answer.status:
                self._read_body(answer, data)
            else:
                self._read_head(answer, data)
        except (_Fault, httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._switched and isinstance(error, httptools.HttpParserUpgrade):
                self._switch(answer, data[error.args[0] :])
                return
            if not answer.complete:
                self.fail(self._error("upstream-protocol", "http_protocol_error", str(error.__context__ or error)))
                return
            self._surplus = True
        if answer.complete:
            self._surplus = self._surplus or self._trails(data, answer)
            self._end(answer)
        elif answer.status:
            self._go_on(answer)

    def eof_received(self) -> None:
        answer = self._answer
        cut = None if self._closed_properly() else ssl.SSLEOFError("the TLS stream ended without notice")
        if answer is not None and answer.status and self._until_close and cut is None:
            answer.finish()
            self._end(answer)
        else:
            self._cut(cut)

    def connection_lost(self, error: Exception | None) -> None:
        self._cut(error)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # httptools

    def on_message_begin(self) -> None:
        answer = self._answer
        if answer is None or answer.complete:
            self._surplus = True
        elif answer.status == 0:
            self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase == "upstream_body":
            self._trailer(len(name) + len(value))
            return
        name, raw, value = name.lower(), value, value.rstrip(BLANKS)
        self._headers.append((name, value))
        if name in _FRAMING:
            if name == b"content-length":
                self._sized = True
            elif name == b"connection":
                self._closing = self._closing or b"close" in [option.strip() for option in value.lower().split(b",")]
            elif self._chunked or raw.lower() != b"chunked":  # the parser takes no other for it
                raise _Fault("a transfer coding other than one final chunked")
            else:
                self._chunked = True

    def on_headers_complete(self) -> None:
        answer, parser = self._answer, self._parser
        if answer is None or answer.complete:
            return
        status, version = parser.get_status_code(), parser.get_http_version()
        if version not in VERSIONS:
            raise _Fault("an HTTP version that is neither 1.0 nor 1.1")
        if self._chunked and version == "1.0":
            raise _Fault("transfer coding in HTTP/1.0")
        if len(self._headers) > MOST_FIELDS:
            raise _Fault(f"more than {MOST_FIELDS} header fields")
        if 100 <= status < 200:
            self._interrupt(status, answer if self.upgrade and version == "1.1" else None)
            return
        if not 200 <= status <= 599:
            raise _Fault("a status outside 100-599")
        answer.status, answer.headers = status, self._headers
        self._phase = "upstream_body"
        if answer.method == b"HEAD":
            self._keep = version == "1.1"
            answer.finish()
        elif not (self._sized or self._chunked) and status not in (204, 304):
            self._until_close = True

    def on_status(self, reason: bytes) -> None:
        if b"\0" in reason:
            raise _Fault("NUL in the reason phrase")

    def on_body(self, chunk: bytes) -> None:
        answer = self._answer
        if answer is None or answer.complete:
            self._surplus = True
        else:
            self._silence = 0
            answer.add(chunk)

    def on_message_complete(self) -> None:
        answer = self._answer
        if self._interim:
            self._interim = False
        elif answer is not None and not answer.complete:
            self._keep = self._parser.should_keep_alive()
            answer.finish()

    # Steps

    def _trails(self, data: bytes, answer: Answer) -> bool:
        """Whether a line end follows the answer, which the parser skips without a word."""
        if self._sized and answer.last:
            return not data.endswith(answer.last)
        return data.endswith(b"\r\n\r\n\r\n")

    def _trailer(self, size: int) -> None:
        """Trailers are not passed on (P-16), and not read for ever."""
        self._silence += size
        self._trailers += 1
        if self._silence > LARGEST_SILENCE or self._trailers > MOST_FIELDS:
            raise _Fault("trailers without an end")

    def _read_head(self, answer: Answer, data: bytes) -> None:
        if self._head_size < len(OPENING):
            seen = data[: len(OPENING)]
            if not OPENING.startswith(seen[: len(OPENING) - self._head_size], self._head_size):
                raise _Fault("no HTTP answer")
        room = LARGEST_HEAD - self._head_size
        self._head_size += len(data)
        if len(data) <= room:
            self._parser.feed_data(data)
        else:
            self._parser.feed_data(data[:room])
            if not answer.status:
                raise _Fault(f"a head of more than {LARGEST_HEAD} octets")
            self._parser.feed_data(data[room:])

    def _read_body(self, answer: Answer, data: bytes) -> None:
        if self._switched:
            answer.add(data)
            return
        self._silence += len(data)
        self._parser.feed_data(data)
        if self._chunked and self._silence > LARGEST_SILENCE and not answer.complete:
            raise _Fault("chunk extensions or trailers without an end")

    def _interrupt(self, status: int, asked: Answer | None) -> None:
        """An interim answer: not passed on (P-20); their number is bounded by the size of all heads together.

        A 101 to a call that ``asked`` for it is final, and no message of this protocol follows.
        """
        self._interim = True
        if status == 101:
            if asked is None:
                raise _Fault("a switch of protocols that nobody asked for")
            asked.status, asked.headers = status, self._headers
            self._phase, self._switched = "upstream_body", True
        self._sized = self._chunked = self._closing = False

    def _switch(self, answer: Answer, data: bytes) -> None:
        """Another protocol begins with ``data``; silence and its end are the caller's to judge from here on."""
        self._until_close = True
        self._total_at = self.expires = NEVER
        self._deadlines = replace(self._deadlines, idle=NEVER)
        if data:
            answer.add(data)
        self._go_on(answer)

    def _go_on(self, answer: Answer) -> None:
        """The head is here and the content still coming."""
        if not answer.head.done():
            if endless(answer.headers):
                self._total_at = NEVER
            answer.begin()
        if not answer.awaited and self._drained is None:  # else the wait goes on: framing alone is no progress
            self.expires = self._total_at
        if answer.full and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def _end(self, answer: Answer) -> None:
        """The answer is whole: the connection carries the next call, or ends."""
        answer.begin()
        self._answer = None
        self.expires = NEVER
        self.used = True
        if not self._keep or self._closing or self._surplus or not self._sent_whole or self.closed:
            self.abort()
            return
        if answer.method == b"HEAD":
            self._parser = httptools.HttpResponseParser(self)  # the old one may expect the content that was announced
        self.resume()
        self.idle_since = self._loop.time()
        self._freed(self)

    def _cut(self, error: Exception | None) -> None:
        """The upstream closed, or reset, before the answer was whole."""
        if not self.closed:
            self._ended = self._why_cut(error)
            self.fail(self._ended)

    def _why_cut(self, error: Exception | None) -> TransportError:
        tls = isinstance(error, ssl.SSLError)
        if tls and not (self.heard or self.used):
            return untrusted(error)  # TLS 1.3 tells of an unwanted client certificate only now
        incomplete = self._phase == "upstream_body" and (error is None or tls)
        word = "http_response_incomplete" if incomplete else "connection_terminated"
        return self._error("upstream-protocol", word, str(error or "closed by the upstream"))

    def _closed_properly(self) -> bool:
        """Whether the end of a TLS stream was announced: anybody can forge a bare end (RFC 8446 6.1)."""
        tls = self._transport.get_extra_info("ssl_object")
        if tls is None:
            return True
        try:
            return not tls.read(1)
        except ssl.SSLZeroReturnError:
            return True
        except ssl.SSLError:
            return False

    def _error(self, code: str, word: str, text: str) -> TransportError:
        return TransportError(code, proxy_error=word, phase=self._phase, sent=True, text=text)
