"""The class of a request against the classify vectors (spec O1-O8)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from policies.exchange import Outcome
from policies.sla.outcome import classify

CASES = [c for c in json.loads(Path("tests/vectors/sla.json").read_text())["cases"] if c.get("kind") == "classify"]
REASONS = {
    "auth_backend": "auth-unavailable", "auth_failed": "unauthenticated", "breaker_open": "upstream-connect",
    "draining": "draining", "internal_error": "internal", "no_route": "no-route", "pool_wait_timeout": "upstream-pool",
    "quota_exceeded": "rate-limited", "rate_limited": "rate-limited", "upstream_connect": "upstream-connect",
    "upstream_timeout": "upstream-timeout", "body_too_large": "body-too-large", "shed": "shed",
    "store_down": "store-unavailable", "own_deadline": "internal",
    "egress_proxy": "egress-proxy", "egress_proxy_slow": "egress-proxy-timeout",
}  # fmt: skip


def outcome(given: dict[str, Any]) -> Outcome:
    reason = given.get("reason")
    return Outcome(
        known_wall_us=0, tenant="a", tier="t", group="g", route="r", status=given.get("status", 499),
        origin=given["origin"], reason=None if reason is None else REASONS[reason], phase=given.get("phase"),
        source=None, over_limit=bool(given.get("over_limit")), internal=bool(given.get("internal")),
        truncated_by=given.get("truncated_by"), upstream="u", upstream_host="u.test",
        owner=given.get("upstream_owner"), vendor=None,
        upstream_status=given.get("status") if given["origin"] == "upstream" else None,
        elapsed_us=given.get("elapsed_ms", 0) * 1000, upstream_us=0,
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_request_falls_under_the_first_rule_that_matches(case: dict[str, Any]) -> None:
    verdict, cause = classify(outcome(case["input"]))
    assert {"sla": verdict, "cause": cause} | case["expect"] == {"sla": verdict, "cause": cause}


def test_the_vectors_hold_classify_cases() -> None:
    assert len(CASES) >= 17


@pytest.mark.parametrize("reason", ["egress_proxy", "egress_proxy_slow"])
@pytest.mark.parametrize("owner", ["third_party", "customer", "managed"])
def test_our_own_egress_proxy_never_counts_against_the_owner_of_the_upstream(reason: str, owner: str) -> None:
    given = {"origin": "gateway", "reason": reason, "status": 502, "phase": "upstream_connect"}
    assert classify(outcome({**given, "upstream_owner": owner})) == ("bad", "gateway")
