from __future__ import annotations

import json
import time
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import HISTOGRAMS, Metrics, merge, render, settled
from tests.gateway.facts import decided, finished, outcome, throttled


def samples(*snapshots: dict[str, Any]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample as the Prometheus parser reads it back, after a trip through JSON as on the control socket."""
    text = render(merge([json.loads(json.dumps(snapshot)) for snapshot in snapshots])).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: dict[Any, float], name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


def test_an_allowed_call_is_counted_once_in_each_figure() -> None:
    metrics = Metrics()
    metrics.record(finished(decision=decided()), outcome())
    found = samples(metrics.snapshot())
    labels = {"http_request_method": "GET", "http_response_status_code": "200"}
    assert value(found, "http_server_request_duration_seconds_count", http_route="crm-read", **labels) == 1
    assert value(found, "http_server_request_duration_seconds_sum", http_route="crm-read", **labels) == 0.005
    assert value(found, "http_client_request_duration_seconds_count", upstream="crm", **labels) == 1
    assert value(found, "gateway_overhead_duration_seconds_sum", http_route="crm-read") == 0.0005
    assert value(found, "gateway_ratelimit_decisions_total", decision="allowed", route="crm-read") == 1


def test_a_boundary_counts_into_its_own_bucket() -> None:
    metrics = Metrics()
    for elapsed_us in (5_000, 5_001, 10_000_000, 10_000_001):
        metrics.record(finished(), outcome(elapsed_us=elapsed_us, upstream_us=0))
    found = samples(metrics.snapshot())
    labels = {"http_request_method": "GET", "http_response_status_code": "200", "http_route": "crm-read"}
    by_bound = {
        bound: value(found, "http_server_request_duration_seconds_bucket", le=bound, **labels)
        for bound in ("0.005", "0.01", "10.0", "+Inf")
    }
    assert by_bound == {"0.005": 1, "0.01": 2, "10.0": 3, "+Inf": 4}


def test_refusals_throttles_and_failures_have_counters_of_their_own() -> None:
    metrics = Metrics()
    metrics.record(
        finished(decision=decided(False), upstream_started_us=None),
        outcome(status=429, reason="rate-limited", source="tenant", upstream=None, upstream_status=None),
    )
    metrics.record(finished(decision=decided(shadow_refused=("writes",))), outcome())
    metrics.record(finished(announcement=throttled()), outcome(status=429, upstream_status=403, source="upstream"))
    again = finished(announcement=throttled(kind="lock", remembered=True), throttle_uninspected=True)
    metrics.record(again, outcome(status=429, source="upstream", reason="upstream-throttled"))
    metrics.record(finished(announcement=throttled(throttled=False)), outcome())
    metrics.record(finished(), outcome(status=502, reason="upstream-connect", upstream_status=None))
    metrics.record(finished(), outcome(status=502, reason="egress-proxy", upstream_status=None))
    metrics.record(finished(upstream_started_us=None), outcome(status=401, reason="unauthenticated", upstream=None))
    found = samples(metrics.snapshot())
    assert value(found, "gateway_ratelimit_decisions_total", decision="limited", route="crm-read") == 1
    assert value(found, "gateway_ratelimit_decisions_total", decision="shadow_limited", route="crm-read") == 1
    assert value(found, "gateway_upstream_throttled_total", upstream="crm", kind="quota") == 1
    assert value(found, "gateway_upstream_throttled_total", upstream="crm", kind="lock") == 1
    assert value(found, "gateway_throttle_remembered_total", upstream="crm") == 1
    assert value(found, "gateway_throttle_uninspected_total", upstream="crm") == 1
    assert len([name for name, _ in found if name == "gateway_upstream_throttled_total"]) == 2
    assert ("gateway_upstream_errors_total", "upstream-throttled") not in [(n, dict(v).get("error")) for n, v in found]
    assert value(found, "gateway_upstream_errors_total", upstream="crm", error="upstream-connect") == 1
    assert value(found, "gateway_upstream_errors_total", upstream="crm", error="egress-proxy") == 1
    assert value(found, "gateway_auth_failures_total", error="unauthenticated") == 1


def test_callers_cannot_make_series() -> None:
    metrics = Metrics()
    for number in range(50):
        metrics.record(finished(method=f"X{number}", path=f"/{number}"), outcome(route=None, tenant=f"t{number}"))
    found = samples(metrics.snapshot())
    counts = [key for key in found if key[0] == "http_server_request_duration_seconds_count"]
    assert len(counts) == 1
    assert dict(counts[0][1]) == {"http_request_method": "_OTHER", "http_response_status_code": "200", "http_route": ""}


def test_merging_adds_counts_and_takes_the_oldest_success() -> None:
    one, other = Metrics(), Metrics()
    for metrics, success_s in ((one, 200.0), (other, 100.0)):
        metrics.record(finished(decision=decided()), outcome())
        metrics.active_requests, metrics.last_success_s = 3, success_s
    behind = [{"gauges": [["gateway_ledger_behind_seconds", [], age_s]]} for age_s in (9, 30, 0)]
    found = samples(one.snapshot(), other.snapshot(), *behind)
    assert value(found, "gateway_ledger_behind_seconds") == 30.0, "the worst of the workers"
    assert value(found, "gateway_ratelimit_decisions_total", decision="allowed", route="crm-read") == 2
    assert value(found, "gateway_overhead_duration_seconds_count", http_route="crm-read") == 2
    assert value(found, "http_server_active_requests") == 6
    assert value(found, "gateway_policy_last_success_time_seconds") == 100.0


def test_a_dead_workers_counts_stay_and_its_gauges_go() -> None:
    gone = Metrics()
    gone.record(finished(decision=decided()), outcome())
    gone.active_requests = 7
    found = samples(settled(gone.snapshot()))
    assert value(found, "gateway_ratelimit_decisions_total", decision="allowed", route="crm-read") == 1
    assert ("http_server_active_requests", ()) not in found


def test_names_that_need_escaping_survive_the_text_format() -> None:
    metrics = Metrics()
    metrics.record(finished(), outcome(route='a"b\\c\nd'))
    found = samples(metrics.snapshot())
    assert value(found, "gateway_overhead_duration_seconds_count", http_route='a"b\\c\nd') == 1


def test_a_snapshot_is_not_changed_by_later_calls() -> None:
    metrics = Metrics()
    metrics.record(finished(), outcome())
    before = metrics.snapshot()
    kept = json.dumps(before)
    metrics.record(finished(), outcome())
    assert json.dumps(before) == kept


def test_every_histogram_is_fed() -> None:
    metrics = Metrics()
    metrics.record(finished(), outcome())
    assert {entry[0] for entry in metrics.snapshot()["histograms"]} == set(HISTOGRAMS)


def test_recording_is_cheap() -> None:
    metrics, exchange, done = Metrics(), finished(decision=decided()), outcome()
    best_s = min(_timed(metrics, exchange, done) for _ in range(5))
    assert best_s / 2_000 < 50e-6, "a guard against something quadratic, not a benchmark"


def _timed(metrics: Metrics, exchange: Any, done: Any) -> float:
    began = time.perf_counter()
    for _ in range(2_000):
        metrics.record(exchange, done)
    return time.perf_counter() - began
