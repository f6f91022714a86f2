from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.gate import Gate
from policies.exchange import SCOPE_KEY, Exchange
from upstreams.closing import CLOSING_KEY, Closing

pytestmark = pytest.mark.anyio


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await send({"type": "lifespan.startup.complete"})
        return
    headers = [(b"connection", b"keep-alive"), (b"x", b"1")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


async def call(gate: Gate, type_: str = "http") -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    await gate({"type": type_}, receive, send)
    return sent


async def test_answers_pass_untouched_while_open() -> None:
    sent = await call(Gate(hello))
    assert sent[0]["headers"] == [(b"connection", b"keep-alive"), (b"x", b"1")]


async def test_a_draining_gate_makes_every_answer_the_connections_last() -> None:
    gate = Gate(hello)
    gate.draining = True
    assert (await call(gate))[0]["headers"] == [(b"x", b"1"), (b"connection", b"close")]


async def test_the_start_is_noticed() -> None:
    gate = Gate(hello)
    await call(gate, "lifespan")
    assert gate.started.is_set()


async def test_calls_in_flight_are_counted_and_a_failing_or_cancelled_one_is_not_forgotten() -> None:
    going = asyncio.Event()

    async def stuck(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            raise RuntimeError
        going.set()
        await asyncio.Event().wait()

    gate = Gate(stuck)
    task = asyncio.create_task(call(gate))
    await going.wait()
    assert gate.in_flight == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(RuntimeError):
        await call(gate, "websocket")
    assert gate.in_flight == 0


async def test_websockets_are_told_when_they_are_to_end_and_the_gate_knows_when_none_is_left() -> None:
    told, finish = asyncio.Event(), asyncio.Event()

    async def socket(scope: Any, receive: Any, send: Any) -> None:
        scope[CLOSING_KEY].join(told.set)
        await finish.wait()

    gate = Gate(socket)
    task = asyncio.create_task(call(gate, "websocket"))
    await asyncio.sleep(0)
    assert not gate.socketless.is_set()
    gate.closing.begin()
    assert told.is_set()
    finish.set()
    await task
    assert gate.socketless.is_set()


def test_who_comes_late_is_told_at_once_and_who_has_left_is_not_told() -> None:
    closing = Closing()
    told: list[str] = []
    closing.join(gone := lambda: told.append("gone"))
    closing.join(lambda: told.append("open"))
    closing.leave(gone)
    closing.begin()
    closing.join(lambda: told.append("late"))
    closing.begin()
    assert told == ["open", "late"]


@pytest.mark.parametrize(("gone", "begun", "said"), [(True, False, [400]), (True, True, []), (False, False, [])])
async def test_a_caller_that_is_gone_is_told_400_where_nothing_was_said(
    gone: bool, begun: bool, said: list[int]
) -> None:
    """A body that no server could read is a disconnect to us, and one server would answer it with a 500."""

    async def left(scope: Any, receive: Any, send: Any) -> None:
        exchange = scope[SCOPE_KEY] = Exchange(started_us=0, started_wall_us=0, request_id="r-1")
        exchange.client_gone, exchange.head_sent = gone, begun

    sent = await call(Gate(left))
    assert [message["status"] for message in sent if "status" in message] == said
