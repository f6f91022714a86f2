"""Which fields of a request carry a caller's credential, and which are never forwarded (RULINGS 8).

Says what was presented, never whether it is any good: that is the ``Authenticator``'s. Source: RFC 6750 2.1
for Bearer, RFC 9110 11.4 for the scheme's case, spec policy.md ``auth``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from policies.model import Auth, Jwt

AUTHORIZATION = b"authorization"
MAX_CREDENTIAL = 16_384
"""Octets of one credential; what is longer is not even hashed."""

_BEARER = re.compile(rb"bearer +([A-Za-z0-9\-._~+/]+=*) *", re.IGNORECASE)
_TOKEN = re.compile(rb"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*")
PIECES = 4
"""Words of an Authorization value that are compared with known keys; a scheme and one credential are two."""
_AROUND = re.compile(r"\s*([=,/])\s*")

Field = tuple[bytes, bytes]


@dataclass(slots=True)  # frozen would cost four times as much, once a request
class Credential:
    """One credential as presented: an API key, a bearer token (a key or a JWT), or an mTLS subject."""

    kind: Literal["key", "bearer", "subject"]
    value: bytes


@dataclass(slots=True)  # as above
class Presented:
    """At most one secret and at most one subject; ``problem`` says why what was presented cannot be used."""

    secret: Credential | None = None
    subject: Credential | None = None
    problem: str | None = None


NOTHING = Presented()
"""What a caller without any credential presented, always this one object."""


class CredentialFields:
    """The ``auth`` section, compiled.

    ``names`` are the fields that may hold a credential of ours; ``challenge`` is the ``WWW-Authenticate`` value of a
    401.
    """

    __slots__ = ("_mtls", "_ours", "challenge", "names")

    def __init__(self, auth: Auth) -> None:
        self._mtls = auth.mtls_header
        own = {*auth.key_headers, *((auth.mtls_header,) if auth.mtls_header else ())}
        self._ours = AUTHORIZATION in own or auth.jwt is not None
        self.names = frozenset(own | {AUTHORIZATION})
        self.challenge = b'Bearer realm="tiergate"' if self._ours else b'ApiKey realm="tiergate"'

    def read(self, fields: Sequence[Field], peer_trusted: bool, authorization_passes: bool = False) -> Presented:
        """What the caller presented in ``fields``, which are all those of ``names``.

        The subject field counts only from a trusted peer. On a route that forwards ``Authorization`` that
        field is the upstream's and not looked at. The same secret twice is one; two that differ are a problem.
        """
        if not fields:
            return NOTHING
        if len(fields) == 1 and fields[0][0] not in (AUTHORIZATION, self._mtls):
            return _bounded(Credential("key", fields[0][1].strip()))
        secrets: dict[bytes, Credential] = {}
        subjects: set[bytes] = set()
        for name, value in fields:
            if name == self._mtls:
                subjects |= {value} if peer_trusted and value.strip() else set()
            elif name != AUTHORIZATION:
                secrets.setdefault(value.strip(), Credential("key", value.strip()))
            elif self._ours and not authorization_passes:
                bearer = _BEARER.fullmatch(value)
                if bearer is None:
                    return Presented(problem="authorization is not a Bearer token")
                secrets[bearer[1]] = Credential("bearer", bearer[1])
        return _one_of_each(secrets, subjects)

    def stripped(self, headers: Iterable[Field], presented: Presented) -> list[Field]:
        """``headers`` as a route gets them that forwards ``Authorization``.

        Every line that may hold a credential of ours is gone, ``Authorization`` where it repeats the secret that
        authenticated this call.
        """
        secret = presented.secret.value if presented.secret else None
        dropped = self.names - {AUTHORIZATION}
        return [pair for pair in headers if pair[0] not in dropped and not _repeats(pair, secret)]


def holds_ours(headers: Iterable[Field], keys: Container[bytes], jwt: Jwt | None) -> bool:
    """Whether an ``Authorization`` line holds a known key (``keys`` are digests) or a token that is meant for us.

    Such a field is this gateway's on every route, also where ``Authorization`` is otherwise the upstream's.
    """
    lines = [value for name, value in headers if name == AUTHORIZATION]
    words = [word for value in lines if len(value) <= MAX_CREDENTIAL for word in value.split()[:PIECES]]
    return any(hashlib.sha256(word).digest() in keys or (jwt is not None and _meant_for(word, jwt)) for word in words)


def _meant_for(word: bytes, jwt: Jwt) -> bool:
    """A token of our issuer for our audience, unverified; one of the same issuer for the upstream is not ours."""
    token = _TOKEN.fullmatch(word)
    if token is None:
        return False
    try:
        claims = json.loads(base64.urlsafe_b64decode(token[1] + b"=" * (-len(token[1]) % 4)))
    except (ValueError, RecursionError):
        return False
    if not isinstance(claims, dict) or claims.get("iss") != jwt.issuer:
        return False
    audience = claims.get("aud")
    return audience == jwt.audience or (isinstance(audience, list) and jwt.audience in audience)


def _one_of_each(secrets: dict[bytes, Credential], subjects: set[bytes]) -> Presented:
    if len(secrets) > 1 or len(subjects) > 1:
        return Presented(problem="two credentials that differ")
    subject = Credential("subject", subjects.pop()) if subjects else None
    if secrets:
        return _bounded(next(iter(secrets.values())), subject)
    return Presented(subject=subject) if subject else NOTHING


def _bounded(secret: Credential, subject: Credential | None = None) -> Presented:
    if 0 < len(secret.value) <= MAX_CREDENTIAL:
        return Presented(secret, subject)
    return Presented(problem="a credential that is empty or too long")


def _repeats(pair: tuple[bytes, bytes], secret: bytes | None) -> bool:
    return pair[0] == AUTHORIZATION and secret is not None and secret in pair[1]


def subject_key(subject: str) -> str:
    """A distinguished name with its spacing normalised: proxies write ``CN = a,O=b`` in many ways."""
    return _AROUND.sub(r"\1", " ".join(subject.split()))
