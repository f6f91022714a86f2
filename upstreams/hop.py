"""Header hygiene between two connections: what must not cross, what we add, what we make of a Retry-After.

Pure: lists of raw lines in, lists of raw lines out. Nothing here sends, waits or knows a policy. Sources:
RFC 9110 7.6 (rules P-1 to P-35 of spec http.md), RFC 7239 (F-1 to F-7), RULINGS 8 and 14.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from policies.errors import GatewayError
from upstreams.transport import Headers, TransportError

HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te",
     b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings", b"proxy-authentication-info")
)  # fmt: skip
"""Fields of one connection, stripped even when ``Connection`` does not name them (P-2, P-5, P-18)."""

_REPLACED = frozenset((b"host", b"content-length", b"x-request-id", b"via", b"max-forwards"))
_FORWARDING = frozenset((b"forwarded", b"x-real-ip"))
_REWRITTEN = frozenset((b"forwarded", b"x-forwarded-for"))
_BODILESS = frozenset((204, 205, 304))
_ILLEGAL = (b"\r", b"\n", b"\x00")
MAX_WAIT_S = 2_678_400
"""A stated wait beyond 31 days is not believed (spec throttling N6)."""
UNKNOWN_WAIT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """What one forwarded request is given on its way.

    ``authority`` is the upstream's Host; ``pseudonym`` ours in ``Via``, one per instance; ``received`` the
    protocol version it came by; ``peer`` the
    address of the connection it came on, None where it must not be told (F-7, third-party upstreams);
    ``host`` and ``scheme`` what the caller asked for; ``trusted`` whether the peer's own ``Forwarded`` and
    ``X-Forwarded-*`` are believed; ``trace`` replaces the caller's trace fields, None lets them through;
    ``upstream_headers`` are set over everything.
    """

    authority: bytes
    pseudonym: bytes
    received: bytes
    peer: str | None
    host: bytes
    scheme: str
    trusted: bool
    request_id: bytes
    trace: tuple[tuple[bytes, bytes], ...] | None = None
    upstream_headers: tuple[tuple[bytes, bytes], ...] = ()


def outbound_request(headers: Iterable[tuple[bytes, bytes]], passage: Passage) -> Headers:
    """The field lines to send upstream, Host first, without framing.

    Strips first and adds afterwards, so that a caller cannot delete one of ours by naming it in
    ``Connection`` (P-3). Raises ``GatewayError``: ``bad-request`` for an illegal value (P-8),
    ``upstream-loop`` when our pseudonym is already in ``Via`` (P-9, P-10).
    """
    lines = list(headers)
    _refuse_illegal(lines)
    via = [value for name, value in lines if name == b"via"]
    if passage.pseudonym.lower() in _received_by(via):
        raise GatewayError("upstream-loop", cause_text="own pseudonym in Via")
    named = _named_by_connection(lines)
    kept = [(name, value) for name, value in lines if name not in named and _passes(name, value, passage)]
    added = _added(lines, via, passage)
    ours = {name for name, _ in passage.upstream_headers}
    return [
        *((b"host", passage.authority),) * (b"host" not in ours),
        *(pair for pair in (*kept, *added) if pair[0] not in ours),
        *passage.upstream_headers,
    ]


def _passes(name: bytes, value: bytes, passage: Passage) -> bool:
    if name in HOP_BY_HOP or name in _REPLACED:
        return False
    if name == b"expect":
        return value.strip().lower() != b"100-continue"  # the server in front of us has answered it (P-19)
    if name in (b"traceparent", b"tracestate"):
        return passage.trace is None
    if name in _FORWARDING or name.startswith(b"x-forwarded"):
        return passage.trusted and passage.peer is not None and name not in _REWRITTEN
    return True


def _added(lines: Headers, via: list[bytes], passage: Passage) -> Headers:
    believed = passage.trusted and passage.peer is not None
    earlier = [value for name, value in lines if name == b"forwarded"] if believed else []
    bare = [value for name, value in lines if name == b"x-forwarded-for"] if believed else []
    forwards = max_forwards(lines)
    return [
        *([(b"max-forwards", b"%d" % (forwards - 1))] if forwards else []),
        (b"via", b", ".join((*via, passage.received + b" " + passage.pseudonym))),
        (b"forwarded", b", ".join((*earlier, forwarded_element(passage)))),
        # bare addresses, without brackets (F-5)
        *((b"x-forwarded-for", b", ".join((*bare, (passage.peer or "").encode("ascii")))),) * bool(bare),
        (b"x-request-id", passage.request_id),
        *(passage.trace or ()),
    ]


def forwarded_element(passage: Passage) -> bytes:
    """Our element of ``Forwarded`` (F-1 to F-4). Without a ``peer`` neither the caller nor its Host is told (F-7)."""
    proto = b"proto=" + passage.scheme.encode("ascii")
    if passage.peer is None:
        return proto
    return b"for=%b;host=%b;%b" % (_node(passage.peer), _quoted(passage.host), proto)


def _node(address: str) -> bytes:
    address = address.partition("%")[0]  # a zone means nothing elsewhere
    if not address:
        return b"unknown"
    # an IPv6 node is bracketed and, because of its colons, quoted (F-3)
    return b'"[%b]"' % address.encode("ascii") if ":" in address else address.encode("ascii")


def _quoted(value: bytes) -> bytes:
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def max_forwards(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """How often the request may still be forwarded; None when it does not say so readably (P-11)."""
    for name, value in headers:
        if name == b"max-forwards" and value.isdigit() and len(value) < 10:
            return int(value)
    return None


def _received_by(via: list[bytes]) -> set[bytes]:
    """The pseudonyms of all ``Via`` members, lower case (RFC 9110 7.6.3)."""
    members = (member.split() for value in via for member in value.split(b","))
    return {parts[1].lower() for parts in members if len(parts) > 1}


def _named_by_connection(lines: Headers) -> set[bytes]:
    values = (value for name, value in lines if name == b"connection")
    return {option.strip().lower() for value in values for option in value.split(b",")}


def _refuse_illegal(lines: Headers) -> None:
    if any(octet in value for _, value in lines for octet in _ILLEGAL):
        raise GatewayError("bad-request", "a header value holds CR, LF or NUL")


def inbound_response(status: int, headers: Iterable[tuple[bytes, bytes]], *, pseudonym: bytes, now_s: int) -> Headers:
    """The field lines to pass to the caller. Raises ``TransportError`` ``upstream-protocol`` for an illegal value.

    The limit fields of an upstream never pass as they are: ``RateLimit*`` is dropped, ``Retry-After``
    follows RULINGS 14. Framing stays the server's: ``Content-Length`` passes where a body may.
    """
    lines = [(name.lower(), value) for name, value in headers]
    if any(octet in value for _, value in lines for octet in _ILLEGAL):
        raise TransportError("upstream-protocol", proxy_error="http_protocol_error", phase="upstream_wait", sent=True)
    dropped = _named_by_connection(lines) | HOP_BY_HOP | {b"via", b"retry-after"}
    if status in _BODILESS:
        dropped.add(b"content-length")  # P-22, P-23; one server would wait for the announced body
    kept = [(name, value) for name, value in lines if name not in dropped and not name.startswith(b"ratelimit")]
    via = [value for name, value in lines if name == b"via"]
    kept.append((b"via", b", ".join((*via, b"1.1 " + pseudonym))))
    wait_s = retry_after_s(status, lines, now_s)
    if wait_s is not None:
        kept.append((b"retry-after", b"%d" % wait_s))
    return kept


def retry_after_s(status: int, lines: Headers, now_s: int) -> int | None:
    """The ``Retry-After`` to emit for an upstream's, in seconds, or None for none (RULINGS 14).

    Nothing on 2xx; at least 1 on every 429, a minute where the upstream does not say; elsewhere what was
    said, as an integer, if it can be read.
    """
    if 200 <= status < 300:
        return None
    stated = [_wait_s(value.strip(), now_s) for name, value in lines if name == b"retry-after"]
    known = [wait for wait in stated if wait is not None]
    if status == 429:
        return max((1, *known)) if known else UNKNOWN_WAIT_S
    return max(known) if known else None


def _wait_s(value: bytes, now_s: int) -> int | None:
    """Seconds from a delay, also a fractional one (RA-5), or an HTTP-date (RA-3)."""
    whole, dot, fraction = value.partition(b".")
    if whole.isdigit() and (not dot or fraction.isdigit()):
        wait = int(whole[:12]) + bool(fraction.strip(b"0"))
    else:
        try:
            wait = max(0, int(parsedate_to_datetime(value.decode("latin-1")).timestamp()) - now_s)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return wait if wait <= MAX_WAIT_S else None
