"""What failed in the httpx engine, as one table: the library's exceptions to ``TransportError``.

The codes are rows of ``policies.errors``, the words are proxy errors of RFC 9209 2.3. Nothing here does I/O.
"""

from __future__ import annotations

import ssl

import h11
import httpcore2

from policies.errors import Phase
from upstreams.transport import TransportError


class Unreachable(httpcore2.ConnectError):
    """A ``TransportError`` on its way through the library, which lets its own exceptions pass."""

    def __init__(self, error: TransportError) -> None:
        super().__init__(error.text)
        self.error = error


FOREIGN = (
    Unreachable,
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    h11.LocalProtocolError,
    ssl.SSLError,
    TimeoutError,
)
"""Everything below us that means the call failed; whatever else is raised is a bug or the caller's own."""

_TABLE: tuple[tuple[type[Exception], str, str], ...] = (
    (httpcore2.ConnectTimeout, "upstream-timeout", "connection_timeout"),
    (httpcore2.WriteTimeout, "upstream-timeout", "connection_write_timeout"),
    (httpcore2.ReadTimeout, "upstream-timeout", "connection_read_timeout"),
    (httpcore2.ReadError, "upstream-protocol", "connection_terminated"),
    (httpcore2.WriteError, "upstream-protocol", "connection_terminated"),
    (httpcore2.ConnectError, "upstream-connect", "destination_unavailable"),
    (httpcore2.LocalProtocolError, "bad-request", "http_request_error"),
    (h11.LocalProtocolError, "bad-request", "http_request_error"),
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
    if isinstance(error, httpcore2.RemoteProtocolError):
        if phase == "upstream_body" and answered and "complete" in str(error):
            return "upstream-protocol", "http_response_incomplete"
        if not answered:
            return "upstream-protocol", "connection_terminated"
    return next(
        ((code, word) for kind, code, word in _TABLE if isinstance(error, kind)), ("internal", "proxy_internal_error")
    )
