"""The scripted origin: its connections end with it, it says what it cannot read, and it throttles as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket

import pytest

from gateway.mock_dialects import Refusals, afterwards, dialects, throttled
from gateway.mock_upstream import MockUpstream


@pytest.mark.parametrize("turns", range(8))
def test_a_connection_accepted_at_the_end_is_closed(turns: int, recwarn: pytest.WarningsRecorder) -> None:
    async def end_while_connecting() -> list[socket.socket]:
        async with MockUpstream() as origin:
            callers = [socket.create_connection(("127.0.0.1", origin.port)) for _ in range(20)]
            for _ in range(turns):
                await asyncio.sleep(0)
        return callers

    callers = asyncio.run(end_while_connecting())
    gc.collect()
    for caller in callers:
        with caller:
            caller.settimeout(2)
            with contextlib.suppress(ConnectionResetError):
                assert caller.recv(1) == b""
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize(
    "asked",
    ["slow", "large", "slow=two", "stream=x", "stream=3x1h", "status=teapot", "large=1XB", "wait=soon", "times=-1"],
)
def test_an_amount_that_cannot_be_read_is_said_and_breaks_nothing(asked: str) -> None:
    async def call() -> bytes:
        async with MockUpstream() as origin:
            reader, writer = await asyncio.open_connection("127.0.0.1", origin.port)
            writer.write(f"GET /any/{asked} HTTP/1.1\r\nhost: a\r\n\r\nGET /ok HTTP/1.1\r\nhost: a\r\n\r\n".encode())
            first = await reader.readuntil(b"\r\n\r\n")
            assert first.startswith(b"HTTP/1.1 400 ")
            assert b"slow=2s" in await reader.readline()
            second = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()
            return second

    assert asyncio.run(call()).startswith(b"HTTP/1.1 200 ")


# --- throttling --------------------------------------------------------------------------------------------------

NOW_S = 1_790_000_000.2


def test_a_dialect_that_is_not_there_is_a_404_that_names_those_that_are() -> None:
    answer = throttled("no-such", now_s=0)
    assert answer.status == 404
    assert json.loads(answer.body)["dialects"] == sorted(dialects())
    assert afterwards("no-such", now_s=0) is None


@pytest.mark.parametrize("name", sorted(dialects()))
def test_every_dialect_can_be_filled_in(name: str) -> None:
    answer = throttled(name, now_s=NOW_S, wait_s=1.5)
    served = afterwards(name, now_s=NOW_S)
    assert b"{wait" not in answer.body
    assert not [value for _, value in answer.headers if "{" in value]
    assert answer.status == dialects()[name]["status"]
    assert served is None or (served.status, bool(json.loads(served.body))) == (200, True)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("generic", "retry-after", "2"),
        ("shopify", "retry-after", "2.0"),
        ("openai", "retry-after-ms", "1500"),
        ("github", "x-ratelimit-reset", "1790000002"),
        ("linear", "x-ratelimit-requests-reset", "1790000001700"),
        ("http-date", "retry-after", "Mon, 21 Sep 2026 14:13:22 GMT"),
        ("iso", "x-ratelimit-reset", "2026-09-21T14:13:22Z"),
    ],
)
def test_a_wait_is_announced_in_the_dialects_own_way_and_never_too_short(name: str, field: str, value: str) -> None:
    assert dict(throttled(name, now_s=NOW_S, wait_s=1.5).headers)[field] == value


def test_without_another_the_samples_own_wait_is_announced() -> None:
    assert dict(throttled("slack", now_s=NOW_S).headers)["retry-after"] == "30"


def test_what_is_refused_so_many_times_is_counted_by_the_path_before_that_word() -> None:
    refusals = Refusals()
    script = "/throttle=x/times=2"
    targets = [f"/a{script}/v1/b?c=1", f"/a{script}/v1/d", f"/b{script}", f"/a{script}"]
    assert [refusals.due(target, "2") for target in targets] == [True, True, True, False]
    assert [Refusals().due("/a", None) for _ in range(3)] == [True, True, True]


def test_a_throttle_ends_after_as_many_times_and_the_provider_serves() -> None:
    async def statuses() -> list[bytes]:
        async with MockUpstream() as origin:
            reader, writer = await asyncio.open_connection("127.0.0.1", origin.port)
            heads = []
            for _ in range(3):
                writer.write(b"GET /x/throttle=slack/wait=1s/times=2/auth.test HTTP/1.1\r\nhost: a\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                heads.append(head.partition(b" Scripted")[0] + b" " + await reader.readexactly(length))
            writer.close()
            await writer.wait_closed()
            return heads

    refused = b'HTTP/1.1 429 {"ok": false, "error": "ratelimited"}'
    served = b'HTTP/1.1 200 {"ok": true, "user": "someone", "user_id": "U1"}'
    assert asyncio.run(statuses()) == [refused, refused, served]
