"""The store's answer on the wire; slots that come back whatever happens."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from middleware.admission import Admission
from policies.admission import Book, Decision, Demand, Lease
from policies.errors import GatewayError
from policies.exchange import SCOPE_KEY, Exchange
from policies.model import Concurrent, Cost, PolicySet, Route, Tenant, Tier, Upstream, Window
from policies.plan import Plan, compile_plan
from tests.middleware.harness import Recorded, VirtualClock

pytestmark = pytest.mark.anyio

MINUTE = Window(name="minute", amount=3, period_us=60_000_000)
PARALLEL = Concurrent(name="parallel", slots=1)


def plan(cost: int = 1) -> Plan:
    upstream = Upstream(name="u", scheme="http", host="u.test", port=80, base_path="", vendor="u")
    route = Route(name="r", path="/r", methods=None, upstream="u", group="r", cost=Cost(default=cost))
    tiers = {"t": Tier(name="t", limits=(MINUTE, PARALLEL))}
    policy = PolicySet(version="v", tiers=tiers, upstreams={"u": upstream}, routes={"r": route})
    return compile_plan(policy, Tenant(id="a", tier="t"), route)


class BookStore:
    """An ``AdmissionStore`` that is the reference book under a test's clock."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.book = Book()
        self.renewed = 0

    async def admit(self, account: str, demand: Demand) -> Decision:
        return self.book.admit(account, demand, self._clock.steady_us(), self._clock.wall_us())

    async def read(self, account: str, demand: Demand) -> Decision:
        return self.book.read(account, demand, self._clock.steady_us(), self._clock.wall_us())

    def release(self, lease: Lease) -> None:
        self.book.release(lease)

    def renew(self, lease: Lease) -> None:
        self.renewed += 1
        self.book.renew(lease, self._clock.steady_us())

    async def aclose(self) -> None:
        return None


def scope(found: Plan | None) -> dict[str, Any]:
    exchange = Exchange(started_us=0, started_wall_us=0, request_id="r")
    exchange.plan, exchange.account = found, "a"
    return {"type": "http", "headers": [], SCOPE_KEY: exchange}


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def left(store: BookStore) -> tuple[int, int]:
    decision = await store.read("a", plan().demand)
    return decision.readings[0][1], decision.free_slots[0]


async def test_an_admitted_call_carries_the_fields_and_gives_its_slot_back() -> None:
    clock, recorded = VirtualClock(), Recorded()
    store = BookStore(clock)
    await Admission(answer, store=store, clock=clock)(scope(plan()), None, recorded.send)  # type: ignore[arg-type]
    head = dict(recorded.messages[0]["headers"])
    assert head[b"ratelimit"] == b'"minute";r=2;t=60, "parallel";r=0'
    assert head[b"x"] == b"y"
    assert await left(store) == (2, 1)


@pytest.mark.parametrize("failure", [RuntimeError, GatewayError, asyncio.CancelledError])
async def test_the_slot_comes_back_when_the_call_fails_or_is_cancelled(failure: type[BaseException]) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise failure("no-route")

    clock = VirtualClock()
    store = BookStore(clock)
    with pytest.raises(failure):
        await Admission(failing, store=store, clock=clock)(scope(plan()), None, Recorded().send)  # type: ignore[arg-type]
    assert await left(store) == (2, 1)


async def test_a_refused_call_never_reaches_the_inside() -> None:
    async def unreachable(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    clock = VirtualClock()
    store = BookStore(clock)
    for _ in range(3):
        decision = await store.admit("a", plan().demand)
        assert decision.lease is not None
        store.release(decision.lease)
    with pytest.raises(GatewayError) as caught:
        await Admission(unreachable, store=store, clock=clock)(scope(plan()), None, Recorded().send)  # type: ignore[arg-type]
    error = caught.value
    assert (error.code, error.violated, error.retry_after_s, error.retry_after_ms) == (
        "rate-limited",
        ("minute",),
        60,
        60_000,
    )


async def test_a_call_that_can_never_fit_is_403_and_charges_nothing() -> None:
    clock = VirtualClock()
    store = BookStore(clock)
    with pytest.raises(GatewayError) as caught:
        await Admission(answer, store=store, clock=clock)(scope(plan(cost=4)), None, Recorded().send)  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.violated) == ("cost-exceeds-limit", ("minute",))
    assert await left(store) == (3, 1)


async def test_a_stream_that_outlives_its_lease_keeps_its_slot() -> None:
    clock = VirtualClock()
    store = BookStore(clock)

    async def streaming(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(10):
            clock.advance(plan().demand.lease_us // 2)
            await send({"type": "http.response.body", "body": b"tick", "more_body": True})
            assert (await left(store))[1] == 0, "the slot was lost while the stream lived"
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    await Admission(streaming, store=store, clock=clock)(scope(plan()), None, Recorded().send)  # type: ignore[arg-type]
    assert store.renewed >= 5
    assert (await left(store))[1] == 1


async def test_a_request_without_a_plan_is_our_bug_and_other_scopes_pass() -> None:
    clock = VirtualClock()
    admission = Admission(answer, store=BookStore(clock), clock=clock)
    with pytest.raises(GatewayError, match="internal"):
        await admission(scope(None), None, Recorded().send)  # type: ignore[arg-type]
    recorded = Recorded()
    await admission({"type": "lifespan"}, None, recorded.send)  # type: ignore[arg-type]
    assert len(recorded.messages) == 2
