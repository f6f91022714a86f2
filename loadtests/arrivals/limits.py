"""What the checker believes a tenant may do, read from the policy files with none of the gateway's own code.

Only the spellings that ``loadtests/policies/open_loop`` uses are known; another one is an error, never a guess.
Source: RULINGS 1 for the fields of each kind.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SECOND_US = 1_000_000
UNITS_US = {"s": SECOND_US, "min": 60 * SECOND_US, "h": 3_600 * SECOND_US}
GRAINS = 128
"""A window of more units than this keeps them in groups (DESIGN §6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowLimit:
    """Never more than ``amount`` calls in any ``period_us``."""

    name: str
    amount: int
    period_us: int

    @property
    def grain(self) -> int:
        """How many units one entry of the window's log may hold: so many less one may be kept too long."""
        return -(-self.amount // GRAINS)

    @property
    def announced(self) -> dict[str, int | str]:
        return {"q": self.amount, "w": -(-self.period_us // SECOND_US)}


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketLimit:
    """At most ``burst + amount / period_us * L`` calls in any interval L."""

    name: str
    amount: int
    period_us: int
    burst: int

    @property
    def announced(self) -> dict[str, int | str]:
        return {"q": self.burst, "w": -(-self.burst * self.period_us // (self.amount * SECOND_US))}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotLimit:
    """At most ``amount`` calls at the same time."""

    name: str
    amount: int

    @property
    def announced(self) -> dict[str, int | str]:
        return {"q": self.amount, "qu": "concurrent-requests"}


Limit = WindowLimit | BucketLimit | SlotLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A caller of the run; ``limits`` in the order of the file."""

    name: str
    tier: str
    key: str
    limits: tuple[Limit, ...]

    @property
    def slots(self) -> SlotLimit | None:
        return next((limit for limit in self.limits if isinstance(limit, SlotLimit)), None)


def tenants(folder: Path) -> list[Tenant]:
    """Every tenant of ``tenants.jsonl`` with the limits of its tier. Raises ``ValueError`` and ``OSError``."""
    policy = yaml.safe_load((folder / "open_loop.yaml").read_text())
    limits = {name: tuple(read(*pair) for pair in tier["limits"].items()) for name, tier in policy["tiers"].items()}
    found = [json.loads(line) for line in (folder / policy["tenants_from"]).read_text().splitlines() if line]
    return [
        Tenant(name=one["id"], tier=one["tier"], key=key_of(one["id"]), limits=limits[one["tier"]]) for one in found
    ]


def key_of(tenant: str) -> str:
    return f"open-loop-{tenant}-key"


def read(name: str, written: Any) -> Limit:
    """One limit of the file. Raises ``ValueError``."""
    match written:
        case str():
            amount, period_us = rate(written)
            return WindowLimit(name=name, amount=amount, period_us=period_us)
        case {"rate": str(text), "burst": int(burst), **rest} if not rest:
            amount, period_us = rate(text)
            return BucketLimit(name=name, amount=amount, period_us=period_us, burst=burst)
        case {"concurrent": int(amount), **rest} if not rest:
            return SlotLimit(name=name, amount=amount)
    raise ValueError(f"the limit {name!r} is written in a way that this checker does not know: {written!r}")


def rate(text: str) -> tuple[int, int]:
    """``20/2s`` as ``(20, 2_000_000)``. Raises ``ValueError``."""
    match = re.fullmatch(r"([0-9_]+)/([0-9]*)(s|min|h)", text)
    if match is None:
        raise ValueError(f"not a rate: {text!r}")
    return int(match[1].replace("_", "")), int(match[2] or 1) * UNITS_US[match[3]]
