"""The public keys of token issuers: an inline key set, or one fetched from a URL (RFC 7517, RULINGS 9).

Verifies nothing. A key that is not known causes at most one fetch a minute, shared by everybody who waits for
it; a set that is older than ten minutes is fetched again beside the traffic, so that a withdrawn key stops
working. While fetching fails, the keys that are known go on working.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from policies.ports import Clock

log = logging.getLogger("tiergate.jwks")

PAUSE_US = 60_000_000
STALE_US = 600_000_000
TIMEOUT_S = 5.0
MAX_SET = 262_144
SETS_KEPT = 4

Fetch = Callable[[str], Awaitable[bytes]]


class UnknownKey(Exception):
    """The issuer's set, freshly enough known, has no such key."""


class KeysUnavailable(Exception):
    """Whether there is such a key cannot be found out now."""


class KeySets:
    """The key sets in use, by what the policy says of them: JSON text, or a URL."""

    def __init__(self, *, clock: Clock, fetch: Fetch | None = None) -> None:
        self._clock = clock
        self._fetch = fetch or fetched
        self._sets: dict[str, _KeySet] = {}

    async def candidates(self, jwks: str, kid: str | None, algorithm: str) -> list[Key]:
        """The keys that may have signed such a token. Raises ``UnknownKey`` and ``KeysUnavailable``."""
        return await self._set(jwks).candidates(kid, algorithm)

    def generation(self, jwks: str) -> int:
        """Changes whenever the keys of this set did; asking lets a set that is too old be fetched again."""
        key_set = self._set(jwks)
        key_set.refresh_if_stale()
        return key_set.generation

    def _set(self, jwks: str) -> _KeySet:
        found = self._sets.get(jwks)
        if found is None:
            while len(self._sets) >= SETS_KEPT:
                del self._sets[next(iter(self._sets))]
            found = self._sets[jwks] = _KeySet(jwks, self._clock, self._fetch)
        return found

    async def aclose(self) -> None:
        """Stop fetching."""
        for key_set in self._sets.values():
            key_set.cancel()


class _KeySet:
    def __init__(self, jwks: str, clock: Clock, fetch: Fetch) -> None:
        self._url = jwks if jwks.startswith(("https://", "http://")) else None
        self._clock = clock
        self._fetch = fetch
        self._keys: list[Key] = [] if self._url else imported(jwks.encode())
        self._flight: asyncio.Task[None] | None = None
        self._tried_us: int | None = None
        self._failing = False
        self.generation = 0

    async def candidates(self, kid: str | None, algorithm: str) -> list[Key]:
        found = self._find(kid, algorithm)
        if self._url is None:
            return found or _unknown(kid)
        if found:
            return found
        if kid is None and self._keys:
            return _unknown(kid)
        if self._age_us() > PAUSE_US or self._flight is not None:
            # Shielded: one caller who hangs up must not end the fetch that others wait for.
            await asyncio.shield(self._refresh())
            found = self._find(kid, algorithm)
        if not found and self._failing:
            raise KeysUnavailable(f"no key {kid!r}, and the key set cannot be fetched")
        return found or _unknown(kid)

    def refresh_if_stale(self) -> None:
        """Beside the traffic: whoever asks does not wait. Before the first need nothing is fetched."""
        if self._keys and self._url is not None and self._age_us() > STALE_US:
            self._refresh()

    def _age_us(self) -> int:
        return STALE_US + 1 if self._tried_us is None else self._clock.steady_us() - self._tried_us

    def _find(self, kid: str | None, algorithm: str) -> list[Key]:
        """A token without ``kid`` is only matched by the one key of a set (RFC 7515 4.1.4 leaves it open)."""
        if kid is None:
            return [key for key in self._keys if len(self._keys) == 1 and _fits(key, algorithm)]
        return [key for key in self._keys if key.kid == kid and _fits(key, algorithm)]

    def _refresh(self) -> asyncio.Task[None]:
        if self._flight is None:
            self._tried_us = self._clock.steady_us()
            self._flight = asyncio.create_task(self._fly(), name="jwks fetch")
            self._flight.add_done_callback(self._landed)
        return self._flight

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flight = None

    async def _fly(self) -> None:
        assert self._url is not None  # noqa: S101 - only sets with a URL are refreshed
        try:
            async with asyncio.timeout(TIMEOUT_S):
                keys = imported(await self._fetch(self._url))
        except Exception as error:
            self._failing = True
            log.warning("key set %s cannot be fetched: %s: %s", self._url, type(error).__name__, error)
            return
        self._failing = False
        if [key.as_dict() for key in keys] != [key.as_dict() for key in self._keys]:
            self._keys = keys
            self.generation += 1

    def cancel(self) -> None:
        if self._flight is not None:
            self._flight.cancel()


def _unknown(kid: str | None) -> list[Key]:
    raise UnknownKey(f"no key {kid!r}")


def _fits(key: Key, algorithm: str) -> bool:
    """Whether the key's own ``use`` and ``alg`` permit the algorithm (RFC 7517 4.2, 4.4)."""
    return key.get("use") in (None, "sig") and key.get("alg") in (None, algorithm)


def imported(text: bytes) -> list[Key]:
    """The usable keys of a key set; one that is not understood is left out (RFC 7517 5). Raises ``ValueError``."""
    document: Any = json.loads(text)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("not a JSON Web Key Set")
    keys = [key for entry in entries if isinstance(entry, dict) and (key := _imported(entry)) is not None]
    if not keys:
        raise ValueError("a key set without a usable key")
    return keys


def _imported(entry: dict[str, Any]) -> Key | None:
    try:
        return JWKRegistry.import_key(entry)
    except (JoseError, ValueError, TypeError, KeyError):
        return None


async def fetched(url: str) -> bytes:
    """The body of a 200 within bounds; follows no redirect and reads no proxy settings. Raises what goes wrong."""
    async with (
        httpx2.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False) as client,
        client.stream("GET", url, headers={"accept": "application/jwk-set+json, application/json"}) as response,
    ):
        if response.status_code != httpx2.codes.OK:
            raise ValueError(f"status {response.status_code}")
        text = b""
        async for chunk in response.aiter_bytes():
            text += chunk
            if len(text) > MAX_SET:
                raise ValueError(f"more than {MAX_SET} octets")
        return text
