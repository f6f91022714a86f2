"""Fields of HTTP/2 messages: a request's on their way out, an answer's judged by RFC 9113 8.2 and 8.3.

The framing library is told not to look at an answer's fields: what it finds wrong ends the connection and with
it every other caller's exchange, while RFC 9113 8.1.1 asks for an error of the one stream. Pure.
"""

from __future__ import annotations

import re

import httpcore2

from upstreams.transport import Headers

CONNECTION_SPECIFIC = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
"""RFC 9113 8.2.2: no message holds them."""
_NOT_SENT = CONNECTION_SPECIFIC | {b"host", b"te", b"http2-settings", b"proxy-authorization"}
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_SPLITTING = re.compile(rb"[\r\n\0]")
_NOT_IN_TARGET = re.compile(rb"[\x00-\x20\x7f]")
_LENGTH = re.compile(rb"[0-9]{1,18}")


class Malformed(Exception):
    """An answer that RFC 9113 8.1.1 calls malformed: nothing of it may be passed on."""


def request_fields(request: httpcore2.Request) -> Headers:
    """``request`` as HTTP/2 says it, pseudo-header fields first. Raises ``LocalProtocolError`` for what would lie."""
    hosts = [value for name, value in request.headers if name.lower() == b"host"]
    target = request.url.target
    if len(hosts) != 1 or not _TOKEN.fullmatch(request.method) or _NOT_IN_TARGET.search(target):
        raise httpcore2.LocalProtocolError("a method, a target or a Host that cannot be sent")
    lines = [
        (b":method", request.method),
        (b":scheme", request.url.scheme),
        (b":authority", hosts[0]),
        (b":path", target),
    ]
    lines += [(name.lower(), value) for name, value in request.headers if name.lower() not in _NOT_SENT]
    if any(_SPLITTING.search(value) for _, value in lines):
        raise httpcore2.LocalProtocolError("a value that would become a second line where it is passed on")
    if not all(_TOKEN.fullmatch(name) for name, _ in lines[4:]):
        raise httpcore2.LocalProtocolError("a field name that is no token")
    return lines


def content_expected(request: httpcore2.Request) -> tuple[bool, int | None]:
    """Whether content follows the fields of ``request``, and its announced length."""
    for name, value in request.headers:
        if name.lower() == b"content-length":
            return int(value) > 0, int(value)
        if name.lower() == b"transfer-encoding":
            return True, None
    return False, None


def final_head(lines: Headers) -> tuple[int, Headers]:
    """The status and the fields of an answer. Raises ``Malformed``."""
    fields = checked(lines)
    pseudo = lines[: len(lines) - len(fields)]
    if len(pseudo) != 1 or pseudo[0][0] != b":status":
        raise Malformed("pseudo-header fields other than one :status (8.3.2)")
    status = pseudo[0][1]
    if len(status) != 3 or not status.isdigit() or status == b"101":
        raise Malformed("a :status that is no status here (8.3.2, 8.6)")
    return int(status), fields


def checked(lines: Headers) -> Headers:
    """The fields of ``lines`` behind their pseudo-header fields. Raises ``Malformed``."""
    begin = next((number for number, (name, _) in enumerate(lines) if not name.startswith(b":")), len(lines))
    fields = lines[begin:]
    for name, value in fields:
        if not _NAME.fullmatch(name):
            raise Malformed("a field name in upper case, no token, or a late pseudo-header field (8.2, 8.3)")
        if name in CONNECTION_SPECIFIC:
            raise Malformed("a connection-specific field (8.2.2)")
        if _SPLITTING.search(value) or value != value.strip(b" \t"):
            raise Malformed("a value with a line break, NUL or surrounding space (8.2.1)")
    return fields


def announced(fields: Headers) -> int | None:
    """The length of the content that ``fields`` announce. Raises ``Malformed``."""
    lengths = [value for name, value in fields if name == b"content-length"]
    if not lengths:
        return None
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise Malformed("a Content-Length that is no length")
    return int(lengths[0])
