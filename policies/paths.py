"""What a request target means: one canonical path, or a precise reason why it is refused.

What was matched is what is forwarded (DESIGN §3.4): ``decoded`` is matched, ``target`` goes upstream, and
both come from the same octets. Nothing here knows routes or upstreams. Source: RFC 3986 2.1-2.4, 3.3 and
6.2.2; RFC 9112 3.2; spec policy.md, Rules; RULINGS 20. Ambiguity is refused, never repaired: where two
servers may read a path differently, neither gets it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

MAX_PATH = 8192
"""Octets of a path as received."""

LENGTH_DIGITS = 19
"""Digits of a Content-Length: beyond that it holds in no 64-bit integer, and Python refuses to read thousands."""

# RFC 3986 3.3 pchar without "%", no empty or dot segment, no segment that is only a ";" parameter.
_PLAIN = re.compile(rb"(?:/(?!\.{1,2}(?:[;/]|\Z)|;)[A-Za-z0-9\-._~!$&'()*+,;=:@]+)*/?")
_ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_TWICE = re.compile(rb"%25[0-9A-Fa-f]{2}")
_KEPT = frozenset(b"/-._~!$&'()*+,;=:@%0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_UNRESERVED = frozenset(b"-._~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
# Non-shortest forms (RFC 3629 3): C0, C1, E0 80-9F, F0 80-8F.
_OVERLONG = re.compile(rb"[\xc0\xc1]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]")
_QUERY = re.compile(rb"[\x21-\x7e]*")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]+)(?::[0-9]*)?")

LONGEST_HOST = 512
"""Octets of a Host: twice what DNS allows, and little enough to be remembered."""
HTTP_1_0 = ("1.0", "1")
"""``http_version`` of an ASGI scope for HTTP/1.0; one server calls it 1."""
FRAMING = frozenset((b"content-length", b"transfer-encoding"))
"""The fields that say where a request ends (RFC 9112 6)."""


class PathError(ValueError):
    """The path is refused. ``reason`` is a short stable phrase that may be shown to the caller."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class CanonicalPath:
    """``decoded`` is what routes match, percent-decoded once; ``target`` the same path as forwarded.

    Both start with a slash. In ``target`` unreserved characters are plain, sub-delims, ``:`` and ``@``
    stay as they came, everything else is an upper-case escape. A trailing slash is kept.
    """

    decoded: str
    target: bytes


def canonical(raw_path: bytes) -> CanonicalPath:
    """The canonical form of a request target without its query. Raises ``PathError``.

    Takes origin-form and absolute-form (RFC 9112 3.2.2: routed by its path); any other form is refused.
    """
    if len(raw_path) > MAX_PATH:
        raise PathError("too long")
    path = raw_path if raw_path.startswith(b"/") else _path_of(raw_path)
    if _PLAIN.fullmatch(path):
        return CanonicalPath(path.decode("ascii"), path)
    _refuse_raw(path)
    target = normalised(path)
    decoded = _decode(target)
    _refuse_segments(decoded)
    return CanonicalPath(decoded, target)


def _path_of(target: bytes) -> bytes:
    if not target:
        raise PathError("empty target")
    if target == b"*":
        raise PathError("asterisk-form target")
    absolute = _ABSOLUTE.match(target)
    if absolute is None:
        raise PathError("not an origin-form or absolute-form target")
    return target[absolute.end() :] or b"/"


def _refuse_raw(path: bytes) -> None:
    if b"?" in path or b"#" in path:
        raise PathError("query or fragment in the path")
    if b"\\" in path:
        raise PathError("backslash")
    if _BAD_ESCAPE.search(path):
        raise PathError("invalid percent-encoding")


def normalised(path: bytes) -> bytes:
    """Per octet, without changing what a reserved character means (RFC 3986 6.2.2.1, 6.2.2.2)."""
    plain = _ESCAPE.sub(_normalised_escape, path)
    return b"".join(bytes((octet,)) if octet in _KEPT else b"%%%02X" % octet for octet in plain)


def _normalised_escape(escape: re.Match[bytes]) -> bytes:
    octet = int(escape[1], 16)
    return bytes((octet,)) if octet in _UNRESERVED else b"%%%02X" % octet


def _decode(target: bytes) -> str:
    # On the normalised form, so that %25%32%66 is seen as the second encoding it is.
    if _TWICE.search(target):
        raise PathError("double percent-encoding")
    octets = _ESCAPE.sub(lambda escape: bytes((int(escape[1], 16),)), target)
    if b"%2F" in target:
        raise PathError("encoded slash")
    if b"\\" in octets:
        raise PathError("encoded backslash")
    if _OVERLONG.search(octets):
        raise PathError("overlong UTF-8")
    try:
        decoded = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise PathError("invalid UTF-8") from None
    if _CONTROL.search(decoded):
        raise PathError("control character")
    return decoded


def _refuse_segments(decoded: str) -> None:
    """A server that strips ``;`` parameters first would see ``/..;x/`` as ``/../`` and ``/;x/`` as ``//``."""
    *inner, last = decoded.split("/")[1:]
    for segment in (*inner, last):
        name, parameter, _ = segment.partition(";")
        if name in (".", ".."):
            raise PathError("dot segment")
        if parameter and not name:
            raise PathError("empty segment")
    if "" in inner:
        raise PathError("empty segment")


def query_problem(query: bytes) -> str | None:
    """Why this query cannot be forwarded as it came, or None: a target is visible ASCII (RFC 3986 2, RFC 9112 3)."""
    return None if _QUERY.fullmatch(query) else "octets in the query that must be percent-encoded"


def host_problem(hosts: Sequence[bytes], http_version: str) -> str | None:
    """Why the Host lines make this request a 400, or None (RFC 9112 3.2, RULINGS 20).

    HTTP/1.0 may leave it out; one server then reports an empty field.
    """
    if len(hosts) > 1:
        return "more than one Host field"
    if not hosts or not hosts[0]:
        return None if http_version in HTTP_1_0 else "no Host field"
    return None if len(hosts[0]) <= LONGEST_HOST and _valid_host(hosts[0]) else "invalid Host field"


@lru_cache(maxsize=1024)
def _valid_host(host: bytes) -> bool:
    return _HOST.fullmatch(host) is not None


def framing_problem(headers: Iterable[tuple[bytes, bytes]], http_version: str) -> str | None:
    """Why the request's framing is a 400, or None: what the servers let through (RFC 9112 6.1, 6.3; P-25, P-28)."""
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    if codings and codings != [b"chunked"]:
        return "transfer coding other than chunked"
    if codings and http_version in HTTP_1_0:
        return "transfer coding in HTTP/1.0"
    if codings and lengths:
        return "Content-Length beside Transfer-Encoding"
    if len(set(lengths)) > 1 or not all(value.isdigit() and len(value) <= LENGTH_DIGITS for value in lengths):
        return "invalid Content-Length"
    return None
