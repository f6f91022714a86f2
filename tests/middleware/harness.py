"""A small ASGI harness: scripted ``receive``, recorded ``send``, and the fakes that middleware tests share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from policies.exchange import SCOPE_KEY, Exchange
from policies.model import PolicySet
from policies.snapshot import Snapshot

Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]
Pair = tuple[bytes, bytes]
HOST: Pair = (b"host", b"gateway.test")


class VirtualClock:
    """Both clocks, moved by hand."""

    def __init__(self, *, steady_us: int = 1_000_000, wall_us: int = 1_790_000_000_000_000) -> None:
        self.steady = steady_us
        self.wall = wall_us

    def steady_us(self) -> int:
        return self.steady

    def wall_us(self) -> int:
        return self.wall

    def advance(self, microseconds: int) -> None:
        self.steady += microseconds
        self.wall += microseconds


class FixedPolicy:
    """A ``PolicySource`` whose snapshot a test replaces; counts how often it was taken."""

    def __init__(self, policy: PolicySet) -> None:
        self.snapshot = Snapshot(policy)
        self.taken = 0

    @property
    def current(self) -> Snapshot:
        self.taken += 1
        return self.snapshot


@dataclass
class Recorded:
    """What an application sent: the status, header lines and body so far, and every message."""

    messages: list[Message] = field(default_factory=list)

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> list[Pair]:
        return list(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    def values(self, name: bytes) -> list[bytes]:
        return [value for line, value in self.headers if line == name]


def http_scope(
    path: str = "/",
    *,
    method: str = "GET",
    headers: tuple[Pair, ...] = (),
    host: tuple[Pair, ...] = (HOST,),
    client: tuple[str, int] | None = ("192.0.2.7", 40_000),
    query: bytes = b"",
    raw_path: bytes | None = None,
    version: str = "1.1",
) -> dict[str, Any]:
    """A request as the servers describe it, with a fresh exchange in its place."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": version,
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode() if raw_path is None else raw_path,
        "query_string": query,
        "root_path": "",
        "headers": [*host, *headers],
        "client": client,
        "server": ("127.0.0.1", 8080),
        SCOPE_KEY: Exchange(started_us=0, started_wall_us=0, request_id="r-1"),
    }


def scripted(*messages: Message) -> Callable[[], Awaitable[Message]]:
    """A ``receive`` that plays ``messages``, by default an empty body; after the last it waits for ever."""
    script = list(messages) or [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if script:
            return script.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    return receive


async def run(app: App, scope: dict[str, Any], *messages: Message) -> Recorded:
    """Run one request to its end; what the application raises passes through."""
    recorded = Recorded()
    await app(scope, scripted(*messages), recorded.send)
    return recorded


class Inner:
    """A five-line application that remembers what reached it."""

    def __init__(self, *, status: int = 200, headers: tuple[Pair, ...] = ()) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.status = status
        self.headers = headers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": self.status, "headers": list(self.headers)})
            await send({"type": "http.response.body", "body": b"inner"})

    @property
    def exchange(self) -> Exchange:
        exchange: Exchange = self.scopes[-1][SCOPE_KEY]
        return exchange

    def values(self, name: bytes) -> list[bytes]:
        return [value for line, value in self.scopes[-1]["headers"] if line == name]
