"""Minting an API key: 256 random bits behind a recognisable prefix, of which only the SHA-256 is ever stored."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

PREFIX = "tg_live_"
"""Makes a leaked key recognisable to secret scanners."""
RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Minted:
    text: str
    sha256: str


def minted() -> Minted:
    """A new key and the digest that stands for it in policy files."""
    text = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    return Minted(text=text, sha256=hashlib.sha256(text.encode("ascii")).hexdigest())
