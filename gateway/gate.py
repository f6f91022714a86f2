"""The outermost ASGI layer of a worker: counts requests in flight, notices the start, says goodbye while draining.

Decides nothing about a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from policies.exchange import SCOPE_KEY, Exchange
from upstreams.closing import CLOSING_KEY, Closing

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CLOSE = (b"connection", b"close")


class Gate:
    """``started`` is set once the application has started; ``draining`` makes every answer the connection's last;
    ``cutting`` says that cancelled requests are expected; ``closing`` ends the open WebSockets,
    and ``socketless`` is set while there are none.

    RFC 9112 9.6: a server that is going away says ``connection: close`` on its last answer, so that no
    client sends the next request into a connection that is being closed.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self.in_flight = 0
        self._sockets = 0  # of those, WebSockets
        self.socketless = asyncio.Event()
        self.socketless.set()
        self.draining = False
        self.cutting = False
        self.closing = Closing()
        self.started = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._watching(send))
            return
        self.in_flight += 1
        try:
            if scope["type"] == "http":
                await self._app(scope, receive, self._last_answer(send))
            else:
                await self._socket(scope, receive, send)
        except asyncio.CancelledError:
            if not self.cutting:
                raise  # else the server would log a traceback for each request that the drain cut off
            return
        finally:
            self.in_flight -= 1
        exchange: Exchange | None = scope.get(SCOPE_KEY)
        if exchange is not None and exchange.client_gone and not exchange.head_sent:
            await _answer_nobody(send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[CLOSING_KEY] = self.closing
        self._sockets += 1
        self.socketless.clear()
        try:
            await self._app(scope, receive, send)
        finally:
            self._sockets -= 1
            if not self._sockets:
                self.socketless.set()

    def _watching(self, send: Send) -> Send:
        async def watched(message: Message) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                self.started.set()

        return watched

    def _last_answer(self, send: Send) -> Send:
        def told(message: Message) -> Awaitable[None]:
            if self.draining and message["type"] == "http.response.start":
                headers = [pair for pair in message.get("headers", ()) if pair[0] != b"connection"]
                message = {**message, "headers": [*headers, CLOSE]}
            return send(message)

        return told


async def _answer_nobody(send: Send) -> None:
    """To a caller that is gone, or whose body broke off in a way that no server could read (RFC 9112 8).

    Servers report both as a disconnect. One of them would answer 500 where nothing was said, which a caller that
    is still there would take for a failure of ours.
    """
    await send({"type": "http.response.start", "status": 400, "headers": [(b"content-length", b"0"), CLOSE]})
    await send({"type": "http.response.body", "body": b""})
