"""The open-loop client over real sockets, the probes over a scripted one, and the scenario file for Locust."""

from __future__ import annotations

import asyncio
import importlib
import sys
from itertools import count
from types import ModuleType, SimpleNamespace
from typing import Any

import anyio
import pytest

from loadtests.arrivals import origin, probe
from loadtests.arrivals.client import Call, Client
from loadtests.arrivals.limits import Limit, SlotLimit, Tenant, WindowLimit
from loadtests.arrivals.origin import Visits, now_us
from loadtests.soak import KINDS, Load, content
from tests.loadtests.test_answers import BODY

pytestmark = pytest.mark.anyio

TENANT = Tenant(name="t", tier="t", key="k", limits=(WindowLimit(name="short", amount=20, period_us=2_000_000),))


def request(call: Call) -> bytes:
    return f"GET /{call.number} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


async def test_calls_are_sent_on_time_while_earlier_ones_wait_and_their_wait_is_counted() -> None:
    """The server answers nobody before all have come: a client that waited for answers would never end."""
    here: list[asyncio.StreamWriter] = []
    all_here = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        here.append(writer)
        if len(here) == 5:
            all_here.set()
        await all_here.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client, start = Client("127.0.0.1", port_of(server), request), now_us()
    calls = [Call(number, 0, start + number * 20_000) for number in range(5)]
    await client.run(calls, lambda done: None)
    server.close()
    client.close()
    assert [call.status for call in calls] == [200] * 5
    assert all(call.sent_us >= call.intended_us for call in calls), "never early"
    assert calls[0].latency_us >= 80_000, "the first one waited for the last"


async def test_a_call_that_could_not_be_sent_in_time_is_charged_for_it() -> None:
    server = await origin.serve(Visits(), 0)
    client = Client("127.0.0.1", port_of(server), request)
    late = Call(0, 0, now_us() - 500_000)
    await client.run([late], lambda done: None)
    client.close()
    server.close()
    assert late.status == 200
    assert late.latency_us >= 500_000


async def test_connections_are_used_again_and_the_origin_notes_every_visit() -> None:
    visits = Visits()
    server = await origin.serve(visits, 0)
    client = Client("127.0.0.1", port_of(server), request)
    calls = [await client.ask(Call(number, 0, now_us())) for number in range(3)]
    assert client.open == 1
    for call in calls:
        assert call.status == 200
        assert call.sent_us <= visits.arrived_us[call.number] <= visits.let_go_us[call.number] < call.answered_us
    assert visits.twice == []
    await client.ask(Call(2, 0, now_us()))
    assert visits.twice == [2]
    client.close()
    server.close()


@pytest.mark.parametrize(
    ("sent", "failure"),
    [
        (b"", "ended before the answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhal", "ended before the answer"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "without Content-Length"),
    ],
)
async def test_a_call_without_a_whole_answer_has_failed(sent: bytes, failure: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = Client("127.0.0.1", port_of(server), request)
    call = await client.ask(Call(0, 0, now_us()))
    server.close()
    assert failure in call.failure
    assert not client.idle


async def test_a_call_to_nobody_has_failed() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = port_of(server)
    server.close()
    await server.wait_closed()
    call = await Client("127.0.0.1", port, request).ask(Call(0, 0, now_us()))
    assert "no connection" in call.failure


class Scripted:
    """A client whose answers are known beforehand."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = iter(statuses)

    async def ask(self, call: Call) -> Call:
        import json

        status = next(self._statuses)
        lines = [
            f"HTTP/1.1 {status} Too Many Requests", "retry-after: 1", "retry-after-ms: 3", "x-request-id: 01a2",
            'ratelimit-policy: "short";q=20;w=2', 'ratelimit: "short";r=0;t=1', "ratelimit-limit: 20",
            "ratelimit-remaining: 0", "ratelimit-reset: 1", "proxy-status: tiergate; error=http_request_error",
            "cache-control: no-store", "content-type: application/json",
        ]  # fmt: skip
        call.head, call.body = "\r\n".join(lines).encode(), json.dumps({**BODY, "retry_after_seconds": 1}).encode()
        call.sent_us = call.answered_us = now_us()
        return call


@pytest.mark.parametrize(
    ("statuses", "ok"),
    [
        ((200, 200, 429, 200), True),
        ((429, 429), False),  # the wait was not enough
        ((429, 503), False),
        ((200, 502), False),
        ((200,) * 300, True),  # nothing to wait for
    ],
)
async def test_a_stated_wait_must_be_enough(statuses: tuple[int, ...], ok: bool) -> None:
    client: Any = Scripted(*statuses)
    check = await probe.waited_out(probe.Prober(client, count()), 0, TENANT, "retry-after-ms")
    assert check.ok is ok, check


@pytest.mark.parametrize(("statuses", "ok"), [((200, 200, 429), True), ((200, 429, 429), False), ((200,) * 3, True)])
async def test_a_slot_that_was_lost_is_found(statuses: tuple[int, ...], ok: bool) -> None:
    client: Any = Scripted(*statuses)
    tenant = Tenant(name="t", tier="t", key="k", limits=(SlotLimit(name="parallel", amount=2),))
    check = await probe.all_slots(probe.Prober(client, count()), 0, tenant)
    assert check.ok is ok, check


def test_slots_are_probed_only_where_no_rate_is_in_the_way() -> None:
    slots = SlotLimit(name="parallel", amount=4)
    far = WindowLimit(name="minute", amount=1_000_000, period_us=60_000_000)
    limits: dict[int, tuple[Limit, ...]] = {4: (far, slots), 0: (*TENANT.limits, slots)}
    for expected, given in limits.items():
        assert probe.slots_alone(Tenant(name="t", tier="t", key="k", limits=given)) == expected


@pytest.mark.parametrize(
    ("head", "sent", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n", b"abcd", b"abcd"),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", b"", b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n", b"abcd"),
    ],
)
async def test_the_soaks_client_reads_bodies_to_their_end(head: bytes, sent: bytes, body: bytes) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(sent)
    assert b"".join([part async for part in content(reader, head)]) == body


async def test_the_soaks_client_takes_half_a_body_for_no_answer() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"ab")
    reader.feed_eof()
    with pytest.raises(asyncio.IncompleteReadError):
        [part async for part in content(reader, b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")]


@pytest.fixture
def scenario(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The scenario file with a stand-in for Locust, which is no dependency of this project."""
    locust: Any = ModuleType("locust")
    locust.HttpUser, locust.task, locust.constant_throughput = object, lambda of: of, lambda rate: rate
    monkeypatch.setitem(sys.modules, "locust", locust)
    monkeypatch.delitem(sys.modules, "loadtests.locustfile", raising=False)
    return importlib.import_module("loadtests.locustfile")


@pytest.mark.parametrize(
    ("wait", "body", "wrong"),
    [
        ("2", {"source": "tenant", "retry_after_seconds": 2}, False),
        ("1", {"source": "concurrency", "retry_after_seconds": 1}, False),
        ("2", {"source": "tenant", "retry_after_seconds": 3}, True),
        ("2", {"source": None, "retry_after_seconds": 2}, True),
        ("0", {"source": "tenant", "retry_after_seconds": 0}, True),
        ("", {"source": "tenant", "retry_after_seconds": 2}, True),
        ("2", [], True),
    ],
)
def test_locust_takes_a_429_for_a_success_only_when_it_says_whose_it_is_and_when_to_come_back(
    scenario: ModuleType, wait: str, body: object, wrong: bool
) -> None:
    response = SimpleNamespace(headers={"retry-after": wait} if wait else {}, json=lambda: body)
    assert bool(scenario.refusal(response)) is wrong


async def test_the_soaks_client_uses_no_kept_connection_that_the_server_has_ended() -> None:
    """A kept connection may rest for longer than a server waits; that its end was seen too late is no fault of ours."""
    served: list[asyncio.StreamWriter] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()
        served.append(writer)

    async with await asyncio.start_server(once, "127.0.0.1", 0) as server:
        load = Load(server.sockets[0].getsockname()[1], rate=1.0)
        for number in range(1, 3):
            await load._call(KINDS[0])
            await served[-1].wait_closed()
            await anyio.wait_all_tasks_blocked()
            assert (len(served), load.wrong) == (number, {})
        for _, writer in load._kept:
            writer.close()
            await writer.wait_closed()
