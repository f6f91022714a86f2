"""Spans through the OpenTelemetry API, exported by the standard ``OTEL_*`` variables; by default nothing is sent.

The request path only chooses ids; the server span and its client span are made here, after the fact, with
those ids and their real times. The sampler that the environment names decides which requests are recorded;
refusals and errors are kept as well, up to ``KEPT_PER_SECOND`` (RULINGS 21).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from policies.announcement import noted
from policies.exchange import Exchange
from policies.ports import Clock

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

log = logging.getLogger("tiergate.telemetry")

KEPT_PER_SECOND = 20
SCOPE = "tiergate"
LOW_64 = 0xFFFF_FFFF_FFFF_FFFF
"""The bits of a trace id that a ratio is taken of, the last 16 digits."""
EVERY = "g"
"""Above every hexadecimal number of as many digits."""


class NoSpans:
    """Telemetry switched off: ids for the log, no spans."""

    def sampled(self, exchange: Exchange) -> bool:
        return False

    def finished(self, exchange: Exchange) -> None:
        return None

    def close(self) -> None:
        return None


class _Preset:
    """The SDK's id generator, giving out the ids that a request chose at its start."""

    def __init__(self) -> None:
        self.trace_id = 0
        self.span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id

    def is_trace_id_random(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which requests are recorded: trace ids below ``bound``, or as the parent decided when ``parent_based``.

    Ids and bound are lower-case hexadecimal of equal length, which compares as the numbers do.
    """

    bound: str
    parent_based: bool

    def keeps(self, trace_id: str, parent_flags: int | None) -> bool:
        """``parent_flags`` are None for a request without a parent."""
        if parent_flags is not None and self.parent_based:
            return bool(parent_flags & TraceFlags.SAMPLED)
        return trace_id[16:] < self.bound


def sampling_from(env: Mapping[str, str]) -> Sampling:
    """What ``OTEL_TRACES_SAMPLER`` and its argument say, by the SDK's own rules and defaults.

    The SDK's samplers answer the same question for several microseconds a request.
    """
    name = (env.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on").lower()
    kind = name.removeprefix("parentbased_")
    if kind not in ("always_on", "always_off", "traceidratio"):
        log.warning("OTEL_TRACES_SAMPLER=%r is not known; every request is recorded", name)
        name, kind = "parentbased_always_on", "always_on"
    ratio = 0.0 if kind == "always_off" else 1.0
    if kind == "traceidratio":
        ratio = _ratio(env.get("OTEL_TRACES_SAMPLER_ARG") or "1")
    bound = round(ratio * (LOW_64 + 1))
    return Sampling(f"{bound:016x}" if bound <= LOW_64 else EVERY, name.startswith("parentbased_"))


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if 0.0 <= ratio <= 1.0:
        return ratio
    log.warning("OTEL_TRACES_SAMPLER_ARG=%r is not between 0 and 1; every request is recorded", text)
    return 1.0


class OtelSpans:
    """Spans of finished requests. ``exporter`` None means the one that the environment names."""

    def __init__(self, clock: Clock, provider: TracerProvider, ids: _Preset, sampling: Sampling) -> None:
        self._clock = clock
        self._provider = provider
        self._tracer = provider.get_tracer(SCOPE)
        self._ids = ids
        self._sampling = sampling
        self._second = 0
        self._kept = 0

    def sampled(self, exchange: Exchange) -> bool:
        return self._sampling.keeps(exchange.trace_id, exchange.trace_flags if exchange.parent_span_id else None)

    def finished(self, exchange: Exchange) -> None:
        try:
            if exchange.sampled:
                self._write(exchange, with_client=True)
            elif exchange.error_code is not None and self._may_keep(exchange.started_us // 1_000_000):
                self._write(exchange, with_client=False)
        except Exception:
            log.exception("a span was not written")

    def close(self) -> None:
        """Flush what is buffered; bounded by the exporter's own timeout."""
        self._provider.shutdown()

    def _may_keep(self, second: int) -> bool:
        if second != self._second:
            self._second, self._kept = second, 0
        self._kept += 1
        return self._kept <= KEPT_PER_SECOND

    def _write(self, exchange: Exchange, *, with_client: bool) -> None:
        self._ids.trace_id, self._ids.span_id = int(exchange.trace_id, 16), int(exchange.span_id, 16)
        route = exchange.plan.route.path if exchange.plan is not None else None
        server = self._tracer.start_span(
            f"{exchange.method} {route}" if route else exchange.method or "HTTP",
            context=_parent_context(exchange)
            if exchange.parent_span_id
            else trace.set_span_in_context(trace.INVALID_SPAN),
            kind=SpanKind.SERVER,
            attributes=server_attributes(exchange),
            start_time=self._wall_ns(exchange, exchange.started_us),
        )
        if (exchange.status or 500) >= 500:
            server.set_status(Status(StatusCode.ERROR, exchange.detail[:256] or None))
        if with_client and exchange.upstream_started_us is not None:
            self._client(exchange, server)
        server.end(self._wall_ns(exchange, exchange.finished_us or exchange.started_us))

    def _client(self, exchange: Exchange, server: trace.Span) -> None:
        self._ids.span_id = int(exchange.upstream_span_id, 16)
        began_us = exchange.upstream_started_us or exchange.started_us
        client = self._tracer.start_span(
            exchange.method,
            context=trace.set_span_in_context(server),
            kind=SpanKind.CLIENT,
            attributes=client_attributes(exchange),
            start_time=self._wall_ns(exchange, began_us),
        )
        if exchange.upstream_status is None or exchange.upstream_status >= 400:
            client.set_status(Status(StatusCode.ERROR))
        client.end(self._wall_ns(exchange, exchange.upstream_finished_us or began_us))

    def _wall_ns(self, exchange: Exchange, steady_us: int) -> int:
        return (exchange.started_wall_us + steady_us - exchange.started_us) * 1000


def server_attributes(exchange: Exchange) -> dict[str, str | int | bool]:
    """Stable HTTP semantic conventions, then ours (spec conventions.md section 2); absent facts are left out."""
    status = exchange.status or 500
    facts: dict[str, str | int | bool | None] = {
        "http.request.method": exchange.method,
        "url.path": exchange.path,
        "url.scheme": "http",
        "http.route": exchange.plan.route.path if exchange.plan is not None else None,
        "http.response.status_code": status,
        "error.type": (exchange.error_code or str(status)) if status >= 500 else None,
        "client.address": exchange.client_address or None,
        "gateway.tenant.id": exchange.tenant.id if exchange.tenant is not None else None,
        "gateway.tier": exchange.tenant.tier if exchange.tenant is not None else None,
        "gateway.policy.version": exchange.snapshot.version if exchange.snapshot is not None else None,
        "gateway.upstream.name": exchange.upstream_name,
        "gateway.error": exchange.error_code,
        "gateway.request.id": exchange.request_id,
        **_ratelimit(exchange),
        **_throttle(exchange),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _ratelimit(exchange: Exchange) -> dict[str, str | int | None]:
    decision = exchange.decision
    if decision is None:
        return {"gateway.ratelimit.source": exchange.source}
    outcome = "allowed" if decision.allowed else "limited"
    return {
        "gateway.ratelimit.outcome": "shadow_limited" if decision.shadow_refused else outcome,
        "gateway.ratelimit.policy": ",".join(decision.refused_by or decision.shadow_refused) or None,
        "gateway.ratelimit.source": exchange.source,
    }


def _throttle(exchange: Exchange) -> dict[str, str | int | bool | None]:
    """The facts of an upstream's throttle that the access log has."""
    said = exchange.announcement
    if said is None or not said.throttled:
        return {}
    return {f"gateway.throttle.{name}": fact for name, fact in noted(said).items()}


def client_attributes(exchange: Exchange) -> dict[str, str | int]:
    """The client span's attributes; the full URL is left out because queries may carry secrets."""
    upstream = exchange.plan.upstream if exchange.plan is not None else None
    facts: dict[str, str | int | None] = {
        "http.request.method": exchange.method,
        "server.address": upstream.host if upstream else exchange.upstream_host,
        "server.port": upstream.port if upstream else None,
        "url.template": exchange.plan.route.path if exchange.plan is not None else None,
        "http.response.status_code": exchange.upstream_status,
        "error.type": (exchange.error_code or "other") if exchange.upstream_status is None else None,
        "gateway.upstream.name": exchange.upstream_name,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _parent_context(exchange: Exchange) -> Any:
    """The caller's span as an OpenTelemetry context."""
    span = SpanContext(
        int(exchange.trace_id, 16),
        int(exchange.parent_span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(exchange.trace_flags),
        trace_state=TraceState.from_header([exchange.trace_state]) if exchange.trace_state else None,
    )
    return trace.set_span_in_context(NonRecordingSpan(span))


def wanted(env: Mapping[str, str]) -> bool:
    """Whether the environment asks for traces: an exporter or an endpoint is named and the SDK is not disabled."""
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    names = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(env.get(name) for name in names)


def spans_from_environment(clock: Clock, env: Mapping[str, str] = os.environ) -> NoSpans | OtelSpans:
    """Spans to where ``OTEL_*`` says; ``NoSpans`` when it says nothing. An unknown exporter is a ``ValueError``."""
    if not wanted(env):
        return NoSpans()
    kind = env.get("OTEL_TRACES_EXPORTER") or "otlp"
    if kind == "otlp":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return spans_to(OTLPSpanExporter(), clock, env)
    if kind == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return spans_to(ConsoleSpanExporter(), clock, env)
    if kind == "discard":
        return spans_to(_discarding(), clock, env)
    raise ValueError(f"OTEL_TRACES_EXPORTER={kind!r} is not known; use otlp, console, discard or none")


def _discarding() -> SpanExporter:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Discarding(SpanExporter):
        """Takes spans and forgets them: what tracing costs without a collector."""

        def export(self, spans: object) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    return Discarding()


def spans_to(exporter: SpanExporter, clock: Clock, env: Mapping[str, str] = os.environ) -> OtelSpans:
    """Spans batched to ``exporter`` on a thread of their own, so that a slow one never touches a request."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    ids = _Preset()
    name = os.environ.get("OTEL_SERVICE_NAME", "tiergate")
    provider = TracerProvider(
        sampler=ALWAYS_ON,  # what is written here was chosen before
        id_generator=ids,  # type: ignore[arg-type]
        resource=Resource.create({"service.name": name, "service.instance.id": f"{os.getpid()}"}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return OtelSpans(clock, provider, ids, sampling_from(env))
