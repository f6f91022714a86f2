"""The kinds of case about what is counted: a request's class, a slot's egress fault, counters that arrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policies.exchange import Outcome
from policies.sla.counters import Counts, Flush, Key, changed_slots, newest, total
from policies.sla.egress import FailedHost, is_egress_fault
from policies.sla.outcome import classify
from tests.policies.vector_shapes import (
    Case,
    Kind,
    array,
    count,
    expecting,
    flag,
    instant,
    one_of,
    record,
    seconds,
    text,
    word,
)

CAUSES = (
    "ok", "gateway", "managed_upstream", "third_party", "customer", "internal", "client_abort", "own_limit",
    "client_error", "upstream_throttle",
)  # fmt: skip
REASONS = {
    "auth_backend": "auth-unavailable", "auth_failed": "unauthenticated", "breaker_open": "upstream-connect",
    "draining": "draining", "internal_error": "internal", "no_route": "no-route", "pool_wait_timeout": "upstream-pool",
    "quota_exceeded": "rate-limited", "rate_limited": "rate-limited", "upstream_connect": "upstream-connect",
    "upstream_timeout": "upstream-timeout", "body_too_large": "body-too-large", "shed": "shed",
    "store_down": "store-unavailable", "own_deadline": "internal",
}  # fmt: skip
"""The vectors' words for what the gateway calls by the codes of its error table."""


def outcome(given: Mapping[str, Any]) -> Outcome:
    """The finished request that a ``classify`` case describes."""
    reason = given.get("reason")
    return Outcome(
        known_wall_us=0, tenant="a", tier="t", group="g", route="r", status=given.get("status", 499),
        origin=given["origin"], reason=REASONS.get(reason, reason) if reason else None, phase=given.get("phase"),
        source=None, over_limit=bool(given.get("over_limit")), internal=bool(given.get("internal")),
        truncated_by=given.get("truncated_by"), upstream="u", upstream_host="u.test",
        owner=given.get("upstream_owner"), vendor=None,
        upstream_status=given.get("status") if given["origin"] == "upstream" else None,
        elapsed_us=given.get("elapsed_ms", 0) * 1000, upstream_us=0,
    )  # fmt: skip


def _classify(case: Case) -> Mapping[str, object]:
    patience_us = case["policy"]["client_patience_ms"] * 1_000
    verdict, cause = classify(outcome(case["input"]), client_patience_us=patience_us)
    return {"sla": verdict, "cause": cause}


CLASSIFY = Kind(
    input=record(
        {"origin": one_of("client", "gateway", "upstream")},
        {
            "status": count, "reason": one_of(*REASONS), "over_limit": flag,
            "upstream_owner": one_of("managed", "third_party", "customer"), "elapsed_ms": count,
            "phase": one_of("queue", "auth", "plugin", "upstream_connect", "upstream_wait", "upstream_body"),
            "truncated_by": one_of("gateway", "upstream"), "internal": flag,
        },
    ),
    expect=expecting({"sla": one_of("good", "bad", "ignored"), "cause": one_of(*CAUSES)}),
    run=_classify,
)  # fmt: skip


def _egress(case: Case) -> Mapping[str, object]:
    given, policy = case["input"], case["policy"]
    failed = [FailedHost(host=each["host"], vendor=each["owner"]) for each in given["hosts_failed"]]
    fault = is_egress_fault(
        given["hosts_active"],
        failed,
        min_hosts=policy["egress_min_hosts"],
        min_vendors=policy["egress_min_owners"],
    )
    return {"reattribute_to_gateway": fault}


EGRESS = Kind(
    input=record({"hosts_active": count, "hosts_failed": array(record({"host": text, "owner": text}))}),
    expect=expecting({"reattribute_to_gateway": flag}),
    run=_egress,
)


def _ingest(case: Case) -> Mapping[str, object]:
    flushes = [_flush(each) for each in case["input"]["flushes"]]
    counts = total(newest(flushes).values())
    errors = sum(counts.failed.values())
    revised = changed_slots(flushes, seconds(case["input"]["final_at"]))
    return {"total": counts.good + errors, "errors": errors, "new_revision": bool(revised)}


def _flush(given: Mapping[str, Any]) -> Flush:
    slot_s, boot = seconds(given["slot"]), str(given["boot"])
    return Flush(
        key=Key(slot_s=slot_s, tenant="a", group="g", replica=given["replica"], boot=boot),
        sequence=given["seq"],
        received_at_s=seconds(given["received_at"]),
        counts=Counts(good=given["total"] - given["errors"], failed={"gateway": given["errors"]}),
    )


FLUSH = record(
    {
        "replica": text, "boot": word, "slot": instant, "seq": count, "total": count, "errors": count,
        "received_at": instant,
    },
)  # fmt: skip
INGEST = Kind(
    input=record({"final_at": instant, "flushes": array(FLUSH)}),
    expect=expecting({"total": count, "errors": count, "new_revision": flag}),
    run=_ingest,
)


KINDS: Mapping[str, Kind] = {"classify": CLASSIFY, "egress": EGRESS, "ingest": INGEST}
