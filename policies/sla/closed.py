"""A month's record as it was published, and its later revisions (spec P6, D6).

What a record says is ``record``; how two of them differ is ``revision``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

CLOSE: Final = "close"
"""A month's record as published: ``tenant, period, revision, input_sha256, record``; tenant null is the platform."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedMonth:
    """``published_at_s`` and ``by`` are the act's. The claim window opens with the first revision's (C3)."""

    tenant: str | None
    period: str
    revision: int
    input_sha256: str
    record: Mapping[str, Any]
    published_at_s: int
    by: str
