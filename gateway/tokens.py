"""Whether a JSON Web Token is good, and for which tenant (RFC 7519, RFC 8725, RULINGS 9).

Fetches no keys (``gateway.jwks`` does). The cheap checks come first: a token of another issuer, for another
audience, out of its time or signed by an algorithm that is not listed never causes a look-up or arithmetic.
Tokens that verified are remembered by digest until they expire, the policy changes or the keys do.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from typing import Any, NamedTuple

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import Key

from gateway.jwks import KeySets
from policies.model import Jwt
from policies.ports import Clock

LEEWAY_S = 30
"""How far the issuer's clock may be off."""

KEPT = 10_000
MAX_HEADER = 4_096
MAX_SUBJECT = 256
MAX_TIME_S = 253_402_300_800
"""The year 10000; infinities and integers that no float holds are beyond it."""

_SHAPE = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


class BadToken(Exception):
    """The token is no good; the text is for the log."""


class Claims(NamedTuple):
    """What a good token says: whose it is, its subject (may be empty), and until when, in Unix seconds."""

    tenant: str
    subject: str
    expires_s: float


def looks_like(value: bytes) -> bool:
    """Three base64url parts: a JWS in compact form (RFC 7515 7.1)."""
    return _SHAPE.fullmatch(value) is not None


class Tokens:
    """Verifies tokens and remembers those that were good."""

    def __init__(self, *, clock: Clock, keys: KeySets) -> None:
        self._clock = clock
        self._keys = keys
        self._good: dict[bytes, Claims] = {}
        self._good_under: tuple[str, int] = ("", 0)

    async def claims(self, token: bytes, jwt: Jwt, version: str) -> Claims:
        """The claims of ``token`` under the policy ``version``. Raises ``BadToken`` and ``KeysUnavailable``."""
        now_s = self._clock.wall_us() / 1_000_000
        digest = hashlib.sha256(token).digest()
        known = self._remembered(version, jwt).get(digest)
        if known is not None and now_s < known.expires_s + LEEWAY_S:
            return known
        algorithm, kid = _header(token, jwt)
        claims = _claims(_part(token, 1), jwt, now_s)
        if not any(_signed_by(key, token, algorithm) for key in await self._keys.candidates(jwt.jwks, kid, algorithm)):
            raise BadToken("the signature does not verify")
        good = self._remembered(version, jwt)
        while len(good) >= KEPT:
            del good[next(iter(good))]
        good[digest] = claims
        return claims

    def _remembered(self, version: str, jwt: Jwt) -> dict[bytes, Claims]:
        under = (version, self._keys.generation(jwt.jwks))
        if under != self._good_under:
            self._good, self._good_under = {}, under
        return self._good


def _part(token: bytes, index: int) -> dict[str, Any]:
    segment = token.split(b".")[index]
    try:
        # UTF-8 alone (RFC 7515 2): the json module would guess an encoding, and others might guess another.
        part = json.loads(base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4)).decode("utf-8"))
    except (ValueError, binascii.Error, RecursionError):
        raise BadToken("not base64url of JSON")
    if not isinstance(part, dict):
        raise BadToken("not a JSON object")
    return part


def _header(token: bytes, jwt: Jwt) -> tuple[str, str | None]:
    """Algorithm and key id. Keys and addresses of keys in the header are never looked at (RFC 8725 3.10)."""
    header = _part(token, 0)
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in jwt.algorithms or algorithm == "none":
        raise BadToken("an algorithm that is not listed")
    # No extension is understood, hence none may be demanded (RFC 7515 4.1.11); ``b64`` has no place in a
    # token (RFC 7797 7).
    if "crit" in header or "b64" in header or not (kid is None or isinstance(kid, str)):
        raise BadToken("a header field that is not understood")
    return algorithm, kid


def _claims(claims: dict[str, Any], jwt: Jwt, now_s: float) -> Claims:
    audience = claims.get("aud")
    expires_s, not_before_s = _time(claims.get("exp")), _time(claims.get("nbf", 0))
    tenant, subject = claims.get(jwt.tenant_claim), claims.get(jwt.subject_claim)
    if claims.get("iss") != jwt.issuer:
        raise BadToken("another issuer")
    if audience != jwt.audience and not (isinstance(audience, list) and jwt.audience in audience):
        raise BadToken("another audience")
    if now_s >= expires_s + LEEWAY_S:
        raise BadToken("expired")
    if now_s < not_before_s - LEEWAY_S:
        raise BadToken("not yet valid")
    if not isinstance(tenant, str) or not tenant:
        raise BadToken("no tenant claim")
    return Claims(tenant, _loggable(subject) if isinstance(subject, str) else "", expires_s)


def _loggable(subject: str) -> str:
    """A bounded subject that is valid UTF-8: JSON can spell half a surrogate pair, which no log line can hold."""
    return subject[:MAX_SUBJECT].encode("utf-8", "replace").decode("utf-8")


def _time(value: object) -> float:
    """A NumericDate (RFC 7519 2). A token without ``exp`` would be good for ever, hence it is not good at all."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -MAX_TIME_S < value < MAX_TIME_S:
        raise BadToken("exp is missing, or exp or nbf is no time")
    return float(value)


def _signed_by(key: Key, token: bytes, algorithm: str) -> bool:
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    registry.max_header_length = MAX_HEADER
    try:
        jws.deserialize_compact(token, key, registry=registry)
    except (JoseError, ValueError, TypeError):
        return False
    return True
