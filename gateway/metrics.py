"""The first metrics: counted per worker in plain lists, merged and rendered by the supervisor.

Labels are names from policy files, methods, statuses and error codes, never a path, a tenant or a key
(spec conventions.md section 2), so the number of series is bounded by the policy. ``record`` runs once a
request and costs about a microsecond; nothing here is locked, a worker records on one thread.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from policies.announcement import Announcement
    from policies.exchange import Exchange, Outcome

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""The advised boundaries of ``http.server.request.duration``."""
OVERHEAD = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"})
OTHER_METHOD = "_OTHER"
"""What ``http.request.method`` says for an unknown one, so that a caller cannot make series."""

HISTOGRAMS: Mapping[str, tuple[str, tuple[str, ...], tuple[float, ...]]] = {
    "http_server_request_duration_seconds": (
        "Time from a request's head to the last byte of its answer.",
        ("http_request_method", "http_route", "http_response_status_code"),
        SECONDS,
    ),
    "http_client_request_duration_seconds": (
        "Time from sending a request upstream to the last byte of the answer.",
        ("http_request_method", "upstream", "http_response_status_code"),
        SECONDS,
    ),
    "gateway_overhead_duration_seconds": (
        "Time of a request that was not the upstream's.",
        ("http_route",),
        OVERHEAD,
    ),
}
COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "gateway_ratelimit_decisions": ("Admission decisions.", ("decision", "route")),
    "gateway_upstream_errors": ("Calls that failed at or on the way to the upstream.", ("upstream", "error")),
    "gateway_upstream_throttled": ("Calls that the upstream throttled.", ("upstream", "kind")),
    "gateway_throttle_remembered": ("Those of them that were not sent, because it had said so before.", ("upstream",)),
    "gateway_throttle_uninspected": (
        "Answers whose body may have said so, but was too large, too slow or not to be decoded.",
        ("upstream",),
    ),
    "gateway_auth_failures": ("Calls without a valid credential.", ("error",)),
    "gateway_policy_reloads": ("Looks at the policy directory, by what became of them.", ("outcome",)),
    "gateway_outcomes_recorded": ("Requests whose outcome was recorded for the SLA.", ()),
    "gateway_outcomes_lost": (
        "Those of them that will not be in the ledger: no disk to write to, or a wrong clock.",
        (),
    ),
    "gateway_access_log_dropped": ("Access-log lines that could not be written.", ()),
    "gateway_worker_restarts": ("Workers that ended unasked and were replaced.", ()),
}
GAUGES: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "http_server_active_requests": ("Requests being answered now.", (), "sum"),
    "gateway_workers": ("Worker processes that are ready.", (), "sum"),
    "gateway_policy_last_success_time_seconds": (
        "Unix time at which the policy directory was last found good.",
        (),
        "min",
    ),
    "gateway_ledger_behind_seconds": (
        "Since the end of the oldest minute that the shared ledger does not have yet; 0 while it is reached.",
        (),
        "max",
    ),
}

AUTH_FAILURES = frozenset({"unauthenticated", "credential-failures", "auth-unavailable"})
WAY_OUT = ("upstream-", "egress-proxy")
"""How the codes begin of what failed between this gateway and an upstream's answer."""


class _Spread:
    """One histogram series: count per bucket (the last is +Inf) and the sum in microseconds."""

    __slots__ = ("counts", "sum_us")

    def __init__(self, size: int) -> None:
        self.counts = [0] * size
        self.sum_us = 0


def _bounds_us(bounds: Sequence[float]) -> list[int]:
    return [round(bound * 1_000_000) for bound in bounds]


_SECONDS_US = _bounds_us(SECONDS)
_OVERHEAD_US = _bounds_us(OVERHEAD)


class Metrics:
    """The sink of one worker. ``active_requests`` is set by whoever counts them."""

    __slots__ = ("_clients", "_counters", "_overheads", "_servers", "active_requests", "last_success_s")

    def __init__(self) -> None:
        self._servers: dict[tuple[str, str | None, int], _Spread] = {}
        self._clients: dict[tuple[str, str, int], _Spread] = {}
        self._overheads: dict[str | None, _Spread] = {}
        self._counters: dict[tuple[str, str, str], int] = {}
        self.active_requests = 0
        self.last_success_s = 0.0

    def record(self, exchange: Exchange, outcome: Outcome) -> None:
        """Count one finished request."""
        method = exchange.method if exchange.method in METHODS else OTHER_METHOD
        elapsed = outcome.elapsed_us
        route = outcome.route
        key = (method, route, outcome.status)
        spread = self._servers.get(key)
        if spread is None:
            spread = self._servers[key] = _Spread(len(_SECONDS_US) + 1)
        spread.counts[bisect_left(_SECONDS_US, elapsed)] += 1
        spread.sum_us += elapsed
        overhead = elapsed - outcome.upstream_us
        spread = self._overheads.get(route)
        if spread is None:
            spread = self._overheads[route] = _Spread(len(_OVERHEAD_US) + 1)
        spread.counts[bisect_left(_OVERHEAD_US, overhead)] += 1
        spread.sum_us += overhead
        if outcome.upstream is not None and exchange.upstream_started_us is not None:
            self._client(method, outcome.upstream, outcome.upstream_status or 0, outcome.upstream_us)
        if exchange.decision is not None:
            counters, decision = self._counters, exchange.decision
            counted = ("gateway_ratelimit_decisions", "allowed" if decision.allowed else "limited", route or "")
            counters[counted] = counters.get(counted, 0) + 1
            if decision.shadow_refused:
                self.count("gateway_ratelimit_decisions", "shadow_limited", route or "")
        if exchange.announcement is not None and exchange.announcement.throttled:
            self._throttled(exchange.announcement, outcome.upstream or "")
        elif outcome.reason is not None:
            self._failed(outcome.reason, outcome.upstream or "")
        if exchange.throttle_uninspected:
            self.count("gateway_throttle_uninspected", outcome.upstream or "")

    def count(self, name: str, first: str = "", second: str = "", by: int = 1) -> None:
        """Add to a counter of ``COUNTERS``; the labels stand in the table's order."""
        key = (name, first, second)
        self._counters[key] = self._counters.get(key, 0) + by

    def _client(self, method: str, upstream: str, status: int, elapsed: int) -> None:
        key = (method, upstream, status)
        spread = self._clients.get(key)
        if spread is None:
            spread = self._clients[key] = _Spread(len(_SECONDS_US) + 1)
        spread.counts[bisect_left(_SECONDS_US, elapsed)] += 1
        spread.sum_us += elapsed

    def _throttled(self, said: Announcement, upstream: str) -> None:
        self.count("gateway_upstream_throttled", upstream, said.kind)
        if said.remembered:
            self.count("gateway_throttle_remembered", upstream)

    def _failed(self, reason: str, upstream: str) -> None:
        if reason.startswith(WAY_OUT):
            self.count("gateway_upstream_errors", upstream, reason)
        elif reason in AUTH_FAILURES:
            self.count("gateway_auth_failures", reason)

    def snapshot(self) -> dict[str, Any]:
        """Everything so far, as JSON can carry it and ``merge`` reads it."""
        return {
            "counters": [
                [name, _labels(name, (first, second)), n] for (name, first, second), n in self._counters.items()
            ],
            "histograms": [
                *_spreads("http_server_request_duration_seconds", self._servers),
                *_spreads("http_client_request_duration_seconds", self._clients),
                *_spreads("gateway_overhead_duration_seconds", self._overheads),
            ],
            "gauges": [
                ["http_server_active_requests", [], self.active_requests],
                ["gateway_policy_last_success_time_seconds", [], self.last_success_s],
            ],
        }


def _labels(name: str, values: tuple[str, ...]) -> list[str]:
    return list(values[: len(COUNTERS[name][1])])


def _spreads(name: str, kept: Mapping[Any, _Spread]) -> Iterator[list[Any]]:
    for key, spread in kept.items():
        parts = key if isinstance(key, tuple) else (key,)
        yield [name, [_text(part) for part in parts], list(spread.counts), spread.sum_us]


def _text(part: object) -> str:
    return "" if part in (None, 0) else str(part)


def merge(snapshots: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One snapshot that adds up ``snapshots``; gauges by their rule of ``GAUGES``."""
    counters: dict[tuple[str, tuple[str, ...]], int] = {}
    spreads: dict[tuple[str, tuple[str, ...]], tuple[list[int], int]] = {}
    gauges: dict[tuple[str, tuple[str, ...]], float] = {}
    for snapshot in snapshots:
        for name, labels, value in snapshot.get("counters", ()):
            counters[name, tuple(labels)] = counters.get((name, tuple(labels)), 0) + value
        for name, labels, counts, sum_us in snapshot.get("histograms", ()):
            old, old_sum = spreads.get((name, tuple(labels)), ([0] * len(counts), 0))
            spreads[name, tuple(labels)] = ([a + b for a, b in zip(old, counts, strict=True)], old_sum + sum_us)
        for name, labels, value in snapshot.get("gauges", ()):
            _combine(gauges, (name, tuple(labels)), value)
    return {
        "counters": [[name, list(labels), value] for (name, labels), value in counters.items()],
        "histograms": [[name, list(labels), counts, total] for (name, labels), (counts, total) in spreads.items()],
        "gauges": [[name, list(labels), value] for (name, labels), value in gauges.items()],
    }


_RULES: Mapping[str, Callable[[float, float], float]] = {"sum": operator.add, "min": min, "max": max}


def _combine(gauges: dict[tuple[str, tuple[str, ...]], float], key: tuple[str, tuple[str, ...]], value: float) -> None:
    if key not in gauges:
        gauges[key] = value
    else:
        gauges[key] = _RULES[GAUGES[key[0]][2]](gauges[key], value)


def settled(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """What stays of a worker that has gone: its counts, so that no counter goes back, but not its gauges."""
    return {**snapshot, "gauges": []}


def render(merged: Mapping[str, Any]) -> bytes:
    """Prometheus text of a merged snapshot."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(merged))
    return generate_latest(registry)


CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Families:
    """A merged snapshot as the client library's collector."""

    def __init__(self, merged: Mapping[str, Any]) -> None:
        self._merged = merged

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        for name, (text, labels) in COUNTERS.items():
            counter = CounterMetricFamily(name, text, labels=labels)
            for values, number in self._of("counters", name):
                counter.add_metric(values, number)
            yield counter
        for name, (text, labels, _) in GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=labels)
            for values, number in self._of("gauges", name):
                gauge.add_metric(values, number)
            yield gauge
        for name, (text, labels, bounds) in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(name, text, labels=labels)
            for values, counts, sum_us in self._of("histograms", name):
                histogram.add_metric(values, _cumulated(bounds, counts), sum_us / 1_000_000)
            yield histogram

    def _of(self, kind: str, name: str) -> list[list[Any]]:
        return sorted(entry[1:] for entry in self._merged.get(kind, ()) if entry[0] == name)


def _cumulated(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    total, rows = 0, []
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        total += count
        rows.append((bound, total))
    return rows  # type: ignore[return-value]
