"""WebSockets through the whole gateway on real sockets, on both servers (RFC 6455; RULINGS 8, 18, 19, 20)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket as sockets
import struct
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from policies.sla.outcome import classify
from tests.middleware.harness import VirtualClock
from tests.wire.harness import SERVERS, ServerName, raw_exchange, status_of
from tests.wire.sockets import (
    BINARY,
    CLOSE,
    CONT,
    DEADLINE_S,
    KEY,
    PING,
    PONG,
    TEXT,
    Line,
    Script,
    Stage,
    close,
    echo,
    ended,
    frame,
    policy,
    probed,
    stage,
)

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("server", SERVERS)

ALONE = policy(slots=1, pool={"connections": 1, "wait": "1s"})
"""What a fault leaves behind would be in the way of the probe."""


async def refusal(at: Stage, path: str = "/ws/a", **more: Any) -> Any:
    """The answer to a handshake that is refused."""
    with pytest.raises(InvalidStatus) as refused:
        async with at.connect(path, **more):
            pass
    return refused.value.response


# --- what passes -------------------------------------------------------------------------------------------------


@both
async def test_messages_pass_both_ways_as_they_are(tmp_path: Path, server: ServerName) -> None:
    async with stage(tmp_path, echo, server) as at:
        async with at.connect() as socket:
            for message in ("héllo", b"\x00\xff", "", b"", "x" * 70_000, b"y" * 2_000_000):
                await socket.send(message)
                assert await socket.recv() == message
            await socket.send(["a", "b", "c"])
            assert await socket.recv() == "abc"
        outcome = await at.outcome()
    assert (outcome.status, outcome.origin, outcome.reason, outcome.truncated_by) == (101, "upstream", None, None)
    assert at.exchange.bytes_in == at.exchange.bytes_out > 2_000_000
    assert at.origin.finished == [None]


@both
async def test_the_upstream_is_asked_anew_and_never_sees_the_callers_credential(
    tmp_path: Path, server: ServerName
) -> None:
    async with stage(tmp_path, echo, server) as at:
        asked: dict[str, Any] = {"compression": "deflate", "subprotocols": ["v2", "v1"]}
        headers = {"cookie": "a=1", "origin": "https://x.example.com"}
        async with at.connect("/ws/a%20b?q=1&r", headers=headers, **asked) as socket:
            theirs = socket.request.headers["sec-websocket-key"] if socket.request else ""
        await at.outcome()
        (head,) = at.origin.heads
    assert head.startswith(b"GET /ws/a%20b?q=1&r HTTP/1.1\r\n")
    assert KEY.encode() not in head
    line = Line(None, None, head)  # type: ignore[arg-type]
    for name, value in {
        b"host": f"127.0.0.1:{at.origin.port}".encode(),
        b"upgrade": b"websocket",
        b"connection": b"Upgrade",
        b"sec-websocket-version": b"13",
        b"sec-websocket-protocol": b"v2, v1",
        b"cookie": b"a=1",
        b"origin": b"https://x.example.com",
        b"x-request-id": at.exchange.request_id.encode(),
    }.items():
        assert line.values(name) == [value], name
    assert line.values(b"sec-websocket-extensions") == []
    assert line.values(b"sec-websocket-key") not in ([], [theirs.encode()])
    assert len(line.values(b"via")) == len(line.values(b"traceparent")) == len(line.values(b"forwarded")) == 1


@both
async def test_the_chosen_subprotocol_is_returned(tmp_path: Path, server: ServerName) -> None:
    async def script(line: Line) -> None:
        line.send(line.grant(b"Sec-WebSocket-Protocol: v1"))
        await line.closed_with()

    async with stage(tmp_path, script, server) as at, at.connect(subprotocols=["v2", "v1"]) as socket:
        assert socket.subprotocol == "v1"


async def test_the_fields_of_an_answer_stand_on_the_101(tmp_path: Path) -> None:
    """granian 2.8 sends no field of ours on a 101; docs/operating.md says so."""

    async def script(line: Line) -> None:
        line.send(line.grant(b"Set-Cookie: a=1", b"Set-Cookie: b=2", b"X-Own: 1", b"Content-Length: 0"))
        await line.closed_with()

    async with stage(tmp_path, script, "uvicorn") as at:
        async with at.connect() as socket:
            assert socket.response is not None
            fields = socket.response.headers
        await at.outcome()
    assert fields.get_all("set-cookie") == ["a=1", "b=2"]
    assert fields["ratelimit"] == '"minute";r=599;t=60, "parallel";r=9'
    assert fields["x-request-id"] == at.exchange.request_id
    assert (fields["x-own"], fields.get("content-length"), fields["via"]) == ("1", None, "1.1 tiergate-test")
    assert len(fields.get_all("sec-websocket-accept")) == len(fields.get_all("date")) == 1


@both
async def test_fragments_are_joined_and_pings_answered_between_them(tmp_path: Path, server: ServerName) -> None:
    async def script(line: Line) -> None:
        parts = [frame(TEXT, "hé".encode()[:2], fin=False), frame(CONT, b"", fin=False), frame(PING, b"p")]
        line.send(line.grant() + b"".join(parts) + frame(CONT, "é".encode()[1:]) + frame(BINARY, b"1", fin=False))
        line.send(frame(CONT, b"2"))
        assert await line.frame() == (PONG, b"p")
        await line.closed_with()

    async with stage(tmp_path, script, server) as at:
        async with at.connect() as socket:
            assert [await socket.recv(), await socket.recv()] == ["hé", b"12"]
        await at.outcome()
    assert at.origin.finished == [None]


@both
@pytest.mark.parametrize("at_byte", [1, 20, -1, None])
async def test_what_follows_the_101_at_once_is_the_first_message(
    tmp_path: Path, server: ServerName, at_byte: int | None
) -> None:
    async def script(line: Line) -> None:
        whole = line.grant() + frame(TEXT, b"early")
        line.send(whole[:at_byte])
        await line.writer.drain()
        line.send(whole[len(whole[:at_byte]) :])
        await line.closed_with()

    async with stage(tmp_path, script, server) as at, at.connect() as socket:
        assert await socket.recv() == "early"


@both
@pytest.mark.parametrize("fields", ["connection: keep-alive, Upgrade", "connection: keep-alive\r\nconnection: upgrade"])
async def test_the_connection_field_may_name_more(tmp_path: Path, server: ServerName, fields: str) -> None:
    head = (
        f"GET /ws/a HTTP/1.1\r\nhost: a\r\n{fields}\r\nupgrade: WebSocket\r\nx-api-key: {KEY}\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with stage(tmp_path, echo, server) as at:
        assert status_of(await raw_exchange(at.gateway.port, head.encode(), timeout_s=0.5)) == 101


# --- refusals, which are ordinary answers ------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("path", "key", "status", "word"),
    [
        ("/ws/a", None, 401, "unauthenticated"),
        ("/ws/a", "wrong", 401, "unauthenticated"),
        ("/nowhere", KEY, 404, "no_route"),
        ("/post", KEY, 405, "method_not_allowed"),
        ("/ws/%2e%2e/%2e%2e", KEY, 400, "bad_path"),
    ],
)
async def test_a_refusal_is_the_answer_that_a_call_would_get(
    tmp_path: Path, server: ServerName, path: str, key: str | None, status: int, word: str
) -> None:
    async with stage(tmp_path, echo, server) as at:
        answer = await refusal(at, path, key=key)
        assert (answer.status_code, json.loads(answer.body)["error"]) == (status, word)
        assert answer.headers["x-request-id"] == json.loads(answer.body)["request_id"]
        assert answer.headers["proxy-status"].startswith("tiergate; error=")
        assert ("www-authenticate" in answer.headers, "allow" in answer.headers) == (status == 401, status == 405)
        outcome = await at.outcome()
    assert (outcome.status, outcome.origin) == (status, "gateway")
    assert at.origin.heads == []


@both
async def test_a_rate_limit_counts_handshakes_and_refuses_with_a_429(tmp_path: Path, server: ServerName) -> None:
    async with stage(tmp_path, echo, server, policy(limits={"minute": "1/min"})) as at:
        async with at.connect():
            pass
        await at.outcome()
        answer = await refusal(at)
        assert (answer.status_code, json.loads(answer.body)["violated-policies"]) == (429, ["minute"])
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert answer.headers["ratelimit"].startswith('"minute";r=0;t=')
        outcome = await at.outcome(2)
    assert (outcome.status, outcome.reason, outcome.source) == (429, "rate-limited", "tenant")
    assert len(at.origin.heads) == 1


@both
@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (
            b"401 Unauthorized\r\nwww-authenticate: Basic\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
            401,
            b"no",
        ),
        (b"200 OK\r\ncontent-length: 2\r\n\r\nok", 200, b"ok"),
        (b"426 Upgrade Required\r\nupgrade: h2c\r\nconnection: upgrade\r\ncontent-length: 0\r\n\r\n", 426, b""),
        (b"410 Gone\r\n\r\nuntil the end", 410, b"until the end"),
        (b"204 No Content\r\n\r\n", 204, b""),
    ],
)
async def test_an_answer_other_than_101_passes(
    tmp_path: Path, server: ServerName, answer: bytes, status: int, body: bytes
) -> None:
    async def script(line: Line) -> None:
        line.send(b"HTTP/1.1 " + answer)

    async with stage(tmp_path, script, server) as at:
        refused = await refusal(at)
        assert (refused.status_code, bytes(refused.body or b"")) == (status, body)
        outcome = await at.outcome()
    assert (outcome.status, outcome.upstream_status, outcome.origin) == (status, status, "upstream")
    assert outcome.source is None


@both
async def test_a_handshake_that_the_upstream_throttles_is_answered_like_a_call(
    tmp_path: Path, server: ServerName
) -> None:
    async def script(line: Line) -> None:
        line.send(b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 9\r\ncontent-length: 5\r\n\r\nslow!")

    async with stage(tmp_path, script, server) as at:
        refused = await refusal(at)
        told = json.loads(refused.body or b"")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "9")
        assert (told["source"], told["retry_after_seconds"], told["estimated"]) == ("upstream", 9, False)
        assert refused.headers["proxy-status"] == "tiergate; received-status=429"
        outcome = await at.outcome()
    assert (outcome.status, outcome.upstream_status, outcome.origin) == (429, 429, "upstream")
    assert (outcome.source, outcome.reason) == ("upstream", "upstream-throttled")


@both
async def test_a_refusal_with_repeated_fields_harms_nobody(tmp_path: Path, server: ServerName) -> None:
    """granian 2.8 ends the whole process over two fields of one name in such an answer."""

    async def script(line: Line) -> None:
        fields = (
            b"set-cookie: a=1\r\nset-cookie: b=2\r\nx: 1\r\nX: 2\r\nvary: a\r\nvary: b\r\ncontent-length: 2\r\n\r\nno"
        )
        line.send(b"HTTP/1.1 403 Forbidden\r\n" + fields)

    async with stage(tmp_path, script, server) as at:
        refused = await refusal(at)
        assert (refused.headers["x"], refused.headers["vary"], refused.headers["set-cookie"]) == ("1, 2", "a, b", "a=1")
        assert (await refusal(at)).body == b"no"


@both
async def test_a_refusal_without_an_end_is_a_502(tmp_path: Path, server: ServerName) -> None:
    async def script(line: Line) -> None:
        line.send(b"HTTP/1.1 403 Forbidden\r\ntransfer-encoding: chunked\r\n\r\n")
        while not line.writer.is_closing():
            line.send(b"10000\r\n" + bytes(65_536) + b"\r\n")
            await line.writer.drain()

    async with stage(tmp_path, script, server) as at:
        assert (await refusal(at)).status_code == 502
        await at.outcome()


@pytest.mark.realtime
@both
async def test_an_event_stream_is_no_refusal_and_holds_no_slot(tmp_path: Path, server: ServerName) -> None:
    async def script(line: Line) -> None:
        line.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n:\n\n")
        await line.ended()

    async with stage(tmp_path, probed(script), server, ALONE) as at:
        assert (await refusal(at)).status_code == 502
        outcome = await at.outcome()
        await at.probe()
    assert (outcome.status, outcome.reason, outcome.truncated_by) == (502, "upstream-protocol", None)


@both
async def test_a_refusal_that_comes_late_and_in_parts_is_whole(tmp_path: Path, server: ServerName) -> None:
    async def script(line: Line) -> None:
        await asyncio.sleep(1.7)  # by then a slow call listens for its caller's disconnect
        line.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nno")
        await asyncio.sleep(0.1)
        line.send(b"pe")

    async with stage(tmp_path, script, server) as at:
        refused = await refusal(at)
        outcome = await at.outcome()
    assert (refused.status_code, refused.body) == (403, b"nope")
    assert (outcome.status, outcome.origin, at.exchange.client_gone) == (403, "upstream", False)


@pytest.mark.realtime
@both
async def test_a_101_that_comes_late_loses_no_message(tmp_path: Path, server: ServerName) -> None:
    async def script(line: Line) -> None:
        await asyncio.sleep(1.7)
        await echo(line)

    async with stage(tmp_path, script, server) as at, at.connect() as socket:
        for number in range(20):
            await socket.send(str(number))
        assert [await socket.recv() for _ in range(20)] == [str(number) for number in range(20)]


HANDSHAKES: dict[str, tuple[bytes, ...] | bytes] = {
    "no-accept": b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "accept-of-another-key": b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    "no-upgrade": b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n",
    "no-connection": b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %b\r\n\r\n",
    "no-connection-and-a-frame": b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %b\r\n\r\n\x81\x01x",
    "another-protocol": b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n",
    "two-protocols": b"HTTP/1.1 101 S\r\nUpgrade: websocket, h2c\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n",
    "http-1.0": b"HTTP/1.0 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n",
    "two-accepts": (b"Sec-WebSocket-Accept: x",),
    "an-extension": (b"Sec-WebSocket-Extensions: permessage-deflate",),
    "a-subprotocol-nobody-offered": (b"Sec-WebSocket-Protocol: v3",),
    "a-subprotocol-in-another-case": (b"Sec-WebSocket-Protocol: V1",),
    "two-subprotocols": (b"Sec-WebSocket-Protocol: v1", b"Sec-WebSocket-Protocol: v2"),
    "101-twice": b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 102 P\r\n\r\nHTTP/1.1 101 S\r\n\r\n",
    "no-http": b"\x81\x05hello",
}


@both
@pytest.mark.parametrize("case", HANDSHAKES)
async def test_a_101_that_is_none_is_a_502(tmp_path: Path, server: ServerName, case: str) -> None:
    async def script(line: Line) -> None:
        answer = HANDSHAKES[case]
        if isinstance(answer, tuple):
            line.send(line.grant(*answer))
        else:
            line.send(answer.replace(b"%b", line.grant().split(b"Accept: ")[1].split(b"\r\n")[0]))
        await line.ended()

    async with stage(tmp_path, probed(script), server, ALONE) as at:
        refused = await refusal(at, subprotocols=["v2", "v1"])
        assert (refused.status_code, json.loads(refused.body)["error"]) == (502, "upstream_protocol")
        outcome = await at.outcome()
        await at.probe()
    assert (outcome.status, outcome.reason, outcome.origin) == (502, "upstream-protocol", "gateway")


@both
async def test_an_upstream_that_does_not_answer_the_handshake_is_a_504(tmp_path: Path, server: ServerName) -> None:
    files = policy(slots=1, timeouts={"first_byte": "100ms"})
    async with stage(tmp_path, Line.ended, server, files) as at:
        assert (await refusal(at)).status_code == 504
        assert (await refusal(at)).status_code == 504, "the slot was given back"


@both
async def test_an_upstream_that_refuses_the_connection_is_a_502(tmp_path: Path, server: ServerName) -> None:
    with sockets.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    files = policy(slots=1)
    files["upstreams"]["origin"]["url"] = f"http://127.0.0.1:{port}"
    async with stage(tmp_path, echo, server, files) as at:
        for _ in range(2):
            refused = await refusal(at)
            assert (refused.status_code, json.loads(refused.body)["error"]) == (502, "upstream_connect")


@both
async def test_a_handshake_with_a_body_is_refused(tmp_path: Path, server: ServerName) -> None:
    head = (
        f"GET /ws/a HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nx-api-key: {KEY}\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\ncontent-length: 4\r\n\r\nGET "
    )
    async with stage(tmp_path, echo, server) as at:
        answer = await raw_exchange(at.gateway.port, head.encode(), timeout_s=1.0)
    assert at.origin.heads == []
    assert status_of(answer) == (400 if server == "granian" else None), "uvicorn closes the connection itself"


@both
@pytest.mark.parametrize("missing", ["sec-websocket-key", "sec-websocket-version"])
async def test_an_incomplete_handshake_is_refused_by_the_server(
    tmp_path: Path, server: ServerName, missing: str
) -> None:
    """RFC 6455 4.2.1: it never becomes a call."""
    fields = {"sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
    del fields[missing]
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    head = (
        f"GET /ws/a HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nx-api-key: {KEY}\r\n{lines}\r\n"
    )
    async with stage(tmp_path, echo, server) as at:
        assert status_of(await raw_exchange(at.gateway.port, head.encode(), timeout_s=0.5)) in (400, 426)
        assert (at.origin.heads, at.gateway.recorder.seen) == ([], [])


# --- origins (RFC 6455 10.2) -------------------------------------------------------------------------------------


@both
async def test_a_route_that_names_origins_takes_no_websocket_from_another(tmp_path: Path, server: ServerName) -> None:
    async with stage(tmp_path, echo, server) as at:
        for foreign in ("https://evil.example.com", "null", "https://app.example.com.evil.example.com"):
            refused = await refusal(at, "/page", headers={"origin": foreign})
            assert (refused.status_code, json.loads(refused.body)["error"]) == (403, "forbidden_origin")
        assert at.origin.heads == []
        for fields in ({"origin": "https://app.example.com"}, {}):
            async with at.connect("/page", headers=fields) as socket:
                await socket.send("a")
                assert await socket.recv() == "a"


# --- concurrency slots -------------------------------------------------------------------------------------------


async def _client_closes(socket: ClientConnection) -> None:
    await socket.close()


async def _client_vanishes(socket: ClientConnection) -> None:
    socket.transport.abort()


async def _upstream_is_told(socket: ClientConnection) -> None:
    await socket.send("end")
    await ended(socket)


def _after_a_message(*answer: bytes) -> Script:
    async def script(line: Line) -> None:
        line.send(line.grant())
        if await line.frame() == (TEXT, b"end"):
            for part in answer:
                line.send(part)
            await line.writer.drain()
            if answer and answer[-1][:1] == b"\x88":
                await line.closed_with()
            line.writer.transport.abort()

    return script


ENDS: dict[str, tuple[Script, Any, tuple[str | None, str | None]]] = {
    "the-caller-closes": (echo, _client_closes, (None, None)),
    "the-caller-vanishes": (echo, _client_vanishes, (None, None)),
    "the-upstream-closes": (_after_a_message(close(1000)), _upstream_is_told, (None, None)),
    "the-upstream-vanishes": (_after_a_message(), _upstream_is_told, ("upstream-protocol", "upstream")),
    "the-upstream-breaks-the-protocol": (
        _after_a_message(frame(TEXT, b"x", masked=True)), _upstream_is_told, ("upstream-protocol", "upstream"),
    ),
    "the-upstream-stops-within-a-frame": (
        _after_a_message(frame(TEXT, b"x" * 200)[:50]), _upstream_is_told, ("upstream-protocol", "upstream"),
    ),
}  # fmt: skip


@both
@pytest.mark.parametrize("case", ENDS)
async def test_a_socket_holds_its_slot_until_it_ends_however_it_ends(
    tmp_path: Path, server: ServerName, case: str
) -> None:
    script, finish, (reason, broken_by) = ENDS[case]
    async with stage(tmp_path, script, server, policy(slots=1)) as at:
        async with at.connect() as socket:
            refused = await refusal(at)
            assert (refused.status_code, json.loads(refused.body)["source"]) == (429, "concurrency")
            assert refused.headers["retry-after"] == "1"
            await finish(socket)
            outcome = await at.outcome(2)
        assert (outcome.status, outcome.reason, outcome.truncated_by) == (101, reason, broken_by)
        async with at.connect():
            pass
        await at.outcome(3)


async def test_sockets_leave_nothing_behind(tmp_path: Path) -> None:
    async with stage(tmp_path, echo, "uvicorn", policy(slots=100)) as at:

        async def one(number: int) -> None:
            async with at.connect() as socket:
                await socket.send("x" * number)
                await socket.recv()
                if number % 2:
                    socket.transport.abort()

        await one(0)
        await at.outcome()
        before, open_files = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
        await asyncio.gather(*(one(number) for number in range(60)))
        await at.outcome(61)
        async with asyncio.timeout(DEADLINE_S):
            while len(asyncio.all_tasks()) > before or len(os.listdir("/proc/self/fd")) > open_files:
                await asyncio.sleep(0.01)
        answer = await at.gateway.call("POST", "/post", key=KEY)
        assert answer.one("ratelimit").endswith('"parallel";r=99')


async def test_a_silent_socket_keeps_its_slot_beyond_a_lease(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        line.send(line.grant())
        while await line.frame() == (PING, b""):
            line.send(frame(PONG))
            pings.release()

    pings = asyncio.Semaphore(0)
    clock = VirtualClock()
    files = policy(slots=1, timeouts={"idle": "150ms", "total": "60s"})
    async with stage(tmp_path, script, "uvicorn", files, clock=clock) as at, at.connect():
        for _ in range(4):  # together far more than the lease of about 66 s
            clock.advance(30_000_000)
            await pings.acquire()
            await pings.acquire()  # the sign of life that follows the first ping has been heard
        assert (await refusal(at)).status_code == 429


@both
async def test_a_socket_is_one_of_the_upstreams_connections(tmp_path: Path, server: ServerName) -> None:
    files = policy(pool={"connections": 1, "wait": "50ms"})
    async with stage(tmp_path, echo, server, files) as at:
        async with at.connect():
            refused = await refusal(at)
            assert (refused.status_code, json.loads(refused.body)["error"]) == (503, "upstream_pool")
        async with asyncio.timeout(DEADLINE_S):
            await at.outcome(2)
        async with at.connect():
            pass


# --- ends --------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("sent", "code", "reason"),
    [
        (close(1000, b"bye"), 1000, "bye"),
        (close(1001), 1001, ""),
        (close(1011, b"broken"), 1011, "broken"),
        (close(1012), 1012, ""),
        (close(4321, "é".encode() * 60), 4321, "é" * 60),
        (close(None), 1000, ""),
    ],
)
async def test_the_upstreams_close_passes(
    tmp_path: Path, server: ServerName, sent: bytes, code: int, reason: str
) -> None:
    async def script(line: Line) -> None:
        line.send(line.grant() + sent)
        assert await line.frame() == (CLOSE, sent[2:])

    async with stage(tmp_path, script, server) as at:
        async with at.connect() as socket:
            assert await ended(socket) == (code, reason)
        outcome = await at.outcome()
    assert (outcome.status, outcome.reason, outcome.truncated_by) == (101, None, None)
    assert at.origin.finished == [None]


@both
@pytest.mark.parametrize(("code", "reason"), [(1000, "bye"), (1001, ""), (3000, ""), (4999, "x" * 100)])
async def test_the_callers_close_passes(tmp_path: Path, server: ServerName, code: int, reason: str) -> None:
    received: list[bytes] = []

    async def script(line: Line) -> None:
        line.send(line.grant())
        opcode, payload = await line.frame()
        assert opcode == CLOSE
        received.append(payload)
        line.send(frame(CLOSE, payload))

    async with stage(tmp_path, script, server) as at:
        async with at.connect() as socket:
            await socket.close(code, reason)
        await at.outcome()
    # granian 2.8 does not tell the reason
    assert received == [struct.pack("!H", code) + (reason.encode() if server == "uvicorn" else b"")]


@both
async def test_a_close_without_a_code_stays_without_one_upstream(tmp_path: Path, server: ServerName) -> None:
    received: list[int | None] = []

    async def script(line: Line) -> None:
        line.send(line.grant())
        received.append(await line.closed_with())

    async with stage(tmp_path, script, server) as at:
        async with at.connect() as socket:
            socket.protocol.send_close()
            socket.transport.write(b"".join(socket.protocol.data_to_send()))
            await ended(socket)
        await at.outcome()
    assert received == [1005]


BREAKS: dict[str, tuple[bytes, int | None]] = {
    "masked": (frame(TEXT, b"x", masked=True), 1002),
    "reserved-bit": (frame(TEXT, b"x", bits=0x40), 1002),
    "reserved-opcode": (frame(3, b"x"), 1002),
    "continuation-of-nothing": (frame(CONT, b"x"), 1002),
    "message-within-a-message": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    "fragmented-ping": (frame(PING, b"x", fin=False), 1002),
    "long-ping": (frame(PING, b"x" * 126), 1002),
    "close-of-one-octet": (frame(CLOSE, b"x"), 1002),
    "close-with-a-reserved-code": (close(1006), 1002),
    "close-with-an-unknown-code": (close(2999), 1002),
    "not-utf-8": (frame(TEXT, b"\xff"), 1007),
    "a-reason-that-is-not-utf-8": (close(1000, b"\xff"), 1007),
    "too-big": (frame(BINARY, b"x" * (16 * 1024 * 1024 + 1))[:100], 1009),
    "too-big-in-fragments": (frame(BINARY, bytes(2**23), fin=False) + frame(CONT, bytes(2**23 + 1))[:100], 1009),
    "no-frames": (b"HTTP/1.1 400 Bad Request\r\ncontent-length: 100\r\n\r\n" + b"x" * 100, 1002),
}


@both
@pytest.mark.parametrize("case", BREAKS)
async def test_an_upstream_that_breaks_the_protocol_is_told_so_and_the_caller_gets_1014(
    tmp_path: Path, server: ServerName, case: str
) -> None:
    broken, expected = BREAKS[case]
    told: list[int | None] = []

    async def script(line: Line) -> None:
        line.send(line.grant() + frame(TEXT, b"before") + broken)
        told.append(await line.closed_with())

    async with stage(tmp_path, probed(script), server, ALONE) as at:
        async with at.connect() as socket:
            assert await socket.recv() == "before"
            assert (await ended(socket))[0] == 1014
        outcome = await at.outcome()
        await at.probe()
    assert told == [expected]
    assert (outcome.status, outcome.reason, outcome.truncated_by) == (101, "upstream-protocol", "upstream")


@both
async def test_a_caller_that_breaks_the_protocol_ends_both_sides(tmp_path: Path, server: ServerName) -> None:
    told: list[int | None] = []

    async def script(line: Line) -> None:
        line.send(line.grant())
        told.append(await line.closed_with())

    async with stage(tmp_path, script, server) as at:
        async with at.connect() as socket:
            socket.transport.write(b"\xc1\x80\0\0\0\0")  # a reserved bit
            await ended(socket)
        outcome = await at.outcome()
    assert told != [None]
    assert (outcome.status, outcome.reason) == (101, None)


async def test_a_message_of_a_caller_that_is_too_big_ends_the_socket(tmp_path: Path) -> None:
    """uvicorn refuses it itself; granian lets 64 MiB through when they come in frames of at most 16."""
    told: list[int | None] = []

    async def script(line: Line) -> None:
        line.send(line.grant())
        told.append(await line.closed_with())

    async with stage(tmp_path, script, "granian") as at:
        async with at.connect() as socket:
            await socket.send([bytes(2**23), bytes(2**23), b"1"])
            assert (await ended(socket))[0] == 1009
        await at.outcome()
    assert told == [1001]


async def test_frames_without_content_cost_no_memory_and_end_nothing(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        line.send(line.grant() + frame(TEXT, b"a", fin=False))
        for _ in range(20):
            line.send(frame(CONT, fin=False) * 10_000)
            await line.writer.drain()
        line.send(frame(CONT, b"b"))
        await line.closed_with()

    async with stage(tmp_path, script, "uvicorn") as at, at.connect() as socket:
        assert await socket.recv() == "ab"


# --- silence and pace --------------------------------------------------------------------------------------------


@both
async def test_an_upstream_that_answers_no_ping_has_gone(tmp_path: Path, server: ServerName) -> None:
    frames: list[tuple[int, bytes]] = []

    async def script(line: Line) -> None:
        line.send(line.grant())
        while True:
            frames.append(await line.frame())

    async with stage(tmp_path, script, server, policy(timeouts={"idle": "150ms"})) as at:
        async with at.connect() as socket:
            assert (await ended(socket))[0] == 1014
        outcome = await at.outcome()
    assert frames[0] == (PING, b"")
    assert (outcome.reason, outcome.truncated_by) == ("upstream-timeout", "upstream")


@both
async def test_a_socket_on_which_nothing_is_said_stays_open_beyond_every_deadline(
    tmp_path: Path, server: ServerName
) -> None:
    pongs = asyncio.Semaphore(0)

    async def script(line: Line) -> None:
        line.send(line.grant())
        for _ in range(8):
            assert await line.frame() == (PING, b"")
            line.send(frame(PONG))
        line.send(frame(TEXT, b"still here"))
        pongs.release()
        await line.closed_with()

    files = policy(timeouts={"idle": "90ms", "total": "200ms", "first_byte": "5s"})
    async with stage(tmp_path, script, server, files) as at:
        async with at.connect() as socket:
            await pongs.acquire()
            assert await socket.recv() == "still here"
        assert (await at.outcome()).reason is None


@both
async def test_a_caller_that_does_not_read_stops_the_upstream_and_is_given_up_on(
    tmp_path: Path, server: ServerName
) -> None:
    passed = 0

    async def script(line: Line) -> None:
        nonlocal passed
        line.send(line.grant())
        while True:
            line.send(frame(BINARY, bytes(8_192)))
            await line.writer.drain()
            passed += 8_192

    head = (
        f"GET /ws/a HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nx-api-key: {KEY}\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with stage(tmp_path, script, server, policy(slots=1, timeouts={"idle": "400ms"})) as at:
        with sockets.create_connection(("127.0.0.1", at.gateway.port)) as client:
            client.sendall(head.encode())
            outcome = await at.outcome()
    assert passed < 32_000_000, "what lies in buffers on the way"
    assert (outcome.status, outcome.reason, at.exchange.detail) == (101, None, "the caller stopped reading")
    assert (at.exchange.client_gone, classify(outcome)) == (True, ("good", "ok"))


@both
async def test_an_upstream_that_does_not_read_stops_the_caller_and_is_given_up_on(
    tmp_path: Path, server: ServerName
) -> None:
    async def script(line: Line) -> None:
        line.send(line.grant())
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async def endless(socket: ClientConnection) -> None:
        while True:
            await socket.send(bytes(65_536))

    async with stage(tmp_path, script, server, policy(timeouts={"idle": "60s", "write": "300ms"})) as at:
        async with at.connect(close_timeout=0.2) as socket:
            with pytest.raises(ConnectionClosed):
                await endless(socket)
        outcome = await at.outcome()
    assert at.exchange.bytes_in < 32_000_000
    assert (outcome.reason, outcome.truncated_by) == ("upstream-timeout", "upstream")


# --- drain -------------------------------------------------------------------------------------------------------


@both
async def test_at_drain_both_sides_get_a_close_and_nothing_counts_as_broken(tmp_path: Path, server: ServerName) -> None:
    told: list[int | None] = []

    async def script(line: Line) -> None:
        line.send(line.grant())
        told.append(await line.closed_with())
        line.send(close(1001))

    async with stage(tmp_path, script, server) as at:
        async with at.connect() as one, at.connect() as two:
            at.gateway.gate.closing.begin()
            assert [await ended(one), await ended(two)] == [(1012, ""), (1012, "")]
        outcome = await at.outcome(2)
        async with at.connect() as late:  # accepted by a server that is just stopping
            assert await ended(late) == (1012, "")
    assert told[:2] == [1001, 1001]
    assert (outcome.status, outcome.reason, outcome.truncated_by) == (101, None, None)


def deaf(held_up: asyncio.Event | None = None) -> Script:
    """Grants, reads nothing more, and sends pings until it is held up, or has sent 40 MB."""

    async def script(line: Line) -> None:
        line.send(line.grant())
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.5)
        with contextlib.suppress(ConnectionError):
            for _ in range(300):
                line.send(frame(PING, b"p" * 125) * 1_000)
                try:
                    await asyncio.wait_for(line.writer.drain(), 1)
                except TimeoutError:
                    break
            if held_up is None:
                await line.ended()
            elif line.writer.transport.get_write_buffer_size():
                held_up.set()
        line.writer.transport.abort()

    return script


async def talking(socket: ClientConnection) -> None:
    while True:
        await socket.send(bytes(1_000_000))


async def test_pings_of_an_upstream_that_reads_no_pong_are_not_collected(tmp_path: Path) -> None:
    held_up = asyncio.Event()
    files = policy(slots=1, pool={"connections": 1, "wait": "1s"}, timeouts={"write": "60s", "idle": "60s"})
    async with stage(tmp_path, deaf(held_up), files=files) as at, at.connect() as socket:
        caller = asyncio.create_task(talking(socket))
        await at.outcome()
        caller.cancel()
    assert held_up.is_set()


async def test_pings_do_not_put_off_the_deadline_of_a_write(tmp_path: Path) -> None:
    files = policy(slots=1, pool={"connections": 1, "wait": "1s"}, timeouts={"write": "1s", "idle": "60s"})
    async with stage(tmp_path, deaf(), files=files) as at, at.connect() as socket:
        caller = asyncio.create_task(talking(socket))
        outcome = await at.outcome()
        caller.cancel()
    assert (outcome.status, outcome.reason, outcome.truncated_by) == (101, "upstream-timeout", "upstream")
