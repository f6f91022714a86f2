"""Who a credential stands for: API keys by digest, JSON Web Tokens, mTLS subjects (RULINGS 8-9).

Decides nothing about where a credential stood or how often an address may be wrong (``policies.credential``,
``middleware.tenancy``). A key is never kept, compared or logged as text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest
from itertools import takewhile

from gateway.jwks import Fetch, KeySets, KeysUnavailable, UnknownKey
from gateway.tokens import BadToken, Tokens, looks_like
from policies.credential import AUTHORIZATION, Credential, subject_key
from policies.errors import GatewayError
from policies.model import Key, PolicySet, Tenant
from policies.ports import Clock
from policies.snapshot import Snapshot

USES_KEPT = 100_000


@dataclass(slots=True)  # frozen would cost four times as much, once a request
class Owner:
    """The tenant a credential stands for, and a name of the credential that may be logged."""

    tenant: Tenant
    credential_id: str


class Credentials:
    """The ``Authenticator`` of a policy set. ``fetch`` replaces the HTTP client that reads key sets."""

    def __init__(self, *, clock: Clock, fetch: Fetch | None = None) -> None:
        self._clock = clock
        self._keys = KeySets(clock=clock, fetch=fetch)
        self._tokens = Tokens(clock=clock, keys=self._keys)
        self._used: dict[tuple[str, str], int] = {}
        self._subjects: tuple[PolicySet | None, Mapping[str, Tenant]] = (None, {})

    def recognise(self, snapshot: Snapshot, credential: Credential) -> Owner | None:
        """The owner of a key or a subject; None for a token. Raises ``unauthenticated``."""
        policy = snapshot.policy
        if credential.kind == "subject":
            return self._by_subject(policy, credential.value)
        if credential.kind == "bearer":
            if policy.auth.jwt is not None and looks_like(credential.value):
                return None
            if AUTHORIZATION not in policy.auth.key_headers:
                raise _refused("not a token, and keys do not travel as Bearer")
        return self._by_key(policy, credential.value)

    async def authenticate(self, snapshot: Snapshot, credential: Credential) -> Owner:
        """The owner of ``credential``. Raises ``unauthenticated`` and ``auth-unavailable``."""
        known = self.recognise(snapshot, credential)
        return await self._by_token(snapshot.policy, credential.value) if known is None else known

    def last_used(self, since_s: int = 0) -> Mapping[str, int]:
        """When each key good since then was last good, in Unix seconds, by ``tenant/key id``, oldest first.

        The book is in the order of use, so that only what is returned is looked at.
        """
        fresh = list(takewhile(lambda use: use[1] >= since_s, reversed(self._used.items())))
        return {f"{tenant}/{key}": wall_s for (tenant, key), wall_s in reversed(fresh)}

    async def aclose(self) -> None:
        await self._keys.aclose()

    def _by_key(self, policy: PolicySet, secret: bytes) -> Owner:
        digest = hashlib.sha256(secret).digest()
        tenant, key = policy.keys.get(digest, (None, None))
        if tenant is None or key is None or not compare_digest(key.digest, digest):
            raise _refused("unknown key")
        wall_us = self._clock.wall_us()
        if key.not_before_us is not None or key.expires_us is not None:
            _refuse_untimely(tenant, key, wall_us)
        self._note_use((tenant.id, key.id), wall_us // 1_000_000)
        return Owner(tenant, key.id)

    def _note_use(self, name: tuple[str, str], wall_s: int) -> None:
        """To the second; the keys that were used last are the ones that are kept."""
        if self._used.get(name) == wall_s:
            return
        if self._used.pop(name, None) is None and len(self._used) >= USES_KEPT:
            del self._used[next(iter(self._used))]
        self._used[name] = wall_s

    def _by_subject(self, policy: PolicySet, value: bytes) -> Owner:
        subject = subject_key(value.decode("latin-1"))
        known, subjects = self._subjects
        if known is not policy:
            subjects = {subject_key(text): tenant for text, tenant in policy.subjects.items()}
            self._subjects = (policy, subjects)
        tenant = subjects.get(subject)
        if tenant is None:
            raise _refused("unknown certificate subject")
        return Owner(tenant, f"mtls:{subject}")

    async def _by_token(self, policy: PolicySet, token: bytes) -> Owner:
        assert policy.auth.jwt is not None  # noqa: S101 - asked by the caller
        try:
            claims = await self._tokens.claims(token, policy.auth.jwt, policy.version)
        except (BadToken, UnknownKey) as error:
            raise _refused(f"token: {error}")
        except KeysUnavailable as error:
            raise GatewayError("auth-unavailable", phase="auth", cause_text=str(error))
        tenant = policy.tenants.get(claims.tenant)
        if tenant is None:
            raise _refused(f"token: no tenant {claims.tenant!r}")
        return Owner(tenant, f"jwt:{claims.subject}")


def _refuse_untimely(tenant: Tenant, key: Key, wall_us: int) -> None:
    if key.not_before_us is not None and wall_us < key.not_before_us:
        raise _refused(f"key {key.id!r} of {tenant.id!r} is not valid yet")
    if key.expires_us is not None and wall_us >= key.expires_us:
        raise _refused(f"key {key.id!r} of {tenant.id!r} has expired")


def _refused(cause: str) -> GatewayError:
    return GatewayError("unauthenticated", "The credential is not valid.", phase="auth", cause_text=cause)
