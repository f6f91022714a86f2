"""The edge at which a WebSocket becomes a call: what the server is told, whatever happens inside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from middleware.cors import foreign
from middleware.websocket import WebSockets, combined
from policies.errors import GatewayError
from policies.model import Cors
from policies.websocket import SOCKET_KEY, sendable
from tests.middleware.harness import scripted

pytestmark = pytest.mark.anyio

CONNECT = {"type": "websocket.connect"}
START = {"type": "http.response.start", "status": 101, "headers": []}


def scope(*, explains: bool = True, scheme: str = "ws") -> dict[str, Any]:
    extensions = {"websocket.http.response": {}} if explains else {}
    return {"type": "websocket", "scheme": scheme, "headers": [], "extensions": extensions}


async def told(app: Any, *messages: Any, of: dict[str, Any] | None = None, raises: Any = None) -> list[Any]:
    """What the server is told by ``app`` behind the edge."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    if raises:
        with pytest.raises(raises):
            await WebSockets(app)(of or scope(), scripted(CONNECT, *messages), send)
    else:
        await WebSockets(app)(of or scope(), scripted(CONNECT, *messages), send)
    return sent


def failing(error: BaseException, *, after_the_head: bool) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if after_the_head:
            await send(START)
        raise error

    return app


@pytest.mark.parametrize(("theirs", "ours"), [("ws", "http"), ("wss", "https"), ("odd", "http")])
async def test_inside_it_is_a_get(theirs: str, ours: str) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    await told(app, of=scope(scheme=theirs))
    assert [seen[0][key] for key in ("type", "method", "scheme", SOCKET_KEY)] == ["http", "GET", ours, True]


async def test_messages_are_translated_both_ways() -> None:
    received: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({**START, "headers": [(b"sec-websocket-protocol", b"v1"), (b"x", b"1")]})
        received.extend([await receive() for _ in range(4)])
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": "é".encode(), "more_body": True, "text": True})
        await send({"type": "http.response.body", "body": b"", "more_body": True, "text": False})
        await send({"type": "http.response.body", "body": b"", "more_body": False, "code": 3000, "reason": "r"})
        received.append(await receive())

    sent = await told(
        app,
        {"type": "websocket.receive", "text": "é"},
        {"type": "websocket.receive", "bytes": b"b", "text": None},
        {"type": "websocket.receive", "text": ""},
        {"type": "websocket.disconnect", "code": 1001, "reason": "r"},
    )
    assert received == [
        {"type": "http.request", "body": "é".encode(), "more_body": True, "text": True},
        {"type": "http.request", "body": b"b", "more_body": True, "text": False},
        {"type": "http.request", "body": b"", "more_body": True, "text": True},
        {"type": "http.disconnect", "code": 1001, "reason": "r"},
        {"type": "http.disconnect", "code": 1005, "reason": ""},
    ]
    assert sent == [{"type": "websocket.accept", "subprotocol": "v1", "headers": [(b"x", b"1")]}], "it had left by then"


async def test_what_is_sent_before_the_caller_leaves() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": "é".encode(), "more_body": True, "text": True})
        await send({"type": "http.response.body", "body": b"", "more_body": True, "text": False})
        await send({"type": "http.response.body", "body": b"", "more_body": False, "code": 3000, "reason": "r"})

    assert (await told(app))[1:] == [
        {"type": "websocket.send", "text": "é"},
        {"type": "websocket.send", "bytes": b""},
        {"type": "websocket.close", "code": 3000, "reason": "r"},
    ]


REFUSED = {"type": "http.response.start", "status": 429, "headers": [(b"a", b"1"), (b"content-length", b"99")]}


async def test_a_refusal_leaves_whole_and_with_its_own_length() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(REFUSED)
        await send({"type": "http.response.body", "body": b"sl", "more_body": True})
        await send({"type": "http.response.body", "body": b"ow"})

    assert await told(app) == [
        {
            "type": "websocket.http.response.start",
            "status": 429,
            "headers": [(b"a", b"1"), (b"content-length", b"4")],
        },
        {"type": "websocket.http.response.body", "body": b"slow", "more_body": False},
    ]
    assert await told(app, of=scope(explains=False)) == [{"type": "websocket.close"}], "which servers answer with 403"


async def test_a_refusal_that_breaks_off_is_not_sent_in_part() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(REFUSED)
        await send({"type": "http.response.body", "body": b"sl", "more_body": True})
        raise GatewayError("upstream-protocol")

    sent = await told(app)
    assert [(message.get("status"), message.get("body")) for message in sent] == [(502, None), (None, b"")]


@pytest.mark.parametrize(
    ("error", "code", "raises"),
    [
        (GatewayError("upstream-protocol"), 1014, None),
        (GatewayError("upstream-timeout"), 1014, None),
        (GatewayError("internal"), 1011, None),
        (LookupError(), 1011, LookupError),
        (asyncio.CancelledError(), 1012, asyncio.CancelledError),
    ],
)
async def test_an_open_socket_is_closed_with_a_reason_whatever_ends_it(
    error: BaseException, code: int, raises: Any
) -> None:
    sent = await told(failing(error, after_the_head=True), raises=raises)
    assert sent[1:] == [{"type": "websocket.close", "code": code, "reason": ""}]
    (answer, _) = await told(failing(error, after_the_head=False), raises=raises)
    assert answer["status"] == 502


async def test_a_server_that_can_send_no_more_is_no_error_inside() -> None:
    received: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"a", "more_body": True, "text": True})
        received.append(await receive())

    async def broken(message: Any) -> None:
        raise RuntimeError("flow")

    await WebSockets(app)(scope(), scripted(CONNECT), broken)
    assert received == [{"type": "http.disconnect", "code": 1005, "reason": ""}]


async def test_a_server_that_raises_at_the_end_of_a_connection_tells_of_its_end() -> None:
    received: list[Any] = []
    script = [CONNECT]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        received.append(await receive())

    async def receive() -> Any:
        if script:
            return script.pop()
        raise RuntimeError("flow")

    async def send(message: Any) -> None:
        return None

    await WebSockets(app)(scope(), receive, send)
    assert received == [{"type": "http.disconnect", "code": 1005, "reason": ""}]


async def test_before_the_101_nobody_is_told_anything() -> None:
    """One server repeats ``websocket.connect`` for ever until it is answered."""
    asked = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await receive()

    async def receive() -> Any:
        nonlocal asked
        asked += 1
        return CONNECT

    async def send(message: Any) -> None:
        return None

    await WebSockets(app)(scope(), receive, send)
    assert asked == 1


async def test_a_caller_that_does_not_read_cannot_hold_up_its_close() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if message["type"] == "websocket.close":
            await asyncio.Event().wait()

    async with asyncio.timeout(5):
        app = failing(GatewayError("internal"), after_the_head=True)
        await WebSockets(app, goodbye_s=0.01)(scope(), scripted(CONNECT), send)
    assert sent == ["websocket.accept", "websocket.close"]


def test_repeated_fields_of_a_refusal_become_one_line() -> None:
    lines = [(b"x", b"1"), (b"set-cookie", b"a"), (b"x", b"2"), (b"set-cookie", b"b"), (b"content-length", b"7")]
    assert (b"content-length", b"9") not in combined([(b"content-length", b"9")], None)
    assert combined(lines, 3) == [(b"x", b"1, 2"), (b"set-cookie", b"a"), (b"content-length", b"3")]


@pytest.mark.parametrize(
    ("origins", "sent", "refused"),
    [
        (("https://a.test",), (), False),  # no browser
        (("https://a.test",), (b"https://a.test",), False),
        (("https://a.test",), (b"https://b.test",), True),
        (("https://a.test",), (b"https://A.test",), True),  # compared as sent; browsers send lower case
        (("https://a.test",), (b"https://a.test", b"https://b.test"), True),
        (("https://a.test",), (b"null",), True),
        (("*",), (b"https://b.test",), False),
    ],
)
def test_origins(origins: tuple[str, ...], sent: tuple[bytes, ...], refused: bool) -> None:
    assert foreign(Cors(origins=origins), [(b"origin", origin) for origin in sent]) is refused


@pytest.mark.parametrize(
    ("code", "sent"),
    [(1000, 1000), (1011, 1011), (1014, 1014), (3000, 3000), (4999, 4999), (None, 7), (999, 7), (1004, 7), (1005, 7),
     (1006, 7), (1015, 7), (2999, 7), (5000, 7), (65_535, 7)],
)  # fmt: skip
def test_codes_that_only_report_are_never_sent(code: int | None, sent: int) -> None:
    assert sendable(code, 7) == sent
