"""Header hygiene between two connections: what must not cross, what we add.

Pure: lists of raw lines in, lists of raw lines out. Nothing here sends, waits or knows a policy. Sources:
RFC 9110 7.6 (rules P-1 to P-35 of spec http.md), RFC 7239 (F-1 to F-7), RULINGS 8 and 14. What a field says of an
upstream's limits is for ``upstreams.throttle``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from policies.errors import GatewayError
from policies.plan import Onward
from upstreams.names import KnownNames
from upstreams.throttle import Reader
from upstreams.transport import BODILESS, Headers

HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te",
     b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings", b"proxy-authentication-info")
)  # fmt: skip
"""Fields of one connection, stripped even when ``Connection`` does not name them (P-2, P-5, P-18)."""

_REPLACED = frozenset((b"host", b"content-length", b"x-request-id", b"via", b"max-forwards"))
_REWRITTEN = frozenset((b"forwarded", b"x-forwarded-for"))
_TRACE = frozenset((b"traceparent", b"tracestate"))
_LOOKED_AT = HOP_BY_HOP | _REPLACED | _REWRITTEN | _TRACE | {b"expect", b"x-real-ip"}
"""Names of a request that need a second look; ``x-forwarded-*`` does too, every other field simply passes."""
_DROPPED = (HOP_BY_HOP - {b"connection"}) | {b"host", b"content-length", b"x-request-id"}
"""Those of a request that never pass, whatever they say."""
_DROPPED_OR_REPLACED = _DROPPED | _TRACE
_DROPPED_BACK = (HOP_BY_HOP - {b"connection"}) | {b"x-request-id"}
"""Those of an answer."""
_X_FORWARDED = b"x-forwarded"
_HARMLESS = frozenset((b"keep-alive", b"close"))
"""Connection options that name no field."""
_NOT_PASSED = HOP_BY_HOP | {b"via", b"x-request-id"}
_ordinary = KnownNames()
"""Names of requests that were found to need no second look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduction:
    """What an upstream is told of a connection's requests; the same for all that ask for the same host.

    ``pseudonym`` is ours in ``Via``, one per instance; ``peer`` the address of the connection's other end, None where
    it must not be told (F-7, third-party upstreams); ``trusted`` whether the peer's own ``Forwarded`` and
    ``X-Forwarded-*`` are believed; ``via`` and ``forwarded`` our members of those fields.
    """

    pseudonym: bytes
    peer: str | None
    trusted: bool
    via: bytes
    forwarded: bytes


def introduction(
    *, pseudonym: bytes, received: bytes, peer: str | None, host: bytes, scheme: bytes, trusted: bool
) -> Introduction:
    """``received`` is the protocol version of the requests; ``host`` and ``scheme`` what they asked for."""
    return Introduction(
        pseudonym=pseudonym,
        peer=peer,
        trusted=trusted,
        via=received + b" " + pseudonym,
        forwarded=forwarded_element(peer, host, scheme),
    )


def outbound_request(
    headers: Headers, onward: Onward, introduction: Introduction, request_id: bytes, trace: Headers | None = None
) -> Headers:
    """The field lines to send upstream, Host first, without framing.

    ``trace`` replaces the caller's trace fields, None lets them through. Strips first and adds afterwards, so that
    a caller cannot delete one of ours by naming it in ``Connection`` (P-3). Raises ``GatewayError``
    ``upstream-loop`` when our pseudonym is already in ``Via`` (P-9, P-10). What no value may hold (P-8) is the
    engines' to refuse.
    """
    owned = onward.owned
    ordinary: Headers = []
    special: Headers = []
    for pair in headers:
        (ordinary if pair[0] in _ordinary else special).append(pair)
    via, forwarded = introduction.via, introduction.forwarded
    if not _none_passes(special, _DROPPED if trace is None else _DROPPED_OR_REPLACED):
        ordinary, via, forwarded = _look_at_each(headers, introduction, trace)
    added = [(b"via", via), (b"forwarded", forwarded), (b"x-request-id", request_id)]
    if trace is not None:
        added += trace
    if not owned:
        return [(b"host", onward.authority), *ordinary, *added]
    lines = [(b"host", onward.authority), *ordinary, *added]
    return [*(pair for pair in lines if pair[0] not in owned), *onward.headers]


def _none_passes(special: Headers, dropped: frozenset[bytes]) -> bool:
    """Whether all of these lines are ``dropped`` and name no field and say nothing: nearly always."""
    for name, value in special:
        if name not in dropped and (name != b"connection" or value.lower() not in _HARMLESS):
            return False
    return True


def _look_at_each(headers: Headers, introduction: Introduction, trace: Headers | None) -> tuple[Headers, bytes, bytes]:
    """What of ``headers`` goes on; ``via`` and ``forwarded`` appended to what came."""
    looked_at: Headers = []
    others: Headers = []
    for pair in headers:
        if pair[0] in _LOOKED_AT or pair[0].startswith(_X_FORWARDED):
            looked_at.append(pair)
        else:
            others.append(pair)
            _ordinary.learn(pair[0])
    named = _named_by_connection(looked_at)
    lines = [pair for pair in others if pair[0] not in named]
    lines += [pair for pair in looked_at if pair[0] not in named and _passes(*pair, introduction, trace)]
    via, forwarded = introduction.via, introduction.forwarded
    received = [value for name, value in looked_at if name == b"via"]
    if received:
        if introduction.pseudonym.lower() in _received_by(received):
            raise GatewayError("upstream-loop", cause_text="own pseudonym in Via")
        via = b", ".join((*received, via))
    forwards = max_forwards(looked_at)
    if forwards:
        lines.append((b"max-forwards", b"%d" % (forwards - 1)))
    if introduction.trusted and introduction.peer is not None:
        forwarded = b", ".join((*(value for name, value in looked_at if name == b"forwarded"), forwarded))
        bare = [value for name, value in looked_at if name == b"x-forwarded-for"]
        if bare:  # bare addresses, without brackets (F-5)
            lines.append((b"x-forwarded-for", b", ".join((*bare, introduction.peer.encode("ascii")))))
    return lines, via, forwarded


def _passes(name: bytes, value: bytes, introduction: Introduction, trace: Headers | None) -> bool:
    """Whether a field that needed a second look goes on as it came."""
    if name in HOP_BY_HOP or name in _REPLACED or name in _REWRITTEN:
        return False
    if name == b"expect":
        return value.strip().lower() != b"100-continue"  # the server in front of us has answered it (P-19)
    if name in _TRACE:
        return trace is None
    return introduction.trusted and introduction.peer is not None


def forwarded_element(peer: str | None, host: bytes, scheme: bytes) -> bytes:
    """Our element of ``Forwarded`` (F-1 to F-4). Without a ``peer`` neither the caller nor its Host is told (F-7)."""
    if peer is None:
        return b"proto=" + scheme
    return b"for=%b;host=%b;proto=%b" % (_node(peer), _quoted(host), scheme)


def _node(address: str) -> bytes:
    if not address:
        return b"unknown"
    if ":" not in address:
        return address.encode("ascii")
    # an IPv6 node is bracketed and, because of its colons, quoted (F-3); a zone means nothing elsewhere
    return b'"[%b]"' % address.partition("%")[0].encode("ascii")


def _quoted(value: bytes) -> bytes:
    if b'"' in value or b"\\" in value:
        value = value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'"%b"' % value


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
    values = [value.lower() for name, value in lines if name == b"connection"]
    if len(values) == 1 and values[0] in _HARMLESS:
        return set()
    return {option.strip() for value in values for option in value.split(b",")}


def inbound_response(
    status: int, headers: Headers, via: bytes, reader: Reader, *, native: bool = False
) -> tuple[Headers, bool]:
    """The field lines to pass to the caller, and whether ``reader`` should look at what came; names in lower case.

    The limit fields of an upstream never pass as they are: ``reader`` says which pass at all (E2), ``native`` to a
    caller that speaks the vendor's dialect, and ``Retry-After`` is written anew. Framing stays the server's:
    ``Content-Length`` passes where a body may. ``via`` is our member of that field.
    """
    ordinary = reader.ordinary
    kept: Headers = []
    held: Headers = []
    for pair in headers:
        (kept if pair[0] in ordinary else held).append(pair)
    telling = False
    if not _none_passes(held, _DROPPED_BACK):
        named = _named_by_connection(held)
        kept, telling = _sorted_out(headers, named, reader, native=native)
        via = b", ".join((*(value for name, value in held if name == b"via"), via))
    if status in BODILESS:  # P-22, P-23; one server would wait for the announced body
        kept = [pair for pair in kept if pair[0] != b"content-length"]
    kept.append((b"via", via))
    return kept, telling


def _sorted_out(headers: Headers, named: set[bytes], reader: Reader, *, native: bool) -> tuple[Headers, bool]:
    """What passes of ``headers``, and whether any other says something; names without meaning are learned."""
    kept: Headers = []
    telling = False
    for pair in headers:
        name = pair[0]
        if name in _NOT_PASSED:
            continue
        means = name not in reader.ordinary and reader.means_something(name)
        telling = telling or means
        if name in named or (means and not reader.passes(name, native=native)):
            continue
        kept.append(pair)
        if not means:
            reader.ordinary.learn(name)
    return kept, telling
