"""Exactly one outcome a request, whatever happens."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from middleware.outcomes import Outcomes, outcome_of
from policies.errors import GatewayError
from policies.exchange import SCOPE_KEY, Exchange, Outcome
from tests.gateway.facts import finished
from tests.middleware.harness import Recorded, VirtualClock

pytestmark = pytest.mark.anyio

START = {"type": "http.response.start", "status": 200, "headers": []}


class Sink:
    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def record(self, exchange: Exchange, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


class BrokenSink:
    def record(self, exchange: Exchange, outcome: Outcome) -> None:
        raise OSError("full")


async def run(app: Any, *, raises: type[BaseException] | None = None) -> tuple[Outcome, Recorded, Exchange]:
    exchange = Exchange(started_us=1_000_000, started_wall_us=0, request_id="req-1")
    sink, recorded = Sink(), Recorded()
    outer = Outcomes(app, clock=VirtualClock(steady_us=1_250_000), sinks=(BrokenSink(), sink))
    scope = {"type": "http", "method": "GET", "headers": [], SCOPE_KEY: exchange}
    if raises is None:
        await outer(scope, None, recorded.send)  # type: ignore[arg-type]
    else:
        with pytest.raises(raises):
            await outer(scope, None, recorded.send)  # type: ignore[arg-type]
    assert len(sink.outcomes) == 1, "a sink that fails must not cost the others their record"
    return sink.outcomes[0], recorded, exchange


async def test_an_answer_in_many_parts_is_one_outcome_with_its_size_and_time() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for n in range(5):
            await send({"type": "http.response.body", "body": b"x" * n, "more_body": n < 4})

    outcome, recorded, exchange = await run(app)
    assert (outcome.status, outcome.elapsed_us, exchange.bytes_out, outcome.truncated_by) == (200, 250_000, 10, None)
    head = dict(recorded.messages[0]["headers"])
    assert head[b"x-request-id"] == b"req-1"
    assert head[b"date"].endswith(b" GMT")


async def test_the_upstreams_date_is_kept() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope[SCOPE_KEY].origin = "upstream"
        await send({**START, "headers": [(b"date", b"theirs")]})
        await send({"type": "http.response.body", "body": b""})

    _, recorded, _ = await run(app)
    assert recorded.messages[0]["headers"] == [(b"date", b"theirs"), (b"x-request-id", b"req-1")]


async def test_a_failure_before_the_head_counts_as_500_of_the_gateway() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("boom")

    outcome, _, exchange = await run(app, raises=RuntimeError)
    assert (outcome.status, outcome.origin, outcome.reason) == (500, "gateway", "internal")
    assert "boom" in exchange.detail


@pytest.mark.parametrize("by", ["upstream", None])
async def test_a_message_cut_after_the_head_says_by_whom(by: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        scope[SCOPE_KEY].truncated_by = by
        raise GatewayError("upstream-protocol")

    outcome, _, _ = await run(app, raises=GatewayError)
    assert outcome.truncated_by == (by or "gateway")
    assert outcome.status == 200


async def test_a_caller_that_left_is_499_of_the_client() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope[SCOPE_KEY].client_gone = True
        scope[SCOPE_KEY].phase = "upstream_wait"

    outcome, _, _ = await run(app)
    assert (outcome.status, outcome.origin, outcome.phase, outcome.reason) == (499, "client", "upstream_wait", None)


async def test_a_cancelled_request_is_recorded_and_stays_cancelled() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise asyncio.CancelledError

    outcome, _, exchange = await run(app, raises=asyncio.CancelledError)
    assert (outcome.status, outcome.origin) == (500, "gateway")
    assert exchange.detail == "cancelled"


async def test_other_scopes_pass_through_unrecorded() -> None:
    sink = Sink()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["seen"] = True

    scope: dict[str, Any] = {"type": "lifespan"}
    await Outcomes(app, clock=VirtualClock(), sinks=(sink,))(scope, None, None)  # type: ignore[arg-type]
    assert scope["seen"]
    assert sink.outcomes == []


async def test_every_fact_of_an_outcome_is_always_there() -> None:
    for exchange in (Exchange(0, 0, "r"), finished()):
        made = outcome_of(exchange, 1)
        assert all(hasattr(made, field.name) for field in dataclasses.fields(Outcome))
