"""What upstreams have said about who may not call them yet, so that nobody's quota is spent on hearing it again.

Opt-in for each upstream (``protect: true``), because the drafts say to forward (draft -11 section 7.2). Keyed by
upstream and credential, never by URL; bounded; of this process alone. What is said is the caller's to decide.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

from policies.announcement import Announcement
from policies.ports import Clock
from upstreams.transport import Headers

KEPT = 10_000
"""Credentials that are remembered at most, the least recently used go first."""
BODY_KEPT = 4_096
"""Octets of an upstream's body, and of its fields, that are repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """A throttle until ``until_us`` (steady). ``fields`` are the vendor's own, ``upstream_body`` its JSON.

    ``native`` is its body without a content coding, with ``native_fields``, where callers get that; None where they
    get ours.
    """

    until_us: int
    announcement: Announcement
    fields: tuple[tuple[bytes, bytes], ...] = ()
    upstream_body: bytes | None = None
    native: bytes | None = None
    native_fields: tuple[tuple[bytes, bytes], ...] = ()


class BudgetMemory:
    """Throttles by payer. ``clock`` is asked for steady time alone."""

    def __init__(self, clock: Clock, *, kept: int = KEPT) -> None:
        self._clock = clock
        self._kept = kept
        self._throttles: OrderedDict[bytes, Remembered] = OrderedDict()

    def __len__(self) -> int:
        return len(self._throttles)

    def remember(self, payer: bytes, throttle: Remembered) -> None:
        """Keep ``throttle``, unless a longer one is known: several limits may be exhausted at once."""
        known = self._throttles.get(payer)
        if known is None or known.until_us <= throttle.until_us:
            self._throttles[payer] = throttle
        self._throttles.move_to_end(payer)
        if len(self._throttles) > self._kept:
            self._throttles.popitem(last=False)

    def recall(self, payer: bytes) -> tuple[Remembered, int] | None:
        """The throttle of ``payer`` and the microseconds left of it; None from its reset on."""
        known = self._throttles.get(payer)
        if known is None:
            return None
        left_us = known.until_us - self._clock.steady_us()
        if left_us <= 0:
            del self._throttles[payer]
            return None
        self._throttles.move_to_end(payer)
        return known, left_us


def payer(upstream: str, headers: Headers, owned: Collection[bytes]) -> bytes:
    """Whose quota a request spends: a digest of ``upstream`` and the credentials in ``headers``, as they are sent.

    Those are the fields that the policy sets (``owned``) and an ``Authorization`` that the route lets through.
    """
    digest = hashlib.sha256(upstream.encode("utf-8", "surrogatepass"))
    for name, value in headers:
        if name in owned or name == b"authorization":
            digest.update(b"\x00%d:%b%d:%b" % (len(name), name, len(value), value))
    return digest.digest()
