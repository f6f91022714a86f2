"""Exchanges and outcomes for the sinks' tests: one plausible finished call, changed by keyword."""

from __future__ import annotations

from typing import Any

from policies.admission import Demand, charge
from policies.admission.decision import Decision, Reading, Refusal
from policies.announcement import Announcement
from policies.exchange import Exchange, Outcome
from policies.model import PolicySet, Tenant, Window
from policies.snapshot import Snapshot

WALL_US = 1_795_318_661_000_042


def decided(allowed: bool = True, remaining: int = 59, shadow_refused: tuple[str, ...] = ()) -> Decision:
    limit = Window(name="minute", amount=60, period_us=60_000_000)
    demand = Demand((charge(limit, "k", 1),))
    readings: list[Reading] = [(None, remaining, 60)]
    decision = Decision(demand, readings, 0) if allowed else Refusal(demand, readings, 0, (), (1_000_000,), ())
    decision.shadow_refused = shadow_refused
    return decision


def finished(**changes: Any) -> Exchange:
    exchange = Exchange(started_us=1_000, started_wall_us=WALL_US, request_id="req-1")
    exchange.method = "GET"
    exchange.path = "/crm/contacts"
    exchange.query = b"token=s3cret-query"
    exchange.tenant = Tenant(id="acme", tier="premium")
    exchange.credential_id = "k1"
    exchange.snapshot = Snapshot(PolicySet(version="0123456789abcdef"))
    exchange.upstream_started_us = 1_100
    exchange.trace_id = f"{0xABC:032x}"
    exchange.span_id = f"{0xDEF:016x}"
    for name, value in changes.items():
        setattr(exchange, name, value)
    return exchange


def outcome(**changes: Any) -> Outcome:
    facts: dict[str, Any] = {
        "known_wall_us": WALL_US + 5_000, "tenant": "acme", "tier": "premium", "group": "crm", "route": "crm-read",
        "status": 200, "origin": "upstream", "reason": None, "phase": None, "source": None, "over_limit": False,
        "internal": False, "truncated_by": None, "upstream": "crm", "upstream_host": "127.0.0.1", "owner": "managed",
        "vendor": "example.com", "upstream_status": 200, "elapsed_us": 5_000, "upstream_us": 4_500,
    }  # fmt: skip
    return Outcome(**{**facts, **changes})


def throttled(**changes: Any) -> Announcement:
    facts: dict[str, Any] = {
        "provider": "ledger", "kind": "quota", "throttled": True, "received": 403, "status": 429, "wait_s": 47,
        "wait_ms": 46_210, "violated": "crm-daily",
    }  # fmt: skip
    return Announcement(**{**facts, **changes})
