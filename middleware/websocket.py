"""A WebSocket as the layers inside see it: an HTTP GET that is answered 101 and then talks both ways.

Translates between the server's ``websocket`` messages and the words of ``policies.websocket``, so that credential,
route, limits, outcome and errors are one code for both. What the two servers do differently, or badly, with
WebSockets ends here: nothing inside knows them. Decides no answer and closes with a code of its own only where
the layers inside broke off. Source: ASGI specification, WebSocket and Websocket Denial Response; RFC 6455 4.2, 7.4.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from policies.errors import GatewayError
from policies.websocket import BAD_GATEWAY, INTERNAL, NO_STATUS, RESTART, SOCKET_KEY

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]

LARGEST_REFUSAL = 1024 * 1024
"""Octets of an answer other than 101: one server can only send it whole."""
GOODBYE_S = 2.0
"""How long a caller that does not read may hold up its own close."""
REFUSAL = "websocket.http.response"
_CUT = {"status": 502, "headers": [(b"content-length", b"0")]}
"""What stands for an answer that broke off before it was whole."""
BODILESS = frozenset((204, 304))
_SUBPROTOCOL = b"sec-websocket-protocol"
_SCHEMES = {"ws": "http", "wss": "https"}


class WebSockets:
    """ASGI, outermost: every ``websocket`` scope goes on as ``http``; no other scope may come here."""

    def __init__(self, app: ASGIApp, *, goodbye_s: float = GOODBYE_S) -> None:
        self.app = app
        self._goodbye_s = goodbye_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        explains = REFUSAL in (scope.get("extensions") or ())
        socket = _Socket(receive, send, explains=explains, goodbye_s=self._goodbye_s)
        scheme = _SCHEMES.get(scope.get("scheme", "ws"), "http")
        call = {**scope, "type": "http", "method": "GET", "scheme": scheme, SOCKET_KEY: True}
        try:
            await self.app(call, socket.receive, socket.send)
        except GatewayError as error:
            await socket.end(BAD_GATEWAY if error.type.sla == "upstream" else INTERNAL)
        except asyncio.CancelledError:
            await socket.end(RESTART)  # only a drain that has run out of time cancels a call
            raise
        except BaseException:
            await socket.end(INTERNAL)
            raise
        else:
            await socket.end(INTERNAL)


class _Socket:
    """One WebSocket: what was answered so far, and how it ended."""

    __slots__ = ("_answer", "_body", "_explains", "_goodbye_s", "_open", "_over", "_receive", "_send", "_settled")

    def __init__(self, receive: Receive, send: Send, *, explains: bool, goodbye_s: float) -> None:
        self._receive = receive
        self._send = send
        self._goodbye_s = goodbye_s
        self._explains = explains
        self._answer: Message | None = None  # the head of an answer other than 101
        self._body = bytearray()
        self._open = False
        self._over = False
        self._settled = asyncio.Event()

    async def receive(self) -> Message:
        """The caller's next message or its end. Before the 101 nothing comes, and one server would say so for ever."""
        if not self._settled.is_set():
            await self._settled.wait()
        if self._over:
            return {"type": "http.disconnect", "code": NO_STATUS, "reason": ""}
        try:
            message = await self._receive()
        except Exception:  # one server raises, once the connection is lost
            message = {"type": "websocket.disconnect"}
        if message["type"] == "websocket.receive":
            text = message.get("text")
            body = message["bytes"] if text is None else text.encode()
            return {"type": "http.request", "body": body, "more_body": True, "text": text is not None}
        self._over = True
        return {
            "type": "http.disconnect",
            "code": int(message.get("code") or NO_STATUS),
            "reason": message.get("reason") or "",
        }

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif self._answer is not None:
            await self._explain(message)
        elif "text" in message:
            body = message["body"]
            kind, content = ("text", body.decode()) if message["text"] else ("bytes", body)
            await self._pass({"type": "websocket.send", kind: content})
        elif not message.get("more_body", False):
            await self._close(message["code"], message["reason"])

    async def end(self, code: int) -> None:
        """See that the server has been told how it ended, whatever happened inside."""
        if self._open:
            await self._close(code, "")
        elif not self._over:
            await self._refuse(_CUT, b"")
        self._settled.set()

    async def _begin(self, message: Message) -> None:
        if message["status"] != 101:
            self._answer = message
            return
        headers = [pair for pair in message["headers"] if pair[0] != _SUBPROTOCOL]
        chosen = next((value.decode("latin-1") for name, value in message["headers"] if name == _SUBPROTOCOL), None)
        self._open = True
        await self._pass({"type": "websocket.accept", "subprotocol": chosen, "headers": headers})
        self._settled.set()

    async def _explain(self, message: Message) -> None:
        self._body += message.get("body", b"")
        if len(self._body) > LARGEST_REFUSAL:
            raise GatewayError("upstream-protocol", cause_text="an answer to a handshake that has no end")
        if not message.get("more_body", False) and self._answer is not None:
            await self._refuse(self._answer, bytes(self._body))

    async def _refuse(self, answer: Message, body: bytes) -> None:
        """One whole answer, or none where the server cannot send it: then it says 403."""
        if self._explains:
            headers = combined(answer["headers"], None if answer["status"] in BODILESS else len(body))
            await self._pass({"type": REFUSAL + ".start", "status": answer["status"], "headers": headers})
            await self._pass({"type": REFUSAL + ".body", "body": body, "more_body": False})
        else:
            await self._pass({"type": "websocket.close"})
        self._over = True  # before anybody who waits in `receive` goes on

    async def _pass(self, message: Message) -> None:
        """To a caller that may be gone: whoever receives will be told."""
        if self._over:
            return
        try:
            await self._send(message)
        except Exception:  # each server raises something else
            self._over = True

    async def _close(self, code: int, reason: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._goodbye_s):
                await self._pass({"type": "websocket.close", "code": code, "reason": reason})
        self._over = True


def combined(headers: Iterable[tuple[bytes, bytes]], length: int | None) -> Headers:
    """``headers`` of a refusal with one line for each name (RFC 9110 5.3): two of a name end one server's process.

    Lines of ``Set-Cookie`` cannot be joined, so the first one stands. Framing is ours; ``length`` None says that the
    status allows none (RFC 9110 8.6).
    """
    lines: dict[bytes, bytes] = {}
    for name, value in headers:
        if name not in lines:
            lines[name] = value
        elif name != b"set-cookie":
            lines[name] = lines[name] + b", " + value
    lines.pop(b"content-length", None)
    if length is not None:
        lines[b"content-length"] = b"%d" % length
    return list(lines.items())
