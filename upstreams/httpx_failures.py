"""What failed in the httpx engine, as one table: the library's exceptions to ``TransportError``.

The codes are rows of ``policies.errors``, the words are proxy errors of RFC 9209 2.3. Nothing here does I/O.
"""

from __future__ import annotations

import ssl

import h11
import httpcore2
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError as H2ProtocolError

from policies.errors import Phase
from upstreams.transport import TransportError


class Unreachable(httpcore2.ConnectError):
    """A ``TransportError`` on its way through the library, which lets its own exceptions pass."""

    def __init__(self, error: TransportError) -> None:
        super().__init__(error.text)
        self.error = error


class Broken(httpcore2.RemoteProtocolError):
    """What ended an HTTP/2 exchange, as its RFC 9209 word.

    ``unprocessed``: the upstream says that it did nothing with the request (RFC 9113 8.7); ``lost``: the
    connection ended before anything of the answer came.
    """

    def __init__(self, text: str, word: str, *, unprocessed: bool = False, lost: bool = False) -> None:
        super().__init__(text)
        self.word = word
        self.unprocessed = unprocessed
        self.lost = lost


_VIOLATIONS = frozenset(
    (
        ErrorCodes.PROTOCOL_ERROR, ErrorCodes.FLOW_CONTROL_ERROR, ErrorCodes.SETTINGS_TIMEOUT,
        ErrorCodes.STREAM_CLOSED, ErrorCodes.FRAME_SIZE_ERROR, ErrorCodes.COMPRESSION_ERROR,
        ErrorCodes.INADEQUATE_SECURITY, ErrorCodes.HTTP_1_1_REQUIRED,
    )
)  # fmt: skip
"""RFC 9113 7: codes that say the two sides do not agree on the protocol."""


def reset(code: int, *, begun: bool, answered: bool) -> Broken:
    """An exchange that the upstream ended by RST_STREAM with ``code``; ``begun``: behind the final head."""
    text = f"the upstream reset the stream with code {code}"
    if begun:
        return Broken(text, "http_response_incomplete")
    if code == ErrorCodes.REFUSED_STREAM and not answered:
        return Broken(text, "connection_terminated", unprocessed=True)
    return Broken(text, "http_protocol_error" if code in _VIOLATIONS else "connection_terminated")


FOREIGN = (
    Unreachable,
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    h11.LocalProtocolError,
    H2ProtocolError,
    ssl.SSLError,
    TimeoutError,
)
"""Everything below us that means the call failed; whatever else is raised is a bug or the caller's own."""

_TABLE: tuple[tuple[type[Exception], str, str], ...] = (
    (httpcore2.PoolTimeout, "upstream-pool", "connection_limit_reached"),
    (httpcore2.ConnectTimeout, "upstream-timeout", "connection_timeout"),
    (httpcore2.WriteTimeout, "upstream-timeout", "connection_write_timeout"),
    (httpcore2.ReadTimeout, "upstream-timeout", "connection_read_timeout"),
    (httpcore2.ReadError, "upstream-protocol", "connection_terminated"),
    (httpcore2.WriteError, "upstream-protocol", "connection_terminated"),
    (httpcore2.ConnectError, "upstream-connect", "destination_unavailable"),
    (httpcore2.LocalProtocolError, "bad-request", "http_request_error"),
    (h11.LocalProtocolError, "bad-request", "http_request_error"),
    (H2ProtocolError, "bad-request", "http_request_error"),
    (httpcore2.RemoteProtocolError, "upstream-protocol", "http_protocol_error"),
    (ssl.SSLError, "upstream-tls", "tls_protocol_error"),
)

_TIMEOUT_WORDS: dict[Phase, str] = {
    "upstream_connect": "connection_timeout",
    "upstream_wait": "http_response_timeout",
    "upstream_body": "connection_read_timeout",
}


def failure(error: Exception, *, phase: Phase, sent: bool, answered: bool) -> TransportError:
    """The one mapping of a foreign error to ours; ``answered``: a byte of the answer had come."""
    if isinstance(error, Unreachable):
        return error.error
    code, word = _classified(error, phase, answered)
    return TransportError(code, proxy_error=word, phase=phase, sent=sent, text=f"{type(error).__name__}: {error}")


def _classified(error: Exception, phase: Phase, answered: bool) -> tuple[str, str]:
    if isinstance(error, TimeoutError):
        return "upstream-timeout", _TIMEOUT_WORDS[phase]
    if isinstance(error, Broken):
        return "upstream-protocol", error.word
    if isinstance(error, httpcore2.RemoteProtocolError):
        if phase == "upstream_body" and answered and "complete" in str(error):
            return "upstream-protocol", "http_response_incomplete"
        if not answered:
            return "upstream-protocol", "connection_terminated"
    return next(
        ((code, word) for kind, code, word in _TABLE if isinstance(error, kind)), ("internal", "proxy_internal_error")
    )
