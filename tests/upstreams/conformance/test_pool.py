"""Slots: a bounded and fair wait, and none lost to callers that leave at any stage (RULINGS 18; DESIGN 8)."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from policies.model import Pool
from tests.upstreams.conformance.cases import answer
from tests.upstreams.conformance.engines import ENGINES, on_every_engine
from tests.upstreams.conformance.origin import Act, Drip, Origin, Script, turns
from tests.upstreams.conformance.stage import PATIENT as UNHURRIED  # of that name the census expects a table
from tests.upstreams.conformance.stage import Failed, Stage, outcome, pieces, request, staged
from tests.upstreams.rig import MS
from upstreams.transport import UpstreamRequest

pytestmark = pytest.mark.anyio

LONG_WAIT = Pool(connections=1, wait_us=5_000 * MS)
TEN = Pool(connections=10, wait_us=5_000 * MS)
LARGE = answer(body=b"x" * 2_000_000)


@on_every_engine
async def test_the_wait_for_a_slot_is_bounded(engine: str) -> None:
    async with staged(engine, Origin((Act.GO, answer())), pool=Pool(connections=1, wait_us=150 * MS)) as stage:
        first = asyncio.create_task(stage.fetch())
        await stage.origin.arrived.wait()
        began = asyncio.get_running_loop().time()
        error = (await stage.failure()).error
        assert (error.code, error.proxy_error, error.phase, error.sent) == (
            "upstream-pool",
            "connection_limit_reached",
            "queue",
            False,
        )
        assert 0.1 < asyncio.get_running_loop().time() - began < 2
        stage.origin.go.set()
        assert (await first).body == b"ok"


@on_every_engine
async def test_whoever_waits_longest_is_served_first(engine: str) -> None:
    async with staged(engine, Origin((Act.GO, answer())), pool=LONG_WAIT) as stage:
        first = asyncio.create_task(stage.fetch())
        await stage.origin.arrived.wait()
        waiting = []
        for _ in range(10):
            waiting.append(asyncio.create_task(stage.probe()))
            await turns()
        stage.origin.go.set()
        await asyncio.gather(first, *waiting)
        markers = [arrival.value(b"x-marker") for arrival in stage.origin.arrivals if arrival.target == b"/probe"]
        assert markers == sorted(markers, key=lambda marker: int((marker or b"").rpartition(b"-")[2]))
        assert [(await task).value(b"x-marker") for task in waiting] == markers


@on_every_engine
async def test_whoever_waits_is_not_overtaken_by_a_newcomer(engine: str) -> None:
    async with staged(engine, Origin((Act.GO, answer())), pool=LONG_WAIT) as stage:
        order: list[str] = []

        async def named(name: str) -> None:
            await stage.probe()
            order.append(name)

        async def first() -> None:
            await stage.fetch()
            await named("newcomer")

        holder = asyncio.create_task(first())
        await stage.origin.arrived.wait()
        waiter = asyncio.create_task(named("waiter"))
        await turns()
        stage.origin.go.set()
        await asyncio.gather(holder, waiter)
        assert order == ["waiter", "newcomer"]


@on_every_engine
async def test_no_more_connections_are_made_than_allowed(engine: str) -> None:
    async with staged(engine, Origin((0.02, answer())), pool=Pool(connections=3, wait_us=5_000 * MS)) as stage:
        await asyncio.gather(*(stage.fetch() for _ in range(12)))
        assert stage.origin.connections == 3


@on_every_engine
async def test_a_slot_freed_by_a_failure_goes_to_whoever_waits(engine: str) -> None:
    async with staged(engine, Origin((Act.GO, b"garbage\r\n\r\n")), pool=LONG_WAIT) as stage:
        failing = asyncio.create_task(stage.failure())
        await stage.origin.arrived.wait()
        waiting = [asyncio.create_task(stage.probe()) for _ in range(3)]
        await turns()
        stage.origin.go.set()
        await asyncio.gather(failing, *waiting)


@on_every_engine
async def test_a_slot_freed_by_a_close_delimited_answer_goes_to_whoever_waits(engine: str) -> None:
    async with staged(engine, Origin((Act.GO, answer(length=False), Act.CLOSE)), pool=LONG_WAIT) as stage:
        first = asyncio.create_task(stage.fetch())
        await stage.origin.arrived.wait()
        waiting = [asyncio.create_task(stage.probe()) for _ in range(3)]
        await turns()
        stage.origin.go.set()
        await asyncio.gather(first, *waiting)


@on_every_engine
async def test_a_body_on_its_way_holds_its_slot(engine: str) -> None:
    async with staged(engine, Origin((LARGE,)), pool=Pool(connections=1, wait_us=100 * MS)) as stage:
        held = await stage.engine.send(request())
        assert (await stage.failure()).error.code == "upstream-pool"
        assert stage.origin.connections == 1
        await held.aclose()


# Callers that leave


async def upload(stage: Stage) -> None:
    async def halting() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        await asyncio.Event().wait()

    await outcome(stage.engine, request(b"POST", body=halting()))


async def plain(stage: Stage) -> None:
    await outcome(stage.engine, request())


async def unread(stage: Stage) -> None:
    held = await stage.engine.send(request())
    try:
        await asyncio.Event().wait()
    finally:
        await held.aclose()


async def stuck(stage: Stage) -> None:
    """Cancelled while it reads."""
    held = await stage.engine.send(request())
    async for _ in held.body():
        pass


STAGES: dict[str, tuple[Any, Script, dict[str, Any]]] = {
    "waiting-for-the-head": (plain, (Act.HOLD,), {}),
    "within-the-head": (plain, (b"HTTP/1.1 200 OK\r\na: ", Act.HOLD), {}),
    "behind-an-interim-answer": (plain, (b"HTTP/1.1 103 Hints\r\n\r\n", Act.HOLD), {}),
    "with-the-head-and-nothing-read": (unread, (LARGE,), {}),
    "within-the-content": (stuck, (LARGE[:-1], Act.HOLD), {}),
    "within-a-chunk": (stuck, (answer(b"transfer-encoding: chunked", length=False, body=b"9\r\nok"), Act.HOLD), {}),
    "within-content-to-the-close": (stuck, (answer(length=False), Act.HOLD), {}),
    "within-content-that-drips": (stuck, (answer(body=b"x" * 900)[:-900], Drip(data=b"x" * 900, gap_s=0.001)), {}),
    "within-the-upload": (upload, (Act.HOLD,), {"early": True}),
}


@pytest.mark.parametrize("engine", list(ENGINES))
@pytest.mark.parametrize("stage_name", list(STAGES))
async def test_a_caller_that_leaves_gives_its_slot_back(stage_name: str, engine: str) -> None:
    call, script, more = STAGES[stage_name]
    async with staged(engine, Origin(script, **more), pool=TEN) as stage:
        calls = [asyncio.create_task(call(stage)) for _ in range(10)]
        while len(stage.origin.cases) < 10:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        for task in calls:
            task.cancel()
        left = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(one) for one in left} == {asyncio.CancelledError}
        await stage.probes(10)


@on_every_engine
async def test_a_caller_that_leaves_the_queue_takes_no_slot_along(engine: str) -> None:
    async with staged(engine, Origin((Act.GO, answer())), pool=LONG_WAIT) as stage:
        first = asyncio.create_task(stage.fetch())
        await stage.origin.arrived.wait()
        waiting = [asyncio.create_task(stage.fetch()) for _ in range(20)]
        await turns()
        for task in waiting[::2]:
            task.cancel()
        await turns()
        stage.origin.go.set()
        await asyncio.gather(first, *waiting[1::2])
        await stage.probes(10)


@on_every_engine
async def test_a_caller_that_leaves_as_it_is_served_hands_its_slot_on(engine: str) -> None:
    """Cancelled in the very turn in which the slot becomes free, in every order of the two."""
    async with staged(engine, Origin((answer(),)), pool=LONG_WAIT) as stage:
        for pauses in range(12):
            held = await stage.engine.send(request(b"GET", b"/case"))
            waiting = asyncio.create_task(stage.fetch())
            await turns()
            with contextlib.suppress(asyncio.CancelledError):
                async for _ in held.body():
                    pass
            await held.aclose()
            for _ in range(pauses):
                await asyncio.sleep(0)
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
            await stage.probe()


@on_every_engine
async def test_a_caller_that_leaves_while_connecting_gives_its_slot_back(engine: str) -> None:
    """In every turn of the loop between the call and its connection."""
    async with staged(engine, Origin((answer(b"connection: close"),)), pool=LONG_WAIT, timeouts=UNHURRIED) as stage:
        for pauses in range(20):
            call = asyncio.create_task(stage.fetch())
            for _ in range(pauses):
                await asyncio.sleep(0)
            call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await call
        await stage.probes(10)


@on_every_engine
async def test_a_storm_of_callers_that_leave_costs_no_slot_and_mixes_nothing_up(engine: str) -> None:
    """Every answer that arrives is its caller's own."""
    scripts: tuple[Script, ...] = (
        (answer(),),
        (LARGE,),
        (0.005, answer()),
        (b"garbage\r\n\r\n",),
        (Act.RESET,),
        (answer() + answer(body=b"poison"),),
        (answer(b"connection: close"), Act.CLOSE),
        (LARGE[:-1], Act.CLOSE),
        (Drip(data=answer(), gap_s=0.0005),),
        (Act.HOLD,),
    ) * 60
    dice = random.Random(7)
    async with staged(engine, Origin(*scripts), pool=TEN) as stage:

        async def worker() -> None:
            for _ in range(15):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(dice.random() * 0.02):
                        if dice.random() < 0.5:
                            await stage.probe()
                        elif dice.random() < 0.3:
                            await outcome(stage.engine, request(b"POST", body=pieces(b"x" * 70_000)))
                        else:
                            await outcome(stage.engine, request())

        await asyncio.gather(*(worker() for _ in range(40)))
        await stage.probes(10)


@on_every_engine
async def test_a_transport_that_is_closed_ends_its_calls(engine: str) -> None:
    """A caller in flight gets an error, not a hang, and no connection stays."""
    async with staged(engine, Origin((Act.HOLD,)), probed=False) as stage:
        call: asyncio.Task[Any] = asyncio.create_task(outcome(stage.engine, request()))
        await stage.origin.arrived.wait()
        await stage.engine.aclose()
        async with asyncio.timeout(2):
            assert isinstance(await call, Failed)
            await stage.origin.until_open(0)


@on_every_engine
async def test_many_callers_through_few_connections_each_get_their_own_answer(engine: str) -> None:
    async with staged(engine, Origin((answer(),)), pool=Pool(connections=3, wait_us=10_000 * MS)) as stage:

        async def caller(number: int) -> None:
            marker = b"own-%d" % number
            sent = UpstreamRequest(method=b"GET", target=b"/probe", headers=[(b"host", b"o"), (b"x-marker", marker)])
            for _ in range(10):
                result = await outcome(stage.engine, sent)
                assert not isinstance(result, Failed)
                assert result.body == marker

        await asyncio.gather(*(caller(number) for number in range(30)))
