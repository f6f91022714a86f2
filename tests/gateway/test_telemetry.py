"""Spans as an SRE sees them: ids, times, parents, attributes, and what is kept when little is sampled."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from gateway.telemetry import (
    KEPT_PER_SECOND,
    NoSpans,
    OtelSpans,
    sampling_from,
    server_attributes,
    spans_from_environment,
    spans_to,
    wanted,
)
from policies.exchange import Exchange
from tests.gateway.assembly import gateway
from tests.gateway.facts import finished, throttled
from tests.middleware.harness import VirtualClock

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    return InMemorySpanExporter()


def written(spans: OtelSpans, exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    spans.close()
    return list(exporter.get_finished_spans())


@pytest.mark.anyio
async def test_a_sampled_call_is_a_server_span_with_a_client_span_and_the_upstream_is_told(
    exporter: InMemorySpanExporter, tmp_path: Path
) -> None:
    spans = spans_to(exporter, VirtualClock())
    async with gateway(tmp_path, spans=spans) as gate:
        asked = f"traceparent: 00-{TRACE}-{PARENT}-01"
        answer = await gate.call("GET", "/crm/contacts?secret=1", asked, key="demo-globex-key")
        (told,) = gate.origin.requests[0].values("traceparent")
    client, server = written(spans, exporter)
    assert (server.kind, client.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert server.name == "GET /crm/{rest:path}"
    assert server.context is not None
    assert server.parent is not None
    assert client.parent is not None
    assert client.context is not None
    assert f"{server.context.trace_id:032x}" == TRACE
    assert f"{server.parent.span_id:016x}" == PARENT
    assert client.parent.span_id == server.context.span_id
    assert told == f"00-{TRACE}-{client.context.span_id:016x}-01"
    assert server.start_time is not None
    assert client.start_time is not None
    assert client.end_time is not None
    assert server.end_time is not None
    assert server.start_time <= client.start_time <= client.end_time <= server.end_time
    attributes = dict(server.attributes or {})
    assert attributes["http.response.status_code"] == 200
    assert attributes["gateway.tenant.id"] == "globex"
    assert attributes["gateway.ratelimit.outcome"] == "allowed"
    assert attributes["gateway.request.id"] == answer.one("x-request-id")
    assert "secret" not in str(attributes) + str(dict(client.attributes or {}))
    assert server.status.status_code is StatusCode.UNSET


def test_an_upstreams_throttle_is_said_in_the_words_of_the_log() -> None:
    attributes = server_attributes(finished(announcement=throttled(estimated=True), status=429))
    found = {
        name.removeprefix("gateway.throttle."): value for name, value in attributes.items() if ".throttle." in name
    }
    assert found == {
        "provider": "ledger", "kind": "quota", "estimated": True, "received_status": 403, "remembered": False,
        "violated": "crm-daily",
    }  # fmt: skip
    quiet = server_attributes(finished(announcement=throttled(throttled=False)))
    assert not [name for name in quiet if ".throttle." in name]


@pytest.mark.anyio
async def test_unsampled_calls_leave_nothing_and_refusals_are_kept_up_to_the_cap(
    exporter: InMemorySpanExporter, tmp_path: Path
) -> None:
    clock = VirtualClock()
    spans = spans_to(exporter, clock)
    async with gateway(tmp_path, spans=spans, clock=clock) as gate:
        for _ in range(60 + KEPT_PER_SECOND + 10):
            await gate.call("GET", "/crm/contacts", key="demo-globex-key")
    kept = written(spans, exporter)
    assert len(kept) == KEPT_PER_SECOND
    assert {span.kind for span in kept} == {SpanKind.SERVER}
    attributes = dict(kept[0].attributes or {})
    assert attributes["gateway.ratelimit.outcome"] == "limited"
    assert attributes["gateway.ratelimit.policy"] == "minute"
    assert attributes["gateway.ratelimit.source"] == "tenant"
    assert kept[0].status.status_code is StatusCode.UNSET, "a 429 is no error of the server"


@pytest.mark.anyio
async def test_a_5xx_is_an_error_and_kept_without_a_client_span(exporter: InMemorySpanExporter, tmp_path: Path) -> None:
    spans = spans_to(exporter, VirtualClock())
    async with gateway(tmp_path, spans=spans) as gate:
        answer = await gate.call("GET", "/crm/contacts", "x-mock: reset=head", key="demo-acme-key")
        assert answer.status == 502
    (server,) = written(spans, exporter)
    assert server.status.status_code is StatusCode.ERROR
    assert dict(server.attributes or {})["error.type"] == "upstream-protocol"


def test_a_span_that_cannot_be_written_touches_no_request(
    exporter: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    spans = spans_to(exporter, VirtualClock())
    broken = Exchange(started_us=0, started_wall_us=0, request_id="r")
    broken.sampled = True
    broken.trace_state = 5  # type: ignore[assignment]
    broken.trace_id, broken.span_id, broken.parent_span_id = "1", "1", "1"
    spans.finished(broken)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    spans.close()


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "discard"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, False),
    ],
)
def test_nothing_is_sent_unless_the_environment_asks(env: dict[str, str], expected: bool) -> None:
    assert wanted(env) is expected


def test_silence_costs_no_sdk_and_an_unknown_exporter_is_said() -> None:
    assert isinstance(spans_from_environment(VirtualClock(), {}), NoSpans)
    with pytest.raises(ValueError, match="carrier-pigeon"):
        spans_from_environment(VirtualClock(), {"OTEL_TRACES_EXPORTER": "carrier-pigeon"})


@pytest.mark.parametrize(
    ("env", "trace_id", "parent_flags", "kept"),
    [
        ({}, 1, None, True),
        ({}, 1, 0, False),
        ({}, 1, 1, True),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, 1, 0, True),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, 0, None, False),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, 1, 1, True),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, 2**63 - 1, 0, True),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, 2**63, 1, False),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, 2**64 + 2**63 - 1, None, True),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, 0, None, False),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, 0, 1, True),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "all"}, 2**64 - 1, None, True),
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, 1, None, True),
    ],
)
def test_requests_are_sampled_as_the_sdk_would(
    env: dict[str, str], trace_id: int, parent_flags: int | None, kept: bool
) -> None:
    assert sampling_from(env).keeps(f"{trace_id:032x}", parent_flags) is kept


@pytest.mark.parametrize("name", ["traceidratio", "parentbased_traceidratio", "always_on", "parentbased_always_off"])
def test_the_sdks_sampler_agrees(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = {"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": "0.3"}
    for variable, value in env.items():
        monkeypatch.setenv(variable, value)
    theirs = TracerProvider(shutdown_on_exit=False).sampler
    ours = sampling_from(env)
    ids = [random.Random(number).getrandbits(128) for number in range(200)]
    asked = [theirs.should_sample(None, id, "", SpanKind.SERVER).decision.is_sampled() for id in ids]
    assert [ours.keeps(f"{id:032x}", None) for id in ids] == asked
